"""A run: settings, network and bake put together, begun or resumed.

    settings -> ranks -> loader -> network, optimizer, schedule -> (checkpoint) -> loop

Rule: everything that cannot work is refused before the first step, and before a run folder is made.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixbake.data.shown import LabelledPictures
from mixbake.errors import PlanDiffers, Stopped, UsageError
from mixbake.storage.lock import FolderLock
from mixbake.storage.plan import spell_worth
from mixbake.storage.store import remove_leftovers
from mixbake.stream.loader import ShardLoader
from mixbake.stream.settings import usual_threads
from mixbake.train.asked import Settled
from mixbake.train.checkpoint import load_checkpoint, read_about
from mixbake.train.loop import Batches, Parts, Progress, Show, fit
from mixbake.train.losses import class_weights
from mixbake.train.networks.catalog import build_network
from mixbake.train.networks.weights import load_weights
from mixbake.train.ranks import Ranks, joined
from mixbake.train.records import Metrics, begin_run, note_start
from mixbake.train.schedules import Schedule
from mixbake.train.settings import FREE, TrainSettings, plain
from mixbake.train.validation import Validation

_RESIDENT: Mapping[str, bool | str] = {"auto": "auto", "always": True, "never": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished run. accuracy: clean, 0 to 1, None without --val; loss: mean of the last pass; bake: its digest."""

    run: Path
    steps: int
    epochs: int
    loss: float | None
    accuracy: float | None
    bake: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "run": str(self.run)}


def train(settled: Settled, show: Show) -> Trained | None:
    """Begin a run, or resume it, and train to its end; the result, to the first of several processes.

    Raises UsageError, PlanDiffers, Damage before the first step; Stopped, saved, when a signal asks for an end.
    """
    asked, settings = settled.asked, settled.settings
    run = asked.out or default_run(asked.shards)
    with (
        joined(settings.device, batch_size=settings.batch_size) as ranks,
        closing(open_loader(asked.shards, settings, ranks)) as loader,
        ExitStack() as held,
    ):
        parts = prepare(settings, ranks, loader, show if ranks.first else Silence(), weights=not asked.resume)
        parts = replace(parts, run=run)
        progress = _restore(parts, loader, run, grow=asked.grow) if asked.resume else Progress()
        with ranks.first_alone():
            if ranks.first:
                if not asked.resume:
                    begin_run(run, settings, settled.recipe)
                held.enter_context(FolderLock(run))
                remove_leftovers(run)
                note_start(run, loader.bake, shards=asked.shards, ranks=ranks, step=progress.step)
                metrics = Metrics(run, step=progress.step, tensorboard=settings.tensorboard)
                parts = replace(parts, metrics=metrics)
        _say_uses(parts, loader)
        trained = _trained(parts, loader, progress, run)
        return trained if ranks.first else None


def default_run(shards: str) -> Path:
    """`runs/<bake>-<time>`."""
    return Path("runs") / f"{shards.rstrip('/').rsplit('/', 1)[-1]}-{time.strftime('%Y%m%d-%H%M%S')}"


def open_loader(shards: str, settings: TrainSettings, ranks: Ranks) -> ShardLoader:
    """The bake as the run reads it. Raises UsageError for a bake that has not what the settings need."""
    return ShardLoader(
        shards,
        batch_size=settings.batch_size,
        seed=settings.seed,
        clean_fraction=settings.clean_fraction,
        views="jsd" if settings.loss == "jsd" else "mix",
        flip=settings.flip,
        rank=ranks.rank,
        world_size=ranks.size,
        device=ranks.device,
        dtype=input_dtype(settings, ranks.device),
        mean=settings.mean,
        std=settings.std,
        threads=settings.threads,
        resident=_RESIDENT[settings.resident],
        follow=settings.follow,
    )


def precision(settings: TrainSettings, device: torch.device) -> torch.dtype:
    """What the network computes in."""
    if settings.precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    kind: torch.dtype = getattr(torch, settings.precision)
    return kind


