"""The loop against plain torch: every setting that decides a step, on a linear network and batches that lie ready."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mixbake.stream.batch import Batch
from mixbake.train.loop import Progress, fit
from mixbake.train.losses import class_weights, jsd_loss
from mixbake.train.mixes import apply_mix
from mixbake.train.networks.catalog import FAMILIES, build_network
from mixbake.train.ranks import Ranks
from mixbake.train.rates import train_rates
from mixbake.train.run import Silence, assemble
from mixbake.train.schedules import Schedule
from mixbake.train.settings import TrainSettings, resolve

CPU = Ranks(rank=0, size=1, device=torch.device("cpu"))
COUNTS = torch.tensor([5, 2, 9])
STEPS, EPOCHS, CLASSES, B = 3, 4, 3, 8


class Ready:
    """The same few batches in every pass. rows: 3 for triplets. seconds: how long each is waited for."""

    classes = ("a", "b", "c")

    def __init__(self, rows: int = 1, seconds: float = 0.0) -> None:
        generator, self._seconds = torch.Generator().manual_seed(3), seconds
        shape = (rows, B, 3, 8, 8) if rows > 1 else (B, 3, 8, 8)
        nothing = torch.zeros(B, dtype=torch.int64)
        self.batches = [
            Batch(
                images=torch.randn(shape, generator=generator),
                labels=torch.randint(CLASSES, (B,), generator=generator),
                ids=nothing,
                numbers=nothing,
                clean=nothing.bool(),
                valid=~nothing.bool(),
            )
            for _ in range(STEPS)
        ]

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            time.sleep(self._seconds)
            yield batch

    def usage(self, of_pass: int) -> tuple[int, int]:
        return 0, of_pass + 1

    def state_dict(self) -> dict[str, Any]:
        return {}


def linear() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    nn.init.constant_(network[1].weight, 0.01)
    nn.init.zeros_(network[1].bias)
    return network


def ours(settings: TrainSettings, batches: Ready) -> torch.Tensor:
    network = linear()
    parts = assemble(settings, CPU, batches, counts=COUNTS, show=Silence())
    optimizer = type(parts.optimizer)(network.parameters(), **parts.optimizer.defaults)
    fit(replace(parts, network=network, model=network, optimizer=optimizer), Progress())
    return network[1].weight.detach()


def plain(settings: TrainSettings, batches: Ready, rates: list[float]) -> torch.Tensor:
    """SGD as the papers write it, step by step."""
    network, step = linear(), 0
    velocity = {name: torch.zeros_like(one) for name, one in network.named_parameters()}
    weight = class_weights(COUNTS, classes=Ready.classes) if settings.class_weights else None
    for _ in range(EPOCHS):
        for batch in batches.batches:
            if settings.loss == "jsd":
                views = [network(view) for view in batch.images]
                loss = jsd_loss(*views, batch.labels, consistency=settings.consistency)
            else:
                images, targets = apply_mix(
                    settings.mix, batch.images, batch.labels, classes=CLASSES, seed=settings.seed, step=step
                )
                loss = nn.functional.cross_entropy(
                    network(images), targets, weight=weight, label_smoothing=settings.label_smoothing
                )
            network.zero_grad()
            loss.backward()
            with torch.no_grad():
                for name, one in network.named_parameters():
                    gradient = one.grad + settings.weight_decay * one
                    velocity[name] = settings.momentum * velocity[name] + gradient if step else gradient
                    ahead = gradient + settings.momentum * velocity[name] if settings.nesterov else velocity[name]
                    one.sub_(rates[step] * ahead)
            step += 1
    return network[1].weight.detach()


BASE = {"epochs": EPOCHS, "batch_size": B, "model": "wrn10_1", "device": "cpu", "lr": 0.2, "log_every": 2}
OTHERS = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.5},
    {"nesterov": False},
    {"label_smoothing": 0.3},
    {"class_weights": True},
    {"mix": "mixup"},
    {"mix": "cutmix"},
    {"mix": "cutout"},
    {"mix": "erasing", "seed": 3},
    {"loss": "jsd", "consistency": 12.0},
    {"loss": "jsd", "consistency": 1.0},
    {"schedule": "steps"},
    {"schedule": "constant"},
    {"warmup_epochs": 1},
    {"final_lr": 0.1},
    {"scale_lr": True, "lr": 6.4},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: "-".join(map(str, other.items())) or "defaults")
def test_a_setting_does_what_it_says(other: dict[str, Any]) -> None:
    settings, usual = TrainSettings(**(BASE | other)), TrainSettings(**BASE)
    batches = Ready(3 if settings.loss == "jsd" else 1)
    schedule = Schedule(
        kind=settings.schedule,
        peak=settings.lr * (B / 256 if settings.scale_lr else 1),
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        final=settings.final_lr,
        warmup_steps=settings.warmup_epochs * STEPS,
    )
    rates = [schedule.at(step) for step in range(EPOCHS * STEPS)]
    found = ours(settings, batches)
    assert torch.allclose(found, plain(settings, batches, rates), rtol=1e-4, atol=1e-6)
    if other and not settings.scale_lr and settings.loss != "jsd":
        assert not torch.allclose(found, ours(usual, Ready()), rtol=1e-4, atol=1e-6)


def test_the_weight_of_consistency_matters() -> None:
    one, other = (ours(TrainSettings(**BASE, loss="jsd", consistency=c), Ready(3)) for c in (1.0, 12.0))
    assert not torch.allclose(one, other, rtol=1e-4)


def test_waiting_is_the_time_spent_for_batches() -> None:
    """Nothing is said of how long anything takes: only that a slow source is seen to be one."""
    [*_, slow] = train_rates(TrainSettings(**BASE), CPU, Ready(seconds=0.2), every=STEPS)
    assert slow.waiting > 0.1
    [*_, quick] = train_rates(TrainSettings(**BASE), CPU, Ready(), every=STEPS)
    assert quick.waiting < slow.waiting


@pytest.mark.parametrize("name", [example for family in FAMILIES for example in family.examples] + ["resnet18"])
def test_the_recipes_take_any_network(name: str) -> None:
    settings = resolve("cifar", given={"model": name})
    with torch.device("meta"):
        assert build_network(settings.model, classes=10, dropout=settings.dropout)
