"""What levels become at the ends of their laws, and how likely each bit depth is: exactly, and spelt out by hand."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mixbake.core.ops import OP_SETS
from mixbake.recipes.augmix import AugMix
from mixbake.recipes.ipmix import IPMix
from mixbake.recipes.laws import Use, mapped
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.pixmix import PixMix
from mixbake.recipes.presets import RECIPES
from mixbake.recipes.stated import LAWS

MICRO = 1_000_000
WHOLE = ("posterize", "solarize")
"""Steps whose argument is a whole number; of the others it is in 1e-6."""


def uses(recipe: Any, size: int) -> dict[str, Use]:
    return {use.op: use for use in LAWS[recipe.family](recipe, size).uses}


def ends(use: Use) -> tuple[float, float]:
    """The step's argument at the least and the largest level (unsigned), in its own unit."""
    assert use.level
    low, high = use.arguments(np.array([use.level.low, use.level.high])).tolist()
    return (low, high) if use.step in WHOLE else (low / MICRO, high / MICRO)


# Argument at the least and at the largest level. Where the side matters: of 32 and of 224 px.
TENSOR_8 = {
    "posterize": (1, 3),
    "posterize_increasing": (4, 1),
    "solarize": (26, 204),
    "solarize_increasing": (230, 51),
    "rotate": (0.1, 24),
    "shear_x": (0.1, 0.24),
    "shear_y": (0.1, 0.24),
    "translate_x": ((0.1, 8), (0.1, 58.4)),
    "translate_y": ((0.1, 8), (0.1, 58.4)),
    "color": (1.1, 1.72),
    "contrast": (1.1, 1.72),
    "brightness": (1.1, 1.72),
    "sharpness": (1.1, 1.72),
}
CODE = {
    "posterize": (0, 1),
    "posterize_increasing": (4, 3),
    "solarize": (26, 77),
    "solarize_increasing": (230, 0),
    "rotate": (0.1, 9),
    "shear_x": (0.09, 0.1),
    "shear_y": (0.09, 0.1),
    "translate_x": ((0.1, 3), (0.1, 21.9)),
    "translate_y": ((0.1, 3), (0.1, 21.9)),
}
PIL_3 = {
    "posterize": (4, 3),
    "solarize": (254, 180),
    "rotate": (0, 9),
    "shear_x": (0.003, 0.09),
    "shear_y": (0.003, 0.09),
    "translate_x": ((0, 3), (0, 22)),
    "translate_y": ((0, 3), (0, 22)),
    "color": (0.118, 0.64),
    "contrast": (0.118, 0.64),
    "brightness": (0.118, 0.64),
    "sharpness": (0.118, 0.64),
}
PIL_1 = {
    "posterize": (4, 4),
    "solarize": (254, 231),
    "rotate": (0, 3),
    "shear_x": (0.003, 0.03),
    "shear_y": (0.003, 0.03),
    "translate_x": ((0, 1), (0, 7)),
    "translate_y": ((0, 1), (0, 7)),
    "color": (0.118, 0.28),
    "contrast": (0.118, 0.28),
    "brightness": (0.118, 0.28),
    "sharpness": (0.118, 0.28),
}
COMPOSER_3 = {
    **PIL_3,
    "color": (0.73, 3),
    "contrast": (0.73, 3),
    "brightness": (0.73, 2.25),
    "sharpness": (0.73, 3),
}
ENDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "layermix-cifar": (RECIPES["layermix-cifar"], TENSOR_8),
    "layermix, layer16": (LayerMix(op_set="layer16"), TENSOR_8),
    "layermix-article": (RECIPES["layermix-article"], TENSOR_8),
    "layermix-code": (RECIPES["layermix-code"], CODE),
    "pixmix-cifar": (RECIPES["pixmix-cifar"], PIL_3),
    "pixmix-imagenet": (RECIPES["pixmix-imagenet"], PIL_1),
    "augmix-cifar": (RECIPES["augmix-cifar"], PIL_3),
    "augmix-imagenet": (RECIPES["augmix-imagenet"], PIL_1),
    "augmix-composer": (RECIPES["augmix-composer"], COMPOSER_3),
    "ipmix-cifar": (RECIPES["ipmix-cifar"], PIL_3),
    "ipmix-imagenet": (RECIPES["ipmix-imagenet"], PIL_1),
    "ipmix 3, ipmix15": (IPMix(op_set="ipmix15"), {**PIL_3, "autocontrast": (9.9, 7)}),
    "ipmix 1, ipmix15": (IPMix(op_set="ipmix15", severity=1), {**PIL_1, "autocontrast": (9.9, 9)}),
}


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("case", ENDS)
def test_levels_end_where_the_law_says(case: str, side: int) -> None:
    recipe, table = ENDS[case]
    found = uses(recipe, side)
    assert found.keys() == set(OP_SETS[recipe.op_set])
    for op, use in found.items():
        if use.level is None:
            assert op in ("autocontrast", "equalize", "grayscale", "mirror", "invert")
            continue
        wanted = table[op][side > 64] if op.startswith("translate") else table[op]
        assert ends(use) == wanted, op
        if use.signed:
            # Both signs are the same size; of colour factors, both sides of 1.
            high = use.arguments(np.array([-use.level.high, use.level.high]))
            assert high.sum() == (2 * MICRO if op in ("color", "contrast", "brightness", "sharpness") else 0), op


