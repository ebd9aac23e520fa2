"""Whether the steps of variants are those that their ops, levels and blends stand for.

Rule: only what laws state of every program is looked at, never how often something was drawn.
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.draws import OFF, OTHER, STEP_CODES, Blended, Draws
from mixbake.core.blends import BLENDS
from mixbake.core.ops import OPS, STEPS
from mixbake.core.variant import MICRO
from mixbake.recipes.laws import Box, Laws, Sum, Use

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def is_bare(draws: Draws) -> Flags:
    """Whether each variant is the crop alone: bool[n]."""
    variants = draws.variants
    bare: Flags = variants.sound & (variants.ops == 0) & (variants.blends == 0) & _sums_as_stated(draws, None)
    bare &= (variants.layer == OTHER) & (variants.picture == OTHER)
    return bare


def as_stated(draws: Draws, laws: Laws) -> Flags:
    """Whether the steps of each variant are those that its ops, levels and blends stand for: bool[n]."""
    variants, uses, blended = draws.variants, draws.uses, draws.blended
    odd_use = np.ones(len(uses.of), np.bool_)
    for use in laws.uses:
        of_op = np.flatnonzero(uses.op == OPS[use.op])
        odd_use[of_op] = ~_follows(draws, use, of_op)
    steps = np.array([*(STEP_CODES[name] for name in BLENDS), OTHER])
    odd_blend = (steps[blended.blend] != blended.step) | (blended.blend == OTHER) | _odd_boxes(blended, laws.box)
    good = variants.sound & _sums_as_stated(draws, laws.sum)
    good[uses.of[odd_use]] = False
    good[blended.of[odd_blend]] = False
    return good


def _odd_boxes(blended: Blended, law: Box | None) -> Flags:
    """Which blends have a box where there is none to be, or the other way round, or one that is none."""
    odd: Flags = blended.arity != (6 if law else 2)
    if law is None:
        return odd
    left, top, width, height = blended.box.astype(np.int64).T
    odd |= (np.minimum(left, top) < 0) | (left + width > law.size) | (top + height > law.size)
    return odd


def _sums_as_stated(draws: Draws, law: Sum | None) -> Flags:
    """Whether each variant has a weighted sum of all that it is to be of, with weights that are 1 together: bool[n]."""
    summed = draws.summed
    counts = np.bincount(summed.of, minlength=len(draws.variants.row))
    good: Flags = counts == (0 if law is None else 1)
    if law is None:
        return good
    weights = summed.weights[:, : law.chains + 1]
    odd = (summed.arity != law.chains + 1) | (weights < 0).any(axis=1) | (weights.sum(axis=1) != MICRO)
    good[summed.of[odd]] = False
    return good


def _follows(draws: Draws, use: Use, of_op: Ints) -> Flags:
    """Whether the step of each of these uses of an operation follows from its level."""
    uses = draws.uses
    step, arity, args, level = uses.step[of_op], uses.arity[of_op], uses.args[of_op], uses.level[of_op]
    wanted = len(STEPS[use.step].args)
    good: Flags = (step == STEP_CODES[use.step]) & (arity == wanted) & (level != OFF)
    if use.level is None:
        good &= level == 0
    if wanted:
        good &= args[:, 0] == use.arguments(level)
    for place, value in enumerate(use.rest, 1):
        good &= args[:, place] == value
    return good
