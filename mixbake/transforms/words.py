"""Where the number comes from that names a draw: one word, 0 to 2^63 - 1, an image.

    rng given                                  from it
    in a worker of a torch DataLoader          from torch's generator, which the loader seeds anew for each worker
    seed given                                 0, 1, 2, ..., in the order of calls
    torch imported                             from torch's generator, so that torch.manual_seed decides
    else                                       from the operating system

Rule: no generator of our own is kept, so that none can be forked, pickled or shared by accident.
"""

import secrets
import sys
import threading
from typing import Any

import numpy as np

from mixbake.errors import UsageError
from mixbake.transforms.mixer import Word

Rng = np.random.Generator | int | None
_END = 2**63


def torch_if_imported() -> Any:
    """The module torch, or None where nobody has imported it."""
    return sys.modules.get("torch")


def generator(rng: Rng) -> np.random.Generator | None:
    """What `rng` stands for; an integer of 0 or more is a seed. Raises UsageError for anything else."""
    if rng is None or isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise UsageError(f"rng is {rng!r}: give a numpy Generator, or a whole number of 0 or more as seed")
    return np.random.default_rng(int(rng))


class Words:
    """Words for one transform; `seed`: see the module."""

    __slots__ = ("_calls", "_lock", "_seeded")

    def __init__(self, *, seeded: bool, calls: int = 0) -> None:
        self._seeded, self._calls, self._lock = seeded, calls, threading.Lock()

    def __reduce__(self) -> tuple[Any, tuple[bool, int]]:
        return _again, (self._seeded, self._calls)

    def draw(self, given: np.random.Generator | None, count: int | None) -> Word:
        """int64[count], or one int where count is None; the same words one by one as together."""
        if given is not None:
            return given.integers(_END, size=count) if count is not None else int(given.integers(_END))
        torch = torch_if_imported()
        if self._seeded and (torch is None or torch.utils.data.get_worker_info() is None):
            return self._next(count)
        if torch is not None:
            drawn = torch.randint(_END - 1, () if count is None else (count,), device="cpu")
            return int(drawn) if count is None else np.asarray(drawn)
        if count is None:
            return secrets.randbelow(_END)
        return np.array([secrets.randbelow(_END) for _ in range(count)], np.int64)

    def _next(self, count: int | None) -> Word:
        with self._lock:
            first = self._calls
            self._calls += 1 if count is None else count
        return first if count is None else np.arange(first, first + count, dtype=np.int64)


def _again(seeded: bool, calls: int) -> Words:
    return Words(seeded=seeded, calls=calls)
