"""Evaluations of several runs beside each other: means over seeds, and differences of runs with the same seed.

    Results, ... -> Comparison -> tables, JSON

Rule: only what was measured alike is compared; every mean says of how many runs it is, and one run has no error.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mixbake.errors import UsageError
from mixbake.evaluate.results import ANOMALY, METRICS, Results, measured, part_name
from mixbake.evaluate.tables import NOTHING, Column, Table, name_of, recipe_of, spell, title_of
from mixbake.storage.store import canonical_json

BASELINE = "plain"
"""Family of recipes that others are compared with, if there is one."""
_SETTINGS = ", settings "


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A mean over n runs. error: its standard error; None of one run."""

    mean: float
    error: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that differ in nothing but the seed. settings: what they have in common. means: of each metric.

    differences: from the runs of the baseline with the same seed; {} for the baseline itself.
    """

    name: str
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]
    means: Mapping[str, Measure]
    differences: Mapping[str, Measure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """baseline: a group's name. titles: heads of the metrics. notes: what readers should know."""

    title: str
    baseline: str
    titles: Mapping[str, str]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def compare(results: Sequence[Results]) -> Comparison:
    """Compare evaluations; the baseline is the group without augmentation, else the first one.

    Raises UsageError for evaluations that were not measured alike, and for two of one group and seed.
    """
    if len(results) < 2:
        raise UsageError("a comparison needs at least two evaluations: give more")
    _require_alike(results)
    members = group_runs(results)
    plain = [name for name, runs in members.items() if recipe_of(runs[0]).get("family") == BASELINE]
    base = next(iter([*plain, *members]))
    by_seed = {name: {_seed(one): measured(one) for one in runs} for name, runs in members.items()}
    groups = [
        Group(
            name=name,
            settings=settings_of(runs[0]),
            seeds=tuple(sorted(by_seed[name])),
            means=_measures(list(by_seed[name].values())),
            differences={} if name == base else _differences(by_seed[name], by_seed[base]),
        )
        for name, runs in members.items()
    ]
    return Comparison(
        title=title_of(results),
        baseline=base,
        titles={
            metric: Column(metric, METRICS[metric].variant(one)).title
            for metric in METRICS
            for one in results
            if METRICS[metric].value(one) is not None
        },
        groups=tuple(groups),
        notes=_notes(results, groups),
    )


def settings_of(results: Results) -> dict[str, Any]:
    """What makes a run another one than those of other groups: all that decides its weights, but seeds."""
    return {name: results.model.get(name) for name in ("model", "size", "training", "baking")}


def group_runs(results: Sequence[Results]) -> dict[str, list[Results]]:
    """Runs by the name of their group, in the order given. Equal names of unequal settings get a number.

    Raises UsageError for two runs of one group and seed.
    """
    groups: dict[bytes, list[Results]] = {}
    for one in results:
        groups.setdefault(canonical_json(settings_of(one)), []).append(one)
    named: dict[str, list[Results]] = {}
    for runs in groups.values():
        seeds = [_seed(one) for one in runs]
        twice = {seed for seed in seeds if seeds.count(seed) > 1}
        if twice:
            paths = [str(one.model.get("weights", "?")) for one in runs if _seed(one) in twice]
            raise UsageError(
                f"{name_of(runs[0])}: more than one evaluation of seed {min(twice)} ({', '.join(paths)}): "
                "give one of each seed"
            )
        name, number = name_of(runs[0]), 2
        while name in named:
            name, number = f"{name_of(runs[0])}{_SETTINGS}{number}", number + 1
        named[name] = runs
    return named


def _seed(results: Results) -> int:
    seed = results.model.get("seed")
    return seed if isinstance(seed, int) else 0


def _conditions(results: Results) -> dict[str, Any]:
    """What must be equal wherever it was measured."""
    found: dict[str, Any] = {
        "limit": results.limit,
        "seed of the evaluation": results.seed,
        "classes": list(results.model.get("classes", ())),
        "number of clean pictures": results.clean.images,
    }
    for name, group in results.corruptions.items():
        found[f"{name}'s label"] = group.label
        found[f"{name}, stand-in"] = group.stand_in
        found[f"{name}'s corruptions"] = sorted(
            f"{corruption} {severity}" for corruption, one in group.found.items() for severity in one.scores
        )
    if results.perturbed:
        found["videos"] = (results.perturbed.label, sorted(results.perturbed.flips))
    if results.attacked:
        attack = results.attacked
        found["attack"] = (attack.kind, attack.steps, attack.step, attack.epsilon, attack.images)
    if results.anomalies:
        found["anomalies"] = sorted((name, one.images) for name, one in results.anomalies.items())
    if results.rendition:
        found["renditions"] = results.rendition.images
    # What is made of given pictures, or drawn, may differ by a rounding between CPUs.
    made = {
        part_name(name, one) for name, group in results.corruptions.items() if group.stand_in for one in group.found
    }
    made |= {part_name(ANOMALY, name) for name, one in results.anomalies.items() if one.drawn}
    return found | {f"pictures of {part}": digest for part, digest in results.seen.items() if part not in made}


