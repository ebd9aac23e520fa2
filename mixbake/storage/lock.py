"""One build, or training, at a time in a folder: an advisory lock of the kernel on the file `.lock`.

Rule: the lock is the flock, never the file. The kernel drops a flock when its process ends, however
it ends, so a `.lock` that a killed build left behind blocks nobody. The holder removes the file
before it lets go; whoever then holds a lock on a removed file notices (the path no longer leads to
it) and tries again, so two builds never hold the folder together.
"""

import errno
import fcntl
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mixbake.errors import Locked, MixbakeError, StorageError
from mixbake.storage.store import canonical_json, storage_error

NAME = ".lock"
HELD_ELSEWHERE = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})


class FolderLock:
    """Context manager that holds `folder` for this process from enter to exit.

    Entering never waits. Raises Locked when another process has the folder, and
    StorageError when the folder cannot be written to or its file system has no locks.
    """

    __slots__ = ("_descriptor", "_path")

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._descriptor = -1

    def __enter__(self) -> Self:
        while self._descriptor < 0:
            self._descriptor = _acquire(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Removed while still held: a later holder then never removes a file that is not its own.
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


def _acquire(path: Path) -> int:
    """Descriptor of the locked file with our name in it, or -1 when its last holder has just removed it."""
    try:
        # Close-on-exec: a worker process must not keep the folder locked after the build has died.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise storage_error("lock", path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _leads_to(path, descriptor):
            os.close(descriptor)
            return -1
    except OSError as error:
        refusal = _refusal(path, descriptor, error)
        os.close(descriptor)
        raise refusal from error
    try:
        _sign(descriptor)
    except OSError as error:
        # Ours, and of no use without a name in it (a full disk): removed while held, as at the end.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)
        raise storage_error("lock", path, error) from error
    return descriptor


def _leads_to(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, canonical_json({"host": socket.gethostname(), "pid": os.getpid()}), 0)


def _refusal(path: Path, descriptor: int, error: OSError) -> MixbakeError:
    if error.errno in HELD_ELSEWHERE:
        return Locked(
            f"another process works in {path.parent} ({_holder(descriptor)}):"
            " wait for it, stop it, or choose another folder"
        )
    if error.errno in NO_LOCKS:
        return StorageError(
            f"the file system of {path.parent} has no file locks ({error.strerror}):"
            " choose a folder on a local disk, or mount this one with locks"
        )
    return storage_error("lock", path, error)


def _holder(descriptor: int) -> str:
    try:
        told = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(told['pid'])} on host {told['host']!s}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not told its process number yet"
