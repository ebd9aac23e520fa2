"""The build: plan, bake what is missing, say that it is whole.

    settings -> plan -> manifest.json -> tasks -> shards, index, receipts -> images.parquet -> bake.json

Running it again resumes; a larger N extends; anything else in the plan that differs is refused.
Rule: bake.json is written last and at once, so that a reader sees a whole bake or the one before.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from mixbake.bake.block import Bakery, BlockTask, bake_block
from mixbake.bake.board import Board, Totals
from mixbake.bake.executors import EXECUTORS
from mixbake.bake.folder import Folder, Found
from mixbake.bake.settings import BuildSettings, Planned, default_out, make_plan
from mixbake.bake.warmup import warm_up
from mixbake.core.jit import cache_root
from mixbake.core.ops import tell_overlap
from mixbake.data.prepared import PictureSet, open_pictures
from mixbake.errors import TooManySkipped, UsageError
from mixbake.storage.finish import Finished, finish, is_own_card
from mixbake.storage.lock import FolderLock
from mixbake.storage.plan import FLIP_WORDS, Plan, shard_path, spell_worth
from mixbake.storage.receipt import Receipt
from mixbake.storage.store import publishing, remove_leftovers, retrying, sha256_file, temporary_path

Inspect = Callable[[Path], Collection[str]]
"""Names, relative to a folder, of the files of the bake in it that are absent or damaged."""

TASK_NUMBERS = 16
"""Most shards a task writes side by side: each holds a file and a buffer open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRange:
    """What a task bakes: epochs' worth first..last (inclusive) of a block."""

    block: int
    first: int
    last: int

    @property
    def epochs(self) -> int:
        """How many epochs' worth."""
        return self.last + 1 - self.first


class Watcher(Protocol):
    """Who hears of a build: the command line, a notebook, a test."""

    def say(self, message: str) -> None:
        """One line of news."""

    def prepare(self, what: str, done: int, total: int) -> None:
        """Progress of something before the bake."""

    def baking(self, totals: Callable[[], Totals], images: int, variants: int) -> Any:
        """Return a context manager that shows `totals()` until it is left; images, variants: to be baked."""

    def event(self, name: str, **fields: Any) -> None:
        """Something to log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build leaves: OUT, bake.json's digest and document, samples of this run, skipped images."""

    out: Path
    finished: Finished
    baked: int
    skipped: int


def build(settings: BuildSettings, watcher: Watcher, *, inspect: Inspect | None = None) -> Built:
    """Bake `settings.epochs_worth` of the source into OUT, or what is missing of it.

    inspect: looks for damage, for `settings.repair` (`audit.verify.damaged_files`).
    Raises the errors of `mixbake.errors`; OUT is then as it was, plus whole blocks that a rerun keeps.
    """
    out = default_out(settings)
    jobs = settings.jobs or len(os.sched_getaffinity(0))
    folder = Folder(out)
    folder.require_usable(overwrite=settings.overwrite)
    if settings.repair and (inspect is None or not (out / "manifest.json").exists()):
        raise UsageError(f"{out} holds no bake to repair: give --repair with SOURCE and OUT of the build that baked it")
    planned = make_plan(
        settings, pictures_folder=cache_root() / "pictures", jobs=jobs, say=watcher.say, progress=watcher.prepare
    )
    watcher.say(describe(planned.plan, out))
    if overlap := tell_overlap(planned.plan.recipe):
        watcher.say(overlap)
    warm_up(watcher.say)
    out.mkdir(parents=True, exist_ok=True)
    with FolderLock(out):
        remove_leftovers(out)
        if settings.overwrite:
            folder.clear()
        promised = _forget_damaged(folder, planned, settings, inspect, watcher) if settings.repair and inspect else {}
        bake_json = out / "bake.json"
        digest = sha256_file(bake_json)[0] if settings.repair and bake_json.exists() else None
        found, baked = folder.settle(planned, settings), 0
        *before, last = [replace(settings, epochs_worth=epochs) for epochs in _stages(found, settings)]
        for stage in before:
            baked += _bake(stage, planned, found, jobs, watcher).baked
            found = folder.settle(planned, settings)
        built = _bake(last, planned, found, jobs, watcher)
        _say_what_changed(built, promised, watcher)
        if digest not in (None, built.finished.digest):
            watcher.say(
                f"repair: receipts were written anew, so the bake digest is {built.finished.digest}, not {digest}"
            )
        _say_what_is_stale(built, found.finished, watcher)
        return replace(built, baked=baked + built.baked)


