"""What an evaluation consists of: one part for each set of pictures, which is measured and kept by itself.

    clean · C and C-bar: one a corruption · one a perturbation · pgd · one a kind of anomaly · rendition

Rule: a part's name and identity say everything that decides what it finds; so it may be measured today or have been
measured before.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.data.shown import LabelledPictures
from mixbake.errors import Damage, MissingExtra, UsageError
from mixbake.evaluate.anomalies import ANOMALIES, KNOWN_PER_ANOMALY
from mixbake.evaluate.arrays import ArrayPictures, file_identity, map_pictures, shown
from mixbake.evaluate.asked import GENERATED, Settled
from mixbake.evaluate.attacks import ATTACKS, attack
from mixbake.evaluate.corruptions import CORRUPTIONS, LEAST_SIDE, SEVERITIES, corrupt_all
from mixbake.evaluate.detection import import_measures, measure_detection
from mixbake.evaluate.drawing import Draw
from mixbake.evaluate.layouts import Block, Found
from mixbake.evaluate.metrics import anomaly_scores, measure_flips, rank_top, score, score_severities
from mixbake.evaluate.predict import Logits, Subject, Tick, logits_of, predict, read_ahead, require_finite
from mixbake.evaluate.published import dataset_of
from mixbake.evaluate.results import (
    ANOMALY,
    C_BAR,
    CLEAN,
    PERTURBED,
    PGD,
    RENDITION,
    Anomaly,
    Attacked,
    C,
    Flips,
    Scores,
    Severities,
    part_name,
)
from mixbake.evaluate.sets import Drawn, Generated, Loose, Pictures, Remembered, choose
from mixbake.evaluate.stored import severities
from mixbake.stream.settings import usual_threads

Finding = Scores | Severities | Flips | Attacked | Anomaly
_NUMBERED = ("CIFAR-10", "CIFAR-100")
"""Sets whose labels are numbers, of the classes in alphabetical order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of them. name: of its file, and for people; key: its name in its group; "" if alone there.

    cost: pictures that the network sees. kind: makes a finding of its plain values. identity: of the pictures, and what
    is done to them; plain values.
    """

    name: str
    group: str
    key: str
    cost: int
    kind: Callable[..., Finding]
    identity: Any
    measure: Callable[[Tick], Finding]


class Bench:
    """What all parts share: the network, the clean pictures, which of them are looked at, who draws corruptions.

    limited: whether of any set so far some pictures are left out. Raises UsageError when the clean pictures are not of
    the network's classes.
    """

    def __init__(self, settled: Settled, subject: Subject, draw: Draw = corrupt_all) -> None:
        asked = settled.asked
        self.settled, self.subject, self.draw = settled, subject, draw
        listed = self.open_folder(asked.on)
        self.limited = False
        self.places = self.choose(len(listed))
        self.clean = Remembered(listed, self.places, subject.size)
        self._scores: NDArray[np.float64] | None = None

    def open_folder(self, spec: str) -> LabelledPictures:
        """A source, under the network's labels. Raises UsageError for classes that it does not know."""
        subject = self.subject
        return LabelledPictures(
            spec, classes=subject.classes, size=subject.size, threads=usual_threads(), owner="the network"
        )

    def open_found(self, where: Block | Path) -> Pictures:
        """Pictures of a published set, under the network's labels. Raises UsageError when these are not the set's."""
        if isinstance(where, Path):
            return self.open_folder(str(where))
        self._require_numbers(where)
        return ArrayPictures(where.path, first=where.first, labels=where.labels, size=self.subject.size)

    def _require_numbers(self, block: Block) -> None:
        """Numbers say nothing of names: they are the network's if the clean set has the same, or it knows CIFAR's."""
        labels, classes = block.labels, self.subject.classes
        if labels.min() < 0 or labels.max() >= len(classes):
            raise UsageError(
                f"{block.path.parent} has labels {labels.min()} to {labels.max()}, and the network {len(classes)} "
                "classes: give the set of the network's classes"
            )
        if np.array_equal(labels, self.clean.labels):
            return
        if (known := len(np.unique(labels))) < len(classes):
            raise UsageError(
                f"{block.path.parent} has labels of {known} classes only, and the network {len(classes)}: give the set "
                "of the network's classes"
            )
        if dataset_of(classes) not in _NUMBERED or list(classes) != sorted(classes):
            raise UsageError(
                f"{block.path.parent} has labels that are numbers, and which classes of the network these are cannot "
                f"be told: its classes ({', '.join(classes[:3])}, ...) are not CIFAR's, and the labels are not those "
                f"of {self.settled.asked.on}: give with --on the test set that it was made of, in the same order"
            )

    def choose(self, count: int) -> NDArray[np.int64]:
        """Which of a set of so many are looked at: the same places as of the clean set, if that has as many."""
        places = choose(count, self.settled.asked.limit, self.settled.asked.seed)
        self.limited |= len(places) < count
        return places

    def clean_logits(self, tick: Tick) -> Logits:
        """Of the chosen clean pictures; their anomaly scores are remembered."""
        logits = predict(self.subject, CLEAN, self.clean, self.places.tolist(), tick)
        self._scores = anomaly_scores(logits)
        return logits

    def clean_scores(self) -> NDArray[np.float64]:
        """Anomaly scores of the chosen clean pictures."""
        if self._scores is None:
            self.clean_logits(lambda _done, _shown: None)
        assert self._scores is not None  # noqa: S101 - just set
        return self._scores