def test_every_preset_is_compared() -> None:
    assert {name for name in RECIPES if name != "plain"} - ENDS.keys() == {"layermix-imagenet"}
    assert RECIPES["layermix-imagenet"] == RECIPES["layermix-cifar"]


PIL_CIFAR = ("pixmix-cifar", "augmix-cifar", "augmix-composer", "ipmix-cifar")
PIL_IMAGENET = ("pixmix-imagenet", "augmix-imagenet", "ipmix-imagenet")
BITS: list[tuple[Any, str, dict[int, int]]] = [
    # U(0.1, 3.2) in steps of 1e-6, both ends included: its whole part, at least 1; and 4 less it.
    (RECIPES["layermix-cifar"], "posterize", {1: 1_900_000, 2: 1_000_000, 3: 200_001}),
    (RECIPES["layermix-cifar"], "posterize_increasing", {4: 900_000, 3: 1_000_000, 2: 1_000_000, 1: 200_001}),
    (RECIPES["layermix-article"], "posterize", {1: 1_900_000, 2: 1_000_000, 3: 200_001}),
    (LayerMix(min_posterize_bits=0), "posterize", {0: 900_000, 1: 1_000_000, 2: 1_000_000, 3: 200_001}),
    (LayerMix(min_posterize_bits=2), "posterize_increasing", {4: 900_000, 3: 1_000_000, 2: 1_200_001}),
    # U(0.1, 1.2), no bit kept where it is below 1.
    (RECIPES["layermix-code"], "posterize", {0: 900_000, 1: 200_001}),
    (RECIPES["layermix-code"], "posterize_increasing", {4: 900_000, 3: 200_001}),
    # U(0.1, 4).
    (LayerMix(severity=10), "posterize", {1: 1_900_000, 2: 1_000_000, 3: 1_000_000, 4: 1}),
    # 4 - int(0.4 v), v ~ U(0.1, 3); U(0.1, 1); U(0.1, 10).
    *((RECIPES[name], "posterize", {4: 2_400_000, 3: 500_001}) for name in PIL_CIFAR),
    *((RECIPES[name], "posterize", {4: 900_001}) for name in PIL_IMAGENET),
    (AugMix(severity=10), "posterize", {4: 2_400_000, 3: 2_500_000, 2: 2_500_000, 1: 2_500_000, 0: 1}),
    (PixMix(severity=2.5), "posterize", {4: 2_400_000, 3: 1}),
]


@pytest.mark.parametrize(("recipe", "op", "weights"), BITS)
def test_bit_depths_have_exact_probabilities(recipe: Any, op: str, weights: dict[int, int]) -> None:
    use = uses(recipe, 32)[op]
    assert use.level
    bits, law = mapped(use.level, use.arguments)
    total = sum(law.weights)
    found = {int(bit): Fraction(weight, total) for bit, weight in zip(bits, law.weights, strict=True)}
    assert found == {bit: Fraction(weight, sum(weights.values())) for bit, weight in weights.items()}


@pytest.mark.parametrize(("severity", "share"), [(8, 29), (3, 82)])
def test_pictures_that_posterize_blackens_as_the_code_has_it(severity: float, share: int) -> None:
    """In per cent of posterize's uses, with no least number of bits."""
    use = uses(LayerMix(severity=severity, min_posterize_bits=0), 32)["posterize"]
    assert use.level
    bits, law = mapped(use.level, use.arguments)
    assert bits[0] == 0
    assert round(100 * law.weights[0] / sum(law.weights)) == share
