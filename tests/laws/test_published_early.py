"""--publish-every: the bake is finished several times on its way, and ends with the same tars."""

import json
from pathlib import Path

import pytest
from bakes import Heard, bake, leftovers, tars

from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf


class Reader(Heard):
    """Opens the bake whenever a stage begins, as a training job would."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out, self.seen = out, []  # type: ignore[var-annotated]  # a list of whatever

    def event(self, name: str, **_fields: object) -> None:
        if name == "finishing" and (self.out / "bake.json").exists():
            found = Bake.open(LocalShelf(self.out))
            assert found.wrong_sizes() == []
            self.seen.append(found.epochs_worth)


@pytest.mark.parametrize("views", ["mix", "jsd"])
def test_every_stage_is_a_whole_bake_and_the_end_is_the_same(
    tmp_path: Path, image_folder: Path, picture_folder: Path, views: str
) -> None:
    watcher = Reader(tmp_path / "early")
    built = bake(
        image_folder, tmp_path / "early", picture_folder, watcher, epochs_worth=5, publish_every=2, views=views
    )
    bake(image_folder, tmp_path / "late", picture_folder, epochs_worth=5, views=views)
    assert watcher.seen == [2, 4]
    assert tars(tmp_path / "early") == tars(tmp_path / "late")
    assert built.baked == built.finished.document["samples"]
    assert not leftovers(tmp_path / "early")


def test_what_was_begun_without_stages_goes_on(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    out = tmp_path / "out"
    bake(image_folder, out, picture_folder, epochs_worth=4)
    # As a build leaves it that was stopped just before its end.
    (out / "bake.json").unlink()
    bake(image_folder, out, picture_folder, epochs_worth=6, publish_every=1)
    assert json.loads((out / "bake.json").read_text())["epochs_worth"] == 6


@pytest.mark.parametrize("codec", ["jpeg", "raw", "png"])
def test_a_lost_file_of_lengths_comes_back(
    tmp_path: Path, image_folder: Path, picture_folder: Path, codec: str
) -> None:
    out = tmp_path / "out"
    size = {"size": 80} if codec == "png" else {}
    first = bake(image_folder, out, picture_folder, epochs_worth=2, codec=codec, **size)
    before = {path.name: path.read_bytes() for path in (out / "sizes").iterdir()}
    assert sorted(before) == ["mix-v000.npy", "mix-v001.npy"]
    (out / "sizes" / "mix-v001.npy").unlink()
    again = bake(image_folder, out, picture_folder, epochs_worth=2, codec=codec, **size)
    assert {path.name: path.read_bytes() for path in (out / "sizes").iterdir()} == before
    assert again.finished.document["sizes"] == first.finished.document["sizes"]
