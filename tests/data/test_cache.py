"""Cache folders: what dead processes left is swept away, what a living one writes is not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mixbake.data.cache import adding, sweep
from mixbake.data.generators import Drawn, generate
from mixbake.data.pictures import prepare
from mixbake.storage.store import LEFTOVER

WRITER = """
import pathlib, sys
from mixbake.data.cache import adding
with adding(pathlib.Path(sys.argv[1])) as writer:
    writer.write(b"half of it")
    print("writing", flush=True)
    sys.stdin.read()
"""


def start_writer(path: Path) -> "subprocess.Popen[bytes]":
    """A process in the middle of adding a file; it ends when its input does."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"writing\n"
    return process


def leave_temporary(folder: Path) -> Path:
    """What a killed process leaves."""
    folder.mkdir(exist_ok=True)
    with start_writer(folder / "victim") as process:
        process.send_signal(signal.SIGKILL)
    (left,) = (path for path in folder.iterdir() if LEFTOVER.fullmatch(path.name) and str(process.pid) in path.name)
    return left


def test_a_dead_process_is_swept_up_after(tmp_path: Path) -> None:
    left = leave_temporary(tmp_path)
    other = tmp_path / ".tmp-mine"
    other.touch()
    sweep(tmp_path)
    assert not left.exists()
    assert list(tmp_path.iterdir()) == [other]


def test_nothing_goes_while_somebody_writes(tmp_path: Path) -> None:
    left = leave_temporary(tmp_path)
    with start_writer(tmp_path / "added") as process:
        before = sorted(tmp_path.iterdir())
        sweep(tmp_path)
        assert sorted(tmp_path.iterdir()) == before
        with adding(tmp_path / "beside") as writer:
            writer.write(b"side by side")
        process.communicate()
    assert process.returncode == 0
    assert (tmp_path / "added").read_bytes() == b"half of it"
    sweep(tmp_path)
    assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"added", "beside"}


def test_a_living_process_keeps_its_file_without_a_lock(tmp_path: Path) -> None:
    mine = tmp_path / f".tmp-{os.getpid()}-0123456789abcdef-x"
    mine.touch()
    sweep(tmp_path)
    assert mine.exists()


@pytest.mark.parametrize("kind", ["fractals", "pictures"])
def test_adding_to_a_cache_sweeps_it_first(tmp_path: Path, picture_folder: Path, kind: str) -> None:
    left = leave_temporary(tmp_path / "out")
    if kind == "fractals":
        generate(tmp_path / "out", Drawn(name="fractals", kind="", count=1), side=48)
    else:
        prepare(str(picture_folder), tmp_path / "out", size=32, gray=False)
    assert not left.exists()
    assert [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []
