"""Mixing sets: the pictures to mix with, prepared once into one memory-mapped file (`data.prepared`).

Rule: the content depends on the pictures' relative paths and bytes alone, never on where they lie, when
they were written or how many threads prepared them; a prepared file is never changed in place.
"""

import hashlib
import json
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import Image

from mixbake.data.cache import sweep
from mixbake.data.decode import decode
from mixbake.data.generators import cached, drawn_side, parse_drawn, suggest_name
from mixbake.data.names import PICTURE_SUFFIXES, check_distinct, check_name, is_picture
from mixbake.data.prepared import LONGEST, MAX_SIDE, PictureSet, Pixels, open_pictures, publish_pictures
from mixbake.errors import Damage, DecodeError, PlanDiffers, StorageError, UsageError

PREPARATION = 1
"""Version of what `prepare` does to pixels: a file of another version is not reused."""

MOST_ENLARGED = 4
"""A set whose pictures are all smaller than 1/MOST_ENLARGED of the output is refused: blown up they are blots."""

Progress = Callable[[str, int, int], None]
"""(what is being done, done, total)."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def _silent(_what: str, _done: int, _total: int) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """One picture file: its relative path with `/`, where it lies, its length in bytes, its SHA-256 hex."""

    name: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """Pictures that were written, and those that could not be; given: short side of each before it was resized."""

    names: list[str]
    shapes: list[tuple[int, ...]]
    skipped: list[tuple[str, str]]
    given: list[int]
    pixels_sha256: str

    def to_json(self) -> dict[str, object]:
        """The header's fields."""
        told = {"names": self.names, "shapes": self.shapes, "skipped": self.skipped}
        return {**told, "pixels_sha256": self.pixels_sha256}


def prepared_side(size: int) -> int:
    """Short side of the pictures prepared for a `size`-pixel bake: 36/32 up to 64, 256/224 above; in pixels."""
    return size * 36 // 32 if size <= 64 else round(size * 256 / 224)


def prepare(
    spec: str | Sequence[str], folder: Path, *, size: int, gray: bool, jobs: int = 1, progress: Progress = _silent
) -> PictureSet:
    """Prepare mixing sets for a `size`-pixel bake into `folder`; a whole file of the same inputs is reused.

    spec: a folder of pictures (nested ones too; hidden and other files are ignored), or one of
    `generators.GENERATORS`, as in `fractals:count=256`; or several such, in order, which become one file. gray: store
    ITU-R 601 luma, one channel, computed after the resize. jobs: threads; the bytes do not depend on it.
    progress(what, done, total) is called in this thread after each picture that is drawn and prepared, not when a file
    is reused.
    Raises UsageError (no folder, a set without readable or large enough picture, link loop), PlanDiffers (a picture
    changed meanwhile), StorageError (reading or writing failed).
    """
    specs = (spec,) if isinstance(spec, str) else tuple(spec)
    if not 1 <= size <= MAX_SIDE // 2 or jobs < 1:
        raise UsageError(f"size is {size} and jobs is {jobs}: give 1 to {MAX_SIDE // 2}, and at least 1")
    try:
        sets = [list(_in_order(_hashed, listed, jobs)) for listed in _list_all(specs, size, jobs, progress)]
        inputs = [item for one in sets for item in one]
        side = prepared_side(size)
        digest = _digest_of(sets)
        made = {"channels": 1 if gray else 3, "inputs": digest, "preparation": PREPARATION, "side": side}
        folder.mkdir(parents=True, exist_ok=True)
        if reused := _find(folder, inputs, made):
            return reused
        sweep(folder)
        # The header comes first in the file but is known last, so pixels wait in a file without a name.
        with tempfile.TemporaryFile(dir=folder) as pixels:
            written = _write_pixels(pixels, inputs, partial(resized, side=side, gray=gray), jobs, progress)
            header = made | written.to_json() | _starts(specs, sets, written, size)
            return open_pictures(publish_pictures(folder, _json(header), pixels))
    except OSError as error:
        raise StorageError(
            f"cannot prepare {spell_specs(spec)} in {folder}: {error}; mend that, then run again"
        ) from error


