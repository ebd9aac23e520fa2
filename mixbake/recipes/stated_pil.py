"""The laws of the recipes whose levels follow AugMix's code: AugMix, PixMix, IPMix.

Rule: every number here is the drawing code's own constant or a recipe's parameter.
"""

import math
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mixbake.core.blends import BLEND_NAMES
from mixbake.core.ops import OP_SETS, OPS, STEP_NAMES, STEPS
from mixbake.core.variant import MICRO
from mixbake.recipes import pil_law
from mixbake.recipes.augmix import AugMix
from mixbake.recipes.ipmix import LEAST_PATCH, IPMix
from mixbake.recipes.laws import (
    Box,
    Categorical,
    Laws,
    Numbers,
    Sum,
    Use,
    Whole,
    either,
    equally,
    median,
    mirrored,
    ordered,
    published_pairs,
    spell_program,
    uniform,
    weighted,
)
from mixbake.recipes.pixmix import PixMix
from mixbake.recipes.writing import STEP_OF

Form = tuple[int, int, bool]
"""Operations and blends of a program, and whether it mixes with a picture."""
_EMPTY: Form = (0, 0, False)


def laws_of_augmix(recipe: AugMix, size: int) -> Laws:
    """arXiv 1912.02781, algorithm 1."""
    chain = Counter({(depth, 0, False): 1 for depth in recipe.depths})
    return Laws(
        programs=_programs([chain] * recipe.width),
        ops=equally(OP_SETS[recipe.op_set]),
        uses=_uses(recipe.op_set, severity=recipe.severity, law=recipe.level_law, size=size),
        sum=_sum(recipe.width, recipe.alpha),
    )


def laws_of_pixmix(recipe: PixMix, size: int) -> Laws:
    """arXiv 2112.05135, section 3 and appendix."""
    begin, blend = Counter({_EMPTY: 1, (1, 0, False): 1}), weighted(BLEND_NAMES, recipe.blend_weights)
    rounds = _rounds(recipe.k, inputs=recipe.partners != "pictures", pictures=recipe.uses_pictures)
    return Laws(
        programs=_programs([begin, rounds]),
        ops=equally(OP_SETS[recipe.op_set]),
        uses=_uses(recipe.op_set, severity=recipe.severity, law=pil_law.PIL, size=size),
        blend=blend,
        pairs=published_pairs(recipe.beta) if has_coefficients(blend) else (),
        mask=mask_of(blend),
    )


def laws_of_ipmix(recipe: IPMix, size: int) -> Laws:
    """IPMix (NeurIPS 2023), section 3 and its code."""
    patches = _rounds(recipe.t, inputs=recipe.partners == "both", pictures=True)
    blend = weighted(BLEND_NAMES, recipe.blend_weights)
    # Of each number of rounds both kinds have the same weight.
    weight = patches.total() // (recipe.t + 1)
    chain = patches + Counter({(rounds, 0, False): weight for rounds in range(recipe.t + 1)})
    return Laws(
        programs=_programs([chain] * recipe.k),
        ops=equally(OP_SETS[recipe.op_set]),
        uses=_uses(recipe.op_set, severity=recipe.severity, law=pil_law.CUTOFF, size=size),
        blend=blend,
        pairs=published_pairs(recipe.beta) if has_coefficients(blend) else (),
        mask=mask_of(blend),
        box=_box(recipe.sides(size), size),
        sum=_sum(recipe.k, 1),
    )


def has_coefficients(blend: Categorical) -> bool:
    """Whether a blend that has coefficients is ever drawn."""
    return not {"arithmetic", "geometric"}.isdisjoint(blend.values)


def mask_of(blend: Categorical) -> Numbers | None:
    """The law of masks' probabilities, or None where no blend with a mask is ever drawn."""
    return None if {"pixel", "element"}.isdisjoint(blend.values) else uniform(0, MICRO, unit=MICRO)


# ── programs ──────────────────────────────────────────────────────────────────────────────────────


def _rounds(most: int, *, inputs: bool, pictures: bool) -> Counter[Form]:
    """0 to `most` blends, each number with one weight, of partners that are operations, pictures or, with ½, either."""
    if not (inputs and pictures):
        return Counter({(rounds if inputs else 0, rounds, pictures and rounds > 0): 1 for rounds in range(most + 1)})
    return Counter(
        {
            (ops, rounds, ops < rounds): math.comb(rounds, ops) << (most - rounds)
            for rounds in range(most + 1)
            for ops in range(rounds + 1)
        }
    )


def _programs(parts: Iterable[Counter[Form]]) -> Categorical:
    """Programs that consist of independent parts."""
    whole: Counter[Form] = Counter({_EMPTY: 1})
    for part in parts:
        longer: Counter[Form] = Counter()
        for (ops, blends, picture), weight in whole.items():
            for (more, others, another), factor in part.items():
                longer[ops + more, blends + others, picture or another] += weight * factor
        whole = longer
    forms = sorted(whole)
    return Categorical(
        values=tuple(spell_program(layer=0, ops=ops, blends=blends, picture=picture) for ops, blends, picture in forms),
        weights=tuple(whole[form] for form in forms),
    )


# ── levels, boxes, sums ───────────────────────────────────────────────────────────────────────────


def _uses(op_set: str, *, severity: float, law: int, size: int) -> tuple[Use, ...]:
    return tuple(_use(op, severity=severity, law=law, size=size) for op in OP_SETS[op_set])


def _use(op: str, *, severity: float, law: int, size: int) -> Use:
    _, low, high, signed, middle = pil_law.op_row(op, severity=severity, law=law)
    step = STEP_NAMES[STEP_OF[op]]
    level = None
    if high:
        ends = ((low, middle), (middle, high)) if middle else ((low, high),)
        level = either([uniform(*pair, unit=MICRO) for pair in ends])
    return Use(
        op=op,
        step=step,
        level=level,
        signed=bool(signed),
        arguments=lambda levels: pil_law.arguments(OPS[op], np.ascontiguousarray(levels), size, law),
        # Shears alone have a second argument.
        rest=(pil_law.CORNER,) * (len(STEPS[step].args) - 1),
    )


def _sum(chains: int, alpha: int) -> Sum:
    """Weights of the crop, 1 - Beta(alpha, alpha), and of chains, ~ Dirichlet(alpha, ..., alpha)."""
    share = ordered(alpha, alpha * chains - 1) if chains > 1 else None
    return Sum(chains=chains, crop=mirrored(median(alpha), MICRO), share=share)


def _box(sides: tuple[int, ...], size: int) -> Box:
    """A patch of any of `sides`, equally often, anywhere; as it is, or of any width and height from 2 up to its own."""
    same = sum((Fraction(1, 2) * (1 + Fraction(1, side - LEAST_PATCH + 1)) for side in sides), start=Fraction(0))
    squares = same / len(sides)
    return Box(
        size=size,
        offset=either([uniform(0, size - side) for side in sides]),
        side=either([_side(side) for side in sides]),
        shape=Categorical(
            values=("square", "oblong"), weights=(squares.numerator, squares.denominator - squares.numerator)
        ),
    )


def _side(patch: int) -> Numbers:
    whole, part = Numbers(low=patch, high=patch, cdf=lambda x: _reached(x, patch)), uniform(LEAST_PATCH, patch)
    return either([whole, part])


def _reached(x: Whole, value: int) -> NDArray[np.float64]:
    return (x >= value).astype(np.float64)
