"""Bakes that several tests read and none changes; and one behind a web server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import CONTENTS, QUICK, Server
from shared_bakes import jsd_bake, mix_bake  # noqa: F401 - fixtures, which tests ask for by name
from small import bake

from mixbake.stream.remote import RemoteShelf


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


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server that has CONTENTS below /bake."""
    with Server({f"/bake/{name}": data for name, data in CONTENTS.items()}) as running:
        yield running


@pytest.fixture
def web(server: Server, tmp_path: Path) -> RemoteShelf:
    """The bake of that server."""
    return RemoteShelf(f"{server.url}/bake", cache=tmp_path / "cache", patience=QUICK)
