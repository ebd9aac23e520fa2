"""Promises of the commands that tell of recipes, and of `--set`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from outcome import Outcome

from mixbake.recipes.presets import BARE, RECIPES, NamedRecipe

Run = Callable[..., Outcome]


def test_recipes_are_listed_with_the_papers(mixbake: Run) -> None:
    done = mixbake("recipes")
    assert done.code == 0
    first = [line.split()[0] for line in done.out.splitlines()]
    assert first == [*RECIPES, *BARE]
    for paper in ("2501.04861", "2112.05135", "1912.02781", "NeurIPS 2023"):
        assert paper in done.out


@pytest.mark.parametrize("name", ["ipmix-cifar", "augmix", "plain"])
def test_a_recipe_is_shown_with_every_value_and_its_source(mixbake: Run, name: str) -> None:
    done = mixbake("recipes", "show", name)
    assert done.code == 0
    lines = done.out.splitlines()
    for preset in BARE.get(name, (name,)):
        known = NamedRecipe(name=preset, recipe=RECIPES[preset]).parameters()
        for field in known.keys() - {"name", "family"}:
            value = ",".join(map(str, known[field])) if isinstance(known[field], tuple) else known[field]
            value = {"True": "on", "False": "off"}.get(str(value), value)
            place = lines.index(f"  {field} = {value}")
            assert lines[place + 2].strip().startswith("from ")


def test_an_unknown_recipe_is_answered_with_the_nearest(mixbake: Run) -> None:
    done = mixbake("recipes", "show", "pixmix-cifr")
    assert done.code == 2
    assert "did you mean pixmix-cifar?" in done.err


def test_a_gallery_of_a_blank_image_is_refused(mixbake: Run, tmp_path: Path) -> None:
    done = mixbake("recipes", "gallery", tmp_path / "out.png", "--image", "", "--recipe", "plain")
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert "there is no such file" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--recipe", "pixmix", "--set", "k=9"], "k 9 is out of range: 1 to 8"),
        (["--recipe", "pixmix", "--set", "depth=1"], "has no parameter depth: it takes"),
        (["--recipe", "augmix", "--beta", "3"], "has no parameter beta: it takes"),
        (["--recipe", "ipmix", "--severity", "3", "--set", "severity=2"], "choose one"),
        (["--recipe", "ipmix", "--op-set", "layer12"], "op set 'layer12'"),
    ],
)
def test_what_a_recipe_does_not_take_is_refused(mixbake: Run, tmp_path: Path, given: list[str], message: str) -> None:
    done = mixbake("build", "demo:count=20,size=16", tmp_path / "out", "--executor", "inline", *given)
    assert (done.code, (tmp_path / "out").exists()) == (2, False)
    assert message in " ".join(done.err.split())


@pytest.mark.slow
def test_parameters_that_are_set_are_recorded(mixbake: Run, tmp_path: Path, picture_folder: Path) -> None:
    out = tmp_path / "out"
    flags = ("--recipe", "ipmix", "--set", "patches=4,8", "--set", "partners=both", "--severity", "2")
    done = mixbake(
        "build", "demo:count=20,size=16", out, "--mixing-set", picture_folder, "--executor", "inline", *flags
    )
    assert done.code == 0, done.err
    plan = json.loads((out / "manifest.json").read_bytes())["plan"]
    assert plan["recipe"]["patches"] == [4, 8]
    assert (plan["recipe"]["partners"], plan["recipe"]["severity"], plan["flip"]) == ("both", 2.0, "baked")
    assert mixbake("verify", out).code == 0


@pytest.mark.slow
def test_a_mixing_set_that_is_not_used_is_noted(mixbake: Run, tmp_path: Path, picture_folder: Path) -> None:
    out = tmp_path / "out"
    flags = ("--recipe", "augmix", "--mixing-set", picture_folder, "--executor", "inline")
    done = mixbake("build", "demo:count=20,size=16", out, *flags)
    assert done.code == 0
    assert f"mixes with no pictures: {picture_folder} is left alone" in done.err.replace("\n", "")
