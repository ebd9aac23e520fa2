"""An evaluation from beginning to end: the network, its parts one after the other, results.json, and the report of it.

    settled -> subject -> parts, each measured or found among the kept -> results -> tables and plots

Rule: a finished part is on the disk before the next begins; results.json is only written of a whole evaluation.
"""

import hashlib
import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixbake.errors import Damage
from mixbake.evaluate.asked import GENERATED, Settled
from mixbake.evaluate.corruptions import scale_of
from mixbake.evaluate.drawing import drawing
from mixbake.evaluate.kept import KeptPart, KeptParts
from mixbake.evaluate.parts import Bench, Finding, Part, list_parts
from mixbake.evaluate.predict import Subject, open_subject
from mixbake.evaluate.published import dataset_of
from mixbake.evaluate.reports import write_report
from mixbake.evaluate.results import ANOMALY, C_BAR, CLEAN, PERTURBED, PGD, RENDITION, C, Corrupted, Perturbed, Results
from mixbake.evaluate.stored import RESULTS, to_json
from mixbake.storage.lock import FolderLock
from mixbake.storage.store import publish_bytes, remove_leftovers
from mixbake.stream.settings import usual_threads

_Measured = tuple[Part, Finding, KeptPart]


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
        bench = Bench(settled, subject, draw)
        parts, unmeasured = list_parts(bench)
        missing = (*settled.missing, *unmeasured)
        for line in missing:
            show.say(f"missing: {line}")
        for line in settled.notes:
            show.say(line)
        settled.parts.mkdir(parents=True, exist_ok=True)
        settled.out.mkdir(parents=True, exist_ok=True)
        with FolderLock(settled.parts):
            remove_leftovers(settled.parts)
            measured, reused = _measure(settled, subject, parts, show)
            results = _results(settled, subject, measured, missing, limited=bench.limited)
            text = json.dumps(to_json(results), indent=1, allow_nan=False) + "\n"
            publish_bytes(settled.out / RESULTS, text.encode())
            write_report(results, settled.out, show.say)
    return Evaluated(folder=settled.out, results=results, reused=reused)


def _measure(settled: Settled, subject: Subject, parts: list[Part], show: Show) -> tuple[list[_Measured], int]:
    """What every part found, and how many parts were measured before."""
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
    measured: list[_Measured] = []
    total = sum(part.cost for part in parts if part.name not in before)
    done = 0
    for part in parts:
        found = before.get(part.name)
        if found is None:
            found = _measure_part(part, done, total, show)
            done += part.cost
            kept.add(part.name, part.identity, found)
        measured.append((part, _revive(part, found.found), found))
    return measured, len(before)


def _measure_part(part: Part, done: int, total: int, show: Show) -> KeptPart:
    """done: pictures of all that were seen before."""
    began, digest = time.monotonic(), hashlib.sha256()

    def tick(more: int, shown: NDArray[Any]) -> None:
        nonlocal done
        done += more
        digest.update(np.ascontiguousarray(shown).data)
        show.seen(part.name, done, total)

    finding = part.measure(tick)
    return KeptPart(found=asdict(finding), seen=digest.hexdigest(), seconds=round(time.monotonic() - began, 3))


def _revive(part: Part, plain: dict[str, Any]) -> Finding:
    try:
        return part.kind(**plain)
    except TypeError as error:
        raise Damage(f"a kept part, {part.name}, is damaged ({error}): delete the folder parts") from error


def _results(
    settled: Settled, subject: Subject, measured: list[_Measured], missing: tuple[str, ...], *, limited: bool
) -> Results:
    asked = settled.asked
    found: dict[str, dict[str, Any]] = {
        group: {part.key: finding for part, finding, _ in measured if part.group == group}
        for group in (CLEAN, C, C_BAR, PERTURBED, PGD, ANOMALY, RENDITION)
    }
    seconds: defaultdict[str, float] = defaultdict(float)
    for part, _, kept in measured:
        seconds[part.group] += kept.seconds
    labels = _labels(settled, subject)
    small = scale_of(subject.size, subject.size) == "cifar"
    generated = [C] if asked.corrupt == GENERATED else []
    return Results(
        model=subject.about,
        source=asked.on,
        limit=asked.limit if limited else None,
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
        missing=missing,
        notes=settled.notes,
        seed=asked.seed,
        seconds={group: round(took, 3) for group, took in seconds.items()},
        seen={part.name: kept.seen for part, _, kept in measured},
    )


def _labels(settled: Settled, subject: Subject) -> dict[str, str]:
    """What tables call the groups: a folder's own name, or that it is no published set."""
    named = {C: settled.corrupt, C_BAR: settled.corrupt_bar, PERTURBED: settled.perturb}
    labels = {group: found.label for group, found in named.items() if found is not None}
    if settled.asked.corrupt == GENERATED:
        published = dataset_of(subject.classes)
        labels[C] = f"stand-ins, generated here; {f'not {published}-C' if published else 'no published set'}"
    return labels
