"""Bakes that a network trains on in seconds, and a training whose reports are kept."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from small import bake
from threads import one_thread  # noqa: F401 - a fixture that every test of this folder uses

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.train.asked import Asked, settle  # noqa: E402 - torch must be there
from mixbake.train.run import Trained, train  # noqa: E402 - torch must be there

SIDE, IMAGES, WORTH = 16, 40, 3


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Numbers that torch draws are the same in every run, whatever ran before."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., Path]) -> Path:
    """40 pictures of 16 by 16 in three classes; read only."""
    return write_images(tmp_path_factory.mktemp("tiny") / "images", IMAGES, size=SIDE)


@pytest.fixture(scope="session")
def tiny_bakes(
    tmp_path_factory: pytest.TempPathFactory, tiny_images: Path, picture_folder: Path
) -> Callable[[str], Path]:
    """tiny_bakes(views): three epochs' worth of them; read only."""
    made: dict[str, Path] = {}

    def get(views: str) -> Path:
        if views not in made:
            made[views] = tmp_path_factory.mktemp("bakes") / views
            bake(tiny_images, made[views], picture_folder, epochs_worth=WORTH, views=views)
        return made[views]

    return get


@pytest.fixture
def tiny_bake(tiny_bakes: Callable[[str], Path]) -> Path:
    return tiny_bakes("mix")


class Told:
    """Keeps what a training reports."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.records: list[dict[str, Any]] = []

    def say(self, message: str) -> None:
        self.messages.append(message)

    def steps(self, done: int, total: int, record: Mapping[str, Any]) -> None:
        assert done <= total
        self.records.append(dict(record))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def trained(tmp_path: Path, told: Told) -> Callable[..., Trained]:
    """trained(bake, out="run", resume=False, **settings): train a very small network in this process."""

    def run(shards: Path, out: str = "run", *, resume: bool = False, **given: Any) -> Trained:
        usual = {} if resume else {"model": "wrn10_1", "epochs": 3, "batch_size": 10, "device": "cpu", "log_every": 2}
        return train(settle(Asked(shards=str(shards), out=tmp_path / out, resume=resume, given=usual | given)), told)

    return run
