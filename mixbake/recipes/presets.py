"""The named recipes. A bare family name takes the preset that fits the size.

Rule: one literal table; a preset is an algorithm with every parameter said.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mixbake.core.nearest import find_nearest
from mixbake.errors import UsageError
from mixbake.recipes.augmix import AugMix
from mixbake.recipes.ipmix import IPMix
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.loaded import OwnRecipe, is_file, load, offered
from mixbake.recipes.pixmix import PixMix
from mixbake.recipes.plain import Plain
from mixbake.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    "layermix-cifar": LayerMix(),
    "layermix-imagenet": LayerMix(),
    "layermix-code": LayerMix(severity=3, min_posterize_bits=0, quirks="published"),
    "layermix-article": LayerMix(op_set="article10", coefficients="convex"),
    "pixmix-cifar": PixMix(severity=3, beta=3, k=4),
    "pixmix-imagenet": PixMix(severity=1, beta=4, k=4),
    "augmix-cifar": AugMix(severity=3),
    "augmix-imagenet": AugMix(severity=1),
    "augmix-composer": AugMix(severity=3, op_set="all13", law="composer"),
    "ipmix-cifar": IPMix(severity=3, beta=3, patches=(4, 8, 16, 32), partners="pictures"),
    "ipmix-imagenet": IPMix(severity=1, beta=4, patches=(4, 8, 16, 32, 64, 224), partners="both"),
    "plain": Plain(),
}
"""What each of them is and where its values are from: `mixbake.recipes.origins`."""

BARE = {
    "layermix": ("layermix-cifar", "layermix-imagenet"),
    "pixmix": ("pixmix-cifar", "pixmix-imagenet"),
    "augmix": ("augmix-cifar", "augmix-imagenet"),
    "ipmix": ("ipmix-cifar", "ipmix-imagenet"),
}
"""Bare name -> preset for images up to 64 px, and above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRecipe:
    """A recipe under the name that keys, cards and metadata show."""

    name: str
    recipe: Recipe

    def parameters(self) -> dict[str, Any]:
        """Every field with its resolved value, ready for JSON."""
        values = fields_of(self.recipe)
        # A preset's 8 and the 8.0 of a flag are one value, and are to be one plan.
        whole = {name: int(value) for name, value in values.items() if type(value) is float and value.is_integer()}
        own = {"own": self.recipe.record} if isinstance(self.recipe, OwnRecipe) else {}
        return {"name": self.name, "family": self.recipe.family, **values, **whole, **own}


def fields_of(recipe: Recipe) -> dict[str, Any]:
    """Parameters and their values."""
    return recipe.parameters() if isinstance(recipe, OwnRecipe) else asdict(recipe)


def find(name: str) -> Recipe:
    """The preset of that full name, or a recipe of one's own: FILE.py:NAME, or what a distribution offers.

    Imports what it names: call it with what the user wrote, never with what a file says. Raises UsageError on an
    unknown name, naming the nearest, RecipeFailed.
    """
    if name not in RECIPES:
        if is_file(name) or (name in offered() and name not in BARE):
            return load(name)
        known = [*BARE, *RECIPES, *offered()]
        nearest = find_nearest(name, known)
        hint = f"did you mean {nearest}?" if nearest else f"choose from {', '.join(known)}"
        raise UsageError(f"unknown recipe {name!r}: {hint}")
    return RECIPES[name]


def read_overrides(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Values of "field=value" texts for a recipe of that name, bare or full; lists are separated by commas.

    Raises UsageError on an unknown recipe or field, a field that is set twice, and a value of another kind.
    """
    name = BARE.get(name, (name,))[0]
    recipe, found = find(name), dict[str, Any]()
    for text in texts:
        field, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--set {text}: write field=value, for example severity=3")
        if field in found:
            raise UsageError(f"--set {text}: {field} is set twice")
        require_fields(name, recipe, [field])
        found[field] = _read(text, value, fields_of(recipe)[field])
    return found


_SWITCH = {"on": True, "off": False}


def _read(text: str, value: str, like: Any) -> Any:
    """A value of the same kind as another one."""
    if isinstance(like, tuple):
        return tuple(_read(text, part.strip(), like[0]) for part in value.split(","))
    if isinstance(like, bool):
        if value not in _SWITCH:
            raise UsageError(f"--set {text}: choose on or off")
        return _SWITCH[value]
    try:
        # A preset may say 3 where any decimal will do: what must be whole is refused by the recipe.
        return value if isinstance(like, str) else int(value) if value.lstrip("-").isdecimal() else float(value)
    except ValueError:
        raise UsageError(f"--set {text}: {value!r} is no number") from None


def require_fields(name: str, recipe: Recipe, asked: Iterable[str]) -> None:
    """Raise UsageError, naming the nearest, unless these are parameters of a recipe, which has that name."""
    allowed = set(fields_of(recipe))
    if unknown := sorted(set(asked) - allowed):
        takes = f"it takes {', '.join(sorted(allowed)) or 'no parameters'}"
        nearest = [near for one in unknown if (near := find_nearest(one, sorted(allowed)))]
        hint = f"did you mean {', '.join(nearest)}? I{takes[1:]}" if nearest else takes
        raise UsageError(f"recipe {name} has no parameter {', '.join(unknown)}: {hint}")


def resolve(name: str, *, size: int, overrides: Mapping[str, Any]) -> NamedRecipe:
    """The preset `name` for images of that size, with some fields overridden.

    Raises UsageError on an unknown name (naming the nearest) or field, and on values out of range.
    """
    if name in BARE:
        name = BARE[name][0 if size <= 64 else 1]
    recipe = find(name)
    require_fields(name, recipe, overrides)
    if isinstance(recipe, OwnRecipe):
        return NamedRecipe(name=recipe.stored_name, recipe=recipe.with_parameters(overrides))
    return NamedRecipe(name=name, recipe=replace(recipe, **overrides))
