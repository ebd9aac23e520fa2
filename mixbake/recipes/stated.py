"""The laws that each family of recipes follows, stated beside the code that draws.

Rule: one literal table; every number here is the drawing code's own constant or a recipe's parameter.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from mixbake.core.blends import BLEND_NAMES
from mixbake.core.kernels.windows import PAD
from mixbake.core.ops import CENTRE, OP_SETS, OPS, STEP_NAMES, STEPS
from mixbake.core.variant import MICRO
from mixbake.recipes.laws import (
    Laws,
    Numbers,
    Pair,
    Use,
    equally,
    median,
    published_pairs,
    spell_program,
    uniform,
    weighted,
)
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.stated_pil import has_coefficients, laws_of_augmix, laws_of_ipmix, laws_of_pixmix, mask_of
from mixbake.recipes.tensor_law import arguments
from mixbake.recipes.writing import STEP_OF

_FORMS = {
    1: spell_program(layer=1, ops=1, blends=0, picture=False),
    2: spell_program(layer=2, ops=2, blends=1, picture=False),
    3: spell_program(layer=3, ops=3, blends=2, picture=True),
}
"""LayerMix's programs by layer (arXiv 2501.04861)."""

MASK_SEED = uniform(0, 2**32 - 1)
HALF = equally(("no", "yes"))
"""Mirrorings: of a crop where the flip is baked, and of mixing pictures."""
NEVER = equally(HALF.values[:1])


def pad_offset(size: int) -> Numbers:
    """Left or top of a padded crop."""
    return uniform(-(size // PAD), size // PAD)


def window_offset(side: int, size: int) -> Numbers:
    """Left or top of the window in a mixing picture of that width or height."""
    return uniform(0, side - size)


def _layermix(recipe: LayerMix, size: int) -> Laws:
    layers, op = sorted(recipe.layers), equally(OP_SETS[recipe.op_set])
    blend = weighted(BLEND_NAMES, recipe.blend_weights)
    return Laws(
        programs=equally([_FORMS[layer] for layer in layers]),
        layer=equally(layers),
        op=op if recipe.one_op else None,
        ops=None if recipe.one_op else op,
        uses=tuple(_layermix_use(recipe, name, size) for name in op.values),
        blend=blend,
        one_blend=recipe.one_blend,
        pairs=_layermix_pairs(recipe) if has_coefficients(blend) else (),
        mask=mask_of(blend),
    )


def _layermix_use(recipe: LayerMix, op: str, size: int) -> Use:
    _, low, high, signed = recipe.op_row(op, size)
    step = STEP_NAMES[STEP_OF[op]]
    return Use(
        op=op,
        step=step,
        level=uniform(low, high, unit=MICRO) if high > 0 else None,
        signed=bool(signed),
        arguments=lambda levels: arguments(OPS[op], np.ascontiguousarray(levels), recipe.min_posterize_bits),
        # Shears alone have a second argument.
        rest=(CENTRE,) * (len(STEPS[step].args) - 1),
    )


def _layermix_pairs(recipe: LayerMix) -> tuple[Pair, ...]:
    if recipe.coefficients == "convex":
        return (Pair(name="a + b = 1", weight=1, a=median(int(recipe.beta)), b=None),)
    return published_pairs(recipe.beta)


def _plain(_recipe: object, _size: int) -> Laws:
    return Laws(programs=equally((spell_program(layer=0, ops=0, blends=0, picture=False),)))


LAWS: dict[str, Callable[[Any, int], Laws]] = {
    "layermix": _layermix,
    "pixmix": laws_of_pixmix,
    "augmix": laws_of_augmix,
    "ipmix": laws_of_ipmix,
    "plain": _plain,
}
"""Family -> the laws of a recipe at a size."""
