"""A bake as its descriptions need it: what plan, bake.json and receipts say, and what its user adds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixbake.storage.opened import Bake, Place, StoredFile
from mixbake.storage.plan import given_in
from mixbake.storage.shelf import LocalShelf


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An open bake. name: its folder's. given: source and mixing set as typed. licence: the user's word, or None."""

    bake: Bake
    name: str
    given: Mapping[str, Any]
    licence: str | None

    def shards(self) -> list[tuple[Place, StoredFile]]:
        """(view, number, block) and promise of every tar, views and numbers in turn."""
        return sorted(self.bake.shards(), key=lambda one: (one[0][0] == "clean", one[0][1], one[0][2]))

    def samples(self, place: Place) -> int:
        """Samples in a tar."""
        return int(self.bake.samples[place[2]])


def open_described(shards: Path, *, licence: str | None) -> Described:
    """Raises UsageError when there is no finished bake, Damage naming the file that is not what it should be."""
    bake = Bake.open(LocalShelf(shards))
    given = given_in(bake.shelf.read("manifest.json"))
    return Described(bake=bake, name=shards.resolve().name, given=given, licence=licence)
