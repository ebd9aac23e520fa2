"""A replay as a strip of pictures: source, crop, each step with its operation and level, mixing picture, result.

Rule: what is shown is what the renderer computes; a step is shown by rendering the program up to it.
"""

from collections.abc import Iterator
from dataclasses import replace

from mixbake.audit.replay import Bytes, Replay
from mixbake.bake.sheet import Cell, Row, draw_sheet
from mixbake.core import render
from mixbake.core.ops import STEPS
from mixbake.core.variant import Number, Step, Variant

_COLUMNS = 9
"""Cells in a line: LayerMix's longest programs fill one."""


def draw_strip(replay: Replay) -> bytes:
    """The strip as PNG."""
    cells = list(_cells(replay))
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


def _cells(replay: Replay) -> Iterator[Cell]:
    variant, crop = replay.variant, replay.variant.crop
    height, width = replay.image.shape[:2]
    window = None if crop.kind == "pad" else (crop.left, crop.top, crop.width, crop.height)
    yield Cell(
        pixels=replay.image, lines=("source", replay.source.rpartition("/")[2], f"{width} x {height} px"), box=window
    )
    mirrored = "mirrored" if variant.flip else ""
    where = f"{crop.width} x {crop.height} at {crop.left}, {crop.top}"
    yield Cell(pixels=_upto(replay, 0), lines=_lines("0: crop", where, mirrored))
    shown = False
    names = _names(variant)
    for i, step in enumerate(variant.steps):
        if 1 in step.src and not shown:
            yield _picture(replay)
            shown = True
        yield Cell(pixels=_upto(replay, i + 1), lines=_lines(f"{i + 2}: {names[i][0]}", *_told(step, names[i][1])))
    told = "equal" if replay.equal else f"differs by {replay.difference}"
    yield Cell(pixels=replay.stored, lines=("result", "as stored", told))


def _upto(replay: Replay, steps: int) -> Bytes:
    """The register that a program has written last after so many steps."""
    return _rendered(replay, replace(replay.variant, steps=replay.variant.steps[:steps]))


def _rendered(replay: Replay, variant: Variant) -> Bytes:
    return render.render(variant, replay.fitted, replay.picture, size=replay.plan.size)


def _picture(replay: Replay) -> Cell:
    """Register 1, as the renderer fills it: a window of the mixing picture, mirrored, gray."""
    chosen = replay.variant.picture
    # Keeping all eight bits changes nothing: the one step that shows a register as it is.
    alone = replace(replay.variant, steps=(Step(do="posterize", src=(1,), args=(8,)),))
    if chosen is None:
        return Cell(pixels=None)
    mirrored = " and ".join(name for name, so in (("hflip", chosen.hflip), ("vflip", chosen.vflip)) if so)
    name = replay.picture_name.rpartition("/")[2]
    return Cell(
        pixels=_rendered(replay, alone), lines=_lines("1: picture", name, f"at {chosen.left}, {chosen.top}", mirrored)
    )


def _names(variant: Variant) -> list[tuple[str, str]]:
    """Of each step its operation and level, or its blend; the step's own name where the lists do not tell."""
    ops = iter(list(zip(variant.ops, variant.levels, strict=True)))
    blends = iter(variant.blends)
    single = sum(STEPS[step.do].sources == 1 for step in variant.steps)
    double = len(variant.steps) - single
    if (single, double) != (len(variant.ops), len(variant.blends)):
        return [(step.do, "") for step in variant.steps]
    return [_operation(*next(ops)) if STEPS[step.do].sources == 1 else (next(blends), "") for step in variant.steps]


def _operation(op: str, level: Number) -> tuple[str, str]:
    return op, f"level {level:g}" if level else ""


def _told(step: Step, level: str) -> tuple[str, ...]:
    registers = " and ".join(map(str, step.src))
    arguments = ", ".join(str(value) if isinstance(value, int) else f"{value:g}" for value in step.args)
    return f"of {registers}", level, arguments


def _lines(*lines: str) -> tuple[str, ...]:
    return tuple(line for line in lines if line)
