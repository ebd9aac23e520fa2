"""Promises of the executors, kept against real kills of real processes."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mixbake.bake.board import Board
from mixbake.bake.executors import EXECUTORS, Executor
from mixbake.errors import Damage, MissingExtra, MixbakeError, StorageError, UsageError

PATIENCE = 20  # seconds: a limit against hanging, never a measure
KILLER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    index: int
    folder: Path
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"block {self.index}"

    @property
    def board(self) -> Path:
        return self.folder / "board"


def chores(folder: Path, count: int, seconds: float = 0.0) -> list[Chore]:
    Board.create(folder / "board", count)
    return [Chore(index=index, folder=folder, seconds=seconds) for index in range(count)]


def executor(kind: str, jobs: int, folder: Path) -> Executor:
    return EXECUTORS[kind](jobs=jobs, board=folder / "board")


def leave_mark(chore: Chore) -> int:
    """One file an execution, so that tests can count them."""
    (chore.folder / f"{chore.index}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(chore.seconds)
    return chore.index


def marks(folder: Path) -> list[int]:
    return sorted(int(path.name.split("-")[0]) for path in folder.glob("*-*-*"))


def kill_own_worker(chore: Chore) -> int:
    if chore.index == KILLER:
        Board.open(chore.board).slot(chore.index).begin(77)
        os.kill(os.getpid(), signal.SIGKILL)
    return leave_mark(chore)


def raise_missing(chore: Chore) -> int:
    raise MissingExtra("webp", "train")


def raise_damage(chore: Chore) -> int:
    raise Damage(f"{chore.name} is damaged")


class StubbornError(StorageError):
    def __init__(self, *, path: str) -> None:
        super().__init__(f"cannot write {path}")
        self.lock = threading.Lock()


def raise_stubborn(chore: Chore) -> int:
    raise StubbornError(path="here")


def raise_at_first(chore: Chore) -> int:
    if chore.index == 0:
        raise Damage("enough")
    return leave_mark(chore)


def tell_environment(chore: Chore) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


def die_on_arrival() -> Callable[[Chore], int]:
    os._exit(1)


class Poison:
    """Work that kills whoever unpickles it, before any task is marked as running."""

    def __call__(self, chore: Chore) -> int:
        return chore.index

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return die_on_arrival, ()


def workers(of: int | None = None) -> list[psutil.Process]:
    return [child for child in psutil.Process(of).children(recursive=True) if "popen_loky" in " ".join(child.cmdline())]


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


def test_an_error_drops_the_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(Damage, match="enough"):
        list(executor("joblib", 2, tmp_path).run(chores(tmp_path, 100, seconds=0.05), raise_at_first))
    assert len(marks(tmp_path)) < 99
    assert workers() == []


@pytest.mark.parametrize("seed", range(3))
def test_killed_workers_cost_no_result(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    board, got, kills = Board.create(tmp_path / "board", 40), [], 4
    for result in executor("joblib", 2, tmp_path).run(chores(tmp_path, 40, seconds=0.02), leave_mark):
        got.append(result)
        # Towards the end the same task could be hit three times, which is rightly an error.
        if kills and len(got) < 30 and rng.random() < 0.3:
            time.sleep(rng.random() * 0.05)
            victim = rng.choice(workers())
            victim.kill()
            kills -= 1
    assert sorted(got) == list(range(40))
    assert kills == 0
    assert workers() == []
    assert board.path.exists()


def test_a_task_that_always_kills_is_named_with_its_image(tmp_path: Path) -> None:
    got = []
    with pytest.raises(MixbakeError, match=rf"block {KILLER} .*image 77"):
        for result in executor("joblib", 2, tmp_path).run(chores(tmp_path, 8), kill_own_worker):
            got.append(result)  # noqa: PERF402 - what came before the error counts
    assert sorted(got) == [index for index in range(8) if index != KILLER]
    assert workers() == []


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


def in_child(function: str, folder: Path, **environment: str) -> "subprocess.Popen[str]":
    """Call a function of this file on `folder` in a process, and process group, of its own."""
    return subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            f"import sys, test_executors as t; t.{function}(t.Path(sys.argv[1]))",
            folder,
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def bake_for_ever(folder: Path) -> None:
    (folder / "started").touch()
    for _ in executor("joblib", 2, folder).run(chores(folder, 10_000, seconds=0.02), leave_mark):
        pass


def bake_until_interrupted(folder: Path) -> None:
    try:
        bake_for_ever(folder)
    except KeyboardInterrupt:
        assert workers() == []
        sys.exit(130)


def bake_with_a_killed_worker(folder: Path) -> None:
    results = executor("joblib", 2, folder).run(chores(folder, 10, seconds=0.02), leave_mark)
    next(results)
    workers()[0].kill()
    assert len(list(results)) == 9


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    child = in_child("bake_for_ever", tmp_path)
    wait_until(lambda: len(marks(tmp_path)) > 5)
    orphans = workers(child.pid)
    assert len(orphans) == 2
    child.kill()
    child.communicate(timeout=PATIENCE)
    _, alive = psutil.wait_procs(orphans, timeout=PATIENCE)
    assert alive == []
    seen = marks(tmp_path)
    time.sleep(0.3)
    assert marks(tmp_path) == seen


@pytest.mark.parametrize("baked", [0, 5], ids=["while starting", "while baking"])
def test_an_interrupt_of_the_whole_group_ends_quietly(baked: int, tmp_path: Path) -> None:
    child = in_child("bake_until_interrupted", tmp_path)
    wait_until(lambda: (tmp_path / "started").exists() and len(marks(tmp_path)) >= baked)
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=PATIENCE)
    assert (child.returncode, said) == (130, "")


def test_a_killed_worker_leaves_no_trace(tmp_path: Path) -> None:
    child = in_child("bake_with_a_killed_worker", tmp_path)
    _, said = child.communicate(timeout=PATIENCE)
    assert (child.returncode, said) == (0, "")
    shared = Path("/dev/shm")  # noqa: S108 - where the kernel keeps semaphores, not a place of ours
    assert [path.name for path in shared.glob(f"*{child.pid}*")] == []


def test_without_a_way_to_kill_workers_the_pool_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['psutil'] = None\n")
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import pathlib, sys; from mixbake.bake.executors import JoblibExecutor;"
            "JoblibExecutor(board=pathlib.Path('board'), jobs=2)",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install psutil" in child.stderr
