"""Over 30,000 variants, AugMix, PixMix and IPMix draw what their papers say: spelt out here, not read from the recipes.

As in `test_frequencies`, seeds are fixed, and a thousandth is divided by the two hundred p-values looked at.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from test_frequencies import DRAWS, assert_plausible, drawn, fit, steps_of, uniform_between, used

from mixbake.core.blends import BLENDS
from mixbake.core.ops import OP_SETS, OPS, STEPS
from mixbake.core.programs import Programs
from mixbake.core.variant import MICRO
from mixbake.recipes.augmix import AugMix
from mixbake.recipes.ipmix import IPMix
from mixbake.recipes.pixmix import PixMix
from mixbake.recipes.presets import RECIPES
from mixbake.recipes.recipe import Recipe

PIL = [name for name, recipe in RECIPES.items() if recipe.family in ("augmix", "pixmix", "ipmix")]
SIGNED = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
COLOURS = ("color", "contrast", "brightness", "sharpness")


def levels_of(table: Programs, op: str) -> NDArray[np.int64]:
    return table.levels[used(table) & (table.ops == OPS[op])]


@pytest.mark.parametrize("name", PIL)
def test_every_use_draws_an_operation_and_a_level(name: str) -> None:
    recipe = RECIPES[name]
    table = drawn(recipe)
    ops, severity = OP_SETS[recipe.op_set], recipe.severity  # type: ignore[attr-defined]  # all three have them
    counts = np.bincount(table.ops[used(table)], minlength=len(OPS))
    chosen = [OPS[op] for op in ops]
    assert counts.sum() == counts[chosen].sum() >= DRAWS
    places, k = np.sort(chosen), len(ops)
    two = table.ops[table.op_counts >= 2, :2]
    p_values = {
        "ops": fit(counts[chosen], np.full(len(ops), 1 / len(ops))),
        "first and second": fit(
            np.bincount(np.searchsorted(places, two) @ [k, 1], minlength=k**2), np.full(k**2, 1 / k**2)
        ),
    }
    for op in ops:
        levels = levels_of(table, op)
        if op in ("autocontrast", "equalize", "mirror", "invert"):
            assert not levels.any(), op
        elif not (name == "augmix-composer" and op in COLOURS):
            p_values[op] = uniform_between(abs(levels), 100_000, severity * MICRO)
            if op in SIGNED:
                p_values[f"sign of {op}"] = float(stats.binomtest(int((levels > 0).sum()), len(levels), 0.5).pvalue)
            else:
                assert (levels > 0).all(), op
    assert_plausible(p_values)


def test_composers_colour_factors_lie_on_both_sides_of_one() -> None:
    table = drawn(RECIPES["augmix-composer"])
    p_values = {}
    for op in COLOURS:
        levels = levels_of(table, op)
        above = levels > MICRO
        p_values[op] = float(stats.binomtest(int(above.sum()), len(levels), 0.5).pvalue)
        p_values[f"{op}, above"] = uniform_between(levels[above], MICRO, 3 * MICRO)
        p_values[f"{op}, below"] = uniform_between(levels[~above], 730_000, MICRO)
    brightness = steps_of(table, "brightness")[:, 0]
    assert brightness.max() <= 2_250_000
    assert_plausible(p_values)


def test_ipmix_autocontrast_cuts_off_what_the_level_leaves_of_ten_per_cent() -> None:
    table = drawn(IPMix(op_set="ipmix15"))
    levels = levels_of(table, "autocontrast")
    np.testing.assert_array_equal(steps_of(table, "autocontrast")[:, 0], 10 * MICRO - levels)
    assert_plausible({"level": uniform_between(levels, 100_000, 3 * MICRO)})


# ── AugMix ────────────────────────────────────────────────────────────────────────────────────────


def weights_of(table: Programs, chains: int) -> NDArray[np.int64]:
    weights = steps_of(table, "weighted")[:, : chains + 1]
    assert len(weights) == DRAWS
    assert (weights.sum(axis=1) == MICRO).all()
    assert weights.min() >= 0
    return weights


def depths_of(table: Programs, chains: int) -> NDArray[np.int64]:
    """Operations of each chain, int64[n, chains], from the registers that the sum reads."""
    last = table.sources[np.arange(DRAWS), table.lengths - 1, 1 : chains + 1].astype(np.int64)
    return np.diff(np.concatenate([np.ones((DRAWS, 1), np.int64), last], axis=1), axis=1)


@pytest.mark.parametrize("name", ["augmix-cifar", "augmix-imagenet", "augmix-composer"])
def test_augmix_has_three_chains_of_one_to_three_operations(name: str) -> None:
    table = drawn(RECIPES[name])
    depths = depths_of(table, 3)
    np.testing.assert_array_equal(depths.sum(axis=1), table.op_counts)
    joint = np.bincount((depths - 1) @ [9, 3, 1], minlength=27)
    assert not table.blend_counts.any()
    assert (table.pictures[:, 0] == -1).all()
    assert_plausible({"depths": fit(joint, np.full(27, 1 / 27))})


@pytest.mark.parametrize(("width", "alpha"), [(3, 1), (1, 1), (2, 1), (3, 2), (7, 5)])
def test_weights_follow_the_dirichlet_and_beta_laws(width: int, alpha: int) -> None:
    weights = weights_of(drawn(AugMix(width=width, depth=1, alpha=alpha)), width)
    t = 1 - weights[:, 0] / MICRO
    p_values = {"t": float(stats.kstest(t, stats.beta(alpha, alpha).cdf).pvalue)}
    enough = t > 0.1
    shares = weights[enough, 1:] / MICRO / t[enough, None]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    for i in range(width if width > 1 else 0):
        law = stats.beta(alpha, alpha * (width - 1))
        p_values[f"share {i}"] = float(stats.kstest(shares[:, i], law.cdf).pvalue)
        p_values[f"share {i} and t"] = float(stats.spearmanr(shares[:, i], t[enough]).pvalue)
    if width > 2:
        # Two shares together: what the first leaves is divided in the same way.
        rest = shares[:, 1] / (1 - shares[:, 0])
        p_values["second of the rest"] = float(stats.kstest(rest, stats.beta(alpha, alpha * (width - 2)).cdf).pvalue)
    assert_plausible(p_values)


# ── PixMix ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("partners", ["both", "input", "pictures"])
def test_pixmix_draws_rounds_partners_and_blends(partners: str) -> None:
    recipe = PixMix(partners=partners)  # type: ignore[arg-type]  # pytest gives plain strings
    table = drawn(recipe)
    rounds = table.blend_counts.astype(np.int64)
    blends = table.blends[np.arange(4) < rounds[:, None]]
    active = np.arange(table.do.shape[1]) < table.lengths[:, None]
    blending = active & (table.do >= STEPS["arithmetic"].code)
    mixed = table.sources[:, :, 1][blending] == 1
    # What is drawn for the beginning is an operation that no blend has as its partner.
    begun = table.op_counts - (rounds - np.bincount(np.nonzero(blending)[0][mixed], minlength=DRAWS))
    assert set(begun.tolist()) == {0, 1}
    p_values = {
        "rounds": fit(np.bincount(rounds, minlength=5), np.full(5, 1 / 5)),
        "blends": fit(np.bincount(blends, minlength=2), [0.5, 0.5]),
        "begun": float(stats.binomtest(int(begun.sum()), DRAWS, 0.5).pvalue),
    }
    if partners == "both":
        p_values["partners"] = float(stats.binomtest(int(mixed.sum()), len(mixed), 0.5).pvalue)
    else:
        assert mixed.all() == (partners == "pictures")
        assert mixed.any() == (partners == "pictures")
    used_pictures = np.bincount(np.nonzero(blending)[0][mixed], minlength=DRAWS) > 0
    np.testing.assert_array_equal(table.pictures[:, 0] >= 0, used_pictures)
    assert_plausible(p_values)


@pytest.mark.parametrize("recipe", [PixMix(beta=4, severity=1), IPMix()])
def test_coefficients_are_those_of_pixmix(recipe: PixMix | IPMix) -> None:
    table = drawn(recipe)
    p_values = {}
    for blend in ("arithmetic", "geometric"):
        a, b = (steps_of(table, blend)[:, :2] / MICRO).T
        upper, lower = stats.beta(recipe.beta, 1).cdf, stats.beta(1, recipe.beta).cdf
        p_values |= {
            f"{blend}: halves": float(stats.binomtest(int((b > 0).sum()), len(b), 0.5).pvalue),
            f"{blend}: a": float(stats.kstest(a[b > 0], upper).pvalue),
            f"{blend}: b": float(stats.kstest(b[b > 0], lower).pvalue),
            f"{blend}: a, other half": float(stats.kstest(a[b <= 0] - 1, lower).pvalue),
            f"{blend}: b, other half": float(stats.kstest(-b[b <= 0], lower).pvalue),
        }
    assert_plausible(p_values)


@pytest.mark.parametrize("recipe", [PixMix(), IPMix()])
def test_pictures_are_uniform_and_never_mirrored_or_gray(recipe: Recipe) -> None:
    chosen = drawn(recipe).pictures
    chosen = chosen[chosen[:, 0] >= 0]
    assert not chosen[:, 3:].any()
    assert_plausible({"pictures": fit(np.bincount(chosen[:, 0], minlength=5), np.full(5, 1 / 5))})


# ── IPMix ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["ipmix-cifar", "ipmix-imagenet"])
def test_ipmix_has_chains_of_either_kind(name: str) -> None:
    """Chain by chain: kind ½, rounds uniform on 0..3; of a patch the partner is the picture, or (ImageNet) op(x), ½."""
    table = drawn(RECIPES[name])
    rounds, partners, empty = np.zeros((2, 4), np.int64), np.zeros(2, np.int64), 0
    ends = table.sources[np.arange(DRAWS), table.lengths - 1, 1:4].tolist()
    blending, second = (table.do >= STEPS["arithmetic"].code).tolist(), table.sources[:, :, 1].tolist()
    for row in range(DRAWS):
        start = 0
        for end in ends[row]:
            if end == 0:
                empty += 1
                continue
            # Register r is written by step r - 2.
            mine, start = range(start, end - 1), end - 1
            patches = [i for i in mine if blending[row][i]]
            rounds[int(bool(patches)), len(patches or mine)] += 1
            for i in patches:
                partners[int(second[row][i] != 1)] += 1
    assert rounds.sum() + empty == 3 * DRAWS
    p_values = {
        "empty": float(stats.binomtest(empty, DRAWS * 3, 0.25).pvalue),
        "rounds of kinds": fit(rounds[:, 1:].reshape(-1), np.full(6, 1 / 6)),
        "s": uniform_between(weights_of(table, 3)[:, 0], 0, MICRO),
    }
    if name == "ipmix-imagenet":
        p_values["partners"] = float(stats.binomtest(int(partners[0]), int(partners.sum()), 0.5).pvalue)
    else:
        assert partners[1] == 0
    assert_plausible(p_values)


def shares(values: NDArray[np.int64], law: dict[int, float]) -> float:
    """p-value of values against probabilities, rare ones of them together; no other may occur."""
    known = sorted(law, key=lambda value: law[value])
    counts = np.array([(values == value).sum() for value in known])
    expected = np.array([law[value] for value in known])
    assert counts.sum() == len(values)
    few = int((np.cumsum(expected) * len(values) < 5).sum())
    merged = np.append(counts[: few + 1].sum(), counts[few + 1 :])
    return fit(merged, np.append(expected[: few + 1].sum(), expected[few + 1 :]))


@pytest.mark.parametrize(("name", "size"), [("ipmix-cifar", 32), ("ipmix-imagenet", 224), ("ipmix-imagenet", 96)])
def test_boxes_are_patches_anywhere_whole_or_smaller(name: str, size: int) -> None:
    table = drawn(RECIPES[name], size=size, crop="resized", side=size)
    patches = (4, 8, 16, 32) if name == "ipmix-cifar" else (4, 8, 16, 32, 64, min(224, size))
    offsets: dict[int, float] = {}
    sides: dict[int, float] = {}
    square = 0.0
    for patch in patches:
        for left in range(size - patch + 1):
            offsets[left] = offsets.get(left, 0) + 1 / len(patches) / (size - patch + 1)
        for side in range(2, patch + 1):
            sides[side] = sides.get(side, 0) + 1 / len(patches) / 2 * (1 / (patch - 1) + (side == patch))
        square += 1 / len(patches) / 2 * (1 + 1 / (patch - 1))
    boxes = np.concatenate([steps_of(table, blend)[:, 2:6] for blend in BLENDS])
    assert len(boxes) > DRAWS
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= size
    left, top, width, height = boxes.T
    small = (width <= 4) & (height <= 4)
    p_values = {
        "left": shares(left, offsets),
        "top": shares(top, offsets),
        "width": shares(width, sides),
        "height": shares(height, sides),
        "square": float(stats.binomtest(int((width == height).sum()), len(boxes), square).pvalue),
        "left and top": float(stats.spearmanr(left[small], top[small]).pvalue),
        "blends": fit(np.bincount(table.blends[np.arange(9) < table.blend_counts[:, None]], minlength=4), [0.25] * 4),
    }
    assert_plausible(p_values)
