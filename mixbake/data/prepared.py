"""The file of prepared mixing pictures: its layout, written whole and opened with its header verified.

It is `<digest[:16]>.pictures`, in little-endian order

    magic 16 bytes | layout uint32 | header length uint32 | digest 32 bytes | JSON header | zeros to 4096 | pixels

The digest is the SHA-256 of everything before the pixels except itself, and the header holds the SHA-256
of the pixels: opening always verifies the header, and one digest stands for the whole file.
Rule: nothing is taken from a file before its header was compared with its digest, and with itself.
"""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mixbake.data.cache import adding
from mixbake.errors import Damage, StorageError

LONGEST = 4
"""A prepared picture's long side is at most this many times its short side."""
MAX_SIDE = 1 << 16

_MAGIC = b"mixbake pictures"
_LAYOUT = 1
_HEAD = struct.Struct("<16sII")
_DIGEST_BYTES = hashlib.sha256().digest_size
_PAGE = 4096
_COPIED = 1 << 20
"""Bytes copied at a time."""

Pixels = NDArray[np.uint8]


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _list_of(is_kind: Callable[[object], bool], length: int | None = None) -> Callable[[object], bool]:
    def holds(value: object) -> bool:
        return isinstance(value, list) and length in (None, len(value)) and all(map(is_kind, value))

    return holds


