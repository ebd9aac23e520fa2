"""Pictures on the audit's page: cards that open to strips, and the gallery with its filters.

Rule: every strip is in the page without a script; scripts filter cards and show a strip in a dialog.
"""

from collections.abc import Sequence
from typing import Any

from mixbake.audit.gallery import Exhibit
from mixbake.audit.markup import Html, tag, text, together
from mixbake.audit.plates import show_figure, show_image

NONE = "none"
FACETS = {"class": "Class", "layer": "Layer", "op": "Operation", "blend": "Blend"}
"""What a gallery can be filtered by, and how that is called."""


def card(one: Exhibit, *, place: int | None = None, beside: bool = False, note: str = "") -> Html:
    """A variant that opens to its strip. place: in the gallery. beside: with its crop at the left; note: over all."""
    crop = one.strip[1] if beside and one.view == "mix" and len(one.strip) > 1 else None
    pictures = [show_image(plate, alt="") for plate in (crop, one.picture) if plate is not None]
    if one.picture is None:
        pictures.append(tag("span", "damaged", class_="empty"))
    lines = [
        tag("b", one.key),
        tag("span", one.kind),
        tag("span", " · ".join(_made(one))),
        *([tag("span", note, class_="note")] if note else []),
        *([] if one.sound else [tag("strong", "FAILED", class_="bad")]),
    ]
    summary = tag("summary", tag("span", *pictures, class_="pictures"), tag("span", *lines, class_="lines"))
    return tag("details", summary, strip(one), class_="exhibit pair" if crop else "exhibit", data_place=place)


def cards(made: Sequence[Html]) -> Html:
    """Cards side by side, through which a dialog goes with the arrow keys."""
    return tag("div", *made, class_="cards")


def strip(one: Exhibit) -> Html:
    """How a variant was made: words, then its pictures in order."""
    words = [tag("p", text(f"{one.kind}, from {one.source}"), class_="from"), tag("p", _verdict(one))]
    steps = tag("ol", *(tag("li", show_figure(plate)) for plate in one.strip)) if one.strip else ""
    return tag("div", *words, steps, class_="strip")


def gallery(exhibits: Sequence[Exhibit]) -> tuple[Html, dict[str, Any]]:
    """Filters and cards, and what scripts must know: of each card its values of FACETS, as numbers of options."""
    values = [_facets(one) for one in exhibits]
    options = {name: _options([value for facets in values for value in facets[name]]) for name in FACETS}
    fields = [_select(name, options[name]) for name in FACETS]
    search = tag("input", id="filter-key", type="search", autocomplete="off", spellcheck="false", size="14")
    fields.append(tag("label", tag("span", "Key"), search, for_="filter-key"))
    fields.append(tag("button", "Show all", type="button", id="filter-none"))
    count = tag("output", f"{len(exhibits):,} variants", id="filter-count", aria_live="polite")
    form = tag("form", *fields, count, id="filters", hidden=True, role="search", aria_label="Filter the gallery")
    made = [card(one, place=place) for place, one in enumerate(exhibits)]
    known = [
        {"key": one.key, **{name: [options[name].index(value) for value in facets[name]] for name in FACETS}}
        for one, facets in zip(exhibits, values, strict=True)
    ]
    return together([form, tag("div", cards(made), id="gallery-cards")]), {"gallery": known}


def dialog() -> Html:
    """Where scripts show a strip."""
    buttons = [
        tag("button", "Previous", type="button", id="dialog-previous"),
        tag("button", "Next", type="button", id="dialog-next"),
        tag("button", "Close", type="button", id="dialog-close"),
    ]
    head = tag(
        "div", tag("h2", "", id="dialog-key", tabindex="-1"), tag("div", *buttons, class_="buttons"), class_="head"
    )
    hint = tag("p", "Arrow keys: previous and next. Escape: close.", class_="hint")
    return tag("dialog", head, tag("div", id="dialog-strip"), hint, id="dialog", aria_labelledby="dialog-key")


def _facets(one: Exhibit) -> dict[str, tuple[str, ...]]:
    layer = NONE if one.layer is None else str(one.layer)
    return {
        "class": (one.kind,),
        "layer": (layer,),
        "op": tuple(dict.fromkeys(one.ops)) or (NONE,),
        "blend": tuple(dict.fromkeys(one.blends)) or (NONE,),
    }


def _options(values: Sequence[str]) -> list[str]:
    """Different values in order; none at the end."""
    return sorted(set(values), key=lambda value: (value == NONE, value))


def _select(name: str, options: Sequence[str]) -> Html:
    choices = [tag("option", "all", value=""), *(tag("option", one, value=place) for place, one in enumerate(options))]
    control = tag("select", *choices, id=f"filter-{name}", data_facet=name)
    return tag("label", tag("span", FACETS[name]), control, for_=f"filter-{name}")


def _made(one: Exhibit) -> list[str]:
    """Layer, operations and blends in few words."""
    layer = f"layer {one.layer}" if one.layer is not None else one.view
    return [layer, *dict.fromkeys(one.ops), *([" + ".join(one.blends)] if one.blends else [])]


def _verdict(one: Exhibit) -> Html:
    if not one.sound:
        return together([tag("strong", "FAILED", class_="bad"), f": {one.verdict}"])
    if one.replayed:
        return text(f"Made again from its source: {one.verdict}.")
    words = "Not made again; shown is what the bake holds, and empty places for the rest."
    return text(f"{words} Reason: {one.missing}")
