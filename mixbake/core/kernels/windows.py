"""Draws crops and picture windows for many variants at once, one random stream each.

Source: torchvision's RandomResizedCrop (Inception crop, Szegedy et al. 2015) and zero-pad random crop.
Rule: draws are integers or quantised to 1e-6 before use; float64 through IEEE operations only.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit
from mixbake.core.kernels import codes
from mixbake.core.kernels.lanes import MICRO, exp2
from mixbake.core.kernels.words import CURSOR_WORDS, below, seek, uniform

Key = NDArray[np.uint64]
Numbers = NDArray[np.int64]
_LOG2_RATIO = 0.4150374992788438
"""log2(4/3): the aspect ratio is log-uniform between 3/4 and 4/3."""
PAD = 8
"""A padded crop moves by up to 1/PAD of the side each way."""


@inline
def _fallback(height: int, width: int) -> tuple[int, int]:
    """The largest central window (width, height) whose ratio is within 3/4..4/3."""
    if width * 4 < height * 3:
        return width, int(np.rint(width / 0.75))
    if width * 3 > height * 4:
        return int(np.rint(height * (4.0 / 3.0))), height
    return width, height


@inline
def _draw_resized(cursor: NDArray[np.uint64], height: int, width: int, crop: NDArray[np.int32]) -> None:
    """RandomResizedCrop: area share U(.08, 1), log-uniform ratio, ten tries, then the central window."""
    for _ in range(10):
        area = float(height * width) * (uniform(cursor, 80_000, MICRO) / MICRO)
        # Quantised, so that not even a last-digit difference of exp2 could matter.
        ratio = np.rint(exp2(_LOG2_RATIO * (uniform(cursor, -MICRO, MICRO) / MICRO)) * MICRO) / MICRO
        w, h = int(np.rint(np.sqrt(area * ratio))), int(np.rint(np.sqrt(area / ratio)))
        if 0 < w <= width and 0 < h <= height:
            crop[2] = np.int32(below(cursor, height - h + 1))
            crop[1] = np.int32(below(cursor, width - w + 1))
            crop[3], crop[4] = np.int32(w), np.int32(h)
            return
    w, h = _fallback(height, width)
    crop[1], crop[2], crop[3], crop[4] = (
        np.int32((width - w) // 2),
        np.int32((height - h) // 2),
        np.int32(w),
        np.int32(h),
    )


@jit
def draw_crops(
    key: Key,
    images: Numbers,
    groups: Numbers,
    shapes: NDArray[np.int32],
    kind: int,
    size: int,
    crops: NDArray[np.int32],
) -> None:
    """crops[i] <- (kind, left, top, width, height) for an image of shapes[i] = (height, width)."""
    cursor = np.zeros(CURSOR_WORDS, dtype=np.uint64)
    pad = size // PAD
    for i in range(len(images)):
        height, width = int(shapes[i, 0]), int(shapes[i, 1])
        seek(cursor, key, images[i], groups[i])
        crops[i, 0] = kind
        if kind == codes.CROP_PAD:
            crops[i, 1] = below(cursor, 2 * pad + 1) - pad
            crops[i, 2] = below(cursor, 2 * pad + 1) - pad
            crops[i, 3], crops[i, 4] = size, size
        elif kind == codes.CROP_RESIZED:
            _draw_resized(cursor, height, width, crops[i])
        else:
            side = min(height, width)
            crops[i, 1], crops[i, 2] = (width - side) // 2, (height - side) // 2
            crops[i, 3], crops[i, 4] = side, side


@jit
def draw_flips(key: Key, images: Numbers, groups: Numbers, flips: NDArray[np.uint8]) -> None:
    """flips[i] <- 0 or 1 with equal probability."""
    cursor = np.zeros(CURSOR_WORDS, dtype=np.uint64)
    for i in range(len(images)):
        seek(cursor, key, images[i], groups[i])
        flips[i] = below(cursor, 2)


@inline
def _draw_number(cursor: NDArray[np.uint64], pictures: int, sets: NDArray[np.int64], total: int) -> Any:
    """Number of a picture; total: of the sets' weights, 0 without sets."""
    if total == 0:
        return below(cursor, pictures)
    drawn, first, i = below(cursor, total), 0, 0
    while drawn >= sets[i, 1]:
        drawn -= sets[i, 1]
        first += sets[i, 0]
        i += 1
    return first + below(cursor, sets[i, 0])


@jit
def draw_pictures(
    key: Key,
    images: Numbers,
    groups: Numbers,
    shapes: NDArray[np.int32],
    sets: NDArray[np.int64],
    size: int,
    chosen: NDArray[np.int32],
) -> None:
    """chosen[i] <- (id, left, top, hflip, vflip, unchanged): a picture, a uniform window and mirroring.

    sets: int64[s, 2], pictures (1 or more, `shapes` has them in this order) and weight of each set, of which one is
    drawn by weight, then a uniform picture of it; without sets, a uniform picture.
    """
    cursor, total = np.zeros(CURSOR_WORDS, dtype=np.uint64), 0
    for i in range(len(sets)):
        total += sets[i, 1]
    for i in range(len(images)):
        seek(cursor, key, images[i], groups[i])
        number = _draw_number(cursor, len(shapes), sets, total)
        chosen[i, 0] = number
        chosen[i, 1] = below(cursor, shapes[number, 1] - size + 1)
        chosen[i, 2] = below(cursor, shapes[number, 0] - size + 1)
        chosen[i, 3] = below(cursor, 2)
        chosen[i, 4] = below(cursor, 2)
