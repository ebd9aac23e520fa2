"""A bake that several tests read, and copies of it to change."""

from pathlib import Path

import pytest
from small import bake, copied


@pytest.fixture(scope="session")
def clean_bake(tmp_path_factory: pytest.TempPathFactory, many_images: Path, picture_folder: Path) -> Path:
    """450 images in two blocks at 16 px: two epochs' worth, and a third that was added."""
    out = tmp_path_factory.mktemp("opened") / "clean"
    for epochs in (2, 3):
        bake(many_images, out, picture_folder, epochs_worth=epochs, views="clean")
    return out


@pytest.fixture
def own(clean_bake: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return copied(clean_bake, tmp_path / "own")
