"""`mixbake plan`: bytes, time and disk of a build before it runs, from a trial on some of its images.

    plan -> what OUT holds already -> trial -> costs times what is left to do

Bytes are meant to be right within 10 %, time within 25 % on a machine that does nothing else and reads
its source no slower than in the trial. Rule: the plan and the comparison with OUT are the build's own, so
that whatever a build would refuse is refused here, with the same words; OUT is read, never written.
"""

import hashlib
import heapq
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixbake.bake.build import BlockRange, Watcher, describe, free_bytes, missing_ranges
from mixbake.bake.folder import MANIFEST, Folder, Found
from mixbake.bake.settings import BuildSettings, Planned, default_out, make_plan
from mixbake.bake.trial import Costs, run_trial, shards_of
from mixbake.bake.warmup import warm_up
from mixbake.core.jit import cache_root
from mixbake.core.ops import tell_overlap
from mixbake.data.listing import Entry
from mixbake.errors import StorageError
from mixbake.storage import tar
from mixbake.storage.index import IMAGES_SCHEMA, parquet_bytes
from mixbake.storage.plan import manifest, spell_worth
from mixbake.storage.store import canonical_json

TRIAL_IMAGES = 200
TRIAL_SECONDS = 10.0
TRIAL_EPOCHS = {True: 8, False: 3}
"""Epochs' worth of a trial, for images up to 64 px and above: small ones cost so little that files would drown them."""
START_SECONDS = {"joblib": 2.0, "inline": 0.0}
"""Until worker processes bake, and until they are gone (measured on two x86-64 cores)."""
IMAGES_ROWS = 20_000
"""images.parquet is measured on at most this many rows."""
CARD_BYTES, BAKE_ROW_BYTES = 6_000, 90
"""README.md with the head of bake.json, and what a receipt adds to bake.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Bytes by kind. shards: tars. images: images.parquet. other: manifest, receipts, bake.json, card."""

    shards: int
    index: int
    images: int
    mixing: int
    other: int

    @property
    def total(self) -> int:
        """Of all kinds."""
        return self.shards + self.index + self.images + self.mixing + self.other


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a build would do.

    images: to be baked, skipped ones included. tried, skipped_share: of the trial. whole: bytes of the finished
    bake; left: of what is still to be written; pictures: encoded pictures alone, in `whole`. seconds: of baking
    what is left, with `jobs`. free: bytes, with those that --overwrite would free. done: variants that OUT holds;
    done_epochs: epochs' worth that readers see there.
    """

    out: Path
    description: str
    images: int
    classes: int
    tried: int
    skipped_share: float
    epochs_worth: int
    variants: int
    blocks: int
    whole: Volume
    left: Volume
    pictures: int
    seconds: float
    jobs: int
    free: int
    done: int
    done_epochs: int
    max_skip: float

    @property
    def overhead(self) -> float:
        """Bytes that are no picture's, as a share of the pictures' bytes; the mixing set is not counted."""
        return (self.whole.total - self.whole.mixing - self.pictures) / self.pictures

    @property
    def fits(self) -> bool:
        """Whether what is left has room."""
        return self.left.total <= self.free

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; bytes in bytes, time in seconds, shares from 0 to 1."""
        return {
            "out": str(self.out),
            "images": self.images,
            "classes": self.classes,
            "tried": self.tried,
            "skipped_share": self.skipped_share,
            "epochs_worth": self.epochs_worth,
            "variants": self.variants,
            "blocks": self.blocks,
            "bytes": {**asdict(self.whole), "total": self.whole.total},
            "bytes_left": {**asdict(self.left), "total": self.left.total},
            "picture_bytes": self.pictures,
            "overhead": round(self.overhead, 4),
            "seconds": round(self.seconds, 1),
            "jobs": self.jobs,
            "free_bytes": self.free,
            "fits": self.fits,
            "done": {"variants": self.done, "epochs_worth": self.done_epochs},
        }

    def require_room(self) -> None:
        """Raise StorageError when the disk is too small for what is left."""
        if self.fits:
            return
        raise StorageError(
            f"{self.out} needs about {spell_bytes(self.left.total)} and its disk has {spell_bytes(self.free)} free: "
            f"free {spell_bytes(self.left.total - self.free)} there, choose an OUT on another disk, or bake less "
            "(--epochs-worth, --limit, --codec jpeg)"
        )


