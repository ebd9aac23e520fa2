"""`mixbake preview`: a sheet of eight images under every layer, and what a build would cost, in seconds.

    plan -> eight images over all classes -> source, crop, picture and layers of each -> sheet, text

Here a wrong root, flip or size is seen before a night is lost. Rule: variants are drawn and rendered as in
a build, from the same streams; but of the source only a handful of images is read, and OUT is left alone.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixbake.bake.estimate import TRIAL_EPOCHS, Estimate, forecast, nothing_found, spell_bytes, spell_seconds, spread
from mixbake.bake.settings import BuildSettings, Planned, common_size, default_out, make_plan, open_listing
from mixbake.bake.sheet import Cell, Row, draw_sheet
from mixbake.bake.trial import run_trial
from mixbake.bake.warmup import warm_up
from mixbake.core import render
from mixbake.core.jit import cache_root
from mixbake.core.ops import tell_overlap
from mixbake.core.programs import Programs
from mixbake.core.variant import Step, Variant
from mixbake.data.decode import decode
from mixbake.data.generators import cached, drawn_side, parse_drawn
from mixbake.data.listing import Entry, Listing
from mixbake.data.pictures import spell_specs
from mixbake.errors import DecodeError, UsageError
from mixbake.recipes.presets import resolve
from mixbake.recipes.recipe import Lot, draw, own_steps_of
from mixbake.storage.plan import FLIP_WORDS, spell_worth
from mixbake.storage.store import publish_bytes, retrying

IMAGES = 8
NUMBERS = 64
"""Numbers drawn for an image: each of three layers is among them but once in 10**11."""
SIZED_IMAGES = 16
"""Images that must agree in size when no --size is given; a build looks at all."""
SPARE_IMAGES = 4
"""Images tried in place of each that cannot be decoded."""
FEW_DRAWN = 32
TRIAL_IMAGES, TRIAL_SECONDS = 32, 1.5

MEANING = "; if a mirrored image means something else (digits, signs, text), say --flip none"
CONSEQUENCES = {
    "online": "every variant is shown as it is and mirrored, for nothing" + MEANING,
    "baked": "half of the crops are mirrored before the recipe" + MEANING,
    "none": "no image is mirrored, here or in training",
}
"""Of the flip, for training."""

Bytes = NDArray[np.uint8]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A column of the sheet: an image as stored and as crops are cut from it, its first variant, a variant a row."""

    entry: Entry
    source: Bytes
    image: Bytes
    first: Variant
    variants: Mapping[str, Variant]


def draw_preview(settings: BuildSettings, output: Path, *, say: Say = lambda _message: None) -> str:
    """Write the sheet (PNG) to `output`; returns what to print: flip, bytes and time of a build, warnings.

    Raises UsageError as a build would, or when no image can be decoded, and StorageError.
    """
    jobs = settings.jobs or len(os.sched_getaffinity(0))
    warm_up(say)
    notes: list[str] = []
    settings = _with_few_drawn(_with_size(settings, say), notes)
    planned = make_plan(
        settings,
        pictures_folder=cache_root() / "pictures",
        jobs=jobs,
        say=say,
        progress=lambda what, done, total: say(f"{what}: {done}/{total}") if done == total else None,
    )
    shown = [_show(planned, entry, pixels) for entry, pixels in _chosen(planned, notes)]
    publish_bytes(output, draw_sheet(_title(settings, planned), _rows(planned, shown), size=planned.plan.size))
    return "\n".join(_text(settings, planned, shown, output, _cost(settings, planned, jobs), notes))


def _with_size(settings: BuildSettings, say: Say) -> BuildSettings:
    """Give --size, when it is missing, the common size of a few images. Raises UsageError when they differ."""
    if settings.size:
        return settings
    source, listing = open_listing(settings)
    rows = np.unique(np.linspace(0, len(listing) - 1, SIZED_IMAGES).astype(np.int64))
    few = Listing(
        spec=listing.spec,
        classes=listing.classes,
        paths=tuple(listing.paths[row] for row in rows.tolist()),
        sizes=listing.sizes[rows],
        offsets=listing.offsets[rows],
        labels=listing.labels[rows],
    )
    return replace(settings, size=common_size(source, few, say))


def _with_few_drawn(settings: BuildSettings, notes: list[str]) -> BuildSettings:
    """Ask for no more mixing pictures than are drawn already, or FEW_DRAWN: hundreds would take a minute."""
    named = resolve(settings.recipe, size=settings.size, overrides=settings.overrides)
    if not named.recipe.uses_pictures:
        return settings
    return replace(settings, mixing_set=tuple(_few(spec, settings.size, notes) for spec in settings.mixing_sets))


