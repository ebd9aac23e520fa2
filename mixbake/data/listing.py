"""What a source holds: its classes and images as columns, in sorted order.

Rule: plain values only, so that a listing can be planned, stored and compared without its source.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Blob = bytes | NDArray[np.uint8]
"""One image as a source stores it: an encoded file, or ready uint8 H×W×3 pixels (CIFAR, demo)."""


def sha256_of(blob: Blob) -> str:
    """SHA-256 (hex) of an image's bytes, or of its pixels where these are what is stored."""
    return hashlib.sha256(blob if isinstance(blob, bytes) else blob.data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One image: its number, relative path (`/` separators), label, stored size, offset in its archive."""

    image: int
    path: str
    label: int
    bytes: int
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Every image of a source; image number i is row i.

    classes: class names in label order. paths: unique, relative, `/` separators, no control characters.
    sizes, offsets, labels: int64[n]; a size is in bytes as stored. ignored: files passed over because
    they are no pictures.
    """

    spec: str
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    sizes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def entry(self, image: int) -> Entry:
        """Row `image`, an image number in [0, n)."""
        return Entry(
            image=image,
            path=self.paths[image],
            label=int(self.labels[image]),
            bytes=int(self.sizes[image]),
            offset=int(self.offsets[image]),
        )

    def __iter__(self) -> Iterator[Entry]:
        return map(self.entry, range(len(self)))


class Source(Protocol):
    """Labelled pictures. Cheap to pickle: workers get it whole and open files on first use."""

    @property
    def spec(self) -> str:
        """As the user gave it, for example `cifar10:data/cifar-10-batches-py`."""
        ...

    def scan(self) -> Listing:
        """List every image, sorted by path. Raises UsageError on an empty or malformed source."""
        ...

    def read(self, entry: Entry, limit: int = -1) -> Blob:
        """The stored image of one row; of an encoded one at most `limit` bytes, unless that is negative.

        Raises OSError when it cannot be read.
        """
        ...

    def files(self, listing: Listing) -> Sequence[str]:
        """Paths of the files that hold the pictures of its listing; none where they are drawn."""
        ...
