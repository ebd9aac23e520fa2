"""One block range of a bake, byte by byte: its tars against what must be in them, its index against its tars.

    a tar is read once, front to back: hashed, cut into records, compared a few hundred records at a time
Rule: no size that a file states is believed before it is bounded, and nothing grows with the length of a tar.
"""

import hashlib
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixbake.audit.faults import Faults
from mixbake.audit.promises import Promises, open_table
from mixbake.audit.scribe import Lines, Page, Records, Scribe, compare_rows, differences, stated_size
from mixbake.errors import Damage
from mixbake.storage import codecs, tar
from mixbake.storage.decoders import DECODERS, UNREADABLE
from mixbake.storage.index import SCHEMA
from mixbake.storage.plan import Plan, shard_path
from mixbake.storage.receipt import Receipt, ShardReceipt
from mixbake.storage.sizes import HEADER_BYTES, sizes_path
from mixbake.storage.store import retrying, sha256_file

Bytes = NDArray[np.uint8]
ROWS = {True: 4096, False: 256}
"""Records compared together, for records of one length and for encoded ones: a call costs as much as some hundred."""
_PIECE, _HASHED = 1 << 20, 1 << 18


@dataclass(slots=True)
class Tally:
    """What was looked at. shards: tars; read: bytes; samples: records; decoded: pictures."""

    shards: int = 0
    read: int = 0
    samples: int = 0
    decoded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some records as they are in a tar. pictures: with their padding, a sequence of uint8[length]."""

    lines: Lines
    pictures: Sequence[Bytes]


class Tape:
    """A tar that is read front to back, and hashed on the way. ended: it cannot be cut into records any further."""

    def __init__(self, promises: Promises, block: int, shard: ShardReceipt) -> None:
        self.shard, self.block = shard, block
        self.name = shard_path(shard.view, shard.number, block)
        self.path = promises.out / self.name
        self._file = self.path.open("rb")
        self._digest = hashlib.sha256()
        self.at, self.ended = 0, False

    def take(self, count: int) -> bytes:
        """The next `count` bytes, or fewer at the end."""
        data: bytes = retrying(partial(self._file.read, count), self.path)
        self._passed(data)
        return data

    def fill(self, buffer: Bytes) -> int:
        """The next bytes into a buffer; returns how many there were."""
        done = 0
        # Piece by piece, so that what is hashed is in the cache still.
        while done < buffer.size:
            piece = buffer[done : done + _HASHED]
            count: int = retrying(partial(self._file.readinto, piece.data), self.path)
            if not count:
                break
            self._passed(piece[:count].data)
            done += count
        return done

    def _passed(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self.at += len(data)

    def finish(self) -> str:
        """SHA-256 (hex) of the whole file; closes it."""
        while self.take(_PIECE):
            pass
        self.close()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class _Buffers(threading.local):
    """Memory of each thread that is used again: fresh memory costs more than filling it."""

    def __init__(self) -> None:
        self._kept: dict[int, Bytes] = {}

    def of(self, i: int, length: int) -> Bytes:
        """The i-th, uint8[length]."""
        if i not in self._kept or self._kept[i].size < length:
            self._kept[i] = np.empty(length, np.uint8)
        return self._kept[i][:length]


class RangeCheck:
    """Compares the files of receipts with what they must be; notes faults. decode: every picture, too.

    scribe: None where plan, images or mixing pictures are damaged; then files are hashed only.
    """

    def __init__(self, promises: Promises, scribe: Scribe | None, *, decode: bool) -> None:
        self._promises, self._scribe, self._decode = promises, scribe, decode
        self._faults = promises.faults
        self._buffers = _Buffers()

    def check(self, receipt: Receipt, absent: set[str]) -> Iterator[Tally]:
        """Look at a receipt's files, those in `absent` excepted; yields what was looked at, some tars at a time."""
        index = self._index(receipt, absent)
        together, start = self._together(receipt), 0
        for view in dict.fromkeys(shard.view for shard in receipt.shards):
            shards = [shard for shard in receipt.shards if shard.view == view]
            for first in range(0, len(shards), together):
                chosen = shards[first : first + together]
                yield self._tars(receipt.block, chosen, absent, index, start)
                start += sum(shard.samples for shard in chosen)

    def _together(self, receipt: Receipt) -> int:
        """Tars that are read side by side: as many as make up ROWS records."""
        plan = self._promises.plan
        rows = ROWS[plan is not None and codecs.is_fixed(plan.codec, plan.size)]
        return max(1, rows // max(1, receipt.shards[0].samples)) if receipt.shards else 1

    def _index(self, receipt: Receipt, absent: set[str]) -> "IndexRows | None":
        name = f"index/{receipt.name}.parquet"
        if name in absent:
            return None
        path = self._promises.out / name
        if sha256_file(path)[0] != receipt.index_sha256:
            self._faults.add(name, "its contents were altered: its SHA-256 is not the receipt's")
            return None
        try:
            return IndexRows(path, receipt.samples)
        except Damage as error:
            self._faults.add(name, error)
            return None

    def _tars(
        self, block: int, shards: Sequence[ShardReceipt], absent: set[str], index: "IndexRows | None", start: int
    ) -> Tally:
        """Look at some tars of a block whose rows of the index follow one another from `start` on."""
        tapes = [
            Tape(self._promises, block, shard)
            for shard in shards
            if shard_path(shard.view, shard.number, block) not in absent
        ]
        before = [self._faults.count(tape.name) for tape in tapes]
        tally = Tally(shards=len(shards))
        # Where a tar is missing, rows of the index do not follow one another.
        for group in [tapes] if len(tapes) == len(shards) else [[tape] for tape in tapes]:
            ahead = sum(shard.samples for shard in shards[: shards.index(group[0].shard)])
            self._records(group, block, index, start + ahead, tally, decode=self._decode)
        for tape, count in zip(tapes, before, strict=True):
            self._judge(tape, tape.finish(), unnoticed=self._faults.count(tape.name) == count)
            tally.read += tape.at
        return tally

    def _judge(self, tape: Tape, sha256: str, *, unnoticed: bool) -> None:
        if sha256 == tape.shard.sha256:
            return
        if unnoticed and not self._decode:
            # Everything but the pictures is as it must be: which of them is not?
            again = Tape(self._promises, tape.block, tape.shard)
            self._records([again], tape.block, None, 0, Tally(), decode=True)
            again.finish()
        self._faults.add(tape.name, "its contents were altered: its SHA-256 is not the receipt's")

    def _records(
        self, tapes: Sequence[Tape], block: int, index: "IndexRows | None", start: int, tally: Tally, *, decode: bool
    ) -> None:
        """Compare tars record by record, as far as they can be cut into records; without a scribe, nothing."""
        if self._scribe is None:
            return
        scribe, plan, images = self._scribe, self._scribe.plan, self._promises.blocks[block]
        fixed = codecs.is_fixed(plan.codec, plan.size)
        sizes: dict[str, list[NDArray[np.int64]]] = {tape.name: [] for tape in tapes}
        for first in range(0, len(images), ROWS[fixed]):
            page = scribe.page(block, images[first : first + ROWS[fixed]])
            pieces = [(tape, self._piece(i, tape, plan, len(page.images))) for i, tape in enumerate(tapes)]
            for tape, piece in pieces:
                sizes[tape.name].append(piece.lines.sizes)
                if len(piece.lines) < len(page.images) and not tape.ended:
                    self._end_early(tape, int(page.images[len(piece.lines)]), plan)
            whole = all(len(piece.lines) == len(page.images) for _, piece in pieces)
            for group in [pieces] if whole else [[pair] for pair in pieces if len(pair[1].lines)]:
                row = start + first + len(images) * tapes.index(group[0][0])
                there = page if whole else scribe.page(block, page.images[: len(group[0][1].lines)])
                self._compare(scribe, group, there, (index, row), tally, decode=decode)
        for tape in tapes:
            if not tape.ended:
                self._judge_end(tape)
                if not fixed:
                    place = tape.shard.view, tape.shard.number, block
                    self._lengths(place, np.concatenate([np.zeros(0, np.int64), *sizes[tape.name]]))

    def _end_early(self, tape: Tape, image: int, plan: Plan) -> None:
        tape.ended = True
        key = tar.key(image, tape.shard.number, tape.shard.view)
        reason = f"no whole record with a picture of at most {codecs.most_bytes(plan.size):,} bytes is in its place"
        self._faults.add(tape.name, f"{reason}; what follows was hashed only", key)

    def _judge_end(self, tape: Tape) -> None:
        if tape.take(len(tar.END)) != tar.END:
            self._faults.add(tape.name, "it does not end where its samples end")
        if tape.take(1):
            self._faults.add(tape.name, "it goes on after its end")

    def _piece(self, i: int, tape: Tape, plan: Plan, count: int) -> Piece:
        """The next records of the i-th of some tars, in memory that its next ones may overwrite."""
        count = 0 if tape.ended else count
        if not codecs.is_fixed(plan.codec, plan.size):
            return cut_encoded(tape, plan, count)
        length = count * tar.layout(tar.stored_png_size(plan.size), plan.member_bytes).record
        return cut_fixed(tape, plan, self._buffers.of(i, length))

    def _compare(
        self,
        scribe: Scribe,
        group: Sequence[tuple[Tape, Piece]],
        page: Page,
        rows: tuple["IndexRows | None", int],
        tally: Tally,
        *,
        decode: bool,
    ) -> None:
        """Compare pieces of a page from several tars; rows: their index, and their first row in it."""
        n, numbers = len(page.images), [tape.shard.number for tape, _ in group]
        records = scribe.write(group[0][0].shard.view, numbers, page, [piece.lines for _, piece in group])
        for k, (tape, piece) in enumerate(group):
            for i, fault in differences(piece.lines, records, k * n, scribe.plan.extension):
                self._faults.add(tape.name, fault, records.key(k * n + i))
            for i, fault in picture_faults(piece, scribe.plan, decode=decode):
                self._faults.add(tape.name, fault, records.key(k * n + i))
        tally.samples += n * len(group)
        tally.decoded += n * len(group) if decode else 0
        index, row = rows
        if index is not None:
            for i, fault in index.compare(row, records, self._faults):
                self._faults.add(index.name, fault, records.key(i))

    def _lengths(self, place: tuple[str, int, int], sizes: NDArray[np.int64]) -> None:
        """The block's part of a file of lengths, which is the promised one, against the tar."""
        view, number, block = place
        name = sizes_path(view, number)
        if name in self._faults.files():
            return
        before = sum(len(images) for images in self._promises.blocks[:block])
        with (self._promises.out / name).open("rb") as file:
            file.seek(HEADER_BYTES + 4 * before)
            stated = np.frombuffer(file.read(4 * len(sizes)), np.uint8)
        if stated.tobytes() != sizes.astype(np.uint32).tobytes():
            self._faults.add(name, f"its lengths of block {block} are not those of {shard_path(*place)}")


class IndexRows:
    """Rows of an index in their order, a row group in memory at a time."""

    def __init__(self, path: Path, rows: int) -> None:
        self.name = f"index/{path.name}"
        self._file = open_table(path, SCHEMA, rows)
        self._group, self._first, self._rows = 0, 0, SCHEMA.empty_table()
        self._damaged = False

    def compare(self, start: int, records: Records, faults: Faults) -> Iterator[tuple[int, str]]:
        """(row, fault) of the rows from `start` on, which ascends; notes once if the index cannot be read."""
        if self._damaged:
            return
        try:
            found = self._take(start, len(records.names))
        except (pa.ArrowException, OSError, ValueError, IndexError) as error:
            faults.add(self.name, f"it cannot be read ({error})")
            self._damaged = True
            return
        yield from compare_rows(found, records)

    def _take(self, start: int, count: int) -> Any:
        while self._first + len(self._rows) < start + count:
            left = self._rows.slice(min(max(start - self._first, 0), len(self._rows)))
            more = self._file.read_row_group(self._group, use_threads=False).cast(SCHEMA)
            self._first, self._group = self._first + len(self._rows) - len(left), self._group + 1
            self._rows = pa.concat_tables([left, more]).unify_dictionaries().combine_chunks()
        return self._rows.slice(start - self._first, count)


def cut_fixed(tape: Tape, plan: Plan, buffer: Bytes) -> Piece:
    """The next records of one length, as many as fill the buffer; they lie in it."""
    place = tar.layout(tar.stored_png_size(plan.size), plan.member_bytes)
    start, whole = tape.at, tape.fill(buffer) // place.record
    lines = Lines(
        heads=buffer,
        head_step=place.record,
        tails=buffer,
        tail_start=place.label - tar.UNIT,
        tail_step=place.record,
        sizes=np.full(whole, place.picture_size, np.int64),
        offsets=start + tar.UNIT + np.arange(whole, dtype=np.int64) * place.record,
    )
    records = buffer[: whole * place.record].reshape(whole, place.record)
    return Piece(lines=lines, pictures=records[:, tar.UNIT : place.label - tar.UNIT])  # type: ignore[arg-type]  # a matrix is a sequence of rows


def cut_encoded(tape: Tape, plan: Plan, count: int) -> Piece:
    """The next records as their own headers cut them; ends early at one that cannot be a picture."""
    tail, most = tar.tail_bytes(plan.member_bytes), codecs.most_bytes(plan.size)
    headers: list[bytes] = []
    bodies: list[Bytes] = []
    sizes: list[int] = []
    offsets: list[int] = []
    for _ in range(count):
        header = tape.take(tar.UNIT)
        size = stated_size(header)
        if size is None or size > most:
            break
        offset, body = tape.at, tape.take(tar.padded(size) + tail)
        if len(body) < tar.padded(size) + tail:
            break
        headers.append(header)
        bodies.append(np.frombuffer(body, np.uint8))
        sizes.append(size)
        offsets.append(offset)
    lines = Lines(
        heads=np.frombuffer(b"".join(headers), np.uint8),
        head_step=tar.UNIT,
        tails=np.concatenate([body[-tail:] for body in bodies]) if bodies else np.empty(0, np.uint8),
        tail_start=0,
        tail_step=tail,
        sizes=np.array(sizes, np.int64),
        offsets=np.array(offsets, np.int64),
    )
    return Piece(lines=lines, pictures=[body[:-tail] for body in bodies])


def picture_faults(piece: Piece, plan: Plan, *, decode: bool) -> Iterator[tuple[int, str]]:
    """(row, what is wrong) of stored pictures: with their padding, and with `decode` with themselves."""
    pictures, sizes = piece.pictures, piece.lines.sizes.tolist()
    if codecs.is_fixed(plan.codec, plan.size):
        padded = np.asarray(pictures)[:, tar.stored_png_size(plan.size) :].any(axis=1)
    else:
        padded = np.array([picture[size:].any() for picture, size in zip(pictures, sizes, strict=True)], np.bool_)
    for row in np.flatnonzero(padded).tolist():
        yield row, "there is something in the padding behind its picture"
    for row, (picture, size) in enumerate(zip(pictures, sizes, strict=True) if decode else ()):
        if problem := picture_problem(np.ascontiguousarray(picture[:size]), plan):
            yield row, f"its picture cannot be decoded ({problem})"


def picture_problem(data: Bytes, plan: Plan) -> str:
    """Why a stored picture cannot be decoded to the plan's size, or nothing."""
    try:
        DECODERS[plan.codec](data, np.empty((plan.size, plan.size, 3), np.uint8))
    except UNREADABLE as error:
        return str(error) or type(error).__name__
    # Decoders look over a PNG's checksums.
    return "a checksum in it is wrong" if plan.codec == "png" and not has_right_sums(data.tobytes()) else ""


def has_right_sums(png: bytes) -> bool:
    """Whether the CRC-32 of every chunk of a PNG is right, and nothing follows IEND (PNG, third edition, section 5)."""
    at = 8
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        kind, end = png[at + 4 : at + 8], at + 8 + length
        if zlib.crc32(png[at + 4 : end]) != int.from_bytes(png[end : end + 4], "big"):
            return False
        at = end + 4
        if kind == b"IEND":
            return at == len(png)
    return False
