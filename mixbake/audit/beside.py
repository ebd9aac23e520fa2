"""A comparison of two bakes for people: one screen of text, and a sheet of their variants side by side.

Rule: the sheet shows variants of one key, beside the crop that they were made from; names may be a stranger's and
are made harmless where they are shown.
"""

import html
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog
from mixbake.audit.compare import Comparison, Side, Test, document_of, find_pairs, has_same_crop, sample_pairs
from mixbake.audit.contents import packed
from mixbake.audit.crops import find_crops
from mixbake.audit.faults import plain
from mixbake.audit.images import unopened
from mixbake.audit.samples import Record, read_records
from mixbake.audit.sheets import MOST, image_tag, lay_out
from mixbake.bake.sheet import Cell, Row, draw_sheet
from mixbake.errors import PlanDiffers, UsageError
from mixbake.storage.plan import spell_worth
from mixbake.storage.store import publish_bytes

Bytes = NDArray[np.uint8]
WIDTH = 100
MOST_FIELDS = 8
SHEETS = (".png", ".html")
SAID = {
    "class": "class", "flip": "flip", "layer": "layer", "op": "operation", "blend": "blend",
    "picture": "mixing picture", "crop": "crop", "window": "window of the picture", "pixels": "pixels",
}  # fmt: skip
"""What `Agreement.what` is called."""


# ── text ──────────────────────────────────────────────────────────────────────────────────────────


def explain(found: Comparison) -> str:
    """The comparison as lines for a terminal."""
    lines = [f"{'A':10} {_side(found.a)}", f"{'B':10} {_side(found.b)}", *_fields(found), f"{'same':10} {_same(found)}"]
    if found.paired:
        lines += _agreements(found)
    else:
        lines.append(f"{'pairs':10} none: {why_unpaired(found)}")
    return "\n".join([*lines, *_table(found)])


def why_unpaired(found: Comparison) -> str:
    """Why variants of one key do not belong together."""
    if not found.same_source:
        return "the two are of different sources"
    return f"{found.other_images:,} images of the source had other bytes when the other bake was made"


def _side(side: Side) -> str:
    what = f"{side.recipe}, {spell_worth(side.worth)} of {side.images:,} images, digest {side.digest[:16]}"
    return _fitting(f"{plain(side.path)}: {plain(what)}", WIDTH - 11)


