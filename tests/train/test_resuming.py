"""A training may be stopped or killed at any moment: what goes on from its checkpoint ends as if nothing had been."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE
from safetensors.torch import load_file
from small import bake

from mixbake.errors import Damage, PlanDiffers, UsageError
from mixbake.train.checkpoint import read_about

FLAGS = ("--model", "wrn10_1", "--epochs", 4, "--batch-size", 8, "--log-every", 1, "--device", "cpu", "--seed", 5)
QUIET = {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def start(mixbake: Any, tiny_bake: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """start(out, *flags): the command as a process of its own."""
    return lambda out, *flags: mixbake.start("train", tiny_bake, "--out", out, *flags, **QUIET)


def lines(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_steps(run: Path, steps: int, process: "subprocess.Popen[str]") -> None:
    limit = time.monotonic() + PATIENCE
    while process.poll() is None and not any(line["step"] >= steps for line in lines(run)):
        assert time.monotonic() < limit, "no step was made"
        time.sleep(0.005)


def finish(process: "subprocess.Popen[str]", code: int = 0) -> str:
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    return str(said)


def weights(run: Path) -> bytes:
    return (run / "last.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("sent", "code", "extra"),
    [
        (signal.SIGTERM, 143, ()),
        pytest.param(signal.SIGINT, 130, ("--mix", "cutmix"), marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, ("--save-seconds", 0), marks=pytest.mark.slow),
    ],
    ids=["SIGTERM", "SIGINT", "SIGKILL"],
)
@pytest.mark.slow
def test_resumed_equals_uninterrupted(
    tmp_path: Path, start: Any, sent: signal.Signals, code: int, extra: tuple[Any, ...]
) -> None:
    """To the bit, dropout included, with another number of threads that decode."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(start(whole, *FLAGS, *extra))
    process = start(cut, *FLAGS, *extra)
    wait_for_steps(cut, 7, process)
    os.killpg(process.pid, sent)
    said = finish(process, code)
    assert sent == signal.SIGKILL or f"--out {cut} --resume" in said
    assert weights(cut) != weights(whole)
    finish(start(cut, "--resume", "--threads", 3))
    assert weights(cut) == weights(whole)
    steps = [line["step"] for line in lines(cut) if line["kind"] == "interval"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 20
    losses = {line["step"]: line["loss"] for line in lines(whole) if line["kind"] == "interval"}
    assert {line["step"]: line["loss"] for line in lines(cut) if line["kind"] == "interval"} == losses
    assert not [path for path in cut.iterdir() if path.name.startswith(".tmp")]


def test_a_finished_run_stays_as_it_is(trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
    first = trained(tiny_bake)
    before = weights(tmp_path / "run")
    again = trained(tiny_bake, resume=True)
    assert (again.steps, again.loss) == (first.steps, first.loss)
    assert weights(tmp_path / "run") == before


def test_metrics_after_the_checkpoint_are_dropped(trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
    trained(tiny_bake, epochs=2)
    path = tmp_path / "run" / "metrics.jsonl"
    whole = path.read_text()
    # As a kill leaves it: lines that no checkpoint knows of, the last one cut short.
    path.write_text(whole + '{"kind": "interval", "step": 99, "loss": 1.0}\n{"kind": "inter')
    trained(tiny_bake, resume=True)
    assert path.read_text() == whole


@pytest.mark.parametrize(
    ("given", "named"), [({"lr": 0.2}, "lr: 0.1 -> 0.2"), ({"batch_size": 20}, "batch_size: 10 -> 20")]
)
def test_other_settings_are_refused(trained: Any, tiny_bake: Path, given: dict[str, Any], named: str) -> None:
    trained(tiny_bake, epochs=1)
    with pytest.raises(PlanDiffers, match=named):
        trained(tiny_bake, resume=True, **given)


def test_another_bake_is_refused(trained: Any, tiny_bakes: Callable[[str], Path]) -> None:
    trained(tiny_bakes("mix"), epochs=1)
    with pytest.raises(PlanDiffers, match="another bake"):
        trained(tiny_bakes("clean"), resume=True)


def test_without_a_run_there_is_nothing_to_resume(trained: Any, tiny_bake: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        trained(tiny_bake, resume=True)


def test_a_run_is_never_overwritten(trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
    trained(tiny_bake, epochs=1)
    before = weights(tmp_path / "run")
    with pytest.raises(UsageError, match="--resume"):
        trained(tiny_bake, epochs=1)
    assert weights(tmp_path / "run") == before


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_a_damaged_checkpoint_is_named(trained: Any, tiny_bake: Path, tmp_path: Path, keep: int) -> None:
    trained(tiny_bake, epochs=1)
    state = tmp_path / "run" / "state.pt"
    state.write_bytes(state.read_bytes()[:keep])
    with pytest.raises(Damage, match=r"state\.pt is damaged"):
        trained(tiny_bake, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("grow", [False, True])
def test_a_grown_bake_is_used_only_when_asked(
    mixbake: Any, tiny_images: Path, picture_folder: Path, tmp_path: Path, grow: bool
) -> None:
    out, run = tmp_path / "bake", tmp_path / "run"
    bake(tiny_images, out, picture_folder, epochs_worth=1)
    process = mixbake.start("train", out, "--out", run, *FLAGS, **QUIET)
    wait_for_steps(run, 7, process)
    process.send_signal(signal.SIGTERM)
    finish(process, 143)
    bake(tiny_images, out, picture_folder, epochs_worth=2)
    said = finish(mixbake.start("train", out, "--out", run, "--resume", *(["--grow"] if grow else []), **QUIET))
    assert "extended since" in said
    read = [line["epochs_worth"] for line in lines(run) if line["kind"] == "epoch"]
    assert len(read) == 4
    assert set(read) == ({0, 1} if grow else {0})


def test_the_weights_carry_what_they_are_for(trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
    done = trained(tiny_bake, epochs=1)
    about = read_about(tmp_path / "run" / "last.safetensors")
    assert about["classes"] == ["ash", "birch", "cedar"]
    assert (about["model"], about["size"], about["step"], about["bake"]) == ("wrn10_1", 16, done.steps, done.bake)
    assert load_file(tmp_path / "run" / "last.safetensors")
