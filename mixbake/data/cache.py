"""Files that are kept for the next bake: added whole, and what dead processes left beside them swept away.

Rule: a living process's file is never touched. Its number says whether it lives, but not to another container
or host: so who adds a file holds a shared lock on the folder, which dies with its process, and who sweeps
needs the lock alone.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mixbake.storage.store import LEFTOVER, HashingWriter, publishing


@contextmanager
def adding(path: Path) -> Iterator[HashingWriter]:
    """Write `path` as a stream; it appears, whole, when the block ends without an exception. Raises StorageError."""
    with _lock(path.parent, fcntl.LOCK_SH), publishing(path) as writer:
        yield writer


def sweep(folder: Path) -> None:
    """Delete the temporaries of dead processes in `folder`, not below it; nothing while others add files there."""
    with _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
        if not alone:
            return
        for path in folder.iterdir():
            if LEFTOVER.fullmatch(path.name) and not _lives(int(path.name.split("-")[1])):
                with suppress(OSError):  # somebody else's, perhaps: no reason not to go on
                    path.unlink()


@contextmanager
def _lock(folder: Path, kind: int) -> Iterator[bool]:
    """Hold a lock on a folder, or not: some network mounts have none. Nobody ever has it alone there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _flocked(descriptor, kind)
    finally:
        os.close(descriptor)


def _flocked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind)
    except OSError:
        return False
    return True


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
