"""The tests of distributions on ablations and weighted mixing sets: honest bakes pass, a bias fails by its name."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import bake
from test_statistics import Draw, chosen
from test_statistics_of_chains import of_others
from verdicts import failed, run

import mixbake.audit
import mixbake.bake.block
from mixbake.core.programs import Programs
from mixbake.recipes.recipe import Lot, Recipe, draw

SOURCE = "demo:count=400,size=16"


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> tuple[str, str]:
    """Four and two pictures of the six, of which two have the same name."""
    folder = tmp_path_factory.mktemp("sets")
    for name, numbers in (("one", (0, 1, 2, 3)), ("two", (4, 5))):
        (folder / name).mkdir()
        for place, number in enumerate(numbers):
            shutil.copy(picture_folder / f"{number}.png", folder / name / f"{place}.png")
    return str(folder / "one"), str(folder / "two")


HONEST: dict[str, tuple[dict[str, Any], set[str], set[str]]] = {
    "covariance of nothing": (
        {"overrides": {"covariance": "none"}, "views": "jsd"},
        {"op of two uses", "layer and op", "first and second blend", "mask seed"},
        {"one blend"},
    ),
    "covariance of blends": (
        {"overrides": {"covariance": "op_and_blend", "blend_weights": (1, 0, 2, 0)}},
        {"layer and op", "one blend", "mask seed", "coefficients"},
        {"op of two uses", "first and second blend"},
    ),
    "colours, not mirrored": (
        {"overrides": {"picture_colors": "rgb", "picture_flips": False}},
        {"flip", "picture hflip"},
        {"op of two uses"},
    ),
    "one layer": (
        {"overrides": {"covariance": "none", "layers": (1,)}},
        {"op", "layer and op"},
        {"picture", "coefficients", "mask seed"},
    ),
    "one blend": (
        {"recipe": "pixmix", "overrides": {"blend_weights": (0, 0, 0, 1), "picture_flips": True}},
        {"mask seed", "picture vflip"},
        {"coefficients", "layer and op"},
    ),
    "no mask": (
        {"recipe": "ipmix", "overrides": {"blend_weights": (1, 3, 0, 0), "picture_colors": "gray"}},
        {"coefficients", "box left"},
        {"mask seed"},
    ),
}
"""What is asked for, tests that are done then, and tests that are not."""


@pytest.mark.parametrize("kind", HONEST)
def test_honest_bakes_pass(kind: str, tmp_path: Path, picture_folder: Path) -> None:
    settings, done, left_out = HONEST[kind]
    bake(SOURCE, tmp_path / "out", picture_folder, epochs_worth=2, **settings)
    tests = run(tmp_path / "out")
    assert failed(tests) == set()
    assert done <= tests.keys()
    assert not left_out & tests.keys()


@pytest.mark.parametrize("weights", [(), (1, 3), (0, 1)], ids=str)
def test_honest_bakes_of_two_sets_pass(weights: tuple[int, ...], tmp_path: Path, two_sets: tuple[str, str]) -> None:
    settings: dict[str, Any] = {"mixing_set": two_sets, "mixing_weights": weights}
    bake(SOURCE, tmp_path / "out", Path(), epochs_worth=2, recipe="pixmix", **settings)
    tests = run(tmp_path / "out")
    assert failed(tests) == set()
    assert tests["picture"].n == tests["picture hflip"].n > 400


def forget_weights(recipe: Recipe, lot: Lot, *, name: str) -> Programs:
    return draw(recipe, replace(lot, mixing_sets=()), name=name)


def lean_on_layers(table: Programs, coins: Any) -> Any:
    """Every other operation begins layer 1 more often, the others layer 3; of its own each is as frequent as ever."""
    fitting = table.ops[:, 0] % 2 == table.layers // 2
    return coins < np.where(table.layers == 2, 0.7, np.where(fitting, 1.0, 0.4))


BIASES: dict[str, tuple[dict[str, Any], Draw, str]] = {
    "an op for all": ({"overrides": {"covariance": "none"}}, of_others(covariance="op"), "op of two uses"),
    "an op for each": (
        {"overrides": {"covariance": "op"}},
        of_others(covariance="none"),
        "op|layer and op|op of two numbers",
    ),
    "blends of two kinds": ({"overrides": {"covariance": "blend"}}, of_others(covariance="none"), "one blend"),
    "a blend that has no weight": (
        {"overrides": {"blend_weights": (1, 0, 1, 1)}},
        of_others(blend_weights=(1, 1, 1, 1)),
        "(first|second) blend|first and second blend|coefficients",
    ),
    "other weights": (
        {"recipe": "ipmix", "overrides": {"blend_weights": (1, 1, 1, 4)}},
        of_others(blend_weights=(1, 1, 1, 1)),
        "(first|second) blend|first and second blend",
    ),
    "mirrored pictures": (
        {"overrides": {"picture_flips": False}},
        of_others(picture_flips=True),
        "picture (h|v)flip",
    ),
    "ops by layer": ({"overrides": {"covariance": "none"}}, chosen(lean_on_layers), "layer and op"),
    "sets without weights": ({"mixing_weights": (1, 9)}, forget_weights, "picture|picture of two numbers"),
    "other weights of sets": (
        {"mixing_weights": (3, 1)},
        lambda recipe, lot, *, name: draw(recipe, replace(lot, mixing_sets=((4, 1), (2, 1))), name=name),
        "picture|picture of two numbers",
    ),
}
"""What is asked for, how it is drawn wrongly, and which tests fail."""


@pytest.mark.parametrize("bias", BIASES)
def test_a_bias_fails_the_tests_of_its_name(
    bias: str, tmp_path: Path, picture_folder: Path, two_sets: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, biased, named = BIASES[bias]
    sets = {"mixing_set": two_sets} if "mixing_weights" in settings else {}
    monkeypatch.setattr(mixbake.bake.block, "draw", biased)
    bake(SOURCE, tmp_path / "out", picture_folder, epochs_worth=4, **settings, **sets)
    blamed = failed(run(tmp_path / "out"))
    assert blamed, bias
    assert all(re.fullmatch(named, name) for name in blamed), blamed


def test_a_bake_of_weighted_sets_tells_them(tmp_path: Path, two_sets: tuple[str, str]) -> None:
    out = tmp_path / "out"
    bake(SOURCE, out, Path(), mixing_set=two_sets, mixing_weights=(1, 3))
    contents = mixbake.audit.open(out).info()
    assert contents.plan["mixing_sets"] == ((4, 1), (2, 3))
    first, second = contents.sets
    assert first.count + second.count == sum(layer.count for name, layer in contents.layers.items() if name == "3")
    assert second.share == pytest.approx(3 / 4, abs=0.12)
    assert np.isclose(first.share + second.share, 1)
