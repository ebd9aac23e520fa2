"""Several processes train as one: the same batches, the same weights, the same end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE
from safetensors.torch import load_file

from mixbake.errors import UsageError
from mixbake.train.ranks import choose_device, joined

LINEAR = Path(__file__).parent / "linear_run.py"


class Torchrun:
    """Processes under torchrun, on this machine."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[str]] = []

    def start(self, ranks: int, *command: object) -> "subprocess.Popen[str]":
        words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", *map(str, command)]
        process = subprocess.Popen(
            [sys.executable, *words],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def __call__(self, ranks: int, *command: object, code: int = 0) -> str:
        process = self.start(ranks, *command)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, said
        return said


@pytest.fixture
def torchrun() -> Iterator[Torchrun]:
    run = Torchrun()
    yield run
    for process in run.running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_two_ranks_are_one_to_a_network_without_batch_statistics(
    torchrun: Torchrun, tiny_bake: Path, tmp_path: Path
) -> None:
    """Sums of floats are added up in another order, so the weights agree but for their last digits."""
    for ranks in (1, 2):
        torchrun(ranks, LINEAR, tiny_bake, tmp_path / f"of-{ranks}")
    one, two = (load_file(tmp_path / f"of-{ranks}" / "last.safetensors") for ranks in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].allclose(two[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_what_the_first_process_refuses_ends_all(torchrun: Torchrun, tiny_bake: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("something else")
    flags = ("--batch-size", 10, "--device", "cpu")
    said = torchrun(2, "-m", "mixbake", "train", tiny_bake, "--out", tmp_path, *flags, code=1)
    assert f"{tmp_path} is not empty" in said
    assert "mixbake: the first process could not begin" in said
    assert "mixbake/train/run.py" not in said


@pytest.mark.slow
def test_two_ranks_stop_together_and_go_on_as_one_or_two(
    torchrun: Torchrun, mixbake: Any, tiny_bake: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = ("--model", "wrn10_1", "--epochs", 200, "--batch-size", 10, "--log-every", 1, "--device", "cpu")
    process = torchrun.start(2, "-m", "mixbake", "train", tiny_bake, "--out", run, *flags)
    limit = time.monotonic() + PATIENCE
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit, "no step was made"
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert "--resume goes on" in said
    goes_on = ("-m", "mixbake", "train", tiny_bake, "--out", run, "--resume", "--val", "demo:count=1")
    # Refused by every rank alike, before anything is written; then stopped again at once.
    assert "classes that the bake has not" in torchrun(2, *goes_on, code=1)
    assert (run / "state.pt").exists()


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="--batch-size 12"), joined("cpu", batch_size=10):
        pass


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "mps", ""])
def test_an_unknown_device_is_named(name: str) -> None:
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        choose_device(name)
