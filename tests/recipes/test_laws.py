"""Promises of stated laws: they are the papers' distributions, and every recipe states its own."""

from typing import Any

import numpy as np
import pytest
import scipy.stats

from mixbake.core.ops import OP_SETS, tensor_range
from mixbake.recipes.augmix import AugMix
from mixbake.recipes.ipmix import IPMix
from mixbake.recipes.laws import (
    Numbers,
    by_set,
    either,
    equally,
    greatest,
    mapped,
    median,
    mirrored,
    ordered,
    product,
    root,
    same_by_set,
    shifted,
    spell_program,
    uniform,
    weighted,
)
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.pixmix import PixMix
from mixbake.recipes.plain import Plain
from mixbake.recipes.presets import RECIPES
from mixbake.recipes.stated import LAWS, pad_offset, window_offset

MICRO = 1_000_000
POINTS = np.array([0, 1, 17, 250_000, 500_000, 801_000, 999_999])


@pytest.mark.parametrize(
    ("law", "known"),
    [
        (greatest(3), scipy.stats.beta(3, 1)),
        (mirrored(greatest(3), MICRO), scipy.stats.beta(1, 3)),
        (median(3), scipy.stats.beta(3, 3)),
        (median(40), scipy.stats.beta(40, 40)),
        (ordered(1, 2), scipy.stats.beta(1, 2)),
        (ordered(4, 11), scipy.stats.beta(4, 8)),
        (root(2.5), scipy.stats.beta(2.5, 1)),
        (root(0.5), scipy.stats.beta(0.5, 1)),
        (uniform(0, MICRO), scipy.stats.uniform()),
        (shifted(greatest(2), 0), scipy.stats.beta(2, 1)),
    ],
)
def test_laws_of_coefficients_are_beta_laws(law: Numbers, known: Any) -> None:
    """Up to the steps of 1e-6 in which numbers are drawn."""
    found = law.cdf(POINTS)
    assert (known.cdf((POINTS - 1) / MICRO) - 1e-5 <= found).all()
    assert (found <= known.cdf((POINTS + 1.5) / MICRO) + 1e-5).all()


@pytest.mark.parametrize("law", [greatest(3), median(3), root(2.5), uniform(-4, 4), mirrored(greatest(3), 0)])
def test_a_law_ends_where_it_says(law: Numbers) -> None:
    assert law.cdf(np.array([law.low - 1, law.high])).tolist() == pytest.approx([0, 1], abs=1e-12)
    assert (np.diff(law.cdf(np.linspace(law.low, law.high, 9).astype(np.int64))) >= 0).all()


