"""Files from elsewhere, kept on this machine under the SHA-256 of their contents: `CACHE/3f/3f2a...`.

Processes, ranks and bakes share them. Rules: whoever fetches, uses or deletes a file holds its lock, a flock
on `.lock-<sha256>` beside it, which dies with its process; what lies under a temporary name while nobody
holds that lock is a dead process's; a file is deleted only if its name and place are exactly ours.

A path that was handed out stays valid for at least `spare_seconds`, in which its user opens or maps it; what
is open or mapped stays readable after that, as POSIX keeps the bytes of a deleted file until it is closed.
So the folder may exceed its limit by what was used in these seconds.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mixbake.storage.store import storage_error, temporary_path

DIGEST = re.compile(r"([0-9a-f]{64})")
TEMPORARY = re.compile(r"\.tmp-\d+-[0-9a-f]{16}-([0-9a-f]{64})")
"""What `temporary_path` makes of a digest."""

_open_locks: set[int] = set()
"""Descriptors of locks that threads of this process hold or wait for."""


def _close_locks() -> None:
    while _open_locks:
        os.close(_open_locks.pop())


# A forked child shares the locks of its parent's threads, and would keep them after the parent has died.
os.register_at_fork(after_in_child=_close_locks)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentCache:
    """A folder of files under their SHA-256; `limit_bytes` 0 means that nothing is ever deleted."""

    root: Path
    limit_bytes: int = 0
    spare_seconds: float = 60.0

    def path(self, sha256: str) -> Path:
        """Where the file with this SHA-256 (64 hexadecimal digits) lies, once it is there."""
        return self.root / sha256[:2] / sha256

    def keep(self, *, size: int, sha256: str, fetch: Callable[[Path], None]) -> Path:
        """The file with this size and SHA-256; if it is not there yet, `fetch(path)` writes it and checks it.

        Of all threads and processes that ask at once one fetches, and the others wait for it; should it fail
        or die, the next one tries. Raises StorageError when the folder cannot be written to, and what
        `fetch` raises; then nothing is left behind.
        """
        path = self.path(sha256)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error("create", path.parent, error) from error
        with _lock(path):
            if _use(path, size):
                return path
            _fetch_whole(path, fetch)
        if self.limit_bytes:
            self._evict(path)
        return path

    def sweep(self) -> None:
        """Delete what processes that died while fetching have left."""
        for path, digest in self._files(TEMPORARY):
            with _lock(self.path(digest), wait=False) as alone, suppress(OSError):
                if alone:
                    path.unlink()

    def _evict(self, newest: Path) -> None:
        """Delete the least recently used files until the limit is kept; `newest` has just been fetched."""
        files = sorted((stat.st_mtime, stat.st_size, path) for path, _ in self._files(DIGEST) if (stat := _stat(path)))
        excess = sum(size for _, size, _ in files) - self.limit_bytes
        for used, size, path in files:
            if excess <= 0 or self._spared(used):
                return
            if path != newest and self._delete_unused(path):
                excess -= size

    def _delete_unused(self, path: Path) -> bool:
        """Delete a file unless somebody has used it since it was listed; returns whether it is gone."""
        with _lock(path, wait=False) as alone:
            stat = _stat(path)
            if stat is None:
                return True
            if not alone or self._spared(stat.st_mtime):
                return False
            with suppress(OSError):  # another user's, perhaps: the next one goes instead
                path.unlink()
                return True
            return False

    def _spared(self, used: float) -> bool:
        return time.time() - used < self.spare_seconds

    def _files(self, pattern: re.Pattern[str]) -> Iterator[tuple[Path, str]]:
        """Files of ours whose names match, with their digests: regular ones, each in the folder it belongs in."""
        for folder in _entries(self.root):
            for entry in _entries(folder.path) if folder.is_dir(follow_symlinks=False) else ():
                named = pattern.fullmatch(entry.name)
                if named and folder.name == named[1][:2] and entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), named[1]


def _use(path: Path, size: int) -> bool:
    """Mark a file as used now; False when it is not there whole."""
    stat = _stat(path)
    if stat is None or stat.st_size != size:
        return False
    with suppress(OSError):  # a read-only cache serves all the same
        os.utime(path)
    return True


def _fetch_whole(path: Path, fetch: Callable[[Path], None]) -> None:
    """Let `fetch` write a temporary, and publish it. Called under the file's lock."""
    temporary = temporary_path(path)
    try:
        try:
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise storage_error("write", path, error) from error
        fetch(temporary)
        try:
            _settle(temporary)
            temporary.replace(path)
        except OSError as error:
            raise storage_error("write", path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Bring a file to the disk: after a power cut, a size that is right must not stand for zeros."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _entries(folder: str | Path) -> list["os.DirEntry[str]"]:
    """What is in a folder, sorted; nothing if it is gone or not ours to read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


@contextmanager
def _lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of the file `path`; yields whether it is held.

    It is not when somebody else has it and `wait` is False, or when the file system has no locks or is
    read-only: then everybody fetches for himself, and nothing is deleted.
    """
    lock = path.with_name(f".lock-{path.name}")
    descriptor = _acquire(lock, wait=wait)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            with suppress(OSError):
                lock.unlink()  # while still held: whoever waits for it notices, and opens a new one
            _let_go(descriptor)


def _acquire(lock: Path, *, wait: bool) -> int | None:
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError:
            return None
        _open_locks.add(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(lock.stat(), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:
            pass  # its holder has removed it: again, with a new one
        except OSError:
            _let_go(descriptor)
            return None
        except BaseException:
            _let_go(descriptor)
            raise
        _let_go(descriptor)


def _let_go(descriptor: int) -> None:
    """Unlock and close; unlocked explicitly because a process forked meanwhile may have a copy still."""
    _open_locks.discard(descriptor)
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
