"""The dataset card: README.md of a bake, in plain Markdown with a YAML head.

Rule: it says only what the plan and bake.json say; no licence is invented. Names are escaped.
"""

import json
from collections.abc import Mapping
from typing import Any

from mixbake.core.ops import tell_overlap
from mixbake.storage.plan import FLIP_WORDS, Plan, spell_mixing, spell_worth

HEAD = "---\ntags: [webdataset, image-classification, mixbake]\n---\n"
"""How every card begins that a build writes; any other README.md is somebody else's."""


def write_card(plan: Plan, document: Mapping[str, Any], given: Mapping[str, Any]) -> bytes:
    """The card of a finished bake, UTF-8."""
    lines = [
        HEAD,
        "# A mixbake bake",
        "",
        "| what | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in card_facts(plan, document, given)),
        "",
        *warnings_of(plan),
        "## Recipe",
        "",
        "```json",
        json.dumps(dict(plan.recipe), indent=1, sort_keys=True),
        "```",
        "",
        "## Layout",
        "",
        f"`mix/vNNN/BBBBBB.tar` holds number NNN of block BBBBBB: KEY.{plan.extension}, KEY.cls (the label) and",
        "KEY.json (how the picture was made). `index/*.parquet` has a row a variant, `images.parquet` a row an image.",
        "`bake.json` is written last: its SHA-256 is the bake digest and stands for every byte here.",
        "",
        "The licence of the pictures is that of their source and mixing set; this bake adds none.",
        "",
    ]
    return "\n".join(lines).encode()


def card_facts(plan: Plan, document: Mapping[str, Any], given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(what, value) of what matters most, fit for a table in Markdown; document: of bake.json."""
    views = {"mix": "mix", "jsd": "mix (two aligned views) and clean crops", "clean": "mix and clean crops"}
    source, mixing = map(escape_markdown, (str(given.get("source", "not recorded")), spell_mixing(given)))
    weights = f", by weight {' : '.join(str(weight) for _, weight in plan.mixing_sets)}" if plan.mixing_sets else ""
    facts = {
        "recipe": escape_markdown(str(plan.recipe["name"])),
        "baked": spell_worth(document["epochs_worth"]),
        "images": f"{document['images']:,} ({document['skipped']:,} skipped)",
        "samples": f"{document['samples']:,}",
        "bytes": f"{document['bytes']:,}",
        "size": f"{plan.size} × {plan.size} px, {plan.codec}" + (f" {plan.quality}" if plan.quality else ""),
        "views": views[plan.views],
        "crop": escape_markdown(plan.crop),
        "flip": FLIP_WORDS[plan.flip],
        "seed": plan.seed,
        "classes": len(plan.classes),
        "source": source,
        "mixing set": f"{mixing}, {plan.pictures:,} pictures{weights}" if plan.mixing else "none",
    }
    return list(facts.items())


def warnings_of(plan: Plan) -> list[str]:
    """What anybody who reports results on this bake should say, as lines."""
    overlap = tell_overlap(plan.recipe)
    return [f"Of its operations, {overlap}.", ""] if overlap else []


def escape_markdown(text: str) -> str:
    """Text that stays one table cell and starts no markup or link."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return "".join("\\" + letter if letter in "\\`*_{}[]<>()#|!" else letter for letter in plain)