def estimate(settings: BuildSettings, watcher: Watcher) -> Estimate:
    """Plan a build and try it on up to TRIAL_IMAGES images. Raises what the build would raise."""
    out = default_out(settings)
    jobs = settings.jobs or len(os.sched_getaffinity(0))
    warm_up(watcher.say)
    planned = make_plan(
        settings, pictures_folder=cache_root() / "pictures", jobs=jobs, say=watcher.say, progress=watcher.prepare
    )
    if overlap := tell_overlap(planned.plan.recipe):
        watcher.say(overlap)
    found = _find(planned, settings, out)
    watcher.say(f"trial on up to {TRIAL_IMAGES} images: some seconds")
    costs = run_trial(
        planned,
        spread(planned, TRIAL_IMAGES),
        beside=out,
        epochs=TRIAL_EPOCHS[planned.plan.size <= 64],
        expected=found.sha256,
        seconds=TRIAL_SECONDS,
    )
    return forecast(settings, planned, found, costs, jobs)


def spread(planned: Planned, most: int) -> list[Entry]:
    """Up to `most` of the images to be baked, evenly over the shuffled order: every class has its share."""
    order = planned.plan.order()
    places = np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).astype(np.int64))
    return [planned.listing.entry(int(image)) for image in order[places]]


def _find(planned: Planned, settings: BuildSettings, out: Path) -> Found:
    """Read what a build would find in OUT; nothing is written there. Raises PlanDiffers."""
    folder = Folder(out)
    folder.require_usable(overwrite=settings.overwrite)
    if (out / MANIFEST).exists() and not settings.overwrite:
        return folder.settle(planned, settings)
    return nothing_found(out)


def nothing_found(out: Path) -> Found:
    """Stand for an OUT that holds nothing."""
    return Found(folder=Folder(out), plan_digest="", given={}, finished=None, epochs=0, receipts=())


def forecast(settings: BuildSettings, planned: Planned, found: Found, costs: Costs, jobs: int) -> Estimate:
    """Scale the costs of a trial to what the build has left to do."""
    plan, epochs = planned.plan, settings.epochs_worth
    out = found.folder.out
    jobs = 1 if settings.executor == "inline" else jobs
    # A smaller N changes nothing: what is there stays.
    kept = max(epochs, found.epochs)
    tasks = list(missing_ranges(plan, found.covered(), kept))
    left = _left(planned, found, costs, tasks, mixing_there=_mixing(planned, out) and not settings.overwrite)
    return Estimate(
        out=out,
        description=describe(plan, out),
        images=plan.baked,
        classes=len(plan.classes),
        tried=costs.images,
        skipped_share=costs.skipped_share,
        epochs_worth=kept,
        variants=round(plan.variants(kept) * (1 - costs.skipped_share)),
        blocks=plan.blocks,
        whole=_whole(planned, found, costs, left),
        left=left,
        pictures=_of_views(planned, costs, costs.bytes.picture, kept),
        seconds=_wall_seconds(planned, costs, tasks, jobs) + (START_SECONDS[settings.executor] if tasks else 0),
        jobs=jobs,
        free=free_bytes(out) + (_size_of_bake(out) if settings.overwrite else 0),
        done=sum(receipt.samples for receipt in found.receipts),
        done_epochs=found.epochs,
        max_skip=settings.max_skip,
    )


def _left(planned: Planned, found: Found, costs: Costs, tasks: Sequence[BlockRange], *, mixing_there: bool) -> Volume:
    if found.finished is not None and not tasks:
        return Volume(shards=0, index=0, images=0, mixing=0, other=0)
    pictures = planned.pictures
    shards = index = other = 0.0
    for task in tasks:
        files = shards_of(planned, task.epochs)
        images = planned.plan.images_in(task.block) * (1 - costs.skipped_share)
        shards += files * len(tar.END) + images * _of_epochs(planned, costs.bytes.record, task.epochs)
        index += costs.bytes.index + images * (costs.bytes.index_image + files * costs.bytes.index_row)
        other += costs.bytes.receipt + files * costs.bytes.receipt_shard + BAKE_ROW_BYTES
    other += BAKE_ROW_BYTES * len(found.receipts) + CARD_BYTES
    if not found.plan_digest:
        other += len(canonical_json(manifest(planned.plan, given={})))
    return Volume(
        shards=round(shards),
        index=round(index),
        images=0 if found.finished else _images_bytes(planned),
        mixing=0 if pictures is None or mixing_there else pictures.path.stat().st_size,
        other=round(other),
    )


def _whole(planned: Planned, found: Found, costs: Costs, left: Volume) -> Volume:
    """Add what the receipts say is there to what is left."""
    there = found.receipts
    receipts = sum(costs.bytes.receipt + len(one.shards) * costs.bytes.receipt_shard for one in there)
    fixed = 0 if left.other else BAKE_ROW_BYTES * len(there) + CARD_BYTES
    head = len(canonical_json(manifest(planned.plan, given={}))) if found.plan_digest else 0
    return Volume(
        shards=left.shards + sum(one.tar_bytes for one in there),
        index=left.index + sum(one.index_bytes for one in there),
        images=_images_bytes(planned),
        mixing=planned.pictures.path.stat().st_size if planned.pictures else 0,
        other=round(left.other + receipts + fixed + head),
    )


