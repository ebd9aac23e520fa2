"""How far every task is, and which image a dead worker had in its hands.

The board is a small memory-mapped file, one row a task. Each row has a single writer at a time (the
worker that runs the task) and one reader (the parent), so it needs no lock, queue or extra process,
and what a worker wrote survives its being killed.
Rule: the board informs and attributes; nothing that is baked depends on it.
"""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixbake.storage.store import publish_bytes, retrying

IMAGE, IMAGES, VARIANTS, SKIPPED, PID = range(5)
COLUMNS = 5
NOTHING = -1

Cells = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How far all tasks are: images finished in every range of their block, variants rendered, images skipped."""

    images: int
    variants: int
    skipped: int


class Slot:
    """One task's row, for the worker that runs it."""

    __slots__ = ("_row",)

    def __init__(self, row: Cells) -> None:
        self._row = row

    def start(self) -> None:
        """Take the task in this process, from its beginning."""
        self._row[:PID] = NOTHING, 0, 0, 0
        self._row[PID] = os.getpid()

    def begin(self, image: int) -> None:
        """Work on image number `image` from now."""
        self._row[IMAGE] = image

    def advance(self, variants: int, images: int = 1) -> None:
        """Count `images` more images as finished, with `variants` variants in all."""
        self._row[VARIANTS] += variants
        self._row[IMAGES] += images
        self._row[IMAGE] = NOTHING

    def skip(self) -> None:
        """Leave out the image being worked on: it cannot be decoded."""
        self._row[SKIPPED] += 1
        self._row[IMAGE] = NOTHING

    def stop(self) -> None:
        """Let go of the task; its counts stay."""
        self._row[IMAGE] = NOTHING
        self._row[PID] = 0


class Board:
    """The rows of all tasks; `create` in the parent, `open` wherever a task runs."""

    __slots__ = ("_cells", "path")

    def __init__(self, path: Path, cells: Cells) -> None:
        self.path = path
        self._cells = cells

    @classmethod
    def create(cls, path: Path, tasks: int) -> Self:
        """Make a board for tasks 0..tasks-1 in the file `path`. Raises StorageError."""
        cells = np.zeros((max(tasks, 1), COLUMNS), np.int64)  # an empty file cannot be mapped
        cells[:, IMAGE] = NOTHING
        # Written, not only sized: a sparse file on a full disk would kill its writer with SIGBUS.
        publish_bytes(path, cells.tobytes())
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the board in the file `path`, once a process. Raises StorageError."""
        found = retrying(path.stat, path)
        return cls(path, _mapped(path, found.st_dev, found.st_ino))

    def slot(self, task: int) -> Slot:
        """Return the row of task number `task`."""
        return Slot(self._cells[task])

    def totals(self, blocks: Sequence[int] = ()) -> Totals:
        """Sum up over all tasks, as of now; a task that is run again starts again at 0.

        blocks: of each task; tasks of one block have the same images, which count once. Without it, each has its own.
        """
        cells = self._cells
        _, of = np.unique(blocks if len(blocks) else np.arange(len(cells)), return_inverse=True)
        images, skipped = np.full(of.max() + 1, np.iinfo(np.int64).max), np.zeros(of.max() + 1, np.int64)
        np.minimum.at(images, of, cells[:, IMAGES])
        np.maximum.at(skipped, of, cells[:, SKIPPED])
        return Totals(images=int(images.sum()), variants=int(cells[:, VARIANTS].sum()), skipped=int(skipped.sum()))

    def working_on(self, task: int) -> int | None:
        """Tell the number of the image that task `task` is at, or None between images."""
        image = int(self._cells[task, IMAGE])
        return None if image == NOTHING else image

    def running(self) -> dict[int, int]:
        """Map every task that has been started and not stopped to the process id of its worker."""
        return {int(task): int(self._cells[task, PID]) for task in np.flatnonzero(self._cells[:, PID])}

    def remove(self) -> None:
        """Delete the file; boards that are open stay readable."""
        self.path.unlink(missing_ok=True)


@lru_cache(maxsize=2)
def _mapped(path: Path, device: int, inode: int) -> Cells:  # noqa: ARG001 - the key: a path may name a newer board
    def read() -> mmap.mmap:
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), 0)

    return np.frombuffer(retrying(read, path), np.int64).reshape(-1, COLUMNS)
