"""Over 30,000 draws, layers, operations, levels, blends, pictures and crops follow the recipe's probabilities.

Every seed is fixed, so no p-value changes between runs. The law is broken below a thousandth divided by the two
hundred p-values that this module looks at (Bonferroni).
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mixbake.core.blends import BLENDS
from mixbake.core.ops import OP_NAMES, OP_SETS, OPS, STEPS, TENSOR_LAW, tensor_range
from mixbake.core.programs import Programs
from mixbake.core.variant import MICRO
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.recipe import Lot, Recipe, draw

DRAWS = 30_000
SIGNIFICANCE = 1e-3 / 200
PICTURES = np.array([[36, 36], [36, 50], [44, 36], [36, 36], [36, 90]], np.int32)


@cache
def drawn(recipe: Recipe, *, size: int = 32, crop: str = "pad", side: int = 32) -> Programs:
    """Programs of 3,000 images by 10 numbers, each image square, seed 2025."""
    rows = np.arange(DRAWS)
    lot = Lot(
        seed=2025,
        view="mix",
        images=rows // 10,
        numbers=rows % 10,
        shapes=np.full((DRAWS, 2), side, np.int32),
        size=size,
        crop=crop,
        bake_flip=True,
        group=1,
        pictures=PICTURES,
    )
    return draw(recipe, lot, name="layermix")


def assert_plausible(p_values: Mapping[str, float]) -> None:
    least = min(p_values, key=lambda name: p_values[name])
    assert p_values[least] > SIGNIFICANCE, f"{least}: p = {p_values[least]:.1e}"


def fit(counts: NDArray[Any], shares: Any) -> float:
    """p-value of counts against shares, which sum to 1 (chi-square)."""
    return float(stats.chisquare(counts, np.asarray(shares) * counts.sum()).pvalue)


def uniform_between(values: NDArray[Any], low: float, high: float) -> float:
    """p-value of values against U(low, high) (Kolmogorov and Smirnov); nothing may lie outside."""
    assert low <= values.min() <= values.max() <= high
    return float(stats.kstest(values, "uniform", args=(low, high - low)).pvalue)


def used(table: Programs) -> NDArray[np.bool_]:
    return np.arange(table.ops.shape[1]) < table.op_counts[:, None]


def steps_of(table: Programs, name: str) -> NDArray[np.int64]:
    """Arguments of every step of a kind, int64[k, 8]."""
    active = np.arange(table.do.shape[1]) < table.lengths[:, None]
    return table.args[active & (table.do == STEPS[name].code)]


@pytest.mark.parametrize("op_set", ["layer12", "layer16", "article10"])
def test_layers_and_operations_are_uniform_and_independent(op_set: str) -> None:
    table = drawn(LayerMix(op_set=op_set))
    ops = OP_SETS[op_set]
    joint = np.zeros((3, len(ops)), np.int64)
    for i, op in enumerate(ops):
        joint[:, i] = np.bincount(table.layers[table.ops[:, 0] == OPS[op]] - 1, minlength=3)
    assert joint.sum() == DRAWS
    thirds, shares = np.full(3, 1 / 3), np.full(len(ops), 1 / len(ops))
    p_values = {
        "layers": fit(joint.sum(axis=1), thirds),
        "ops": fit(joint.sum(axis=0), shares),
        "both": fit(joint.reshape(-1), np.outer(thirds, shares).reshape(-1)),
    }
    assert_plausible(p_values)


def test_a_program_has_one_operation_and_as_many_uses_as_its_layer() -> None:
    table = drawn(LayerMix())
    np.testing.assert_array_equal(table.op_counts, table.layers)
    np.testing.assert_array_equal(table.blend_counts, table.layers - 1)
    assert (table.ops == table.ops[:, :1])[used(table)].all()


@pytest.mark.parametrize(("severity", "size"), [(8, 32), (3, 32), (8, 224), (3, 224)])
def test_levels_follow_the_tensor_law(severity: float, size: int) -> None:
    table = drawn(LayerMix(severity=severity, op_set="layer16"), size=size, crop="resized", side=size)
    p_values = {}
    for op in OP_SETS["layer16"]:
        levels = table.levels[used(table) & (table.ops == OPS[op])]
        low, high = tensor_range(op, severity=severity, size=size)
        if TENSOR_LAW[op].maximum is None:
            assert not levels.any(), op
            continue
        p_values[op] = uniform_between(abs(levels), low, high)
        positive = int((levels > 0).sum())
        if TENSOR_LAW[op].signed:
            p_values[f"sign of {op}"] = float(stats.binomtest(positive, len(levels), 0.5).pvalue)
        else:
            assert positive == len(levels), op
    assert len(p_values) == 13 + 9  # levels, and signs
    assert_plausible(p_values)


def test_each_use_draws_a_level_of_its_own() -> None:
    table = drawn(LayerMix())
    third = (table.layers == 3) & (table.ops[:, 0] == OPS["rotate"])
    first, second, last = table.levels[third].T
    assert (first != second).all()
    assert_plausible(
        {
            "first and second": float(stats.spearmanr(first, second).pvalue),
            "first and last": float(stats.spearmanr(first, last).pvalue),
            "second and last": float(stats.spearmanr(second, last).pvalue),
        }
    )


TRANSLATION = {32: 10, 224: 73}
"""int(.33 · side) pixels."""


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("severity", [8, 3])
@pytest.mark.parametrize("op", OP_NAMES)
def test_the_ends_of_the_levels_are_exact(op: str, severity: int, size: int) -> None:
    """0.1 and a tenth of maximum·severity, in 1e-6, spelt out by hand."""
    maximum = {
        "posterize": 4,
        "posterize_increasing": 4,
        "solarize": 1,
        "solarize_increasing": 1,
        "rotate": 30,
        "shear_x": 0.3,
        "shear_y": 0.3,
        "translate_x": TRANSLATION[size],
        "translate_y": TRANSLATION[size],
        "color": 0.9,
        "contrast": 0.9,
        "brightness": 0.9,
        "sharpness": 0.9,
    }.get(op)
    found = tensor_range(op, severity=severity, size=size)
    if maximum is None:
        assert found == (0, 0)
        return
    end = round(maximum * severity * 100_000)
    assert found == ((100_000, end) if end > 100_000 else (end, 100_000))
    # Shears at m = 3 reach 0.09: there 0.1 is the upper end.
    assert (found[1] == 100_000) == (op in ("shear_x", "shear_y") and severity == 3)


def test_blends_are_drawn_anew_with_weights_2_2_1_1() -> None:
    table = drawn(LayerMix())
    weights = np.array([2, 2, 1, 1]) / 6
    first = table.blends[table.blend_counts >= 1, 0]
    both = table.blends[table.blend_counts == 2]
    pairs = np.bincount(both[:, 0] * 4 + both[:, 1], minlength=16)
    assert_plausible(
        {
            "first": fit(np.bincount(first, minlength=4), weights),
            "pairs": fit(pairs, np.outer(weights, weights).reshape(-1)),
        }
    )
    assert list(BLENDS) == ["arithmetic", "geometric", "pixel", "element"]


@pytest.mark.parametrize("beta", [1, 3, 4, 2.5, 0.7])
@pytest.mark.parametrize("blend", ["arithmetic", "geometric"])
def test_both_halves_of_the_coefficients_follow_their_beta_laws(blend: str, beta: float) -> None:
    a, b = (steps_of(drawn(LayerMix(beta=beta)), blend)[:, :2] / MICRO).T
    upper, lower = stats.beta(beta, 1).cdf, stats.beta(1, beta).cdf
    # The convex half has b >= 0, the other b <= 0; a tie at 0 has probability below 1e-5.
    convex = b > 0
    p_values = {
        "halves": float(stats.binomtest(int(convex.sum()), len(b), 0.5).pvalue),
        "a": float(stats.kstest(a[convex], upper).pvalue),
        "b": float(stats.kstest(b[convex], lower).pvalue),
        "a, other half": float(stats.kstest(a[~convex] - 1, lower).pvalue),
        "b, other half": float(stats.kstest(-b[~convex], lower).pvalue),
        "a with b": float(stats.spearmanr(a[convex], b[convex]).pvalue),
        "a with b, other half": float(stats.spearmanr(a[~convex], b[~convex]).pvalue),
    }
    assert 0 <= a.min() <= a.max() <= 2
    assert -1 <= b.min() <= b.max() <= 1
    assert_plausible(p_values)


def test_the_articles_coefficients_are_convex() -> None:
    table = drawn(LayerMix(op_set="article10", coefficients="convex"))
    args = np.concatenate([steps_of(table, "arithmetic"), steps_of(table, "geometric")])
    assert (args[:, 0] + args[:, 1] == MICRO).all()
    assert_plausible({"w": float(stats.kstest(args[:, 0] / MICRO, stats.beta(3, 3).cdf).pvalue)})


@pytest.mark.parametrize("blend", ["pixel", "element"])
def test_masks_have_a_uniform_share_and_a_seed_each(blend: str) -> None:
    args = steps_of(drawn(LayerMix()), blend)
    assert_plausible(
        {
            "share": uniform_between(args[:, 0], 0, MICRO),
            "seed": uniform_between(args[:, 1], 0, 2**32 - 1),
            "both": float(stats.spearmanr(args[:, 0], args[:, 1]).pvalue),
        }
    )


POSTERIZE_BITS = {
    # U(0.1, 3.2), its whole part at least 1; and 4 less its whole part.
    ("posterize", 8, 1): {1: 1.9, 2: 1.0, 3: 0.2},
    ("posterize_increasing", 8, 1): {1: 0.2, 2: 1.0, 3: 1.0, 4: 0.9},
    # U(0.1, 1.2).
    ("posterize", 3, 1): {1: 1.1},
    ("posterize_increasing", 3, 1): {3: 0.2, 4: 0.9},
    # The published code may keep no bit at all: 29 % and 82 %.
    ("posterize", 8, 0): {0: 0.9, 1: 1.0, 2: 1.0, 3: 0.2},
    ("posterize", 3, 0): {0: 0.9, 1: 0.2},
}


@pytest.mark.parametrize(("op", "severity", "least"), POSTERIZE_BITS)
def test_posterize_keeps_bits_in_proportion(op: str, severity: int, least: int) -> None:
    table = drawn(LayerMix(severity=severity, min_posterize_bits=least))
    active = np.arange(table.do.shape[1]) < table.lengths[:, None]
    mine = active & (table.do == STEPS["posterize"].code) & (table.ops[:, :1] == OPS[op])
    counts = np.bincount(table.args[mine][:, 0], minlength=5)
    shares = POSTERIZE_BITS[op, severity, least]
    expected = np.array([shares.get(bits, 0) for bits in range(5)]) / sum(shares.values())
    assert not counts[expected == 0].any(), counts
    if len(shares) > 1:
        assert_plausible({"bits": fit(counts[expected > 0], expected[expected > 0])})


@pytest.mark.parametrize(("severity", "share"), [(8, 0.29), (3, 0.82)])
def test_published_posterize_blackens_as_often_as_the_paper_of_record_says(severity: int, share: float) -> None:
    bits = steps_of_op(LayerMix(severity=severity, min_posterize_bits=0, quirks="published"), "posterize")
    assert (bits == 0).mean() == pytest.approx(share, abs=0.015)


def steps_of_op(recipe: LayerMix, op: str) -> NDArray[np.int64]:
    """First argument of every step that an operation became (no blend has that step's code)."""
    table = drawn(recipe)
    active = np.arange(table.do.shape[1]) < table.lengths[:, None]
    kinds = {STEPS["posterize"].code, STEPS["solarize"].code}
    return table.args[active & np.isin(table.do, list(kinds)) & (table.ops[:, :1] == OPS[op])][:, 0]


def test_solarize_increasing_inverts_everything_only_under_the_published_quirk() -> None:
    published = steps_of_op(LayerMix(quirks="published"), "solarize_increasing")
    ours = steps_of_op(LayerMix(), "solarize_increasing")
    # The magnitude is U(0.1, 8), and 1 less it is at most 0 from 1 on: 7 / 7.9.
    share = stats.binomtest(int((published == 0).sum()), len(published), 7 / 7.9).pvalue
    assert_plausible({"full inversion": float(share)})
    assert (published == 0).mean() == pytest.approx(0.88, abs=0.015)
    # Ours inverts from 1 - U(0.1, 0.8) of full scale: bytes 51 to 230.
    assert 51 <= ours.min() < 54
    assert 227 < ours.max() <= 230


def test_pictures_windows_and_mirrorings_are_uniform() -> None:
    table = drawn(LayerMix())
    third = table.layers == 3
    assert (table.pictures[~third, 0] == -1).all()
    number, left, top, hflip, vflip, gray = table.pictures[third].T
    assert gray.all()
    p_values = {
        "picture": fit(np.bincount(number, minlength=5), np.full(5, 0.2)),
        "mirrorings": fit(np.bincount(hflip * 2 + vflip, minlength=4), np.full(4, 0.25)),
    }
    for i, (height, width) in enumerate(PICTURES.tolist()):
        mine = number == i
        for name, places, room in (("left", left[mine], width - 31), ("top", top[mine], height - 31)):
            assert 0 <= places.min() <= places.max() < room
            p_values[f"{name} in {i}"] = fit(np.bincount(places, minlength=room), np.full(room, 1 / room))
    assert_plausible(p_values)


def test_padded_crops_and_flips_are_uniform() -> None:
    table = drawn(LayerMix())
    left, top = table.crops[:, 1] + 4, table.crops[:, 2] + 4
    assert 0 <= min(left.min(), top.min()) <= max(left.max(), top.max()) <= 8
    assert_plausible(
        {
            "offsets": fit(np.bincount(left * 9 + top, minlength=81), np.full(81, 1 / 81)),
            "flips": fit(np.bincount(table.flips, minlength=2), np.full(2, 0.5)),
        }
    )


def inception_crops(side: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """RandomResizedCrop of a square image in plain numpy, from its definition: width, height, left, top."""
    found = np.zeros((0, 4), np.int64)
    while len(found) < DRAWS:
        area = rng.uniform(0.08, 1, DRAWS) * side * side
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), DRAWS))
        width, height = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        inside = (width <= side) & (height <= side)
        width, height = width[inside].astype(np.int64), height[inside].astype(np.int64)
        left, top = rng.integers(0, side - width + 1), rng.integers(0, side - height + 1)
        found = np.concatenate([found, np.stack([width, height, left, top], axis=1)])
    return found[:DRAWS]


def test_resized_crops_are_inception_crops() -> None:
    """Ten misses in a row, the only case that the reference leaves out, are rarer than 1e-8."""
    crops = drawn(LayerMix(), size=224, crop="resized", side=500).crops
    expected = inception_crops(500, np.random.default_rng(5))
    columns = {"width": (3, 0), "height": (4, 1), "left": (1, 2), "top": (2, 3)}
    p_values = {
        name: float(stats.ks_2samp(crops[:, ours], expected[:, theirs]).pvalue)
        for name, (ours, theirs) in columns.items()
    }
    ratios = (crops[:, 3] / crops[:, 4], expected[:, 0] / expected[:, 1])
    areas = (crops[:, 3] * crops[:, 4], expected[:, 0] * expected[:, 1])
    assert_plausible(p_values | {"ratio": stats.ks_2samp(*ratios).pvalue, "area": stats.ks_2samp(*areas).pvalue})
