"""Promises of markup: whatever a text is, it stays a text, and scripts read what was meant."""

import html
import html.parser
import json

from hypothesis import example, given
from hypothesis import strategies as st

from mixbake.audit.faults import plain
from mixbake.audit.markup import script_data, tag, text

TEXTS = st.text(max_size=60) | st.sampled_from(["</script>", "<!--", "\u2028", "\u202e", "'\"&<>", "\x1b[2J", "]]>"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


class Elements(html.parser.HTMLParser):
    """What a parser makes of markup."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        self.words += data


@given(TEXTS, TEXTS)
@example("<img src=x onerror=alert(1)>", '"><script>')
def test_texts_become_neither_elements_nor_attributes(inside: str, attribute: str) -> None:
    made = Elements(tag("p", "one ", inside, title=attribute, hidden=False, open=True))
    assert made.found == [("p", {"title": plain(attribute), "open": None})]
    assert made.words == f"one {plain(inside)}"
    assert str(text(inside)).isprintable() or not inside


@given(VALUES)
def test_data_for_scripts_is_the_value_and_ends_nothing(value: object) -> None:
    written = script_data(value)
    assert json.loads(written) == value
    assert written.isascii()
    assert not set("<>&\n\r") & set(written)
