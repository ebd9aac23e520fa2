"""A dataset card for the Hugging Face hub: README.md with a YAML head, which names the shards as data files.

Rule: every text in the head is a quoted scalar and every one below is escaped, so that no name can add a field, a
link or markup.
"""

import json
import re
from collections.abc import Iterator, Sequence

from mixbake.export.bakes import Described
from mixbake.storage.card import card_facts, escape_markdown, warnings_of

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
"""The hub's names of sizes; each is ten times the one before."""
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
"""What an SPDX identifier looks like."""
MOST_CLASSES = 1000


def write_hub_card(described: Described) -> bytes:
    """The card, UTF-8."""
    lines = ["---", *_head(described), "---", "", *_body(described), ""]
    return "\n".join(lines).encode()


def size_category(samples: int) -> str:
    """The hub's name for so many samples."""
    return SIZES[min(max(len(str(samples)) - 3, 0), len(SIZES) - 1)]


def _head(described: Described) -> Iterator[str]:
    plan, document = described.bake.plan, described.bake.finished.document
    yield f"pretty_name: {_quoted(described.name)}"
    yield from _licence_lines(described.licence)
    yield "task_categories: [image-classification]"
    yield f"size_categories: [{_quoted(size_category(document['samples']))}]"
    yield "tags: [webdataset, data-augmentation, mixbake]"
    yield "configs:"
    for view in dict.fromkeys(view for view, _ in plan.outputs(0, 0)):
        yield f"- config_name: {view}"
        if view == "mix":
            yield "  default: true"
        yield "  data_files:"
        yield "  - split: train"
        yield f"    path: {_quoted(f'{view}/*/*.tar')}"


def _licence_lines(licence: str | None) -> list[str]:
    """Identifiers as the hub spells them, in small letters; other texts as the name of another licence."""
    if licence is None:
        return []
    if IDENTIFIER.fullmatch(licence):
        return [f"license: {_quoted(licence.lower())}"]
    return ["license: other", f"license_name: {_quoted(licence)}"]


def _quoted(text: str) -> str:
    """A double-quoted scalar of YAML 1.2, of which JSON's strings are some."""
    return json.dumps("".join(letter if letter.isprintable() else " " for letter in text), ensure_ascii=False)


def _body(described: Described) -> Iterator[str]:
    bake, plan = described.bake, described.bake.plan
    document = bake.finished.document
    yield f"# {escape_markdown(described.name)}"
    yield from (
        "",
        "Augmented pictures for training image classifiers, baked ahead of time by mixbake: several variants of every",
        "image of a source, each with the program that made it.",
        "",
        "## What is in it",
        "",
        *_table(("what", "value"), [(name, str(value)) for name, value in card_facts(plan, document, described.given)]),
        "",
        *warnings_of(plan),
        "## Recipe",
        "",
        "```json",
        json.dumps(dict(plan.recipe), indent=1, sort_keys=True).replace("```", "'''"),
        "```",
        "",
        "## Where it comes from",
        "",
        *_table(
            ("what", "SHA-256"),
            [
                ("source: paths, sizes, labels", f"`{escape_markdown(plan.source)}`"),
                ("prepared mixing pictures", f"`{plan.mixing}`" if plan.mixing else "none"),
                ("manifest.json, the plan", f"`{bake.plan_digest}`"),
                ("bake.json, the bake digest", f"`{bake.digest}`"),
            ],
        ),
        "",
        "The bake digest stands for every byte: bake.json names the SHA-256 of every receipt, receipts that of every",
        f"tar. `mixbake verify --full --digest {bake.digest}` compares them all.",
        "",
        "## Files",
        "",
        f"`mix/vNNN/BBBBBB.tar` holds variant NNN of each image of block BBBBBB: KEY.{plan.extension}, KEY.cls (the",
        "label) and KEY.json (the program), as WebDataset reads them. `index/*.parquet` has a row a picture,",
        "`images.parquet` a row an image of the source.",
        "",
        "## Classes",
        "",
    )
    yield from _classes(plan.classes)
    yield from ("", "## Licence", "", _licence_words(described.licence))


def _classes(names: Sequence[str]) -> Iterator[str]:
    rows = [(str(label), escape_markdown(name)) for label, name in enumerate(names[:MOST_CLASSES])]
    yield from _table(("label", "class"), rows)
    if len(names) > MOST_CLASSES:
        yield from ("", f"and {len(names) - MOST_CLASSES:,} more, in manifest.json.")


def _licence_words(licence: str | None) -> str:
    if licence is None:
        return "Unknown: nobody has stated one. It is that of the source and of the mixing set; this bake adds none."
    return f"As stated by who published this: {escape_markdown(licence)}."


def _table(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
