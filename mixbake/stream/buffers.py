"""Memory for batches that is used again: fresh memory costs more than decoding a JPEG into it.

A buffer is lent as a numpy array. When nothing refers to that array any more, no view and no tensor of it,
the buffer comes back by itself. Rule: nobody's batch is ever overwritten; who keeps batches keeps memory.
"""

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike, NDArray


class _Lease:
    """Lends a buffer to numpy; its end is the end of the last array that shows it."""

    def __init__(self, buffer: NDArray[np.uint8], give_back: Callable[[NDArray[np.uint8]], None]) -> None:
        self._buffer, self._give_back = buffer, give_back
        self.__array_interface__ = buffer.__array_interface__

    def __del__(self) -> None:
        self._give_back(self._buffer)


class Buffers:
    """Buffers of one length, made when all others are lent. keep: how many idle ones are kept at most.

    allocate: makes an array uint8[length], for memory of a special kind. Safe to use from several threads.
    """

    def __init__(
        self, length: int, *, keep: int = 4, allocate: Callable[[int], NDArray[np.uint8]] | None = None
    ) -> None:
        self._length, self._keep = length, keep
        self._allocate = allocate or (lambda length: np.empty(length, np.uint8))
        self._idle: list[NDArray[np.uint8]] = []
        # Reentrant: a lease may end, by the garbage collector, while this very thread holds it.
        self._lock = threading.RLock()
        self.made = 0

    def lend(self, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> NDArray[np.generic]:
        """An array of that shape, contents undefined. Its bytes must fit in the length."""
        with self._lock:
            buffer = self._idle.pop() if self._idle else self._make()
        whole = np.asarray(_Lease(buffer, self._give_back))
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return whole[:size].view(dtype).reshape(shape)

    def _make(self) -> NDArray[np.uint8]:
        self.made += 1
        return self._allocate(self._length)

    def _give_back(self, buffer: NDArray[np.uint8]) -> None:
        with self._lock:
            if len(self._idle) < self._keep:
                self._idle.append(buffer)
