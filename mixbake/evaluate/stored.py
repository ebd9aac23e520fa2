"""Results as they lie on disk, and read again.

    Results <-> RUN/eval/<name>/results.json

Rule: a file may be a stranger's: every value has the type of its field, or the file is damaged.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar, get_args, get_origin

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

_TYPES: Mapping[Any, tuple[type, ...]] = {
    int: (int,),
    float: (float, int),
    str: (str,),
    bool: (bool,),
    int | None: (int, type(None)),
}
"""What JSON may hold for a field of that type."""
_Found = TypeVar("_Found")


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
        return _typed(
            Results,
            given
            | {
                "clean": _typed(Scores, given["clean"]),
                "corruptions": {name: _corrupted(group) for name, group in given["corruptions"].items()},
                "perturbed": _perturbed(given["perturbed"]) if given["perturbed"] else None,
                "attacked": _typed(Attacked, given["attacked"]) if given["attacked"] else None,
                "anomalies": {name: _typed(Anomaly, one) for name, one in given["anomalies"].items()},
                "rendition": _typed(Scores, given["rendition"]) if given["rendition"] else None,
                "missing": tuple(given["missing"]),
                "notes": tuple(given["notes"]),
            },
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damage(f"{where} is damaged ({error}): evaluate again") from error


def _typed(kind: type[_Found], plain: Mapping[str, Any]) -> _Found:
    """Of values for its fields. Raises TypeError for one of another type than its field's."""
    found = kind(**plain)
    for one in fields(kind):  # type: ignore[arg-type]  # all are dataclasses
        if not _is_of(one.type, getattr(found, one.name)):
            raise TypeError(f"{one.name} is {getattr(found, one.name)!r:.40}")
    return found


def _is_of(kind: Any, value: Any) -> bool:
    """Whether a value has a plain type, or its parts have; of other types there is nothing to tell here."""
    if get_origin(kind) is Mapping:
        return isinstance(value, Mapping) and all(_is_of(get_args(kind)[1], part) for part in value.values())
    if get_origin(kind) is tuple:
        return all(_is_of(get_args(kind)[0], part) for part in value)
    return type(value) in _TYPES.get(kind, (type(value),))


def _corrupted(group: Any) -> Corrupted:
    return _typed(Corrupted, group | {"found": {name: severities(**one) for name, one in group["found"].items()}})


def severities(*, scores: Mapping[Any, Mapping[str, Any]], rms: float) -> Severities:
    """Of plain values, whose keys may have become text."""
    by_severity = {int(severity): _typed(Scores, one) for severity, one in scores.items()}
    return _typed(Severities, {"scores": by_severity, "rms": rms})


def _perturbed(group: Any) -> Perturbed:
    return _typed(Perturbed, group | {"flips": {name: _typed(Flips, one) for name, one in group["flips"].items()}})
