"""What a gallery shows: parts, of rows, of variants with words.

Rule: a picture is rendered from the program that stands beside it, never from anything else.
"""

from dataclasses import dataclass

from mixbake.core.variant import Number, Picture, Step, Variant
from mixbake.gallery.subject import Subject

BY_HAND = "gallery"
"""Recipe of programs that no recipe has drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A variant to be shown. title: in a word or two; lines: more of it."""

    variant: Variant
    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Exhibits that belong together. name: a line each, the first of them the name; note: in sentences."""

    name: tuple[str, ...]
    note: str
    exhibits: tuple[Exhibit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the gallery. topic: a word that links lead to. note: in sentences."""

    topic: str
    heading: str
    note: str
    rows: tuple[Row, ...]


def by_hand(
    subject: Subject,
    *,
    steps: tuple[Step, ...],
    ops: tuple[str, ...] = (),
    levels: tuple[Number, ...] = (),
    blends: tuple[str, ...] = (),
    picture: Picture | None = None,
) -> Variant:
    """A variant of the crop that no recipe has drawn. picture: else the middle of the middle one, if any is read."""
    if picture is None and any(1 in step.src for step in steps):
        middle = len(subject.colour) // 2
        height, width = subject.colour.shapes[middle].tolist()
        left, top = (width - subject.size) // 2, (height - subject.size) // 2
        picture = Picture(id=middle, left=left, top=top, hflip=False, vflip=False, gray=False)
    return Variant(
        image=0,
        number=0,
        view="mix",
        recipe=BY_HAND,
        layer=None,
        ops=ops,
        levels=levels,
        blends=blends,
        crop=subject.crop,
        flip=False,
        picture=picture,
        steps=steps,
    )
