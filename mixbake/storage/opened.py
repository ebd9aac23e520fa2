"""A finished bake, opened for reading: what is in it, and where each variant's picture lies.

    bake.json -> manifest.json (plan) -> images.parquet (labels) -> receipts (sizes and hashes of all files)

Every arrow is checked by SHA-256, so whoever knows the bake digest knows every byte that is promised.
Rule: paths are computed from the plan; nothing that a file says leads to another file.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixbake.errors import Damage, UsageError
from mixbake.storage.finish import Finished, wrong_fields
from mixbake.storage.plan import FORMAT, Plan, plan_of, range_name, shard_path
from mixbake.storage.shelf import ABSENT, UNKNOWN, Shelf
from mixbake.storage.sizes import sizes_bytes, sizes_path

VIEWS = ("mix", "clean")
Place = tuple[str, int, int]
"""View, number and block of a shard."""
RESTORE = "restore it from a copy, or bake it again with the same build command"
_RANGE = re.compile(r"([0-9]{6,9})-v([0-9]{3,9})-([0-9]{3,9})")
_FETCHERS = 32
"""Receipts are read side by side: from a distance each takes a round trip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of the bake as promised: name relative to it, bytes, SHA-256 (hex)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockIndex:
    """A block range's receipt, as columns. first, last: epochs' worth. sizes: int64[shards] in the plan's order."""

    block: int
    first: int
    last: int
    index: StoredFile
    sizes: NDArray[np.int64]
    sha256: tuple[str, ...]


class Bake:
    """What a finished bake holds. Open with `Bake.open`.

    plan, finished: as stored. images: int64[n], numbers of the images that were baked, ascending.
    labels: int64[n]. blocks, rows: int32[n], the block of each and its place among the block's samples.
    """

    def __init__(self, shelf: Shelf, finished: Finished, plan: Plan, columns: Mapping[str, NDArray[Any]]) -> None:
        self.shelf, self.finished, self.plan = shelf, finished, plan
        self.images: NDArray[np.int64] = columns["images"]
        self.labels: NDArray[np.int64] = columns["labels"]
        self.blocks: NDArray[np.int32] = columns["blocks"]
        self.rows: NDArray[np.int32] = columns["rows"]
        self.samples: NDArray[np.int64] = np.bincount(self.blocks, minlength=plan.blocks)
        self._ranges = _read_ranges(shelf, finished, plan, self.samples)

    @classmethod
    def open(cls, shelf: Shelf) -> Self:
        """Read and check everything but the shards and indexes.

        Raises UsageError when the bake is not finished, Damage naming the file that is not what it should be.
        """
        finished = _read_finished(shelf)
        plan = _read_plan(shelf, finished)
        return cls(shelf, finished, plan, _read_images(shelf, finished, plan))

    @staticmethod
    def digest_on(shelf: Shelf) -> str:
        """The bake digest of what the shelf holds now."""
        return hashlib.sha256(shelf.read("bake.json")).hexdigest()

    @property
    def digest(self) -> str:
        """The bake digest: SHA-256 (hex) of bake.json."""
        return self.finished.digest

    @property
    def plan_digest(self) -> str:
        """SHA-256 (hex) of manifest.json: the same for all extensions of a bake."""
        return str(self.finished.document["manifest_sha256"])

    @property
    def epochs_worth(self) -> int:
        """N."""
        return self.finished.epochs_worth

    def numbers(self, view: str) -> int:
        """How many shards each block has of a view."""
        return {"mix": self.epochs_worth * self.plan.group, "clean": self.epochs_worth}[view]

    def shard(self, view: str, number: int, block: int) -> StoredFile:
        """A tar, as promised."""
        name = shard_path(view, number, block)
        found, position = self._place(view, number, block)
        return StoredFile(name=name, size=int(found.sizes[position]), sha256=found.sha256[position])

    def index(self, view: str, number: int, block: int) -> tuple[StoredFile, int]:
        """The index that covers a shard, and which of its shards that is."""
        found, position = self._place(view, number, block)
        return found.index, position

    def sizes(self, view: str, number: int) -> StoredFile:
        """The file of picture lengths of a view and number (`storage.sizes`). Raises Damage when there is none."""
        name = sizes_path(view, number)
        sha256 = self.finished.sizes.get(name)
        if type(sha256) is not str:
            raise Damage(f"bake.json in {self.shelf.name} does not name {name}: {RESTORE}")
        return StoredFile(name=name, size=sizes_bytes(len(self.images)), sha256=sha256)

    def shards(self) -> Iterator[tuple[Place, StoredFile]]:
        """All tars, as promised, and what they are."""
        for found in self._ranges:
            outputs = self.plan.outputs(found.first, found.last)
            for (view, number), size, sha256 in zip(outputs, found.sizes.tolist(), found.sha256, strict=True):
                place = (view, number, found.block)
                yield place, StoredFile(name=shard_path(*place), size=size, sha256=sha256)

    def files(self) -> Iterator[StoredFile]:
        """All tars, indexes and files of lengths, as promised."""
        for _, file in self.shards():
            yield file
        for name, sha256 in self.finished.sizes.items():
            yield StoredFile(name=name, size=sizes_bytes(len(self.images)), sha256=sha256)
        for found in self._ranges:
            yield found.index

    def wrong_sizes(self) -> list[tuple[StoredFile, int]]:
        """Tars and indexes that are absent or have another size, with the size they have (`ABSENT`)."""
        names, wanted = self._names_and_sizes()
        sizes = self.shelf.sizes(names)
        wrong = np.flatnonzero((sizes != wanted) & (sizes != UNKNOWN)).tolist()
        if not wrong:
            return []
        files = {file.name: file for file in self.files()}
        return [(files[names[i]], int(sizes[i])) for i in wrong]

    def _names_and_sizes(self) -> tuple[list[str], NDArray[np.int64]]:
        """Of all files, in no order: 25,000 dataclasses would cost as much as looking at the files."""
        by_range: dict[tuple[int, int], list[str]] = {}
        names, sizes = list(self.finished.sizes), [np.full(len(self.finished.sizes), sizes_bytes(len(self.images)))]
        for found in self._ranges:
            bounds = found.first, found.last
            if bounds not in by_range:
                by_range[bounds] = [shard_path(view, number, 0)[:-10] for view, number in self.plan.outputs(*bounds)]
            file = f"{found.block:06d}.tar"
            names += [folder + file for folder in by_range[bounds]]
            names.append(found.index.name)
            sizes += [found.sizes, np.array([found.index.size])]
        return names, np.concatenate(sizes)

    @cached_property
    def _firsts(self) -> dict[int, tuple[list[int], list[BlockIndex]]]:
        by_block: dict[int, tuple[list[int], list[BlockIndex]]] = {}
        for found in self._ranges:
            firsts, ranges = by_block.setdefault(found.block, ([], []))
            firsts.append(found.first)
            ranges.append(found)
        return by_block

    def _place(self, view: str, number: int, block: int) -> tuple[BlockIndex, int]:
        epoch = number // self.plan.group if view == "mix" else number
        firsts, ranges = self._firsts[block]
        found = ranges[int(np.searchsorted(firsts, epoch, side="right")) - 1]
        if view == "mix":
            return found, number - found.first * self.plan.group
        return found, (found.last + 1 - found.first) * self.plan.group + number - found.first


