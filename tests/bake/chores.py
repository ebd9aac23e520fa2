"""Tasks and work for the executors' tests, in a module that a worker process imports quickly."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mixbake.bake.board import Board
from mixbake.bake.executors import EXECUTORS, Executor
from mixbake.errors import Damage, MissingExtra, StorageError

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
    (chore.folder / f"mark-{chore.index}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(chore.seconds)
    return chore.index


def marks(folder: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("mark-*"))


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


def refuse_to_arrive() -> Callable[[Chore], int]:
    raise Damage("what this task needs was changed")


class Changed:
    """Work that cannot be unpickled any more, as code that was edited since."""

    def __call__(self, chore: Chore) -> int:
        return chore.index

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return refuse_to_arrive, ()
