"""Where tasks run: in this process, or in a pool of worker processes that may die.

    run(tasks, work) -> results, in order of completion, exactly one for every task

The pool is the loky that joblib brings. `joblib.Parallel` itself is not in between: it runs a single
job in the calling process, which a fatal fault would take along, and it shares one pool with whatever
else uses joblib in the process.

Rules:
- A task is executed at least once; its result is delivered exactly once.
- A killed worker breaks its whole pool. A new pool takes what is missing; a task that was running at
  two deaths is run alone, last, and a third death names it and the image it was at.
- An exception of `work` comes through with its type; the other tasks are dropped.
- Workers never outlive their parent, and only the parent answers to Ctrl-C.
"""

import copy
import ctypes
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor
from joblib.externals.loky.backend import resource_tracker as loky_tracker

from mixbake.bake.board import Board
from mixbake.errors import MixbakeError, UsageError

DEATHS_BEFORE_ALONE = 2
EMPTY_POOLS = 5
WATCH_SECONDS = 0.5
PR_SET_PDEATHSIG = 1

ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)
# loky replaces a worker whose memory has grown, and warns: nothing is lost and nothing is to be done.
REPLACED = "A worker stopped while some jobs"
# What a tracker says of the semaphores of a killed build, seconds after it: they are removed all the same.
TRACKED = "ignore:resource_tracker"


class Task(Protocol):
    """What an executor must know of a task. Tasks and results cross a pipe: keep them small."""

    @property
    def index(self) -> int:
        """Row on the board, unique among the tasks of a run."""

    @property
    def name(self) -> str:
        """What messages call the task."""


T = TypeVar("T", bound=Task)
R = TypeVar("R")


class Executor(Protocol):
    """A place to run tasks in."""

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Generator[R, None, None]:
        """Yield `work(task)` of every task, in order of completion; closing the iterator stops everything."""


class InlineExecutor:
    """One task after the other in this process; `jobs` is accepted and has no effect."""

    def __init__(self, *, board: Path, jobs: int = 1) -> None:
        del jobs
        self._board = board

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Generator[R, None, None]:
        """Yield `work(task)` in the order of `tasks`. Raises what `work` raises."""
        for task in tasks:
            yield _marked(self._board, work, task)


class JoblibExecutor:
    """Up to `jobs` tasks at a time, each in a worker process, whose death is survived."""

    def __init__(self, *, board: Path, jobs: int) -> None:
        if jobs < 1:
            raise UsageError(f"--jobs must be at least 1, not {jobs}")
        _require_a_way_to_kill()
        self._board = board
        self._jobs = jobs

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Generator[R, None, None]:
        """Yield `work(task)` in order of completion.

        Raises what `work` raises, and MixbakeError when a task goes on killing its workers.
        """
        pending = {task.index: task for task in tasks}
        deaths = _Deaths()
        while pending:
            batch = deaths.next_batch(pending)
            try:
                with closing(self._completed(batch, work)) as completed:
                    for index, result in completed:
                        del pending[index]
                        yield result
            except BrokenProcessPool as death:
                # The pool holds on to this exception: with our frames on it, neither it nor its semaphores would go.
                death.__traceback__ = None
                deaths.record(Board.open(self._board), pending, death)

    def _completed(self, batch: Sequence[T], work: Callable[[T], R]) -> Generator[tuple[int, R], None, None]:
        """Yield (task index, result) from a fresh pool. Raises BrokenProcessPool when all else is delivered."""
        broken: BrokenProcessPool | None = None
        with worker_pool(min(self._jobs, len(batch))) as pool:
            futures = {pool.submit(_attempt, self._board, work, task): task.index for task in batch}
            for future in as_completed(futures):
                if isinstance(death := future.exception(), BrokenProcessPool):
                    broken = death
                    continue
                outcome = future.result()
                if isinstance(outcome, _Failure):
                    outcome.reraise()
                yield futures[future], outcome
        if broken is not None:
            raise broken


EXECUTORS: dict[str, Callable[..., Executor]] = {"inline": InlineExecutor, "joblib": JoblibExecutor}


class _Deaths:
    """Which tasks were running when a pool broke, and what follows from it."""

    __slots__ = ("_empty", "_of_task")

    def __init__(self) -> None:
        self._of_task: Counter[int] = Counter()
        self._empty = 0

    def next_batch(self, pending: Mapping[int, T]) -> list[T]:
        """Choose the tasks for the next pool: all that nothing speaks against, or else a single one."""
        together = [task for index, task in pending.items() if self._of_task[index] < DEATHS_BEFORE_ALONE]
        return together or [next(iter(pending.values()))]

    def record(self, board: Board, pending: Mapping[int, T], death: BrokenProcessPool) -> None:
        """Count a death for every task that was running; raise MixbakeError when trying again is vain."""
        images = {index: board.working_on(index) for index in board.running() if index in pending}
        for index, image in images.items():
            board.slot(index).stop()
            self._of_task[index] += 1
            if self._of_task[index] > DEATHS_BEFORE_ALONE:
                _give_up(pending[index].name, image, death)
        self._empty = 0 if images else self._empty + 1
        if self._empty == EMPTY_POOLS:
            raise MixbakeError(
                f"worker processes died {EMPTY_POOLS} times in a row outside any task ({death}):"
                " look above for what they said, or run again with --executor inline to see the fault"
            ) from death