def _fitting(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[1 - width :]


def _fields(found: Comparison) -> Iterator[str]:
    if not found.differences:
        yield f"{'plans':10} are equal"
    for i, one in enumerate(found.differences[:MOST_FIELDS]):
        text = plain(f"{one.field}: {one.a} | {one.b}")
        yield f"{'' if i else 'plans':10} {text if len(text) < WIDTH - 11 else text[: WIDTH - 12] + '…'}"
    if (more := len(found.differences) - MOST_FIELDS) > 0:
        yield f"{'':10} and {more:,} fields more, see --json"


def _same(found: Comparison) -> str:
    facts = {
        "source": found.paired,
        "classes": found.same_classes,
        "mixing set": found.same_mixing,
        "environment": found.same_environment,
        "epochs' worth": found.a.worth == found.b.worth,
    }
    alike = [name for name, so in facts.items() if so]
    others = [name for name, so in facts.items() if not so]
    return (", ".join(alike) or "nothing") + (f"; not: {', '.join(others)}" if others else "")


def _agreements(found: Comparison) -> Iterator[str]:
    all_pairs = [one for one in found.agreements if one.what not in ("crop", "window", "pixels")]
    sample = [one for one in found.agreements if one.what in ("crop", "window", "pixels")]
    for name, counted, group in (
        ("pairs", f"{found.pairs:,} variants of one image and number", all_pairs),
        ("sample", f"{found.sampled:,} of them, seed {found.seed}", sample),
    ):
        yield f"{name:10} {counted}: equal are"
        told = [f"{SAID[one.what]} {one.share:.1%}" for one in group if one.share is not None]
        yield from (f"{'':10} {line}" for line in packed(told or ["none to compare"], WIDTH - 11))


def _table(found: Comparison) -> Iterator[str]:
    """Counts of both, a line a value; of operations the mean level, too."""
    yield f"{'':10} {'':22} {'A':>18} {'B':>18}   {'mean level':>10}"
    levels = {one.op: one for one in found.levels}
    for distribution in found.distributions:
        totals = [sum(getattr(one, side) for one in distribution.counts) for side in ("a", "b")]
        for i, one in enumerate(distribution.counts):
            cells = (_share(count, total) for count, total in zip((one.a, one.b), totals, strict=True))
            level = levels.get(one.value) if distribution.name == "op" else None
            told = f"   {level.a:.3g} | {level.b:.3g}{f', p {level.test.p:.2g}' if level.test else ''}" if level else ""
            yield f"{'' if i else distribution.name:10} {plain(one.value)[:22]:22} {' '.join(cells)}{told}"
        yield f"{'':10} {_spell(distribution.test)}"
    yield "p: as if both were drawn independently; bakes of one seed share draws, and then p is too large"


def _share(count: int, total: int) -> str:
    return f"{f'{count:,} ({count / total:.1%})' if total else '-':>18}"


def _spell(test: Test | None) -> str:
    return "nothing to test" if test is None else f"χ² {test.chi_square:.1f}, {test.freedom} df, p {test.p:.2g}"


# ── sheet ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Variants of one key. crops: of a and of b, uint8 S×S×3; the second None where it is the first."""

    a: Record
    b: Record
    crops: tuple[Bytes, Bytes | None]


def check_output(out: Path) -> None:
    """Raise UsageError unless a sheet can be written there: a new .png or .html."""
    if out.suffix.lower() not in SHEETS:
        raise UsageError(f"{out} is no sheet: name a file ending in {' or '.join(SHEETS)}")
    if os.path.lexists(out):
        raise UsageError(f"{out} is there already: name something new, or delete it first")


def write_strips(a: Catalog, b: Catalog, found: Comparison, out: Path, *, count: int, source: str | None = None) -> int:
    """Write a sheet of at most `count` variants of both bakes, chosen by `found.seed`; returns how many.

    source: spec of the images, by default as bake A was given it; bakes with clean crops need none. Raises
    PlanDiffers when the bakes are of different images or the source is not theirs, UsageError, Damage, StorageError.
    """
    check_output(out)
    if not found.paired:
        raise PlanDiffers(f"there is nothing to show side by side: {why_unpaired(found)}; leave out --output")
    if not 0 < count <= MOST:
        raise UsageError(f"a sheet shows 1 to {MOST:,} variants, not {count:,}: take another -n")
    strips = list(_strips(a, b, found, count, source))
    if not strips:
        raise PlanDiffers("there is nothing to show side by side: no variant is in both bakes")
    title = (
        f"A: {found.a.path} ({found.a.recipe})   B: {found.b.path} ({found.b.recipe})",
        ", ".join(f"{one.field} {one.a} | {one.b}" for one in found.differences) or "the plans are equal",
    )
    size = max(a.bake.plan.size, b.bake.plan.size)
    draw = _draw_png if out.suffix.lower() == ".png" else _write_page
    publish_bytes(out, draw(title, strips, size))
    return len(strips)


def _strips(a: Catalog, b: Catalog, found: Comparison, count: int, source: str | None) -> Iterator[Strip]:
    chosen = sample_pairs(a, find_pairs(a, b), count, found.seed)
    ours, theirs = list(read_records(a, chosen.a)), list(read_records(b, chosen.b))
    crops = _crops(a, ours, found.a, source), _crops(b, theirs, found.b, source or _given(found.a))
    for one, other in zip(ours, theirs, strict=True):
        same = a.bake.plan.size == b.bake.plan.size and has_same_crop(document_of(one), document_of(other))
        yield Strip(a=one, b=other, crops=(crops[0][one.key], None if same else crops[1][other.key]))


def _crops(catalog: Catalog, records: Sequence[Record], side: Side, source: str | None) -> dict[str, Bytes]:
    spec = source or _given(side)
    try:
        return find_crops(catalog, records, spec)
    except UsageError as error:
        if source is not None:
            raise
        raise unopened(spec, error) from error


def _given(side: Side) -> str:
    return str(side.given.get("source") or "")


def _cells(strip: Strip) -> Iterator[Cell]:
    """Crop, A's variant, perhaps another crop, B's variant."""
    label = plain(strip.a.row["class"])
    for name, record, crop in (("A", strip.a, strip.crops[0]), ("B", strip.b, strip.crops[1])):
        if crop is not None:
            yield Cell(pixels=crop, lines=("crop" if name == "A" else "crop of B", strip.a.key, label))
        yield Cell(pixels=record.pixels, lines=_lines(name, record))


def _lines(name: str, record: Record) -> tuple[str, ...]:
    row = record.row
    layer = f"layer {row['layer']}" if row["layer"] is not None else "crop alone"
    done = " ".join(dict.fromkeys(row["ops"]))
    levels = ", ".join(f"{level:.3g}" for level in row["levels"] if level)
    lines = (f"{name}: {layer}", done, levels, " + ".join(row["blends"]))
    return tuple(plain(line) for line in lines if line)


def _draw_png(title: Sequence[str], strips: Sequence[Strip], size: int) -> bytes:
    cells = [tuple(_cells(strip)) for strip in strips]
    together = 2 if max(map(len, cells)) <= 3 else 1
    rows = [
        Row(name="", cells=tuple(cell for strip in cells[i : i + together] for cell in strip))
        for i in range(0, len(cells), together)
    ]
    return draw_sheet([plain(line) for line in title], rows, size=size)


def _write_page(title: Sequence[str], strips: Sequence[Strip], size: int) -> bytes:
    cells = [list(_cells(strip)) for strip in strips]
    return lay_out(title, [_figure(strip) for strip in cells], size=size, images=max(map(len, cells)))


def _figure(cells: Sequence[Cell]) -> str:
    images = "".join(image_tag(cell.lines[0], cell.pixels) for cell in cells if cell.pixels is not None)
    lines = "".join(f"<br><span>{html.escape(', '.join(cell.lines))}</span>" for cell in cells[1:])
    return (
        f"<figure>{images}<figcaption><b>{html.escape(', '.join(cells[0].lines[1:]))}</b>{lines}</figcaption></figure>"
    )
