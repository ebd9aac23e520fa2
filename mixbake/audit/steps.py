"""A program as a row of pictures, one a register, with words for every step.

Rule: what is shown is what the renderer computes; a step is shown by rendering the program up to it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.words import spell_anchor, spell_arguments
from mixbake.bake.sheet import Cell
from mixbake.core import render
from mixbake.core.own import sources_of
from mixbake.core.variant import Crop, Number, Step, Variant

Bytes = NDArray[np.uint8]


def window_of(variant: Variant, picture: Bytes, *, size: int) -> Bytes | None:
    """Register 1 of a variant, uint8 S×S×3: a window of a prepared mixing picture, mirrored, gray; None without one."""
    if variant.picture is None:
        return None
    # Keeping all eight bits changes nothing: the one step that shows a register as it is. It needs no image.
    whole = Crop(kind="pad", left=0, top=0, width=size, height=size)
    alone = replace(variant, crop=whole, steps=(Step(do="posterize", src=(1,), args=(8,)),))
    return render.render(alone, np.zeros((size, size, 3), np.uint8), picture, size=size)


def program_cells(
    variant: Variant, after: Callable[[int], Bytes | None], picture: Bytes | None, name: str
) -> Iterator[Cell]:
    """Crop, mixing picture and steps; after(n): what the program has made after n steps, if that is known."""
    crop, names = variant.crop, step_names(variant)
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


def step_names(variant: Variant) -> list[tuple[str, str]]:
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
    return f"of {' and '.join(map(str, step.src))}", level, spell_arguments(step), spell_anchor(step)


def _lines(*lines: str) -> tuple[str, ...]:
    return tuple(line for line in lines if line)
