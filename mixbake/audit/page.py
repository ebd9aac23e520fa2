"""The audit's page.

    report -> summary and sections -> document
Rule: the same report gives the same bytes; everything can be read without a script, and printed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mixbake.audit.contents import Contents, Share, spell_code
from mixbake.audit.document import BEGINNING, Section, signature, write_document
from mixbake.audit.faults import plain
from mixbake.audit.markup import Html, facts, listed, script_data, table, tag, text, together
from mixbake.audit.page_gallery import dialog, gallery
from mixbake.audit.page_signals import show_classes, show_signals
from mixbake.audit.plates import EXACT
from mixbake.audit.plots import chart
from mixbake.audit.report import Report
from mixbake.audit.statistics import ALPHA, Test
from mixbake.core.ops import parameters_of
from mixbake.storage.plan import FLIP_WORDS, spell_mixing, spell_worth

GENERATOR = "mixbake audit"
MOST_FAULTS = 500
"""Faults listed."""
PASSED, FAILED, OPEN, CALM = "passed", "FAILED", "not tested", "nothing stands out"
_UNDONE = "Could not be done: the summary says why."
_NO_TESTS = "This recipe leaves nothing to chance that could be tested."
_UNSTATED = (
    "Of what the recipe draws itself no laws are known: only crops, flips and mixing pictures were tested, not its "
    "programs."
)
SECTIONS = {
    "integrity": "Integrity",
    "distribution": "Distribution",
    "contents": "Contents",
    "signals": "Signals",
    "gallery": "Gallery",
    "plan": "Plan and environment",
}


def is_page(path: Path) -> bool:
    """Whether a file is a page of `write_page`."""
    with path.open("rb") as file:
        return signature(GENERATOR) in file.read(BEGINNING)


def write_page(report: Report) -> bytes:
    """The page, UTF-8."""
    pictures, known = _gallery(report)
    bodies = {
        "integrity": _integrity(report),
        "distribution": _distribution(report),
        "contents": _contents(report),
        "signals": _signals(report),
        "gallery": pictures,
        "plan": _plan(report),
    }
    return write_document(
        f"Audit of {Path(report.shards).resolve().name}",
        generator=GENERATOR,
        opening=_opening(report),
        summary=_summary(report),
        sections={name: Section(heading=SECTIONS[name], body=body) for name, body in bodies.items()},
        after=[dialog(), tag("script", script_data(known), type="application/json", id="known")],
        script="page.js",
    )


def _opening(report: Report) -> Iterable[Html]:
    contents = report.contents
    if contents is not None:
        plan = contents.plan
        images = f"{spell_worth(contents.worth)} of {contents.images:,} images at {plan['size']} px"
        made = f"{plan['recipe']['name']}, {images}: {contents.samples:,} samples."
        yield tag("p", made, class_="lede")
    yield tag(
        "p", "Bake digest ", tag("code", report.verified.digest or "unknown: bake.json is damaged"), class_="digest"
    )


# ── summary ───────────────────────────────────────────────────────────────────────────────────────


def _summary(report: Report) -> Html:
    verdicts = [
        _verdict("Integrity", PASSED if report.intact else FAILED, _integrity_words(report), "integrity"),
        _verdict("Distribution", *_distribution_words(report), "distribution"),
        _verdict("Signals", *_signal_words(report), "signals"),
    ]
    head = "Part", "On", "How"
    looked = table(head, _looked_at(report), caption="What was looked at, and what was not")
    parts: list[object] = [tag("h2", "Summary", id="summary-heading"), tag("div", *verdicts, class_="verdicts")]
    if report.undone:
        parts.append(tag("h3", "What could not be done"))
        parts.append(listed(f"{one.part}: {one.reason}" for one in report.undone))
    return tag("section", *parts, looked, id="summary", aria_labelledby="summary-heading")


def _verdict(name: str, word: str, words: str, place: str) -> Html:
    kind = {PASSED: "good", FAILED: "bad"}.get(word, "plain" if word == CALM else "neutral")
    link = tag("a", name, href=f"#{place}")
    return tag(
        "div", tag("h3", link), tag("p", tag("strong", word), class_="word"), tag("p", words), class_=f"verdict {kind}"
    )


def _integrity_words(report: Report) -> str:
    if report.intact:
        depth = (
            "every byte, record and index row" if report.verified.level == "full" else "promises and sizes of all files"
        )
        again = (
            f"{report.replayed:,} variants made again, as stored" if report.replayed else "no variant was made again"
        )
        return f"No damage found: {depth}; {again}."
    return f"{len(report.verified.faults) + len(report.unsound) + sum(one.damage for one in report.undone):,} faults."


def _distribution_words(report: Report) -> tuple[str, str]:
    if not report.tests:
        return OPEN, _NO_TESTS if report.tests is not None else _UNDONE
    if failed := report.failed_tests:
        return FAILED, f"{len(failed):,} of {len(report.tests):,} tests: {', '.join(test.name for test in failed)}."
    return PASSED, f"All {len(report.tests):,} tests against the recipe's exact probabilities."


def _signal_words(report: Report) -> tuple[str, str]:
    if over := report.stands_out:
        return FAILED, f"{', '.join(over)}, as --fail-on asked."
    if report.signals is None:
        return "not measured", _UNDONE
    found = [f"{name} {value:,.4g}" for name, value in report.signals.named.items() if value]
    if found:
        return (
            "to be looked at",
            f"{', '.join(found)}. Signals inform: only those named with --fail-on can fail a bake.",
        )
    return (
        CALM,
        f"On {report.signals.measured:,} variants. Signals inform: only those named with --fail-on can fail a bake.",
    )


def _looked_at(report: Report) -> Iterable[tuple[object, ...]]:
    verified, signals, asked = report.verified, report.signals, report.asked
    full = verified.level == "full"
    left = "not done: --full does it"
    yield (
        "Promises and sizes",
        f"{verified.files:,} files, {verified.bytes:,} bytes",
        "every file that bake.json stands for",
    )
    yield "Bytes", f"{verified.read:,} hashed" if full else left, "SHA-256 of shards and indexes"
    yield "Records", f"{verified.samples:,} compared" if full else left, "header, label, JSON, index row of each"
    again = f"{report.replayed:,} variants" if report.replayed else "not done"
    yield "Made again", again, "rendered from source and program, compared with the stored picture"
    draws = max((test.n for test in report.tests or ()), default=0)
    tests = "not done" if report.tests is None else f"{len(report.tests):,} tests on up to {draws:,} draws"
    yield "Distribution", tests, f"by the indexes; family-wise error {ALPHA:g}, after Holm"
    measured = "not done" if signals is None else f"{signals.measured:,} of {signals.variants:,} variants"
    yield "Signals", measured, "by their pixels"
    if signals is None or signals.against is None:
        yield "Leaks", "not done: --against DIR does it", "test pictures among the images"
    else:
        yield "Leaks", f"{signals.against_pictures:,} test pictures", signals.against
    yield (
        "Gallery",
        f"{len(report.gallery):,} variants",
        f"by chance, seed {asked.seed}, over layers, operations and blends",
    )
    if report.missing:
        yield "Not at hand", listed(report.missing), "--source and --mixing-set say where they are"


# ── sections ──────────────────────────────────────────────────────────────────────────────────────


def _integrity(report: Report) -> Html:
    verified = report.verified
    found = [*verified.faults, *(one.fault for one in report.unsound)]
    faults = [(one.shard, tag("code", one.key) if one.key else "", one.fault) for one in found]
    faults += [(one.part, "", one.reason) for one in report.undone if one.damage]
    parts: list[object] = []
    if faults:
        caption = "Faults" if len(faults) <= MOST_FAULTS else f"{len(faults):,} faults, the first {MOST_FAULTS}"
        parts.append(table(("Where", "Key", "Fault"), faults[:MOST_FAULTS], caption=caption))
        advice = "mixbake build --repair, with the command that baked it, makes a damaged bake whole."
        parts.append(tag("p", advice))
    else:
        parts.append(tag("p", _integrity_words(report)))
    if verified.notes:
        parts += [tag("h3", "Worth knowing"), listed(verified.notes)]
    return together(parts)


def _distribution(report: Report) -> Html:
    if report.tests is None:
        return tag("p", _UNDONE)
    if not report.tests:
        return tag("p", _NO_TESTS)
    failed = [test.name for test in report.failed_tests]
    words = (
        f"Each test compares what the indexes hold with the recipe's exact probabilities. All {len(report.tests):,} "
        f"together are wrong about an honest bake about once in {1 / ALPHA:,.0f} (Holm's correction)."
    )
    # Asked of every bake whose recipe's laws are known.
    if not any(test.name == "steps" for test in report.tests):
        words += f" {_UNSTATED}"
    head = "Test", "Verdict", "Kind", "n", "Statistic", "Freedom", "p"
    overview = table(head, map(_test_row, report.tests), caption="Tests against the recipe", numbers=4)
    details = [
        tag(
            "details",
            tag("summary", test.name, " ", _word(test)),
            tag("p", _test_words(test)),
            chart(test.cells, name=test.name),
            class_="test",
            open=test.name in failed,
        )
        for test in report.tests
    ]
    return together([tag("p", words), overview, tag("h3", "Seen and expected"), *details])


def _word(test: Test) -> Html:
    return tag("strong", PASSED if test.passed else FAILED, class_="good" if test.passed else "bad")


def _test_row(test: Test) -> tuple[object, ...]:
    freedom = "–" if test.freedom is None else f"{test.freedom:,}"
    return test.name, _word(test), test.kind, f"{test.n:,}", f"{test.value:.4g}", freedom, _p(test.p)


def _test_words(test: Test) -> str:
    return f"{test.kind}, on {test.n:,} independent draws; p = {_p(test.p)}."


def _p(value: float) -> str:
    return "under 1e-300" if value < 1e-300 else f"{value:.3g}"


def _contents(report: Report) -> Html:
    contents, signals = report.contents, report.signals
    parts: list[object] = []
    if contents is None:
        parts.append(tag("p", _UNDONE))
    else:
        parts.append(facts(_counted(contents)))
        shares = {"Layer": contents.layers, "Operation": contents.ops, "Blend": contents.blends}
        tables = [_shares(name, found) for name, found in shares.items() if found]
        parts.append(tag("div", *tables, class_="columns"))
    if signals is not None:
        parts += [tag("h3", "Classes"), show_classes(signals)]
    return together(parts)


def _counted(contents: Contents) -> Iterable[tuple[str, object]]:
    yield "Images", f"{contents.images:,} baked, {contents.skipped:,} skipped"
    yield "Samples", f"{contents.samples:,}, {spell_worth(contents.worth)}"
    one = contents.per_class
    each = f"{one.least:,} to {one.most:,} images, median {one.median:,g}"
    yield "Classes", f"{contents.classes:,}, with {each if one.least < one.most else f'{one.most:,} images each'}"
    yield "Bytes in tars", f"{contents.bytes:,}, of them {contents.payload:,} of pictures"
    if contents.mixing:
        uses = f"each {contents.uses.least:,} to {contents.uses.most:,} times"
        yield "Mixing pictures", f"{contents.pictures:,}, {contents.used:,} of them used, {uses}"


def _shares(name: str, shares: Mapping[str, Share]) -> Html:
    rows = [(key, f"{one.count:,}", f"{one.share:.1%}") for key, one in shares.items()]
    return table((name, "Uses", "Share"), rows, caption=f"{name}s", numbers=2)


def _signals(report: Report) -> Html:
    if report.signals is None:
        return tag("p", _UNDONE)
    return show_signals(report.signals, report.close_ups)


def _gallery(report: Report) -> tuple[Html, dict[str, Any]]:
    if not report.gallery:
        return tag("p", "No variants are shown."), {"gallery": []}
    words = (
        f"{len(report.gallery):,} variants, drawn by chance with seed {report.asked.seed}, as evenly as can be over "
        "layers, operations and blends. Open one to see how it was made: source, crop, steps, mixing picture, result. "
        f"Pictures above {EXACT} px are shown reduced, as JPEG; smaller ones to the pixel, enlarged."
    )
    pictures, known = gallery(report.gallery)
    return together([tag("p", words), pictures]), known


def _plan(report: Report) -> Html:
    contents = report.contents
    if contents is None:
        return tag("p", _UNDONE)
    plan, given = contents.plan, contents.given
    code, parameters = spell_code(plan["recipe"]), parameters_of(plan["recipe"])
    pairs: list[tuple[str, object]] = [
        ("Bake digest", tag("code", contents.digest)),
        ("Plan digest", tag("code", contents.plan_digest)),
        ("Recipe", together([tag("b", plan["recipe"]["name"]), *([": ", _spelled(parameters)] if parameters else [])])),
        *([("Code of the recipe", ", ".join(map(plain, code)))] if code else []),
        ("Source, as given", given.get("source", "not recorded")),
        ("Source digest", tag("code", plan["source"])),
        ("Mixing set, as given", spell_mixing(given) if contents.mixing else "none"),
        ("Mixing set digest", tag("code", contents.mixing or "none")),
        ("Flip", FLIP_WORDS.get(plan["flip"], plan["flip"])),
        *((words, _spelled(plan[name])) for name, words in _PLANNED.items()),
        *(("Environment", _spelled(one)) for one in contents.environments),
        ("Made with", listed(f"{name}: {_spelled(value)}" for name, value in contents.built_with.items())),
    ]
    return facts(pairs)


_PLANNED = {
    "seed": "Seed",
    "size": "Side in pixels",
    "crop": "Crop",
    "views": "Views",
    "codec": "Codec",
    "quality": "Quality",
    "images": "Images in the source",
    "baked": "Images to be baked",
    "block_images": "Images in a block",
}
"""Fields of the plan that are told by a name and a value."""


def _spelled(value: object) -> Html:
    if isinstance(value, Mapping):
        return text(", ".join(f"{plain(name)} {plain(one)}" for name, one in value.items()))
    return text(", ".join(map(str, value)) if isinstance(value, list | tuple) else value)
