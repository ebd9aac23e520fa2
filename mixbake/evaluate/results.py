"""What an evaluation found: the one form that a run's results.json, tables, plots and comparisons have in common.

    measured(Results)     one number a metric, of whatever was measured
    summary(Results)      the same of what was measured as the papers' tables have it, and else None

Rule: errors, scores and probabilities are shares, 0 to 1; percent is for tables. What was not measured is absent or
None, never 0.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mixbake.evaluate.anomalies import KNOWN_PER_ANOMALY
from mixbake.evaluate.published import ALEXNET_ERRORS

C, C_BAR = "C", "C-bar"
"""Groups: the 15 corruptions of Hendrycks and Dietterich (arXiv 1903.12261), the 10 of Mintun et al. (2102.11273)."""
CLEAN, PERTURBED, PGD, ANOMALY, RENDITION = "clean", "perturbed", "pgd", "anomaly", "rendition"
"""The other groups of parts."""
SETS: Mapping[str, int] = {C: 75, C_BAR: 50}
"""Group -> how many sets it has, of five severities each."""
VIDEOS, ANOMALY_SETS = 10, 7
"""How many perturbations, and how many sets of anomalies, the papers average over."""


def part_name(group: str, key: str) -> str:
    """Of one part of a group, such as a corruption, as `Results.seen` has it."""
    return f"{group}-{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of one set of labelled pictures. images: how many. error: share of wrong labels.

    rms: calibration error, root mean square, adaptive bins of 100. brier: Brier score. aurra: area under the
    response rate accuracy curve. See `mixbake.evaluate.metrics`.
    """

    images: int
    error: float
    rms: float
    brier: float
    aurra: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Severities:
    """Of one corruption. scores: severity, 1 to 5 -> scores, what is missing is absent.

    rms: calibration error of the pictures of all severities together.
    """

    scores: Mapping[int, Scores]
    rms: float

    @property
    def error(self) -> float:
        """Mean over severities."""
        return statistics.fmean(one.error for one in self.scores.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupted:
    """One group of corruptions. label: what tables call it. stand_in: made here, not the published files.

    imagenet: errors may be normalised by AlexNet's. pooled: calibration is published of all severities together, as of
    CIFAR-C, not of each, as of ImageNet-C. found: corruption -> its severities; what is missing is absent.
    """

    label: str
    stand_in: bool
    imagenet: bool
    pooled: bool
    found: Mapping[str, Severities]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """Of videos of one perturbation. videos, frames: how many, how long.

    flip_probability: share of neighbouring frames (noise: of frames and the first one) whose labels differ.
    top5_distance: mT5D's summand (arXiv 1903.12261, section 4).
    """

    videos: int
    frames: int
    flip_probability: float
    top5_distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbed:
    """Perturbation videos. label: what tables call them."""

    label: str
    flips: Mapping[str, Flips]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """Under projected gradient descent. kind: exact or published. epsilon, step: of pixels from 0 to 255.

    farthest: greatest distance from a picture that was seen, the same unit.
    """

    kind: str
    images: int
    error: float
    steps: int
    step: float
    epsilon: float
    farthest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One set of pictures of no known class. images: how many; drawn: here, not from a folder. auroc, aupr: 0 to 1."""

    images: int
    drawn: bool
    auroc: float
    aupr: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All of it. model: what the checkpoint says of itself (`train.checkpoint.read_about`), sha256 and path (weights).

    source: the pictures as given. limit: at most so many of each set, which follow from the seed; None where no picture
    was left out. missing: what was asked for and not found, notes: what was found and left alone, a line each. seconds:
    of computing, per group. seen: part -> SHA-256 of the pictures and labels that the network was shown.
    """

    model: Mapping[str, Any]
    source: str
    limit: int | None
    device: str
    precision: str
    clean: Scores
    corruptions: Mapping[str, Corrupted] = field(default_factory=dict)
    perturbed: Perturbed | None = None
    attacked: Attacked | None = None
    anomalies: Mapping[str, Anomaly] = field(default_factory=dict)
    rendition: Scores | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One column of the papers' tables. title: its head; lower: whether less is better.

    value: of what was measured, whole or not. variant: in which way that is not what the papers measure, as tables
    label it, "" where it is; of `--limit`, which concerns all metrics, `variant_of` tells.
    """

    title: str
    lower: bool
    value: Callable[[Results], float | None]
    variant: Callable[[Results], str] = lambda _: ""


def each_score(group: Corrupted | None) -> list[Scores]:
    """Every corruption and severity of a group."""
    return [scores for one in group.found.values() for scores in one.scores.values()] if group else []


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.fmean(found) if found else None


def mean_error(results: Results, group: str) -> float | None:
    """Plain mean over what was measured of a group; of all of CIFAR's, or of C-bar, it is the papers' mCE."""
    return _mean(scores.error for scores in each_score(results.corruptions.get(group)))


def normalised_mce(results: Results) -> float | None:
    """mCE of ImageNet-C (arXiv 1903.12261, section 4): each corruption's summed error over AlexNet's, averaged.

    None unless all corruptions are there with all five severities.
    """
    group = results.corruptions.get(C)
    if group is None or not group.imagenet:
        return None
    if any(name not in group.found or len(group.found[name].scores) < 5 for name in ALEXNET_ERRORS):
        return None
    return statistics.fmean(group.found[name].error / error for name, error in ALEXNET_ERRORS.items())


def _both(results: Results) -> float | None:
    """(15 · C + 10 · C-bar) / 25. None unless both are whole, of which the weights are, and as published.

    C-bar is never a stand-in, and a mean of it and stand-ins could be compared with nothing.
    """
    if _of_c(results) or _of_c_bar(results):
        return None
    first, second = mean_error(results, C), mean_error(results, C_BAR)
    return None if first is None or second is None else (15 * first + 10 * second) / 25


def corrupted_rms(results: Results) -> float | None:
    """Calibration error under corruption, as it is published.

    Of CIFAR-C the mean over corruptions, each of the pictures of all severities together (LayerMix's code,
    ahmadmughees/LayerMix, utils/corruptions.py). Of ImageNet-C the mean over corruptions and severities (PixMix's code,
    andyzoujm/pixmix, imagenet.py), where too much confidence at one severity and too little at another do not cancel.
    """
    group = results.corruptions.get(C)
    if group is None:
        return None
    return _mean(one.rms for one in (group.found.values() if group.pooled else each_score(group)))


def _measured(results: Results, group: str) -> int:
    return len(each_score(results.corruptions.get(group)))


def _of_group(name: str) -> Callable[[Results], str]:
    def variant(results: Results) -> str:
        group, whole = results.corruptions.get(name), SETS[name]
        if group is None:
            return ""
        measured = _measured(results, name)
        partly = [f"{measured} of {whole} sets"] if measured != whole else []
        uneven = ["some sets cut short"] if len({one.images for one in each_score(group)}) > 1 else []
        return ", ".join([*(["stand-in"] if group.stand_in else []), *partly, *uneven])

    return variant


_of_c, _of_c_bar = _of_group(C), _of_group(C_BAR)


def _of_videos(results: Results) -> str:
    count = len(results.perturbed.flips) if results.perturbed else VIDEOS
    return "" if count == VIDEOS else f"{count} of {VIDEOS} perturbations"


def _of_attack(results: Results) -> str:
    """The papers' figures are of their code's attack, whose ball moves; see `attacks.ATTACKS`."""
    return "" if results.attacked is None or results.attacked.kind == "published" else results.attacked.kind


def _of_anomalies(results: Results) -> str:
    """Of the drawn sets and as many folders as in the papers; which folders, only the user knows."""
    count = len(results.anomalies)
    return "" if count in (0, ANOMALY_SETS) else f"{count} set{'s' if count > 1 else ''}"


def _of_precision(results: Results) -> str:
    """Average precision rises with the share of anomalies."""
    wanted = results.clean.images // KNOWN_PER_ANOMALY
    smaller = ["smaller sets"] if any(one.images < wanted for one in results.anomalies.values()) else []
    return ", ".join([*filter(None, [_of_anomalies(results)]), *smaller])


METRICS: Mapping[str, Metric] = {
    "clean_error": Metric(title="Clean error", lower=True, value=lambda r: r.clean.error),
    "mce": Metric(title="mCE", lower=True, value=lambda r: mean_error(r, C), variant=_of_c),
    "mce_normalised": Metric(title="mCE, AlexNet = 1", lower=True, value=normalised_mce, variant=_of_c),
    "c_bar_error": Metric(title="C-bar error", lower=True, value=lambda r: mean_error(r, C_BAR), variant=_of_c_bar),
    "c_and_c_bar_error": Metric(title="C and C-bar error", lower=True, value=_both),
    "mfp": Metric(
        title="mFP",
        lower=True,
        value=lambda r: _mean(one.flip_probability for one in r.perturbed.flips.values()) if r.perturbed else None,
        variant=_of_videos,
    ),
    # In published rows alone: ImageNet-P, whose videos are files of films, is not read.
    "mfr": Metric(title="mFR, AlexNet = 1", lower=True, value=lambda _: None),
    "mt5d": Metric(
        title="mT5D",
        lower=True,
        value=lambda r: _mean(one.top5_distance for one in r.perturbed.flips.values()) if r.perturbed else None,
        variant=_of_videos,
    ),
    "pgd_error": Metric(
        title="PGD error", lower=True, value=lambda r: r.attacked.error if r.attacked else None, variant=_of_attack
    ),
    "rms_clean": Metric(title="RMS, clean", lower=True, value=lambda r: r.clean.rms),
    "rms_corrupted": Metric(title="RMS, corrupted", lower=True, value=corrupted_rms, variant=_of_c),
    "brier": Metric(title="Brier score", lower=True, value=lambda r: r.clean.brier),
    "aurra": Metric(title="AURRA", lower=False, value=lambda r: r.clean.aurra),
    "auroc": Metric(
        title="AUROC",
        lower=False,
        value=lambda r: _mean(one.auroc for one in r.anomalies.values()),
        variant=_of_anomalies,
    ),
    "aupr": Metric(
        title="AUPR",
        lower=False,
        value=lambda r: _mean(one.aupr for one in r.anomalies.values()),
        variant=_of_precision,
    ),
    "rendition_error": Metric(
        title="Rendition error", lower=True, value=lambda r: r.rendition.error if r.rendition else None
    ),
}
"""Name -> metric, in the order of tables."""


def measured(results: Results) -> dict[str, float | None]:
    """One number a metric, perhaps of a part or of stand-ins (`Metric.variant`); None where it was not measured."""
    return {name: metric.value(results) for name, metric in METRICS.items()}


def variant_of(results: Results, metric: str) -> str:
    """In which way a metric is not what the papers measure, fewer pictures among them; "" where it is."""
    fewer = [] if results.limit is None else [f"at most {results.limit:,} pictures"]
    return ", ".join([*filter(None, [METRICS[metric].variant(results)]), *fewer])


def summary(results: Results) -> dict[str, float | None]:
    """One number a metric, measured as the papers do; None where it was not, or not so."""
    return {name: None if variant_of(results, name) else value for name, value in measured(results).items()}


def lines(results: Results) -> list[str]:
    """What was measured, for a terminal, a metric a line, in percent; what is not as the papers' says so."""
    limited = "" if results.limit is None else f", at most {results.limit:,} pictures of each set"
    found = [f"{results.source}{limited}; {results.precision} on {results.device}"]
    found += [f"{group}: {one.label}" for group, one in results.corruptions.items()]
    for name, value in measured(results).items():
        if value is not None:
            text = f"{value:.3f}" if name == "mt5d" else f"{100 * value:.1f} %"
            variant = METRICS[name].variant(results)
            found.append(f"{METRICS[name].title:<18} {text:>8}{f'  ({variant})' if variant else ''}")
    for name, one in results.anomalies.items():
        what = "drawn here" if one.drawn else "given"
        found.append(f"  {name}, {what}: AUROC {100 * one.auroc:.1f} %, AUPR {100 * one.aupr:.1f} %")
    return found + [f"missing: {line}" for line in results.missing]
