"""Mixing sets: the pictures to mix with, prepared once into one memory-mapped file.

`prepare` turns a folder (or a set that `generators` draws) into `<digest[:16]>.pictures`; `open_pictures` maps it.
The file is, in little-endian order,

    magic 16 bytes | layout uint32 | header length uint32 | digest 32 bytes | JSON header | zeros to 4096 | pixels

The digest is the SHA-256 of everything before the pixels except itself, and the header holds the SHA-256
of the pixels: opening always verifies the header, and one digest stands for the whole file.
Rule: the content depends on the pictures' relative paths and bytes alone, never on where they lie, when
they were written or how many threads prepared them; a prepared file is never changed in place.
"""

import hashlib
import json
import shutil
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixbake.data.cache import adding, sweep
from mixbake.data.decode import decode
from mixbake.data.generators import cached, drawn_side, parse_drawn, suggest_name
from mixbake.data.names import PICTURE_SUFFIXES, check_distinct, check_name, is_picture
from mixbake.errors import Damage, DecodeError, PlanDiffers, StorageError, UsageError

PREPARATION = 1
"""Version of what `prepare` does to pixels: a file of another version is not reused."""

LONGEST = 4
"""A prepared picture's long side is at most this many times its short side."""

_MAGIC = b"mixbake pictures"
_LAYOUT = 1
_HEAD = struct.Struct("<16sII")
_DIGEST_BYTES = hashlib.sha256().digest_size
_PAGE = 4096
_MAX_SIDE = 1 << 16
_COPIED = 1 << 20
"""Bytes copied at a time."""

Progress = Callable[[str, int, int], None]
"""(what is being done, done, total)."""
Pixels = NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")


