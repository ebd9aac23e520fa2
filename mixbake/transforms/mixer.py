"""Draws and renders the variants of images that are handed over one by one, or as a batch.

    word of an image  ->  draw_mix, with the word as image number  ->  run_stack

For a single small image, allocating and checking would cost more than the pixels: each thread keeps one table and one
canvas, and a compiled check answers for it. Rule: whatever that check does not pass goes the way of a bake, and a batch
of images gives the bytes of its images one by one.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from mixbake.core import programs, rng
from mixbake.core.checks import limits
from mixbake.core.kernels import bounds, program
from mixbake.core.programs import Programs
from mixbake.core.render import Canvas, frozen, render_stack
from mixbake.core.variant import CROP_CODES
from mixbake.recipes.presets import NamedRecipe
from mixbake.recipes.recipe import draw_mix, empty_table

Bytes = NDArray[np.uint8]
Word = int | NDArray[np.int64]
"""What names a draw: 0 to 2^63 - 1, one an image."""

_LIMITS = limits()


def _table(named: NamedRecipe, rows: int, size: int) -> Programs:
    """An empty table of mixes; the crop is the whole image."""
    table = empty_table(named.recipe, rows, view="mix", name=named.name)
    table.crops[:] = CROP_CODES["fit"], 0, 0, size, size
    return table


class _Desk(threading.local):
    """What a thread uses again for each image: kernels run without the GIL, so threads must not share it."""

    def __init__(self, named: NamedRecipe, size: int, rows: int) -> None:
        self.canvas = Canvas(size, registers=named.recipe.most.steps + 3)
        self.table = _table(named, rows, size)
        self.table.numbers[:] = range(rows)
        self.groups, self.which = np.zeros(rows, np.int64), np.zeros(rows, np.int64)


class Mixer:
    """One recipe at one size, for any number of threads.

    seed: of the streams, as in a bake. pair: two variants of each image, with one picture, as aligned views have them.
    mixing_sets: as `Lot` has them.
    """

    __slots__ = ("_desk", "_key", "_picture_key", "_rows", "_sets", "named", "size")

    def __init__(
        self,
        named: NamedRecipe,
        *,
        size: int,
        seed: int,
        pair: bool,
        mixing_sets: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.named, self.size, self._rows = named, size, 2 if pair else 1
        self._key, self._picture_key = rng.key(seed, named.recipe.family), rng.key(seed, "picture")
        self._sets = np.array(mixing_sets, np.int64).reshape(-1, 2)
        self._desk = _Desk(named, size, self._rows)

    def mix(self, images: Bytes, words: Word, pictures: program.Pictures) -> tuple[Programs, Bytes]:
        """Variants of images, contiguous uint8 m×S×S×3; number 0 of all, then number 1 of all.

        Returns their programs, which this thread's next call overwrites, and uint8 n×S×S×3 in memory of its own.
        """
        if len(images) != 1:
            return self._mix_many(images, words, pictures)
        desk, size = self._desk, self.size
        table = desk.table
        programs.clear(table)
        table.images[:] = words
        self._draw(table, desk.groups, pictures)
        columns, rows = table.columns, self._rows
        if not bounds.all_fit(columns, size, size, pictures, size, _LIMITS):
            return table, render_stack(table, images, desk.which, pictures, desk.canvas)
        out = np.empty((rows, size * size * 3), np.uint8)
        program.run_stack(columns, 0, frozen(images), desk.which, pictures, size, desk.canvas.scratch, out)
        return table, out.reshape(rows, size, size, 3)

    def _mix_many(self, images: Bytes, words: Word, pictures: program.Pictures) -> tuple[Programs, Bytes]:
        numbers, which = np.divmod(np.arange(self._rows * len(images)), max(len(images), 1))
        table = _table(self.named, len(which), self.size)
        table.images[:], table.numbers[:] = np.asarray(words)[which], numbers
        self._draw(table, np.zeros(len(which), np.int64), pictures)
        return table, render_stack(table, images, which, pictures, self._desk.canvas)

    def _draw(self, table: Programs, groups: NDArray[np.int64], pictures: program.Pictures) -> None:
        draw_mix(
            self.named.recipe,
            table,
            groups,
            picture_key=self._picture_key,
            key=self._key,
            pictures=pictures[2],
            mixing_sets=self._sets,
            size=self.size,
        )
