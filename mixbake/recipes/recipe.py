"""What a recipe is, and how a lot of variants is drawn: crop and picture here, the rest by the recipe.

Streams: the crop (and a baked flip) depend on (seed, image, view group) alone, and so does the picture;
the rest depends on (seed, recipe, image, number). Two bakes of one seed therefore see the same crops and
pictures whatever the recipe or its severity. Rule: drawing needs no pixels, rendering no randomness.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mixbake.core import programs, rng
from mixbake.core.kernels import windows
from mixbake.core.programs import Programs
from mixbake.core.render import frozen
from mixbake.core.variant import CROP_CODES, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """The variants to draw. n rows; m mixing pictures.

    view: "mix" or "clean". images, numbers: int64[n]. shapes: int32[n, 2], height and width of each
    image. size: side of the output. crop: "pad", "resized" or "fit". bake_flip: mirror with p = ½ after
    the crop. group: numbers that share a crop and a picture (2 with aligned JSD views). pictures:
    int32[m, 2], height and width of each prepared picture.
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


class Recipe(Protocol):
    """A way to draw programs. Frozen fields are the paper's parameters; every one is recorded."""

    family: ClassVar[str]
    """The algorithm's name; keys the random stream, so that presets of one algorithm are paired."""
    symmetric: ClassVar[bool]
    """Mirroring the result is as likely as the result: the flip can be left to the trainer."""
    most: ClassVar[tuple[int, int, int]]
    """Upper bounds of a program: steps, operations, blends."""

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


def draw(recipe: Recipe, lot: Lot, *, name: str) -> Programs:
    """Programs of a lot under the preset's name; clean views are the bare crop."""
    steps, ops, blends = recipe.most if lot.view == "mix" else (1, 1, 1)
    table = programs.empty(len(lot.images), view=lot.view, recipe=name, steps=steps, ops=ops, blends=blends)
    table.images[:], table.numbers[:] = lot.images, lot.numbers
    # A clean crop's number is its view group already.
    groups = lot.numbers // (lot.group if lot.view == "mix" else 1)
    kind = CROP_CODES[lot.crop]
    windows.draw_crops(rng.key(lot.seed, "crop"), lot.images, groups, frozen(lot.shapes), kind, lot.size, table.crops)
    if lot.bake_flip:
        windows.draw_flips(rng.key(lot.seed, "flip"), lot.images, groups, table.flips)
    if lot.view == "mix":
        if recipe.uses_pictures:
            key = rng.key(lot.seed, "picture")
            windows.draw_pictures(key, lot.images, groups, frozen(lot.pictures), lot.size, table.pictures)
            table.pictures[:, 5] = recipe.gray_pictures
        recipe.fill(table, key=rng.key(lot.seed, recipe.family), size=lot.size)
    return table


def draw_one(recipe: Recipe, *, name: str, image: int, number: int, image_hw: tuple[int, int], **lot: Any) -> Variant:
    """One Variant, the same as in any lot; the other fields are `Lot`'s."""
    row = Lot(
        images=np.array([image], np.int64),
        numbers=np.array([number], np.int64),
        shapes=np.array([image_hw], np.int32),
        **lot,
    )
    return draw(recipe, row, name=name).variant(0)
