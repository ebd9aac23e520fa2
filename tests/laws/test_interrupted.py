"""A build may be killed or stopped at any moment: nothing half-written stays, and the same command ends with the bytes
of a build that was never disturbed.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from bakes import bake, leftovers, tars, tree
from processes import PATIENCE, command_line

from mixbake.storage.store import LEFTOVER

SETTINGS: dict[str, Any] = {"codec": "webp", "epochs_worth": 32, "size": 48, "seed": 7}
OPTIONS = ("--codec", "webp", "-n", 32, "--size", 48, "--seed", 7, "--jobs", 2)
RANGES = 4
"""At least so many receipts: several blocks, and more than one range of numbers in each."""

Start = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., Path]) -> Path:
    return write_images(tmp_path_factory.mktemp("long") / "images", 100, size=48)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, source: Path, picture_folder: Path) -> dict[str, str]:
    """Tars of the bake that nobody interrupts."""
    out = tmp_path_factory.mktemp("long") / "undisturbed"
    bake(source, out, picture_folder, **SETTINGS)
    assert len(list((out / "receipts").iterdir())) >= RANGES
    return tars(out)


@pytest.fixture
def start(mixbake: Any, source: Path, picture_folder: Path) -> Start:
    return lambda out: mixbake.start("build", source, out, "--mixing-set", picture_folder, *OPTIONS)


def rerun(source: Path, out: Path, picture_folder: Path) -> None:
    bake(source, out, picture_folder, **SETTINGS)


def poll(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait until something is so, or the process has ended."""
    limit = time.monotonic() + PATIENCE
    while process.poll() is None and not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.002)


def receipts(out: Path) -> int:
    return len(list((out / "receipts").glob("[!.]*.json")))


def writing(out: Path) -> bool:
    return any(LEFTOVER.fullmatch(path.name) for path in out.glob("mix/*/.tmp-*"))


def workers(of: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Every process below a build."""
    try:
        return psutil.Process(of.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


_chance = random.Random(31)
MOMENTS = [
    pytest.param(1, 0.0, id="after the first receipt"),
    *(
        pytest.param(_chance.randrange(RANGES), _chance.uniform(0, 0.4), id=f"random {i}", marks=pytest.mark.slow)
        for i in range(6)
    ),
]
"""(receipts to wait for, then seconds): a quick case, and random ones."""


@pytest.mark.parametrize(("after", "pause"), MOMENTS)
@pytest.mark.slow
def test_killing_a_worker_changes_nothing(
    tmp_path: Path, start: Start, undisturbed: dict[str, str], after: int, pause: float
) -> None:
    process = start(tmp_path / "out")
    poll(lambda: receipts(tmp_path / "out") >= after and writing(tmp_path / "out"), process)
    time.sleep(pause)
    victims = [child for child in workers(process) if "popen_loky" in command_line(child)]
    done = receipts(tmp_path / "out")
    for victim in victims[:1]:
        victim.kill()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert victims or done == receipts(tmp_path / "out"), "no worker although work was left"
    assert tars(tmp_path / "out") == undisturbed
    assert not leftovers(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(("after", "pause"), MOMENTS)
def test_killing_the_build_leaves_no_writer_and_a_rerun_ends_it(
    tmp_path: Path,
    start: Start,
    source: Path,
    picture_folder: Path,
    undisturbed: dict[str, str],
    after: int,
    pause: float,
) -> None:
    out = tmp_path / "out"
    process = start(out)
    poll(lambda: receipts(out) >= after and writing(out), process)
    time.sleep(pause)
    orphans = workers(process)
    process.kill()
    _, err = process.communicate(timeout=PATIENCE)
    assert "Warning" not in err
    _, alive = psutil.wait_procs(orphans, timeout=PATIENCE)
    assert not alive, "workers outlive their parent"
    assert not _open_below(out), "somebody still writes"
    kept = tars(out)
    assert kept.items() <= undisturbed.items()
    rerun(source, out, picture_folder)
    assert tars(out) == undisturbed
    assert not leftovers(out)
    assert kept.items() <= tree(out).items()


def _open_below(out: Path) -> list[str]:
    """Files below a folder that any process has open."""
    found = []
    for process in psutil.process_iter():
        try:
            found += [file.path for file in process.open_files() if file.path.startswith(f"{out}/")]
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_build_says_how_to_resume(
    tmp_path: Path,
    start: Start,
    source: Path,
    picture_folder: Path,
    undisturbed: dict[str, str],
    sent: signal.Signals,
    code: int,
) -> None:
    """As from a terminal: every process of the group gets the signal."""
    out = tmp_path / "out"
    process = start(out)
    poll(lambda: receipts(out) >= 1 and writing(out), process)
    orphans = workers(process)
    os.killpg(process.pid, sent)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert "the same command resumes" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not psutil.wait_procs(orphans, timeout=PATIENCE)[1]
    assert not (out / "bake.json").exists()
    assert not leftovers(out)
    rerun(source, out, picture_folder)
    assert tars(out) == undisturbed


@pytest.mark.slow
def test_a_second_build_in_the_folder_is_refused(
    tmp_path: Path, start: Start, mixbake: Any, source: Path, picture_folder: Path, undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    first = start(out)
    poll((out / "manifest.json").exists, first)
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        second = mixbake("build", source, out, "--mixing-set", picture_folder, *OPTIONS)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert second.code == 4, second.err
    assert str(first.pid) in second.err
    assert str(out) in second.err
    _, err = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, err
    assert tars(out) == undisturbed
