"""How fast a network trains, on whatever batches: from a bake, from memory, from somebody else's loader.

Rule: every way runs the same loop; only where batches come from differs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from mixbake.stream.batch import Batch
from mixbake.train.loop import Batches, Progress, fit
from mixbake.train.ranks import Ranks
from mixbake.train.run import assemble, input_dtype
from mixbake.train.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """images_per_second: of all ranks together. waiting: share of the time that went into waiting for batches."""

    images_per_second: float
    waiting: float


class Repeated:
    """One batch, `steps` times: stands in for a loader where only the network is of interest."""

    def __init__(self, batch: Batch, *, classes: tuple[str, ...], steps: int) -> None:
        self._batch, self._classes, self._steps = batch, classes, steps

    @property
    def classes(self) -> tuple[str, ...]:
        """As given."""
        return self._classes

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Batch]:
        return iter([self._batch] * self._steps)

    def usage(self, of_pass: int) -> tuple[int, int]:
        """No bake is read."""
        return 0, of_pass + 1

    def state_dict(self) -> dict[str, Any]:
        """There is no position."""
        return {}


class _Heard:
    """Keeps the rate of each interval."""

    def __init__(self) -> None:
        self.rates: list[Rate] = []

    def say(self, message: str) -> None:
        """Not kept."""

    def steps(self, done: int, total: int, record: Mapping[str, Any]) -> None:
        """Kept."""
        del done, total
        self.rates.append(Rate(images_per_second=record["images_per_second"], waiting=record["waiting"]))


def train_rates(settings: TrainSettings, ranks: Ranks, batches: Batches, *, every: int) -> list[Rate]:
    """Train one pass on `batches`, writing nothing: the rate of each `every` steps. The first holds all warming up."""
    settings = replace(settings, epochs=1, warmup_epochs=0, schedule="constant", class_weights=False, log_every=every)
    heard = _Heard()
    fit(assemble(settings, ranks, batches, counts=torch.ones(len(batches.classes)), show=heard), Progress())
    return heard.rates


def network_rate(
    settings: TrainSettings, ranks: Ranks, *, size: int, classes: tuple[str, ...], seconds: float = 5.0, most: int = 50
) -> Rate:
    """How fast the network trains on a made-up batch that lies ready.

    Measured over as many steps as fit into `seconds`, at least 1 and at most `most`, after as many to warm up.
    """
    batch = made_up(settings, ranks, size=size, classes=len(classes))
    trial = train_rates(settings, ranks, Repeated(batch, classes=classes, steps=2), every=1)[-1]
    steps = round(min(max(seconds / 2 * trial.images_per_second / settings.batch_size, 1), most))
    return train_rates(settings, ranks, Repeated(batch, classes=classes, steps=2 * steps), every=steps)[-1]


def made_up(settings: TrainSettings, ranks: Ranks, *, size: int, classes: int) -> Batch:
    """Make this rank's share of a batch of noise on its device, of the shape and type that a bake's would have."""
    count = settings.batch_size // ranks.size
    rows = 3 if settings.loss == "jsd" else 1
    kind = input_dtype(settings, ranks.device)
    images = torch.randn(rows * count, 3, size, size, device=ranks.device).to(kind, memory_format=torch.channels_last)
    labels = torch.randint(classes, (count,), device=ranks.device)
    nothing = torch.zeros(count, dtype=torch.int64, device=ranks.device)
    return Batch(
        images=images.view(rows, count, *images.shape[1:]) if rows > 1 else images,
        labels=labels,
        ids=nothing,
        numbers=nothing,
        clean=nothing.bool(),
        valid=~nothing.bool(),
    )
