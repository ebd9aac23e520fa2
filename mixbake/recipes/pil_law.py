"""The law of levels of AugMix's code, which PixMix and IPMix took over: whole degrees and pixels, Pillow's geometry.

A level v is uniform between 0.1 and the severity m, at most 10. What it becomes:

    rotate ±int(3v)°              shear_x, shear_y ±0.03 v, the top-left corner held still
    posterize 4 - int(0.4v) bits  translate_x, translate_y ±int(v · side / 30) px
    solarize >= 256 - int(25.6v)  color, contrast, brightness, sharpness factor 0.18 v + 0.1

Two laws differ from that in one thing each. COMPOSER: the level of a colour operation is its factor, half of the time
U(1 - 0.09 m, 1), else U(1, m), and brightness takes 3/4 of what is above 1. CUTOFF: autocontrast cuts off 10 - v
per cent at both ends.
Rule: a level is drawn once per use, stored as drawn, and the step's arguments follow from it exactly.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit
from mixbake.core.kernels.lanes import MICRO
from mixbake.core.kernels.words import below, uniform
from mixbake.core.nearest import advise
from mixbake.core.ops import COLOUR4, OP_SETS, OPS
from mixbake.core.render import frozen
from mixbake.errors import UsageError
from mixbake.recipes.writing import append_op

PIL, COMPOSER, CUTOFF = 0, 1, 2

CORNER = 0
"""A shear's second argument: it holds the top-left corner still."""
GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
"""What has a sign."""
_LEVELS = {
    PIL: (*GEOMETRY, "posterize", "solarize", *COLOUR4),
    COMPOSER: (*GEOMETRY, "posterize", "solarize", *COLOUR4),
    CUTOFF: (*GEOMETRY, "posterize", "solarize", *COLOUR4, "autocontrast"),
}
"""Operations with a level."""
_KNOWN = {*_LEVELS[CUTOFF], "equalize", "mirror", "invert"}
SETS = tuple(name for name, ops in OP_SETS.items() if set(ops) <= _KNOWN)
"""Op sets that these laws have levels for."""

_AUTOCONTRAST, _POSTERIZE, _SOLARIZE, _BRIGHTNESS = (
    OPS[op] for op in ("autocontrast", "posterize", "solarize", "brightness")
)
_ROTATE, _SHEAR_X, _SHEAR_Y = OPS["rotate"], OPS["shear_x"], OPS["shear_y"]
_TRANSLATE_X, _TRANSLATE_Y = OPS["translate_x"], OPS["translate_y"]
_FIRST_COLOUR, _LAST_COLOUR = OPS["color"], OPS["sharpness"]


def check(*, severity: float, op_set: str, law: int = PIL) -> None:
    """Raise UsageError unless a law has levels for that severity and op set."""
    least = 1 if law == COMPOSER else 0.1
    if not least <= severity <= 10:
        raise UsageError(f"severity {severity} is out of range: {least} to 10")
    if round(severity, 6) != severity:
        raise UsageError(f"severity {severity} has more than six decimal places")
    if op_set not in SETS:
        raise UsageError(f"op set {op_set!r} is unknown, or not of this recipe's law: {advise(op_set, SETS)}")


@lru_cache(maxsize=64)
def op_rows(op_set: str, *, severity: float, law: int) -> NDArray[np.int64]:
    """int64[k, 5], read-only: see `op_row`. Kept, as to make them costs more than to draw a program."""
    return frozen(np.array([op_row(op, severity=severity, law=law) for op in OP_SETS[op_set]], np.int64))


def op_row(op: str, *, severity: float, law: int) -> tuple[int, int, int, int, int]:
    """(operation, low, high, signed, middle): ends of the level's law in 1e-6, both 0 without a level.

    middle is 0, or where two uniform halves, below and above it, meet.
    """
    most = round(severity * MICRO)
    if op not in _LEVELS[law]:
        return OPS[op], 0, 0, 0, 0
    if law == COMPOSER and op in COLOUR4:
        return OPS[op], MICRO - 9 * most // 100, most, 0, MICRO
    return OPS[op], 100_000, most, int(op in GEOMETRY), 0


@inline
def _size(op: int, level: int, side: int) -> int:
    """Size of the first argument of a geometric step, for the size of a level."""
    if op == _ROTATE:
        return 3 * level // MICRO * MICRO
    if op in (_SHEAR_X, _SHEAR_Y):
        return (3 * level + 50) // 100
    return level * side // (30 * MICRO) * MICRO


@inline
def _factor(op: int, level: int, law: int) -> int:
    """Factor of a colour operation."""
    if law != COMPOSER:
        return (18 * level + 50) // 100 + 100_000
    return (3 * level + 2) // 4 if op == _BRIGHTNESS and level > MICRO else level


@inline
def _argument(op: int, level: int, side: int, law: int) -> int:
    """First argument of the step that `op` becomes at a level in 1e-6."""
    if op in (_ROTATE, _SHEAR_X, _SHEAR_Y, _TRANSLATE_X, _TRANSLATE_Y):
        return _size(op, level, side) if level >= 0 else -_size(op, -level, side)
    if op == _POSTERIZE:
        return 4 - 2 * level // (5 * MICRO)
    if op == _SOLARIZE:
        return 256 - 128 * level // (5 * MICRO)
    if _FIRST_COLOUR <= op <= _LAST_COLOUR:
        return _factor(op, level, law)
    return 10 * MICRO - level if op == _AUTOCONTRAST and law == CUTOFF else 0


@jit
def arguments(op: int, levels: NDArray[np.int64], side: int, law: int) -> NDArray[np.int64]:
    """First argument of the step that `op` becomes at each level in 1e-6, int64[n], in the argument's own unit."""
    found = np.empty(len(levels), np.int64)
    for i in range(len(levels)):
        found[i] = _argument(op, levels[i], side, law)
    return found


@inline
def _draw_level(cursor: NDArray[np.uint64], op_row: Any) -> int:
    low, high, signed, middle = op_row[1], op_row[2], op_row[3], op_row[4]
    if high == 0:
        return 0
    if middle > 0:
        return uniform(cursor, low, middle) if below(cursor, 2) == 0 else uniform(cursor, middle, high)
    level = uniform(cursor, low, high)
    return -level if signed and below(cursor, 2) == 0 else level


@inline
def write_op(
    cursor: NDArray[np.uint64],
    steps: Any,
    provenance: Any,
    row: int,
    source: int,
    op_rows: NDArray[np.int64],
    side: int,
    law: int,
) -> Any:
    """Append an operation of register `source` to a row, any of op_rows, with a fresh level; returns its register.

    steps, provenance: see `mixbake.recipes.writing`.
    """
    op_row = op_rows[below(cursor, len(op_rows))]
    op, level = op_row[0], _draw_level(cursor, op_row)
    return append_op(steps, provenance, row, source, op, level, _argument(op, level, side, law), CORNER)
