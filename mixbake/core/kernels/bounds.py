"""Whether programs stay inside their image, picture and registers: what `core.checks.check_rows` asks, compiled.

That one names what is wrong, in tens of microseconds; this one only answers, in less than one, for callers that
render a single small image a call. Rule: never more lenient than `check_rows`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit
from mixbake.core.kernels import codes
from mixbake.core.kernels.program import Columns, Pictures


@inline
def _crop_fits(crop: Any, height: int, width: int, size: int) -> Any:
    kind, left, top, wide, high = crop[0], np.int64(crop[1]), np.int64(crop[2]), np.int64(crop[3]), np.int64(crop[4])
    if kind == codes.CROP_PAD:
        return wide == size and high == size and abs(left) <= 4 * (size + width) and abs(top) <= 4 * (size + height)
    inside = left >= 0 and top >= 0 and wide >= 1 and high >= 1 and left + wide <= width and top + high <= height
    return inside and codes.CROP_RESIZED <= kind <= codes.CROP_FIT


@inline
def _window_fits(picture: Any, pictures: Pictures, size: int) -> bool:
    pixels, offsets, shapes, channels = pictures
    number, left, top = picture[0], np.int64(picture[1]), np.int64(picture[2])
    if number >= len(shapes):
        return False
    high, wide = np.int64(shapes[number, 0]), np.int64(shapes[number, 1])
    if left < 0 or top < 0 or left + size > wide or top + size > high:
        return False
    return offsets[number] + high * wide * channels <= len(pixels)


@inline
def _box_fits(args: Any, size: int) -> bool:
    for k in range(2, 6):
        if args[k] < 0 or args[k] > size:
            return False
    left, top, width, height = args[2], args[3], args[4], args[5]
    return width >= 1 and height >= 1 and left + width <= size and top + height <= size


@inline
def _step_fits(
    do: int, sources: Any, args: Any, arity: int, written: int, pictured: bool, size: int, limits: Any
) -> bool:
    counts, takes, ends = limits
    if do < 0 or do >= len(counts) or counts[do] < 0:
        return False
    if arity < 0 or arity > codes.MAX_ARGS or not takes[do, arity]:
        return False
    for k in range(counts[do] if counts[do] > 0 else arity):
        if sources[k] < 0 or sources[k] >= written or (sources[k] == 1 and not pictured):
            return False
    for k in range(arity):
        if args[k] < ends[do, k, 0] or args[k] > ends[do, k, 1]:
            return False
    blend = codes.ARITHMETIC <= do < codes.WEIGHTED
    return not (blend and arity == 6) or _box_fits(args, size)


@jit
def all_fit(
    columns: Columns,
    height: int,
    width: int,
    pictures: Pictures,
    size: int,
    limits: tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]],
) -> bool:
    """Whether every row of a table fits images of height × width; limits: see `core.checks.limits`."""
    crops, _, chosen, lengths, do, sources, args, arities = columns
    for row in range(len(crops)):
        pictured = chosen[row, 0] >= 0
        if not _crop_fits(crops[row], height, width, size):
            return False
        if pictured and not _window_fits(chosen[row], pictures, size):
            return False
        if lengths[row] < 0 or lengths[row] > do.shape[1]:
            return False
        for i in range(lengths[row]):
            fits = _step_fits(do[row, i], sources[row, i], args[row, i], arities[row, i], i + 2, pictured, size, limits)
            if not fits:
                return False
    return True
