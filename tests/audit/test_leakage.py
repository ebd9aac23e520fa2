"""Promises of the search for test pictures: planted leaks are found and named, honest pictures are left alone."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import bake
from test_signals import PLAIN, found, numbers, save

from mixbake.audit import signals
from mixbake.audit.signals import Leak
from mixbake.data.demo import draw_demo
from mixbake.errors import UsageError


def plant(folder: Path, side: int) -> dict[str, int]:
    """A test set: train images by number, exactly, encoded and resized, beside honest pictures and other files."""
    train = [draw_demo(number, size=side, split="train") for number in range(40)]
    for number in range(20):
        save(draw_demo(number, size=side, split="test"), folder / "honest" / f"{number:02d}.png")
    save(train[4], folder / "class" / "exact.png")
    save(train[11], folder / "class" / "deep" / "encoded.jpg", quality=60)
    resized = Image.fromarray(train[20]).resize((side * 2, side * 2), Image.Resampling.BICUBIC)
    save(np.asarray(resized), folder / "resized.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / ".hidden").mkdir()
    save(train[5], folder / ".hidden" / "exact.png")
    (folder / "class" / "loop").symlink_to(folder)
    return {"class/exact.png": 4, "class/deep/encoded.jpg": 11, "resized.png": 20}


@pytest.mark.parametrize("size", [0, 80])
def test_planted_leaks_are_found_and_honest_pictures_are_not(
    tmp_path: Path, image_folder: Path, picture_folder: Path, size: int
) -> None:
    source, side = image_folder, 32
    if size:
        # Larger images, of which the test pictures are the central squares.
        source, side = tmp_path / "source", 96
        for number in range(40):
            picture = draw_demo(number, size=96, split="train")
            save(
                np.concatenate([picture[:, :20], picture, picture[:, -20:]], axis=1), source / "a" / f"{number:03d}.png"
            )
    bake(source, tmp_path / "out", picture_folder, size=size)
    planted = plant(tmp_path / "test", side)
    everything = found(tmp_path / "out", against=tmp_path / "test")
    paths = {image: path for path, image in numbers(tmp_path / "out").items()}
    number_of = {int(Path(path).stem): image for image, path in paths.items()}
    expected = set()
    for name, number in planted.items():
        exact = name == "class/exact.png"
        expected.add(Leak(exact=exact, against=name, image=number_of[number], source=paths[number_of[number]]))
    assert set(everything.leaks) == expected
    assert (everything.leaked, everything.named["leakage"], everything.known) == (3, 3, "source")
    assert (everything.against, everything.against_pictures, everything.unreadable) == (str(tmp_path / "test"), 24, 1)


def test_pixels_are_compared_and_not_files(tmp_path: Path, image_folder: Path, two_epochs: Path) -> None:
    even = next(path for path in sorted(image_folder.rglob("*.png")))
    save(np.asarray(Image.open(even)), tmp_path / "test" / "again.png", compress_level=0)
    [leak] = found(two_epochs, against=tmp_path / "test").leaks
    assert (leak.exact, leak.source) == (True, even.relative_to(image_folder).as_posix())


def test_leaks_are_counted_and_some_are_listed(
    image_folder: Path, two_epochs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "MOST_LEAKS", 7)
    everything = found(two_epochs, against=image_folder)
    assert (everything.leaked, len(everything.leaks), everything.leaks[0].exact) == (40, 7, True)


def test_without_the_source_leaks_are_looked_for_in_what_was_measured(
    tmp_path: Path, own_images: Path, picture_folder: Path
) -> None:
    for views in ("mix", "clean"):
        bake(own_images, tmp_path / views, picture_folder, views=views, **PLAIN)
    own_images.rename(tmp_path / "elsewhere")
    for views in ("mix", "clean"):
        everything = found(tmp_path / views, against=tmp_path / "elsewhere")
        assert (everything.known, everything.leaked) == (views, 40)
        assert "leakage" not in everything.named
        assert {(leak.exact, leak.against == leak.source) for leak in everything.leaks} == {(True, True)}


@pytest.mark.parametrize("folder", ["absent", "empty", "file"])
def test_a_folder_without_pictures_is_refused(tmp_path: Path, two_epochs: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=folder):
        found(two_epochs, against=tmp_path / folder)


def test_a_png_in_a_jpegs_place_changes_nothing(tmp_path: Path, two_epochs: Path, image_folder: Path) -> None:
    buffer = io.BytesIO()
    Image.open(next(image_folder.rglob("*.png"))).save(buffer, "PNG")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "odd.jpg").write_bytes(buffer.getvalue())
    assert found(two_epochs, against=tmp_path / "test").leaked == 1
