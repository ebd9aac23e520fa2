"""A replay as a strip of pictures: source, crop, each step with its operation and level, mixing picture, result.

Rule: what is shown is what the renderer computes; a step is shown by rendering the program up to it.
"""

from collections.abc import Iterator
from dataclasses import replace

from mixbake.audit.replay import Bytes, Replay
from mixbake.audit.steps import program_cells, window_of
from mixbake.bake.sheet import Cell, Row, draw_sheet
from mixbake.core import render
from mixbake.core.variant import Variant

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
    yield from program_cells(variant, after, picture, replay.picture_name)
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
    yield from program_cells(variant, lambda steps: None if steps else crop, picture, name)
    yield Cell(pixels=stored, lines=("result", "as stored"))
