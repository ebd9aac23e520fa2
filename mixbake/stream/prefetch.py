"""Making things ahead of their use, in a thread of its own.

Rule: an error is raised where the thing was awaited, and the thread has ended when the consumer has.
"""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


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
    """A thread that queues (kind, value): items, then "end", or "error" with what was raised.

    Two plain queues, of what is ready and of leave to make one more: a bounded queue with a time-out for each
    batch would cost a tenth of making a small one.
    """

    def __init__(self, items: Iterator[T], count: int) -> None:
        self._items = items
        self._ready: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._leave: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(count):
            self._leave.put(None)
        self._stopped = False
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
            self._leave.put(None)
            yield value

    def stop(self) -> None:
        """End the thread and wait for its end."""
        self._stopped = True
        self._leave.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            while True:
                self._leave.get()
                if self._stopped:
                    return
                try:
                    item = next(self._items)
                except StopIteration:
                    self._ready.put(("end", None))
                    return
                self._ready.put(("item", item))
                # Whoever awaits this batch may let go of it: it is not kept alive by this frame.
                del item
        except BaseException as error:  # noqa: BLE001 - raised again where the item was awaited
            self._ready.put(("error", error))