def _require_alike(results: Sequence[Results]) -> None:
    seen: dict[str, tuple[Any, Results]] = {}
    for one in results:
        for name, value in _conditions(one).items():
            before, other = seen.setdefault(name, (value, one))
            if before != value:
                raise UsageError(
                    f"{_short(other)} and {_short(one)} were not measured alike: {name} {_apart(before, value)}: "
                    "evaluate both with the same settings, on the same pictures"
                )


def _apart(one: Any, other: Any) -> str:
    """In what two values differ: of lists, what only one has."""
    if not isinstance(one, list) or not isinstance(other, list):
        return f"{_brief(one)} and {_brief(other)}"
    sides = (("first", one, other), ("second", other, one))
    only = {side: [str(part) for part in mine if part not in theirs] for side, mine, theirs in sides}
    return "; ".join(f"only in the {side}: {_few(parts)}" for side, parts in only.items() if parts)


def _few(parts: list[str]) -> str:
    return ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")


def _short(results: Results) -> str:
    return f"{name_of(results)}, seed {_seed(results)}"


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _measure(values: Sequence[float]) -> Measure:
    n = len(values)
    return Measure(mean=statistics.fmean(values), error=statistics.stdev(values) / n**0.5 if n > 1 else None, n=n)


def _measures(summaries: Sequence[Mapping[str, float | None]]) -> dict[str, Measure]:
    values = {name: [one[name] for one in summaries] for name in METRICS}
    return {
        name: _measure(known) for name, found in values.items() if (known := [one for one in found if one is not None])
    }


def _differences(
    runs: Mapping[int, Mapping[str, float | None]], base: Mapping[int, Mapping[str, float | None]]
) -> dict[str, Measure]:
    """Means of differences of equal seeds; of the metrics that both runs of a pair have."""
    pairs = [(runs[seed], base[seed]) for seed in sorted(runs) if seed in base]
    found: dict[str, Measure] = {}
    for name in METRICS:
        values = [
            ours - theirs
            for ours, theirs in ((one[name], other[name]) for one, other in pairs)
            if ours is not None and theirs is not None
        ]
        if values:
            found[name] = _measure(values)
    return found


def _notes(results: Sequence[Results], groups: Sequence[Group]) -> tuple[str, ...]:
    lines = ["Means over seeds ± standard error; one seed has no error."]
    for what, values in (
        ("precisions", dict.fromkeys(one.precision for one in results)),
        ("devices", dict.fromkeys(one.device for one in results)),
    ):
        if len(values) > 1:
            lines.append(f"Measured with several {what}: {', '.join(values)}")
    first = {group.name: group for group in groups}
    lines += [
        f"{group.name}: {_difference(group.settings, first[group.name.partition(_SETTINGS)[0]].settings)}"
        for group in groups
        if _SETTINGS in group.name
    ]
    labels = [f"{name}: {group.label}" for one in results for name, group in one.corruptions.items()]
    missing = [f"Missing: {line}" for one in results for line in one.missing]
    return (*lines, *dict.fromkeys([*labels, *missing]))


def _difference(settings: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """Where two groups of one name differ, each setting with its value in the first and in the second."""
    ours, theirs = _flat(settings), _flat(others)
    names = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]
    return "; ".join(f"{name} {_brief(ours.get(name))}, not {_brief(theirs.get(name))}" for name in names)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings within settings by dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        inner = _flat(value) if isinstance(value, Mapping) else {}
        found |= {f"{name}.{key}": one for key, one in inner.items()} if inner else {name: value}
    return found


def comparison_tables(comparison: Comparison) -> tuple[Table, Table]:
    """Means of every group, and differences from the baseline, in percent and percentage points."""
    metrics = list(comparison.titles)
    head = ("Recipe", "Seeds", *comparison.titles.values())
    means = Table(
        title=comparison.title,
        head=head,
        rows=tuple(
            (group.name, str(n), *(_spell(name, group.means.get(name), n) for name in metrics))
            for group in comparison.groups
            for n in [len(group.seeds)]
        ),
        notes=comparison.notes,
    )
    others = [group for group in comparison.groups if group.name != comparison.baseline]
    differences = Table(
        title=f"Differences from {comparison.baseline}, paired by seed; {comparison.title}",
        head=("Recipe", "Pairs", *comparison.titles.values()),
        rows=tuple(
            (group.name, str(n), *(_spell(name, group.differences.get(name), n, sign="+") for name in metrics))
            for group in others
            for n in [max((one.n for one in group.differences.values()), default=0)]
        ),
    )
    return means, differences


def _spell(metric: str, measure: Measure | None, n: int, sign: str = "") -> str:
    """A mean and its error; of how many runs it is, if not of the n that the row tells."""
    if measure is None:
        return NOTHING
    error = "" if measure.error is None else f" ± {spell(metric, measure.error)}"
    plus = sign if measure.mean > 0 else ""
    fewer = "" if measure.n == n else f" (n={measure.n})"
    return f"{plus}{spell(metric, measure.mean).replace('-', '−')}{error}{fewer}"


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Plain values; shares, not percent."""
    return asdict(comparison)
