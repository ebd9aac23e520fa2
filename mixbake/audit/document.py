"""A page as one file that a browser shows without asking anybody for anything.

    heading, sections -> head with a content security policy, style and script named by their SHA-256
Rule: the same parts give the same bytes; everything can be read without a script, and printed.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from mixbake import __version__
from mixbake.audit.markup import Html, tag

BEGINNING = 2048
"""Bytes within which a page says what made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page with its heading."""

    heading: str
    body: Html


def signature(generator: str) -> bytes:
    """What stands in the beginning of every page of that maker."""
    return f'<meta name="generator" content="{generator}'.encode()


def write_document(
    title: str,
    *,
    generator: str,
    opening: Iterable[Html],
    sections: Mapping[str, Section],
    summary: Html | None = None,
    after: Iterable[Html] = (),
    script: str | None = None,
) -> bytes:
    """The page, UTF-8.

    generator: who made it. opening: below the title. sections: by the name that links lead to. summary: before them,
    without a link. after: below the footer. script: its name among the assets.
    """
    style, code = _asset("page.css"), _asset(script) if script else ""
    links = tag("ul", *(tag("li", tag("a", one.heading, href=f"#{name}")) for name, one in sections.items()))
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#main", class_="skip"),
        tag("header", tag("h1", title), *opening, tag("nav", links, aria_label="Sections")),
        tag("main", summary or "", *map(_section, sections, sections.values()), id="main", tabindex="-1"),
        tag("footer", tag("p", f"Made by mixbake {__version__}. This page loads nothing from anywhere.")),
        *after,
        tag("script", Html(code)) if code else "",
    )
    return f'<!doctype html>\n<html lang="en">{_head(title, generator, style, code)}\n{body}</html>\n'.encode()


def _asset(name: str) -> str:
    return files("mixbake.audit").joinpath("assets", name).read_text("utf-8")


def _section(name: str, one: Section) -> Html:
    heading = f"{name}-heading"
    return tag("section", tag("h2", one.heading, id=heading), one.body, id=name, aria_labelledby=heading)


def _head(title: str, generator: str, style: str, script: str) -> Html:
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
    policy += f"script-src {_hash(script)}; " if script else ""
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="generator", content=f"{generator} {__version__}"),
        tag("meta", http_equiv="Content-Security-Policy", content=Html(f"{policy}base-uri 'none'; form-action 'none'")),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(style)),
    )


def _hash(contents: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(contents.encode()).digest()).decode()}'"
