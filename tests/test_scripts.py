"""Scripts that measure recipes run, and print what they promise; no figure is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE

pytest.importorskip("torchvision")

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE, env=dict(os.environ))
    return done.stdout


def cells(table: str) -> dict[str, list[str]]:
    """Rows of a Markdown table by their first cell."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return {first: rest for first, *rest in rows if first and not first.startswith("---")}


@pytest.mark.slow
def test_recipes_are_measured_beside_their_references(tmp_path: Path, picture_folder: Path) -> None:
    file = tmp_path / "rates.json"
    brief = ("--size", 16, 72, "--recipes", "layermix", "augmix", "--rounds", 1, "--seconds", 0, "--drawn", 1)
    table = cells(run("bench_recipes.py", *brief, "--mixing", picture_folder, "--json", file))
    document = json.loads(file.read_text())
    assert "one core, 1 thread" in document["machine"]
    for size in ("16", "72"):
        rates = document["sizes"][size]
        assert {"v2.AugMix", "layermix, bake", "layermix, reference", "augmix, bake", "augmix, reference"} <= set(rates)
        assert all(rate > 0 for (rate,) in rates.values())
        assert {"layermix, transform of PIL", "layermix, transform of numpy"} <= set(rates)
        assert set(rates) <= set(table)
        assert all(len(table[name]) == 6 for name in rates)
    assert {"fractals", "deadleaves:shapes=textured", "spectrum", "ifs"} <= set(document["drawn"])
    assert all(spent > 0 for spent in document["drawn"].values())
    assert set(document["drawn"]) <= set(table)


@pytest.mark.slow
def test_parity_is_measured_on_any_folder(picture_folder: Path) -> None:
    said = run("parity_table.py", picture_folder, "--size", 24, "--pictures", 2)
    assert {"rotate", "geometric", "weighted", "pixmix-cifar", "ipmix-imagenet"} <= set(cells(said))
    assert "AugMix as a whole is not compared" in said
