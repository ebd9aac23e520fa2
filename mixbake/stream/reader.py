"""Pictures of a bake by image and number, into memory that is used again.

    shards are mapped when they are first wanted   ->  fixed records: addresses by arithmetic, one compiled gather
                                                   ->  encoded ones: places from the index, decoded by threads
Rule: a picture is handed out only if its record says that it is the one that was asked for; whatever is
damaged is named by shard and key. Nothing is unpickled, and no size that a file states is believed.
"""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixbake.errors import Damage
from mixbake.storage import codecs, tar
from mixbake.storage.decoders import DECODERS, UNREADABLE
from mixbake.storage.index import SCHEMA
from mixbake.storage.opened import RESTORE, Bake, StoredFile, describe_size
from mixbake.storage.sizes import places, read_sizes
from mixbake.storage.store import retrying
from mixbake.stream.gather import gather, png_frame
from mixbake.stream.maps import map_file

Bytes = NDArray[np.uint8]
MOST_MAPPED = 30_000
"""Shards mapped at a time: a process may have 65,530 mappings on a usual Linux."""
DECODED_TOGETHER = 8
"""Pictures a thread takes at a time."""


@dataclass(slots=True)
class _Shards:
    """The shards of one view and number. offsets, sizes: of all encoded pictures, block after block.

    addresses: where each shard is mapped, 0 where it is not, or not to be used. tars: bytes each should have.
    broken: reasons, by block. complete: nothing is left to be mapped.
    """

    view: str
    number: int
    addresses: NDArray[np.uint64]
    maps: list[Bytes | None]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.uint32]
    tars: NDArray[np.int64]
    broken: dict[int, str] = field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something damaged: the shard, the key of a sample in it if it is only one, and what is wrong."""

    shard: str
    key: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.shard}, {self.key}: {self.reason}" if self.key else f"{self.shard}: {self.reason}"


class Reader:
    """Reads pictures of an open bake. Its methods may be called by one thread at a time.

    threads: that decode, for bakes whose pictures are encoded. opened: called with every shard when it is
    first mapped (view, number, block, its bytes).
    """

    def __init__(
        self, bake: Bake, *, threads: int = 1, opened: Callable[[str, int, int, Bytes], None] | None = None
    ) -> None:
        plan = bake.plan
        self.bake, self._opened = bake, opened
        self._fixed = codecs.is_fixed(plan.codec, plan.size)
        self._starts = np.cumsum(bake.samples) - bake.samples
        self._record = tar.layout(tar.stored_png_size(plan.size), plan.member_bytes).record if self._fixed else 0
        self._frame = png_frame(plan.size) if self._fixed else np.zeros(0, np.uint8)
        self._hashed: set[str] = set()
        self._condemned: dict[tuple[str, int], dict[int, str]] = {}
        self._shards: OrderedDict[tuple[str, int], _Shards] = OrderedDict()
        distant = bake.shelf.distant
        self._pool = ThreadPoolExecutor(threads, "decode") if threads > 1 and (distant or not self._fixed) else None
        self._threads = threads

    def close(self) -> None:
        """Let go of threads and mappings; arrays that were handed out stay valid."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self._shards.clear()

    def read(
        self, view: str, number: int, positions: NDArray[np.int64], out: Bytes, targets: NDArray[np.int64]
    ) -> list[tuple[int, Fault]]:
        """out[targets[i]] <- the picture of image positions[i] (of `bake.images`) in that view and number.

        out: uint8 B×S×S×3, C-contiguous; positions, targets: int64[k]. Returns what could not be read: its target,
        whose contents then mean nothing, and the fault. Raises StorageError when a file cannot be brought here.
        """
        shards = self._of(view, number)
        if not shards.complete:
            self._map_all(shards, np.unique(self.bake.blocks[positions]).tolist())
        fill = self._gather if self._fixed else self._decode
        return fill(shards, positions, out, targets)

    def _map_all(self, shards: _Shards, wanted: list[int]) -> None:
        mapping = partial(self._map, shards)
        # Side by side: a distant shelf takes a round trip for each, and an encoded one an index to read.
        missing = [block for block in wanted if shards.maps[block] is None and block not in shards.broken]
        for _ in (self._pool.map if self._pool else map)(mapping, missing):
            pass
        shards.complete = bool(shards.addresses.all())

    def condemn(self, view: str, number: int, block: int, reason: str) -> None:
        """Use a shard no more: it was found to be damaged."""
        self._condemned.setdefault((view, number), {})[block] = reason
        if (view, number) in self._shards:
            shards = self._shards[view, number]
            shards.broken[block], shards.addresses[block], shards.complete = reason, 0, False

    def rows(self, view: str, number: int, positions: NDArray[np.int64]) -> tuple[Any, list[Fault]]:
        """The index rows of pictures as a pyarrow Table (`storage.index.SCHEMA`), in the order of `positions`.

        Rows of an index that is not what it should be are null; what is wrong with it is returned beside.
        """
        blocks, pieces, order, faults = self.bake.blocks[positions], [], [], []
        for block in np.unique(blocks).tolist():
            here = np.flatnonzero(blocks == block)
            try:
                pieces.append(self._index_rows(view, number, block, positions[here]))
            except Damage as error:
                faults.append(Fault(shard=self.bake.index(view, number, block)[0].name, key=None, reason=str(error)))
                pieces.append(pa.table([pa.nulls(len(here), field.type) for field in SCHEMA], schema=SCHEMA))
            order.append(here)
        table = pa.concat_tables(pieces).unify_dictionaries()
        return table.take(pa.array(np.argsort(np.concatenate(order), kind="stable"))), faults

    def _index_rows(self, view: str, number: int, block: int, positions: NDArray[np.int64]) -> Any:
        file, shard = self.bake.index(view, number, block)
        first = shard * int(self.bake.samples[block])
        try:
            table = pq.read_table(io.BytesIO(self._contents(file)))
            rows = table.take(pa.array(first + self.bake.rows[positions].astype(np.int64))).cast(SCHEMA)
            keys = rows["key"].to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Damage(f"it cannot be read ({error})") from error
        if keys != [tar.key(image, number, view) for image in self.bake.images[positions].tolist()]:
            raise Damage("its rows are not those of the shard's samples")
        return rows

    def _contents(self, file: StoredFile) -> bytes:
        """An index, whole. Raises Damage when it is not the promised one."""
        path = self._local(file)
        data = retrying(path.read_bytes, path)
        if file.name not in self._hashed and hashlib.sha256(data).hexdigest() != file.sha256:
            raise Damage(f"its contents were altered (SHA-256 is not {file.sha256[:12]}…)")
        self._hashed.add(file.name)
        return data

    def _of(self, view: str, number: int) -> _Shards:
        blocks = self.bake.plan.blocks
        if (view, number) not in self._shards:
            self._shards[view, number] = self._empty(view, number)
            while len(self._shards) > max(2, MOST_MAPPED // blocks):
                self._shards.popitem(last=False)
        self._shards.move_to_end((view, number))
        return self._shards[view, number]

    def _empty(self, view: str, number: int) -> _Shards:
        """Nothing is mapped yet; everything is broken when the lengths of encoded pictures are not as promised."""
        blocks, samples = self.bake.plan.blocks, self.bake.samples
        sizes, offsets, tars = np.zeros(0, np.uint32), np.zeros(0, np.int64), samples * self._record + len(tar.END)
        broken = dict(self._condemned.get((view, number), {}))
        if not self._fixed:
            try:
                file = self.bake.sizes(view, number)
                sizes = read_sizes(self._local(file), len(self.bake.images), file.sha256)
                offsets, tars = places(sizes, samples, self.bake.plan.member_bytes)
            except Damage as error:
                broken = dict.fromkeys(range(blocks), str(error))
        return _Shards(view, number, np.zeros(blocks, np.uint64), [None] * blocks, offsets, sizes, tars, broken)

    def _local(self, file: StoredFile) -> Path:
        return self.bake.shelf.local(file.name, size=file.size, sha256=file.sha256)

    def _map(self, shards: _Shards, block: int) -> None:
        """Map a shard after a look at its size, or note why it is of no use."""
        try:
            file = self.bake.shard(shards.view, shards.number, block)
            mapped = map_file(self._local(file))
            if mapped.size != file.size:
                raise Damage(describe_size(file, mapped.size))  # noqa: TRY301 - one of several reasons, noted alike
            if mapped.size != shards.tars[block]:
                raise Damage(f"{mapped.size:,} bytes do not hold its samples, which take {shards.tars[block]:,}")  # noqa: TRY301
        except Damage as error:
            shards.broken[block] = str(error)
            return
        shards.maps[block] = mapped
        shards.addresses[block] = mapped.ctypes.data
        if self._opened:
            self._opened(shards.view, shards.number, block, mapped)

    def _gather(
        self, shards: _Shards, positions: NDArray[np.int64], out: Bytes, targets: NDArray[np.int64]
    ) -> list[tuple[int, Fault]]:
        good = np.empty(len(out), np.bool_)
        bake, clean = self.bake, int(shards.view == "clean")
        where = (shards.addresses, bake.blocks, bake.rows, bake.images, self._record)
        if gather(*where, positions, targets, shards.number, clean, self._frame, out, good) == 0:
            return []
        bad = np.flatnonzero(~good[targets]).tolist()
        return [(int(targets[i]), self._fault(shards, int(positions[i]))) for i in bad]

    def _fault(self, shards: _Shards, position: int, reason: str = "") -> Fault:
        block = int(self.bake.blocks[position])
        name = self.bake.shard(shards.view, shards.number, block).name
        if block in shards.broken:
            return Fault(shard=name, key=None, reason=shards.broken[block])
        key = tar.key(int(self.bake.images[position]), shards.number, shards.view)
        return Fault(shard=name, key=key, reason=reason or "the record there is not this sample's picture")

    def _decode(
        self, shards: _Shards, positions: NDArray[np.int64], out: Bytes, targets: NDArray[np.int64]
    ) -> list[tuple[int, Fault]]:
        def some(chosen: NDArray[np.int64]) -> list[tuple[int, Fault]]:
            return list(self._decode_some(shards, positions[chosen], out, targets[chosen]))

        if not len(shards.sizes):
            # The lengths are not as promised, so that nothing can be found.
            pairs = zip(positions.tolist(), targets.tolist(), strict=True)
            return [(target, self._fault(shards, position)) for position, target in pairs]
        everything = np.arange(len(positions))
        if self._pool is None or len(positions) < 2:
            return some(everything)
        parts = max(1, min(-(-len(positions) // DECODED_TOGETHER), 8 * self._threads))
        return [fault for found in self._pool.map(some, np.array_split(everything, parts)) for fault in found]

    def _decode_some(
        self, shards: _Shards, positions: NDArray[np.int64], out: Bytes, targets: NDArray[np.int64]
    ) -> Iterator[tuple[int, Fault]]:
        plan, decode = self.bake.plan, DECODERS[self.bake.plan.codec]
        blocks, images = self.bake.blocks[positions], self.bake.images[positions]
        at = self._starts[blocks] + self.bake.rows[positions]
        columns = (positions, blocks, images, targets, shards.offsets[at], shards.sizes[at])
        for position, block, image, target, offset, size in zip(*(one.tolist() for one in columns), strict=True):
            mapped = shards.maps[block]
            if mapped is None or block in shards.broken:
                yield target, self._fault(shards, position)
                continue
            name = f"{tar.key(image, shards.number, shards.view)}.{plan.extension}\0".encode()
            if mapped[offset - tar.UNIT : offset - tar.UNIT + len(name)].tobytes() != name:
                yield target, self._fault(shards, position)
                continue
            try:
                decode(mapped[offset : offset + size], out[target])
            except UNREADABLE as error:
                reason = f"the picture cannot be decoded ({error})"
                yield target, self._fault(shards, position, reason)


def faults_of(bake: Bake) -> list[Fault]:
    """Shards and indexes whose size is not the promised one."""
    return [Fault(shard=file.name, key=None, reason=describe_size(file, found)) for file, found in bake.wrong_sizes()]


def damage(faults: Sequence[Fault], bake: Bake, *, advice: str = "") -> Damage:
    """The error that names the first faults and how many there are; advice: what else to do."""
    first = "; ".join(str(fault) for fault in faults[:3])
    more = f" (and {len(faults) - 3:,} more)" if len(faults) > 3 else ""
    return Damage(f"{bake.shelf.name} is damaged: {first}{more}: {RESTORE}{advice}")
