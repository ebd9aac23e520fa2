"""A command in this process, and bakes that several tests read or tamper with copies of."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from outcome import Outcome
from shared_bakes import jsd_bake  # noqa: F401 - fixtures, which tests ask for by name
from small import bake
from tampering import bakes  # noqa: F401 - a fixture

from mixbake import cli


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    """A command in this process: command("info", out)."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = cli.run(list(map(str, arguments)))
        said = capsys.readouterr()
        return Outcome(code=code, out=said.out, err=said.err)

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def two_epochs(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    """40 images, two epochs' worth, at 32 px."""
    out = tmp_path_factory.mktemp("two") / "out"
    bake(image_folder, out, picture_folder, epochs_worth=2)
    return out


@pytest.fixture
def moved(tmp_path: Path, own_images: Path, picture_folder: Path) -> Path:
    """A bake whose source was at own_images, and is at tmp_path/elsewhere."""
    bake(own_images, tmp_path / "moved", picture_folder, views="clean", limit=20)
    own_images.rename(tmp_path / "elsewhere")
    return tmp_path / "moved"
