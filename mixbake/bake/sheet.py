"""Contact sheets: pictures in rows and columns, each with its caption, as one PNG.

Small pictures are enlarged by a whole factor with hard pixel edges, so that what is seen is what is stored;
large ones are reduced. Rule: pixels and text in, PNG bytes out; it knows nothing of recipes.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Bytes = NDArray[np.uint8]
Box = tuple[int, int, int, int]

READABLE, LARGEST = 112, 224
"""Least side of a cell, for pictures that are smaller, and greatest, for those that are larger; in pixels."""
CAPTION = 136
"""Least width of a column: the longest names of operations and blends fit in."""
GAP, MARGIN = 10, 14
FONTS = {True: 12, False: 15}
"""Height of the captions in pixels, under enlarged pictures and under large ones; the title's is a quarter more."""
INK, PALE, PAPER, FRAME = (24, 24, 24), (110, 110, 110), (255, 255, 255), (255, 48, 48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One picture, uint8 H x W x 3, or None for an empty place, with its lines; the first is the darkest.

    box: (left, top, width, height), in the picture's pixels, to be framed.
    """

    pixels: Bytes | None
    lines: tuple[str, ...] = ()
    box: Box | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A name at the left, and cells."""

    name: str
    cells: tuple[Cell, ...]


def cell_side(size: int) -> int:
    """Side in pixels of the cells that show pictures of `size`: the least whole multiple from READABLE on."""
    return min(size * -(-READABLE // size), LARGEST)


def draw_sheet(title: Sequence[str], rows: Sequence[Row], *, size: int) -> bytes:
    """PNG of rows of pictures of about `size` pixels under a title; lines too wide for their place are shortened."""
    side = cell_side(size)
    place = _Placement(side=side, column=max(side, CAPTION), letter=FONTS[size < READABLE])
    heights = [place.height(row) for row in rows]
    large = ImageFont.load_default(place.letter * 5 // 4)
    top = MARGIN + 2 * place.line * len(title)
    columns = max(len(row.cells) for row in rows)
    sheet = Image.new("RGB", (place.left(columns) - GAP + MARGIN, top + sum(heights) + MARGIN - GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, line in enumerate(title):
        pen.text((MARGIN, MARGIN + i * place.line * 3 // 2), fitting(line, large, sheet.width - 2 * MARGIN), INK, large)
    for row, height in zip(rows, heights, strict=True):
        _draw_row(sheet, pen, row, top, place)
        top += height
    return encode(sheet, level=1)


def encode(sheet: Image.Image, *, level: int = 9) -> bytes:
    """A finished sheet as PNG."""
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", compress_level=level)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placement:
    """Sizes of a sheet in pixels: side of a cell, width of a column, height of the letters."""

    side: int
    column: int
    letter: int

    @property
    def line(self) -> int:
        return self.letter * 5 // 4

    @property
    def labels(self) -> int:
        return self.letter * 6

    def left(self, column: int) -> int:
        return MARGIN + self.labels + column * (self.column + GAP)

    def height(self, row: Row) -> int:
        return self.side + 4 + self.line * max(len(cell.lines) for cell in row.cells) + GAP


def _draw_row(sheet: Image.Image, pen: ImageDraw.ImageDraw, row: Row, top: int, place: _Placement) -> None:
    font = ImageFont.load_default(place.letter)
    pen.text((MARGIN, top + (place.side - place.line) // 2), fitting(row.name, font, place.labels - 6), INK, font)
    for i, cell in enumerate(row.cells):
        left = place.left(i)
        if cell.pixels is not None:
            paste(sheet, pen, cell.pixels, (left, top), place.side, cell.box)
        for k, line in enumerate(cell.lines):
            corner = (left, top + place.side + 4 + k * place.line)
            pen.text(corner, fitting(line, font, place.column), PALE if k else INK, font)


def paste(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, pixels: Bytes, place: tuple[int, int], side: int, box: Box | None
) -> None:
    """Put a picture into a square of that side, its proportions kept."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        scale = int(scale)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    kernel = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BILINEAR
    sheet.paste(Image.fromarray(pixels).resize(shape, kernel), place)
    if box is not None:
        left, top, wide, high = (round(value * scale) for value in box)
        corner = place[0] + left, place[1] + top
        pen.rectangle((*corner, corner[0] + max(1, wide) - 1, corner[1] + max(1, high) - 1), outline=FRAME)


def fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shorten text to one line of at most `width` pixels: its middle gives way, unprintable letters become `?`."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    if font.getlength(plain) <= width:
        return plain
    cuts = (plain[: (n + 1) // 2] + "..." + plain[len(plain) - n // 2 :] for n in range(len(plain) - 1, 0, -1))
    return next((cut for cut in cuts if font.getlength(cut) <= width), "")
