"""Clean accuracy on labelled pictures that no bake holds.

Rule: what is measured is `data.shown`'s: as the papers' evaluation shows it, under the bake's labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mixbake.data.shown import LabelledPictures
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
            pictures = self._pictures.read(range(first, min(first + self._batch, len(self))))
            if keep:
                kept.append(pictures)
            yield first, pictures
        self._kept = kept


def normalised(
    pictures: NDArray[np.uint8], *, mean: Sequence[float], std: Sequence[float], device: torch.device
) -> torch.Tensor:
    """What a network takes of pictures uint8 n×S×S×3: float32 n×3×S×S on the device, channels last."""
    images = torch.from_numpy(pictures).to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
    middle, spread = (torch.tensor(value, dtype=torch.float32, device=device)[:, None, None] for value in (mean, std))
    return images.sub_(middle).div_(spread)


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
    labels: torch.Tensor = network(normalised(pictures, mean=mean, std=std, device=device)).argmax(1)
    return labels