_KINDS: dict[str, Callable[[object], bool]] = {
    "shapes": _list_of(_list_of(_is_whole, 2)),
    "side": _is_whole,
    "channels": _is_whole,
    "names": _list_of(_is_text),
    "skipped": _list_of(_list_of(_is_text, 2)),
    "starts": _list_of(_is_whole),
    "inputs": _is_text,
    "preparation": _is_whole,
    "pixels_sha256": _is_text,
}
"""Field of a header -> whether a value is of its kind; numbers are never rounded or read from text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """An opened prepared file. It pickles to its path and digest; each process maps the file once.

    digest: SHA-256 hex, see the module. names: relative paths, `/` separators, sorted; those of several sets come set
    by set and begin with the set's number, `1/` for the first. starts: number of each set's first picture. skipped:
    (name, reason) of the pictures that could not be decoded. inputs: SHA-256 hex of what the file was made from.
    channels: 3, or 1 for gray. side: every picture's short side. shapes: int32[n, 2], (height, width).
    offsets: int64[n], where picture i begins in `pixels`: uint8, flat, mapped, read-only.
    """

    path: Path
    digest: str
    channels: int
    side: int
    preparation: int
    inputs: str = field(repr=False)
    names: tuple[str, ...] = field(repr=False, compare=False)
    starts: tuple[int, ...] = field(repr=False, compare=False)
    skipped: tuple[tuple[str, str], ...] = field(repr=False, compare=False)
    shapes: NDArray[np.int32] = field(repr=False, compare=False)
    offsets: NDArray[np.int64] = field(repr=False, compare=False)
    pixels: Pixels = field(repr=False, compare=False)
    pixels_sha256: str = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many pictures each set has."""
        return tuple(end - start for start, end in pairwise((*self.starts, len(self))))

    def picture(self, index: int) -> Pixels:
        """Return picture `index` in [0, n): a read-only view uint8[height, width, channels] of the mapped file."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no picture {index} among the {len(self)} of {self.path}")
        height, width = self.shapes[index].tolist()
        start = int(self.offsets[index])
        return self.pixels[start : start + height * width * self.channels].reshape(height, width, self.channels)

    def __reduce__(self) -> tuple[Callable[[Path, str], "PictureSet"], tuple[Path, str]]:
        return _reopen, (self.path, self.digest)


def open_pictures(path: Path, *, check: bool = False) -> PictureSet:
    """Map a prepared file; its header is always verified, its pixels only with `check`, which reads them all.

    Raises Damage naming the file when it is not as `prepare` wrote it, StorageError when it cannot be read.
    """
    try:
        path = path.resolve(strict=True)
        status = path.stat()
        opened = _map(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}; prepare the mixing set again") from error
    if check and hashlib.sha256(opened.pixels.data).hexdigest() != opened.pixels_sha256:
        raise _damage(path, "its pixels are not those that were written")
    return opened


def _reopen(path: Path, digest: str) -> PictureSet:
    opened = open_pictures(path)
    if opened.digest != digest:
        raise _damage(path, f"its digest is {opened.digest[:16]}, not {digest[:16]}")
    return opened


def _preamble(header: bytes) -> tuple[bytes, str]:
    """Everything before the pixels, and its digest."""
    head = _HEAD.pack(_MAGIC, _LAYOUT, len(header))
    body = header + bytes(-(len(head) + _DIGEST_BYTES + len(header)) % _PAGE)
    digest = hashlib.sha256(head + body)
    return head + digest.digest() + body, digest.hexdigest()


def publish_pictures(folder: Path, header: bytes, pixels: IO[bytes]) -> Path:
    """Add the file of preamble and pixels to `folder`, under the name that its digest gives it."""
    preamble, digest = _preamble(header)
    path = folder / f"{digest[:16]}.pictures"
    pixels.seek(0)
    with adding(path) as writer:
        writer.write(preamble)
        shutil.copyfileobj(pixels, writer, _COPIED)
    return path


@lru_cache(maxsize=8)
def _map(path: Path, _identity: tuple[int, int, int, int]) -> PictureSet:
    """Map a file; `_identity` differs once another file has taken its name."""
    header, start, digest = _read_header(path)
    try:
        fields = {"starts": [0], **json.loads(header)}
        if wrong := [name for name, is_kind in _KINDS.items() if not is_kind(fields[name])]:
            raise _damage(path, f"its header is malformed ({', '.join(wrong)})")
        shapes = np.array(fields["shapes"], dtype=np.int32).reshape(-1, 2)
        side, channels = fields["side"], fields["channels"]
        lengths = shapes.prod(axis=1, dtype=np.int64) * channels
        total = int(lengths.sum())
        names, skipped = tuple(fields["names"]), tuple((name, reason) for name, reason in fields["skipped"])
        starts = tuple(fields["starts"])
        made_from = {key: fields[key] for key in ("inputs", "preparation", "pixels_sha256")}
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise _damage(path, f"its header is malformed ({error!r})") from error
    # Kernels do not check bounds, so a forged header must not get past here.
    bounded = len(shapes) and (shapes.min(axis=1) == side).all() and (shapes.max(axis=1) <= LONGEST * side).all()
    rising = starts[:1] == (0,) and all(start < end for start, end in pairwise((*starts, len(names))))
    if not (bounded and rising) or len(names) != len(shapes) or channels not in {1, 3} or not 1 <= side <= MAX_SIDE:
        raise _damage(path, "its header contradicts itself")
    if path.stat().st_size != start + total:
        raise _damage(path, f"it has {path.stat().st_size} bytes instead of {start + total}")
    # A plain array over the map: numba does not know the memmap type, and slicing it is slow.
    pixels = np.memmap(path, dtype=np.uint8, mode="r", offset=start, shape=(total,)).view(np.ndarray)
    return PictureSet(
        path=path,
        digest=digest,
        channels=channels,
        side=side,
        names=names,
        starts=starts,
        skipped=skipped,
        shapes=shapes,
        offsets=np.cumsum(lengths) - lengths,
        pixels=pixels,
        **made_from,
    )


def _read_header(path: Path) -> tuple[bytes, int, str]:
    """Read (JSON header, where the pixels begin, digest). Raises Damage when the digest does not fit."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or not head.startswith(_MAGIC):
            raise _damage(path, "it does not begin as one")
        _, layout, length = _HEAD.unpack(head)
        if layout != _LAYOUT:
            raise _damage(path, f"its layout is {layout}, this version reads {_LAYOUT}")
        stored = file.read(_DIGEST_BYTES + length)
        header = stored[_DIGEST_BYTES:]
        preamble, digest = _preamble(header)
        written = head + stored + file.read(max(0, len(preamble) - len(head) - len(stored)))
    if written != preamble:
        raise _damage(path, "its header is not the one that was written")
    return header, len(preamble), digest


def _damage(path: Path, reason: str) -> Damage:
    return Damage(f"{path} is no whole file of prepared pictures: {reason}; delete it and prepare the mixing set again")
