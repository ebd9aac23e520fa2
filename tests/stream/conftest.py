"""Bakes that several tests read and none changes."""

from collections.abc import Callable
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


@pytest.fixture(scope="session")
def wide_bake(tmp_path_factory: pytest.TempPathFactory, many_images: Path, picture_folder: Path) -> Path:
    """450 images in two blocks, two epochs' worth with clean crops, at 16 px."""
    out = tmp_path_factory.mktemp("bakes") / "wide"
    bake(many_images, out, picture_folder, epochs_worth=2, views="clean")
    return out


@pytest.fixture(scope="session")
def encoded(
    tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., Path], picture_folder: Path
) -> Callable[[str], Path]:
    """encoded(codec): 100 images in two blocks, two epochs' worth with clean crops, at 80 px."""
    folder, made = tmp_path_factory.mktemp("encoded"), {}

    def of(codec: str) -> Path:
        if "source" not in made:
            made["source"] = write_images(folder / "source", 100, size=80)
        if codec not in made:
            made[codec] = folder / codec
            bake(made["source"], made[codec], picture_folder, epochs_worth=2, views="clean", codec=codec)
        return made[codec]

    return of


@pytest.fixture(scope="session")
def jpeg_bake(encoded: Callable[[str], Path]) -> Path:
    """100 images as JPEG, see `encoded`."""
    return encoded("jpeg")
