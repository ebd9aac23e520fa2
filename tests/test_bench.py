"""`mixbake bench`: what it measures is there, or says why not; no figure is asserted."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")


@pytest.fixture
def small_bake(tmp_path: Path, mixbake: Any, own_images: Path, picture_folder: Path) -> Path:
    out = tmp_path / "bake"
    mixbake("build", own_images, out, "--mixing-set", picture_folder, "--executor", "inline", "-n", "2")
    return out


BRIEF = ("--seconds", "0.05", "--rounds", "1", "--batch-size", "8")


@pytest.mark.slow
def test_all_three_ways_are_measured(small_bake: Path, mixbake: Any) -> None:
    outcome = mixbake("bench", small_bake, *BRIEF, "--json")
    measured = json.loads(outcome.out)
    assert all(rate > 0 for rate in measured["rates"].values())
    assert list(measured["rates"]) == ["mixbake", "webdataset", "on the fly"]
    assert measured["epochs_worth"] == 2
    assert measured["baked"] > 0


@pytest.mark.slow
def test_a_source_that_moved_is_said_and_the_rest_measured(
    small_bake: Path, mixbake: Any, own_images: Path, tmp_path: Path
) -> None:
    own_images.rename(tmp_path / "moved")
    said = mixbake("bench", small_bake, *BRIEF).out
    assert "on the fly   not measured" in said
    assert "--source" in said
    again = mixbake("bench", small_bake, *BRIEF, "--source", tmp_path / "moved").out
    assert "not measured" not in again


def test_what_is_no_bake_is_refused(tmp_path: Path, mixbake: Any) -> None:
    outcome = mixbake("bench", tmp_path)
    assert outcome.code == 2
    assert "no bake.json" in outcome.err
