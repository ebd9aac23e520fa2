"""Who draws generated corruptions: the thread that asks for them; once they prove many, worker processes.

Rule: who draws decides nothing of a pixel. A worker that is killed ends the evaluation; its finished parts are kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Protocol

import numpy as np
from joblib.externals.loky import BrokenProcessPool

from mixbake.errors import MixbakeError
from mixbake.evaluate.corruptions import corrupt_all
from mixbake.evaluate.filters import Image
from mixbake.workers import WorkerPool, worker_pool

FEW = 10_000 * 32**2
"""Pixels; to draw so many takes about as long as to start processes."""


class Draw(Protocol):
    """`corrupt_all`, or what gives the same."""

    def __call__(self, images: Image, name: str, severity: int, seed: int, places: Sequence[int]) -> Image:
        """Corrupted pictures uint8 n×H×W×3, whose numbers in their set are `places`."""
        ...


@contextmanager
def drawing(jobs: int, few: int = FEW) -> Iterator[Draw]:
    """A function that draws, in `jobs` processes from the call on before which more than `few` pixels were drawn."""
    if jobs == 1:
        yield corrupt_all
        return
    with worker_pool(jobs, from_threads=True) as pool:
        yield _Drawing(pool, jobs, few)


class _Drawing:
    def __init__(self, pool: WorkerPool, jobs: int, few: int) -> None:
        self._pool, self._jobs, self._few = pool, jobs, few
        self._drawn = 0

    def __call__(self, images: Image, name: str, severity: int, seed: int, places: Sequence[int]) -> Image:
        self._drawn += images[..., 0].size
        if self._drawn <= self._few:
            return corrupt_all(images, name, severity, seed, places)
        ends = [len(images) * share // self._jobs for share in range(self._jobs + 1)]
        try:
            shares = [
                self._pool.submit(corrupt_all, images[first:end], name, severity, seed, places[first:end])
                for first, end in pairwise(ends)
                if first < end
            ]
            return np.concatenate([share.result() for share in shares])
        except BrokenProcessPool as death:
            raise MixbakeError(
                f"a process that drew {name} at severity {severity} was killed: if memory ran out, free some; "
                "then give the same command again, finished parts are kept"
            ) from death
