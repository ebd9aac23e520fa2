"""The script that bakes ablations: every cell is one of its recipe's, pairs are pairs, and what is finished is kept."""

import csv
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mixbake.audit
from mixbake.recipes.presets import BARE, find, read_overrides

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


@pytest.mark.parametrize("name", [*BARE, "layermix-article", "pixmix-imagenet", "plain"])
def test_every_cell_can_be_set_on_its_recipe(script: Any, name: str) -> None:
    recipe = find(BARE.get(name, (name,))[0])
    cells = script.ABLATIONS[recipe.family]
    assert cells["base"] == []
    assert len({cell.replace(" ", "-") for cell in cells}) == len(cells)
    for texts in cells.values():
        replace(recipe, **read_overrides(name, texts))  # type: ignore[type-var]  # every recipe is a dataclass


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