def list_parts(bench: Bench) -> tuple[list[Part], list[str]]:
    """All parts, in the order in which they are measured, and what cannot be measured, a line each.

    Raises UsageError, Damage, StorageError for sets that do not fit the network.
    """
    settled = bench.settled
    parts = [_clean(bench)]
    if settled.asked.corrupt == GENERATED:
        parts += _generated(bench)
    lacking: list[str] = []
    for group, found in ((C, settled.corrupt), (C_BAR, settled.corrupt_bar)):
        if found is not None:
            sets = _open_sets(bench, found)
            parts += [_corruption(bench, group, name, by_severity) for name, by_severity in sets.items()]
            lacking += _lacking(found.label, sets)
    if settled.perturb is not None:
        parts += _videos(bench, settled.perturb)
    if settled.asked.pgd is not None:
        parts.append(_attacked(bench, settled.asked.pgd))
    if settled.asked.rendition is not None:
        parts.append(_rendition(bench, settled.asked.rendition))
    try:
        import_measures()
    except MissingExtra as absent:
        if settled.anomalies:
            raise
        return parts, [*lacking, f"anomaly detection: {absent}"]
    return [*parts, *_anomalies(bench)], lacking


def _clean(bench: Bench) -> Part:
    def measure(tick: Tick) -> Scores:
        return score(bench.clean_logits(tick), bench.clean.labels[bench.places])

    return Part(
        name=CLEAN,
        group=CLEAN,
        key="",
        cost=len(bench.places),
        kind=Scores,
        identity=bench.clean.identity(),
        measure=measure,
    )


def _corruption(bench: Bench, group: str, name: str, by_severity: Mapping[int, Pictures]) -> Part:
    title = part_name(group, name)
    places = {severity: bench.choose(len(pictures)).tolist() for severity, pictures in by_severity.items()}

    def each(tick: Tick) -> Iterator[tuple[int, Logits, NDArray[np.int64]]]:
        for severity, pictures in by_severity.items():
            logits = predict(bench.subject, f"{title}-{severity}", pictures, places[severity], tick)
            yield severity, logits, pictures.labels[places[severity]]

    return Part(
        name=title,
        group=group,
        key=name,
        cost=sum(map(len, places.values())),
        kind=severities,
        identity={severity: pictures.identity() for severity, pictures in by_severity.items()},
        measure=lambda tick: score_severities(each(tick)),
    )


def _generated(bench: Bench) -> Iterator[Part]:
    size = bench.subject.size
    if size < LEAST_SIDE:
        raise UsageError(
            f"--corrupt generated needs pictures of {LEAST_SIDE} pixels at least, the network takes {size}"
        )
    for name in CORRUPTIONS:
        sets = {
            severity: Generated(bench.clean, name, severity, bench.settled.asked.seed, bench.draw)
            for severity in SEVERITIES
        }
        yield _corruption(bench, C, name, sets)


def _open_sets(bench: Bench, found: Found) -> dict[str, dict[int, Pictures]]:
    """Corruption -> severity -> pictures of a published set."""
    return {
        name: {severity: bench.open_found(where) for severity, where in places.items()}
        for name, places in found.parts.items()
    }


def _lacking(label: str, sets: Mapping[str, Mapping[int, Pictures]]) -> list[str]:
    """A line for each set that has fewer pictures than another: all are made of the same ones."""
    most = max(len(pictures) for by_severity in sets.values() for pictures in by_severity.values())
    return [
        f"{label}: {most - len(pictures):,} of {most:,} pictures of {name}, severity {severity}"
        for name, by_severity in sets.items()
        for severity, pictures in by_severity.items()
        if len(pictures) < most
    ]


def _videos(bench: Bench, found: Found) -> Iterator[Part]:
    for name, places in found.parts.items():
        block = places[1]
        if isinstance(block, Block):
            videos = map_pictures(block.path, axes=5)
            chosen = bench.choose(len(videos))
            yield Part(
                name=part_name(PERTURBED, name),
                group=PERTURBED,
                key=name,
                cost=len(chosen) * videos.shape[1],
                kind=Flips,
                identity=file_identity(block.path),
                measure=partial(_measure_videos, bench, name, videos, chosen),
            )


