"""A bake as a map-style data set, for people who bring their own DataLoader.

    index  ->  image `ids[index]`        pass p  ->  number p mod N        both  ->  Reader  ->  tensor  ->  transform

Rule: what a worker process needs comes with the data set, by fork or pickled: the open bake, and the pass in
memory that all of them share. Each process opens the shards for itself.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import index as as_integer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mixbake.errors import UsageError
from mixbake.storage.opened import VIEWS, Bake
from mixbake.storage.plan import spell_worth
from mixbake.storage.shelf import Shelf
from mixbake.stream.buffers import Buffers
from mixbake.stream.reader import Reader, damage
from mixbake.stream.remote import open_shelf
from mixbake.stream.settings import require
from mixbake.stream.verify import Verifier

VERIFY = ("sizes", "full")
"""No "background": nobody would ask a data set afterwards what it has found."""
SIZES_KEPT = 4
"""Of so many batch sizes, memory is kept to be used again."""


def open_bake(shelf: Shelf, *, view: str, number: int, verify: str) -> Bake:
    """The bake on the shelf, for somebody who reads a number of a view, after the checks that `verify` asks for.

    Raises UsageError for a view or number that it does not have, Damage for files that are not as promised.
    """
    require("view", view, VIEWS)
    require("verify", verify, VERIFY)
    bake = Bake.open(shelf)
    if view == "clean" and bake.plan.views == "mix":
        raise UsageError('view="clean" needs clean crops: bake with --views clean or jsd')
    numbers = bake.numbers(view)
    if isinstance(number, bool) or not 0 <= as_integer(number) < numbers:
        raise UsageError(
            f"number is 0 to {numbers - 1} for view={view!r} of a bake with {spell_worth(bake.epochs_worth)}, "
            f"not {number!r}"
        )
    if faults := Verifier(bake, verify).at_opening():
        raise damage([fault for _, fault in faults], bake)
    return bake


class SharedPass:
    """Which pass it is, in memory that worker processes share with the one that made it.

    A plain attribute would not reach workers that are already running (`persistent_workers`).
    """

    def __init__(self, first: int) -> None:
        self._cell = _shared(torch.tensor(first, dtype=torch.int64))

    def __setstate__(self, state: dict[str, torch.Tensor]) -> None:
        # On its way to a worker the cell stays shared; copy and plain pickle make a new, private one.
        self._cell = _shared(state["_cell"])

    @property
    def value(self) -> int:
        """The pass, 0 or more."""
        return int(self._cell)

    def set(self, epoch: int) -> None:
        """Make it pass `epoch`, for all processes. Raises UsageError below 0."""
        if epoch < 0:
            raise UsageError(f"an epoch is 0 or more, not {epoch}")
        self._cell.fill_(epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What a process reads with. lock: a Reader serves one thread at a time."""

    process: int
    reader: Reader
    lock: threading.Lock
    buffers: Callable[[int], Buffers]


class BakeDataset(Dataset[tuple[Any, int]]):
    """One variant of every image: `dataset[i]` is (image, label), the image uint8 C×H×W or what transform makes of it.

    path: the bake's folder or any fsspec URL of it. view: "mix", or "clean" for the clean crops of a bake with
    --views clean or jsd. number: which of the N variants; `set_epoch(p)` goes on to number p mod N.
    transform: from uint8 C×H×W, for example of torchvision.transforms.v2. It is the place for the flip too: a bake
    whose plan leaves that to the trainer holds pictures as they were cropped, and nothing is mirrored here.
    threads: that decode a batch together, of use without worker processes. verify: "sizes" of all files at opening,
    or "full", which hashes them too. cache, cache_bytes, storage_options: as for ShardLoader.

    targets: int64[n], labels; a change of them is given out. ids: int64[n], image numbers. classes: names by label.
    Works with any sampler and any number of forked or spawned workers. A whole batch is read at once.
    Raises UsageError for a view or number that the bake does not have, Damage naming shard and key.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        number: int = 0,
        view: str = "mix",
        transform: Callable[[torch.Tensor], Any] | None = None,
        threads: int = 1,
        verify: str = "sizes",
        cache: str | Path | None = None,
        cache_bytes: int = 0,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        shelf = open_shelf(path, cache=cache, limit_bytes=cache_bytes, storage_options=storage_options)
        self.bake = open_bake(shelf, view=view, number=number, verify=verify)
        self.view, self.transform, self._threads = view, transform, threads
        self.ids: NDArray[np.int64] = self.bake.images
        self.targets: NDArray[np.int64] = self.bake.labels.copy()
        self._pass = SharedPass(number)
        self._opened: _Opened | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.bake.plan.classes

    @property
    def number(self) -> int:
        """Which variant of every image is given out now."""
        return self._pass.value % self.bake.numbers(self.view)

    def set_epoch(self, epoch: int) -> None:
        """Give out number `epoch` mod N from now on. Call it before each pass, in the process that trains.

        The number is shared with the workers of a DataLoader, also with persistent ones. It counts from the next
        batch that a worker reads: call it between passes, not in one whose batches are being fetched ahead.
        """
        self._pass.set(epoch)

    def __len__(self) -> int:
        """Images that were baked."""
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Image and label. Raises IndexError, or Damage naming shard and key."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        """Images and labels, read all at once; DataLoader asks for its batches this way."""
        positions = self._positions(indices)
        labels = self.targets[positions].tolist()
        return [(self._transformed(image), label) for image, label in zip(self._read(positions), labels, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _positions(self, indices: Sequence[int]) -> NDArray[np.int64]:
        positions = np.array([as_integer(index) for index in indices], np.int64)
        odd = positions[(positions < -len(self)) | (positions >= len(self))]
        if odd.size:
            raise IndexError(f"there is no image {odd[0]}: the bake has {len(self)}")
        return positions % len(self)

    def _read(self, positions: NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
        here = self._of_this_process()
        pixels = here.buffers(len(positions)).lend()
        with here.lock:
            faults = here.reader.read(self.view, self.number, positions, pixels, np.arange(len(positions)))
        if faults:
            raise damage([fault for _, fault in faults], self.bake)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).unbind()

    def _transformed(self, image: torch.Tensor) -> Any:
        return image if self.transform is None else self.transform(image)

    def _of_this_process(self) -> _Opened:
        opened = self._opened
        if opened is None or opened.process != os.getpid():
            size = self.bake.plan.size
            opened = self._opened = _Opened(
                process=os.getpid(),
                reader=Reader(self.bake, threads=self._threads),
                lock=threading.Lock(),
                buffers=lru_cache(SIZES_KEPT)(lambda count: Buffers((count, size, size, 3), keep=2)),
            )
        return opened


def _shared(tensor: torch.Tensor) -> torch.Tensor:
    shared: torch.Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call]  # torch left it untyped
    return shared
