"""The tensor law of levels: how LayerMix's published code turns a drawn level into a step.

Shears hold the centre still, translations are sub-pixel, colour factors are 1 ± u.
Rule: a level is drawn once per use, stored as drawn, and the step's arguments follow from it exactly.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit
from mixbake.core.kernels.lanes import MICRO
from mixbake.core.kernels.words import below, uniform
from mixbake.core.ops import CENTRE, OPS
from mixbake.recipes.writing import append_op

_POSTERIZE, _POSTERIZE_INCREASING = OPS["posterize"], OPS["posterize_increasing"]
_SOLARIZE, _SOLARIZE_INCREASING = OPS["solarize"], OPS["solarize_increasing"]
_FIRST_COLOUR, _LAST_COLOUR = OPS["color"], OPS["sharpness"]


@inline
def _threshold(level: int) -> int:
    """Least byte v with v/255 >= level/1e6, 0..256."""
    return min(max((255 * level + MICRO - 1) // MICRO, 0), 256)


@inline
def _argument(op: int, level: int, min_bits: int) -> int:
    """First argument of the step that `op` becomes at a level in 1e-6."""
    if op == _POSTERIZE:
        return max(level // MICRO, min_bits)
    if op == _POSTERIZE_INCREASING:
        return max(4 - level // MICRO, min_bits)
    if op == _SOLARIZE:
        return _threshold(level)
    if op == _SOLARIZE_INCREASING:
        return _threshold(MICRO - level)
    if _FIRST_COLOUR <= op <= _LAST_COLOUR:
        return MICRO + level
    return level


@jit
def arguments(op: int, levels: NDArray[np.int64], min_bits: int) -> NDArray[np.int64]:
    """First argument of the step that `op` becomes at each level in 1e-6, int64[n], in the argument's own unit."""
    found = np.empty(len(levels), np.int64)
    for i in range(len(levels)):
        found[i] = _argument(op, levels[i], min_bits)
    return found


@inline
def write_op(
    cursor: NDArray[np.uint64], steps: Any, provenance: Any, row: int, source: int, op_row: Any, min_bits: int
) -> int:
    """Append `op(register source)` with a fresh level to a row; returns the register it writes.

    op_row: int64[4] (operation, low, high, signed). steps, provenance: see `mixbake.recipes.writing`.
    """
    op, low, high, signed = op_row[0], op_row[1], op_row[2], op_row[3]
    level = uniform(cursor, low, high) if high > 0 else 0
    if signed and below(cursor, 2) == 0:
        level = -level
    return append_op(steps, provenance, row, source, op, level, _argument(op, level, min_bits), CENTRE)
