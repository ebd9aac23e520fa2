"""What a bake promises of its files: bake.json, manifest, images.parquet and receipts, each judged by itself.

`storage.opened.Bake` stops at the first file that is not what it should be; here every fault is noted, and what
is sound is used to look further. Rule: names are computed from the plan; no name that a file holds is followed.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixbake.audit.faults import Faults
from mixbake.data.listing import Listing
from mixbake.errors import Damage, PlanDiffers, StorageError
from mixbake.storage import codecs
from mixbake.storage.finish import FIELDS, Finished, open_finished, wrong_fields
from mixbake.storage.index import IMAGES_SCHEMA
from mixbake.storage.plan import Plan, mixing_path, plan_of, shard_path, source_digest
from mixbake.storage.receipt import Receipt
from mixbake.storage.sizes import sizes_bytes, sizes_path
from mixbake.storage.store import read_json, retrying

RANGE = re.compile(r"[0-9]{6,9}-v[0-9]{3,9}-[0-9]{3,9}")
VIEWS = ("mix", "clean")
MOST_NUMBERS = 10**6
"""Of variants of an image: more than any bake has."""
LARGEST = 1 << 28
"""Bytes of bake.json, manifest.json or a receipt that are still read."""
BYTES_A_ROW = 1 << 14
"""Uncompressed bytes that a row of a Parquet file may take."""
UNREADABLE = (Damage, PlanDiffers, StorageError, TypeError, ValueError, KeyError, OverflowError, RecursionError)
"""What reading a document that anybody may have written raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """images.parquet: int64[n] labels, bytes; paths, SHA-256 (hex, "" if not baked) by image; bool[n] skipped."""

    labels: NDArray[np.int64]
    bytes: NDArray[np.int64]
    paths: list[str]
    sha256: list[str]
    skipped: NDArray[np.bool_]


@dataclass(kw_only=True)
class Promises:
    """What could be read of a bake's promises; None stands for what is damaged. receipts: the sound ones."""

    out: Path
    faults: Faults
    finished: Finished | None = None
    plan: Plan | None = None
    plan_digest: str = ""
    images: Images | None = None
    receipts: list[Receipt] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """N."""
        return self.finished.epochs_worth if self.finished else 0

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Image numbers in baking order; needs the plan."""
        return np.zeros(0, np.int64) if self.plan is None else self.plan.order()

    @cached_property
    def blocks(self) -> list[NDArray[np.int64]]:
        """Image numbers of each block's samples, in the order of the tars; needs plan and images."""
        if self.plan is None or self.images is None:
            return []
        parts = (self.order[self.plan.block(block)] for block in range(self.plan.blocks))
        return [part[~self.images.skipped[part]] for part in parts]

    def tars(self) -> Iterator[tuple[str, int]]:
        """Name and promised size of every tar of a sound receipt."""
        for receipt in self.receipts:
            for shard in receipt.shards:
                yield shard_path(shard.view, shard.number, receipt.block), shard.bytes

    def files(self) -> Iterator[tuple[str, int]]:
        """Name and promised size of every tar, index and file of lengths."""
        yield from self.tars()
        for receipt in self.receipts:
            yield f"index/{receipt.name}.parquet", receipt.index_bytes
        if self.plan is not None and self.images is not None:
            kept = sum(map(len, self.blocks))
            yield from ((name, sizes_bytes(kept)) for name in sizes_of(self.plan, self.epochs))


def sizes_of(plan: Plan, epochs: int) -> list[str]:
    """The files of picture lengths that a bake has: none where records have one length."""
    if codecs.is_fixed(plan.codec, plan.size):
        return []
    return [sizes_path(view, number) for view, number in plan.outputs(0, epochs - 1)] if epochs else []


def read_promises(out: Path, faults: Faults, *, unfinished: bool = False) -> Promises:
    """Read and judge all but tars, indexes, lengths and mixing pictures.

    Where bake.json is damaged, the receipts that are there are taken; with `unfinished`, also where it is absent,
    which else raises UsageError.
    """
    found = Promises(out=out, faults=faults)
    if not unfinished or (out / "bake.json").exists():
        found.finished = _read_entry(out, faults)
    _read_plan(found)
    if found.finished is not None or (out / "images.parquet").exists():
        _read_images(found)
    if found.finished is not None:
        named = found.finished.document["receipts"]
    else:
        named = {path.stem: None for path in sorted((out / "receipts").glob("*.json"))}
    for name, sha256 in named.items():
        _read_receipt(found, name, sha256)
    found.receipts.sort(key=lambda receipt: (receipt.block, receipt.first))
    if found.finished is not None and found.plan is not None:
        _judge_counts(found, found.finished, found.plan)
    return found


