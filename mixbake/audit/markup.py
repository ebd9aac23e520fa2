"""HTML and SVG built of elements, so that no text can become markup.

Rule: whatever is not `Html` already is text; it is made one plain line (`faults.plain`) and escaped.
"""

import base64
import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from mixbake.audit.faults import plain

VOID = frozenset({"br", "img", "input", "meta"})
"""Elements of HTML that hold nothing and have no end."""
_IN_SCRIPTS = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&"}


class Html(str):
    """Markup: made by this module, or written in this package."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as escaped text, as it is said; Html stays what it is."""
    return value if isinstance(value, Html) else Html(html.escape(plain(value)))


def together(parts: Iterable[object]) -> Html:
    """Parts one after the other."""
    return Html("".join(text(part) for part in parts))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Attributes: `class_` is class, `aria_label` is aria-label; None and False leave one out."""
    given = "".join(_attribute(key, value) for key, value in attributes.items())
    inside = "" if name in VOID else f"{together(children)}</{name}>"
    return Html(f"<{name}{given}>{inside}")


def _attribute(key: str, value: object) -> str:
    name = key.removesuffix("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    # A picture's address is longer than any line of text, and made here.
    shown = value if isinstance(value, Html) else html.escape(plain(value))
    return f' {name}="{shown}"'


def data_address(data: bytes, mime: str) -> Html:
    """A file as an address that loads nothing."""
    return Html(f"data:{mime};base64,{base64.b64encode(data).decode()}")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, caption: str, numbers: int = 0) -> Html:
    """A table in a frame that scrolls by itself where it is too wide; the first cell of a row names the row.

    rows: one of a single cell is a heading of those below it. numbers: how many columns at the right hold numbers.
    """
    first = len(head) - numbers

    def line(cells: Sequence[object], names: tuple[str, str]) -> Html:
        if len(cells) == 1 < len(head):
            return tag("tr", tag("th", cells[0], colspan=len(head), scope="colgroup"), class_="group")
        made = (
            tag(
                names[column > 0],
                cell,
                scope=("col" if names[1] == "th" else "row") if names[column > 0] == "th" else None,
                class_="number" if column >= first else None,
            )
            for column, cell in enumerate(cells)
        )
        return tag("tr", *made)

    body = tag("tbody", *(line(row, ("th", "td")) for row in rows))
    whole = tag("table", tag("thead", line(head, ("th", "th"))), body, aria_label=caption)
    # No caption element: it would be as wide as the table, and scroll away with it.
    frame = tag("div", whole, class_="wide", role="region", aria_label=caption, tabindex="0")
    return tag("div", tag("p", caption, class_="caption"), frame, class_="table")


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Names and what is said of them."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))


def listed(items: Iterable[object]) -> Html:
    """A list."""
    return tag("ul", *(tag("li", item) for item in items))


def script_data(value: Any) -> Html:
    """JSON to stand inside a script element: ASCII, and nothing in it can end the element."""
    return Html(json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_IN_SCRIPTS))
