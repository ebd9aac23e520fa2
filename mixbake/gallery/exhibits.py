"""What a gallery shows: parts, of rows, of variants with words.

Rule: a picture is rendered from the program that stands beside it, never from anything else.
"""

from dataclasses import dataclass

from mixbake.core.variant import Variant

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
