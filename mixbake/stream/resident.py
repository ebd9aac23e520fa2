"""A bake's pictures decoded once and kept on the device as bytes: small data sets need no stream.

Each epoch's worth is decoded when it is first wanted. Rule: a resident batch equals a streamed one.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from mixbake.errors import UsageError
from mixbake.storage.opened import Bake
from mixbake.stream.devices import Finisher
from mixbake.stream.reader import Fault, Reader
from mixbake.stream.rows import Source

FREE_SHARE = 0.4
"""Of a GPU's free memory that "auto" takes at most."""
DECODED_AT_ONCE = 1024
Shown = tuple[str, int]
"""A view and a number."""


class Resident:
    """pictures: uint8 n×S×S×3 tensors on the device by (view, number); faults: by (view, number) and image position."""

    def __init__(
        self,
        bake: Bake,
        reader: Reader,
        finisher: Finisher,
        *,
        pictures: dict[Shown, torch.Tensor] | None = None,
        faults: dict[Shown, dict[int, Fault]] | None = None,
    ) -> None:
        self._bake, self._reader, self._finisher = bake, reader, finisher
        self.pictures = {} if pictures is None else pictures
        self.faults = {} if faults is None else faults

    @classmethod
    def of(
        cls, wish: bool | str, bake: Bake, reader: Reader, finisher: Finisher, *, before: "Resident | None" = None
    ) -> Self | None:
        """One, if it is wished for: True, False, or "auto" for a GPU with room enough.

        before: of the same bake before it grew, whose pictures stay.
        """
        if before is not None:
            return cls(bake, reader, finisher, pictures=before.pictures, faults=before.faults)
        if wish is True or (wish == "auto" and not finisher.on_cpu and _fits(bake, finisher)):
            return cls(bake, reader, finisher)
        if wish is False or wish == "auto":
            return None
        raise UsageError(f'resident is True, False or "auto", not {wish!r}')

    def batch(
        self, rows: Sequence[Sequence[Source]], positions: NDArray[np.int64], mirrored: NDArray[np.bool_] | None
    ) -> tuple[torch.Tensor, list[tuple[int, Fault]]]:
        """A batch's images as the device wants them, and what is damaged among them, as `Reader.read` says it."""
        host = self._finisher.host(len(rows) * len(positions))
        with self._finisher.working():
            pictures = (
                host.tensor if self._finisher.on_cpu else torch.empty_like(host.tensor, device=self._finisher.device)
            )
            faults = self._pick(rows, positions, pictures)
            if not self._finisher.on_cpu:
                return self._finisher.on_device(pictures, len(rows), mirrored), faults
        return self._finisher.finish(host, len(rows), mirrored), faults

    def _pick(
        self, rows: Sequence[Sequence[Source]], positions: NDArray[np.int64], pictures: torch.Tensor
    ) -> list[tuple[int, Fault]]:
        """Copy the pictures of a batch to where they belong."""
        faults: list[tuple[int, Fault]] = []
        for row, sources in enumerate(rows):
            for view, number, chosen in sources:
                kept, targets = self._of(view, number), row * len(positions) + chosen
                wanted, there = self._finisher.small(positions[chosen]), self._finisher.small(targets)
                pictures[there] = kept[wanted]
                broken = self.faults[view, number]
                if broken:
                    places = zip(targets.tolist(), positions[chosen].tolist(), strict=True)
                    faults += [(target, broken[at]) for target, at in places if at in broken]
        return faults

    def condemn(self, view: str, number: int, block: int, fault: Fault) -> None:
        """Pictures of a shard are not what was baked, it turned out after they were decoded."""
        broken = self.faults.setdefault((view, number), {})
        broken |= dict.fromkeys(np.flatnonzero(self._bake.blocks == block).tolist(), fault)

    def _of(self, view: str, number: int) -> torch.Tensor:
        if (view, number) not in self.pictures:
            self.pictures[view, number] = self._decoded(view, number)
        return self.pictures[view, number]

    def _decoded(self, view: str, number: int) -> torch.Tensor:
        n, size = len(self._bake.images), self._bake.plan.size
        kept = torch.empty((n, size, size, 3), dtype=torch.uint8, device=self._finisher.device)
        broken = self.faults.setdefault((view, number), {})
        # In the order of the shards, so that a disk reads on and on.
        order = np.lexsort((self._bake.rows, self._bake.blocks))
        for first in range(0, n, DECODED_AT_ONCE):
            positions = order[first : first + DECODED_AT_ONCE]
            piece = np.zeros((len(positions), size, size, 3), np.uint8)
            for target, fault in self._reader.read(view, number, positions, piece, np.arange(len(positions))):
                piece[target] = 0
                broken[int(positions[target])] = fault
            kept[torch.from_numpy(positions).to(kept.device)] = torch.from_numpy(piece).to(kept.device)
        return kept


def _fits(bake: Bake, finisher: Finisher) -> bool:
    free, _ = torch.cuda.mem_get_info(finisher.device)
    # What torch keeps for later use is as good as free.
    free += torch.cuda.memory_reserved(finisher.device) - torch.cuda.memory_allocated(finisher.device)
    views = ("mix",) if bake.plan.views == "mix" else ("mix", "clean")
    pictures = len(bake.images) * sum(bake.numbers(view) for view in views)
    return pictures * bake.plan.size**2 * 3 <= FREE_SHARE * free
