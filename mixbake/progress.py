"""What the command line shows while work goes on: bars on a terminal, JSON lines otherwise.

Rule: everything here goes to standard error; a log of events is kept beside the shards as well.
"""

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mixbake.bake.board import Totals
from mixbake.bake.settings import BuildSettings, default_out

_TICK = 0.25
_LINE_EVERY = 5.0


class TerminalWatcher:
    """Bars and lines for a person."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, message: str) -> None:
        """Print a line."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def prepare(self, what: str, done: int, total: int) -> None:
        """Count on one line that is written over."""
        end = "\n" if done == total else "\r"
        if done == total or done % 16 == 0:
            self._console.print(f"{what}: {done:,}/{total:,}", end=end, markup=False, highlight=False)

    @contextmanager
    def baking(self, totals: Callable[[], Totals], images: int, variants: int) -> Iterator[None]:
        """A bar of variants with rate, time left, images that have all of theirs, and skips."""
        columns = (
            TextColumn("baking"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} variants/s"),
            TimeRemainingColumn(),
            TextColumn(f"{{task.fields[images]:,}}/{images:,} images whole, {{task.fields[skipped]:,}} skipped"),
        )
        with Progress(*columns, console=self._console) as bar:
            row = bar.add_task("baking", total=variants, rate=0.0, images=0, skipped=0)

            def show(now: Totals, rate: float) -> None:
                bar.update(row, completed=now.variants, rate=rate, images=now.images, skipped=now.skipped)

            with _polling(totals, show, _TICK):
                yield

    def event(self, name: str, **fields: Any) -> None:
        """Nothing: bars say it."""


class LineWatcher:
    """JSON lines for a log or another program."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def _write(self, **fields: Any) -> None:
        # A reader that went away must not end a night's bake.
        with suppress(BrokenPipeError):
            self._stream.write(json.dumps({"time": round(time.time(), 3), **fields}) + "\n")
            self._stream.flush()

    def say(self, message: str) -> None:
        """One message."""
        self._write(event="say", message=message)

    def prepare(self, what: str, done: int, total: int) -> None:
        """Every 64th, and the last."""
        if done == total or done % 64 == 0:
            self._write(event="prepare", what=what, done=done, total=total)

    @contextmanager
    def baking(self, totals: Callable[[], Totals], images: int, variants: int) -> Iterator[None]:
        """A line every few seconds, and one at the end."""

        def show(now: Totals, rate: float) -> None:
            left = (variants - now.variants) / rate if rate else None
            self._write(
                event="progress",
                images=now.images,
                of_images=images,
                variants=now.variants,
                of_variants=variants,
                variants_per_second=round(rate, 1),
                seconds_left=None if left is None else round(left, 1),
                skipped=now.skipped,
            )

        with _polling(totals, show, _LINE_EVERY):
            yield

    def event(self, name: str, **fields: Any) -> None:
        """One line."""
        self._write(event=name, **fields)


class LoggingWatcher:
    """Passes on to another watcher and writes every event to a file under OUT/logs, once OUT exists."""

    def __init__(self, inner: TerminalWatcher | LineWatcher, folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        self._name = time.strftime("build-%Y%m%dT%H%M%S.jsonl", time.gmtime())
        self._early: list[dict[str, Any]] = []

    def _log(self, **fields: Any) -> None:
        self._early.append({"time": round(time.time(), 3), **fields})
        if not self._folder.is_dir():
            return
        with suppress(OSError), (self._folder / self._name).open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in self._early)
            self._early.clear()

    def say(self, message: str) -> None:
        """Show and log."""
        self._inner.say(message)
        self._log(event="say", message=message)

    def prepare(self, what: str, done: int, total: int) -> None:
        """Show."""
        self._inner.prepare(what, done, total)

    @contextmanager
    def baking(self, totals: Callable[[], Totals], images: int, variants: int) -> Iterator[None]:
        """Show; log start and end."""
        started = time.monotonic()
        self._log(event="baking", images=images, variants=variants)
        try:
            with self._inner.baking(totals, images, variants):
                yield
        finally:
            now, seconds = totals(), time.monotonic() - started
            self._log(event="baked", seconds=round(seconds, 3), variants=now.variants, skipped=now.skipped)

    def event(self, name: str, **fields: Any) -> None:
        """Show and log."""
        self._inner.event(name, **fields)
        self._log(event=name, **fields)


@contextmanager
def watch(
    settings: BuildSettings, *, quiet: bool = False, log: bool = True
) -> Iterator[TerminalWatcher | LineWatcher | LoggingWatcher]:
    """The watcher that fits standard error: a terminal, or something that reads lines. log: also under OUT/logs."""
    inner = LineWatcher(sys.stderr) if quiet or not sys.stderr.isatty() else TerminalWatcher(Console(stderr=True))
    yield LoggingWatcher(inner, default_out(settings) / "logs") if log else inner


class TrainingBar:
    """A bar of steps with rate, share of time that went into waiting for data, loss, time left."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._row = bar.add_task("training", total=None, rate=0.0, waiting=0.0, loss=float("nan"))

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def steps(self, done: int, total: int, record: Mapping[str, Any]) -> None:
        """Move the bar."""
        shown = {"rate": record["images_per_second"], "waiting": record["waiting"], "loss": record["loss"]}
        self._bar.update(self._row, completed=done, total=total, **shown)


