"""Contact sheets of a sample: variants with their captions, each beside its crop where that is known.

Rule: names come from a stranger's bake: what a browser or a viewer could obey is escaped, and the page loads
nothing from anywhere.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixbake.audit.faults import plain
from mixbake.audit.samples import Record
from mixbake.bake.sheet import Cell, Row, draw_sheet
from mixbake.errors import UsageError

Bytes = NDArray[np.uint8]
MOST = 1000
"""Variants on a sheet."""
COLUMNS = 8
MIME = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
"""By extension: what a browser shows as it is stored."""

_STYLE = """
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem; overflow-wrap: anywhere; } h1 { font-size: 1.1rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, min(100%, WIDTHpx)); gap: 1.2rem 2rem; }
figure { margin: 0; }
img { width: SIDEpx; height: SIDEpx; image-rendering: RENDERING; margin-right: 6px; }
figcaption { font-size: 12px; } b { font-weight: 600; } figcaption span { opacity: .75; }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1><p>{subtitle}</p><main>
{figures}
</main></body></html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A variant on a sheet, and its crop as uint8 S×S×3, or None where that is not known."""

    record: Record
    crop: Bytes | None


def draw_png(title: Sequence[str], shown: Sequence[Shown], *, size: int) -> bytes:
    """PNG of all variants, the crop at the left of each. Raises UsageError for more than MOST."""
    _check(shown)
    cells = [cell for one in shown for cell in _cells(one)]
    rows = [Row(name="", cells=tuple(cells[i : i + COLUMNS])) for i in range(0, len(cells), COLUMNS)]
    return draw_sheet([plain(line) for line in title], rows, size=size)


def write_page(title: Sequence[str], shown: Sequence[Shown], *, size: int) -> bytes:
    """A page of all variants that needs nothing else, UTF-8. Raises UsageError for more than MOST."""
    _check(shown)
    pair = 2 if any(one.crop is not None for one in shown) else 1
    return lay_out(title, [_figure(one) for one in shown], size=size, images=pair)


def lay_out(title: Sequence[str], figures: Sequence[str], *, size: int, images: int) -> bytes:
    """A page of figures, UTF-8. title: two lines. size: of the pictures in pixels; images: most in a figure."""
    side = size * max(1, 128 // size) if size <= 128 else 224
    style = _STYLE.replace("WIDTH", str(images * (side + 8))).replace("SIDE", str(side))
    first, second = (html.escape(plain(line)) for line in title)
    return _PAGE.format(
        title=first,
        subtitle=second,
        style=style.replace("RENDERING", "pixelated" if size <= 128 else "auto"),
        figures="\n".join(figures),
    ).encode()


def caption(record: Record) -> list[str]:
    """Key, class, what was done, and to which source: lines that a terminal shows and does not obey."""
    row = record.row
    levels = ", ".join(f"{level:.3g}" for level in row["levels"] if level)
    layer = f"layer {row['layer']}" if row["layer"] is not None else row["view"]
    done = " ".join(dict.fromkeys(row["ops"]))
    lines = [record.key, row["class"], f"{layer} {done}", levels, " + ".join(row["blends"])]
    return [plain(line) for line in (*lines, row["source"].rpartition("/")[2]) if line]


def _check(shown: Sequence[Shown]) -> None:
    if not 0 < len(shown) <= MOST:
        raise UsageError(f"a sheet shows 1 to {MOST:,} variants, not {len(shown):,}: take another -n, or a folder")


def _cells(one: Shown) -> list[Cell]:
    variant = Cell(pixels=one.record.pixels, lines=tuple(caption(one.record)))
    return [variant] if one.crop is None else [Cell(pixels=one.crop, lines=("crop",)), variant]


def _figure(one: Shown) -> str:
    first, *rest = (html.escape(line) for line in caption(one.record))
    crop = "" if one.crop is None else image_tag("crop", one.crop)
    lines = "".join(f"<br><span>{line}</span>" for line in rest)
    images = f"{crop}{image_tag(one.record.key, one.record)}"
    return f"<figure>{images}<figcaption><b>{first}</b>{lines}</figcaption></figure>"


def image_tag(alt: str, picture: Record | Bytes) -> str:
    """An <img> that holds its picture: as it is stored where browsers show that, else as PNG."""
    if isinstance(picture, Record) and picture.extension in MIME:
        data = _data(picture.picture, MIME[picture.extension])
    else:
        data = _data(_png(picture.pixels if isinstance(picture, Record) else picture))
    return f'<img alt="{html.escape(plain(alt))}" src="{data}">'


def _data(picture: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(picture).decode()}"


def _png(pixels: Bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
