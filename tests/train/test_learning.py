"""The whole way: drawn images, baked, trained on, and other drawings told apart."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.minutes
def test_a_small_network_learns_the_demo_from_its_bake(mixbake: Any, tmp_path: Path) -> None:
    """As in the README, where it takes a minute."""
    bake, run = tmp_path / "bake", tmp_path / "run"
    built = mixbake("build", "demo:count=8000", bake, "--epochs-worth", 8, "--mixing-set", "fractals:count=32")
    assert built.code == 0, built.err
    flags = ("--model", "wrn10_1", "--dropout", 0, "--epochs", 8, "--batch-size", 64, "--val", "demo:split=test")
    trained = mixbake("train", bake, "--out", run, *flags, "--device", "cpu", "--json")
    assert trained.code == 0, trained.err
    assert json.loads(trained.out)["accuracy"] > 0.9
