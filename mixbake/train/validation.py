"""Clean accuracy on labelled pictures that no bake holds.

Pictures are shown as the papers' evaluation shows them: as they are when they have the size, up to 64 px resized
to it, above resized to 256/224 of it, each by the short side and antialiased, then the centre.
Rule: classes are matched by name; a class that the network does not know is an error, never a wrong label.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from mixbake.data.decode import decode
from mixbake.data.sources import open_source
from mixbake.errors import DecodeError, UsageError
from mixbake.stream.settings import usual_threads
from mixbake.train.ranks import Ranks

KEPT_BYTES = 1 << 30
"""Decoded pictures that are kept between two measurements take at most this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How many of how many pictures got their class."""

    correct: int
    total: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.correct / self.total


class LabelledPictures:
    """Pictures of a source, as evaluation shows them, with the labels of a bake.

    classes: the bake's. size: of its pictures. Raises UsageError for a source that is none, or has a class that is
    not among `classes`.
    """

    def __init__(self, spec: str, *, classes: tuple[str, ...], size: int) -> None:
        self._source = open_source(spec)
        self._listing = self._source.scan()
        self.size = size
        label_of = {name: label for label, name in enumerate(classes)}
        if unknown := [name for name in self._listing.classes if name not in label_of]:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise UsageError(
                f"{spec} has classes that the bake has not ({', '.join(unknown[:3])}{more}): "
                "give pictures of the same classes; the bake's are in its manifest.json"
            )
        translated = np.array([label_of[name] for name in self._listing.classes], np.int64)
        self.labels: NDArray[np.int64] = translated[self._listing.labels]

    def __len__(self) -> int:
        return len(self._listing)

    def read(self, first: int, last: int) -> NDArray[np.uint8]:
        """Pictures first to last - 1: uint8 n×S×S×3. Raises UsageError naming one that does not decode."""
        with ThreadPoolExecutor(usual_threads()) as pool:
            return np.stack(list(pool.map(self._shown, range(first, last))))

    def _shown(self, image: int) -> NDArray[np.uint8]:
        entry = self._listing.entry(image)
        try:
            return centre(decode(self._source.read(entry)), self.size)
        except DecodeError as error:
            raise UsageError(f"{self._source.spec}: {entry.path} cannot be decoded ({error}): take it out") from error


class Validation:
    """Measures accuracy on labelled pictures, `batch_size` at once. mean, std: of the training."""

    def __init__(
        self,
        pictures: LabelledPictures,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        batch_size: int,
    ) -> None:
        self._pictures, self._batch = pictures, batch_size
        self._mean, self._std = mean, std
        self._kept: list[NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return len(self._pictures)

    def prepare(self, ranks: Ranks) -> None:
        """Decode what will be kept, so that a picture that cannot be shown is known before training."""
        if self._fits():
            for _ in self._batches(ranks):
                pass

    def _fits(self) -> bool:
        return len(self) * self._pictures.size**2 * 3 <= KEPT_BYTES

    def measure(self, network: nn.Module, ranks: Ranks, autocast: torch.autocast) -> Accuracy:
        """Accuracy of `network`, which is left in training mode; ranks share the pictures, and all get the result."""
        ranks.share_buffers(network)
        network.eval()
        correct = torch.zeros((), dtype=torch.int64, device=ranks.device)
        with autocast:
            for first, pictures in self._batches(ranks):
                labels = self._pictures.labels[first : first + len(pictures)]
                right = classify(network, pictures, mean=self._mean, std=self._std, device=ranks.device)
                correct += (right == torch.from_numpy(labels).to(ranks.device)).sum()
        network.train()
        return Accuracy(correct=int(ranks.sum(correct)), total=len(self))

    def _batches(self, ranks: Ranks) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(position of its first picture, pictures) of this rank's batches; small sets are decoded once."""
        firsts = range(ranks.rank * self._batch, len(self), ranks.size * self._batch)
        if self._kept:
            yield from zip(firsts, self._kept, strict=True)
            return
        keep, kept = self._fits(), []
        for first in firsts:
            pictures = self._pictures.read(first, min(first + self._batch, len(self)))
            if keep:
                kept.append(pictures)
            yield first, pictures
        self._kept = kept


@torch.inference_mode()
def classify(
    network: nn.Module,
    pictures: NDArray[np.uint8],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
) -> torch.Tensor:
    """Labels that a network gives to pictures uint8 n×S×S×3: int64[n], on the device."""
    images = torch.from_numpy(pictures).to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
    middle, spread = (torch.tensor(value, dtype=torch.float32, device=device)[:, None, None] for value in (mean, std))
    labels: torch.Tensor = network(images.sub_(middle).div_(spread)).argmax(1)
    return labels


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
