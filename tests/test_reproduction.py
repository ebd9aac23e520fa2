"""The quick reproduction of the papers' table goes all the way, and does nothing twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE

pytest.importorskip("torchmetrics", reason="the extra `evaluate` is not installed")

SCRIPT = Path(__file__).parent.parent / "scripts" / "reproduce_cifar.sh"
DATA = os.environ.get("MIXBAKE_DATA")
RECIPES = ("plain", "augmix", "pixmix", "ipmix", "layermix")


def reproduce(*arguments: object) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"MIXBAKE": f"{sys.executable} -m mixbake"}
    command = ["bash", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=4 * PATIENCE, check=False)


@pytest.mark.slow
@pytest.mark.minutes
def test_the_quick_reproduction_goes_all_the_way_and_resumes(tmp_path: Path, picture_folder: Path) -> None:
    """On real pictures where there are some."""
    data, mixing = ("demo", picture_folder) if DATA is None else (f"{DATA}/cifar10-small", f"{DATA}/fractals")
    quick = ("--quick", "--data", data, "--mixing", mixing, "--out", tmp_path)
    first = reproduce(*quick)
    assert first.returncode == 0, first.stderr
    home = tmp_path / "quick-cifar10"
    assert {path.name for path in (home / "comparison").iterdir()} >= {"comparison.md", "comparison.json"}
    table = (home / "comparison/comparison.md").read_text()
    assert table in first.stdout
    assert "mCE, stand-in" in table
    assert "Differences from plain" in table
    weights = {path: path.read_bytes() for path in home.glob("runs/*/*.safetensors")}
    assert {path.parent.name for path in weights} == {f"{recipe}-seed0" for recipe in RECIPES}
    for run in home.glob("runs/*"):
        assert (run / "eval/quick/results.md").exists()
    # As if stopped after the last checkpoint: that training is resumed, to the same weights.
    (home / "runs/plain-seed0/finished").unlink()
    (home / "runs/plain-seed0/eval/quick/results.json").unlink()
    again = reproduce(*quick, "--recipes", "plain")
    assert again.returncode == 0, again.stderr
    assert weights == {path: path.read_bytes() for path in home.glob("runs/*/*.safetensors")}
    assert "parts have been measured before" in again.stderr
    assert (home / "runs/plain-seed0/eval/quick/results.json").exists()
    # Its networks would be those of the other pictures.
    other = reproduce(*quick, "--recipes", "layermix", "--mixing", tmp_path)
    assert other.returncode == 2
    assert "made of other settings" in other.stderr
    assert weights == {path: path.read_bytes() for path in home.glob("runs/*/*.safetensors")}


def test_a_wrong_command_line_is_refused_and_help_is_the_head_of_the_script(tmp_path: Path) -> None:
    of_x = ("--data", "x")
    for wrong in (
        (),
        of_x[:1],
        (*of_x, "--seeds", 0),
        (*of_x, "--dataset", "svhn"),
        (*of_x, "--recipes", ""),
        ("--nope", 1),
    ):
        assert reproduce("--out", tmp_path, *wrong).returncode == 2
    assert "--mixing SET" in reproduce("--help").stdout
    assert not [*tmp_path.iterdir()]
