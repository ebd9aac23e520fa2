"""A huge bake without its pictures: what opening costs, and nothing else.

Shards are sparse files of the promised sizes, in which only the samples of one batch are written; receipts,
indexes, images.parquet and bake.json are whole. So a loader finds a million images in 25,000 shards.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import simplejpeg

from mixbake.storage import tar
from mixbake.storage.finish import FORMAT
from mixbake.storage.index import IMAGES_SCHEMA, parquet_bytes
from mixbake.storage.opened import Bake
from mixbake.storage.plan import Plan, shard_path
from mixbake.storage.receipt import Receipt, ShardReceipt
from mixbake.storage.shelf import LocalShelf
from mixbake.storage.sizes import sizes_path
from mixbake.storage.store import canonical_json
from mixbake.stream.order import Era, Order

RANGE = 16
"""Epochs' worth a receipt covers, as `mixbake.bake.build.TASK_NUMBERS` has it."""
MEMBER = 2048


def make(out: Path, *, images: int, block_images: int, epochs: int, codec: str, seed: int, batch_size: int) -> None:
    """Write the bake; the first batch of `Order(seed, batch_size)` can be read from it."""
    size = 32 if codec == "png" else 224
    plan = _plan(images, block_images, size, codec)
    slot = (
        tar.layout(tar.stored_png_size(size), MEMBER).record
        if codec == "png"
        else tar.UNIT + tar.padded(len(_jpeg())) + tar.tail_bytes(MEMBER)
    )
    manifest = canonical_json({"format": FORMAT, "given": {}, "plan": _fields(plan)})
    _write(out / "manifest.json", manifest)
    labels = np.arange(images) % 10
    _write(out / "images.parquet", _images(images, labels))
    receipts = {}
    for block in range(plan.blocks):
        count = plan.images_in(block)
        for first in range(0, epochs, RANGE):
            receipt = _range(out, plan, block, first, min(first + RANGE, epochs) - 1, count, slot, manifest)
            receipts[receipt.name] = hashlib.sha256(receipt.to_json()).hexdigest()
    document = {
        "format": FORMAT,
        "epochs_worth": epochs,
        "views": "mix",
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "images_sha256": hashlib.sha256((out / "images.parquet").read_bytes()).hexdigest(),
        "mixing": None,
        "receipts": receipts,
        "sizes": _sizes(out, images, epochs, codec),
        "images": images,
        "skipped": 0,
        "samples": images * epochs,
        "bytes": 0,
    }
    _write(out / "bake.json", canonical_json(document))
    _fill(out, plan, slot, seed, batch_size, epochs)


def _plan(images: int, block_images: int, size: int, codec: str) -> Plan:
    return Plan(
        schema=1,
        seed=0,
        recipe={"name": "plain"},
        source="0" * 64,
        classes=tuple(f"class {label}" for label in range(10)),
        images=images,
        baked=images,
        mixing=None,
        pictures=0,
        size=size,
        crop="pad",
        flip="online",
        views="mix",
        codec=codec,
        quality=95,
        background=(255, 255, 255),
        member_bytes=MEMBER,
        paths_in_members=False,
        block_images=block_images,
        environment={},
    )


def _fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in Plan.__slots__}


def _images(images: int, labels: Any) -> bytes:
    columns = [
        pa.array(np.arange(images)),
        pa.array(labels, pa.int32()),
        pa.DictionaryArray.from_arrays(pa.array(labels, pa.int32()), pa.array([f"class {k}" for k in range(10)])),
        pa.array([f"images/{image:08d}.png" for image in range(images)]),
        pa.array(np.full(images, 1000)),
        pa.array(["0" * 64] * images),
        pa.nulls(images, pa.string()),
    ]
    return parquet_bytes([pa.record_batch(columns, schema=IMAGES_SCHEMA)], IMAGES_SCHEMA)


def _range(out: Path, plan: Plan, block: int, first: int, last: int, count: int, slot: int, manifest: bytes) -> Receipt:
    """Sparse shards, something like an index, and the receipt of a block range."""
    shards = []
    for view, number in plan.outputs(first, last):
        path = out / shard_path(view, number, block)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(count * slot + len(tar.END))
        shards.append(ShardReceipt(view=view, number=number, sha256="0" * 64, bytes=count * slot + 1024, samples=count))
    index = b"no picture is found through it"
    receipt = Receipt(
        plan=hashlib.sha256(manifest).hexdigest(),
        block=block,
        first=first,
        last=last,
        images=count,
        shards=tuple(shards),
        index_sha256=hashlib.sha256(index).hexdigest(),
        index_bytes=len(index),
        skips=(),
        environment={},
    )
    _write(out / "index" / f"{receipt.name}.parquet", index)
    _write(out / "receipts" / f"{receipt.name}.json", receipt.to_json())
    return receipt


def _sizes(out: Path, images: int, epochs: int, codec: str) -> dict[str, str]:
    """Lengths of all pictures, all alike."""
    if codec == "png":
        return {}
    buffer = io.BytesIO()
    np.save(buffer, np.full(images, len(_jpeg()), np.uint32))
    for number in range(epochs):
        _write(out / sizes_path("mix", number), buffer.getvalue())
    return {sizes_path("mix", number): hashlib.sha256(buffer.getvalue()).hexdigest() for number in range(epochs)}


def _jpeg() -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.zeros((224, 224, 3), np.uint8), 95, colorsubsampling="444"))


def _fill(out: Path, plan: Plan, slot: int, seed: int, batch_size: int, epochs: int) -> None:
    """Write the samples of the first batch where they belong."""
    bake = Bake.open(LocalShelf(out))
    order = Order(seed=seed, images=plan.images, batch_size=batch_size, eras=(Era(first_pass=0, epochs=epochs),))
    chosen = order.places(0, 0).images
    picture = tar.stored_png(np.zeros((32, 32, 3), np.uint8)) if plan.codec == "png" else _jpeg()
    for block, row, image in zip(bake.blocks[chosen], bake.rows[chosen], bake.images[chosen], strict=True):
        with (out / shard_path("mix", 0, int(block))).open("r+b") as file:
            file.seek(int(row) * slot)
            file.write(tar.member(f"{tar.key(int(image), 0, 'mix')}.{plan.extension}", picture))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
