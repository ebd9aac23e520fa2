"""Small bakes for the laws: made through the library, read back with the standard library alone.

Rule: tars are read with `tarfile`, never with mixbake, so that what is compared is what anyone would find.
"""

import contextlib
import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixbake.bake.board import Totals
from mixbake.bake.build import Built, build
from mixbake.bake.settings import BuildSettings

QUICK: dict[str, Any] = {"executor": "inline", "seed": 7}


@dataclass(slots=True)
class Heard:
    """A watcher that keeps what it hears."""

    messages: list[str] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def say(self, message: str) -> None:
        self.messages.append(message)

    def prepare(self, what: str, done: int, total: int) -> None:
        self.events.append((what, {"done": done, "total": total}))

    @contextlib.contextmanager
    def baking(self, totals: Callable[[], Totals], images: int, variants: int) -> Iterator[None]:
        yield
        now = totals()
        self.events.append(
            ("baked", {"variants": now.variants, "of": variants, "images": now.images, "of_images": images})
        )

    def event(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))


def bake(source: Path | str, out: Path, pictures: Path, watcher: Heard | None = None, **settings: Any) -> Built:
    """Bake in this process; other settings are `BuildSettings`'s."""
    given = QUICK | {"source": str(source), "out": out, "mixing_set": str(pictures)} | settings
    return build(BuildSettings(**given), watcher or Heard())


def tars(out: Path) -> dict[str, str]:
    """SHA-256 of every tar of a bake, by relative path; temporaries are none."""
    return {path.relative_to(out).as_posix(): _sha256(path) for path in sorted(out.rglob("[!.]*.tar"))}


def tree(out: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, hidden ones too."""
    return {path.relative_to(out).as_posix(): _sha256(path) for path in sorted(out.rglob("*")) if path.is_file()}


def leftovers(out: Path) -> list[Path]:
    """Temporary and lock files."""
    return [path for path in out.rglob(".*") if path.is_file()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample as it is stored: where, and its members by extension."""

    shard: str
    key: str
    members: Mapping[str, bytes]


def samples(out: Path) -> Iterator[Sample]:
    """Every sample of a bake, shard after shard in stored order."""
    for path in sorted(out.rglob("*.tar")):
        with tarfile.open(path, "r:") as archive:
            found: dict[str, dict[str, bytes]] = {}
            for member in archive:
                stored = archive.extractfile(member)
                assert stored is not None, member.name
                key, _, extension = member.name.partition(".")
                found.setdefault(key, {})[extension] = stored.read()
        for key, members in found.items():
            yield Sample(shard=path.relative_to(out).as_posix(), key=key, members=members)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
