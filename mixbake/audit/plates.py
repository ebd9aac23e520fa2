"""Pictures ready for a page: a cell of a sheet as a small file, and as elements.

Rule: up to EXACT pixels a picture is shown to the pixel; what is larger is reduced, and only shown.
"""

import io
from dataclasses import dataclass

from PIL import Image

from mixbake.audit.markup import Html, data_address, tag
from mixbake.bake.sheet import Box, Cell

EXACT = 64
"""Greatest side in pixels of pictures that are shown to the pixel, as PNG."""
REDUCED, QUALITY = 160, 85
"""Greatest side in pixels of all other pictures, and their JPEG quality."""
ENLARGED = 96
"""Width in CSS pixels at which small pictures are usually shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """A picture ready for a page, or an empty place.

    data: the file, or None; mime: its kind. width, height: in CSS pixels; exact: to the pixel, enlarged with hard
    edges. lines: what it is. box: (left, top, width, height) to be framed, in CSS pixels.
    """

    data: bytes | None
    mime: str
    width: int
    height: int
    exact: bool
    lines: tuple[str, ...]
    box: tuple[float, float, float, float] | None


def show_figure(one: Plate) -> Html:
    """The picture with its lines below it, or an empty place."""
    first, *rest = one.lines
    shown = tag("span", "not at hand", class_="empty") if one.data is None else show_image(one, alt=first)
    lines = [tag("b", first), *(tag("span", line) for line in rest)]
    return tag("figure", shown, tag("figcaption", *lines))


def show_image(one: Plate, *, alt: str) -> Html:
    """The picture alone, or an empty place."""
    if one.data is None:
        return tag("span", "no crop", class_="empty")
    shown = tag(
        "img",
        src=data_address(one.data, one.mime),
        alt=alt,
        width=one.width,
        height=one.height,
        class_="exact" if one.exact else None,
        decoding="async",
    )
    if one.box is None:
        return shown
    left, top, width, height = (f"{value:.1f}" for value in one.box)
    frame = tag("rect", x=left, y=top, width=width, height=height)
    box = tag("svg", frame, viewBox=f"0 0 {one.width} {one.height}", aria_hidden="true")
    return tag("span", shown, box, class_="framed")


def plate(cell: Cell, *, enlarged: int = ENLARGED) -> Plate:
    """A cell of a strip as a file: PNG to the pixel up to EXACT, else JPEG of at most REDUCED.

    enlarged: small pictures are shown so many pixels wide, or a little less: by a whole factor.
    """
    if cell.pixels is None:
        return Plate(data=None, mime="", width=enlarged, height=enlarged, exact=False, lines=cell.lines, box=None)
    height, width = cell.pixels.shape[:2]
    exact = max(height, width) <= EXACT
    scale: float = max(1, enlarged // max(height, width)) if exact else min(1.0, REDUCED / max(height, width))
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(cell.pixels)
    return Plate(
        data=_png(image) if exact else _jpeg(image.resize((wide, high), Image.Resampling.LANCZOS)),
        mime="image/png" if exact else "image/jpeg",
        width=wide,
        height=high,
        exact=exact,
        lines=cell.lines,
        box=None if cell.box is None else _scaled(cell.box, scale),
    )


def _scaled(box: Box, scale: float) -> tuple[float, float, float, float]:
    left, top, width, height = (value * scale for value in box)
    return left, top, width, height


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()
