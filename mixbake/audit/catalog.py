"""The rows of all indexes of a bake as one table.

    row 0..n-1: index after index (by block, then by epochs' worth), each as it is stored, shard by shard
Rule: which variant a row is follows from the plan alone; an index is used after its SHA-256 was compared, and
only if it has the rows it should have.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixbake.audit.faults import plain
from mixbake.errors import Damage, UsageError
from mixbake.storage import tar
from mixbake.storage.index import SCHEMA
from mixbake.storage.opened import RESTORE, Bake, StoredFile, describe_size
from mixbake.storage.store import retrying

COLUMNS = (*SCHEMA.names, "blend")
"""What can be asked for: the columns of the index, and `blend`, the first of `blends` (null if there is none)."""
MOST_VALUES = 256
"""Most entries of a list that a row may have: more than any recipe writes, so that a forged index stays small."""
MOST_TEXT = 16_384
"""Most bytes of a row's text, of which paths and programs are the longest."""
MEAN_TEXT = 4096
"""Most bytes of a column's texts, a row."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """Which variants k rows are. images, numbers: int64[k]. clean: bool[k], else `mix`.

    positions: int64[k], of the images in `Bake.images`.
    """

    positions: NDArray[np.int64]
    images: NDArray[np.int64]
    numbers: NDArray[np.int64]
    clean: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)

    def view(self, i: int) -> str:
        """`mix` or `clean`."""
        return "clean" if self.clean[i] else "mix"

    def key(self, i: int) -> str:
        """`00000042-0003`."""
        return tar.key(int(self.images[i]), int(self.numbers[i]), self.view(i))


class Catalog:
    """The rows of an open bake; indexes are read when a column of theirs is wanted."""

    def __init__(self, bake: Bake) -> None:
        plan, named = bake.plan, bake.finished.document["receipts"]
        ranges = sorted([int(part) for part in re.findall(r"\d+", name)] for name in named)
        self.bake = bake
        self._files = [bake.index("mix", first * plan.group, block)[0] for block, first, _ in ranges]
        self._blocks, self._firsts, self._lasts = np.array(ranges, np.int64).reshape(-1, 3).T
        shards = (self._lasts + 1 - self._firsts) * (plan.group + (plan.views != "mix"))
        self._starts = np.concatenate([[0], np.cumsum(shards * bake.samples[self._blocks])])
        # Images in the order of the tars, block after block, and where each block begins among them.
        self._order = np.lexsort((bake.rows, bake.blocks))
        self._block_starts = np.cumsum(bake.samples) - bake.samples

    def __len__(self) -> int:
        return int(self._starts[-1])

    def variants(self, rows: Rows) -> Variants:
        """Which variants these rows are."""
        bake, group = self.bake, self.bake.plan.group
        file = np.searchsorted(self._starts, rows, side="right") - 1
        block, first = self._blocks[file], self._firsts[file]
        shard, place = np.divmod(rows - self._starts[file], bake.samples[block])
        mixes = (self._lasts[file] + 1 - first) * group
        clean = shard >= mixes
        positions = self._order[self._block_starts[block] + place]
        return Variants(
            positions=positions,
            images=bake.images[positions],
            numbers=np.where(clean, first + shard - mixes, first * group + shard),
            clean=clean,
        )

    def find(self, view: str, number: int, position: int) -> int:
        """The row of a variant; position: of the image in `Bake.images`. It must be one that the bake holds."""
        bake, group = self.bake, self.bake.plan.group
        block, epoch = int(bake.blocks[position]), number // group if view == "mix" else number
        file = int(np.flatnonzero((self._blocks == block) & (self._firsts <= epoch))[-1])
        first, last = int(self._firsts[file]), int(self._lasts[file])
        shard = number - first * group if view == "mix" else (last + 1 - first) * group + number - first
        return int(self._starts[file]) + shard * int(bake.samples[block]) + int(bake.rows[position])

    def columns(self, names: Sequence[str]) -> Any:
        """Columns of all rows as a pyarrow Table. Raises UsageError for an unknown one, Damage naming an index."""
        check_columns(names)
        return self._together([(file, None) for file in range(len(self._files))], names)

    def take(self, rows: Rows, names: Sequence[str] = SCHEMA.names) -> Any:
        """Columns of some rows as a pyarrow Table, in the order of `rows`; errors as `columns`.

        Only the row groups that hold any of them are decoded.
        """
        check_columns(names)
        if len(rows) == len(self) and (rows == np.arange(len(self))).all():
            return self.columns(names)
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        bounds = np.searchsorted(ascending, self._starts)
        parts = [
            (file, ascending[bounds[file] : bounds[file + 1]] - self._starts[file])
            for file in np.flatnonzero(np.diff(bounds)).tolist()
        ]
        return self._together(parts, names).take(pa.array(np.argsort(order, kind="stable")))

    def _together(self, parts: Sequence[tuple[int, Rows | None]], names: Sequence[str]) -> Any:
        """Columns of rows of some indexes, or of all their rows, one after the other."""
        stored = list(dict.fromkeys("blends" if name == "blend" else name for name in names))
        with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool:
            pieces = list(pool.map(lambda part: self._read(part[0], part[1], stored), parts))
        schema = pa.schema([SCHEMA.field(name) for name in stored])
        table = pa.concat_tables(pieces or [schema.empty_table()]).unify_dictionaries()
        if "blend" in names:
            table = table.append_column("blend", first_entries(table["blends"]))
        return table.select(list(names))

    def checked(self, rows: Rows, names: Sequence[str]) -> Any:
        """`take`, after the rows' keys were compared with what the plan says. Raises Damage naming the index."""
        table, variants = self.take(rows, list(dict.fromkeys(["key", *names]))), self.variants(rows)
        for i, key in enumerate(table["key"].to_pylist()):
            if key != variants.key(i):
                file = self._files[int(np.searchsorted(self._starts, rows[i], side="right")) - 1]
                raise self._damage(file, f"has the row of {plain(key)} where that of {variants.key(i)} belongs")
        return table

    def _read(self, which: int, rows: Rows | None, names: Sequence[str]) -> Any:
        """Columns of an index's rows, ascending, or of all; row groups are dropped where no row of theirs is wanted."""
        file, count = self._files[which], int(self._starts[which + 1] - self._starts[which])
        data = self._contents(file)
        try:
            metadata = pq.read_metadata(pa.BufferReader(data))
            groups = self._groups(metadata, count, file)
            # A text may be stored once and meant for every row: none is written out before its length is known.
            parquet = pq.ParquetFile(pa.BufferReader(data), metadata=metadata, read_dictionary=_texts(metadata))
            starts = np.concatenate([[0], np.cumsum(groups)])
            used = np.arange(len(groups))
            if rows is not None:
                used = np.unique(np.searchsorted(starts, rows, side="right") - 1)
            table = parquet.read_row_groups(used.tolist(), columns=list(names), use_threads=False).select(list(names))
            if odd := [name for name in names if _is_too_long(table[name])]:
                raise self._damage(file, f"has rows with more in {odd[0]} than any recipe writes")
            table = table.cast(pa.schema([SCHEMA.field(name) for name in names]))
            if rows is None:
                return table
            skipped = starts[used] - np.concatenate([[0], np.cumsum(groups[used])[:-1]])
            return table.take(pa.array(rows - skipped[np.searchsorted(starts[used], rows, side="right") - 1]))
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise self._damage(file, f"cannot be read ({plain(error)})") from error

    def _groups(self, metadata: Any, count: int, file: StoredFile) -> NDArray[np.int64]:
        """Rows of each row group, after a look at what they claim to hold."""
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        rows = np.array([group.num_rows for group in groups], np.int64)
        if rows.sum() != count or (rows < 1).any():
            raise self._damage(file, f"has {rows.sum():,} rows and should have {count:,}")
        values = [group.column(i).num_values / group.num_rows for group in groups for i in range(group.num_columns)]
        if max(values, default=0) > MOST_VALUES:
            raise self._damage(file, f"has lists of more than {MOST_VALUES} entries")
        return rows

    def _contents(self, file: StoredFile) -> bytes:
        shelf = self.bake.shelf
        path = shelf.local(file.name, size=file.size, sha256=file.sha256)
        # Never more than a promised file's bytes in memory.
        if (found := path.stat().st_size) != file.size:
            raise Damage(f"{describe_size(file, found)} in {shelf.name}: {RESTORE}")
        data = retrying(path.read_bytes, path)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise self._damage(file, f"was altered (its SHA-256 is not {file.sha256[:12]}…)")
        return data

    def _damage(self, file: StoredFile, what: str) -> Damage:
        return Damage(
            f"{file.name} in {self.bake.shelf.name} {what}: `mixbake index --rebuild` makes it again from the tars"
        )


