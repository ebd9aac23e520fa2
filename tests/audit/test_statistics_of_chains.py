"""The tests of distributions on AugMix, PixMix and IPMix: honest bakes pass, a bias fails the tests of its name."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import bake
from test_statistics import Draw, changed, chosen, steps_of
from verdicts import failed, run

import mixbake.audit
import mixbake.bake.block
from mixbake.audit.draws import Draws, read_draws
from mixbake.audit.soundness import as_stated
from mixbake.core.ops import OPS
from mixbake.core.programs import Programs
from mixbake.recipes.laws import Laws
from mixbake.recipes.presets import RECIPES
from mixbake.recipes.recipe import Lot, Recipe, draw
from mixbake.recipes.stated import LAWS

SOURCE = "demo:count=400,size=16"
NAMES = [name for name, recipe in RECIPES.items() if recipe.family in ("augmix", "pixmix", "ipmix")]


@pytest.mark.parametrize("name", NAMES)
def test_honest_bakes_pass(name: str, tmp_path: Path, picture_folder: Path) -> None:
    bake(SOURCE, tmp_path / "out", picture_folder, epochs_worth=2, recipe=name)
    tests = run(tmp_path / "out")
    assert failed(tests) == set()
    assert tests["program"].n == tests["steps"].n == 400 * 2
    assert (
        ("picture left" in tests) == ("mask seed" in tests or "coefficients" in tests) == (not name.startswith("aug"))
    )
    assert ("box left" in tests) == name.startswith("ipmix")
    assert ("share of chain 2" in tests) == (not name.startswith("pixmix"))
    assert "flip" in tests


PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "deeper": ("augmix", {"depth": 4, "width": 2, "alpha": 3}),
    "one chain": ("augmix", {"depth": 1, "width": 1}),
    "inputs": ("pixmix", {"partners": "input", "k": 2, "blend_weights": (0, 1, 1, 0)}),
    "pictures": ("pixmix", {"partners": "pictures", "beta": 2.5, "op_set": "ipmix15"}),
    "many patches": ("ipmix", {"k": 2, "t": 5, "patches": (3, 7, 100), "partners": "both", "op_set": "ipmix15"}),
}


@pytest.mark.parametrize("kind", PARAMETERS)
@pytest.mark.parametrize("views", ["jsd", "clean"])
def test_honest_bakes_of_other_parameters_pass(kind: str, views: str, tmp_path: Path, picture_folder: Path) -> None:
    recipe, overrides = PARAMETERS[kind]
    given: dict[str, Any] = {"recipe": recipe, "overrides": overrides, "views": views}
    bake(SOURCE, tmp_path / "out", picture_folder, epochs_worth=2, **given)
    assert failed(run(tmp_path / "out")) == set()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", NAMES)
def test_honest_bakes_pass_whatever_the_seed(name: str, seed: int, tmp_path: Path, picture_folder: Path) -> None:
    bake(SOURCE, tmp_path / "out", picture_folder, epochs_worth=4, seed=seed, recipe=name)
    assert failed(run(tmp_path / "out")) == set()


# ── biased bakes ──────────────────────────────────────────────────────────────────────────────────


def of_others(**fields: Any) -> Draw:
    """Drawing with other parameters than the plan has."""
    return lambda recipe, lot, *, name: draw(replace(recipe, **fields), lot, name=name)  # type: ignore[type-var]  # all are dataclasses


def sums_of(table: Programs) -> Any:
    return steps_of(table, "weighted")


def share_equally(table: Programs) -> None:
    weights = table.args[sums_of(table)]
    left = 1_000_000 - weights[:, 0]
    weights[:, 1:4] = left[:, None] // 3
    weights[:, 3] += left - weights[:, 1:4].sum(axis=1)
    table.args[sums_of(table)] = weights


def lean_on_the_crop(table: Programs) -> None:
    table.args[sums_of(table), 0] += 1


def leave_out_the_sum(table: Programs) -> None:
    table.lengths[:] = np.maximum(table.lengths - 1, 0)


def square_boxes(table: Programs) -> None:
    boxed = steps_of(table, "arithmetic", "geometric", "pixel", "element")
    side = table.args[boxed, 4:6].min(axis=1)
    table.args[boxed, 4], table.args[boxed, 5] = side, side


def stay_in_the_corner(table: Programs) -> None:
    table.args[steps_of(table, "arithmetic", "geometric", "pixel", "element"), 2:4] = 0


def mirror_pictures(table: Programs) -> None:
    mixed = table.pictures[:, 0] >= 0
    table.pictures[mixed, 3] = table.images[mixed] % 2


def turn_by_parts_of_degrees(table: Programs) -> None:
    table.args[steps_of(table, "rotate"), 0] += 1


def repeat_the_first_op(recipe: Recipe, lot: Lot, *, name: str) -> Programs:
    """Only variants whose first two uses have one operation."""
    return chosen(lambda table, coins: (table.ops[:, 0] == table.ops[:, 1]) | (table.op_counts < 2) | (coins < 0.3))(
        recipe, lot, name=name
    )


BIASES: dict[str, tuple[str, Draw, str]] = {
    "an op left out": (
        "augmix",
        chosen(lambda table, _: ~((table.ops == OPS["rotate"]) & (table.levels != 0)).any(axis=1)),
        "op|op of two uses|op of two numbers|program",
    ),
    "levels of another severity": ("pixmix", of_others(severity=2), "(level|argument) of (?!.*autocontrast).*"),
    "fewer rounds": ("pixmix", of_others(k=3), "program"),
    "only pictures": ("pixmix", of_others(partners="pictures"), "program"),
    "another op set": ("pixmix", of_others(op_set="safe9"), "op|op of two uses|op of two numbers"),
    "mirrored pictures": ("pixmix", changed(mirror_pictures), "picture hflip"),
    "parts of degrees": ("pixmix", changed(turn_by_parts_of_degrees), "steps"),
    "one depth": ("augmix", of_others(depth=2), "program"),
    "the wrong law": ("augmix-composer", of_others(law="pil"), "level of (color|contrast|brightness|sharpness)|steps"),
    "two operations alike": ("augmix", repeat_the_first_op, "op of two uses"),
    "equal shares": ("augmix", changed(share_equally), "share of chain [12]"),
    "another alpha": ("augmix", of_others(alpha=3), "weight of the crop|share of chain [12]"),
    "weights beyond 1": ("augmix", changed(lean_on_the_crop), "steps|weight of the crop"),
    "no sum": ("ipmix", changed(leave_out_the_sum), "steps"),
    "square boxes": ("ipmix", changed(square_boxes), "box (width|height|shape)"),
    "corners": ("ipmix", changed(stay_in_the_corner), "box (left|top)"),
    "fewer patches": ("ipmix", of_others(patches=(4, 8)), "box (left|top|width|height|shape)"),
    "partners of both kinds": ("ipmix", of_others(partners="both"), "program"),
}
"""The recipe, how it is drawn wrongly, and which tests fail, all of them."""
SPREADING = {"an op left out", "two operations alike", "no sum", "weights beyond 1"}
"""Biases that reach further than the tests of their names: more is blamed, and rightly."""


@pytest.mark.parametrize("bias", BIASES)
def test_a_bias_fails_the_tests_of_its_name(
    bias: str, tmp_path: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, biased, named = BIASES[bias]
    monkeypatch.setattr(mixbake.bake.block, "draw", biased)
    bake(SOURCE, tmp_path / "out", picture_folder, epochs_worth=4, recipe=name)
    tests = run(tmp_path / "out")
    wanted = {test for test in tests if re.fullmatch(named, test)}
    assert wanted
    assert failed(tests) & wanted
    if bias not in SPREADING:
        assert failed(tests) <= wanted


# ── steps that are not those stated ───────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> tuple[Draws, Laws]:
    out = tmp_path_factory.mktemp("patched") / "out"
    bake(SOURCE, out, picture_folder, recipe="ipmix")
    draws = read_draws(mixbake.audit.open(out).catalog, lambda _what, _done, _total: None)
    return draws, LAWS["ipmix"](RECIPES["ipmix-cifar"], 16)


def test_a_box_that_leaves_the_image_is_not_as_stated(patched: tuple[Draws, Laws]) -> None:
    draws, laws = patched
    assert as_stated(draws, laws).all()
    for column, value in ((0, -1), (1, 16), (2, 17), (3, 2**31 - 1)):
        box = draws.blended.box.copy()
        box[7, column] = value
        good = as_stated(replace(draws, blended=replace(draws.blended, box=box)), laws)
        assert np.flatnonzero(~good).tolist() == [draws.blended.of[7]]


def test_a_blend_without_a_box_is_not_as_stated(patched: tuple[Draws, Laws]) -> None:
    draws, laws = patched
    arity = draws.blended.arity.copy()
    arity[3] = 2
    good = as_stated(replace(draws, blended=replace(draws.blended, arity=arity)), laws)
    assert np.flatnonzero(~good).tolist() == [draws.blended.of[3]]
    assert not as_stated(draws, replace(laws, box=None))[draws.blended.of].any()


def test_weights_must_be_one_together_and_none_below_zero(patched: tuple[Draws, Laws]) -> None:
    draws, laws = patched
    for change in ([1, 0, 0, 0], [-2_000_000, 2_000_000, 0, 0]):
        weights = draws.summed.weights.copy()
        weights[5, :4] += change
        good = as_stated(replace(draws, summed=replace(draws.summed, weights=weights)), laws)
        assert np.flatnonzero(~good).tolist() == [draws.summed.of[5]]
    assert not as_stated(draws, replace(laws, sum=None)).any()
