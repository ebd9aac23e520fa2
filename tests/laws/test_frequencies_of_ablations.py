"""Over 30,000 variants, what an ablation changes follows its probabilities, and all else is as it was.

As in `test_frequencies`, seeds are fixed, and a thousandth is divided by the two hundred p-values looked at.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from test_frequencies import DRAWS, PICTURES, assert_plausible, drawn, fit, steps_of, used

from mixbake.core.blends import BLENDS
from mixbake.core.ops import OP_SETS, OPS
from mixbake.core.programs import Programs
from mixbake.recipes.ipmix import IPMix
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.pixmix import PixMix
from mixbake.recipes.recipe import Lot, Recipe, draw

FAMILIES: tuple[Any, ...] = (LayerMix(), PixMix(), IPMix())
WEIGHTS = (3, 0, 1, 2)


def places_of(table: Programs) -> NDArray[np.int64]:
    """Operations of each use as places in layer12, int64[n, 3]."""
    ops = np.array([OPS[op] for op in OP_SETS["layer12"]])
    order = np.argsort(ops)
    return order[np.searchsorted(ops, table.ops[:, :3], sorter=order) % len(ops)]


# ── covariance ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("covariance", ["none", "blend"])
def test_without_covariance_each_use_draws_its_own_operation(covariance: Any) -> None:
    table = drawn(LayerMix(covariance=covariance))
    np.testing.assert_array_equal(table.op_counts, table.layers)
    places, three = places_of(table), table.layers == 3
    p_values = {
        "layer and op": fit(np.bincount(places[:, 0] * 3 + table.layers - 1, minlength=36), np.full(36, 1 / 36))
    }
    for name, (i, j) in {"first, second": (0, 1), "first, last": (0, 2), "second, last": (1, 2)}.items():
        both = places[three, i] * 12 + places[three, j]
        p_values[name] = fit(np.bincount(both, minlength=144), np.full(144, 1 / 144))
    assert_plausible(p_values)


@pytest.mark.parametrize("covariance", ["op", "op_and_blend"])
def test_with_covariance_all_uses_share_one(covariance: Any) -> None:
    table = drawn(LayerMix(covariance=covariance))
    assert (table.ops == table.ops[:, :1])[used(table)].all()
    assert_plausible({"op": fit(np.bincount(places_of(table)[:, 0], minlength=12), np.full(12, 1 / 12))})


@pytest.mark.parametrize("covariance", ["op", "blend", "op_and_blend", "none"])
def test_blends_are_of_one_kind_only_where_they_are_to_be(covariance: Any) -> None:
    table = drawn(LayerMix(covariance=covariance))
    both = table.blends[table.blend_counts == 2, :2].astype(np.int64)
    shares = np.array([2, 2, 1, 1]) / 6
    if "blend" in covariance:
        assert (both[:, 0] == both[:, 1]).all()
        assert_plausible({"kind": fit(np.bincount(both[:, 0], minlength=4), shares)})
    else:
        joint = np.bincount(both @ [4, 1], minlength=16)
        assert_plausible({"kinds": fit(joint, np.outer(shares, shares).reshape(-1))})


def test_blends_of_one_kind_draw_their_numbers_anew() -> None:
    table = drawn(LayerMix(covariance="op_and_blend"))
    third = (table.layers == 3) & (table.blends[:, 0] == BLENDS["pixel"])
    first, second = table.args[third, 2], table.args[third, 3]
    assert (first[:, 1] != second[:, 1]).mean() > 0.999
    assert_plausible({"shares": float(stats.spearmanr(first[:, 0], second[:, 0]).pvalue)})


# ── blends ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("recipe", FAMILIES, ids=lambda recipe: recipe.family)
def test_blends_are_drawn_by_weight(recipe: Any) -> None:
    table = drawn(replace(recipe, blend_weights=WEIGHTS))
    there = np.arange(table.blends.shape[1]) < table.blend_counts[:, None]
    counts = np.bincount(table.blends[there], minlength=4)
    assert counts[1] == 0
    assert len(steps_of(table, "geometric")) == 0
    assert_plausible({"blends": fit(counts[[0, 2, 3]], np.array([3, 1, 2]) / 6)})


@pytest.mark.parametrize("blend", BLENDS)
def test_a_single_blend_can_be_left(blend: str) -> None:
    weights = tuple(int(name == blend) for name in BLENDS)
    table = drawn(PixMix(blend_weights=weights))
    there = np.arange(table.blends.shape[1]) < table.blend_counts[:, None]
    assert set(table.blends[there].tolist()) == {BLENDS[blend]}


def test_weights_count_in_proportion() -> None:
    """A common factor changes nothing, not even a draw."""
    one, other = drawn(LayerMix()), drawn(LayerMix(blend_weights=(20, 20, 10, 10)))
    np.testing.assert_array_equal(one.args, other.args)
    np.testing.assert_array_equal(one.blends, other.blends)


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("flips", [True, False])
@pytest.mark.parametrize("colors", ["gray", "rgb"])
@pytest.mark.parametrize("recipe", FAMILIES, ids=lambda recipe: recipe.family)
def test_pictures_are_mirrored_and_gray_as_asked(recipe: Any, colors: str, flips: bool) -> None:
    chosen = drawn(replace(recipe, picture_colors=colors, picture_flips=flips)).pictures
    chosen = chosen[chosen[:, 0] >= 0]
    assert (chosen[:, 5] == (colors == "gray")).all()
    if flips:
        assert_plausible(
            {"mirrorings": fit(np.bincount(chosen[:, 3] * 2 + chosen[:, 4], minlength=4), np.full(4, 0.25))}
        )
    else:
        assert not chosen[:, 3:5].any()


ABLATIONS: list[Any] = [
    LayerMix(),
    *(LayerMix(covariance=covariance) for covariance in ("blend", "op_and_blend", "none")),
    LayerMix(blend_weights=(0, 0, 1, 0)),
    LayerMix(picture_colors="rgb"),
    LayerMix(picture_flips=False),
    LayerMix(layers=(3,)),
    PixMix(),
    PixMix(partners="pictures", blend_weights=(0, 1, 0, 0)),
    IPMix(picture_colors="gray"),
]


@pytest.mark.parametrize("recipe", ABLATIONS[1:], ids=str)
def test_crop_picture_and_window_are_those_of_the_seed(recipe: Recipe) -> None:
    one, other = drawn(ABLATIONS[0]), drawn(recipe)
    np.testing.assert_array_equal(one.crops, other.crops)
    np.testing.assert_array_equal(one.flips, other.flips)
    both = (one.pictures[:, 0] >= 0) & (other.pictures[:, 0] >= 0)
    assert both.sum() > DRAWS / 5
    np.testing.assert_array_equal(one.pictures[both, :3], other.pictures[both, :3])
    if recipe.mirrored_pictures:
        np.testing.assert_array_equal(one.pictures[both, 3:5], other.pictures[both, 3:5])


def test_covariance_leaves_layer_and_first_operation_as_they_were() -> None:
    """So a comparison is of what comes after them."""
    one, other = drawn(LayerMix()), drawn(LayerMix(covariance="none"))
    np.testing.assert_array_equal(one.layers, other.layers)
    np.testing.assert_array_equal(one.ops[:, 0], other.ops[:, 0])
    np.testing.assert_array_equal(one.levels[:, 0], other.levels[:, 0])


# ── mixing sets ───────────────────────────────────────────────────────────────────────────────────


def lot_of(mixing_sets: tuple[tuple[int, int], ...]) -> Lot:
    rows = np.arange(DRAWS)
    return Lot(
        seed=2026,
        view="mix",
        images=rows // 10,
        numbers=rows % 10,
        shapes=np.full((DRAWS, 2), 32, np.int32),
        size=32,
        crop="pad",
        bake_flip=True,
        group=1,
        pictures=PICTURES,
        mixing_sets=mixing_sets,
    )


SETS: list[tuple[tuple[tuple[int, int], ...], list[float]]] = [
    (((2, 3), (3, 1)), [3 / 8, 3 / 8, 1 / 12, 1 / 12, 1 / 12]),
    (((1, 1), (1, 0), (3, 1)), [1 / 2, 0, 1 / 6, 1 / 6, 1 / 6]),
    (((4, 1000), (1, 1)), [1000 / 4004] * 4 + [1 / 1001]),
    (((5, 7),), [1 / 5] * 5),
]


@pytest.mark.parametrize(("sets", "shares"), SETS, ids=str)
def test_a_set_is_drawn_by_weight_then_any_of_its_pictures(
    sets: tuple[tuple[int, int], ...], shares: list[float]
) -> None:
    table = draw(LayerMix(layers=(3,)), lot_of(sets), name="layermix")
    counts, expected = np.bincount(table.pictures[:, 0], minlength=5), np.array(shares)
    assert not counts[expected == 0].any()
    number, left, top = table.pictures[:, :3].T
    p_values = {"pictures": fit(counts[expected > 0], expected[expected > 0])}
    for i, (height, width) in enumerate(PICTURES.tolist()):
        places = (left * (height - 31) + top)[number == i]
        if room := (width - 31) * (height - 31) * bool(len(places)):
            assert places.max() < room
            p_values[f"window in {i}"] = fit(np.bincount(places, minlength=room), np.full(room, 1 / room))
    assert_plausible(p_values)


def test_the_program_does_not_depend_on_the_sets() -> None:
    one, other = (draw(LayerMix(), lot_of(sets), name="layermix") for sets in ((), ((2, 3), (3, 1))))
    for name in ("crops", "flips", "layers", "ops", "levels", "blends", "args"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
