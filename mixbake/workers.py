"""Worker processes: a pool that ends whatever happens.

The pool is the loky that joblib brings. `joblib.Parallel` itself is not in between: it runs a single
job in the calling process, which a fatal fault would take along, and it shares one pool with whatever
else uses joblib in the process.

Rule: workers never outlive their parent, and only the parent answers to Ctrl-C.
"""

import ctypes
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from multiprocessing import resource_tracker
from typing import TypeVar

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.backend import resource_tracker as loky_tracker

from mixbake.errors import UsageError

R = TypeVar("R")

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


def require_a_way_to_kill() -> None:
    """Raise UsageError where a pool's workers could not be found to be killed."""
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
