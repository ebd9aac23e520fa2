"""Results as they lie on disk, and read again.

    Results <-> RUN/eval/<name>/results.json

Rule: a file may be a stranger's: every value has the type of its field, or the file is damaged.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from mixbake.errors import Damage, UsageError
from mixbake.evaluate.results import (
    Anomaly,
    Attacked,
    Corrupted,
    Flips,
    Perturbed,
    Results,
    Scores,
    Severities,
    measured,
    summary,
    variant_of,
)

FORMAT = 3
RESULTS = "results.json"

_Found = TypeVar("_Found", Scores, Flips, Attacked, Anomaly)


def to_json(results: Results) -> dict[str, Any]:
    """Plain values, with the summary for those who read nothing else; beside it what was measured otherwise."""
    told = {"summary": summary(results), "measured_otherwise": _otherwise(results)}
    return {"format": FORMAT, **asdict(results), **told}


def _otherwise(results: Results) -> dict[str, dict[str, Any]]:
    """What the summary leaves out: of each metric the value, and in which way it is another one."""
    return {
        name: {"value": value, "variant": variant}
        for name, value in measured(results).items()
        if value is not None and (variant := variant_of(results, name))
    }


def from_json(value: Any, where: str) -> Results:
    """The results of a results.json, parsed. Raises Damage, naming `where`, when it is none of this format."""
    try:
        if value["format"] != FORMAT:
            raise UsageError(f"{where} is of format {value['format']}: read it with the mixbake that wrote it")
        given = {one.name: value[one.name] for one in fields(Results)}
        return Results(
            **given
            | {
                "clean": _typed(Scores, given["clean"]),
                "corruptions": {name: _corrupted(group) for name, group in given["corruptions"].items()},
                "perturbed": _perturbed(given["perturbed"]) if given["perturbed"] else None,
                "attacked": _typed(Attacked, given["attacked"]) if given["attacked"] else None,
                "anomalies": {name: _typed(Anomaly, one) for name, one in given["anomalies"].items()},
                "rendition": _typed(Scores, given["rendition"]) if given["rendition"] else None,
                "missing": tuple(given["missing"]),
                "notes": tuple(given["notes"]),
            }
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damage(f"{where} is damaged ({error}): evaluate again") from error


def _typed(kind: type[_Found], plain: Mapping[str, Any]) -> _Found:
    """Of plain values. Raises TypeError for one of another type than its field's."""
    found = kind(**plain)
    for one in fields(kind):
        value = getattr(found, one.name)
        if type(value) is not one.type and not (one.type is float and type(value) is int):
            raise TypeError(f"{one.name} is {value!r:.40}")
    return found


def _corrupted(group: Any) -> Corrupted:
    return Corrupted(**group | {"found": {name: severities(**one) for name, one in group["found"].items()}})


def severities(*, scores: Mapping[Any, Mapping[str, Any]], rms: float) -> Severities:
    """Of plain values, whose keys may have become text."""
    return Severities(scores={int(severity): _typed(Scores, one) for severity, one in scores.items()}, rms=rms)


def _perturbed(group: Any) -> Perturbed:
    return Perturbed(**group | {"flips": {name: _typed(Flips, one) for name, one in group["flips"].items()}})
