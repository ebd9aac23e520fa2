"""The training loop, to be read from top to bottom.

    for every pass:  for every batch:  learning rate -> mix -> network -> loss -> gradients -> step
        now and then: fetch the loss, tell, save        after a pass: measure clean accuracy

Rule: nothing in a step waits for the device; the loss stays there and is fetched every `log_every` steps. All
randomness of a step is a function of (seed, step, rank), so a checkpoint holds no generator's state.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import nn

from mixbake.core import rng
from mixbake.errors import MixbakeError, Stopped, UsageError
from mixbake.stream.batch import Batch
from mixbake.train.checkpoint import save_checkpoint
from mixbake.train.losses import cross_entropy, jsd_loss
from mixbake.train.mixes import apply_mix
from mixbake.train.ranks import Ranks
from mixbake.train.records import Metrics
from mixbake.train.schedules import Schedule
from mixbake.train.settings import TrainSettings
from mixbake.train.validation import Validation

LOOK_SECONDS = 5.0
"""Several processes ask one another at least so often whether one of them is to stop."""


class Batches(Protocol):
    """What a pass is read from: a `ShardLoader`, or what stands in for it in a measurement."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""

    def __len__(self) -> int:
        """Batches in a pass."""

    def __iter__(self) -> Iterator[Batch]:
        """The next pass, or the rest of one."""

    def usage(self, of_pass: int) -> tuple[int, int]:
        """Which epoch's worth a pass reads, and for the how many-th time."""

    def state_dict(self) -> dict[str, Any]:
        """The position, as plain values."""


class Show(Protocol):
    """Who hears of a training: the command line, a notebook, a test."""

    def say(self, message: str) -> None:
        """One line of news."""

    def steps(self, done: int, total: int, record: Mapping[str, Any]) -> None:
        """Steps done so far, and the newest interval's record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a training consists of, put together by `run`.

    network: the bare module; model: what is called (compiled, averaged over ranks). about: gives plain values that go
    with the weights. weight: of the classes, or None. run: where checkpoints go; None: nothing is written.
    """

    settings: TrainSettings
    ranks: Ranks
    loader: Batches
    network: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    autocast: torch.autocast
    weight: torch.Tensor | None
    show: Show
    validation: Validation | None = None
    about: Callable[[], Mapping[str, Any]] = dict
    run: Path | None = None
    metrics: Metrics | None = None


@dataclass(slots=True, kw_only=True)
class Progress:
    """Where the training stands.

    loss, images, seconds, waiting: sums over the pass so far. last_loss: mean of the last whole pass.
    accuracy: on the validation pictures after it, 0 to 1, None if it was not measured.
    """

    step: int = 0
    loss: float = 0.0
    images: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    last_loss: float | None = None
    accuracy: float | None = None


def fit(parts: Parts, progress: Progress) -> Progress:
    """Train from `progress` to the end; the last checkpoint is the result.

    Raises Stopped after a checkpoint when SIGINT or SIGTERM asks for it, MixbakeError when the loss is no number,
    UsageError when memory does not suffice.
    """
    trainer = _Trainer(parts, progress)
    with _noting_signals(parts.show.say) as noted, _explaining_memory("--batch-size", parts.settings.batch_size):
        trainer.train(noted)
    return progress