def describe_size(file: StoredFile, found: int) -> str:
    """One line about a file of a wrong size."""
    if found == ABSENT:
        return f"{file.name} is missing"
    return f"{file.name} has {found:,} bytes and should have {file.size:,}"


def _read_finished(shelf: Shelf) -> Finished:
    if not shelf.exists("bake.json"):
        raise UsageError(
            f"{shelf.name} holds no finished bake (no bake.json): check the path, or finish it with the same build "
            "command"
        )
    text = shelf.read("bake.json")
    document = _json(text, "bake.json", shelf)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Damage(f"bake.json in {shelf.name} is not a mixbake bake's: {RESTORE}")
    if odd := wrong_fields(document):
        raise Damage(f"bake.json in {shelf.name}: the field {odd[0]!r} is missing or of a wrong type: {RESTORE}")
    return Finished(digest=hashlib.sha256(text).hexdigest(), document=document)


def _read_plan(shelf: Shelf, finished: Finished) -> Plan:
    text = _checked(shelf, "manifest.json", finished.document["manifest_sha256"])
    try:
        return plan_of(_json(text, "manifest.json", shelf))
    except (TypeError, ValueError) as error:
        raise Damage(f"manifest.json in {shelf.name} holds no plan ({error}): {RESTORE}") from error


def _read_images(shelf: Shelf, finished: Finished, plan: Plan) -> dict[str, NDArray[Any]]:
    data = _checked(shelf, "images.parquet", finished.document["images_sha256"])
    try:
        table = pq.read_table(io.BytesIO(data), columns=["number", "label", "skipped"])
        if not all(pa.types.is_integer(table.schema.field(name).type) for name in ("number", "label")):
            raise KeyError("numbers and labels are whole numbers")  # noqa: TRY301 - as if there were none
        numbers, labels = (table[name].cast(pa.int64()).to_numpy() for name in ("number", "label"))
        readable = table["skipped"].combine_chunks().is_null().to_numpy(zero_copy_only=False)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise Damage(f"images.parquet in {shelf.name} is not a table of images ({error}): {RESTORE}") from error
    if not np.array_equal(numbers, np.arange(plan.images)):
        raise Damage(f"images.parquet in {shelf.name} does not list the {plan.images} images of the plan: {RESTORE}")
    if labels.dtype != np.int64 or not ((labels >= 0) & (labels < len(plan.classes))).all():
        raise Damage(f"images.parquet in {shelf.name} has labels outside of 0 to {len(plan.classes) - 1}: {RESTORE}")
    return _places(plan, readable, labels)


