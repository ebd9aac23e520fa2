"""Recipes as plans record them: drawn again where that is possible, and where not, what the plan itself says of them.

Rule: a plan may be a stranger's. Nothing it names is imported: of a recipe of one's own only what the user names again,
and that must be what was baked with, to the byte.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.ops import parameters_of
from mixbake.core.own import MOST_OWN, OwnStep
from mixbake.core.programs import Most, Programs
from mixbake.errors import Damage, PlanDiffers, UsageError
from mixbake.recipes.loaded import FLAGS, STORED_NAME, OwnRecipe, load, within_limits
from mixbake.recipes.presets import RECIPES, NamedRecipe, resolve

_FIELDS = {"sha256", "distribution", "ops", "blends", "most", *FLAGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A recipe of one's own that is not at hand: it draws crops, flips and pictures, and leaves programs empty."""

    family: str
    most: Most
    own_steps: tuple[OwnStep, ...]
    uses_pictures: bool
    gray_pictures: bool
    mirrored_pictures: bool
    symmetric: bool

    def fill(self, table: Programs, *, key: NDArray[np.uint64], size: int) -> None:
        """Leave every program empty: only its file knows."""


def is_own(stored: Mapping[str, Any]) -> bool:
    """Whether a plan's recipe is one's own."""
    return "own" in stored


def recorded(stored: Mapping[str, Any], *, size: int) -> NamedRecipe:
    """The recipe that a plan records; of one's own, an `Unread`. Raises Damage when there can be none such."""
    if is_own(stored):
        return _unread(stored)
    overrides = _parameters(stored)
    try:
        if stored["name"] not in RECIPES:
            raise UsageError(f"unknown recipe {stored['name']!r:.60}")  # noqa: TRY301 - a bare name stands for two
        named = resolve(stored["name"], size=size, overrides=overrides)
    except (UsageError, TypeError, ValueError, KeyError) as error:
        raise Damage(f"its recipe cannot be drawn by this version of mixbake ({error})") from error
    if {**stored, **overrides} != named.parameters():
        raise Damage("its recipe lacks parameters of this version of mixbake: use the version that baked it")
    return named


def given_again(stored: Mapping[str, Any], spec: str | None, *, size: int) -> NamedRecipe:
    """The recipe of a plan, ready to draw and render: spec is the user's --recipe, for one of one's own.

    Raises UsageError when that is missing, or given where there is nothing to give; PlanDiffers when it is another
    one than the plan records; Damage as `recorded`.
    """
    if not is_own(stored):
        if spec is not None:
            raise UsageError(f"--recipe {spec}: this bake's recipe is mixbake's {stored['name']!r:.60}: leave it out")
        return recorded(stored, size=size)
    name = _unread(stored).name
    if spec is None:
        raise UsageError(
            f"this bake's recipe {name} is not mixbake's, and nothing that a bake names is run: say which code it is "
            "with --recipe FILE.py:NAME, or the name that an installed distribution offers it by"
        )
    loaded = load(spec)
    named = NamedRecipe(name=loaded.stored_name, recipe=loaded)
    if named.name != name:
        raise PlanDiffers(f"--recipe {spec} is {named.name}, and the bake was made by {name}")
    # Other code is told before its parameters, which may be others; these come before what may follow from them.
    _require_code(loaded, stored["own"], ("sha256",))
    values = _parameters(stored)
    if set(values) != set(loaded.parameters()):
        raise Damage(f"the parameters of its recipe {name} are not those that its code has")
    try:
        loaded = loaded.with_parameters(values)
    except UsageError as error:
        raise Damage(f"the parameters of its recipe {name} cannot be ({error})") from error
    _require_code(loaded, stored["own"], tuple(loaded.record))
    named = NamedRecipe(name=name, recipe=loaded)
    if dict(stored) | values != named.parameters():
        raise Damage(f"the parameters of its recipe {name} are not those that its code has")
    return named


def _require_code(loaded: OwnRecipe, before: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Raise PlanDiffers, naming what differs, unless the code is what a plan records of it."""
    now = loaded.record
    odd = [
        f"{field} {_short(now[field])}, was {_short(before[field])}" for field in fields if now[field] != before[field]
    ]
    if odd:
        raise PlanDiffers(
            f"{loaded.code.file} is not the code that the bake was made by ({'; '.join(odd)}): restore it to replay "
            "or extend this bake"
        )


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else f"{value!r:.80}"


def _parameters(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in parameters_of(stored).items()}


def _can_be_recorded(told: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bool:
    """Whether a plan can say this of steps of one's own."""
    if len(set(names)) < len(names) or len(names) > MOST_OWN:
        return False
    kept = all(set(one) == {"version", "args"} and type(one["args"]) is list for one in told)
    return kept and all(type(one["version"]) is int and one["version"] >= 1 for one in told)


def _unread(stored: Mapping[str, Any]) -> NamedRecipe:
    """Raises Damage unless every value is one that a build records."""
    own = stored["own"]
    try:
        if set(own) != _FIELDS or not STORED_NAME.fullmatch(stored["name"]) or type(stored["family"]) is not str:
            raise ValueError("its fields")  # noqa: TRY301 - told below, as what the constructors raise
        flags = {flag: own[flag] for flag in FLAGS}
        good = all(type(flag) is bool for flag in flags.values()) and type(own["distribution"]) in (str, type(None))
        if not good or not re.fullmatch("[0-9a-f]{64}", own["sha256"]):
            raise ValueError("its facts")  # noqa: TRY301 - as above
        most = Most(**own["most"])
        if not within_limits(most):
            raise ValueError(f"{most}")  # noqa: TRY301 - as above
        steps = [
            OwnStep(name=name, sources=sources, args=tuple(told["args"]))
            for table, sources in (("ops", 1), ("blends", 2))
            for name, told in own[table].items()
        ]
        if not _can_be_recorded([*own["ops"].values(), *own["blends"].values()], [one.name for one in steps]):
            raise ValueError("its steps")  # noqa: TRY301 - as above
    except (UsageError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damage(f"what the plan says of its recipe of one's own cannot be ({error})") from error
    recipe = Unread(family=stored["family"], most=most, own_steps=tuple(steps), **flags)
    return NamedRecipe(name=stored["name"], recipe=recipe)