def input_dtype(settings: TrainSettings, device: torch.device) -> torch.dtype:
    """What pictures come as: the first convolution of a GPU would cast them anyway."""
    return precision(settings, device) if device.type == "cuda" else torch.float32


def prepare(settings: TrainSettings, ranks: Ranks, loader: ShardLoader, show: Show, *, weights: bool = True) -> Parts:
    """What a training on a bake consists of, but for the files of its run; weights: start from the settings' file.

    Raises UsageError for a network, weights, schedule or validation set that cannot be.
    """
    plan = loader.bake.plan
    if not weights:
        settings = replace(settings, weights=None, new_head=False)
    if settings.weights is not None:
        require_classes(settings.weights, plan.classes, new_head=settings.new_head)
    counts = torch.bincount(torch.from_numpy(loader.bake.labels), minlength=len(plan.classes))
    validation = settings.val and Validation(
        LabelledPictures(settings.val, classes=plan.classes, size=plan.size, threads=usual_threads()),
        mean=settings.mean,
        std=settings.std,
        batch_size=settings.val_batch_size,
    )
    if validation:
        validation.prepare(ranks)
    parts = assemble(settings, ranks, loader, counts=counts, show=show)
    return replace(parts, validation=validation or None, about=lambda: _about(settings, loader))


BAKING = (
    "recipe",
    "source",
    "images",
    "baked",
    "mixing",
    "mixing_sets",
    "crop",
    "flip",
    "views",
    "codec",
    "quality",
    "background",
)
"""What of a plan decides what a network learns, but for the seed; the rest only how it is carried out."""


def _about(settings: TrainSettings, loader: ShardLoader) -> dict[str, Any]:
    """What goes with the weights: all that decides them. Of a bake that grows, its newest state."""
    bake, plan = loader.bake, loader.bake.plan
    training = {name: value for name, value in plain(settings).items() if name not in {*FREE, "seed"}}
    return {
        "model": settings.model,
        "dropout": settings.dropout,
        "classes": list(plan.classes),
        "size": plan.size,
        "mean": list(settings.mean),
        "std": list(settings.std),
        "seed": settings.seed,
        "bake": bake.digest,
        "plan": bake.plan_digest,
        "training": training,
        "baking": {name: getattr(plan, name) for name in BAKING} | {"epochs_worth": bake.epochs_worth},
    }


def assemble(settings: TrainSettings, ranks: Ranks, loader: Batches, *, counts: torch.Tensor, show: Show) -> Parts:
    """Network, optimizer and schedule for any batches. counts: int64[classes], images of each class."""
    torch.manual_seed(settings.seed)
    network = build_network(settings.model, classes=len(loader.classes), dropout=settings.dropout)
    if settings.weights is not None:
        loaded = load_weights(network, settings.weights, new_head=settings.new_head)
        names = f", under the names of the published {loaded.published}" if loaded.published else ""
        show.say(
            f"{loaded.tensors} tensors of {settings.weights}{names}" + (", the head is new" if loaded.fresh else "")
        )
    form = torch.channels_last if settings.channels_last else torch.contiguous_format
    network.to(ranks.device).to(memory_format=form)
    kind, device = precision(settings, ranks.device), ranks.device.type
    return Parts(
        settings=settings,
        ranks=ranks,
        loader=loader,
        network=network,
        model=ranks.wrap(_compiled(network) if settings.compile else network),
        optimizer=torch.optim.SGD(
            network.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=True,
        ),
        scaler=torch.amp.GradScaler(device, enabled=kind == torch.float16),
        schedule=Schedule(
            kind=settings.schedule,
            peak=settings.lr * (settings.batch_size / 256 if settings.scale_lr else 1),
            epochs=settings.epochs,
            steps_per_epoch=len(loader),
            final=settings.final_lr,
            warmup_steps=settings.warmup_epochs * len(loader),
        ),
        autocast=torch.autocast(device, dtype=kind, enabled=kind != torch.float32),
        weight=class_weights(counts, classes=loader.classes).to(ranks.device) if settings.class_weights else None,
        show=show,
    )


