"""Receipts: the small files that say a block's shards are whole.

Rule: a receipt is published after everything it vouches for; without one, a block was not baked.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeVar, get_origin

from mixbake.errors import Damage
from mixbake.storage.plan import range_name, shard_path
from mixbake.storage.store import canonical_json

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReceipt:
    """One tar: sha256 in hex, bytes, samples."""

    view: str
    number: int
    sha256: str
    bytes: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """An image that could not be decoded: its number, relative path, the reason, sha256 of what was read."""

    image: int
    source: str
    reason: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A block's epochs' worth first..last (inclusive). images: of the block, skipped ones included."""

    plan: str
    block: int
    first: int
    last: int
    images: int
    shards: tuple[ShardReceipt, ...]
    index_sha256: str
    index_bytes: int
    skips: tuple[Skip, ...]
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """`000017-v000-009`."""
        return range_name(self.block, self.first, self.last)

    @property
    def tar_bytes(self) -> int:
        """Of all its tars."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def samples(self) -> int:
        """In all its tars."""
        return sum(shard.samples for shard in self.shards)

    def to_json(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: bytes, path: Path) -> Self:
        """Raises Damage naming `path`, and what is wrong in it, when the text is no receipt."""
        try:
            stored = _fields_of(cls, _parsed(text), "the receipt")
            stored["shards"] = tuple(_list_of(ShardReceipt, stored["shards"], "shard"))
            stored["skips"] = tuple(_list_of(Skip, stored["skips"], "skip"))
            return cls(**stored)
        except ValueError as error:
            raise Damage(f"{path} is no receipt ({error}): delete it, then run the build again") from error

    def is_whole(self, out: Path) -> bool:
        """Whether every tar and the index are there with their sizes (their bytes are not read)."""
        files = [(shard_path(s.view, s.number, self.block), s.bytes) for s in self.shards]
        files.append((f"index/{self.name}.parquet", self.index_bytes))
        return all(_size(out / path) == size for path, size in files)


_KINDS: dict[type, tuple[type, str]] = {
    str: (str, "text"),
    int: (int, "a whole number"),
    tuple: (list, "a list"),
    Mapping: (dict, "an object"),
}
"""By a field's type: what JSON gives for it, and what people call it."""


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error


def _list_of(kind: type[Part], stored: list[Any], called: str) -> Iterator[Part]:
    for number, part in enumerate(stored):
        yield kind(**_fields_of(kind, part, f"{called} {number}"))


def _fields_of(kind: type, stored: Any, where: str) -> dict[str, Any]:
    """Copy of `stored` that has exactly the fields of `kind`. Raises ValueError naming the first that is wrong."""
    if type(stored) is not dict:
        raise ValueError(f"{where} is not a JSON object")
    wanted = {field.name: field.type for field in fields(kind)}
    for words, names in (("is missing", set(wanted) - set(stored)), ("is unknown", set(stored) - set(wanted))):
        if names:
            raise ValueError(f"{where}: the field {min(names)!r} {words}")
    for name, written in wanted.items():
        outer: Any = get_origin(written) or written
        accepted, called = _KINDS[outer]
        if type(stored[name]) is not accepted:  # exactly: JSON's true is no number
            raise ValueError(f"{where}: the field {name!r} is not {called}")
    return dict(stored)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