def _few(spec: str, size: int, notes: list[str]) -> str:
    """A mixing set, of which fewer pictures are asked for if they are to be drawn."""
    drawn = parse_drawn(spec)
    if drawn is None:
        return spec
    folder = cached(replace(drawn, count=1), side=drawn_side(size))
    few = max(FEW_DRAWN, len(list(folder.glob(f"{drawn.generator.stem}-*.png"))))
    if drawn.count <= few:
        return spec
    notes.append(
        f"{few} pictures of {drawn.name} here, {drawn.count} in the bake: "
        "it will mix with other pictures than this sheet shows"
    )
    return replace(drawn, count=few).spell()


def _chosen(planned: Planned, notes: list[str]) -> Iterator[tuple[Entry, Bytes]]:
    """Up to IMAGES images that can be decoded, with their pixels: of as many classes as there are, evenly spread."""
    order = planned.plan.order()
    labels = planned.listing.labels[order]
    classes = np.unique(labels)
    wanted = classes[np.linspace(0, len(classes) - 1, IMAGES).astype(np.int64)]
    found = 0
    for label in np.unique(wanted):
        missing = int((wanted == label).sum())
        for image in order[labels == label][: missing * SPARE_IMAGES].tolist():
            entry = planned.listing.entry(image)
            data = retrying(partial(planned.source.read, entry), Path(entry.path))
            try:
                pixels = decode(data, background=planned.plan.background)
            except DecodeError as reason:
                notes.append(f"{entry.path} cannot be decoded: {reason}")
                continue
            yield entry, pixels
            found, missing = found + 1, missing - 1
            if not missing:
                break
    if not found:
        raise UsageError(f"no image tried can be decoded ({'; '.join(notes[-3:])}): check the source")


def _show(planned: Planned, entry: Entry, pixels: Bytes) -> Shown:
    image = render.fitted(pixels, crop_kind=planned.plan.crop, size=planned.plan.size)
    table = _drawn(planned, entry, image)
    return Shown(
        entry=entry,
        source=pixels,
        image=image,
        first=table.variant(0),
        variants={name: table.variant(row) for name, row in _first_of_each(table).items()},
    )


def _drawn(planned: Planned, entry: Entry, image: Bytes) -> Programs:
    """Variants 0..NUMBERS-1 of an image."""
    plan, pictures = planned.plan, planned.pictures
    lot = Lot(
        seed=plan.seed,
        view="mix",
        images=np.full(NUMBERS, entry.image, np.int64),
        numbers=np.arange(NUMBERS, dtype=np.int64),
        shapes=np.tile(np.array(image.shape[:2], np.int32), (NUMBERS, 1)),
        size=plan.size,
        crop=plan.crop,
        bake_flip=plan.flip == "baked",
        group=plan.group,
        pictures=render.NO_PICTURES[2] if pictures is None else pictures.shapes,
        mixing_sets=plan.mixing_sets,
    )
    return draw(planned.recipe.recipe, lot, name=planned.recipe.name)


def _first_of_each(table: Programs) -> dict[str, int]:
    """Row of the first variant of each layer; of a recipe without layers, the first three; of a bare crop, none."""
    layers = np.unique(table.layers[table.layers > 0]).tolist()
    if layers:
        return {f"layer {layer}": int(np.flatnonzero(table.layers == layer)[0]) for layer in layers}
    return {f"number {row}": row for row in range(3)} if table.lengths.any() else {}


def _rows(planned: Planned, shown: list[Shown]) -> list[Row]:
    """Source, crop, a row a layer, and above a layer that mixes with pictures those pictures."""
    rows = [Row(name="source", cells=tuple(_source(planned, column) for column in shown))]
    rows.append(Row(name="crop", cells=tuple(_crop(planned, column) for column in shown)))
    for name in sorted({name for column in shown for name in column.variants}):
        variants = [column.variants.get(name) for column in shown]
        if any(variant and variant.picture for variant in variants):
            pairs = zip(shown, variants, strict=True)
            rows.append(Row(name="picture", cells=tuple(_picture(planned, *pair) for pair in pairs)))
        rows.append(Row(name=name, cells=tuple(_variant(planned, *pair) for pair in zip(shown, variants, strict=True))))
    return rows


def _source(planned: Planned, column: Shown) -> Cell:
    height, width = column.source.shape[:2]
    crop = column.first.crop
    window = None if crop.kind == "pad" else (crop.left, crop.top, crop.width, crop.height)
    lines = planned.plan.classes[column.entry.label], _last(column.entry.path), f"{width} x {height} px"
    return Cell(pixels=column.source, lines=lines, box=window)