def _compiled(network: nn.Module) -> nn.Module:
    compiled: nn.Module = torch.compile(network)  # type: ignore[assignment]  # typed as a plain callable
    return compiled


def require_classes(weights: Path, classes: tuple[str, ...], *, new_head: bool) -> None:
    """Raise UsageError when weights of ours were trained for other classes, or the same in another order."""
    stored = read_about(weights).get("classes")
    if new_head or not isinstance(stored, list) or tuple(stored) == classes:
        return
    odd = sorted({*map(str, stored)} ^ {*classes})
    which = f"{len(odd)} are in one only, such as {odd[0]!r}" if odd else "they are the same in another order"
    raise UsageError(
        f"{weights} was trained for {len(stored)} classes, the bake has {len(classes)}: {which}; give a bake of the "
        "same classes, or keep all but the last layer of these weights (--new-head)"
    )


def _restore(parts: Parts, loader: ShardLoader, run: Path, *, grow: bool) -> Progress:
    """Put everything where the checkpoint has it. Raises PlanDiffers for a checkpoint of another bake."""
    state, bake = load_checkpoint(run), loader.bake
    about = state["about"]
    if about["plan"] != bake.plan_digest:
        raise PlanDiffers(
            f"{run} was trained on another bake (plan {about['plan'][:12]}, bake digest {about['bake'][:12]}) than "
            f"this one (plan {bake.plan_digest[:12]}): give the one in {run / 'env.json'}, or name another --out"
        )
    if about["bake"] != bake.digest:
        parts.show.say("the bake has been extended since: " + ("used from now on" if grow else "--grow would use it"))
    parts.network.load_state_dict(state["network"])
    parts.optimizer.load_state_dict(state["optimizer"])
    parts.scaler.load_state_dict(state["scaler"])
    loader.load_state_dict(state["loader"], grow=grow)
    progress = Progress(**state["progress"])
    parts.show.say(f"resuming after step {progress.step:,} of {parts.schedule.total_steps:,}")
    return progress


def _say_uses(parts: Parts, loader: ShardLoader) -> None:
    """How often each variant will be used, and a warning when that is more than anybody has evidence for."""
    settings = parts.settings
    usage = [loader.usage(of_pass) for of_pass in range(settings.epochs)]
    uses, worth = max(use for _, use in usage), len({one for one, _ in usage})
    parts.show.say(
        f"epochs: {settings.epochs:,}, of {len(loader):,} steps each, on {spell_worth(worth)}: "
        f"each variant is used {spell_times(uses)} at most"
    )
    if uses > settings.max_uses:
        parts.show.say(
            f"warning: {uses} uses of a variant are more than --max-uses {settings.max_uses}; above 3 little is known "
            "of what that costs: extend the bake (build --epochs-worth "
            f"{-(-settings.epochs // settings.max_uses)}) and, to go on with a run, --resume --grow"
        )


def spell_times(count: int) -> str:
    """`once`, `2 times`."""
    return "once" if count == 1 else f"{count:,} times"


def _trained(parts: Parts, loader: ShardLoader, progress: Progress, run: Path) -> Trained:
    try:
        fit(parts, progress)
    except Stopped as stop:
        raise Stopped(stop.signal, f"{stop}; the same command with --out {run} --resume goes on") from None
    finally:
        if parts.metrics is not None:
            parts.metrics.close()
    return Trained(
        run=run,
        steps=progress.step,
        epochs=parts.settings.epochs,
        loss=progress.last_loss,
        accuracy=progress.accuracy,
        bake=loader.bake.digest,
    )


class Silence:
    """Hears everything and shows nothing."""

    def say(self, message: str) -> None:
        """Nothing."""

    def steps(self, done: int, total: int, record: Mapping[str, Any]) -> None:
        """Nothing."""
