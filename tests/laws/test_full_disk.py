"""A disk that fills up or cannot be written to ends the build with 74; nothing is half-written, and a rerun ends it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bakes import bake, leftovers, tars, tree

from mixbake.errors import StorageError

SETTINGS: dict[str, Any] = {"codec": "raw", "size": 32, "epochs_worth": 5, "seed": 7}
OPTIONS = ("--codec", "raw", "--size", 32, "-n", 5, "--seed", 7)


def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a tmpfs takes rights that this process lacks: {done.stderr.strip()}")
    yield folder
    # Lazily: this process may still have prepared pictures mapped from there.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that holds a bake of five epochs' worth, about 1.2 MB, and little else."""
    yield from mounted(tmp_path / "disk", "size=2400k")


@pytest.fixture
def whole(tmp_path: Path, image_folder: Path, picture_folder: Path) -> dict[str, str]:
    bake(image_folder, tmp_path / "whole", picture_folder, **SETTINGS)
    return tars(tmp_path / "whole")


@pytest.mark.parametrize("room", [0, 30, 200, 700, 1300])
def test_a_full_disk_leaves_nothing_half_written(
    disk: Path, image_folder: Path, picture_folder: Path, whole: dict[str, str], room: int
) -> None:
    """room: KiB that are free when the build begins."""
    ballast = fill(disk, leave=room)
    with pytest.raises(StorageError, match="No space left on device") as failure:
        bake(image_folder, disk / "out", picture_folder, **SETTINGS)
    assert failure.value.exit_code == 74
    assert "the same command again" in str(failure.value)
    assert not leftovers(disk / "out")
    kept = tars(disk / "out")
    assert kept.items() <= whole.items()
    assert not (disk / "out" / "bake.json").exists()
    ballast.unlink()
    bake(image_folder, disk / "out", picture_folder, **SETTINGS)
    assert tars(disk / "out") == whole
    assert not leftovers(disk / "out")


@pytest.mark.slow
def test_the_command_exits_74_and_names_the_disk(
    disk: Path, mixbake: Any, image_folder: Path, picture_folder: Path, whole: dict[str, str]
) -> None:
    """Through worker processes, whose errors have to travel."""
    ballast = fill(disk, leave=700)
    done = mixbake("build", image_folder, disk / "out", "--mixing-set", picture_folder, *OPTIONS, "-j", 2)
    assert done.code == 74, done.err
    assert "No space left on device" in done.err.splitlines()[-1]
    assert str(disk) in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    ballast.unlink()
    bake(image_folder, disk / "out", picture_folder, **SETTINGS)
    assert tars(disk / "out") == whole


def fill(disk: Path, *, leave: int) -> Path:
    """Put one large file on a disk, so that `leave` KiB are free."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - leave * 1024))
    return ballast


def test_an_extension_that_fails_keeps_the_finished_bake(disk: Path, image_folder: Path, picture_folder: Path) -> None:
    out = disk / "out"
    bake(image_folder, out, picture_folder, **SETTINGS | {"epochs_worth": 1})
    before = tree(out)
    fill(disk, leave=100)
    with pytest.raises(StorageError):
        bake(image_folder, out, picture_folder, **SETTINGS)
    after = tree(out)
    assert {name: after[name] for name in before} == before


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "read-only", "size=256k,ro")


@pytest.mark.slow
@pytest.mark.parametrize("out", ["", "new", "new/deeper"])
def test_a_read_only_folder_is_refused_with_advice(
    read_only: Path, mixbake: Any, image_folder: Path, picture_folder: Path, out: str
) -> None:
    done = mixbake("build", image_folder, read_only / out, "--mixing-set", picture_folder, "--executor", "inline")
    assert done.code == 74, done.err
    assert "Read-only file system" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert not list(read_only.iterdir())