def _silent(_what: str, _done: int, _total: int) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """An opened prepared file. It pickles to its path and digest; each process maps the file once.

    digest: SHA-256 hex, see the module. names: relative paths, `/` separators, sorted. skipped: (name,
    reason) of the pictures that could not be decoded. inputs: SHA-256 hex of what the file was made from.
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
    skipped: tuple[tuple[str, str], ...] = field(repr=False, compare=False)
    shapes: NDArray[np.int32] = field(repr=False, compare=False)
    offsets: NDArray[np.int64] = field(repr=False, compare=False)
    pixels: Pixels = field(repr=False, compare=False)
    pixels_sha256: str = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, index: int) -> Pixels:
        """Return picture `index` in [0, n): a read-only view uint8[height, width, channels] of the mapped file."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no picture {index} among the {len(self)} of {self.path}")
        height, width = self.shapes[index].tolist()
        start = int(self.offsets[index])
        return self.pixels[start : start + height * width * self.channels].reshape(height, width, self.channels)

    def __reduce__(self) -> tuple[Callable[[Path, str], "PictureSet"], tuple[Path, str]]:
        return _reopen, (self.path, self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """One picture file: its relative path with `/`, where it lies, its length in bytes, its SHA-256 hex."""

    name: str
    path: Path
    bytes: int
    sha256: str


def prepared_side(size: int) -> int:
    """Short side of the pictures prepared for a `size`-pixel bake: 36/32 up to 64, 256/224 above; in pixels."""
    return size * 36 // 32 if size <= 64 else round(size * 256 / 224)


def prepare(
    spec: str, folder: Path, *, size: int, gray: bool, jobs: int = 1, progress: Progress = _silent
) -> PictureSet:
    """Prepare a mixing set for a `size`-pixel bake into `folder`; a whole file of the same inputs is reused.

    spec: a folder of pictures (nested ones too; hidden and other files are ignored), or one of
    `generators.GENERATORS`, as in `fractals:count=256`.
    gray: store ITU-R 601 luma, one channel, computed after the resize. jobs: threads; the bytes do not depend
    on it. progress(what, done, total) is called in this thread after each picture that is drawn and
    prepared, not when a file is reused.
    Raises UsageError (no folder, no readable picture, link loop), PlanDiffers (a picture changed meanwhile),
    StorageError (reading or writing failed).
    """
    if not 1 <= size <= _MAX_SIDE // 2 or jobs < 1:
        raise UsageError(f"size is {size} and jobs is {jobs}: give 1 to {_MAX_SIDE // 2}, and at least 1")
    try:
        inputs = list(_in_order(_hashed, _list(spec, size, jobs, progress), jobs))
        side = prepared_side(size)
        digest = hashlib.sha256(_json([[item.name, item.bytes, item.sha256] for item in inputs])).hexdigest()
        made = {"channels": 1 if gray else 3, "inputs": digest, "preparation": PREPARATION, "side": side}
        folder.mkdir(parents=True, exist_ok=True)
        if reused := _find(folder, inputs, made):
            return reused
        sweep(folder)
        # The header comes first in the file but is known last, so pixels wait in a file without a name.
        with tempfile.TemporaryFile(dir=folder) as pixels:
            written = _write_pixels(pixels, inputs, partial(resized, side=side, gray=gray), jobs, progress)
            return open_pictures(_publish(folder, _json(made | written), pixels))
    except OSError as error:
        raise StorageError(f"cannot prepare {spec!r} in {folder}: {error}; mend that, then run again") from error


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


def _list(spec: str, size: int, jobs: int, progress: Progress) -> list[tuple[str, Path]]:
    """(relative path, file) of every picture of a spec, in code point order."""
    if drawn := parse_drawn(spec):
        what, count = f"drawing {drawn.name}", drawn.count
        kept = cached(drawn, side=drawn_side(size), jobs=jobs, progress=lambda done: progress(what, done, count))
        return [(name, kept / name) for name in map(drawn.file_name, range(count))]
    root = Path(spec).expanduser()
    if not root.is_dir():
        raise UsageError(f"the mixing set {spec!r} is no folder: {suggest_name(spec)}")
    found = sorted((path.relative_to(root).as_posix(), path) for path in _walk(root, frozenset()))
    if not found:
        known = " ".join(sorted(PICTURE_SUFFIXES))
        raise UsageError(f"the mixing set {spec!r} holds no picture ({known}): give another folder, or fractals")
    for name, _ in found:
        check_name(name)
    check_distinct(name for name, _ in found)
    return found


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """Picture files below `folder`; links are followed unless they lead back to a folder they lie in."""
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    if identity in above:
        raise UsageError(f"{str(folder)!r} is a link to a folder that holds it: remove the link")
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, above | {identity})
        elif is_picture(path.name):
            if not path.is_file():
                raise UsageError(f"{str(path)!r} is a link that leads nowhere, or a device: remove it")
            yield path


def _hashed(named: tuple[str, Path]) -> _Input:
    """Read one picture file to know what is in it: a size and a time of change can both survive an edit."""
    name, path = named
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return _Input(name=name, path=path, bytes=file.tell(), sha256=sha256)


def _find(folder: Path, inputs: Sequence[_Input], made: Mapping[str, object]) -> PictureSet | None:
    """Look in `folder` for a whole file that was `made` in the same way from the same inputs."""
    for path in sorted(folder.glob("[!.]*.pictures")):  # a hidden one is somebody's temporary, soon to be gone
        try:
            found = open_pictures(path)
            if any(getattr(found, name) != value for name, value in made.items()):
                continue
            open_pictures(path, check=True)
        except (Damage, StorageError):
            continue  # A damaged file is prepared again and replaced.
        skipped = {name for name, _ in found.skipped}
        # A newer decoder may read what an older one could not.
        if all(isinstance(_decoded(item), DecodeError) for item in inputs if item.name in skipped):
            return found
    return None


