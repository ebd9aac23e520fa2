"""What a recipe is, and how a lot of variants is drawn: crop and picture here, the rest by the recipe.

Streams: the crop (and a baked flip) depend on (seed, image, view group) alone, and so does the picture;
the rest depends on (seed, recipe, image, number). Two bakes of one seed therefore see the same crops and
pictures whatever the recipe or its severity. Rule: drawing needs no pixels, rendering no randomness.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mixbake.core import programs, rng
from mixbake.core.blends import BLENDS
from mixbake.core.kernels import windows
from mixbake.core.nearest import advise
from mixbake.core.own import OwnStep
from mixbake.core.programs import Most, Programs
from mixbake.core.render import frozen
from mixbake.core.variant import CROP_CODES, Variant
from mixbake.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """The variants to draw. n rows; m mixing pictures.

    view: "mix" or "clean". images, numbers: int64[n]. shapes: int32[n, 2], height and width of each
    image. size: side of the output. crop: "pad", "resized" or "fit". bake_flip: mirror with p = ½ after
    the crop. group: numbers that share a crop and a picture (2 with aligned JSD views). pictures:
    int32[m, 2], height and width of each prepared picture. mixing_sets: how many pictures each mixing set has, in
    order, and its weight: a set is drawn by weight, then one of its pictures; if empty, any picture of all.
    """

    seed: int
    view: str
    images: NDArray[np.int64]
    numbers: NDArray[np.int64]
    shapes: NDArray[np.int32]
    size: int
    crop: str
    bake_flip: bool
    group: int
    pictures: NDArray[np.int32]
    mixing_sets: tuple[tuple[int, int], ...] = ()


class Recipe(Protocol):
    """A way to draw programs, a dataclass. Frozen fields are the paper's parameters; every one is recorded."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def family(self) -> str:
        """The algorithm's name; keys the random stream, so that presets of one algorithm are paired."""
        ...

    @property
    def symmetric(self) -> bool:
        """Mirroring the result is as likely as the result: the flip can be left to the trainer."""
        ...

    @property
    def mirrored_pictures(self) -> bool:
        """Each mixing picture is mirrored, either way with p = ½; else never."""
        ...

    @property
    def most(self) -> Most:
        """Upper bounds of a program."""
        ...

    @property
    def uses_pictures(self) -> bool:
        """Whether any program reads register 1."""
        ...

    @property
    def gray_pictures(self) -> bool:
        """Whether the mixing set is prepared in gray."""
        ...

    def fill(self, table: Programs, *, key: NDArray[np.uint64], size: int) -> None:
        """Write layers, operations, levels, blends and steps; images and numbers are already there.

        `key` is the Philox key of (seed, family). A row whose program leaves register 1 unread gets
        picture id -1.
        """
        ...


@runtime_checkable
class _Extended(Protocol):
    @property
    def own_steps(self) -> tuple[OwnStep, ...]: ...


PICTURE_COLORS = ("gray", "rgb")
MOST_WEIGHT = 1000

NOTHING = Most(steps=1, ops=1, blends=1, arguments=2)
"""Bounds of programs without steps: columns have one place at least."""


def require(good: bool, message: str) -> None:
    """Raise UsageError unless a recipe's parameter is good."""
    if not good:
        raise UsageError(message)


def require_known(name: str, value: object, known: Collection[str]) -> None:
    """Raise UsageError, naming the nearest, unless a parameter is one of some words."""
    require(value in known, f"unknown {name} {value!r}: {advise(value, known)}")


def require_whole(name: str, value: object, low: int, high: int) -> None:
    """Raise UsageError unless a parameter is a whole number from low to high."""
    require(type(value) is int and low <= value <= high, f"{name} {value} is out of range: {low} to {high}, whole")


def require_beta(beta: float) -> None:
    """Raise UsageError unless the blends' Beta laws can be drawn."""
    require(0.01 <= beta <= 100, f"beta {beta} is out of range: 0.01 to 100")
    require(round(beta, 6) == beta, f"beta {beta} has more than six decimal places")


