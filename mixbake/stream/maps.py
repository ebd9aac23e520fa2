"""Files mapped into memory without keeping a descriptor open for each.

Python's own mmap holds a duplicate of the descriptor until it is closed (before 3.13 always), and a bake may
have 25,000 shards where a process may open 1,024 files. Rule: a mapping is read-only, has the size that was
promised when it was made, and lives as long as any array that shows it.
"""

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.storage.store import storage_error

PROT_READ, MAP_SHARED = 1, 1
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class _Mapping:
    """Pages of a file, given back when nothing refers to them any more."""

    def __init__(self, address: int, size: int) -> None:
        self._address, self._size = address, size
        self.__array_interface__ = {"version": 3, "shape": (size,), "typestr": "|u1", "data": (address, True)}

    def __del__(self, _munmap: Any = _libc.munmap) -> None:
        _munmap(self._address, self._size)


def map_file(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, uint8[size], read-only. Raises StorageError when it cannot be mapped.

    Do not shorten a mapped file: whoever reads beyond its new end is killed by the kernel (SIGBUS).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error("read", path, error) from error
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            return np.zeros(0, np.uint8)
        address = _libc.mmap(None, size, PROT_READ, MAP_SHARED, descriptor, 0)
        if address == _FAILED:
            code = ctypes.get_errno()
            raise storage_error("map", path, OSError(code, os.strerror(code)))
    finally:
        os.close(descriptor)
    return np.asarray(_Mapping(address, size))