def _give_up(name: str, image: int | None, death: BrokenProcessPool) -> NoReturn:
    place = "between two images" if image is None else f"at image {image}"
    raise MixbakeError(
        f"{name} has killed its worker process {DEATHS_BEFORE_ALONE + 1} times, the last time alone and {place}:"
        " if memory ran out, free some; else take the image out of the source,"
        " or run again with --executor inline to see the fault"
    ) from death


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """An exception of `work` on its way to the parent; `error` is None when it cannot be pickled."""

    error: Exception | None
    kind: type[Exception]
    message: str
    trace: str

    def reraise(self) -> NoReturn:
        # __init__ may want other arguments than the message; __new__ takes any.
        error = self.error or self.kind.__new__(self.kind, self.message)
        error.add_note(self.trace)
        raise error


def _marked(board: Path, work: Callable[[T], R], task: T) -> R:
    """Do `work(task)` with its slot on the board marked as running."""
    slot = Board.open(board).slot(task.index)
    slot.start()
    try:
        return work(task)
    finally:
        slot.stop()


def _attempt(board: Path, work: Callable[[T], R], task: T) -> R | _Failure:
    """Do `work(task)` in a worker; an exception is a value, so that none is mistaken for a death."""
    try:
        return _marked(board, work, task)
    except Exception as error:  # noqa: BLE001 - the worker's edge: raised again in the parent
        return _failure(task.name, error)


def _failure(name: str, error: Exception) -> _Failure:
    trace = f"in a worker process, {name}:\n{traceback.format_exc()}"
    try:
        # Copying takes the same road as pickling: some exceptions refuse their own arguments.
        portable = copy.deepcopy(error)
    except Exception:  # noqa: BLE001 - whatever the exception's own code raises
        portable = None
    return _Failure(error=portable, kind=type(error), message=str(error), trace=trace)


def _require_a_way_to_kill() -> None:
    # loky asks one of them for a dead pool's processes; with neither it would wait for ever.
    if find_spec("psutil") is None and shutil.which("pgrep") is None:
        raise UsageError(
            "worker processes need psutil or the program pgrep, and neither is installed:"
            " run  pip install psutil , or run again with --executor inline"
        )


class WorkerPool(ProcessPoolExecutor):  # type: ignore[misc]  # joblib has no types
    """loky's pool, whose workers never get Ctrl-C, with an end that does not depend on what it was doing."""

    def submit(self, work: Callable[..., R], *arguments: object) -> Future[R]:
        """As usual; the first call starts the workers."""
        with _interrupts_held():
            return super().submit(work, *arguments)  # type: ignore[no-any-return]  # joblib has no types

    def kill(self) -> None:
        """Kill every worker now; the pool then finds itself broken, and `shutdown` returns soon."""
        # Not shutdown(kill_workers=True): with tasks still queued it trips over its own book-keeping
        # (KeyError in its thread, seen with loky 3.6.0) and leaves processes and semaphores behind.
        for process in list(self._processes.values()):
            if process.exitcode is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)


@contextmanager
def worker_pool(workers: int, *, from_threads: bool = False) -> Iterator[WorkerPool]:
    """A pool of our own, started by the first task; afterwards none of its workers is left, whatever happens.

    from_threads: tasks are submitted by threads that end before the pool.
    """
    warnings.filterwarnings("ignore", message=REPLACED, category=UserWarning)
    _start_trackers()
    # The kernel ties the death signal to the thread that starts the workers: only the main one lasts.
    lasting = not from_threads and threading.current_thread() is threading.main_thread()
    pool = WorkerPool(max_workers=workers, initializer=_become_worker, initargs=(os.getpid(), lasting), env=ONE_THREAD)
    try:
        yield pool
    finally:
        # Also when all went well: results are here, and an orderly shutdown would wait for ever for a worker
        # whose sibling was killed while it held the lock of the queue of tasks.
        with _interrupts_held():
            pool.kill()
            pool.shutdown()
        # loky forgets to join a worker that died by itself, and would keep its semaphore: this call joins it.
        multiprocessing.active_children()


def _start_trackers() -> None:
    """Start the processes that remove our semaphores when we are killed; they do so without a warning.

    Starting one unblocks SIGINT in this thread, so both must be up before workers are started.
    """
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [before, TRACKED]))
    try:
        resource_tracker.ensure_running()
        loky_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back in this thread; processes started here never get it, not even while they start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become_worker(parent: int, lasting: bool) -> None:
    """Set up a fresh worker process: deaf to Ctrl-C, dead when process `parent` is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if lasting and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_die_with, args=(parent,), daemon=True, name="parent-watch").start()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