class TrainingLines:
    """JSON lines, one every few seconds."""

    def __init__(self, lines: LineWatcher) -> None:
        self._lines = lines
        self._last = -math.inf

    def say(self, message: str) -> None:
        """One message."""
        self._lines.say(message)

    def steps(self, done: int, total: int, record: Mapping[str, Any]) -> None:
        """Every few seconds, and the last."""
        if done == total or time.monotonic() - self._last >= _LINE_EVERY:
            self._last = time.monotonic()
            self._lines.event("training", of_steps=total, **record)


@contextmanager
def watch_training(*, quiet: bool = False) -> Iterator[TrainingBar | TrainingLines]:
    """What shows a training on standard error: a bar on a terminal, lines otherwise."""
    if quiet or not sys.stderr.isatty():
        yield TrainingLines(LineWatcher(sys.stderr))
        return
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}, {task.fields[rate]:,.0f} images/s"),
        TextColumn("({task.fields[waiting]:.1%} waiting for data)"),
        TimeRemainingColumn(),
    )
    # Steps come in intervals that may be minutes long: the time left is told from as many as there were in a day.
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=86_400) as bar:
        yield TrainingBar(bar)


class EvaluationBar:
    """A bar of pictures that networks have seen, with the part at hand and the time left."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._row = bar.add_task("evaluating", total=None, part="")

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def seen(self, part: str, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._row, completed=done, total=total, part=part)


class EvaluationLines:
    """JSON lines, one every few seconds. The time left is told from the second report on: the first warms up."""

    def __init__(self, lines: LineWatcher) -> None:
        self._lines = lines
        self._first: tuple[float, int] | None = None
        self._last = -math.inf

    def say(self, message: str) -> None:
        """One message."""
        self._lines.say(message)

    def seen(self, part: str, done: int, total: int) -> None:
        """Every few seconds, and the last."""
        now = time.monotonic()
        began, first = self._first = self._first or (now, done)
        if done == total or now - self._last >= _LINE_EVERY:
            self._last = now
            left = round((now - began) / (done - first) * (total - done), 1) if done > first else None
            self._lines.event("evaluating", part=part, pictures=done, of_pictures=total, seconds_left=left)


@contextmanager
def watch_evaluation(*, quiet: bool = False) -> Iterator[EvaluationBar | EvaluationLines]:
    """What shows an evaluation on standard error: a bar on a terminal, lines otherwise."""
    if quiet or not sys.stderr.isatty():
        yield EvaluationLines(LineWatcher(sys.stderr))
        return
    columns = (TextColumn("{task.fields[part]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
        yield EvaluationBar(bar)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with how many are done."""
    inner = TerminalWatcher(Console(stderr=True)) if sys.stderr.isatty() else LineWatcher(sys.stderr)
    yield lambda done: inner.prepare(what, done, total)


@contextmanager
def counting_each() -> Iterator[Callable[[str, int, int], None]]:
    """A function to call with what is counted, how many are done, and of how many: one thing after the other."""
    shown: dict[str, Callable[[int], None]] = {}
    with ExitStack() as stack:

        def progress(what: str, done: int, total: int) -> None:
            if what not in shown:
                shown[what] = stack.enter_context(counting(what, total))
            shown[what](done)

        yield progress


@contextmanager
def _polling(totals: Callable[[], Totals], show: Callable[[Totals, float], None], every: float) -> Iterator[None]:
    """Call show(totals(), variants per second) now and then from a thread, and once at the end."""
    started, stop = time.monotonic(), threading.Event()

    def report() -> None:
        now = totals()
        show(now, now.variants / max(time.monotonic() - started, 1e-9))

    def loop() -> None:
        while not stop.wait(every):
            report()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        report()
