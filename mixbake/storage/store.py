"""Files that are either whole or absent, and the reading of them.

Rule: nothing appears under its final name before every byte of it is on the disk. A file is written
to a unique temporary in the same folder, hashed as it streams by, flushed, fsynced, renamed with
`os.replace`, and the folder is fsynced. A process that dies in between leaves a `.tmp-*` file, which
`remove_leftovers` knows by its name. Every OSError becomes a StorageError that says what to do.
"""

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixbake.errors import Damage, PlanDiffers, StorageError

R = TypeVar("R")
T = TypeVar("T")
Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]

BUFFER_BYTES = 1 << 17
AHEAD_BYTES = 3 << 17
"""A writer asks the kernel to begin with the disk after so many bytes, so that little is left when it is done."""
SYNC_FILE_RANGE_WRITE = 2
LEFTOVER = re.compile(r"\.tmp-\d+-[0-9a-f]{16}-.+", re.DOTALL)

ADVICE = {
    errno.ENOSPC: "free some space there, then run the same command again: what is finished is kept",
    errno.EDQUOT: "free some of your quota there, then run the same command again: what is finished is kept",
    errno.EFBIG: "choose a file system that holds larger files",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that you have the rights to, or change its rights",
    errno.EPERM: "choose a folder that you have the rights to, or change its rights",
    errno.ENOENT: "check that the path is right and was not removed meanwhile",
    errno.ENOTDIR: "check the path: one of its parents is a file",
    errno.EISDIR: "check the path: a folder stands where a file belongs",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then run the same command again",
    errno.ENAMETOOLONG: "choose a shorter path",
}
ADVICE_OTHERWISE = "check the disk or the mount, then run the same command again: what is finished is kept"

TRANSIENT = frozenset(
    {
        errno.EIO,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ECONNRESET,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENOTCONN,
    }
)


def storage_error(doing: str, path: Path, error: OSError) -> StorageError:
    """Turn `error`, met while `doing` ("write", "read", ...) the file `path`, into one that says what to do."""
    reason = error.strerror or str(error)
    return StorageError(f"cannot {doing} {path}: {reason}; {ADVICE.get(error.errno or 0, ADVICE_OTHERWISE)}")


@contextmanager
def _explained(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(doing, path, error) from error


def temporary_path(path: Path) -> Path:
    """Make up a name beside `path` that no file has and that `remove_leftovers` recognises."""
    return path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(8)}-{path.name}")


