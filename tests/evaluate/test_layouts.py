"""Published sets as they are downloaded: what is there, what is missing, and files that lie."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixbake.errors import Damage, MixbakeError, UsageError
from mixbake.evaluate.arrays import ArrayPictures
from mixbake.evaluate.corruptions import CORRUPTIONS
from mixbake.evaluate.layouts import (
    C_BAR_CIFAR,
    C_BAR_IMAGENET,
    PERTURBATIONS,
    Block,
    find_c_bar,
    find_corruptions,
    find_pictures,
    find_videos,
)

LABELS = np.arange(6)


def arrays(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "labels.npy", np.tile(LABELS, 5))
    for name in names:
        np.save(folder / f"{name}.npy", np.zeros((30, 8, 8, 3), np.uint8))
    return folder


def folders(root: Path, *paths: str) -> Path:
    """Folders, each with a class in it."""
    for path in paths:
        (root / path / "n01").mkdir(parents=True)
    return root


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


# ── What is there ─────────────────────────────────────────────────────────────────────────────────


def test_arrays_are_five_blocks_severity_one_first(tmp_path: Path) -> None:
    found = find_corruptions(arrays(tmp_path / "CIFAR-10-C", *CORRUPTIONS))
    assert list(found.parts) == list(CORRUPTIONS)
    assert (found.label, found.missing, found.notes) == ("CIFAR-10-C", (), ())
    for severities in found.parts.values():
        blocks = [block for block in severities.values() if isinstance(block, Block)]
        assert [block.first for block in blocks] == [0, 6, 12, 18, 24]
        assert all(np.array_equal(block.labels, LABELS) for block in blocks)


def test_what_is_missing_and_what_is_unknown_is_named(tmp_path: Path) -> None:
    folder = arrays(tmp_path / "C", "fog", "snow", "speckle_noise", "glitter")
    (folder / "README.txt").write_text("hello")
    found = find_corruptions(folder)
    assert list(found.parts) == ["snow", "fog"]
    assert found.missing == tuple(f"C: {name}" for name in CORRUPTIONS if name not in ("fog", "snow"))
    assert found.notes == (
        "C: speckle_noise.npy left out, since the papers' means do not count them",
        "C: README.txt, glitter.npy left alone, unknown",
    )


def test_names_cannot_write_to_a_terminal(tmp_path: Path) -> None:
    folder = arrays(tmp_path / "C", "fog")
    (folder / "a\x1b[31m\nb").touch()
    assert find_corruptions(folder).notes == (r"C: a\x1b[31m\nb left alone, unknown",)


def test_folders_of_severities_even_in_the_archives_groups(tmp_path: Path) -> None:
    root = folders(tmp_path / "ImageNet-C", *(f"blur/defocus_blur/{level}" for level in (1, 2, 4, 5)), "fog/3/n01")
    found = find_corruptions(root)
    assert found.parts == {
        "defocus_blur": {level: root / "blur/defocus_blur" / str(level) for level in (1, 2, 4, 5)},
        "fog": {3: root / "fog/3"},
    }
    assert "ImageNet-C: defocus_blur, severity 3" in found.missing
    assert "ImageNet-C: snow" in found.missing
    assert len(found.missing) == 13 + 1 + 4


def test_c_bar_bears_the_numbers_of_its_generator(tmp_path: Path) -> None:
    """A severity that is absent shifts no other."""
    levels = ("2.35", "3.20", "6.60", "9.15")
    root = folders(tmp_path / "bar", *(f"caustic_refraction/{level}" for level in levels))
    assert find_c_bar(root).parts["caustic_refraction"] == {
        severity: root / "caustic_refraction" / level for severity, level in zip((1, 2, 4, 5), levels, strict=True)
    }


def test_c_bar_of_cifar_has_ten_of_its_own(tmp_path: Path) -> None:
    found = find_c_bar(arrays(tmp_path / "bar", *C_BAR_CIFAR))
    assert len(found.parts) == 10
    assert not found.missing
    assert len(C_BAR_IMAGENET) == 10
    assert all(list(strengths) == sorted(strengths) and len(strengths) == 5 for strengths in C_BAR_IMAGENET.values())


def test_videos_are_found_without_labels(tmp_path: Path) -> None:
    for name in ("tilt", "gaussian_noise", "gaussian_noise_2", "shear"):
        np.save(tmp_path / f"{name}.npy", np.zeros((3, 4, 8, 8, 3), np.uint8))
    found = find_videos(tmp_path)
    assert list(found.parts) == ["gaussian_noise", "tilt"]
    assert len(found.missing) == len(PERTURBATIONS) - 2
    assert "gaussian_noise_2.npy, shear.npy left out" in found.notes[0]


def test_pictures_are_found_at_any_depth(tmp_path: Path) -> None:
    for name in ("b.png", "a/deep/c.JPG", "a/.hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_pictures(tmp_path) == [tmp_path / "a/deep/c.JPG", tmp_path / "b.png"]


@pytest.mark.parametrize("find", [find_corruptions, find_c_bar, find_videos, find_pictures])
def test_nothing_to_use_is_an_error(find: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "odd.txt").touch()
    with pytest.raises(UsageError, match=r"holds no"):
        find(tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        find(tmp_path / "absent")


def test_videos_of_imagenet_are_left_to_others(tmp_path: Path) -> None:
    folders(tmp_path, "tilt/n01")
    with pytest.raises(UsageError, match=r"\.mp4 are not read"):
        find_videos(tmp_path)


def test_a_folder_that_was_never_filled_is_missing(tmp_path: Path) -> None:
    root = folders(tmp_path, *(f"fog/{severity}" for severity in range(1, 5)))
    (root / "fog/5").mkdir()
    (root / "fog/5/.part").touch()
    found = find_corruptions(root)
    assert list(found.parts["fog"]) == [1, 2, 3, 4]
    assert f"{root.name}: fog, severity 5" in found.missing


# ── Files that lie ────────────────────────────────────────────────────────────────────────────────


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb(path.parent / "mark")))


def objects(path: Path) -> None:
    np.save(path, np.array([Bomb(path.parent / "mark")] * 30, object), allow_pickle=True)


def huge(path: Path) -> None:
    """A header that means more bytes than any number of 64 bits."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b"(30, ", b"(" + b"9" * 20 + b", ").replace(b" " * 19, b"", 1))


def headed(shape: str, descr: str = "'|u1'", end: str = "}") -> Callable[[Path], None]:
    """That shape in a header as numpy writes it."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {end}".encode().ljust(117) + b"\n"
    return lambda path: path.write_bytes(
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(10**4)
    )


def written(array: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, array)


@pytest.mark.parametrize(
    ("file", "spoil", "error", "words"),
    [
        ("fog", cut, Damage, "cut short"),
        ("fog", huge, MixbakeError, "cut short|no .npy"),
        ("fog", lambda path: path.write_bytes(b""), UsageError, "no .npy file"),
        ("fog", lambda path: path.write_text("<html>"), UsageError, "no .npy file"),
        ("fog", pickled, UsageError, "no .npy file"),
        ("fog", objects, UsageError, "pickled: refused, nothing in it was run"),
        ("fog", headed("(-5, 8, 8, -3)"), UsageError, "sides of 1 or more"),
        ("fog", headed("(0, 8, 8, 3)"), UsageError, "sides of 1 or more"),
        ("fog", headed("(True,)"), UsageError, "sides of 1 or more"),
        ("fog", headed("(30, 8, 8)", "('|u1', (3,))"), UsageError, "plain values"),
        ("fog", headed("(30, 8,", end=""), UsageError, "no .npy file"),
        ("fog", written(np.zeros((30, 8, 8, 3), np.float32)), UsageError, "uint8 n×H×W×3 is wanted"),
        ("fog", written(np.zeros((30, 3, 8, 8), np.uint8)), UsageError, "uint8 n×H×W×3 is wanted"),
        ("fog", written(np.zeros((30, 8, 3), np.uint8)), UsageError, "uint8 n×H×W×3 is wanted"),
        ("fog", written(np.zeros((25, 8, 8, 3), np.uint8)), UsageError, "snow.npy 30, fog.npy 25"),
        ("labels", written(np.tile(np.arange(8), 5)), UsageError, "40 labels, of 30 pictures"),
        ("labels", written(np.arange(29)), UsageError, "29 labels, of 30 pictures"),
        ("labels", written(np.zeros((6, 5), np.uint8)), UsageError, "one a picture"),
        ("labels", written(np.zeros(30)), UsageError, "whole numbers are wanted"),
        ("labels", written(np.arange(30)), UsageError, "not the published layout"),
        ("labels", objects, UsageError, "pickled: refused"),
        ("labels", cut, Damage, "cut short"),
        ("labels", Path.unlink, UsageError, "has no labels.npy"),
    ],
)
def test_files_that_are_not_as_published_are_named(
    file: str, spoil: Callable[[Path], Any], error: type[MixbakeError], words: str, tmp_path: Path
) -> None:
    folder = arrays(tmp_path / "C", "fog", "snow")
    spoil(folder / f"{file}.npy")
    with pytest.raises(error, match=re.escape(str(folder))) as told:
        find_corruptions(folder)
    assert re.search(words, str(told.value)), told.value
    assert not (folder / "mark").exists()


def test_the_bomb_would_have_left_a_mark(tmp_path: Path) -> None:
    objects(tmp_path / "bomb.npy")
    np.load(tmp_path / "bomb.npy", allow_pickle=True)
    assert (tmp_path / "mark").exists()


def test_other_labels_are_another_set(tmp_path: Path) -> None:
    """What was measured with them must not be found again."""
    folder = arrays(tmp_path / "C", "fog")

    def identity() -> list[str | int]:
        block = find_corruptions(folder).parts["fog"][2]
        assert isinstance(block, Block)
        return ArrayPictures(block.path, first=block.first, labels=block.labels, size=8).identity()

    before = identity()
    assert identity() == before
    np.save(folder / "labels.npy", np.tile(LABELS[::-1], 5))
    assert identity() != before


def test_arrays_by_columns_are_read_as_they_are(tmp_path: Path) -> None:
    """numpy writes them so when they were transposed."""
    folder = arrays(tmp_path / "C", "fog")
    pictures = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    np.save(folder / "fog.npy", np.asfortranarray(pictures))
    read = ArrayPictures(folder / "fog.npy", first=12, labels=LABELS, size=8).read([1, 4])
    assert np.array_equal(read, pictures[[13, 16]])
