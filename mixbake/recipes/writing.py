"""Appends steps to a row of a program table, with what was drawn for them: what the kernels of all recipes share.

Rule: a use of an operation, a blend or a weighted sum is one step; the first two have one entry of provenance each, in
the order of the steps. In each function, steps is `Programs.steps`, provenance is `Programs.provenance`, and what is
returned is the register that the step writes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline
from mixbake.core.kernels import codes
from mixbake.core.kernels.lanes import MICRO, exp2, log2
from mixbake.core.kernels.words import below, greatest, median, next_word, uniform
from mixbake.core.ops import OPS, STEP_NAMES, STEPS

STEP_OF = {
    "autocontrast": codes.AUTOCONTRAST,
    "equalize": codes.EQUALIZE,
    "posterize": codes.POSTERIZE,
    "rotate": codes.ROTATE,
    "solarize": codes.SOLARIZE,
    "shear_x": codes.SHEAR_X,
    "shear_y": codes.SHEAR_Y,
    "translate_x": codes.TRANSLATE_X,
    "translate_y": codes.TRANSLATE_Y,
    "posterize_increasing": codes.POSTERIZE,
    "solarize_increasing": codes.SOLARIZE,
    "grayscale": codes.GRAYSCALE,
    "color": codes.COLOR,
    "contrast": codes.CONTRAST,
    "brightness": codes.BRIGHTNESS,
    "sharpness": codes.SHARPNESS,
    "mirror": codes.MIRROR,
    "invert": codes.INVERT,
}
"""The kind of step that an operation becomes."""
_STEPS = np.array([STEP_OF[op] for op in OPS], np.int64)
_ARITIES = np.array([len(STEPS[STEP_NAMES[STEP_OF[op]]].args) for op in OPS], np.int64)

PUBLISHED, CONVEX = 0, 1
"""Laws of a blend's coefficients: the papers' pair of Beta laws; w ~ Beta(β, β) and 1 - w."""


@inline
def append_op(
    steps: Any, provenance: Any, row: int, source: int, op: int, level: int, argument: int, anchor: int
) -> Any:
    """`op(register source)`. anchor: what a shear holds still; other operations pass it over."""
    lengths, do, sources, args, arities = steps
    _, ops, levels, counts, _, _ = provenance
    i, use = lengths[row], counts[row]
    do[row, i] = _STEPS[op]
    sources[row, i, 0] = source
    args[row, i, 0] = argument
    if _ARITIES[op] == 2:
        args[row, i, 1] = anchor
    arities[row, i] = _ARITIES[op]
    ops[row, use], levels[row, use] = op, level
    counts[row], lengths[row] = use + 1, i + 1
    return i + 2


@inline
def _beta(cursor: NDArray[np.uint64], beta: int, upper: bool) -> int:
    """Beta(β, 1) when upper, else Beta(1, β), in 1e-6: extreme of β uniforms, else U^(1/β)."""
    if beta % MICRO == 0:
        value = greatest(cursor, beta // MICRO)
    else:
        u = uniform(cursor, 1, MICRO) / MICRO
        value = int(np.rint(exp2(log2(u) * (MICRO / beta)) * MICRO))
    return value if upper else MICRO - value


@inline
def _coefficients(cursor: NDArray[np.uint64], beta: int, law: int) -> tuple[int, int]:
    """(a, b) of an arithmetic or geometric blend, in 1e-6."""
    if law == CONVEX:
        w = median(cursor, beta // MICRO)
        return w, MICRO - w
    if below(cursor, 2) == 0:
        return _beta(cursor, beta, True), _beta(cursor, beta, False)
    return MICRO + _beta(cursor, beta, False), -_beta(cursor, beta, False)


@inline
def draw_blend(cursor: NDArray[np.uint64], weights: NDArray[np.int64]) -> Any:
    """A blend, drawn by weight; weights: int64[4], whole, one of them above 0."""
    total = 0
    for i in range(len(weights)):
        total += weights[i]
    drawn, blend = below(cursor, total), 0
    while drawn >= weights[blend]:
        drawn -= weights[blend]
        blend += 1
    return blend


@inline
def append_blend(
    cursor: Any, steps: Any, provenance: Any, row: int, x1: int, x2: int, blend: int, beta: int, law: int
) -> Any:
    """A blend of registers x1, x2 with freshly drawn coefficients, or share and seed of a mask. beta: in 1e-6."""
    lengths, do, sources, args, arities = steps
    i = lengths[row]
    do[row, i] = codes.ARITHMETIC + blend
    sources[row, i, 0], sources[row, i, 1] = x1, x2
    arities[row, i] = 2
    if blend < 2:
        args[row, i, 0], args[row, i, 1] = _coefficients(cursor, beta, law)
    else:
        args[row, i, 0] = uniform(cursor, 0, MICRO)
        args[row, i, 1] = np.int64(next_word(cursor) >> np.uint64(32))
    blends, counts = provenance[4], provenance[5]
    blends[row, counts[row]] = blend
    counts[row] += 1
    lengths[row] = i + 1
    return i + 2


@inline
def limit_to_box(steps: Any, row: int, left: int, top: int, width: int, height: int) -> None:
    """Limit the blend that a row ends in to a box."""
    lengths, _, _, args, arities = steps
    last = lengths[row] - 1
    args[row, last, 2], args[row, last, 3], args[row, last, 4], args[row, last, 5] = left, top, width, height
    arities[row, last] = 6


@inline
def draw_shares(cursor: NDArray[np.uint64], width: int, alpha: int, ends: NDArray[np.int64]) -> None:
    """ends[i] <- the sum of the first i + 1 of `width` shares ~ Dirichlet(alpha, ..., alpha), in 1e-6; the last is 1e6.

    Between alpha · width - 1 sorted uniforms lie as many gaps as alpha · width, which are Dirichlet(1, ..., 1);
    alpha neighbours together are one share. So nothing but integers is needed, for whole alpha.
    """
    count = alpha * width - 1
    drawn = np.empty(count + 1, dtype=np.int64)
    for i in range(count):
        value, at = uniform(cursor, 0, MICRO), i
        while at > 0 and drawn[at - 1] > value:
            drawn[at] = drawn[at - 1]
            at -= 1
        drawn[at] = value
    drawn[count] = MICRO
    for i in range(width):
        ends[i] = drawn[alpha * (i + 1) - 1]


@inline
def append_sum(steps: Any, row: int, registers: NDArray[np.int64], ends: NDArray[np.int64], width: int, t: int) -> Any:
    """(1 - t) · crop + t · Σ share_i · registers[i], rounded once; t in 1e-6, ends as of `draw_shares`.

    The sums of shares are multiplied by t and rounded, not the shares, so that all weights together are 1e6 exactly.
    """
    lengths, do, sources, args, arities = steps
    i = lengths[row]
    do[row, i] = codes.WEIGHTED
    args[row, i, 0] = MICRO - t
    before = 0
    for k in range(width):
        end = (t * ends[k] + MICRO // 2) // MICRO
        sources[row, i, k + 1] = registers[k]
        args[row, i, k + 1] = end - before
        before = end
    arities[row, i] = width + 1
    lengths[row] = i + 1
    return i + 2
