"""Labelled pictures as evaluation shows them to a network, which knows classes of its own.

As the papers' evaluation shows them: as they are when they have the size, up to 64 px resized to it, above resized to
256/224 of it, each by the short side and antialiased, then the centre.
Rule: classes are matched by name; a class that the network does not know is an error, never a wrong label.
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixbake.data.decode import decode
from mixbake.data.sources import open_source
from mixbake.errors import DecodeError, UsageError


class LabelledPictures:
    """Pictures of a source, as evaluation shows them, with the labels of `owner`: a bake, or a network.

    classes: the owner's, in label order. size: of its pictures. threads: that decode. Raises UsageError for a source
    that is none, or has a class that is not among `classes`.
    """

    def __init__(
        self, spec: str, *, classes: tuple[str, ...], size: int, threads: int = 1, owner: str = "the bake"
    ) -> None:
        self._source = open_source(spec)
        self._listing = self._source.scan()
        self._threads = threads
        self.size = size
        label_of = {name: label for label, name in enumerate(classes)}
        if unknown := [name for name in self._listing.classes if name not in label_of]:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise UsageError(
                f"{spec} has classes that {owner} has not ({', '.join(unknown[:3])}{more}): "
                f"give pictures of the same classes; {owner}'s are {', '.join(classes[:3])} ..."
            )
        translated = np.array([label_of[name] for name in self._listing.classes], np.int64)
        self.classes = self._listing.classes
        self.labels: NDArray[np.int64] = translated[self._listing.labels]

    def __len__(self) -> int:
        return len(self._listing)

    def read(self, places: Iterable[int]) -> NDArray[np.uint8]:
        """The pictures of these image numbers: uint8 n×S×S×3. Raises UsageError naming one that does not decode."""
        with ThreadPoolExecutor(self._threads) as pool:
            shown = list(pool.map(self._shown, places))
        return np.stack(shown) if shown else np.empty((0, self.size, self.size, 3), np.uint8)

    def identity(self) -> str:
        """SHA-256 of what is listed, names, sizes and labels, and of files' times of change; no picture is read."""
        listed = self._listing
        digest = hashlib.sha256("\0".join((listed.spec, *listed.paths)).encode())
        files = self._source.files(listed)
        changed = np.array([os.stat(file).st_mtime_ns for file in files], np.int64)  # noqa: PTH116 - a Path costs more
        for column in (listed.sizes, self.labels, changed):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    def _shown(self, image: int) -> NDArray[np.uint8]:
        entry = self._listing.entry(image)
        try:
            return centre(decode(self._source.read(entry)), self.size)
        except DecodeError as error:
            raise UsageError(f"{self._source.spec}: {entry.path} cannot be decoded ({error}): take it out") from error


def centre(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """What is shown of an image uint8 H×W×3: uint8 size×size×3."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    short = size if size <= 64 else round(size * 256 / 224)
    resized = (
        short if width <= height else int(short * width / height),
        short if height <= width else int(short * height / width),
    )
    picture = np.asarray(Image.fromarray(image).resize(resized, Image.Resampling.BILINEAR))
    top, left = round((resized[1] - size) / 2.0), round((resized[0] - size) / 2.0)
    return np.ascontiguousarray(picture[top : top + size, left : left + size])
