"""Windows that variants were cut from, which no index holds: read from the JSON of some records.

Rule: of a shard only the JSON's own bytes are read, at an address that was compared with the shard's length first.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog, Rows
from mixbake.audit.faults import plain
from mixbake.errors import Damage
from mixbake.storage import tar
from mixbake.storage.opened import RESTORE, Bake, StoredFile
from mixbake.storage.store import retrying

Ints = NDArray[np.int64]
_LARGEST = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """k windows. crops: int64[k, 2], left and top. pictures: int64[k, 3], id, left and top; id -1 without a picture."""

    crops: Ints
    pictures: Ints


def read_windows(catalog: Catalog, rows: Rows) -> Windows:
    """The windows of some rows. Raises Damage naming index, or shard and key; StorageError."""
    bake, table, variants = catalog.bake, catalog.take(rows, ["offset", "size"]), catalog.variants(rows)
    crops, pictures = np.zeros((len(rows), 2), np.int64), np.full((len(rows), 3), -1, np.int64)
    places = zip(table["offset"].to_pylist(), table["size"].to_pylist(), strict=True)
    for i, (offset, size) in enumerate(places):
        file = bake.shard(variants.view(i), int(variants.numbers[i]), int(bake.blocks[variants.positions[i]]))
        try:
            document = json.loads(_text(bake, file, offset, size))
            crops[i] = _numbers(document["crop"], ("left", "top"))
            if document["picture"] is not None:
                pictures[i] = _numbers(document["picture"], ("id", "left", "top"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Damage(f"{file.name}, {variants.key(i)} in {bake.shelf.name}: {plain(error)}: {RESTORE}") from error
    return Windows(crops=crops, pictures=pictures)


def _text(bake: Bake, file: StoredFile, offset: int | None, size: int | None) -> bytes:
    """The JSON of a record whose picture the index has at that offset. Raises ValueError where none can be."""
    length = bake.plan.member_bytes
    if offset is None or size is None or not 0 < size < file.size or not tar.UNIT <= offset < file.size:
        raise ValueError("the index has it where no picture can be")
    start = offset - tar.UNIT + tar.layout(size, length).text
    path = bake.shelf.local(file.name, size=file.size, sha256=file.sha256)

    def read() -> bytes:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, length, start)
        finally:
            os.close(descriptor)

    return retrying(read, Path(path))


def _numbers(window: Any, names: tuple[str, ...]) -> list[int]:
    found = [window[name] for name in names]
    if not all(type(value) is int and abs(value) < _LARGEST for value in found):
        raise ValueError("its JSON has a window that is none")
    return found