def _say_what_is_stale(built: Built, before: Finished | None, watcher: Watcher) -> None:
    """Name descriptions for other tools that were made of the bake as it was before."""
    if before is None or before.digest == built.finished.digest:
        return
    stale = [name for name in ("croissant.json", "_info.json") if (built.out / name).exists()]
    stale += [] if is_own_card(built.out / "README.md") else ["README.md"]
    if stale:
        watcher.say(
            f"{', '.join(stale)}: made of the bake as it was; `mixbake export`, with --overwrite, makes them again"
        )


def _stages(found: Found, settings: BuildSettings) -> list[int]:
    """Epochs' worth to finish at, one bake.json after the other; what was begun before is finished first."""
    begun = max([found.epochs, *(receipt.last + 1 for receipt in found.receipts)])
    last, step = settings.epochs_worth, settings.publish_every or settings.epochs_worth
    return [epochs for epochs in range(step, last, step) if epochs >= begun] + [last]


def _forget_damaged(
    folder: Folder, planned: Planned, settings: BuildSettings, inspect: Inspect, watcher: Watcher
) -> dict[str, str]:
    """Look for damage and delete it; returns SHA-256 (hex) by path of the tars that were promised."""
    damaged = sorted(inspect(folder.out))
    for name in damaged:
        watcher.event("damaged", file=name)
    shown = [*damaged[:5], "..."] if len(damaged) > 5 else damaged
    watcher.say(f"repair: damaged or missing files: {len(damaged):,}{': ' if damaged else ''}{', '.join(shown)}")
    return folder.forget_damaged(damaged, planned, settings)


def _say_what_changed(built: Built, promised: Mapping[str, str], watcher: Watcher) -> None:
    """Only a forged receipt, or --accept-environment, can have promised other bytes than the plan gives."""
    if not promised:
        return
    now = {
        shard_path(shard.view, shard.number, receipt.block): shard.sha256
        for receipt in built.finished.receipts(built.out)
        for shard in receipt.shards
    }
    if changed := sorted(name for name, sha256 in promised.items() if now.get(name) != sha256):
        watcher.say(f"repair: {len(changed):,} tars are not what their receipts had promised: {', '.join(changed[:5])}")


def describe(plan: Plan, out: Path) -> str:
    """One line: what is baked into where, and who flips."""
    advice = "" if plan.flip == "none" else " (--flip none for digits, signs or text)"
    return (
        f"{plan.recipe['name']} at {plan.size} px, {plan.codec}, views {plan.views}, crop {plan.crop}, "
        f"flip: {FLIP_WORDS[plan.flip]}{advice} -> {out}"
    )


def _bake(settings: BuildSettings, planned: Planned, found: Found, jobs: int, watcher: Watcher) -> Built:
    plan, out, epochs = planned.plan, found.folder.out, max(settings.epochs_worth, found.epochs)
    if epochs > settings.epochs_worth:
        asked = settings.epochs_worth
        watcher.say(f"{out} already holds {spell_worth(epochs)}: asking for {asked} changes nothing")
    tasks = list(_tasks(planned, found, epochs))
    if found.finished is not None and found.epochs == epochs and not tasks and found.finished.is_whole(out):
        return Built(out=out, finished=found.finished, baked=0, skipped=found.finished.skipped)
    found.folder.forget_others({receipt.name for receipt in found.receipts})
    pictures = _keep_pictures(planned.pictures, out)
    if found.receipts and tasks:
        done = sum(receipt.samples for receipt in found.receipts)
        watcher.say(f"resuming: {done:,} variants are whole, {_variants(plan, tasks):,} to bake")
    board = temporary_path(out / "logs" / "board")
    bakery = Bakery(
        out=out,
        plan=plan,
        plan_digest=found.plan_digest,
        recipe=planned.recipe,
        source=planned.source,
        pictures=pictures,
        board=board,
    )
    folders = {"index", "receipts", "sizes", "logs"} | {f"{v}/v{n:03d}" for v, n in plan.outputs(0, epochs - 1)}
    for name in folders:
        (out / name).mkdir(parents=True, exist_ok=True)
    try:
        receipts = [*found.receipts, *_run(bakery, tasks, settings, jobs, found.receipts, watcher)]
    finally:
        # No worker is left; those that were killed on the way left half-written files.
        remove_leftovers(out)
    # Also when nothing was left to bake: a run above the limit may have ended with its last block.
    _check_skips(receipts, plan.baked, settings.max_skip)
    watcher.event("finishing", receipts=len(receipts))
    finished = finish(
        out, plan, found.plan_digest, planned.listing, receipts, epochs, given=found.given, before=found.finished
    )
    new = receipts[len(found.receipts) :]
    return Built(
        out=out,
        finished=finished,
        baked=sum(receipt.samples for receipt in new),
        skipped=finished.skipped,
    )