def _places(plan: Plan, readable: NDArray[np.bool_], labels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Images, labels, blocks and rows of `Bake`: image numbers ascending, rows as the tars have them."""
    order = plan.order()
    kept = readable[order]
    blocks = np.repeat(np.arange(plan.blocks, dtype=np.int32), plan.block_images)[: len(order)][kept]
    starts = np.searchsorted(blocks, np.arange(plan.blocks, dtype=np.int32))
    rows = (np.arange(len(blocks)) - starts[blocks]).astype(np.int32)
    by_image = np.full((2, plan.images), -1, np.int32)
    by_image[0, order[kept]], by_image[1, order[kept]] = blocks, rows
    images = np.flatnonzero(by_image[0] >= 0)
    return {
        "images": images,
        "labels": labels[images],
        "blocks": by_image[0, images],
        "rows": by_image[1, images],
    }


def _read_ranges(shelf: Shelf, finished: Finished, plan: Plan, samples: NDArray[np.int64]) -> list[BlockIndex]:
    """Every receipt that bake.json names, by block and range. Raises Damage unless they tile the bake."""
    named = finished.document["receipts"]
    if odd := [name for name in named if not _RANGE.fullmatch(name)]:
        raise Damage(f"bake.json in {shelf.name} names a receipt {odd[0]!r:.80}, which is no block range: {RESTORE}")
    names = sorted(named, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    covered, ranges = dict.fromkeys(range(plan.blocks), 0), []
    for name, text in zip(names, _texts(shelf, names, named), strict=True):
        found = _range(shelf, name, text, finished, plan, samples)
        if covered.get(found.block) != found.first:
            raise Damage(
                f"bake.json in {shelf.name}: receipts of block {found.block} overlap or leave a gap: {RESTORE}"
            )
        covered[found.block] = found.last + 1
        ranges.append(found)
    if short := [block for block, end in covered.items() if end != finished.epochs_worth]:
        raise Damage(
            f"bake.json in {shelf.name} promises {finished.epochs_worth} epochs' worth and has no receipts for all of "
            f"block {short[0]}: {RESTORE}"
        )
    return ranges


def _texts(shelf: Shelf, names: Sequence[str], sha256: Mapping[str, str]) -> Iterator[bytes]:
    def read(name: str) -> bytes:
        return _checked(shelf, f"receipts/{name}.json", sha256[name])

    if not shelf.distant:
        yield from map(read, names)
        return
    with ThreadPoolExecutor(_FETCHERS) as pool:
        yield from pool.map(read, names)


def _range(
    shelf: Shelf, name: str, text: bytes, finished: Finished, plan: Plan, samples: NDArray[np.int64]
) -> BlockIndex:
    """A receipt as columns; its text is the one that bake.json names, yet whoever made both may be a stranger."""
    stored = _json(text, f"receipts/{name}.json", shelf)
    try:
        block, first, last = int(stored["block"]), int(stored["first"]), int(stored["last"])
        shards = stored["shards"]
        sizes = np.array([shard["bytes"] for shard in shards], np.int64)
        counts = np.array([shard["samples"] for shard in shards], np.int64)
        named = [(shard["view"], shard["number"]) for shard in shards]
        index = StoredFile(
            name=f"index/{name}.parquet", size=int(stored["index_bytes"]), sha256=str(stored["index_sha256"])
        )
        hashes = tuple(str(shard["sha256"]) for shard in shards)
        same_plan = stored["plan"] == finished.document["manifest_sha256"]
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise Damage(f"receipts/{name}.json in {shelf.name} is no receipt ({error}): {RESTORE}") from error
    good = 0 <= block < plan.blocks and name == range_name(block, first, last) and same_plan
    # Counted before any list of so many is made.
    good = good and first <= last and len(shards) == (last + 1 - first) * (plan.group + (plan.views != "mix"))
    if not good or named != list(plan.outputs(first, last)) or (counts != samples[block]).any():
        raise Damage(f"receipts/{name}.json in {shelf.name} does not belong to this bake: {RESTORE}")
    return BlockIndex(block=block, first=first, last=last, index=index, sizes=sizes, sha256=hashes)


def _checked(shelf: Shelf, name: str, sha256: str) -> bytes:
    text = shelf.read(name)
    if hashlib.sha256(text).hexdigest() != sha256:
        raise Damage(f"{name} in {shelf.name} is not the one that bake.json names: {RESTORE}")
    return text


def _json(text: bytes, name: str, shelf: Shelf) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damage(f"{name} in {shelf.name} is not JSON ({error}): {RESTORE}") from error