def spell_specs(spec: str | Sequence[str]) -> str:
    """Mixing sets as messages name them."""
    return spec if isinstance(spec, str) else ", ".join(spec)


def find_folder(spec: str) -> Path | None:
    """The folder that a mixing set is; None where there is none. A blank spec is none, the current folder is `.`."""
    root = Path(spec).expanduser()
    return root if spec.strip() and root.is_dir() else None


def _list_all(specs: Sequence[str], size: int, jobs: int, progress: Progress) -> list[list[tuple[str, Path]]]:
    """`_list` of each set. A single set's names are bare; of several, two may have pictures of one name."""
    listed = [_list(spec, size, jobs, progress) for spec in specs]
    if len(listed) == 1:
        return listed
    return [[(f"{number}/{name}", path) for name, path in found] for number, found in enumerate(listed, 1)]


def _list(spec: str, size: int, jobs: int, progress: Progress) -> list[tuple[str, Path]]:
    """(relative path, file) of every picture of a spec, in code point order."""
    if drawn := parse_drawn(spec):
        what, count = f"drawing {drawn.name}", drawn.count
        kept = cached(drawn, side=drawn_side(size), jobs=jobs, progress=lambda done: progress(what, done, count))
        return [(name, kept / name) for name in map(drawn.file_name, range(count))]
    if (root := find_folder(spec)) is None:
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


def _digest_of(sets: Sequence[Sequence[_Input]]) -> str:
    """SHA-256 hex of what a file is made from: names, lengths and contents, and where a set ends."""
    told = [[[item.name, item.bytes, item.sha256] for item in one] for one in sets]
    return hashlib.sha256(_json(told[0] if len(told) == 1 else told)).hexdigest()


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
) -> _Written:
    """Decode, resize and append every input to `file`, a few at a time."""
    names: list[str] = []
    shapes: list[tuple[int, ...]] = []
    skipped: list[tuple[str, str]] = []
    given: list[int] = []
    digest = hashlib.sha256()

    def work(item: _Input) -> tuple[Pixels, int] | DecodeError:
        image = _decoded(item)
        return image if isinstance(image, DecodeError) else (resize(image), min(image.shape[:2]))

    for done, (item, made) in enumerate(zip(inputs, _in_order(work, inputs, jobs), strict=True), 1):
        if isinstance(made, DecodeError):
            skipped.append((item.name, str(made)))
        else:
            picture, side = made
            names.append(item.name)
            shapes.append(picture.shape[:2])
            given.append(side)
            digest.update(picture.data)
            file.write(picture.data)
        progress("preparing mixing pictures", done, len(inputs))
    return _Written(names=names, shapes=shapes, skipped=skipped, given=given, pixels_sha256=digest.hexdigest())


def _starts(
    specs: Sequence[str], sets: Sequence[Sequence[_Input]], written: _Written, size: int
) -> dict[str, list[int]]:
    """The header's field of where sets begin; a single set has none.

    Raises UsageError for a set of which nothing can be read, or nothing is large enough.
    """
    reasons, starts, end = dict(written.skipped), list[int](), 0
    for spec, inputs in zip(specs, sets, strict=True):
        readable = sum(item.name not in reasons for item in inputs)
        whose = "the mixing set" if len(specs) == 1 else f"the mixing set {spec!r}"
        if not readable:
            first = f"{inputs[0].name}: {reasons[inputs[0].name]}"
            raise UsageError(f"none of {whose}'s {len(inputs)} pictures can be read ({first}): give other pictures")
        largest = max(written.given[end : end + readable])
        if largest * MOST_ENLARGED < size:
            raise UsageError(
                f"{whose} is too small for {size} px: none of its {readable} pictures has more than {largest} px a "
                f"side: give pictures of {-(-size // MOST_ENLARGED)} px at least, better {prepared_side(size)}"
            )
        starts.append(end)
        end += readable
    return {"starts": starts} if len(starts) > 1 else {}


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


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
