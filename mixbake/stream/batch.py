"""What a loader gives."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(slots=True, kw_only=True)
class Batch:
    """A rank's share of a batch; B is batch_size / world_size. Iterating gives images and labels.

    images: B×C×H×W in channels_last memory (or B×H×W×C), with views "jsd" 3×B×…: clean, first, second mix.
    labels: int64[B]. ids: int64[B], image numbers. numbers: int64[B] (3×B with "jsd"), which variant.
    clean: bool[B], whether the clean crop stands there. valid: bool[B], False for padding and for what
    damage has cost. metadata: a pyarrow Table of provenance, a row an image (a tuple of three with "jsd"), or None.
    ready: on a GPU, the event of its arrival; the loader has made the current stream wait for it.
    """

    images: torch.Tensor
    labels: torch.Tensor
    ids: torch.Tensor
    numbers: torch.Tensor
    clean: torch.Tensor
    valid: torch.Tensor
    metadata: Any = None
    ready: Any = None

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield self.images
        yield self.labels

    def __len__(self) -> int:
        return len(self.labels)
