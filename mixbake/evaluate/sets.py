"""What a network is shown: sets of pictures of one interface, some of which are made while they are read.

Rule: a picture is known by its place in the whole set, whatever the limit: a chosen picture has the pixels that it has
in a whole evaluation, and equal places of clean and corrupted sets of one length are the same picture.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixbake.core.rng import stream
from mixbake.data.decode import decode
from mixbake.data.shown import centre
from mixbake.errors import DecodeError, UsageError
from mixbake.evaluate.anomalies import draw_anomalies
from mixbake.evaluate.arrays import file_identity
from mixbake.evaluate.corruptions import corrupt_all
from mixbake.evaluate.drawing import Draw
from mixbake.storage.store import canonical_json, retrying

KEPT_BYTES = 1 << 30
"""Clean pictures that are kept decoded take at most this."""


class Pictures(Protocol):
    """A set. labels: int64[n], numbers of the network's classes."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64[n]."""
        ...

    def __len__(self) -> int: ...

    def read(self, places: Sequence[int]) -> NDArray[np.uint8]:
        """The pictures of these places, 0 to n - 1: uint8 k×S×S×3, contiguous."""
        ...

    def identity(self) -> Any:
        """Plain values that are others when the pictures are."""
        ...


def choose(count: int, limit: int | None, seed: int) -> NDArray[np.int64]:
    """Places to look at, ascending: all of `count`, or `limit` of them that depend on (seed, count) alone."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(stream(seed, "evaluation", count).permutation(count)[:limit])


class Remembered:
    """A set of which some places will be read again and again: they are decoded once, if they fit."""

    def __init__(self, pictures: Pictures, places: NDArray[np.int64], size: int) -> None:
        self._pictures, self._places = pictures, places
        fits = len(places) * size**2 * 3 <= KEPT_BYTES
        self._kept = pictures.read(places.tolist()) if fits else None
        self._identity = self._identify()

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64[n]."""
        return self._pictures.labels

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, places: Sequence[int]) -> NDArray[np.uint8]:
        """The pictures of places that were announced: uint8 k×S×S×3."""
        if self._kept is None:
            return self._pictures.read(places)
        return self._kept[np.searchsorted(self._places, places)]

    def identity(self) -> Any:
        """Of all that are kept a hash of their pixels; else what the set says of itself."""
        return self._identity

    def _identify(self) -> Any:
        if self._kept is None:
            return self._pictures.identity()
        digest = hashlib.sha256(self._kept.data)
        digest.update(self.labels[self._places].tobytes())
        return [digest.hexdigest(), len(self)]


class Generated:
    """A clean set under a corruption of ours. Each picture draws by its place: no batch size changes a byte."""

    def __init__(self, clean: Pictures, name: str, severity: int, seed: int, draw: Draw = corrupt_all) -> None:
        self._clean, self._name, self._severity, self._seed = clean, name, severity, seed
        self._draw = draw

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64[n]."""
        return self._clean.labels

    def __len__(self) -> int:
        return len(self._clean)

    def read(self, places: Sequence[int]) -> NDArray[np.uint8]:
        """The corrupted pictures of these places: uint8 k×S×S×3."""
        return self._draw(self._clean.read(places), self._name, self._severity, self._seed, places)

    def identity(self) -> Any:
        """The clean set's and what is done to it."""
        return [self._clean.identity(), self._name, self._severity, self._seed]


class Drawn:
    """Anomalies that are drawn while they are read."""

    def __init__(self, name: str, count: int, *, size: int, seed: int) -> None:
        self._name, self._size, self._seed = name, size, seed
        self.labels = np.zeros(count, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, places: Sequence[int]) -> NDArray[np.uint8]:
        """The pictures of these places: uint8 k×S×S×3."""
        return np.concatenate(
            [draw_anomalies(self._name, 1, size=self._size, seed=self._seed, first=place) for place in places]
        )

    def identity(self) -> Any:
        """What is drawn."""
        return ["drawn", self._name, len(self), self._size, self._seed]


class Loose:
    """Pictures of no class, in files; shown as labelled ones are."""

    def __init__(self, paths: Sequence[Path], *, size: int, threads: int) -> None:
        self._paths, self._size, self._threads = paths, size, threads
        self.labels = np.zeros(len(paths), np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, places: Sequence[int]) -> NDArray[np.uint8]:
        """The pictures of these places: uint8 k×S×S×3. Raises UsageError naming one that does not decode."""
        with ThreadPoolExecutor(self._threads) as pool:
            return np.stack(list(pool.map(self._shown, places)))

    def _shown(self, place: int) -> NDArray[np.uint8]:
        path = self._paths[place]
        try:
            return centre(decode(retrying(path.read_bytes, path)), self._size)
        except DecodeError as error:
            raise UsageError(f"{path} cannot be decoded ({error}): take it out") from error

    def identity(self) -> Any:
        """A hash of places, sizes and times of change."""
        return hashlib.sha256(canonical_json([file_identity(path) for path in self._paths])).hexdigest()
