"""The script that bakes ablations: every cell is one of its recipe's, pairs are pairs, and what is finished is kept."""

import csv
import importlib.util
from pathlib import Path
from typing import Any

import pytest

import mixbake.audit
from mixbake.recipes.presets import RECIPES, read_overrides, resolve

OWN = """
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    def draw(self, rng, program):
        pass
"""
SCRIPT = Path(__file__).parents[1] / "scripts" / "bake_ablations.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("bake_ablations", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", RECIPES)
def test_no_two_cells_are_one_recipe(script: Any, name: str) -> None:
    every, cells = script.ABLATIONS[RECIPES[name].family], script.cells_of(name)
    assert cells["base"] == []
    assert len({cell.replace(" ", "-") for cell in cells}) == len(cells)
    recipes = {cell: resolve(name, size=32, overrides=read_overrides(name, every[cell])).recipe for cell in every}
    assert len({recipes[cell] for cell in cells}) == len(cells)
    assert {recipes[cell] for cell in cells} == set(recipes.values())


@pytest.mark.parametrize(
    ("given", "left_out", "kept"),
    [
        (["--recipe", "layermix"], {"severity 8"}, {"severity 3"}),
        (["--recipe", "pixmix"], {"k 4", "beta 3", "severity 3"}, {"beta 4", "severity 1"}),
        (["--recipe", "pixmix", "--size", "96"], {"k 4", "beta 4", "severity 1"}, {"beta 3", "severity 3"}),
        (["--recipe", "augmix-imagenet"], {"width 3", "severity 1"}, {"severity 3"}),
    ],
)
def test_what_would_be_the_base_again_is_left_out(
    script: Any, tmp_path: Path, given: list[str], left_out: set[str], kept: set[str]
) -> None:
    options = script.read_options(["demo:count=8,size=16", "--out", str(tmp_path), *given])
    assert not left_out & options.cells.keys()
    assert kept <= options.cells.keys()


def test_a_bare_name_stands_for_what_it_stands_for_in_a_build(script: Any, tmp_path: Path) -> None:
    options = [
        script.read_options([f"demo:count=8,size={size}", "--out", str(tmp_path), "--recipe", "pixmix"])
        for size in (64, 65)
    ]
    assert [one.recipe for one in options] == ["pixmix-cifar", "pixmix-imagenet"]
    assert [one.given["size"] for one in options] == [64, 65]


def test_weights_are_written_as_for_a_build(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["demo", "--out", str(tmp_path), "--size", "16", "--mixing", "a", "--mixing", "b", "--mixing-weights"]
    assert script.read_options([*given, "3,1"]).given["mixing_weights"] == (3, 1)
    with pytest.raises(SystemExit, match="2"):
        script.read_options([*given, "3,x"])
    assert "--mixing-weights: invalid whole_numbers value: '3,x'" in capsys.readouterr().err


def test_a_recipe_without_cells_is_refused(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prop.py"
    file.write_text(OWN)
    with pytest.raises(SystemExit):
        script.main(["demo", "--out", str(tmp_path / "grid"), "--recipe", f"{file}:Same", "--list"])
    assert f"--recipe {file}:Same: there are cells for layermix, " in capsys.readouterr().err


def test_a_grid_is_paired_tabled_and_kept(
    script: Any, tmp_path: Path, picture_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cells = tmp_path / "grid", ["base", "pictures not mirrored"]
    given = ["demo:count=20,size=16", "--out", str(out), "--mixing", str(picture_folder), "--executor", "inline"]
    script.main([*given, "--only", *cells, "--seeds", "2"])
    printed = capsys.readouterr().out
    with (out / "ablations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["cell"], row["seed"]) for row in rows] == [(cell, seed) for seed in "01" for cell in cells]
    assert (out / "ablations.md").read_text() == printed
    for row in rows:
        folder = out / row["cell"].replace(" ", "-") / f"seed{row['seed']}"
        assert mixbake.audit.open(folder).bake.digest == row["digest"]
        assert row["digest"][:16] in printed
        assert row["samples"] == "20"
    one, other = (mixbake.audit.open(out / cell.replace(" ", "-") / "seed0") for cell in cells)
    compared = {agreement.what: agreement.share for agreement in one.compare(other).agreements}
    assert (compared["crop"], compared["flip"], compared["layer"], compared["op"]) == (1, 1, 1, 1)
    assert compared["pixels"] < 1

    before = (out / "ablations.csv").read_bytes()
    script.main([*given, "--only", cells[1]])
    assert (out / "ablations.csv").read_bytes() == before
    assert capsys.readouterr().out == printed


def test_cells_are_listed_and_unknown_ones_refused(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.main(["demo", "--out", str(tmp_path / "grid"), "--recipe", "pixmix", "--list"])
    listed = capsys.readouterr().out
    assert "k 2                      k=2\n" in listed
    with pytest.raises(SystemExit, match="2"):
        script.main(["demo", "--out", str(tmp_path / "grid"), "--only", "layer 4 alone"])
    assert "layer 3 alone" in capsys.readouterr().err
    assert not (tmp_path / "grid").exists()
