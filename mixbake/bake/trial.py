"""A short real bake in a temporary folder: what an image and a variant cost in seconds and bytes.

A task of m images and s shards takes about  task + s·shard + m·image + m·s·variant  seconds: four unknowns,
from four runs, few and many images with one and with several epochs' worth. `image` is reading and decoding,
which the variants of a task share; `task` and `shard` are what creating files and waiting for the disk cost.
Rule: the trial goes through `bake_block` itself and never touches OUT.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

from mixbake.bake.block import Bakery, BlockTask, bake_block
from mixbake.bake.board import Board
from mixbake.bake.build import free_bytes
from mixbake.bake.settings import Planned
from mixbake.data.listing import Entry
from mixbake.errors import TooManySkipped
from mixbake.storage import tar
from mixbake.storage.index import SCHEMA, parquet_bytes
from mixbake.storage.receipt import Receipt, Skip
from mixbake.storage.store import retrying

FEW = 4
"""Images of the runs that show what files cost by themselves."""
PASSES = 5
"""Most times that the four runs are made: the median is taken."""
REPEAT_SECONDS = 1.0
"""No further pass begins after this time; large images need none."""
ROOM = 4
"""A trial next to OUT may take at most this fraction of the free space; else it runs in the system's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Of one core: for a task, each of its shards, each image, each variant of an image."""

    task: float
    shard: float
    image: float
    variant: float

    def of(self, images: int, shards: int) -> float:
        """Add up a whole task."""
        return self.task + shards * self.shard + images * (self.image + shards * self.variant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """Means. record, picture: by view, a sample in its tar and the encoded picture alone.

    index: of a file without rows; index_image, index_row: what an image and each of its variants add.
    receipt, receipt_shard: of a receipt, and what each shard adds.
    """

    record: dict[str, float]
    picture: dict[str, float]
    index: float
    index_image: float
    index_row: float
    receipt: float
    receipt_shard: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a trial found. images: tried; skips: those that could not be decoded."""

    images: int
    skips: tuple[Skip, ...]
    seconds: Seconds
    bytes: Bytes

    @property
    def skipped_share(self) -> float:
        """Of the images tried."""
        return len(self.skips) / self.images


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One task that was baked: images tried, epochs' worth, wall seconds, its receipt."""

    images: int
    epochs: int
    seconds: float
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A bakery in a temporary folder. expected: SHA-256 (hex) by image number, of images baked before."""

    bakery: Bakery
    expected: dict[int, str]

    def run(self, entries: Sequence[Entry], first: int, last: int) -> Run:
        """Bake epochs' worth first..last of some images as one block. Raises what a build raises."""
        task = BlockTask(
            index=0,
            block=0,
            first=first,
            last=last,
            entries=tuple(entries),
            expected=tuple(self.expected.get(entry.image, "") for entry in entries),
        )
        out = self.bakery.out
        for view, number in self.bakery.plan.outputs(first, last):
            (out / f"{view}/v{number:03d}").mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        receipt = bake_block(self.bakery, task)
        return Run(images=len(entries), epochs=last + 1 - first, seconds=time.perf_counter() - started, receipt=receipt)


def run_trial(
    planned: Planned, entries: Sequence[Entry], *, beside: Path, epochs: int, expected: dict[int, str], seconds: float
) -> Costs:
    """Bake some images for one and for `epochs` (>= 2) epochs' worth; fewer images if they would take too long.

    beside: the output folder; its file system is used if there is room. seconds: about as long as it may take.
    Raises TooManySkipped when no image can be decoded, and what a build raises.
    """
    with _bakery(planned, beside, len(entries) * (epochs + 1)) as bakery:
        trial = Trial(bakery=bakery, expected=expected)
        for entry in entries:  # a first read may wait for the disk, the later ones will not: all are to be alike
            retrying(partial(planned.source.read, entry), Path(entry.path))
        few = entries[:: max(1, len(entries) // FEW)][:FEW]
        trial.run(few, 0, 0)
        probe = trial.run(few, 0, epochs - 1)
        affordable = int(seconds / 2 / (probe.seconds / len(few)))
        many = entries[:: -(-len(entries) // max(affordable, FEW))] if affordable < len(entries) else entries
        passes = list(_passes(trial, few, many, epochs))
        _require_some(passes[0])
        return Costs(
            images=len(many),
            skips=passes[0][3].receipt.skips,
            seconds=_seconds(passes, shards_of(planned, 1)),
            bytes=_bytes(bakery.out, passes[0]),
        )


def shards_of(planned: Planned, epochs: int) -> int:
    """Shards that a block has for so many epochs' worth."""
    return len(list(planned.plan.outputs(0, epochs - 1)))


@contextmanager
def _bakery(planned: Planned, beside: Path, variants: int) -> Iterator[Bakery]:
    plan = planned.plan
    needed = variants * shards_of(planned, 1) * (3 * plan.size**2 + plan.member_bytes + 4096)
    with tempfile.TemporaryDirectory(prefix=".mixbake-trial-", dir=_place(beside, needed)) as name:
        out = Path(name)
        for folder in ("index", "receipts"):
            (out / folder).mkdir()
        Board.create(out / "board", 1)
        yield Bakery(
            out=out,
            plan=plan,
            plan_digest="",
            recipe=planned.recipe,
            source=planned.source,
            pictures=planned.pictures,
            board=out / "board",
        )


def _place(out: Path, needed: int) -> Path | None:
    """Find the nearest folder above `out` that exists, if a trial may be there; None for the system's."""
    above = next(parent for parent in out.absolute().parents if parent.exists())
    fits = os.access(above, os.W_OK | os.X_OK) and needed * ROOM <= free_bytes(above)
    return above if fits else None


Pass = tuple[Run, Run, Run, Run]
"""Few images for one and for several epochs' worth, then many."""


def _passes(trial: Trial, few: Sequence[Entry], many: Sequence[Entry], epochs: int) -> Iterator[Pass]:
    started = time.perf_counter()
    for _ in range(PASSES):
        # One epoch's worth is the one after the several: other variants, so a better mean of their bytes.
        yield (
            trial.run(few, epochs, epochs),
            trial.run(few, 0, epochs - 1),
            trial.run(many, epochs, epochs),
            trial.run(many, 0, epochs - 1),
        )
        if time.perf_counter() - started > REPEAT_SECONDS:
            return


def _require_some(runs: Pass) -> None:
    receipt = runs[3].receipt
    if receipt.samples:
        return
    examples = "; ".join(f"{skip.source}: {skip.reason}" for skip in receipt.skips[:3])
    raise TooManySkipped(f"none of {receipt.images} images tried can be decoded ({examples}): check the source")


def _seconds(passes: Sequence[Pass], shards: int) -> Seconds:
    """Solve for the four costs; noise must not make one negative. shards: of one epoch's worth."""
    one_few, all_few, one_many, all_many = (median(runs[i].seconds for runs in passes) for i in range(4))
    few, many = passes[0][0].images, passes[0][2].images
    more_shards = shards * (passes[0][1].epochs - 1)
    if many == few:
        return Seconds(task=0, shard=0, image=0, variant=all_many / (many * (shards + more_shards)))
    image_one, image_all = (one_many - one_few) / (many - few), (all_many - all_few) / (many - few)
    variant = max(0.0, (image_all - image_one) / more_shards)
    image = max(0.0, image_one - shards * variant)
    shard = max(0.0, (all_few - one_few) / more_shards - few * variant)
    return Seconds(
        task=max(0.0, one_few - shards * shard - few * (image + shards * variant)),
        shard=shard,
        image=image,
        variant=variant,
    )


def _bytes(out: Path, runs: Pass) -> Bytes:
    one, several = runs[2].receipt, runs[3].receipt
    views = list(dict.fromkeys(shard.view for shard in several.shards))
    rows = several.samples - one.samples
    empty = len(parquet_bytes([], SCHEMA))
    per_row = max(0.0, (several.index_bytes - one.index_bytes) / rows)
    per_image = max(0.0, (one.index_bytes - empty - one.samples * per_row) / one.images)
    spelled = [len(receipt.to_json()) for receipt in (one, several)]
    per_shard = (spelled[1] - spelled[0]) / (len(several.shards) - len(one.shards))
    return Bytes(
        record={view: _record(view, (one, several)) for view in views},
        picture={view: _picture(out, view, (one, several)) for view in views},
        index=empty,
        index_image=per_image,
        index_row=per_row,
        receipt=spelled[0] - per_shard * len(one.shards),
        receipt_shard=per_shard,
    )


def _record(view: str, receipts: Sequence[Receipt]) -> float:
    shards = [shard for receipt in receipts for shard in receipt.shards if shard.view == view]
    return sum(shard.bytes - len(tar.END) for shard in shards) / sum(shard.samples for shard in shards)


def _picture(out: Path, view: str, receipts: Sequence[Receipt]) -> float:
    sizes = [
        pq.read_table(out / "index" / f"{receipt.name}.parquet", columns=["size"], filters=[("view", "=", view)])[
            "size"
        ]
        for receipt in receipts
    ]
    return sum(sum(column.to_pylist()) for column in sizes) / sum(len(column) for column in sizes)
