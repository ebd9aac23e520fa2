"""Single records of a bake, read by offset out of their shards, and checked.

    row of the index -> shard (from the plan), offset, length -> header, picture, label, JSON -> compared, decoded
Rule: of a shard only the record's own bytes are read; a record that is not what index and plan say is damage,
named by shard and key. Nothing is unpickled, and no length is believed before it fits its shard.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog, Rows
from mixbake.audit.faults import plain
from mixbake.errors import Damage
from mixbake.storage import tar
from mixbake.storage.codecs import most_bytes
from mixbake.storage.decoders import DECODERS, UNREADABLE
from mixbake.storage.index import SCHEMA
from mixbake.storage.opened import RESTORE, Bake, StoredFile, describe_size
from mixbake.storage.store import retrying

Bytes = NDArray[np.uint8]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A sample as it is stored. row: of the index, by column; its steps are the JSON's. extension: of the picture.

    stored: all its bytes in the tar. picture, text: its members. pixels: uint8 S×S×3.
    """

    row: Row
    extension: str
    stored: bytes
    picture: bytes
    text: bytes
    pixels: Bytes

    @property
    def key(self) -> str:
        """`00000042-0003`."""
        return str(self.row["key"])


def read_records(catalog: Catalog, rows: Rows) -> Iterator[Record]:
    """The records of some rows, in their order. Raises Damage naming index, or shard and key; StorageError."""
    bake, table, variants = catalog.bake, catalog.checked(rows, _STORED), catalog.variants(rows)
    for i, row in enumerate(table.to_pylist()):
        block = int(bake.blocks[variants.positions[i]])
        file = bake.shard(variants.view(i), int(variants.numbers[i]), block)
        try:
            yield _read(bake, file, row, int(bake.labels[variants.positions[i]]))
        except UNREADABLE as error:
            raise Damage(f"{file.name}, {row['key']} in {bake.shelf.name}: {plain(error)}: {RESTORE}") from error


def _read(bake: Bake, file: StoredFile, row: Row, label: int) -> Record:
    """Raises Damage for the shard as a whole, one of UNREADABLE for the record."""
    plan, size, offset = bake.plan, row["size"], row["offset"]
    place = tar.layout(size, plan.member_bytes)
    if not 0 < size <= most_bytes(plan.size) or not tar.UNIT <= offset <= file.size - place.record + tar.UNIT:
        raise ValueError(f"the index has it at {offset:,} with {size:,} bytes, where no picture can be")
    stored = _bytes_at(bake, file, offset - tar.UNIT, place.record)
    picture = stored[place.picture : place.picture + size]
    text = stored[place.text : place.text + plan.member_bytes]
    members = {plan.extension: picture, "cls": tar.label_member(label), "json": text}
    if stored != b"".join(tar.member(f"{row['key']}.{kind}", data) for kind, data in members.items()):
        raise ValueError("the record there is not this sample's")
    document = _document(text)
    _compare(document, row, label, bake)
    row = {name: row[name] for name in _STORED} | {"steps": _steps(text, document)}
    pixels = np.empty((plan.size, plan.size, 3), np.uint8)
    DECODERS[plan.codec](np.frombuffer(picture, np.uint8), pixels)
    return Record(row=row, extension=plan.extension, stored=stored, picture=picture, text=text, pixels=pixels)


def _bytes_at(bake: Bake, file: StoredFile, start: int, length: int) -> bytes:
    path = bake.shelf.local(file.name, size=file.size, sha256=file.sha256)

    def read() -> tuple[int, bytes]:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.fstat(descriptor).st_size, os.pread(descriptor, length, start)
        finally:
            os.close(descriptor)

    found, data = retrying(read, Path(path))
    if found != file.size:
        raise Damage(f"{describe_size(file, found)} in {bake.shelf.name}: {RESTORE}")
    return data


def _compare(document: Any, row: Row, label: int, bake: Bake) -> None:
    """Raise ValueError unless the JSON says what the index and images.parquet say."""
    expected = {name: row[name] for name in _ALIKE} | {"label": label, "class": bake.plan.classes[label]}
    if bake.plan.paths_in_members:
        expected["source"] = row["source"]
    if wrong := [name for name, value in expected.items() if document.get(name) != value]:
        raise ValueError(f"its JSON has another {wrong[0]!r} than the index")
    picture = document.get("picture") or {}
    if not isinstance(picture, dict) or [picture.get(name) for name in ("id", "hflip", "vflip")] != [
        row[name] for name in _OF_PICTURE
    ]:
        raise ValueError("its JSON has another 'picture' than the index")
    if (row["label"], row["class"]) != (label, bake.plan.classes[label]):
        raise ValueError("the index has another label than images.parquet")


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("its JSON is too deep") from error
    if not isinstance(document, dict):
        raise ValueError("its JSON is no object")  # noqa: TRY004 - one of `UNREADABLE`, like all else that is wrong
    return document


def _steps(text: bytes, document: Any) -> str:
    """The steps as the JSON spells them, like the column of the index: that one is by far the slowest to read."""
    steps = text[text.rindex(b'"steps":') + len(b'"steps":') : text.rindex(b',"view":')].decode()
    if json.loads(steps) != document["steps"]:
        raise ValueError("its JSON is not sorted")
    return steps


_STORED = tuple(name for name in SCHEMA.names if name != "steps")
_ALIKE = ("image", "number", "view", "layer", "ops", "levels", "blends", "flip")
_OF_PICTURE = ("picture", "picture_hflip", "picture_vflip")
