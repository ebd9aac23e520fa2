"""One pass over variants: what is measured of each, and of pairs of one image.

    rows by block, image, number -> batches -> pictures and their crops (read a batch ahead)
                                            -> likeness, fingerprints, distances within an image
Rule: the variants of an image lie in one batch as far as they fit, and a batch is all that is held of pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixbake.audit import hashing, likeness
from mixbake.audit.batches import Batch, BatchReader
from mixbake.audit.catalog import Catalog, Rows, Variants
from mixbake.audit.hashing import Fingerprints
from mixbake.audit.originals import mapped_ahead
from mixbake.audit.samples import Row
from mixbake.core.blends import BLENDS
from mixbake.core.ops import OPS

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Crops = Callable[[Batch, BatchReader], Bytes | None]
"""Crops of a batch, uint8 n×S×S×3; None when they cannot be had, and then for all that follow, too."""
MOST = 1000
BATCH_BYTES = 1 << 25
"""Variants, and bytes of their pixels, in a batch: as much again for crops, and twice that for the batch ahead."""

NONE, SEVERAL, OTHER = "none", "several", "other"
"""Values of a group besides names: nothing there; more than one operation; a name that this version does not know."""
_LAYERS = (*map(str, range(-128, 128)), NONE)
_OPS = (*OPS, SEVERAL, NONE, OTHER)
_BLENDS = (*BLENDS, NONE, OTHER)
VALUES: dict[str, tuple[str, ...]] = {"all": ("all",), "layer": _LAYERS, "op": _OPS, "blend": _BLENDS}
"""What variants are grouped by, and the values in order; so forged names cannot make groups without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Of n variants, and by group.

    prints: their fingerprints. ssim, correlation, distances (root mean square, 0 to 1): float64[n], to the crop, or
    None. crops: fingerprints of the crops, or None if not asked for. codes: by grouping, int64[n] places in VALUES.
    apart: by grouping, float64[values]: mean distance of two variants of one image there, NaN where there is no pair.
    """

    variants: Variants
    prints: Fingerprints
    ssim: Floats | None
    correlation: Floats | None
    distances: Floats | None
    crops: Fingerprints | None
    codes: dict[str, NDArray[np.int64]]
    apart: dict[str, Floats]


def measure(
    catalog: Catalog, rows: Rows, crops: Crops, progress: Callable[[str, int, int], None], *, keep_crops: bool = False
) -> Measures:
    """Measure the variants of these rows, which come out by block, image and number. keep_crops: their fingerprints.

    Raises Damage naming shard and key, StorageError, and what `crops` raises.
    """
    variants = catalog.variants(rows)
    places = catalog.bake.blocks[variants.positions], catalog.bake.rows[variants.positions]
    order = np.lexsort((variants.numbers, *places[::-1]))
    rows, variants = rows[order], catalog.variants(rows[order])

    def read(span: tuple[int, int]) -> tuple[int, Batch, Bytes | None]:
        batch = reader.read(rows[slice(*span)])
        return span[0], batch, crops(batch, reader)

    likenesses, prints, crop_prints = np.full((3, len(rows)), np.nan), [], []
    codes = {by: np.zeros(len(rows), np.int64) for by in VALUES}
    sums = {by: np.zeros((2, len(values))) for by, values in VALUES.items()}
    reader = BatchReader(catalog)
    try:
        for start, batch, cut in mapped_ahead(read, _spans(variants, catalog.bake.plan.size), threads=1):
            here = slice(start, start + len(batch))
            prints.append(hashing.fingerprints(batch.pixels))
            if cut is not None:
                likenesses[:, here] = _compare(batch.pixels, cut)
                if keep_crops:
                    crop_prints.append(hashing.fingerprints(cut))
            for by, find in _CODES.items():
                codes[by][here] = [find(row) for row in batch.rows]
                _add_pairs(batch.pixels, variants.positions[here], codes[by][here], sums[by])
            progress("variants measured", here.stop, len(rows))
    finally:
        reader.close()
    whole = bool(len(rows)) and not np.isnan(likenesses).any()
    with np.errstate(invalid="ignore"):
        apart = {by: total / count for by, (total, count) in sums.items()}
    return Measures(
        variants=variants,
        prints=hashing.joined(prints),
        ssim=likenesses[0] if whole else None,
        correlation=likenesses[1] if whole else None,
        distances=likenesses[2] if whole else None,
        crops=hashing.joined(crop_prints) if whole and keep_crops else None,
        codes=codes,
        apart=apart,
    )


def _spans(variants: Variants, size: int) -> Iterator[tuple[int, int]]:
    """Where batches begin and end: between images, but for images that fill more than one."""
    most = max(1, min(MOST, BATCH_BYTES // (3 * size * size)))
    ends = np.append(np.flatnonzero(np.diff(variants.positions)) + 1, len(variants))
    start = 0
    while start < len(variants):
        fits = int(np.searchsorted(ends, start + most, side="right")) - 1
        end = int(ends[fits]) if fits >= 0 and ends[fits] > start else min(start + most, len(variants))
        yield start, end
        start = end


def _compare(pixels: Bytes, crops: Bytes) -> Floats:
    """SSIM, correlation and distance to the crop: float64[3, n]."""
    correlations, distances = likeness.correlation(pixels, crops)
    return np.stack([likeness.ssim(likeness.to_luma(pixels), likeness.to_luma(crops)), correlations, distances])


def _add_pairs(pixels: Bytes, positions: NDArray[np.int64], codes: NDArray[np.int64], sums: Floats) -> None:
    """Add distances, and their number, of each variant to the next one of the same image and group."""
    order = np.lexsort((codes, positions))
    firsts, seconds = order[:-1], order[1:]
    pairs = (positions[firsts] == positions[seconds]) & (codes[firsts] == codes[seconds])
    firsts, seconds = firsts[pairs], seconds[pairs]
    np.add.at(sums[0], codes[firsts], likeness.distances_of(pixels, firsts, seconds))
    np.add.at(sums[1], codes[firsts], 1)


def _layer(row: Row) -> int:
    return len(_LAYERS) - 1 if row["layer"] is None else int(row["layer"]) + 128


def _op(row: Row) -> int:
    ops = set(row["ops"] or ())
    name = SEVERAL if len(ops) > 1 else next(iter(ops), NONE)
    return _OPS.index(name if name in _OPS else OTHER)


def _blend(row: Row) -> int:
    name = next(iter(row["blends"] or ()), NONE)
    return _BLENDS.index(name if name in _BLENDS else OTHER)


_CODES: dict[str, Callable[[Row], int]] = {"all": lambda _row: 0, "layer": _layer, "op": _op, "blend": _blend}
"""A row's place in VALUES."""