def _texts(metadata: Any) -> list[str]:
    """Columns of text, also those of lists, whatever the schema says that came with them."""
    group = metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    return [one.path_in_schema for one in columns if one.physical_type == "BYTE_ARRAY"]


def _is_too_long(column: Any) -> bool:
    """Whether a list or a text of a column is longer than any that is written, or all texts together are."""
    if pa.types.is_list(column.type):
        longest = pc.max(pc.list_value_length(column)).as_py() or 0
        return longest > MOST_VALUES or _is_too_long(pc.list_flatten(column))
    if not pa.types.is_dictionary(column.type):
        return False
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        if (pc.max(lengths).as_py() or 0) > MOST_TEXT:
            return True
        total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return bool(total > MEAN_TEXT * len(column) + MOST_TEXT)


def check_columns(names: Sequence[str]) -> None:
    """Raise UsageError naming the first column that is none."""
    if odd := [name for name in names if name not in COLUMNS]:
        raise UsageError(f"there is no column {plain(odd[0])!r}: choose from {', '.join(COLUMNS)}")


def first_entries(lists: Any) -> Any:
    """The first entry of each list of a column, null where there is none."""
    return pa.chunked_array([_first_of(chunk) for chunk in lists.chunks], lists.type.value_type)


def _first_of(lists: Any) -> Any:
    offsets = lists.offsets.to_numpy()
    return lists.values.take(pa.array(offsets[:-1], mask=offsets[:-1] == offsets[1:]))
