"""Where tasks run: in this process, or in a pool of worker processes that may die.

    run(tasks, work) -> results, in order of completion, exactly one for every task

Rules:
- A task is executed at least once; its result is delivered exactly once.
- A killed worker breaks its whole pool. A new pool takes what is missing; a task that was running at
  two deaths is run alone, last, and a third death names it and the image it was at.
- An exception of `work`, or of unpickling it or its task in a worker, comes through with its type; the other tasks
  are dropped.
"""

import copy
import pickle
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from joblib.externals.loky import BrokenProcessPool
from joblib.externals.loky.backend.reduction import dumps

from mixbake.bake.board import Board
from mixbake.errors import MixbakeError, UsageError
from mixbake.workers import require_a_way_to_kill, worker_pool

DEATHS_BEFORE_ALONE = 2
EMPTY_POOLS = 5


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
        require_a_way_to_kill()
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
            futures = {
                pool.submit(_attempt, self._board, task.name, _Sealed(value=(work, task))): task.index for task in batch
            }
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sealed:
    """A value that arrives in a worker as bytes: the pool takes an exception of unpickling for the worker's death."""

    value: object

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        # Now, not when the task is submitted: pickled tasks that wait would be held in memory.
        return bytes, (bytes(dumps(self.value)),)


def _attempt(board: Path, name: str, sealed: bytes) -> Any:
    """Do a sealed `work(task)` in a worker; an exception is a value, so that none is mistaken for a death."""
    try:
        work, task = pickle.loads(sealed)  # noqa: S301 - what this build's own process sent
        return _marked(board, work, task)
    except Exception as error:  # noqa: BLE001 - the worker's edge: raised again in the parent
        return _failure(name, error)


def _failure(name: str, error: Exception) -> _Failure:
    trace = f"in a worker process, {name}:\n{traceback.format_exc()}"
    try:
        # Copying takes the same road as pickling: some exceptions refuse their own arguments.
        portable = copy.deepcopy(error)
    except Exception:  # noqa: BLE001 - whatever the exception's own code raises
        portable = None
    return _Failure(error=portable, kind=type(error), message=str(error), trace=trace)
