"""The gallery as a page: cards that open to programs.

    parts -> sections of rows of cards -> document
Rule: there is no script; a card is a details element, which opens by itself.
"""

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mixbake.audit.document import Section, write_document
from mixbake.audit.markup import Html, tag, together
from mixbake.audit.plates import REDUCED, plate, show_figure, show_image
from mixbake.audit.steps import program_cells
from mixbake.bake.sheet import Cell
from mixbake.core.variant import Variant, to_json
from mixbake.gallery.exhibits import BY_HAND, Exhibit, Part
from mixbake.gallery.subject import Subject

GENERATOR = "mixbake recipes gallery"


def write_page(subject: Subject, title: str, told: str, parts: Sequence[Part]) -> bytes:
    """The page, UTF-8. told: a sentence below the title."""
    return write_document(
        title,
        generator=GENERATOR,
        opening=[tag("p", told, class_="lede"), tag("p", _HINT, class_="legend")],
        sections={part.topic: Section(heading=part.heading, body=_part(subject, part)) for part in parts},
    )


_HINT = "Open a picture to see its program: the JSON that mixbake stores beside every picture, from which it is made."


def _part(subject: Subject, part: Part) -> Html:
    rows = []
    for row in part.rows:
        name, *rest = row.name
        also = tag("small", " · ".join(rest)) if rest else ""
        cards = tag("div", *(_card(subject, name, one) for one in row.exhibits), class_="cards")
        rows.append(tag("div", tag("h3", name, " " if rest else "", also), tag("p", row.note), cards, class_="row"))
    return together([tag("p", part.note), *rows])


def _card(subject: Subject, name: str, one: Exhibit) -> Html:
    pixels = subject.render(one.variant)
    shown = show_image(plate(Cell(pixels=pixels, lines=(one.title,)), enlarged=REDUCED), alt=f"{name}: {one.title}")
    lines = [tag("b", one.title), *(tag("span", line) for line in one.lines)]
    summary = tag("summary", tag("span", shown, class_="pictures"), tag("span", *lines, class_="lines"))
    return tag("details", summary, tag("div", *_opened(subject, one.variant), class_="strip"), class_="exhibit")


def _opened(subject: Subject, variant: Variant) -> Iterator[Html]:
    """Every register of what a recipe drew; the program of everything."""
    if variant.recipe != BY_HAND:
        cells = program_cells(
            variant,
            lambda steps: subject.render(replace(variant, steps=variant.steps[:steps])),
            subject.window(variant),
            subject.picture_name(variant),
        )
        yield tag("ol", *(tag("li", show_figure(plate(cell))) for cell in cells))
    yield tag("pre", tag("code", Html(html.escape(spell_program(variant)))))


def spell_program(variant: Variant) -> str:
    """The JSON of a variant, a field and a step a line."""
    document = json.loads(to_json(variant))
    steps = ",".join(f"\n    {json.dumps(step)}" for step in document.pop("steps"))
    fields = "".join(f"  {json.dumps(name)}: {json.dumps(value)},\n" for name, value in document.items())
    end = "\n  " if steps else ""
    return f'{{\n{fields}  "steps": [{steps}{end}]\n}}'
