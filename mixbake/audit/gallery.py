"""Variants to be looked at: each with its picture and the strip of how it was made, ready for a page.

    row of the index -> replayed from its source, compared with what is stored -> strip
                     -> or, where source or mixing set are not at hand, what the bake itself holds
Rule: a picture on a page is the one that it says it is; where that one is not at hand there is an empty place.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixbake.audit.audited import Audited
from mixbake.audit.catalog import Rows
from mixbake.audit.crops import find_crops
from mixbake.audit.faults import Fault, plain
from mixbake.audit.plates import Plate, plate
from mixbake.audit.replay import Replayer
from mixbake.audit.samples import Record, read_records
from mixbake.audit.steps import window_of
from mixbake.audit.strip import replayed_cells, stored_cells
from mixbake.bake.sheet import Cell
from mixbake.core.variant import from_json
from mixbake.errors import Damage, MixbakeError, MixingDiffers, PlanDiffers, StorageError, UsageError

_COLUMNS = ("class", "layer", "ops", "levels", "blends", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A variant with its strip.

    shard: its tar. kind, layer, ops, levels, blends, source: class name and the rest as in the index. picture: as
    stored; None if it is damaged. replayed: whether it was made again; sound: whether nothing was found wrong.
    verdict: in words. missing: why it was not made again, or ""; lacks: what for, "source" or "mixing set", or "".
    """

    key: str
    shard: str
    kind: str
    view: str
    layer: int | None
    ops: tuple[str, ...]
    levels: tuple[float, ...]
    blends: tuple[str, ...]
    source: str
    picture: Plate | None
    strip: tuple[Plate, ...]
    replayed: bool
    sound: bool
    verdict: str
    missing: str
    lacks: str

    @property
    def fault(self) -> Fault:
        """What is wrong with it, where it is not sound."""
        return Fault(shard=self.shard, key=self.key, fault=self.verdict.removeprefix(f"{self.shard}, {self.key}: "))


def exhibit(
    audited: Audited,
    replayer: Replayer,
    rows: Rows,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Exhibit, ...]:
    """The variants of some rows, in their order; damage of a single one is told by its exhibit.

    Raises Damage naming an index that cannot be used.
    """
    catalog = audited.catalog
    table, variants = catalog.checked(rows, _COLUMNS), catalog.variants(rows)
    told = table.select(_COLUMNS).to_pylist()
    # Block by block, as each has its own indexes.
    order = np.argsort(audited.bake.blocks[variants.positions], kind="stable").tolist()
    made: dict[int, Exhibit] = {}
    for done, i in enumerate(order, 1):
        place = variants.view(i), int(variants.numbers[i]), int(variants.positions[i])
        shard = audited.bake.shard(*place[:2], int(audited.bake.blocks[place[2]])).name
        shown = _look(audited, replayer, rows[i : i + 1], place)
        made[i] = Exhibit(key=variants.key(i), shard=shard, view=place[0], **_facts(told[i]), **shown)
        progress(done, len(order))
    return tuple(made[i] for i in range(len(rows)))


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": str(row["class"]),
        "layer": row["layer"],
        "source": str(row["source"]),
        **{name: tuple(row[name] or ()) for name in ("ops", "levels", "blends")},
    }


def _look(audited: Audited, replayer: Replayer, row: Rows, place: tuple[str, int, int]) -> dict[str, Any]:
    """The rest of an exhibit: replayed, or as stored, or what is wrong with it."""
    try:
        try:
            found = replayer.replay(*place)
        except (PlanDiffers, StorageError) as error:
            # A source that cannot be read; a shard that cannot is told by what comes next.
            return _as_stored(audited, replayer, row, error)
        cells = list(replayed_cells(found))
        return {
            "picture": plate(cells[-1]),
            "strip": tuple(map(plate, cells)),
            "replayed": True,
            "sound": found.good,
            "verdict": found.verdict,
            "missing": "",
            "lacks": "",
        }
    except Damage as error:
        nothing = {"picture": None, "strip": (), "replayed": False, "sound": False, "missing": "", "lacks": ""}
        return {**nothing, "verdict": plain(error)}


def _as_stored(audited: Audited, replayer: Replayer, row: Rows, missing: MixbakeError) -> dict[str, Any]:
    record = next(read_records(audited.catalog, row))
    cells = list(_stored(audited, replayer, record))
    return {
        "picture": plate(cells[-1]),
        "strip": tuple(map(plate, cells)),
        "replayed": False,
        "sound": True,
        "verdict": "not made again",
        "missing": plain(missing),
        "lacks": what_lacks(missing),
    }


def _stored(audited: Audited, replayer: Replayer, record: Record) -> Iterable[Cell]:
    plan = audited.bake.plan
    own = record.pixels if record.row["view"] == "clean" else None
    crop = find_crops(audited.catalog, [record], None).get(record.key, own)
    with _told_as_damage(record):
        variant = from_json(record.text)
    try:
        picture, name = replayer.picture(variant)
    except MixingDiffers:
        picture, name = None, "not at hand"
    with _told_as_damage(record):
        window = None if picture is None else window_of(variant, picture, size=plan.size)
    return stored_cells(variant, record.pixels, crop=crop, picture=window, name=name)


def what_lacks(error: MixbakeError) -> str:
    """What an error that is no damage of the bake is about: the "source", or the "mixing set"."""
    return "mixing set" if isinstance(error, MixingDiffers) else "source"


@contextmanager
def _told_as_damage(record: Record) -> Iterator[None]:
    """UsageError of what a record says is damage of that record."""
    try:
        yield
    except UsageError as error:
        raise Damage(f"{record.row['shard']}, {record.key}: {plain(error)}") from error
