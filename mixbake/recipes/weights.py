"""Weights of mixing sets: how often each of several is mixed with.

Rule: builds and transforms take and refuse the same.
"""

from collections.abc import Sequence
from typing import Any

from mixbake.errors import UsageError
from mixbake.recipes.recipe import MOST_WEIGHT


def require_weights(weights: Sequence[Any], sets: Sequence[str], *, name: str) -> None:
    """Raise UsageError unless there is no weight, or a whole one for each mixing set and one above 0.

    name: what the weights are called where they were given.
    """
    if not weights:
        return
    for weight in weights:
        if type(weight) is not int:
            raise UsageError(f"{name} {weight!r}: give whole numbers, for example 3,1")
        if not 0 <= weight <= MOST_WEIGHT:
            raise UsageError(f"{name} {weight} is out of range: 0 to {MOST_WEIGHT}")
    if len(weights) != len(sets):
        given = ",".join(map(str, weights))
        raise UsageError(f"{name} {given} for {len(sets)} mixing sets ({', '.join(sets)}): one for each")
    if not any(weights):
        raise UsageError(f"{name} are all 0: one set at least must be mixed with")


def weighted(counts: Sequence[int], weights: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Pictures and weight of each set, as `Lot` has them.

    A single one's weight changes nothing: it is left out, so that plans are one.
    """
    return tuple(zip(counts, weights, strict=True)) if len(weights) > 1 else ()
