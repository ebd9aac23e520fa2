"""An evaluation from beginning to end: the network, its parts one after the other, results.json, and the report of it.

    settled -> subject -> parts, each measured or found among the kept -> results -> tables and plots

Rule: a finished part is on the disk before the next begins; results.json is only written of a whole evaluation.
"""

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from mixbake.errors import Damage
from mixbake.evaluate.asked import GENERATED, Settled
from mixbake.evaluate.corruptions import scale_of
from mixbake.evaluate.drawing import drawing
from mixbake.evaluate.kept import KeptParts
from mixbake.evaluate.parts import ANOMALY, CLEAN, PERTURBED, PGD, RENDITION, Bench, Finding, Part, list_parts
from mixbake.evaluate.predict import Subject, open_subject
from mixbake.evaluate.published import dataset_of
from mixbake.evaluate.reports import write_report
from mixbake.evaluate.results import C_BAR, RESULTS, C, Corrupted, Perturbed, Results, to_json
from mixbake.storage.lock import FolderLock
from mixbake.storage.store import publish_bytes, remove_leftovers
from mixbake.stream.settings import usual_threads

Findings = list[tuple[Part, Finding]]


class Show(Protocol):
    """Who is told how far it is."""

    def say(self, message: str) -> None:
        """A line for people."""

    def seen(self, part: str, done: int, total: int) -> None:
        """The part at hand, and how many pictures of all have been seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A finished evaluation. folder: where it lies. reused: parts that had been measured before."""

    folder: Path
    results: Results
    reused: int


def evaluate(settled: Settled, show: Show) -> Evaluated:
    """Measure everything that was asked for and write it into a folder.

    Raises UsageError for sets that do not fit the network; Damage for damaged sets, and for a network whose answers are
    not finite; Locked when the same evaluation is under way; StorageError.
    """
    subject = open_subject(settled.weights, settled.asked)
    with drawing(usual_threads()) as draw:
        parts, unmeasured = list_parts(Bench(settled, subject, draw))
        for line in (*settled.missing, *unmeasured):
            show.say(f"missing: {line}")
        for line in settled.notes:
            show.say(line)
        settled.parts.mkdir(parents=True, exist_ok=True)
        settled.out.mkdir(parents=True, exist_ok=True)
        with FolderLock(settled.parts):
            remove_leftovers(settled.parts)
            findings, seconds, reused = _measure(settled, subject, parts, show)
            results = _results(settled, subject, findings, tuple(unmeasured), seconds)
            text = json.dumps(to_json(results), indent=1, allow_nan=False) + "\n"
            publish_bytes(settled.out / RESULTS, text.encode())
            write_report(results, settled.out, show.say)
    return Evaluated(folder=settled.out, results=results, reused=reused)


def _measure(
    settled: Settled, subject: Subject, parts: list[Part], show: Show
) -> tuple[Findings, dict[str, float], int]:
    """What every part found, the seconds of each group, and how many parts were measured before."""
    asked = settled.asked
    common = {
        "weights": subject.about["sha256"],
        "model": {name: subject.about[name] for name in ("model", "classes", "size", "mean", "std")},
        "limit": asked.limit,
        "seed": asked.seed,
        "precision": subject.precision,
        "device": subject.device.type,
    }
    kept = KeptParts(settled.parts, common)
    before = {part.name: found for part in parts if (found := kept.find(part.name, part.identity)) is not None}
    if before:
        show.say(f"{len(before):,} of {len(parts):,} parts have been measured before")
    findings: Findings = []
    seconds: defaultdict[str, float] = defaultdict(float)
    total = sum(part.cost for part in parts if part.name not in before)
    done = 0
    for part in parts:
        if part.name in before:
            plain, took = before[part.name]
            findings.append((part, _revive(part, plain)))
        else:
            began, begun = time.monotonic(), done

            def tick(more: int, part: Part = part) -> None:
                nonlocal done
                done += more
                show.seen(part.name, done, total)

            finding = part.measure(tick)
            took, done = round(time.monotonic() - began, 3), begun + part.cost
            kept.add(part.name, part.identity, asdict(finding), took)
            findings.append((part, finding))
        seconds[part.group] += took
    return findings, {group: round(took, 3) for group, took in seconds.items()}, len(before)


def _revive(part: Part, plain: dict[str, Any]) -> Finding:
    try:
        return part.kind(**plain)
    except TypeError as error:
        raise Damage(f"a kept part, {part.name}, is damaged ({error}): delete the folder parts") from error


def _results(
    settled: Settled, subject: Subject, findings: Findings, unmeasured: tuple[str, ...], seconds: Mapping[str, float]
) -> Results:
    asked = settled.asked
    found: dict[str, dict[str, Any]] = {
        group: {part.key: finding for part, finding in findings if part.group == group}
        for group in (CLEAN, C, C_BAR, PERTURBED, PGD, ANOMALY, RENDITION)
    }
    labels = _labels(settled, subject)
    small = scale_of(subject.size, subject.size) == "cifar"
    generated = [C] if asked.corrupt == GENERATED else []
    return Results(
        model=subject.about,
        source=asked.on,
        limit=asked.limit,
        device=subject.device_name,
        precision=subject.precision,
        clean=found[CLEAN][""],
        corruptions={
            group: Corrupted(
                label=labels[group],
                stand_in=group in generated,
                imagenet=dataset_of(subject.classes) == "ImageNet" and group not in generated,
                pooled=small,
                found=found[group],
            )
            for group in (C, C_BAR)
            if found[group]
        },
        perturbed=Perturbed(
            label=labels[PERTURBED],
            flips=found[PERTURBED],
        )
        if found[PERTURBED]
        else None,
        attacked=found[PGD].get(""),
        anomalies=found[ANOMALY],
        rendition=found[RENDITION].get(""),
        missing=(*settled.missing, *unmeasured),
        notes=settled.notes,
        seed=asked.seed,
        seconds=seconds,
    )


def _labels(settled: Settled, subject: Subject) -> dict[str, str]:
    """What tables call the groups: a folder's own name, or that it is no published set."""
    named = {C: settled.corrupt, C_BAR: settled.corrupt_bar, PERTURBED: settled.perturb}
    labels = {group: found.label for group, found in named.items() if found is not None}
    if settled.asked.corrupt == GENERATED:
        published = dataset_of(subject.classes)
        labels[C] = f"stand-ins, generated here; {f'not {published}-C' if published else 'no published set'}"
    return labels