def _of_epochs(planned: Planned, by_view: Mapping[str, float], epochs: int) -> float:
    """Bytes of one image for so many epochs' worth, from means by view."""
    return sum(by_view[view] for view, _ in planned.plan.outputs(0, epochs - 1))


def _of_views(planned: Planned, costs: Costs, by_view: Mapping[str, float], epochs: int) -> int:
    return round(planned.plan.baked * (1 - costs.skipped_share) * _of_epochs(planned, by_view, epochs))


def _images_bytes(planned: Planned) -> int:
    """images.parquet, measured with stand-ins for the hashes, which do not compress whatever they are."""
    listing, plan = planned.listing, planned.plan
    rows = min(len(listing), IMAGES_ROWS)
    labels = pa.array(listing.labels[:rows], pa.int32())
    hashes = [hashlib.sha256(path.encode()).hexdigest() for path in listing.paths[:rows]]
    columns = [
        pa.array(np.arange(rows)),
        labels,
        pa.DictionaryArray.from_arrays(labels, pa.array(plan.classes)),
        pa.array(listing.paths[:rows], pa.string()),
        pa.array(listing.sizes[:rows]),
        pa.array(hashes, pa.string(), mask=~_like_baked(rows, plan.baked / plan.images)),
        pa.nulls(rows, pa.string()),
    ]
    measured = len(parquet_bytes([pa.record_batch(columns, schema=IMAGES_SCHEMA)], IMAGES_SCHEMA))
    return round(measured * len(listing) / rows)


def _like_baked(rows: int, share: float) -> NDArray[np.bool_]:
    """Spread that share of true over bool[rows]."""
    steps: NDArray[np.float64] = np.diff(np.floor(np.arange(rows + 1) * share))
    return steps > 0


def _mixing(planned: Planned, out: Path) -> bool:
    """Whether OUT holds the prepared pictures already."""
    return planned.pictures is not None and (out / "mixing" / planned.pictures.path.name).exists()


def _wall_seconds(planned: Planned, costs: Costs, tasks: Sequence[BlockRange], jobs: int) -> float:
    """When the last worker is done, each taking the next task as it becomes free."""
    workers = [0.0] * max(1, min(jobs, len(os.sched_getaffinity(0)), len(tasks)))
    for task in tasks:
        seconds = costs.seconds.of(planned.plan.images_in(task.block), shards_of(planned, task.epochs))
        heapq.heapreplace(workers, workers[0] + seconds)
    return max(workers)


def _size_of_bake(out: Path) -> int:
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def explain(estimate: Estimate) -> str:
    """One screen of text."""
    whole = estimate.whole
    kinds = {"shards": whole.shards, "index": whole.index, "images.parquet": whole.images, "mixing set": whole.mixing}
    rows = {
        "images": f"{estimate.images:,} in {estimate.classes:,} classes, {estimate.blocks:,} blocks",
        "skipped": f"{estimate.skipped_share:.1%} of {estimate.tried} tried",
        "variants": f"{estimate.variants:,} ({spell_worth(estimate.epochs_worth)})",
        "bytes": f"{spell_bytes(whole.total)}, {estimate.overhead:.0%} more than the pictures alone",
        **{f"  {kind}": spell_bytes(size) for kind, size in kinds.items()},
        "  other": spell_bytes(whole.other),
        "already there": _done(estimate),
        "to be written": f"{spell_bytes(estimate.left.total)}, free {spell_bytes(estimate.free)}",
        "time": f"{spell_seconds(estimate.seconds)} with {estimate.jobs} job{'s' * (estimate.jobs != 1)}",
    }
    lines = [estimate.description, *(f"{name:<18}{value}" for name, value in rows.items())]
    if estimate.skipped_share > estimate.max_skip:
        lines.append(
            f"warning: the build stops when more than {estimate.max_skip:.1%} are skipped: mend them, or --max-skip"
        )
    return "\n".join(lines)


def _done(estimate: Estimate) -> str:
    if not estimate.done:
        return "nothing"
    return f"{estimate.done:,} variants, {spell_worth(estimate.done_epochs)} finished"


def spell_bytes(count: float) -> str:
    """`1.23 GB`: three digits and a decimal unit."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"


def spell_seconds(seconds: float) -> str:
    """`41 s`, `12 min`, `3.2 h` or `2.5 days`."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}" if name != "h" else f"{seconds / unit:.1f} h"
    return f"{seconds / 86_400:.1f} days"
