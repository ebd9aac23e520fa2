"""How kernels are compiled: one decorator, one cache folder on the local disk.

numba's cache notices a change only in the file that holds the compiled function, so a kernel that
calls an edited helper elsewhere would be served stale. Here the cache folder is named by a digest of
every file of `mixbake.core` and of the function's own folder: any edit opens a fresh folder.
Rule: every kernel goes through `jit`; none uses fastmath, so pixels are the same on every CPU.
"""

import hashlib
import inspect
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.extending

F = TypeVar("F", bound=Callable[..., Any])

intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.extending.intrinsic
"""A function that emits LLVM instructions, as a callable for kernels."""

_config: Any = numba.config


def cache_root() -> Path:
    """Folder for everything that can be made again: compiled kernels, drawn fractals.

    `MIXBAKE_CACHE` overrides the user's cache folder. Kernels must not be shared between hosts over a
    network folder: numba reads and writes its index without a lock.
    """
    if given := os.environ.get("MIXBAKE_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mixbake"


@cache
def _digest(own: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted({*Path(__file__).parent.rglob("*.py"), *own.parent.glob("*.py")}):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def kernel_cache(own: Path) -> Path:
    """The folder that holds compiled code of the functions in file `own`."""
    return cache_root() / "kernels" / _digest(own)


def jit(function: F) -> F:
    """Compile `function` on its first call, without the GIL, cached on disk, IEEE arithmetic only."""
    previous = _config.CACHE_DIR
    # Set only while decorating: other numba code in the user's process keeps its own folder.
    _config.CACHE_DIR = str(kernel_cache(Path(inspect.getfile(function)).resolve()))
    try:
        compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        _config.CACHE_DIR = previous
    return cast("F", compiled)


def inline(function: F) -> F:
    """A kernel that only other kernels call: compiled once a process, not cached on its own."""
    return cast("F", numba.njit(nogil=True, error_model="numpy")(function))


def splice(function: F) -> F:
    """A kernel that only passes on to others: pasted into its caller before compilation.

    Each level of `inline` calls is optimised again with everything below it; pasting the levels that do
    no arithmetic halves the time of the first compilation.
    """
    return cast("F", numba.njit(nogil=True, error_model="numpy", inline="always")(function))
