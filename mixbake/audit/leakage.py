"""Pictures of a test set among those a bake was made of.

    both: decoded, the central square at the bake's size -> fingerprints -> equal, or near (`audit.hashing`)
Rule: a test picture is named once, with the image that it is, or that is nearest to it. Only test pictures are held;
images pass by in batches.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixbake.audit import hashing
from mixbake.audit.hashing import Fingerprints
from mixbake.audit.images import Images
from mixbake.audit.originals import mapped_ahead, squared
from mixbake.data.decode import decode
from mixbake.data.listing import Blob
from mixbake.data.names import is_picture
from mixbake.errors import DecodeError, StorageError, UsageError
from mixbake.storage.plan import Plan
from mixbake.storage.store import retrying

Bytes = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]
TOGETHER_BYTES = 1 << 24
"""Bytes of pixels that fingerprints are taken of at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tests:
    """Test pictures that can be decoded: paths in their folder, fingerprints. unreadable: how many others there are."""

    paths: tuple[str, ...]
    prints: Fingerprints
    unreadable: int


def list_pictures(folder: Path) -> list[str]:
    """Pictures at any depth of a folder, relative, `/` separators, sorted. Raises UsageError when there is none.

    Hidden ones do not exist; links are followed, every folder is entered once.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}: give the folder of the test pictures")
    found, entered, pending = [], set(), [""]
    while pending:
        inside = pending.pop()
        if (real := (folder / inside).resolve()) in entered:
            continue
        entered.add(real)
        try:
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    path = f"{inside}/{entry.name}" if inside else entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        pending.append(path)
                    elif is_picture(entry.name) and entry.is_file():
                        found.append(path)
        except OSError as error:
            raise StorageError(
                f"{str(folder / inside)!r} cannot be listed: {error.strerror}: check the disk"
            ) from error
    if not found:
        raise UsageError(f"{str(folder)!r} holds no pictures: give the folder of the test pictures")
    return sorted(found)


def read_tests(folder: Path, plan: Plan, progress: Progress) -> Tests:
    """The pictures of a folder. Raises UsageError when there are none, StorageError."""
    paths = list_pictures(folder)

    def load(path: str) -> Bytes | None:
        blob = retrying((folder / path).read_bytes, folder / path)
        try:
            return squared(decode(blob, background=plan.background), plan.size)
        except DecodeError:
            return None

    readable: list[str] = []

    def pictures() -> Iterator[Bytes]:
        for number, (path, picture) in enumerate(zip(paths, mapped_ahead(load, paths), strict=True), start=1):
            if picture is not None:
                readable.append(path)
                yield picture
            progress("test pictures read", number, len(paths))

    prints = hashing.joined(list(_fingerprints(pictures(), plan.size)))
    return Tests(paths=tuple(readable), prints=prints, unreadable=len(paths) - len(readable))


class Search:
    """Looks for test pictures among fingerprints that are added batch by batch."""

    def __init__(self, tests: Tests) -> None:
        self._prints = tests.prints
        self._exact = np.full(len(tests.paths), -1)
        self._near, self._bits = np.full(len(tests.paths), -1), np.full(len(tests.paths), hashing.DISTANCE + 1)
        self._added = 0

    def add(self, prints: Fingerprints) -> None:
        """Compare with these, numbered on from the last ones."""
        equal = {digest.tobytes(): number for number, digest in reversed(list(enumerate(prints.digests)))}
        for test, digest in enumerate(self._prints.digests):
            number = equal.get(digest.tobytes())
            if number is not None and self._exact[test] < 0:
                self._exact[test] = self._added + number
        found, bits = hashing.find_near(self._prints, prints)
        nearer = bits < self._bits
        self._near[nearer], self._bits[nearer] = self._added + found[nearer], bits[nearer]
        self._added += len(prints)

    def found(self) -> list[tuple[bool, int, int]]:
        """(whether equal, number of the test picture, number of what it is), by test picture.

        Near-constant test pictures are found only if they are equal: any two of them look alike.
        """
        matched = np.where(self._exact >= 0, self._exact, self._near)
        return [(bool(self._exact[test] >= 0), int(test), int(matched[test])) for test in np.flatnonzero(matched >= 0)]


def search_images(
    search: Search, originals: Images, plan: Plan, images: Sequence[tuple[str, str]], progress: Progress
) -> None:
    """Add images of the source, each given as path and SHA-256. Raises PlanDiffers, StorageError."""

    def pictures() -> Iterator[Bytes]:
        def load(stored: tuple[str, Blob]) -> Bytes:
            return squared(originals.decoded(*stored), plan.size)

        blobs = ((path, originals.read(path, sha256)) for path, sha256 in images)
        for number, picture in enumerate(mapped_ahead(load, blobs), start=1):
            progress("source images read", number, len(images))
            yield picture

    for prints in _fingerprints(pictures(), plan.size):
        search.add(prints)


def _fingerprints(pictures: Iterator[Bytes], size: int) -> Iterator[Fingerprints]:
    most, some = max(1, TOGETHER_BYTES // (3 * size * size)), []
    for picture in pictures:
        some.append(picture)
        if len(some) == most:
            yield hashing.fingerprints(np.stack(some))
            some.clear()
    if some:
        yield hashing.fingerprints(np.stack(some))