def _measure_videos(bench: Bench, name: str, videos: NDArray[np.uint8], chosen: NDArray[np.int64], tick: Tick) -> Flips:
    """Whole videos at a time, and of their logits the best five classes alone: all of them would fill the memory."""
    subject, (_, frames, *shape) = bench.subject, videos.shape
    at_once = max(1, subject.batch_size // frames)
    tops = []
    for first in range(0, len(chosen), at_once):
        some = shown(videos[chosen[first : first + at_once]].reshape(-1, *shape), subject.size)
        logits = logits_of(subject, some).cpu().numpy()
        require_finite(subject, part_name(PERTURBED, name), logits)
        tops.append(rank_top(logits.reshape(len(some) // frames, frames, -1)))
        tick(len(some), some)
    return measure_flips(np.concatenate(tops), noise="noise" in name)


def _attacked(bench: Bench, kind: str) -> Part:
    attack_kind = ATTACKS[kind]
    # A step is a pass forward and one back, which costs about two.
    per_picture = 3 * attack_kind.steps
    return Part(
        name=part_name(PGD, kind),
        group=PGD,
        key="",
        cost=per_picture * len(bench.places),
        kind=Attacked,
        identity=[bench.clean.identity(), kind, attack_kind.steps, attack_kind.step, attack_kind.epsilon],
        measure=partial(_measure_attack, bench, kind, per_picture),
    )


def _measure_attack(bench: Bench, kind: str, per_picture: int, tick: Tick) -> Attacked:
    subject, how = bench.subject, ATTACKS[kind]
    chosen, wrong, farthest, first = bench.places.tolist(), 0, 0.0, 0
    for batch in read_ahead(bench.clean, chosen, subject.batch_size):
        places = chosen[first : first + len(batch)]
        truth = bench.clean.labels[places]
        moved = attack(
            subject.network,
            batch,
            truth,
            kind=how,
            mean=subject.mean,
            std=subject.std,
            device=subject.device,
            seed=bench.settled.asked.seed,
            places=places,
        )
        if not math.isfinite(moved.farthest):
            raise Damage(
                f"{subject.about['weights']}: gradients under {part_name(PGD, kind)} are not finite, so no results "
                "were written: the weights are damaged or their training diverged; take another checkpoint"
            )
        wrong += int((moved.predicted.cpu().numpy() != truth).sum())
        farthest = max(farthest, moved.farthest)
        first += len(batch)
        tick(per_picture * len(batch), batch)
    return Attacked(
        kind=kind,
        images=first,
        error=wrong / first,
        steps=how.steps,
        step=how.step,
        epsilon=how.epsilon,
        farthest=farthest,
    )


def _anomalies(bench: Bench) -> Iterator[Part]:
    """As many as a fifth of the clean pictures, since AUPR depends on that; fewer where a folder has fewer."""
    asked, size = bench.settled.asked, bench.subject.size
    count = max(1, len(bench.places) // KNOWN_PER_ANOMALY)
    for name in ANOMALIES:
        yield _anomaly(bench, name, Drawn(name, count, size=size, seed=asked.seed), count, drawn=True)
    for name, paths in bench.settled.anomalies.items():
        loose = Loose(paths, size=size, threads=usual_threads())
        yield _anomaly(bench, name, loose, count, drawn=False)


def _anomaly(bench: Bench, name: str, pictures: Pictures, count: int, *, drawn: bool) -> Part:
    places = choose(len(pictures), count, bench.settled.asked.seed).tolist()
    title = part_name(ANOMALY, name)

    def measure(tick: Tick) -> Anomaly:
        known = bench.clean_scores()
        return measure_detection(
            known, anomaly_scores(predict(bench.subject, title, pictures, places, tick)), drawn=drawn
        )

    return Part(
        name=title,
        group=ANOMALY,
        key=name,
        cost=len(places),
        kind=Anomaly,
        identity=[bench.clean.identity(), pictures.identity()],
        measure=measure,
    )


def _rendition(bench: Bench, folder: Path) -> Part:
    """The error among the folder's own classes: ImageNet-R has 200 of the network's 1000 (arXiv 2006.16241)."""
    pictures = bench.open_folder(str(folder))
    columns = np.unique(pictures.labels)
    if len(columns) < 2:
        raise UsageError(f"--rendition {folder} has pictures of one class only: nothing can be told apart; give more")
    places = bench.choose(len(pictures)).tolist()

    def measure(tick: Tick) -> Scores:
        logits = predict(bench.subject, RENDITION, pictures, places, tick)
        return score(np.ascontiguousarray(logits[:, columns]), np.searchsorted(columns, pictures.labels[places]))

    return Part(
        name=RENDITION,
        group=RENDITION,
        key="",
        cost=len(places),
        kind=Scores,
        identity=pictures.identity(),
        measure=measure,
    )
