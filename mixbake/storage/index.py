"""The Parquet index: one row a variant, made from program columns without a Python object a row.

Rule: columns and their meaning are fixed (`SCHEMA`); DuckDB, pandas or pyarrow read them as they are.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixbake.core.members import Members
from mixbake.core.programs import Programs
from mixbake.core.variant import MICRO
from mixbake.storage.plan import shard_path
from mixbake.storage.tar import keys

GROUP_ROWS = 32_768
"""Fewest rows of a row group: each costs some bookkeeping for every column."""

_NAME = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image", pa.int64()),
        ("number", pa.int32()),
        ("view", _NAME),
        ("label", pa.int32()),
        ("class", _NAME),
        ("source", pa.string()),
        ("source_sha256", pa.string()),
        ("block", pa.int32()),
        ("shard", _NAME),
        ("offset", pa.int64()),
        ("size", pa.int32()),
        ("layer", pa.int8()),
        ("op", _NAME),
        ("ops", pa.list_(_NAME)),
        ("levels", pa.list_(pa.float64())),
        ("blends", pa.list_(_NAME)),
        ("picture", pa.int32()),
        ("picture_hflip", pa.bool_()),
        ("picture_vflip", pa.bool_()),
        ("flip", pa.bool_()),
        ("steps", pa.string()),
    ]
)
"""offset, size: of the picture's bytes in the shard. op: null unless the program uses one operation."""

IMAGES_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("label", pa.int32()),
        ("class", _NAME),
        ("source", pa.string()),
        ("bytes", pa.int64()),
        ("source_sha256", pa.string()),
        ("skipped", pa.string()),
    ]
)
"""images.parquet: one row an image of the source; source_sha256 null if not baked, skipped null or the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the index says of the n images of a chunk besides their programs."""

    block: int
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    sources: list[str]
    sha256: list[str]
    arrow: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Convert once what every variant of an image repeats."""
        columns = {
            "label": pa.array(self.labels, pa.int32()),
            "class": pa.DictionaryArray.from_arrays(pa.array(self.labels, pa.int32()), pa.array(self.classes)),
            "source": pa.array(self.sources, pa.string()),
            "source_sha256": pa.array(self.sha256, pa.string()),
        }
        object.__setattr__(self, "arrow", columns)


def index_rows(
    table: Programs,
    members: Members,
    rows: Rows,
    which: NDArray[np.int64],
    *,
    offsets: NDArray[np.int64],
    sizes: NDArray[np.int32],
) -> Any:
    """Record batch of a chunk's variants of one view.

    which: int64[n], the row's image in `rows`; offsets, sizes: int[n], of each picture in its shard.
    """
    n = len(table)
    mixed = table.pictures[:, 0] >= 0
    columns = {
        **{name: column.take(pa.array(which)) for name, column in rows.arrow.items()},
        "key": _keys(table),
        "image": pa.array(table.images),
        "number": pa.array(table.numbers, pa.int32()),
        "view": _constant(table.view, n),
        "block": pa.array(np.full(n, rows.block, np.int32)),
        "shard": _shards(table, rows.block),
        "offset": pa.array(offsets),
        "size": pa.array(sizes, pa.int32()),
        "layer": pa.array(table.layers, pa.int8(), mask=table.layers == 0),
        "op": _single_op(table),
        "ops": _name_lists(table.ops, table.op_counts, table.op_names),
        "levels": _lists(table.levels / MICRO, table.op_counts),
        "blends": _name_lists(table.blends, table.blend_counts, table.blend_names),
        "picture": pa.array(table.pictures[:, 0], pa.int32(), mask=~mixed),
        "picture_hflip": pa.array(table.pictures[:, 3] == 1, pa.bool_(), mask=~mixed),
        "picture_vflip": pa.array(table.pictures[:, 4] == 1, pa.bool_(), mask=~mixed),
        "flip": pa.array(table.flips == 1, pa.bool_()),
        "steps": _texts(members),
    }
    return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _constant(value: str, n: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([value]))


def _named(codes: NDArray[Any], names: tuple[str, ...], mask: NDArray[np.bool_] | None = None) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=mask), pa.array(names))


def _single_op(table: Programs) -> Any:
    used = np.arange(table.ops.shape[1]) < table.op_counts[:, None]
    first = table.ops[:, :1]
    one = (table.op_counts > 0) & ((table.ops == first) | ~used).all(axis=1)
    return _named(first[:, 0], table.op_names, ~one)


def _offsets(counts: NDArray[Any]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _flat(values: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    return values[np.arange(values.shape[1]) < counts[:, None]]


def _lists(values: NDArray[Any], counts: NDArray[Any]) -> Any:
    return pa.ListArray.from_arrays(pa.array(_offsets(counts)), pa.array(_flat(values, counts)))


def _name_lists(codes: NDArray[Any], counts: NDArray[Any], names: tuple[str, ...]) -> Any:
    return pa.ListArray.from_arrays(pa.array(_offsets(counts)), _named(_flat(codes, counts), names))


def _shards(table: Programs, block: int) -> Any:
    numbers, codes = np.unique(table.numbers, return_inverse=True)
    paths = [shard_path(table.view, number, block) for number in numbers.tolist()]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(paths))


def _keys(table: Programs) -> Any:
    letters = keys(table.images, table.numbers, table.view)
    return _strings(np.full(len(table), letters.shape[1]), letters.reshape(-1))


def _texts(members: Members) -> Any:
    positions = np.arange(members.text.shape[1])
    inside = (positions >= members.spans[:, :1]) & (positions < members.spans[:, 1:])
    return _strings(members.spans[:, 1] - members.spans[:, 0], members.text[inside])


def _strings(lengths: NDArray[Any], letters: NDArray[np.uint8]) -> Any:
    buffers = [None, pa.py_buffer(_offsets(lengths)), pa.py_buffer(np.ascontiguousarray(letters))]
    return pa.StringArray.from_buffers(len(lengths), buffers[1], buffers[2])


def parquet_bytes(batches: list[Any], schema: Any, *, group: int = 50_000) -> bytes:
    """Batches as one Parquet file in memory (zstd), in row groups of `group` rows."""
    sink = pa.BufferOutputStream()
    table = pa.Table.from_batches(batches, schema=schema)
    pq.write_table(table, sink, compression="zstd", row_group_size=group, store_schema=True)
    return bytes(sink.getvalue())


def index_bytes(batches: list[Any], shards: int) -> bytes:
    """The index of a block range: its rows shard by shard, `mix` before `clean`, in the order of the tars.

    batches of `index_rows`, image by image or shard by shard; shards: how many, all with as many samples. A row
    group holds whole shards, so that who wants one of them reads little more.
    """
    table = pa.Table.from_batches(batches, schema=SCHEMA).combine_chunks()
    clean = np.concatenate([np.full(len(batch), _is_clean(batch)) for batch in batches]) if batches else np.empty(0)
    order = np.lexsort((table["number"].to_numpy(), clean))
    rows = len(table) // shards
    group = rows * max(1, -(-GROUP_ROWS // max(rows, 1)))
    return parquet_bytes(table.take(pa.array(order)).to_batches(), SCHEMA, group=max(group, 1))


def _is_clean(batch: Any) -> bool:
    return bool(len(batch)) and batch["view"][0].as_py() == "clean"