def _write_pixels(
    file: IO[bytes], inputs: Sequence[_Input], resize: Callable[[Pixels], Pixels], jobs: int, progress: Progress
) -> dict[str, object]:
    """Decode, resize and append every input to `file`, a few at a time; gives the header's fields about them."""
    names: list[str] = []
    shapes: list[tuple[int, ...]] = []
    skipped: list[tuple[str, str]] = []
    digest = hashlib.sha256()

    def work(item: _Input) -> Pixels | DecodeError:
        image = _decoded(item)
        return image if isinstance(image, DecodeError) else resize(image)

    for done, (item, picture) in enumerate(zip(inputs, _in_order(work, inputs, jobs), strict=True), 1):
        if isinstance(picture, DecodeError):
            skipped.append((item.name, str(picture)))
        else:
            names.append(item.name)
            shapes.append(picture.shape[:2])
            digest.update(picture.data)
            file.write(picture.data)
        progress("preparing mixing pictures", done, len(inputs))
    if not names:
        first = ": ".join(skipped[0])
        raise UsageError(f"none of the mixing set's {len(inputs)} pictures can be read ({first}): give other pictures")
    return {"names": names, "pixels_sha256": digest.hexdigest(), "shapes": shapes, "skipped": skipped}


def _decoded(item: _Input) -> Pixels | DecodeError:
    """Pixels of an input, or why there are none; PlanDiffers when its bytes are no longer those listed."""
    blob = item.path.read_bytes()
    if hashlib.sha256(blob).hexdigest() != item.sha256:
        raise PlanDiffers(f"{item.path} changed while the mixing set was being prepared: run again when it is at rest")
    try:
        return decode(blob)
    except DecodeError as error:
        return error


def resized(image: Pixels, *, side: int, gray: bool) -> Pixels:
    """Resize uint8[H, W, 3] to short side `side`, antialiased bilinear: uint8[h, w, 3], or [h, w, 1] when gray.

    The long side is cut centrally to LONGEST times the short one, then scaled with it and rounded down.
    Gray is ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16, of the resized pixels.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    tall, wide = min(height, LONGEST * short), min(width, LONGEST * short)
    top, left = (height - tall) // 2, (width - wide) // 2
    picture = Image.fromarray(image[top : top + tall, left : left + wide])
    # One axis a call: the order of Pillow's own two passes depends on its version and on the shape.
    for shape in ((wide, tall * side // short), (wide * side // short, tall * side // short)):
        picture = picture.resize(shape, Image.Resampling.BILINEAR)
    pixels = np.asarray(picture.convert("L") if gray else picture)
    return pixels.reshape(*pixels.shape[:2], -1)


def _in_order(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """`map` on `jobs` threads, at most 2·jobs results ahead of the caller, so that memory stays flat."""
    if jobs == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _preamble(header: bytes) -> tuple[bytes, str]:
    """Everything before the pixels, and its digest."""
    head = _HEAD.pack(_MAGIC, _LAYOUT, len(header))
    body = header + bytes(-(len(head) + _DIGEST_BYTES + len(header)) % _PAGE)
    digest = hashlib.sha256(head + body)
    return head + digest.digest() + body, digest.hexdigest()


def _publish(folder: Path, header: bytes, pixels: IO[bytes]) -> Path:
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
        fields = json.loads(header)
        shapes = np.array(fields["shapes"], dtype=np.int32).reshape(-1, 2)
        side, channels = int(fields["side"]), int(fields["channels"])
        lengths = shapes.prod(axis=1, dtype=np.int64) * channels
        total = int(lengths.sum())
        names, skipped = tuple(fields["names"]), tuple((name, reason) for name, reason in fields["skipped"])
        made_from = {key: fields[key] for key in ("inputs", "preparation", "pixels_sha256")}
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise _damage(path, f"its header is malformed ({error!r})") from error
    # Kernels do not check bounds, so a forged header must not get past here.
    bounded = len(shapes) and (shapes.min(axis=1) == side).all() and (shapes.max(axis=1) <= LONGEST * side).all()
    if not bounded or len(names) != len(shapes) or channels not in {1, 3} or not 1 <= side <= _MAX_SIDE:
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


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