def require_blend_weights(weights: tuple[int, ...]) -> None:
    """Raise UsageError unless there is a weight for each blend, and one above 0."""
    names = ", ".join(BLENDS)
    good = type(weights) is tuple and len(weights) == len(BLENDS)
    require(good, f"blend_weights {spell_value(weights)}: give {len(BLENDS)}, of {names}")
    for weight in weights:
        require_whole("blend_weights: a weight of", weight, 0, MOST_WEIGHT)
    require(any(weights), f"blend_weights {spell_value(weights)}: one of {names} at least must be above 0")


def require_pictures(*, colors: str, flips: bool) -> None:
    """Raise UsageError unless the ways to prepare and to mirror mixing pictures are known."""
    require_known("picture_colors", colors, PICTURE_COLORS)
    require(type(flips) is bool, f"picture_flips {flips!r}: choose on or off")


def spell_value(value: object) -> str:
    """A parameter as tables and `--set` have it."""
    if type(value) is bool:
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def own_steps_of(recipe: Recipe) -> tuple[OwnStep, ...]:
    """A recipe's steps that are not mixbake's; their order numbers them in tables."""
    return recipe.own_steps if isinstance(recipe, _Extended) else ()


def empty_table(recipe: Recipe, rows: int, *, view: str, name: str) -> Programs:
    """A table for that many programs under the preset's name; those of clean views have no steps."""
    most = recipe.most if view == "mix" else NOTHING
    return programs.empty(
        rows,
        view=view,
        recipe=name,
        steps=most.steps,
        ops=most.ops,
        blends=most.blends,
        own=own_steps_of(recipe),
    )


def draw(recipe: Recipe, lot: Lot, *, name: str) -> Programs:
    """Programs of a lot under the preset's name; clean views are the bare crop."""
    table = empty_table(recipe, len(lot.images), view=lot.view, name=name)
    table.images[:], table.numbers[:] = lot.images, lot.numbers
    # A clean crop's number is its view group already.
    groups = lot.numbers // (lot.group if lot.view == "mix" else 1)
    kind = CROP_CODES[lot.crop]
    windows.draw_crops(rng.key(lot.seed, "crop"), lot.images, groups, frozen(lot.shapes), kind, lot.size, table.crops)
    if lot.bake_flip:
        windows.draw_flips(rng.key(lot.seed, "flip"), lot.images, groups, table.flips)
    if lot.view == "mix":
        keys = {"picture_key": rng.key(lot.seed, "picture"), "key": rng.key(lot.seed, recipe.family)}
        sets = np.array(lot.mixing_sets, np.int64).reshape(-1, 2)
        draw_mix(recipe, table, groups, **keys, pictures=frozen(lot.pictures), mixing_sets=sets, size=lot.size)
    return table


def draw_mix(
    recipe: Recipe,
    table: Programs,
    groups: NDArray[np.int64],
    *,
    picture_key: NDArray[np.uint64],
    key: NDArray[np.uint64],
    pictures: NDArray[np.int32],
    mixing_sets: NDArray[np.int64],
    size: int,
) -> None:
    """Draw pictures and programs into an empty table of mixes whose images and numbers are set.

    groups: int64[n], each row's view group. picture_key, key: of (seed, "picture") and (seed, family). pictures:
    frozen int32[m, 2], mixing_sets: int64[k, 2], as in `Lot`.
    """
    if recipe.uses_pictures:
        windows.draw_pictures(picture_key, table.images, groups, pictures, mixing_sets, size, table.pictures)
        table.pictures[:, 5] = recipe.gray_pictures
        if not recipe.mirrored_pictures:
            table.pictures[:, 3:5] = 0
    recipe.fill(table, key=key, size=size)


def draw_one(recipe: Recipe, *, name: str, image: int, number: int, image_hw: tuple[int, int], **lot: Any) -> Variant:
    """One Variant, the same as in any lot; the other fields are `Lot`'s."""
    row = Lot(
        images=np.array([image], np.int64),
        numbers=np.array([number], np.int64),
        shapes=np.array([image_hw], np.int32),
        **lot,
    )
    return draw(recipe, row, name=name).variant(0)
