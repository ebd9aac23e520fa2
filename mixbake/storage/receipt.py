"""Receipts: the small files that say a block's shards are whole.

Rule: a receipt is published after everything it vouches for; without one, a block was not baked.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from mixbake.errors import Damage
from mixbake.storage.plan import range_name, shard_path
from mixbake.storage.store import canonical_json


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
        """Raises Damage naming `path` when the text is no receipt."""
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["shards"] = tuple(ShardReceipt(**shard) for shard in fields["shards"])
            fields["skips"] = tuple(Skip(**skip) for skip in fields["skips"])
            return cls(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise Damage(f"{path} is no receipt ({error}): delete it, then run the build again") from error

    def is_whole(self, out: Path) -> bool:
        """Whether every tar and the index are there with their sizes (their bytes are not read)."""
        files = [(shard_path(s.view, s.number, self.block), s.bytes) for s in self.shards]
        files.append((f"index/{self.name}.parquet", self.index_bytes))
        return all(_size(out / path) == size for path, size in files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