def _crop(planned: Planned, column: Shown) -> Cell:
    crop = column.first.crop
    pixels = render.crop(column.image, crop, planned.plan.size, flip=column.first.flip)
    where = f"{crop.width} x {crop.height} at {crop.left}, {crop.top}"
    return Cell(pixels=pixels, lines=(where, "number 0" + ", mirrored" * column.first.flip))


def _variant(planned: Planned, column: Shown, variant: Variant | None) -> Cell:
    if variant is None:
        return Cell(pixels=None, lines=("not drawn",))
    levels = ", ".join(f"{level:.3g}" for level in variant.levels if level)
    lines = " ".join(dict.fromkeys(variant.ops)), levels, " + ".join(variant.blends), f"number {variant.number}"
    return Cell(pixels=_rendered(planned, column, variant), lines=tuple(line for line in lines if line))


def _picture(planned: Planned, column: Shown, variant: Variant | None) -> Cell:
    """Register 1 of a variant, as the renderer fills it: windowed, mirrored, gray."""
    if variant is None or variant.picture is None or planned.pictures is None:
        return Cell(pixels=None)
    alone = replace(variant, steps=(Step(do="posterize", src=(1,), args=(8,)),))
    return Cell(pixels=_rendered(planned, column, alone), lines=(_last(planned.pictures.names[variant.picture.id]),))


def _rendered(planned: Planned, column: Shown, variant: Variant) -> Bytes:
    chosen = variant.picture
    picture = planned.pictures.picture(chosen.id) if chosen and planned.pictures else None
    own = own_steps_of(planned.recipe.recipe)
    return render.render(variant, column.image, picture, size=planned.plan.size, own=own)


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _title(settings: BuildSettings, planned: Planned) -> tuple[str, str]:
    plan = planned.plan
    mixing = f", {plan.pictures:,} mixing pictures ({spell_specs(settings.mixing_set)})" if plan.pictures else ""
    recipe = f"{plan.recipe['name']}, {plan.size} px, crop {plan.crop}, flip {plan.flip}, seed {plan.seed}{mixing}"
    return f"{settings.source}: {len(planned.listing):,} images, {len(plan.classes):,} classes", recipe


def _cost(settings: BuildSettings, planned: Planned, jobs: int) -> Estimate:
    """An epoch's worth, from a trial on a few images."""
    out = default_out(settings)
    costs = run_trial(
        planned,
        spread(planned, TRIAL_IMAGES),
        beside=out,
        epochs=TRIAL_EPOCHS[planned.plan.size <= 64],
        expected={},
        seconds=TRIAL_SECONDS,
    )
    return forecast(settings, planned, nothing_found(out), costs, jobs)


def _text(
    settings: BuildSettings, planned: Planned, shown: list[Shown], output: Path, cost: Estimate, notes: list[str]
) -> Iterator[str]:
    plan = planned.plan
    yield f"{output}: {len(shown)} of {len(planned.listing):,} images in {len(plan.classes):,} classes"
    yield _title(settings, planned)[1]
    yield f"flip: {FLIP_WORDS[plan.flip]}: {CONSEQUENCES[plan.flip]}"
    yield (
        f"{spell_worth(settings.epochs_worth)}: about "
        f"{spell_bytes(cost.whole.total)} and {spell_seconds(cost.seconds)} with {cost.jobs} jobs; "
        f"{spell_bytes(cost.free)} free"
    )
    for warning in (*_warnings(planned, shown, cost), *notes):
        yield f"warning: {warning}"


def _warnings(planned: Planned, shown: list[Shown], cost: Estimate) -> Iterator[str]:
    plan = planned.plan
    if overlap := tell_overlap(plan.recipe):
        yield overlap
    if small := sum(min(column.source.shape[:2]) < plan.size for column in shown):
        yield f"{small} of {len(shown)} images are smaller than {plan.size} px and are enlarged: is --size right?"
    if plan.crop == "pad" and any(column.source.shape[:2] != (plan.size, plan.size) for column in shown):
        yield f"images are cut to their central square and resized to {plan.size} px before the crop"
    if len(plan.classes) == 1:
        yield "there is one class only: is the source's root right?"
    if cost.skipped_share:
        yield f"{cost.skipped_share:.0%} of {cost.tried} images tried cannot be decoded"
    if not cost.fits:
        yield f"the disk has {spell_bytes(cost.free)} free: too little even for this"
