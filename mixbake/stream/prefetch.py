"""Making things ahead of their use, in a thread of its own.

Rule: an error is raised where the thing was awaited, and the thread has ended when the consumer has.
"""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.1


def ahead(items: Iterator[T], count: int) -> Generator[T, None, None]:
    """`items`, made by a background thread up to `count` ahead (0: here, when asked for)."""
    if count < 1:
        yield from items
        return
    worker = _Worker(items, count)
    try:
        yield from worker.made()
    finally:
        worker.stop()


class _Worker(Generic[T]):
    """A thread that fills a queue of (kind, value): items, then "end", or "error" with what was raised."""

    def __init__(self, items: Iterator[T], count: int) -> None:
        self._items = items
        self._ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=count)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mixbake-prefetch", daemon=True)
        self._thread.start()

    def made(self) -> Iterator[T]:
        """What the thread has made, in order. Raises what it met."""
        while True:
            kind, value = self._ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value

    def stop(self) -> None:
        """End the thread and wait for its end."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put("item", item):
                    return
            self._put("end", None)
        except BaseException as error:  # noqa: BLE001 - raised again where the item was awaited
            self._put("error", error)

    def _put(self, kind: str, value: Any) -> bool:
        """Queue something, unless nobody wants it any more."""
        while not self._stopped.is_set():
            try:
                self._ready.put((kind, value), timeout=POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
