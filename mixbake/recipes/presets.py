"""The named recipes. A bare family name takes the preset that fits the size.

Rule: one literal table; a preset is an algorithm with every parameter said.
"""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mixbake.errors import UsageError
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.plain import Plain
from mixbake.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    "layermix-cifar": LayerMix(),
    "layermix-imagenet": LayerMix(),
    "layermix-code": LayerMix(severity=3, min_posterize_bits=0, quirks="published"),
    "layermix-article": LayerMix(op_set="article10", coefficients="convex"),
    "plain": Plain(),
}
"""layermix-cifar, -imagenet: the paper (m = 8, β = 3, layer12). layermix-code: the published repository's
defaults with its slips. layermix-article: ten operations with brightness, convex blends w ~ Beta(3, 3)."""

BARE = {"layermix": ("layermix-cifar", "layermix-imagenet")}
"""Bare name -> preset for images up to 64 px, and above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRecipe:
    """A recipe under the name that keys, cards and metadata show."""

    name: str
    recipe: Recipe

    def parameters(self) -> dict[str, Any]:
        """Every field with its resolved value, ready for JSON."""
        return {"name": self.name, "family": self.recipe.family, **asdict(self.recipe)}  # type: ignore[call-overload]  # every recipe is a dataclass


def resolve(name: str, *, size: int, overrides: Mapping[str, Any]) -> NamedRecipe:
    """The preset `name` for images of that size, with some fields overridden.

    Raises UsageError on an unknown name (naming the nearest) or field, and on values out of range.
    """
    if name in BARE:
        name = BARE[name][0 if size <= 64 else 1]
    if name not in RECIPES:
        known = [*BARE, *RECIPES]
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(known)}"
        raise UsageError(f"unknown recipe {name!r}: {hint}")
    recipe = RECIPES[name]
    allowed = {field.name for field in fields(recipe)}  # type: ignore[arg-type]  # every recipe is a dataclass
    if unknown := sorted(set(overrides) - allowed):
        takes = ", ".join(sorted(allowed)) or "no parameters"
        raise UsageError(f"recipe {name} has no parameter {', '.join(unknown)}: it takes {takes}")
    return NamedRecipe(name=name, recipe=replace(recipe, **overrides))  # type: ignore[type-var]  # every recipe is a dataclass
