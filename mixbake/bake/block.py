"""The hot path: one block of images, one range of epochs' worth, from stored images to published shards.

    load a chunk   ->  read, hash, decode; what cannot be decoded is skipped with its reason
    for each shard ->  draw programs, render, encode, append records, note index rows
    publish        ->  tars, then the index, then the receipt that says the block is whole

A pure function of its task: it may run twice, anywhere, and gives the same tars.
Rule: each image is decoded once for all its variants; nothing is held that grows with the block.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.bake.board import Board, Slot
from mixbake.core import render
from mixbake.core.kernels.program import Pictures
from mixbake.core.members import Labels, write_members
from mixbake.core.programs import Programs
from mixbake.core.render import Canvas
from mixbake.data.decode import decode
from mixbake.data.listing import Entry, Source, sha256_of
from mixbake.data.prepared import PictureSet
from mixbake.errors import DecodeError, PlanDiffers
from mixbake.recipes.presets import NamedRecipe
from mixbake.recipes.recipe import Lot, draw
from mixbake.storage import codecs, tar
from mixbake.storage.index import Rows, index_bytes, index_rows
from mixbake.storage.plan import Plan, range_name, shard_path
from mixbake.storage.receipt import Receipt, ShardReceipt, Skip
from mixbake.storage.store import HashingWriter, publish_bytes, publishing_all, retrying

Bytes = NDArray[np.uint8]

CHUNK_IMAGES = {True: 256, False: 32}
"""Images in memory at once, for batched small images and for large ones."""
CHUNK_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bakery:
    """What every task of a build shares; small enough to travel with each."""

    out: Path
    plan: Plan
    plan_digest: str
    recipe: NamedRecipe
    source: Source
    pictures: PictureSet | None
    board: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTask:
    """One block for epochs' worth first..last. expected: SHA-256 of each image at an earlier bake, "" if unknown."""

    index: int
    block: int
    first: int
    last: int
    entries: tuple[Entry, ...]
    expected: tuple[str, ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"block {range_name(self.block, self.first, self.last)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Decoded images: their entries, hashes (hex) and pixels uint8 H×W×3."""

    entries: list[Entry] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    pixels: list[Bytes] = field(default_factory=list)


class Shard:
    """One tar being written, and where its pictures lie."""

    __slots__ = ("number", "samples", "view", "writer")

    def __init__(self, view: str, number: int, writer: HashingWriter) -> None:
        self.view, self.number, self.writer, self.samples = view, number, writer, 0

    def append(self, records: Bytes | bytes, samples: int) -> int:
        """Append tar bytes of some samples; returns the offset of the first."""
        start = self.writer.size
        self.writer.write(records)
        self.samples += samples
        return start

    def receipt(self) -> ShardReceipt:
        """What the block's receipt says of this shard, once it is closed."""
        return ShardReceipt(
            view=self.view, number=self.number, sha256=self.writer.sha256, bytes=self.writer.size, samples=self.samples
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The n variants of a chunk for one view.

    texts: uint8[n, member length]. labels, which: int64[n], the label and the image in the chunk.
    """

    table: Programs
    texts: Bytes
    labels: NDArray[np.int64]
    which: NDArray[np.int64]
    pictures: Pictures


def bake_block(bakery: Bakery, task: BlockTask) -> Receipt:
    """Bake and publish one task; returns its receipt, already on disk."""
    plan, slot = bakery.plan, Board.open(bakery.board).slot(task.index)
    skips: list[Skip] = []
    batches: list[Any] = []
    canvas = Canvas(plan.size, registers=bakery.recipe.recipe.most.steps + 3)
    outputs = list(plan.outputs(task.first, task.last))
    with publishing_all([bakery.out / shard_path(*output, task.block) for output in outputs]) as writers:
        shards = [Shard(*output, writer) for output, writer in zip(outputs, writers, strict=True)]
        for chunk in _load(bakery, task, slot, skips):
            batches += _bake_chunk(bakery, task.block, chunk, shards, canvas, slot)
        for shard in shards:
            shard.writer.write(tar.END)
    name = range_name(task.block, task.first, task.last)
    index = index_bytes(batches, len(shards))
    publish_bytes(bakery.out / "index" / f"{name}.parquet", index)
    receipt = Receipt(
        plan=bakery.plan_digest,
        block=task.block,
        first=task.first,
        last=task.last,
        images=len(task.entries),
        shards=tuple(shard.receipt() for shard in shards),
        index_sha256=hashlib.sha256(index).hexdigest(),
        index_bytes=len(index),
        skips=tuple(skips),
        environment=dict(plan.environment),
    )
    publish_bytes(bakery.out / "receipts" / f"{name}.json", receipt.to_json())
    return receipt


def _load(bakery: Bakery, task: BlockTask, slot: Slot, skips: list[Skip]) -> Iterator[Chunk]:
    """Read, hash and decode the block's images, a chunk at a time; notes skips."""
    limit = CHUNK_IMAGES[bakery.plan.crop == "pad"]
    chunk, held = Chunk(), 0
    for entry, expected in zip(task.entries, task.expected, strict=True):
        slot.begin(entry.image)
        data = retrying(partial(bakery.source.read, entry), Path(entry.path))
        sha256 = sha256_of(data)
        _check_unchanged(entry, len(data) if isinstance(data, bytes) else data.nbytes, sha256, expected)
        try:
            image = decode(data, background=bakery.plan.background)
            pixels = render.fitted(image, crop_kind=bakery.plan.crop, size=bakery.plan.size)
        except DecodeError as reason:
            skips.append(Skip(image=entry.image, source=entry.path, reason=str(reason), sha256=sha256))
            slot.skip()
            continue
        chunk.entries.append(entry)
        chunk.sha256.append(sha256)
        chunk.pixels.append(pixels)
        held += pixels.nbytes
        if len(chunk.entries) >= limit or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = Chunk(), 0
    if chunk.entries:
        yield chunk


def _check_unchanged(entry: Entry, size: int, sha256: str, expected: str) -> None:
    if size != entry.bytes:
        raise PlanDiffers(
            f"{entry.path} has {size} bytes, the plan says {entry.bytes}: restore it, or bake into a new folder"
        )
    if expected and sha256 != expected:
        raise PlanDiffers(
            f"{entry.path} is not the file that was baked before (sha256 {sha256[:12]}, was {expected[:12]}): "
            "restore it, or bake into a new folder"
        )


def _bake_chunk(bakery: Bakery, block: int, chunk: Chunk, shards: list[Shard], canvas: Canvas, slot: Slot) -> list[Any]:
    """Append the chunk's variants to every shard; returns their index rows, a batch a view."""
    plan, paths = bakery.plan, [entry.path for entry in chunk.entries]
    labels = np.array([entry.label for entry in chunk.entries], np.int64)
    rows = Rows(block=block, labels=labels, classes=plan.classes, sources=paths, sha256=chunk.sha256)
    texts = Labels(
        labels=labels,
        classes=[plan.classes[label] for label in labels.tolist()],
        sources=paths if plan.paths_in_members else [None] * len(paths),
    )
    pictures = _flat_pictures(bakery.pictures)
    batched = plan.crop == "pad" and codecs.is_fixed(plan.codec, plan.size)
    append = _append_fixed if batched else _append_encoded
    batches = []
    for view in dict.fromkeys(shard.view for shard in shards):
        of_view = [shard for shard in shards if shard.view == view]
        lot, which = _lot(plan, chunk, of_view, pictures, by_image=not batched)
        table = draw(bakery.recipe.recipe, lot, name=bakery.recipe.name)
        members = write_members(table, which, texts, plan.member_bytes)
        sheet = Sheet(table=table, texts=members.text, labels=labels[which], which=which, pictures=pictures)
        offsets, sizes = append(plan, of_view, sheet, chunk, canvas, slot)
        batches.append(index_rows(table, members, rows, which, offsets=offsets, sizes=sizes))
    slot.advance(0, images=len(paths))
    return batches


def _lot(
    plan: Plan, chunk: Chunk, shards: list[Shard], pictures: Pictures, *, by_image: bool
) -> tuple[Lot, NDArray[np.int64]]:
    """All variants of the chunk for some shards, and int64[n], each row's image in the chunk.

    Rows go image by image, so that a large image is in the cache for all its variants, or else shard by shard.
    """
    images = np.array([entry.image for entry in chunk.entries], np.int64)
    shapes = np.array([pixels.shape[:2] for pixels in chunk.pixels], np.int32)
    which, of = np.divmod(np.arange(len(images) * len(shards)), len(shards))
    if not by_image:
        of, which = np.divmod(np.arange(len(images) * len(shards)), len(images))
    lot = Lot(
        seed=plan.seed,
        view=shards[0].view,
        images=images[which],
        numbers=np.array([shard.number for shard in shards], np.int64)[of],
        shapes=shapes[which],
        size=plan.size,
        crop=plan.crop,
        bake_flip=plan.flip == "baked",
        group=plan.group,
        pictures=pictures[2],
        mixing_sets=plan.mixing_sets,
    )
    return lot, which


def _flat_pictures(pictures: PictureSet | None) -> Pictures:
    if pictures is None:
        return render.NO_PICTURES
    return render.flat_pictures(pictures.pixels, pictures.offsets, pictures.shapes, pictures.channels)


def _append_fixed(
    plan: Plan, shards: list[Shard], sheet: Sheet, chunk: Chunk, canvas: Canvas, slot: Slot
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Render all at once, shard by shard, and append records of one length; returns where their pictures lie."""
    table = sheet.table
    pixels = render.render_stack(table, np.stack(chunk.pixels), sheet.which, sheet.pictures, canvas)
    records = tar.fixed_records(table.images, table.numbers, table.view, sheet.labels, pixels, sheet.texts)
    count, length = len(chunk.entries), records.shape[1]
    starts = [shard.append(records[i * count : (i + 1) * count], count) for i, shard in enumerate(shards)]
    slot.advance(len(table), images=0)
    places = np.array(starts)[:, None] + tar.UNIT + np.arange(count) * length
    return places.reshape(-1), np.full(len(table), tar.stored_png_size(plan.size), np.int32)


def _append_encoded(
    plan: Plan, shards: list[Shard], sheet: Sheet, chunk: Chunk, canvas: Canvas, slot: Slot
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Render, encode and append one variant after the other, image by image; returns where their pictures lie."""
    codec, table = codecs.CODECS[plan.codec], sheet.table
    offsets, sizes = np.empty(len(table), np.int64), np.empty(len(table), np.int32)
    tails = tar.tails(table.images, table.numbers, table.view, sheet.labels, sheet.texts)
    images = [chunk.pixels[i] for i in sheet.which.tolist()]
    for row, pixels in enumerate(render.render_each(table, images, sheet.pictures, canvas)):
        shard, entry = shards[row % len(shards)], chunk.entries[row // len(shards)]
        if shard is shards[0]:
            slot.begin(entry.image)
        data = codec.encode(pixels, plan.quality)
        name = f"{tar.key(entry.image, shard.number, shard.view)}.{codec.extension}"
        offsets[row], sizes[row] = shard.append(tar.member(name, data, tails[row].data), 1) + tar.UNIT, len(data)
        if shard is shards[-1]:
            slot.advance(len(shards), images=0)
    return offsets, sizes