class HashingWriter:
    """A sequential writer that hashes and counts what passes; made by `publishing` only."""

    __slots__ = ("_begun", "_digest", "_file", "_path", "size")

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._file = open(descriptor, "wb", buffering=BUFFER_BYTES)  # noqa: SIM115 - closed by `settle` or `abandon`
        self._digest = hashlib.sha256()
        self.size = self._begun = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of everything written so far, as 64 hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, buffer: Buffer) -> None:
        """Append `buffer`: bytes, a memoryview or a uint8 array of any shape, C-contiguous (else TypeError).

        `size` is then the offset of the next byte. Raises StorageError when the disk refuses.
        """
        view = buffer.data if isinstance(buffer, np.ndarray) else memoryview(buffer)
        if not view.nbytes:
            return
        octets = view.cast("B")
        try:
            self._file.write(octets)
            if self.size - self._begun >= AHEAD_BYTES:
                self._file.flush()
                _begin_writing(self._file.fileno())
                self._begun = self.size
        except OSError as error:
            raise storage_error("write", self._path, error) from error
        self._digest.update(octets)
        self.size += octets.nbytes

    def settle(self) -> None:
        """Bring every byte to the disk and close."""
        with _explained("write", self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def abandon(self) -> None:
        """Close; what the disk refuses now is of no interest any more."""
        with suppress(OSError):
            self._file.close()


def _kernels_own() -> Callable[[int], None]:
    """Linux's sync_file_range, which starts writing dirty pages and does not wait; Python does not offer it."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is None:
        return lambda _: None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    # A hint: a file system that does not know it loses nothing, and `settle` finds whatever goes wrong.
    return lambda descriptor: function(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE)


_begin_writing = _kernels_own()


@contextmanager
def publishing(path: Path) -> Iterator[HashingWriter]:
    """Write `path` as a stream; it appears, whole, when the block ends without an exception.

    On any exception the temporary is removed and `path` is as before. The writer's `sha256` and
    `size` stay readable afterwards. Raises StorageError.
    """
    with publishing_all([path]) as (writer,):
        yield writer


@contextmanager
def publishing_all(paths: Sequence[Path]) -> Iterator[list[HashingWriter]]:
    """`publishing` for several files side by side, which wait for the disk together instead of in turn.

    None appears before the bytes of all are on the disk; then they appear one after the other.
    """
    temporaries = [temporary_path(path) for path in paths]
    writers: list[HashingWriter] = []
    try:
        for path, temporary in zip(paths, temporaries, strict=True):
            with _explained("create", path):
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            writers.append(HashingWriter(path, descriptor))
        yield writers
        _together(HashingWriter.settle, writers)
        for path, temporary in zip(paths, temporaries, strict=True):
            with _explained("publish", path):
                temporary.replace(path)
        _together(_fsync_folder, sorted({path.parent for path in paths}))
    except BaseException:
        for writer, temporary in zip(writers, temporaries, strict=False):
            writer.abandon()
            with suppress(OSError):
                temporary.unlink()
        raise


def _together(wait: Callable[[T], None], things: Sequence[T]) -> None:
    """Call `wait` on all at once: a file system commits many files in about the time of one."""
    if len(things) == 1:
        wait(things[0])
        return
    with ThreadPoolExecutor(max_workers=16) as pool:
        for _ in pool.map(wait, things):
            pass


def publish_bytes(path: Path, data: Buffer) -> None:
    """Write a small file whole or not at all, replacing what was there. Raises StorageError."""
    with publishing(path) as writer:
        writer.write(data)


def require_within(folder: Path, name: str) -> None:
    """Raise PlanDiffers when `name` in `folder` lies behind a link that leads elsewhere, or is a folder itself."""
    if not (folder / name).parent.resolve().is_relative_to(folder.resolve()):
        raise PlanDiffers(f"{name} in {folder} is behind a link that leads elsewhere: remove that link")
    if (folder / name).is_dir():
        raise PlanDiffers(f"{name} in {folder} is a folder where a file belongs: remove it yourself")


def _fsync_folder(folder: Path) -> None:
    with _explained("publish in", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network and FUSE mounts have no fsync of folders: the rename is all that they offer.
            if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
                raise
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Delete the temporaries of dead builds below `folder`; returns how many there were.

    Goes by the name alone: call it under the folder's lock, before any worker starts.
    """
    removed = 0
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names if LEFTOVER.fullmatch(name)):
            with _explained("remove", path):
                path.unlink(missing_ok=True)
            removed += 1
    return removed


def retrying(read: Callable[[], R], path: Path, *, attempts: int = 3, pause: float = 0.1) -> R:
    """Return `read()`, tried again when a disk or a network mount hiccups.

    `pause` is in seconds and doubles. Raises StorageError at once for an error that stays (no such
    file, no rights), and after `attempts` for one that could have passed (EIO, ESTALE, ...).
    """
    for attempt in range(1, attempts + 1):
        try:
            return read()
        except OSError as error:
            if error.errno not in TRANSIENT or attempt == attempts:
                raise storage_error("read", path, error) from error
            time.sleep(pause * 2 ** (attempt - 1))
    raise ValueError(f"attempts must be at least 1, not {attempts}")


def sha256_file(path: Path) -> tuple[str, int]:
    """SHA-256 (64 hexadecimal digits) and length in bytes of a file. Raises StorageError."""

    def read() -> tuple[str, int]:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()

    return retrying(read, path)


def read_json(path: Path) -> Any:
    """Read the value in a JSON file. Raises StorageError when it cannot be read, Damage when it is not JSON."""
    data = retrying(path.read_bytes, path)
    try:
        return json.loads(data)
    except ValueError as error:
        raise Damage(f"{path} is not JSON ({error}): restore it from a copy, or bake into a new folder") from error


def canonical_json(value: object) -> bytes:
    """Spell `value` in the one way: sorted keys, no spaces, ASCII. ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")
