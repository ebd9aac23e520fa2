"""Where the pictures of a batch come from: its rows, one, or three for triplets. Pure.

A row is a list of sources: a view, a number, and the places of the row that are taken from there.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixbake.stream.order import Places

Source = tuple[str, int, NDArray[np.int64]]


def rows_of(places: Places, views: str, group: int) -> list[list[Source]]:
    """The rows of a batch. views: "mix" or "jsd"; group: mixes that share a clean crop (`Plan.group`)."""
    everywhere = np.arange(len(places))
    if views == "jsd":
        first = 2 * places.epoch
        return [
            [("clean", places.epoch, everywhere)],
            [("mix", first, everywhere)],
            [("mix", first + 1, everywhere)],
        ]
    if not places.clean.any():
        return [[("mix", places.epoch, everywhere)]]
    mixed: Source = ("mix", places.epoch, np.flatnonzero(~places.clean))
    clean: Source = ("clean", places.epoch // group, np.flatnonzero(places.clean))
    return [[source for source in (mixed, clean) if len(source[2])]]


def numbers_of(rows: Sequence[Sequence[Source]], count: int) -> NDArray[np.int64]:
    """int64[rows, count]: the number of each picture."""
    if len(rows) == 1 and len(rows[0]) == 1:
        return np.full((1, count), rows[0][0][1])
    numbers = np.empty((len(rows), count), np.int64)
    for row, sources in zip(numbers, rows, strict=True):
        for _, number, chosen in sources:
            row[chosen] = number
    return numbers