def _keep_pictures(pictures: PictureSet | None, out: Path) -> PictureSet | None:
    """The prepared pictures as a copy that goes with the bake."""
    if pictures is None:
        return None
    kept = out / "mixing" / pictures.path.name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with publishing(kept) as writer, pictures.path.open("rb") as file:
            while piece := retrying(partial(file.read, 1 << 20), pictures.path):
                writer.write(piece)
    return open_pictures(kept, check=True)


def missing_ranges(plan: Plan, covered: Mapping[int, int], epochs: int) -> Iterator[BlockRange]:
    """What is to be baked, in block order, cut into ranges of at most TASK_NUMBERS shards.

    covered: epochs' worth that are whole, by block (`Found.covered`).
    """
    step = max(1, TASK_NUMBERS // len(list(plan.outputs(0, 0))))
    for block in range(plan.blocks):
        for first in range(covered.get(block, 0), epochs, step):
            yield BlockRange(block=block, first=first, last=min(first + step, epochs) - 1)


def _tasks(planned: Planned, found: Found, epochs: int) -> Iterator[BlockTask]:
    """A task for each range that is missing; those of a block share their entries."""
    plan, order = planned.plan, planned.plan.order()
    ranges = enumerate(missing_ranges(plan, found.covered(), epochs))
    for block, of_block in groupby(ranges, key=lambda numbered: numbered[1].block):
        images = order[plan.block(block)].tolist()
        entries = tuple(planned.listing.entry(image) for image in images)
        expected = tuple(found.sha256.get(image, "") for image in images)
        for index, missing in of_block:
            yield BlockTask(
                index=index, block=block, first=missing.first, last=missing.last, entries=entries, expected=expected
            )


def _images(tasks: Sequence[BlockTask]) -> int:
    """Images of all tasks, each counted once: every range of a block has the same ones."""
    return sum({task.block: len(task.entries) for task in tasks}.values())


def _variants(plan: Plan, tasks: Sequence[BlockTask]) -> int:
    return sum(len(task.entries) * len(list(plan.outputs(task.first, task.last))) for task in tasks)


def _run(
    bakery: Bakery,
    tasks: Sequence[BlockTask],
    settings: BuildSettings,
    jobs: int,
    earlier: Sequence[Receipt],
    watcher: Watcher,
) -> list[Receipt]:
    """Bake every task; receipts in block order. Raises TooManySkipped as soon as the limit is passed."""
    if not tasks:
        return []
    executor = EXECUTORS[settings.executor](board=bakery.board, jobs=jobs)
    receipts: list[Receipt] = []
    blocks, variants = [task.block for task in tasks], _variants(bakery.plan, tasks)
    with (
        _board(bakery.board, len(tasks)) as board,
        watcher.baking(partial(board.totals, blocks), _images(tasks), variants),
        closing(executor.run(tasks, partial(bake_block, bakery))) as results,
    ):
        for receipt in results:
            receipts.append(receipt)
            watcher.event("block", range=receipt.name, samples=receipt.samples, bytes=receipt.tar_bytes)
            for skip in receipt.skips:
                watcher.event("skip", image=skip.image, source=skip.source, reason=skip.reason)
            _check_skips([*earlier, *receipts], bakery.plan.baked, settings.max_skip)
    return sorted(receipts, key=lambda receipt: (receipt.block, receipt.first))


@contextmanager
def _board(path: Path, tasks: int) -> Iterator[Board]:
    board = Board.create(path, tasks)
    try:
        yield board
    finally:
        board.remove()


def _check_skips(receipts: Sequence[Receipt], images: int, limit: float) -> None:
    skips = {skip.image: skip for receipt in receipts for skip in receipt.skips}
    if len(skips) <= limit * images:
        return
    examples = "; ".join(f"{skip.source}: {skip.reason}" for skip in list(skips.values())[:3])
    raise TooManySkipped(
        f"{len(skips)} of {images} images cannot be decoded, more than --max-skip {limit} allows "
        f"({examples}): mend them, or run again with a higher --max-skip; finished blocks are kept"
    )


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is, or will be."""
    place = folder
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