def bounded(path: Path, limit: int = LARGEST) -> bytes:
    """A small file, whole. Raises Damage when it is absent, no file, or larger than `limit`."""
    if not path.is_file():
        raise Damage("it is missing" if not path.exists() else "it is no file")
    if (size := path.stat().st_size) > limit:
        raise Damage(f"it has {size:,} bytes, and at most {limit:,} would make sense")
    return retrying(path.read_bytes, path)


def open_table(path: Path, schema: Any, rows: int) -> Any:
    """A ParquetFile with that many rows and those columns. Raises Damage; nothing larger than plausible is opened."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise Damage(f"it is no Parquet file ({error})") from error
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    if file.metadata.num_rows != rows:
        raise Damage(f"it has {file.metadata.num_rows:,} rows and should have {rows:,}")
    if sum(group.total_byte_size for group in groups) > rows * BYTES_A_ROW + LARGEST:
        raise Damage("it claims to be larger than so many rows can be")
    if file.schema_arrow.names != schema.names:
        raise Damage(f"its columns are {', '.join(file.schema_arrow.names)}")
    return file


def _read_entry(out: Path, faults: Faults) -> Finished | None:
    try:
        if (out / "bake.json").exists():
            bounded(out / "bake.json")
        finished = open_finished(out)
    except (Damage, RecursionError, ValueError) as error:
        faults.add("bake.json", error)
        return None
    document = finished.document
    odd = [*wrong_fields(document), *sorted(set(document) ^ {*FIELDS, "mixing", "built_with"})]
    if odd or not 1 <= document["epochs_worth"] <= MOST_NUMBERS:
        faults.add(
            "bake.json", f"the field {odd[0] if odd else 'epochs_worth'!r} is missing, of a wrong kind or unknown"
        )
        return None
    return finished


def _read_plan(found: Promises) -> None:
    path = found.out / "manifest.json"
    try:
        text = bounded(path)
        found.plan_digest = hashlib.sha256(text).hexdigest()
        if found.finished and found.plan_digest != found.finished.document["manifest_sha256"]:
            raise Damage("its SHA-256 is not the one that bake.json names")
        found.plan = plan_of(read_json(path))
    except UNREADABLE as error:
        found.faults.add("manifest.json", error)


def _read_images(found: Promises) -> None:
    path, finished = found.out / "images.parquet", found.finished
    try:
        data = hashlib.sha256(bounded(path, 1 << 34)).hexdigest()
        if finished is not None and data != finished.document["images_sha256"]:
            raise Damage("its SHA-256 is not the one that bake.json names")
        if found.plan is not None:
            found.images = _images(path, found.plan)
    except (*UNREADABLE, pa.ArrowException) as error:
        found.faults.add("images.parquet", error)


def _images(path: Path, plan: Plan) -> Images:
    table = open_table(path, IMAGES_SCHEMA, plan.images).read(use_threads=False).cast(IMAGES_SCHEMA)
    empty = [name for name in ("number", "label", "source", "bytes") if table[name].null_count]
    if empty:
        raise Damage(f"the column {empty[0]!r} has empty places")
    labels = table["label"].to_numpy().astype(np.int64)
    if not np.array_equal(table["number"].to_numpy(), np.arange(plan.images)):
        raise Damage(f"it does not list the {plan.images:,} images of the plan in order")
    if not ((labels >= 0) & (labels < len(plan.classes))).all():
        raise Damage(f"it has labels outside of 0 to {len(plan.classes) - 1}")
    if table["class"].to_pylist() != [plan.classes[label] for label in labels.tolist()]:
        raise Damage("its classes are not those of its labels")
    images = Images(
        labels=labels,
        bytes=table["bytes"].to_numpy(),
        paths=table["source"].to_pylist(),
        sha256=[sha256 or "" for sha256 in table["source_sha256"].to_pylist()],
        skipped=table["skipped"].combine_chunks().is_valid().to_numpy(zero_copy_only=False),
    )
    if source_digest(listing_of(images, plan)) != plan.source:
        raise Damage("its paths, sizes and labels are not those of the plan's source digest")
    return images


def listing_of(images: Images, plan: Plan) -> Listing:
    """The source as the bake knows it; nothing can be read through it."""
    zeros = np.zeros(len(images.paths), np.int64)
    paths = tuple(images.paths)
    return Listing(spec="", classes=plan.classes, paths=paths, sizes=images.bytes, offsets=zeros, labels=images.labels)


def _read_receipt(found: Promises, name: str, sha256: object) -> None:
    shown = f"receipts/{name}.json"
    if not RANGE.fullmatch(name):
        found.faults.add("bake.json", f"it names a receipt {name!r:.80}, which is no block range")
        return
    path = found.out / shown
    try:
        text = bounded(path)
        if sha256 is not None and hashlib.sha256(text).hexdigest() != sha256:
            raise Damage("its SHA-256 is not the one that bake.json names")
        receipt = Receipt.from_json(text, path)
        if reason := _misplaced(receipt, name, found):
            raise Damage(reason)
    except UNREADABLE as error:
        found.faults.add(shown, error)
        return
    found.receipts.append(receipt)


def _misplaced(receipt: Receipt, name: str, found: Promises) -> str:
    """Why a receipt does not belong to the bake, or nothing."""
    plan = found.plan
    if receipt.name != name or not 0 <= receipt.first <= receipt.last < MOST_NUMBERS or receipt.block < 0:
        return "it is that of another block range"
    if plan is None:
        sound = all(shard.view in VIEWS and 0 <= shard.number < MOST_NUMBERS for shard in receipt.shards)
        return "" if sound else "its shards are none"
    if receipt.plan != found.plan_digest:
        return "it is that of another plan"
    if receipt.block >= plan.blocks or receipt.images != plan.images_in(receipt.block):
        return "its block is not the plan's"
    return _wrong_shards(receipt, plan) or _wrong_skips(receipt, plan, found)


def _wrong_shards(receipt: Receipt, plan: Plan) -> str:
    each = plan.group + (plan.views != "mix")
    # Counted before any list of so many is made.
    if len(receipt.shards) != (receipt.last + 1 - receipt.first) * each:
        return f"it has {len(receipt.shards)} shards"
    if [(shard.view, shard.number) for shard in receipt.shards] != list(plan.outputs(receipt.first, receipt.last)):
        return "its shards are not those of its range"
    if any(shard.samples != receipt.images - len(receipt.skips) for shard in receipt.shards):
        return "its shards do not have a sample of every image that was not skipped"
    return ""


def _wrong_skips(receipt: Receipt, plan: Plan, found: Promises) -> str:
    if found.images is None:
        return ""
    images = found.order[plan.block(receipt.block)]
    same = {skip.image for skip in receipt.skips} == set(images[found.images.skipped[images]].tolist())
    return "" if same else "its skipped images are not those of images.parquet"


def _judge_counts(found: Promises, finished: Finished, plan: Plan) -> None:
    """bake.json against the plan and the receipts."""
    note, document = found.faults.add, finished.document
    for block in _uncovered(document["receipts"], plan, finished.epochs_worth):
        note("bake.json", f"its receipts do not cover block {block} from 0 to {finished.epochs_worth - 1} once")
    if document["views"] != plan.views:
        note("bake.json", f"it says views {document['views']!r:.20}, the plan {plan.views}")
    if (document["mixing"] or {}).get("path") != (mixing_path(plan.mixing) if plan.mixing else None):
        note("bake.json", "it does not name the plan's mixing pictures")
    if sorted(document["sizes"]) != sorted(sizes_of(plan, finished.epochs_worth)):
        note("bake.json", "it does not name the plan's files of lengths")
    if found.images is None or len(found.receipts) != len(document["receipts"]):
        return
    environments, said = [dict(receipt.environment) for receipt in found.receipts], document["environments"]
    if any(one not in said for one in environments) or any(one not in environments for one in said):
        note("bake.json", "its environments are not those of its receipts")
    skipped = int(found.images.skipped[found.order].sum())
    counts = {
        "images": plan.baked - skipped,
        "skipped": skipped,
        "samples": sum(receipt.samples for receipt in found.receipts),
        "bytes": sum(receipt.tar_bytes for receipt in found.receipts),
    }
    for name, count in counts.items():
        if document[name] != count:
            note("bake.json", f"it says {name} {document[name]!r:.40}, its receipts say {count}")


def _uncovered(names: Iterable[str], plan: Plan, epochs: int) -> Iterator[int]:
    """Blocks whose ranges, as receipts are named, do not follow one another from 0 to the end."""
    spans: dict[int, list[tuple[int, int]]] = {block: [] for block in range(plan.blocks)}
    for name in filter(RANGE.fullmatch, names):
        block, first, last = (int(part) for part in re.findall(r"[0-9]+", name))
        spans.setdefault(block, []).append((first, last))
    for block, ranges in spans.items():
        ends = [0, *(last + 1 for _, last in sorted(ranges))]
        if block >= plan.blocks or [first for first, _ in sorted(ranges)] != ends[:-1] or ends[-1] != epochs:
            yield block
