"""Variants in batches: pictures, rows of the index, and the JSON beside each picture where that is wanted.

Rule: a picture's record must have its name, an index row its key, a JSON member its header; what has not is damage,
named by shard and key. What else a record should be, `audit.verify` compares.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog, Rows, Variants
from mixbake.audit.faults import plain
from mixbake.audit.samples import Row
from mixbake.errors import Damage
from mixbake.storage import tar
from mixbake.storage.opened import RESTORE
from mixbake.stream.reader import Reader, damage

Bytes = NDArray[np.uint8]
THREADS = 2
"""That decode pictures of bakes whose records differ in length."""
_COLUMNS = ("key", "source", "source_sha256", "offset", "size", "layer", "ops", "blends")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """k variants. rows: of the index, by column (some of them). pixels: uint8 k×S×S×3."""

    variants: Variants
    rows: Sequence[Row]
    pixels: Bytes

    def __len__(self) -> int:
        return len(self.pixels)


class BatchReader:
    """Reads batches of a bake. Those whose JSON is read must come block by block."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._maps: dict[tuple[str, int, int], Bytes] = {}
        self._reader = Reader(catalog.bake, threads=THREADS, opened=self._keep)

    def close(self) -> None:
        """Let go of threads and files."""
        self._reader.close()
        self._maps.clear()

    def read(self, rows: Rows) -> Batch:
        """These rows. Raises Damage naming index, or shard and key; StorageError."""
        variants = self._catalog.variants(rows)
        first = int(self._catalog.bake.blocks[variants.positions].min())
        # Blocks that are done are not wanted again, and a process may not map any number of files.
        self._maps = {place: mapped for place, mapped in self._maps.items() if place[2] >= first}
        return Batch(
            variants=variants,
            rows=self._catalog.checked(rows, _COLUMNS).to_pylist(),
            pixels=self._pictures("mix", variants.numbers, variants.positions),
        )

    def clean_crops(self, batch: Batch) -> Bytes:
        """The bake's own clean crops of variants, uint8 k×S×S×3. Raises Damage naming shard and key, StorageError."""
        return self._pictures(
            "clean", batch.variants.numbers // self._catalog.bake.plan.group, batch.variants.positions
        )

    def document(self, batch: Batch, i: int) -> dict[str, Any]:
        """The JSON of a variant. Raises Damage naming shard and key."""
        bake, row, number = self._catalog.bake, batch.rows[i], int(batch.variants.numbers[i])
        mapped = self._maps["mix", number, int(bake.blocks[batch.variants.positions[i]])]
        member = tar.header(f"{row['key']}.json", bake.plan.member_bytes)
        place = tar.layout(row["size"] or 0, bake.plan.member_bytes)
        start = (row["offset"] or 0) - tar.UNIT + place.text
        if start < tar.UNIT or mapped[start - tar.UNIT : start].tobytes() != member:
            raise self.damage(batch, i, "its JSON is not where the index says")
        try:
            document = json.loads(mapped[start : start + bake.plan.member_bytes].tobytes())
        except (ValueError, RecursionError) as error:
            raise self.damage(batch, i, f"its JSON cannot be read ({plain(error)})") from error
        if not isinstance(document, dict):
            raise self.damage(batch, i, "its JSON is no object")
        return document

    def damage(self, batch: Batch, i: int, what: str) -> Damage:
        """The error that names a variant of a batch."""
        bake, number = self._catalog.bake, int(batch.variants.numbers[i])
        shard = bake.shard("mix", number, int(bake.blocks[batch.variants.positions[i]])).name
        return Damage(f"{shard}, {batch.variants.key(i)} in {bake.shelf.name}: {what}: {RESTORE}")

    def _pictures(self, view: str, numbers: NDArray[np.int64], positions: NDArray[np.int64]) -> Bytes:
        bake, size = self._catalog.bake, self._catalog.bake.plan.size
        out = np.empty((len(positions), size, size, 3), np.uint8)
        for number in np.unique(numbers).tolist():
            targets = np.flatnonzero(numbers == number)
            if faults := self._reader.read(view, number, positions[targets], out, targets):
                raise damage([fault for _, fault in faults], bake)
        return out

    def _keep(self, view: str, number: int, block: int, mapped: Bytes) -> None:
        if view == "mix":
            self._maps[view, number, block] = mapped
