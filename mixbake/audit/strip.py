"""A replay as a strip of pictures: source, crop, each step with its operation and level, mixing picture, result.

Rule: what is shown is what the renderer computes; a step is shown by rendering the program up to it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from mixbake.audit.replay import Bytes, Replay
from mixbake.bake.sheet import Cell, Row, draw_sheet
from mixbake.core import render
from mixbake.core.own import sources_of
from mixbake.core.variant import Crop, Number, Step, Variant

_COLUMNS = 9
"""Cells in a line: LayerMix's longest programs fill one."""


def draw_strip(replay: Replay) -> bytes:
    """The strip as PNG."""
    cells = list(replayed_cells(replay))
    rows = [
        Row(
            name="" if start else f"layer {replay.variant.layer}" if replay.variant.layer else replay.variant.view,
            cells=tuple(cells[start : start + _COLUMNS]),
        )
        for start in range(0, len(cells), _COLUMNS)
    ]
    where = f"{replay.source}, class {replay.document['class']}"
    title = f"{replay.variant.key}: {replay.variant.recipe}, {where}", replay.verdict
    return draw_sheet(title, rows, size=replay.plan.size)


def replayed_cells(replay: Replay) -> Iterator[Cell]:
    """Source, crop, mixing picture where it is first used, every step, and the result."""
    variant, crop = replay.variant, replay.variant.crop
    height, width = replay.image.shape[:2]
    window = None if crop.kind == "pad" else (crop.left, crop.top, crop.width, crop.height)
    yield Cell(
        pixels=replay.image, lines=("source", replay.source.rpartition("/")[2], f"{width} x {height} px"), box=window
    )

    def after(steps: int) -> Bytes:
        """The register that a program has written last after so many steps."""
        begun = replace(variant, steps=variant.steps[:steps])
        return render.render(begun, replay.fitted, replay.picture, size=replay.plan.size, own=replay.own)

    picture = None if replay.picture is None else window_of(variant, replay.picture, size=replay.plan.size)
    yield from _program_cells(variant, after, picture, replay.picture_name)
    told = "equal" if replay.equal else f"differs by {replay.difference}"
    yield Cell(pixels=replay.stored, lines=("result", "as stored", told))


def stored_cells(
    variant: Variant, stored: Bytes, *, crop: Bytes | None, picture: Bytes | None, name: str
) -> Iterator[Cell]:
    """The same without the source: empty places for what cannot be made without it.

    stored: the variant's own picture. crop: as the bake stores it, or None. picture: of `window_of`, or None.
    name: of the mixing picture.
    """
    yield Cell(pixels=None, lines=("source", "not at hand"))
    yield from _program_cells(variant, lambda steps: None if steps else crop, picture, name)
    yield Cell(pixels=stored, lines=("result", "as stored"))


def window_of(variant: Variant, picture: Bytes, *, size: int) -> Bytes | None:
    """Register 1 of a variant, uint8 S×S×3: a window of a prepared mixing picture, mirrored, gray; None without one."""
    if variant.picture is None:
        return None
    # Keeping all eight bits changes nothing: the one step that shows a register as it is. It needs no image.
    whole = Crop(kind="pad", left=0, top=0, width=size, height=size)
    alone = replace(variant, crop=whole, steps=(Step(do="posterize", src=(1,), args=(8,)),))
    return render.render(alone, np.zeros((size, size, 3), np.uint8), picture, size=size)


def _program_cells(
    variant: Variant, after: Callable[[int], Bytes | None], picture: Bytes | None, name: str
) -> Iterator[Cell]:
    """Crop, mixing picture and steps; after(n): what the program has made after n steps, if that is known."""
    crop, names = variant.crop, _names(variant)
    where = f"{crop.width} x {crop.height} at {crop.left}, {crop.top}"
    yield Cell(pixels=after(0), lines=_lines("0: crop", where, "mirrored" if variant.flip else ""))
    shown = False
    for i, step in enumerate(variant.steps):
        if 1 in step.src and not shown:
            yield Cell(pixels=picture, lines=_of_picture(variant, name))
            shown = True
        yield Cell(pixels=after(i + 1), lines=_lines(f"{i + 2}: {names[i][0]}", *_told(step, names[i][1])))


def _of_picture(variant: Variant, name: str) -> tuple[str, ...]:
    chosen = variant.picture
    if chosen is None:
        return ("1: picture",)
    mirrored = " and ".join(name for name, so in (("hflip", chosen.hflip), ("vflip", chosen.vflip)) if so)
    return _lines("1: picture", name.rpartition("/")[2], f"at {chosen.left}, {chosen.top}", mirrored)


def _names(variant: Variant) -> list[tuple[str, str]]:
    """Of each step its operation and level, or its blend; the step's own name where the lists do not tell."""
    ops = iter(list(zip(variant.ops, variant.levels, strict=True)))
    blends = iter(variant.blends)
    single = sum(sources_of(step) == 1 for step in variant.steps)
    double = sum(sources_of(step) == 2 for step in variant.steps)
    if (single, double) != (len(variant.ops), len(variant.blends)):
        return [(step.do, "") for step in variant.steps]
    return [_name(step, ops, blends) for step in variant.steps]


def _name(step: Step, ops: Iterator[tuple[str, Number]], blends: Iterator[str]) -> tuple[str, str]:
    sources = sources_of(step)
    if sources == 1:
        return _operation(*next(ops))
    return next(blends) if sources == 2 else step.do, ""


def _operation(op: str, level: Number) -> tuple[str, str]:
    return op, f"level {level:g}" if level else ""


def _told(step: Step, level: str) -> tuple[str, ...]:
    registers = " and ".join(map(str, step.src))
    arguments = ", ".join(str(value) if isinstance(value, int) else f"{value:g}" for value in step.args)
    return f"of {registers}", level, arguments


def _lines(*lines: str) -> tuple[str, ...]:
    return tuple(line for line in lines if line)
