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
from mixbake.evaluate.results import C_BAR, Anomaly, Attacked, C, Flips, Scores, Severities, severities
from mixbake.evaluate.sets import Drawn, Generated, Loose, Pictures, Remembered, choose
from mixbake.stream.settings import usual_threads

Finding = Scores | Severities | Flips | Attacked | Anomaly
CLEAN, PERTURBED, PGD, ANOMALY, RENDITION = "clean", "perturbed", "pgd", "anomaly", "rendition"
"""Groups of parts, beside C and C_BAR."""

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

    Raises UsageError when the clean pictures are not of the network's classes.
    """

    def __init__(self, settled: Settled, subject: Subject, draw: Draw = corrupt_all) -> None:
        asked = settled.asked
        self.settled, self.subject, self.draw = settled, subject, draw
        listed = self.open_folder(asked.on)
        self.places = choose(len(listed), asked.limit, asked.seed)
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
        same = np.array_equal(labels, self.clean.labels)
        numbered = dataset_of(classes) in _NUMBERED and list(classes) == sorted(classes)
        if not same and not numbered:
            raise UsageError(
                f"{block.path.parent} has labels that are numbers, and which classes of the network these are cannot "
                f"be told: its classes ({', '.join(classes[:3])}, ...) are not CIFAR's, and the labels are not those "
                f"of {self.settled.asked.on}: give with --on the test set that it was made of, in the same order"
            )

    def chosen(self, pictures: Pictures) -> list[int]:
        """Which of a set are looked at: the same places as of the clean set, if they are as many."""
        return [*map(int, choose(len(pictures), self.settled.asked.limit, self.settled.asked.seed))]

    def clean_logits(self, tick: Tick) -> Logits:
        """Of the chosen clean pictures; their anomaly scores are remembered."""
        logits = predict(self.subject, CLEAN, self.clean, self.places.tolist(), tick)
        self._scores = anomaly_scores(logits)
        return logits

    def clean_scores(self) -> NDArray[np.float64]:
        """Anomaly scores of the chosen clean pictures."""
        if self._scores is None:
            self.clean_logits(lambda _done: None)
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
    for group, found in ((C, settled.corrupt), (C_BAR, settled.corrupt_bar)):
        if found is not None:
            parts += _published(bench, group, found)
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
        return parts, [f"anomaly detection: {absent}"]
    return [*parts, *_anomalies(bench)], []


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
    title = f"{group}-{name}"
    places = {severity: bench.chosen(pictures) for severity, pictures in by_severity.items()}

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


def _published(bench: Bench, group: str, found: Found) -> Iterator[Part]:
    for name, places in found.parts.items():
        yield _corruption(bench, group, name, {severity: bench.open_found(where) for severity, where in places.items()})


def _videos(bench: Bench, found: Found) -> Iterator[Part]:
    for name, places in found.parts.items():
        block = places[1]
        if isinstance(block, Block):
            videos = map_pictures(block.path, axes=5)
            chosen = choose(len(videos), bench.settled.asked.limit, bench.settled.asked.seed)
            yield Part(
                name=f"{PERTURBED}-{name}",
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
        some = videos[chosen[first : first + at_once]]
        logits = logits_of(subject, shown(some.reshape(-1, *shape), subject.size)).cpu().numpy()
        require_finite(subject, f"{PERTURBED}-{name}", logits)
        tops.append(rank_top(logits.reshape(len(some), frames, -1)))
        tick(len(some) * frames)
    return measure_flips(np.concatenate(tops), noise="noise" in name)


def _attacked(bench: Bench, kind: str) -> Part:
    attack_kind = ATTACKS[kind]
    # A step is a pass forward and one back, which costs about two.
    per_picture = 3 * attack_kind.steps
    return Part(
        name=f"{PGD}-{kind}",
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
                f"{subject.about['weights']}: gradients under {PGD}-{kind} are not finite, so no results were "
                "written: the weights are damaged or their training diverged; take another checkpoint"
            )
        wrong += int((moved.predicted.cpu().numpy() != truth).sum())
        farthest = max(farthest, moved.farthest)
        first += len(batch)
        tick(per_picture * len(batch))
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
    title = f"{ANOMALY}-{name}"

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
    places = bench.chosen(pictures)

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
