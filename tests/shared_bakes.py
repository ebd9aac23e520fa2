"""Bakes that the tests of several folders read and none changes: fixtures, for the conftest.py of these folders."""

from pathlib import Path

import pytest
from small import bake


@pytest.fixture(scope="session")
def mix_bake(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    """40 images, three epochs' worth, at 32 px."""
    out = tmp_path_factory.mktemp("bakes") / "mix"
    bake(image_folder, out, picture_folder, epochs_worth=3)
    return out


@pytest.fixture(scope="session")
def jsd_bake(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    """40 images, two epochs' worth of aligned pairs and clean crops, at 32 px."""
    out = tmp_path_factory.mktemp("bakes") / "jsd"
    bake(image_folder, out, picture_folder, epochs_worth=2, views="jsd")
    return out
