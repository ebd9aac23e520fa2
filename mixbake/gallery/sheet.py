"""The gallery as one picture: a contact sheet with headings, two rows side by side.

Rule: small pictures are enlarged by a whole factor; captions are short, the page has the rest. Colours are rounded
to multiples of COARSE, which nobody sees and saves a quarter of the file: 0 and 255 are such.
"""

from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

from mixbake.bake.sheet import INK, PALE, PAPER, encode, fitting, paste
from mixbake.gallery.exhibits import Part, Row
from mixbake.gallery.subject import Subject

WIDTH = 1600
ACROSS = 6
"""Pictures of a row; of longer rows the first ones are shown."""
SIDE, PITCH, LABEL, MARGIN = 96, 102, 158, 18
LETTER, LARGE, HUGE = 14, 22, 28
CAPTION = LETTER + 8
COARSE = 5
CAPTIONED = frozenset({"operations", "blends"})
"""Parts whose pictures have captions."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_gallery(subject: Subject, title: str, told: str, parts: Sequence[Part]) -> bytes:
    """The sheet as PNG, WIDTH pixels wide."""
    lines = [list(_lines(part.rows)) for part in parts]
    heights = [LARGE + 36 + _step(part) * len(found) for part, found in zip(parts, lines, strict=True)]
    top = MARGIN + HUGE + LARGE + 20
    sheet = Image.new("RGB", (WIDTH, top + sum(heights)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for down, words, ink, letter in ((MARGIN - 4, title, INK, HUGE), (MARGIN + HUGE + 6, told, PALE, LETTER + 2)):
        font = ImageFont.load_default(letter)
        pen.text((MARGIN, down), fitting(words, font, WIDTH - 2 * MARGIN), ink, font)
    for part, found, height in zip(parts, lines, heights, strict=True):
        pen.text((MARGIN, top), part.heading, INK, ImageFont.load_default(LARGE))
        pen.line((MARGIN, top + LARGE + 8, WIDTH - MARGIN, top + LARGE + 8), PALE)
        for i, line in enumerate(found):
            for column, row in enumerate(line):
                place = MARGIN + column * (WIDTH - MARGIN) // 2, top + LARGE + 20 + i * _step(part)
                _draw_row(sheet, subject, row, place, captions=part.topic in CAPTIONED)
        top += height
    return encode(sheet.point([(value + COARSE // 2) // COARSE * COARSE for value in range(256)] * 3))


def _step(part: Part) -> int:
    return SIDE + 8 + CAPTION * (part.topic in CAPTIONED)


def _lines(rows: Sequence[Row]) -> Iterator[tuple[Row, ...]]:
    """Two rows a line; rows of one name begin a line, so that they stand side by side."""
    line: list[Row] = []
    for row in rows:
        begins = sum(one.name[0] == row.name[0] for one in rows) > 1 and all(one.name[0] != row.name[0] for one in line)
        if len(line) == 2 or (line and begins):
            yield tuple(line)
            line = []
        line.append(row)
    if line:
        yield tuple(line)


def _draw_row(sheet: Image.Image, subject: Subject, row: Row, place: tuple[int, int], *, captions: bool) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(LETTER)
    left, top = place
    lines = [line for words in row.name for line in _wrapped(words, font)]
    for i, line in enumerate(lines):
        height = top + SIDE // 2 - (len(lines) * (LETTER + 4)) // 2 + i * (LETTER + 4)
        pen.text((left, height), line, PALE if i else INK, font)
    for i, one in enumerate(row.exhibits[:ACROSS]):
        corner = left + LABEL + i * PITCH, top
        paste(sheet, pen, subject.render(one.variant), corner, SIDE, None)
        if captions:
            pen.text((corner[0], top + SIDE + 3), fitting(one.title, font, SIDE), INK, font)


def _wrapped(words: str, font: Font) -> Iterator[str]:
    """Names one after the other, in lines that fit the label."""
    line = ""
    for name in words.split(", "):
        longer = f"{line}, {name}" if line else name
        if line and font.getlength(longer) > LABEL - 8:
            yield f"{line},"
            longer = name
        line = longer
    yield fitting(line, font, LABEL - 8)
