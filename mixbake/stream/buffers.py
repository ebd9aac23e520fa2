"""Memory for batches that is used again: fresh memory costs more than decoding a JPEG into it.

A buffer is lent as a numpy array. When nothing refers to that array any more, no view and no tensor of it,
the buffer comes back by itself. Rule: nobody's batch is ever overwritten; who keeps batches keeps memory.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class _Lease:
    """Lends a buffer to numpy; its end is the end of the last array that shows it."""

    def __init__(self, buffer: NDArray[Any], give_back: Callable[[NDArray[Any]], None]) -> None:
        self._buffer, self._give_back = buffer, give_back
        self.__array_interface__ = buffer.__array_interface__

    def __del__(self) -> None:
        self._give_back(self._buffer)


class Buffers:
    """Arrays of one shape and type, made when all others are lent. keep: how many idle ones are kept at most.

    allocate: makes an array of that shape, for memory of a special kind. Safe to use from several threads.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike = np.uint8,
        *,
        keep: int = 4,
        allocate: Callable[[tuple[int, ...]], NDArray[Any]] | None = None,
    ) -> None:
        self._shape, self._keep = shape, keep
        self._allocate = allocate or (lambda shape: np.empty(shape, dtype))
        self._idle: list[NDArray[Any]] = []
        # Reentrant: a lease may end, by the garbage collector, while this very thread holds it.
        self._lock = threading.RLock()
        self.made = 0

    def lend(self) -> NDArray[Any]:
        """An array, contents undefined."""
        with self._lock:
            buffer = self._idle.pop() if self._idle else self._make()
        return np.asarray(_Lease(buffer, self._give_back))

    def _make(self) -> NDArray[Any]:
        self.made += 1
        return self._allocate(self._shape)

    def _give_back(self, buffer: NDArray[Any]) -> None:
        with self._lock:
            if len(self._idle) < self._keep:
                self._idle.append(buffer)
