"""Promises of the executors, kept against real kills of real processes."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from chores import (
    KILLER,
    Changed,
    Chore,
    Poison,
    chores,
    executor,
    kill_own_worker,
    leave_mark,
    marks,
    raise_at_first,
    raise_damage,
    raise_missing,
    raise_stubborn,
    tell_environment,
)
from processes import PATIENCE, command_line

from mixbake.bake.board import Board
from mixbake.errors import Damage, MissingExtra, MixbakeError, StorageError, UsageError


def workers(of: int | None = None) -> list[psutil.Process]:
    children = psutil.Process(of).children(recursive=True)
    return [child for child in children if "popen_loky" in command_line(child)]


ALL = pytest.mark.parametrize(("kind", "jobs"), [("inline", 1), ("joblib", 1), ("joblib", 2)])


@ALL
def test_every_task_has_exactly_one_result(kind: str, jobs: int, tmp_path: Path) -> None:
    tasks = chores(tmp_path, 12)
    assert sorted(executor(kind, jobs, tmp_path).run(tasks, leave_mark)) == list(range(12))
    assert marks(tmp_path) == list(range(12))
    assert workers() == []
    assert Board.open(tmp_path / "board").running() == {}


@ALL
def test_no_task_no_result(kind: str, jobs: int, tmp_path: Path) -> None:
    assert list(executor(kind, jobs, tmp_path).run(chores(tmp_path, 0), leave_mark)) == []


def test_workers_are_other_processes_with_one_thread_each(tmp_path: Path) -> None:
    told = list(executor("joblib", 1, tmp_path).run(chores(tmp_path, 3), tell_environment))
    assert {threads for _, threads in told} == {"1"}
    assert os.getpid() not in {pid for pid, _ in told}
    assert {pid for pid, _ in executor("inline", 1, tmp_path).run(chores(tmp_path, 3), tell_environment)} == {
        os.getpid()
    }


@pytest.mark.parametrize("jobs", [0, -1])
def test_jobs_below_one_are_refused(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=str(jobs)):
        executor("joblib", jobs, tmp_path)


@pytest.mark.parametrize("kind", ["inline", "joblib"])
@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (raise_damage, Damage, "block 0 is damaged"),
        (raise_missing, MissingExtra, "webp is not installed"),
        (raise_stubborn, StorageError, "cannot write here"),
    ],
)
def test_an_error_comes_through_with_its_type(
    kind: str, work: Callable[[Chore], int], error: type[MixbakeError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message) as caught:
        list(executor(kind, 2, tmp_path).run(chores(tmp_path, 1), work))
    assert caught.value.exit_code == error.exit_code
    assert kind == "inline" or f"in {work.__name__}" in "".join(caught.value.__notes__)


def test_an_error_of_arriving_is_the_tasks_own(tmp_path: Path) -> None:
    """Not a death of the worker that unpickles it."""
    with pytest.raises(Damage, match="was changed") as caught:
        list(executor("joblib", 1, tmp_path).run(chores(tmp_path, 1), Changed()))
    assert "in a worker process, block 0" in "".join(caught.value.__notes__)


def test_an_error_drops_the_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(Damage, match="enough"):
        list(executor("joblib", 2, tmp_path).run(chores(tmp_path, 100, seconds=0.05), raise_at_first))
    assert len(marks(tmp_path)) < 99
    assert workers() == []


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_killed_workers_cost_no_result(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    board, got, kills = Board.create(tmp_path / "board", 40), [], 4
    for result in executor("joblib", 2, tmp_path).run(chores(tmp_path, 40, seconds=0.02), leave_mark):
        got.append(result)
        # Towards the end the same task could be hit three times, which is rightly an error.
        if kills and len(got) < 30 and rng.random() < 0.3:
            time.sleep(rng.random() * 0.05)
            if alive := workers():
                rng.choice(alive).kill()
                kills -= 1
    assert sorted(got) == list(range(40))
    # How many die is a matter of timing: between two pools there is nobody to kill.
    assert kills < 4
    assert workers() == []
    assert board.path.exists()


def test_a_task_that_always_kills_is_named_with_its_image(tmp_path: Path) -> None:
    got: list[int] = []
    with pytest.raises(MixbakeError, match=rf"block {KILLER} .*image 77"):
        got.extend(executor("joblib", 2, tmp_path).run(chores(tmp_path, 8), kill_own_worker))
    assert sorted(got) == [index for index in range(8) if index != KILLER]
    assert workers() == []


@pytest.mark.slow
def test_workers_that_die_before_any_task_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(MixbakeError, match="outside any task"):
        list(executor("joblib", 1, tmp_path).run(chores(tmp_path, 2), Poison()))


def test_closing_the_iterator_stops_the_workers(tmp_path: Path) -> None:
    results = executor("joblib", 2, tmp_path).run(chores(tmp_path, 50, seconds=0.05), leave_mark)
    next(results)
    results.close()
    left = marks(tmp_path)
    assert workers() == []
    assert len(left) < 50


def test_workers_survive_the_thread_that_started_them(tmp_path: Path) -> None:
    results = executor("joblib", 2, tmp_path).run(chores(tmp_path, 10, seconds=0.1), leave_mark)
    first: list[int] = []
    starter = threading.Thread(target=lambda: first.append(next(results)))
    starter.start()
    starter.join()
    assert sorted([*first, *results]) == list(range(10))
    assert marks(tmp_path) == list(range(10))


def semaphores(process: int) -> list[str]:
    """Named semaphores that a process has made and nobody has removed."""
    shared = Path("/dev/shm")  # noqa: S108 - where the kernel keeps semaphores, not a place of ours
    return [path.name for path in shared.glob(f"*-{process}-*")]


@contextmanager
def in_child(
    function: str, folder: Path, flags: tuple[str, ...] = ("-W", "error")
) -> Iterator["subprocess.Popen[str]"]:
    """Call a function of this file on `folder` in a process, and process group, of its own."""
    call = f"import pathlib, test_executors; test_executors.{function}(pathlib.Path({str(folder)!r}))"
    with subprocess.Popen(
        [sys.executable, *flags, "-c", call],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2]))},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def wait_until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def bake_for_ever(folder: Path) -> None:
    for _ in executor("joblib", 2, folder).run(chores(folder, 10_000, seconds=0.02), leave_mark):
        pass


def bake_in_a_thread(folder: Path) -> None:
    thread = threading.Thread(target=bake_for_ever, args=(folder,))
    thread.start()
    thread.join()


def bake_until_interrupted(folder: Path) -> None:
    # A test run in the background of a shell inherits a SIGINT that is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        (folder / "started").touch()
        bake_for_ever(folder)
    except KeyboardInterrupt:
        assert workers() == []
        sys.exit(130)


def bake_with_a_killed_worker(folder: Path) -> None:
    results = executor("joblib", 2, folder).run(chores(folder, 10, seconds=0.02), leave_mark)
    next(results)
    workers()[0].kill()
    assert len(list(results)) == 9
    # Now, not after the end, when a tracker removes what was forgotten.
    gc.collect()
    assert semaphores(os.getpid()) == []


def bake_with_workers_that_stop_answering(folder: Path) -> None:
    results = executor("joblib", 2, folder).run(chores(folder, 10), leave_mark)
    assert sorted(next(results) for _ in range(10)) == list(range(10))
    # Idle now. One of them holds the lock of the queue of tasks, as one that is killed there would for good.
    for worker in workers():
        worker.suspend()
    assert list(results) == []
    gc.collect()
    assert semaphores(os.getpid()) == []


@pytest.mark.slow
@pytest.mark.parametrize("function", ["bake_for_ever", "bake_in_a_thread"])
def test_workers_die_with_their_parent(function: str, tmp_path: Path) -> None:
    with in_child(function, tmp_path) as child:
        wait_until(lambda: len(marks(tmp_path)) > 5)
        orphans = workers(child.pid)
        assert len(orphans) == 2
        child.kill()
    _, alive = psutil.wait_procs(orphans, timeout=PATIENCE)
    assert alive == []
    seen = marks(tmp_path)
    time.sleep(0.3)
    assert marks(tmp_path) == seen


def test_a_run_ends_although_no_worker_answers(tmp_path: Path) -> None:
    with in_child("bake_with_workers_that_stop_answering", tmp_path) as child:
        wait_until(lambda: len(marks(tmp_path)) == 10 or child.poll() is not None)
        orphans = workers(child.pid)
        try:
            _, said = child.communicate(timeout=PATIENCE)
            assert (child.returncode, said) == (0, "")
        finally:
            for orphan in orphans:
                with suppress(psutil.NoSuchProcess):
                    orphan.kill()


@pytest.mark.parametrize("baked", [0, 5], ids=["while starting", "while baking"])
def test_an_interrupt_of_the_whole_group_ends_quietly(baked: int, tmp_path: Path) -> None:
    with in_child("bake_until_interrupted", tmp_path) as child:
        wait_until(lambda: (tmp_path / "started").exists() and len(marks(tmp_path)) >= baked)
        os.killpg(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=PATIENCE)
        assert (child.returncode, said) == (130, "")


def test_a_killed_worker_leaves_no_trace(tmp_path: Path) -> None:
    with in_child("bake_with_a_killed_worker", tmp_path) as child:
        _, said = child.communicate(timeout=PATIENCE)
        assert (child.returncode, said) == (0, "")
    assert semaphores(child.pid) == []


def test_a_killed_parent_is_cleaned_up_after_in_silence(tmp_path: Path) -> None:
    with in_child("bake_for_ever", tmp_path, flags=()) as child:
        wait_until(lambda: len(marks(tmp_path)) > 5)
        assert semaphores(child.pid)
        child.kill()
        # The pipe closes with the last process that could write to it, the tracker.
        _, said = child.communicate(timeout=PATIENCE)
        assert said == ""
    assert semaphores(child.pid) == []


def test_without_a_way_to_kill_workers_the_pool_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['psutil'] = None\n")
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "from mixbake.bake.executors import JoblibExecutor; JoblibExecutor(board=None, jobs=2)",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install psutil" in child.stderr
