"""Which variants a sample holds: a pure function of the seed and of the variants there are.

Rule: a variant's turn is a hash of (seed, image, number, view); who comes first is taken. Neither threads, nor
a library's random numbers, nor what else the bake holds can change the order of two variants.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog, Rows, Variants
from mixbake.core import rng
from mixbake.errors import UsageError

STRATA = ("class", "layer", "op", "blend")
"""What a sample can be spread over."""


def choose(catalog: Catalog, rows: Rows, n: int, *, stratify: Sequence[str] = (), seed: int = 0) -> Rows:
    """At most n of these rows, without repeats, in the order of strata, image, number and view.

    stratify: columns of STRATA; every combination of their values that occurs gives the same number, up to one, as
    long as it has that many. Raises UsageError on anything else.
    """
    if n < 1:
        raise UsageError(f"a sample has at least 1 variant, not {n}")
    if odd := [name for name in stratify if name not in STRATA]:
        raise UsageError(f"a sample is not spread over {odd[0]!r}: choose from {', '.join(STRATA)}")
    variants = catalog.variants(rows)
    turn, groups = turns(variants, seed), np.zeros(len(rows), np.int64)
    if stratify and len(rows):
        groups = _groups(catalog.take(rows, list(stratify)))
        chosen = _evenly(groups, turn, n)
    else:
        chosen = np.argpartition(turn, n - 1)[:n] if n < len(turn) else np.arange(len(turn))
    keys = variants.clean, variants.numbers, variants.images, groups
    return rows[chosen[np.lexsort([key[chosen] for key in keys])]]


def turns(variants: Variants, seed: int) -> NDArray[np.uint64]:
    """Uniform hashes of (seed, image, number, view): uint64[k]. Steele, Lea, Flood 2014, "Fast splittable PRNGs"."""
    start = np.uint64(rng.key(seed, "sample")[0])
    places = variants.numbers.astype(np.uint64) * np.uint64(2) + variants.clean
    with np.errstate(over="ignore"):
        mixed = rng.scrambled(start + variants.images.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        return rng.scrambled(mixed + places * np.uint64(0xD1B54A32D192ED03))


def _groups(table: Any) -> NDArray[np.int64]:
    """A number for each combination of values, int64[k], in their order; a null comes last."""
    groups = np.zeros(len(table), np.int64)
    for column in table.columns:
        whole = column.combine_chunks()
        encoded = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        places = np.append(np.argsort(np.argsort(np.array(values, object))), len(values))
        codes = places[encoded.indices.fill_null(len(values)).to_numpy()]
        # Numbered anew after each column, so that no product of counts can overflow.
        groups = np.unique(groups * len(places) + codes, return_inverse=True)[1]
    return groups


def _evenly(groups: NDArray[np.int64], turn: NDArray[np.uint64], n: int) -> NDArray[np.int64]:
    """Where the first of each group are, by turn, n in all: as many of each, up to one, as it has them."""
    order = np.lexsort((turn, groups))
    counts = np.bincount(groups)
    ranks = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    # `full` of each group fit into n; of the round after that, those whose turn is first.
    takes = np.cumsum(np.bincount(ranks))
    full = int(np.searchsorted(takes, n, side="right"))
    last = order[ranks == full]
    rest = n - (int(takes[full - 1]) if full else 0)
    return np.concatenate([order[ranks < full], last[np.argsort(turn[last], kind="stable")[:rest]]])