@contextmanager
def _explaining_memory(flag: str, size: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # torch has an error of its own for a GPU's memory, and none for the CPU's.
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        said = str(error).splitlines()[0]
        raise UsageError(f"memory does not suffice for a batch of {size}: take a smaller {flag} ({said})") from error


@dataclass(slots=True)
class _Noted:
    """The first signal that asked for an end, 0 before."""

    signal: int = 0


@contextmanager
def _noting_signals(say: Callable[[str], None]) -> Iterator[_Noted]:
    """Note SIGINT and SIGTERM, so that a step is finished and saved; a second one acts at once."""
    noted = _Noted()

    def note(number: int, _frame: FrameType | None) -> None:
        if noted.signal:
            raise Stopped(number, "stopped at once: what came after the last checkpoint is lost")
        noted.signal = number
        say("stopping after this step; once more to stop at once")

    before: dict[signal.Signals, Any] = {}
    # Elsewhere than in the main thread, signals are somebody else's business.
    if threading.current_thread() is threading.main_thread():
        before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@dataclass(slots=True)
class _Clock:
    """Time since the last reading, and how much of it was spent waiting for batches. In seconds."""

    begun: float = field(default_factory=time.perf_counter)
    waiting: float = 0.0

    def over(self, batches: Iterator[Batch]) -> Generator[Batch, None, None]:
        """The batches, timing the wait for each."""
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.waiting += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def read(self) -> tuple[float, float]:
        """(seconds, waiting) since the last reading."""
        now = time.perf_counter()
        seconds, waiting = now - self.begun, self.waiting
        self.begun, self.waiting = now, 0.0
        return seconds, waiting


class _Trainer:
    def __init__(self, parts: Parts, progress: Progress) -> None:
        self._parts, self._progress = parts, progress
        self._per_pass = len(parts.loader)
        self._total = parts.settings.epochs * self._per_pass
        device = parts.ranks.device
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._since = 0
        self._next_look = progress.step + 1
        self._clock = _Clock()
        self._saved = time.monotonic()

    def train(self, noted: _Noted) -> None:
        parts, now = self._parts, self._progress
        if now.step == self._total and now.accuracy is None:
            # Trained to the end already; whoever resumes it with --val wants to know how good it is.
            self._measure()
        if now.step in (0, self._total):
            self._save()
        self._clock.read()
        while now.step < self._total:
            announced = stop = False
            for batch in self._clock.over(iter(parts.loader)):
                if not announced:
                    # Not before: a loader that follows a build chooses when it begins the pass.
                    self._announce()
                    announced = True
                self._advance(batch)
                if self._is_due(noted):
                    stop = self._tell(noted.signal)
                    if now.step % self._per_pass:
                        self._settle(noted, stop=stop)
            # Read to its end: what the loader has found out about the pass was raised.
            self._end_pass()
            self._settle(noted, stop=stop)
        parts.ranks.wait_for_all()

    def _advance(self, batch: Batch) -> None:
        """One step."""
        parts, step = self._parts, self._progress.step
        for group in parts.optimizer.param_groups:
            group["lr"] = parts.schedule.at(step)
        torch.manual_seed(_seed(parts.settings.seed, step, parts.ranks.rank))
        with parts.autocast:
            loss = self._loss_of(batch.images, batch.labels)
        parts.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(parts.scaler.scale(loss))
        parts.scaler.step(parts.optimizer)
        parts.scaler.update()
        self._loss += loss.detach()
        self._since += 1
        self._progress.step += 1

    def _loss_of(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        parts, settings = self._parts, self._parts.settings
        if settings.loss == "jsd":
            clean, first, second = parts.model(images.flatten(0, 1)).chunk(3)
            consistency, smoothing = settings.consistency, settings.label_smoothing
            return jsd_loss(
                clean, first, second, labels, consistency=consistency, weight=parts.weight, smoothing=smoothing
            )
        images, targets = apply_mix(
            settings.mix,
            images,
            labels,
            classes=len(parts.loader.classes),
            seed=settings.seed,
            step=self._progress.step,
            rank=parts.ranks.rank,
        )
        return cross_entropy(parts.model(images), targets, weight=parts.weight, smoothing=settings.label_smoothing)

    def _is_due(self, noted: _Noted) -> bool:
        """Whether an interval ends with this step; one process alone stops at any step, several after some seconds."""
        step = self._progress.step
        ends = step % self._parts.settings.log_every == 0 or step % self._per_pass == 0
        several = self._parts.ranks.size > 1
        return ends or (step >= self._next_look if several else noted.signal > 0)

    def _settle(self, noted: _Noted, *, stop: bool) -> None:
        """Between two steps: save if it is time, and stop if that was asked for."""
        now = self._progress
        ended = now.step == self._total
        if stop or ended or time.monotonic() - self._saved >= self._parts.settings.save_seconds:
            self._save()
        if stop and not ended:
            self._parts.ranks.wait_for_all()
            raise Stopped(noted.signal or signal.SIGTERM, f"after step {now.step:,} of {self._total:,}")

    def _tell(self, asked: int) -> bool:
        """Fetch the interval's loss from all ranks and record it; True when any of them was asked to stop."""
        parts, now = self._parts, self._progress
        seconds, waiting = self._clock.read()
        told = torch.tensor([asked > 0, seconds], dtype=torch.float64, device=self._loss.device)
        loss, stop, all_seconds = parts.ranks.sum(torch.cat([self._loss[None], told])).tolist()
        loss /= parts.ranks.size
        steps, self._since = self._since, 0
        self._loss.zero_()
        # The same on all ranks, as what it is computed from is.
        self._next_look = now.step + max(1, int(LOOK_SECONDS * steps * parts.ranks.size / all_seconds))
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss} between steps {now.step - steps + 1:,} and {now.step:,}")
        images = steps * parts.settings.batch_size
        now.loss += loss * parts.settings.batch_size
        now.images += images
        now.seconds += seconds
        now.waiting += waiting
        record = {
            "step": now.step,
            "epoch": (now.step - 1) // self._per_pass + 1,
            "lr": parts.schedule.at(now.step - 1),
            "loss": loss / steps,
            "images_per_second": images / seconds,
            "waiting": waiting / seconds,
        }
        if parts.metrics is not None:
            parts.metrics.add("interval", record)
        left = (self._total - now.step) * seconds / steps
        parts.show.steps(now.step, self._total, {**record, "seconds_left": left})
        return bool(stop)

    def _diverged(self, what: str) -> MixbakeError:
        rate = self._parts.schedule.at(max(self._progress.step - 1, 0))
        where = f"; the checkpoint in {self._parts.run} is from before" if self._parts.run else ""
        return MixbakeError(
            f"{what}, at a learning rate of {rate:g}: train anew with a smaller --lr, a warm-up (--warmup-epochs) or "
            f"--precision float32{where}"
        )

    def _announce(self) -> None:
        parts = self._parts
        of_pass = self._progress.step // self._per_pass
        worth, use = parts.loader.usage(of_pass)
        parts.show.say(f"epoch {of_pass + 1}: epoch's worth {worth} of the bake, use {use} of each of its variants")

    def _end_pass(self) -> None:
        parts, now = self._parts, self._progress
        epoch = now.step // self._per_pass
        last, every = now.step == self._total, parts.settings.val_every
        now.accuracy = None
        if last or (every and epoch % every == 0):
            self._measure()
        if parts.metrics is not None:
            worth, use = parts.loader.usage(epoch - 1)
            record = {
                "epoch": epoch,
                "step": now.step,
                "epochs_worth": worth,
                "use": use,
                "lr": parts.schedule.at(now.step - 1),
                "loss": now.loss / now.images,
                "accuracy": now.accuracy,
                "images_per_second": now.images / now.seconds,
                "waiting": now.waiting / now.seconds,
                "seconds": now.seconds,
            }
            parts.metrics.add("epoch", record)
        now.last_loss = now.loss / now.images
        now.loss, now.images, now.seconds, now.waiting = 0.0, 0, 0.0, 0.0

    def _measure(self) -> None:
        """Clean accuracy, if there are pictures to measure it on."""
        parts, now = self._parts, self._progress
        if parts.validation is None:
            return
        with _explaining_memory("--val-batch-size", parts.settings.val_batch_size):
            now.accuracy = parts.validation.measure(parts.network, parts.ranks, parts.autocast).share
        epoch = now.step // self._per_pass
        parts.show.say(f"epoch {epoch}: clean accuracy {now.accuracy:.2%} of {len(parts.validation):,} pictures")
        # Measuring is no waiting for data, and no training either.
        self._clock.read()

    def _save(self) -> None:
        parts, now = self._parts, self._progress
        self._saved = time.monotonic()
        if parts.run is None or not parts.ranks.first:
            return
        weights = parts.network.state_dict()
        if not torch.stack([one.isfinite().all() for one in weights.values()]).all():
            # The loss was still finite, and the step after it was too long.
            raise self._diverged(f"weights became infinite, or no numbers, up to step {now.step:,}")
        state = {
            "progress": asdict(now),
            "optimizer": parts.optimizer.state_dict(),
            "scaler": parts.scaler.state_dict(),
            "loader": parts.loader.state_dict(),
            "about": dict(parts.about()),
        }
        save_checkpoint(parts.run, state=state, network=weights)


def _seed(seed: int, step: int, rank: int) -> int:
    return int(rng.stream(seed, "step", step, rank).integers(2**63))
