"""What a loader has open in one process: the shards of a bake, watched over, and pictures that stay in memory.

Rule: a shard that was found to be damaged gives no more pictures, neither read nor resident, for as long as the
loader lives.
"""

import os
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from mixbake.storage.opened import Bake, Place
from mixbake.stream.devices import Finisher
from mixbake.stream.reader import Fault, Reader
from mixbake.stream.resident import Resident
from mixbake.stream.rows import Source
from mixbake.stream.settings import LoaderSettings, usual_threads
from mixbake.stream.verify import Verifier


class Feed:
    """Images and provenance out of an open bake, for one process and one thread at a time.

    condemned: shards that are not to be used, and why; what is found out is added. resident: pictures that are in
    memory already, of the same bake before it grew.
    """

    def __init__(
        self,
        bake: Bake,
        finisher: Finisher,
        asked: LoaderSettings,
        *,
        condemned: dict[Place, Fault],
        resident: Resident | None = None,
    ) -> None:
        self._finisher, self._condemned = finisher, condemned
        self._verifier = Verifier(bake, asked.verify)
        threads = usual_threads() if asked.threads is None else max(1, asked.threads)
        self._reader = Reader(bake, threads=threads, opened=self._verifier.opened)
        self._process = os.getpid()
        # Also when the loader is dropped without a word; the threads do not hold it.
        self._release = weakref.finalize(self, _release, self._process, self._reader, self._verifier)
        self.resident = Resident.of(asked.resident, bake, self._reader, finisher, before=resident)
        self._condemn(condemned)

    @property
    def usable(self) -> bool:
        """Whether it is open, and belongs to this process: after a fork its threads are gone."""
        return self._release.alive and self._process == os.getpid()

    def at_opening(self) -> list[Fault]:
        """What is wrong already, as far as `verify` asks."""
        faults = self._verifier.at_opening()
        self._condemn({place: fault for place, fault in faults if place is not None})
        return [fault for _, fault in faults]

    def found(self, *, wait: bool = False) -> list[Fault]:
        """What was found out about shards since the last call. wait: until all that were used are hashed."""
        if wait:
            self._verifier.finish()
        faults = dict(self._verifier.found())
        self._condemn(faults)
        return list(faults.values())

    def images(
        self, rows: Sequence[Sequence[Source]], positions: NDArray[np.int64], mirrored: NDArray[np.bool_] | None
    ) -> tuple[torch.Tensor, list[tuple[int, Fault]]]:
        """A batch's images as the device wants them, and what is damaged among them, as `Reader.read` says it."""
        if self.resident is not None:
            return self.resident.batch(rows, positions, mirrored)
        count = len(positions)
        host = self._finisher.host(len(rows) * count)
        faults: list[tuple[int, Fault]] = []
        for row, sources in enumerate(rows):
            for view, number, chosen in sources:
                faults += self._reader.read(view, number, positions[chosen], host.array, row * count + chosen)
        for target, _ in faults:
            host.array[target] = 0
        return self._finisher.finish(host, len(rows), mirrored), faults

    def provenance(self, sources: Sequence[Source], positions: NDArray[np.int64]) -> tuple[Any, list[Fault]]:
        """Index rows of a row of the batch, a pyarrow Table in its order, and what is wrong with the indexes."""
        found = [self._reader.rows(view, number, positions[chosen]) for view, number, chosen in sources]
        order = np.concatenate([chosen for _, _, chosen in sources])
        table = pa.concat_tables([rows for rows, _ in found]).unify_dictionaries()
        faults = [fault for _, of_source in found for fault in of_source]
        return table.take(pa.array(np.argsort(order, kind="stable"))), faults

    def close(self) -> None:
        """Let go of threads, mappings and what is resident. Batches stay valid."""
        self._release()
        self.resident = None

    def _condemn(self, faults: Mapping[Place, Fault]) -> None:
        self._condemned |= faults
        for place, fault in faults.items():
            self._reader.condemn(*place, fault.reason)
            if self.resident is not None:
                self.resident.condemn(*place, fault)


def _release(process: int, reader: Reader, verifier: Verifier) -> None:
    # A forked child has none of the threads, and copies of their locks, which may be held for ever.
    if process == os.getpid():
        reader.close()
        verifier.close()