@pytest.mark.parametrize("law", [greatest(3), uniform(5, 9)])
def test_moved_laws_are_those_of_moved_numbers(law: Numbers) -> None:
    x = np.array([law.low, (law.low + law.high) // 2, law.high])
    np.testing.assert_allclose(shifted(law, 7).cdf(x + 7), law.cdf(x))
    # P(3 - X <= y) = P(X >= 3 - y)
    np.testing.assert_allclose(mirrored(law, 3).cdf(3 - x), 1 - law.cdf(x - 1))


def test_values_of_a_function_have_the_weights_of_its_arguments() -> None:
    values, law = mapped(uniform(100_000, 3_200_000), lambda level: np.maximum(level // MICRO, 1))
    assert (values.tolist(), law.values) == ([1, 2, 3], ("1", "2", "3"))
    assert law.weights == (1_900_000, 1_000_000, 200_001)


def test_independent_draws_multiply() -> None:
    both = product(equally("ab"), equally((1, 2, 3)))
    assert both.values == ("a, 1", "a, 2", "a, 3", "b, 1", "b, 2", "b, 3")
    assert len(set(both.weights)) == 1


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_states_its_laws(name: str) -> None:
    recipe = RECIPES[name]
    laws = LAWS[recipe.family](recipe, 32)
    assert len(laws.programs.values) == len(laws.programs.weights) > 0
    if not isinstance(recipe, LayerMix | Plain):
        assert laws.ops
        assert set(laws.ops.values) == {use.op for use in laws.uses} == set(OP_SETS[recipe.op_set])  # type: ignore[attr-defined]  # all of them have one
    if isinstance(recipe, LayerMix):
        assert laws.op
        assert set(laws.op.values) == {use.op for use in laws.uses} == set(OP_SETS[recipe.op_set])


def test_layermix_has_the_papers_probabilities() -> None:
    """arXiv 2501.04861: layers and ops uniform; blends 1/3, 1/3, 1/6, 1/6; Beta(3, 1) and Beta(1, 3)."""
    laws = LAWS["layermix"](LayerMix(), 32)
    assert laws.layer
    assert laws.blend
    assert set(laws.layer.weights) == {1}
    weights = dict(zip(laws.blend.values, laws.blend.weights, strict=True))
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    assert shares == pytest.approx({"arithmetic": 1 / 3, "geometric": 1 / 3, "pixel": 1 / 6, "element": 1 / 6})
    assert [pair.weight for pair in laws.pairs] == [1, 1]
    assert [(pair.a.low, pair.a.high) for pair in laws.pairs] == [(0, MICRO), (MICRO, 2 * MICRO)]
    for use in laws.uses:
        ends = (use.level.low, use.level.high) if use.level else (0, 0)
        assert ends == tensor_range(use.op, severity=8, size=32)


def test_the_published_slip_is_stated_too() -> None:
    uses = {use.op: use for use in LAWS["layermix"](LayerMix(severity=3, quirks="published"), 32).uses}
    level = uses["solarize_increasing"].level
    assert level
    assert (level.low, level.high) == (100_000, 3_000_000)
    assert uses["solarize_increasing"].arguments(np.array([1_000_000, 3_000_000])).tolist() == [0, 0]


def test_windows_reach_as_far_as_they_are_drawn() -> None:
    assert [(pad_offset(size).low, pad_offset(size).high) for size in (4, 32, 33)] == [(0, 0), (-4, 4), (-4, 4)]
    assert (window_offset(36, 32).low, window_offset(36, 32).high) == (0, 4)


def test_programs_are_spelled_in_words() -> None:
    assert spell_program(layer=0, ops=0, blends=0, picture=False) == "bare crop"
    assert spell_program(layer=3, ops=3, blends=2, picture=True) == "layer 3, 3 op, 2 blend, picture"


def test_one_of_several_laws_is_any_of_them_equally_often() -> None:
    both = either([uniform(0, 3), uniform(2, 9)])
    assert (both.low, both.high) == (0, 9)
    np.testing.assert_allclose(np.diff(both.cdf(np.arange(-1, 10))), [1 / 8] * 2 + [3 / 16] * 2 + [1 / 16] * 6)


def programs_of(recipe: Any) -> dict[str, float]:
    law = LAWS[recipe.family](recipe, 32).programs
    assert len(set(law.values)) == len(law.values)
    return {value: weight / sum(law.weights) for value, weight in zip(law.values, law.weights, strict=True)}


def test_forms_of_programs_have_the_papers_probabilities() -> None:
    """Counted by hand for the smallest parameters."""
    assert programs_of(AugMix(width=1)) == pytest.approx({"1 op": 1 / 3, "2 op": 1 / 3, "3 op": 1 / 3})
    two = programs_of(AugMix(width=2))
    assert two["2 op"] == pytest.approx(1 / 9)
    assert two["4 op"] == pytest.approx(3 / 9)
    assert programs_of(PixMix(k=1)) == pytest.approx(
        {
            "bare crop": 1 / 4,
            "1 op": 1 / 4,
            "1 blend, picture": 1 / 8,
            "1 op, 1 blend": 1 / 8,
            "1 op, 1 blend, picture": 1 / 8,
            "2 op, 1 blend": 1 / 8,
        }
    )
    assert programs_of(IPMix(k=1, t=1)) == pytest.approx({"bare crop": 1 / 2, "1 op": 1 / 4, "1 blend, picture": 1 / 4})
    assert programs_of(IPMix(k=1, t=1, partners="both")) == pytest.approx(
        {"bare crop": 1 / 2, "1 op": 1 / 4, "1 blend, picture": 1 / 8, "1 op, 1 blend": 1 / 8}
    )


def test_boxes_have_the_papers_probabilities() -> None:
    """Counted by hand for patches of 2 and 4 in an image of 5."""
    box = LAWS["ipmix"](IPMix(patches=(2, 4)), 5).box
    assert box
    np.testing.assert_allclose(np.diff(box.offset.cdf(np.arange(-1, 4))), [1 / 8 + 1 / 4, 1 / 8 + 1 / 4, 1 / 8, 1 / 8])
    # Of a patch of 4, whole with ½, else 2, 3 or 4; a patch of 2 has no smaller box.
    np.testing.assert_allclose(np.diff(box.side.cdf(np.arange(1, 5))), [1 / 2 + 1 / 12, 1 / 12, 1 / 12 + 1 / 4])
    square = dict(zip(box.shape.values, box.shape.weights, strict=True))["square"] / sum(box.shape.weights)
    assert square == pytest.approx(1 / 2 + 1 / 4 + 1 / 12)


def test_pictures_of_weighted_sets_have_the_probabilities_of_their_set() -> None:
    law = by_set(((2, 3), (1, 0), (3, 1)))
    assert (law.low, law.high) == (0, 5)
    np.testing.assert_allclose(np.diff(law.cdf(np.arange(-1, 6))), [3 / 8, 3 / 8, 0, 1 / 12, 1 / 12, 1 / 12])
    same = same_by_set(((2, 3), (1, 0), (3, 1)))
    assert same.weights[0] / sum(same.weights) == pytest.approx(2 * (3 / 8) ** 2 + 3 * (1 / 12) ** 2)
    one = by_set(((6, 1),))
    np.testing.assert_allclose(one.cdf(np.arange(-1, 6)), uniform(0, 5).cdf(np.arange(-1, 6)))
    assert same_by_set(((6, 1),)).weights == (1, 5)


def test_what_has_no_weight_is_no_value() -> None:
    assert weighted(("a", "b", "c"), (3, 0, 1)) == weighted(("a", "c"), (3, 1))


@pytest.mark.parametrize(
    ("weights", "coefficients", "mask"),
    [((1, 0, 0, 0), True, False), ((0, 0, 2, 1), False, True), ((1, 1, 1, 1), True, True)],
)
@pytest.mark.parametrize("kind", [LayerMix, PixMix, IPMix])
def test_only_blends_that_are_drawn_have_laws(
    kind: Any, weights: tuple[int, ...], coefficients: bool, mask: bool
) -> None:
    laws = LAWS[kind.family](kind(blend_weights=weights), 32)
    assert (bool(laws.pairs), laws.mask is not None) == (coefficients, mask)
    assert laws.blend
    assert sum(laws.blend.weights) == sum(weights)


@pytest.mark.parametrize("covariance", ["op", "blend", "op_and_blend", "none"])
def test_covariance_says_what_one_variant_shares(covariance: Any) -> None:
    laws = LAWS["layermix"](LayerMix(covariance=covariance), 32)
    assert (laws.op is not None, laws.ops is None, laws.one_blend) == (
        "op" in covariance.split("_"),
        "op" in covariance.split("_"),
        "blend" in covariance,
    )
