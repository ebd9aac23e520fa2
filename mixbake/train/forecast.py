"""What a run would do and need, from its settings and a few steps on pictures that are no pictures.

Rule: the rate is that of the network alone, on batches that lie ready: no bake has to be read faster than that.
"""

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from mixbake.storage.plan import spell_worth
from mixbake.train.asked import Settled
from mixbake.train.ranks import joined
from mixbake.train.rates import network_rate
from mixbake.train.run import Silence, open_loader, prepare, spell_times


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run would be.

    steps: of all epochs. uses: of a variant, at most. parameters: how many. images_per_second: of the network alone.
    bytes_per_second: what reading the bake must give to keep up. seconds: of the run at that rate.
    """

    recipe: str
    model: str
    parameters: int
    epochs: int
    steps_per_epoch: int
    steps: int
    epochs_worth: int
    uses: int
    max_uses: int
    images_per_second: float
    bytes_per_image: float
    bytes_per_second: float
    seconds: float
    device: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def forecast(settled: Settled) -> Forecast:
    """What `train` would do. Raises what it would raise, and writes nothing."""
    bake, settings = settled.bake, settled.settings
    with (
        joined(settings.device, batch_size=settings.batch_size) as ranks,
        closing(open_loader(settled.asked.shards, settings, ranks)) as loader,
    ):
        parts = prepare(settings, ranks, loader, Silence())
        rate = network_rate(settings, ranks, size=bake.plan.size, classes=loader.classes).images_per_second
        stored = sum(file.size for (view, _, _), file in bake.shards() if view == "mix")
        views = 3 if settings.loss == "jsd" else 1
        per_image = views * stored / (bake.numbers("mix") * len(bake.images))
        uses = max(loader.usage(of_pass)[1] for of_pass in range(settings.epochs))
        steps = parts.schedule.total_steps
        return Forecast(
            recipe=settled.recipe,
            model=settings.model,
            parameters=sum(one.numel() for one in parts.network.parameters()),
            epochs=settings.epochs,
            steps_per_epoch=len(loader),
            steps=steps,
            epochs_worth=bake.epochs_worth,
            uses=uses,
            max_uses=settings.max_uses,
            images_per_second=rate,
            bytes_per_image=per_image,
            bytes_per_second=rate * per_image,
            seconds=steps * settings.batch_size / rate,
            device=str(ranks.device),
        )


def explain(found: Forecast) -> str:
    """The forecast as lines to read."""
    network = f"{found.model} ({found.parameters:,} parameters), recipe {found.recipe}, on {found.device}"
    length = f"epochs: {found.epochs:,}, of {found.steps_per_epoch:,} steps each: {found.steps:,} steps"
    uses = f"on {spell_worth(found.epochs_worth)}, each variant is used {spell_times(found.uses)} at most"
    time = f"the network alone trains {found.images_per_second:,.0f} images/s: {_spell_seconds(found.seconds)}"
    data = f"reading must give {found.bytes_per_second / 1e3:,.0f} kB/s ({found.bytes_per_image:,.0f} bytes an image)"
    beyond = f"more uses than --max-uses {found.max_uses}: extend the bake" if found.uses > found.max_uses else ""
    return "\n".join(filter(None, (network, f"{length} {uses}", beyond, time, data)))


def _spell_seconds(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds > 5400 else f"{seconds / 60:,.1f} minutes"
