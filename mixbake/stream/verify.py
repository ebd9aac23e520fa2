"""Are the shards still what was baked? Sizes at opening; contents by SHA-256, at once or behind the training.

    "sizes"       sizes of all tars and indexes, when a bake is opened
    "background"  also each shard's SHA-256, once, by a thread of its own after the shard's first use
    "full"        also every shard's and index's SHA-256 at opening

Rule: a difference is a `Fault`, never a warning; what becomes of it is the loader's business.
"""

import hashlib
import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from mixbake.errors import Damage
from mixbake.storage.opened import Bake, Place, StoredFile
from mixbake.storage.store import sha256_file
from mixbake.stream.reader import Fault, faults_of

VERIFY = ("sizes", "background", "full")
_PIECE = 1 << 24
_HASHERS = 4


class Verifier:
    """Watches over the shards of an open bake. Each rank does so for itself: its verdict would not reach the others."""

    def __init__(self, bake: Bake, how: str) -> None:
        self._bake, self._how = bake, how
        self._lock = threading.Lock()
        self._found: deque[tuple[Place, Fault]] = deque()
        self._queue: queue.Queue[tuple[Place, NDArray[np.uint8]] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def at_opening(self) -> list[tuple[Place | None, Fault]]:
        """What is wrong already, and which shard it is if it is one: sizes, and with "full" contents."""
        wrong = faults_of(self._bake)
        places = {file.name: place for place, file in self._bake.shards()} if wrong or self._how == "full" else {}
        if self._how == "full":
            known = {fault.shard for fault in wrong}
            files = [file for file in self._bake.files() if file.name not in known]
            with ThreadPoolExecutor(_HASHERS) as pool:
                wrong += [fault for fault in pool.map(self._hashed, files) if fault is not None]
        return [(places.get(fault.shard), fault) for fault in wrong]

    def opened(self, view: str, number: int, block: int, contents: NDArray[np.uint8]) -> None:
        """A shard was mapped for the first time: have it hashed, if that is wanted. Any thread may say so."""
        # A distant shelf has compared the hash of whatever it brought here.
        if self._how != "background" or self._bake.shelf.distant:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mixbake-verify", daemon=True)
                self._thread.start()
        self._queue.put(((view, number, block), contents))

    def found(self) -> Iterator[tuple[Place, Fault]]:
        """What the background has found since the last call, and where."""
        while self._found:
            yield self._found.popleft()

    def finish(self) -> None:
        """Wait until all that was opened is hashed."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Stop soon, hashed or not."""
        self._stop.set()
        self.finish()

    def _work(self) -> None:
        while (got := self._queue.get()) is not None:
            place, contents = got
            file, digest = self._bake.shard(*place), hashlib.sha256()
            for start in range(0, contents.size, _PIECE):
                if self._stop.is_set():
                    return
                digest.update(contents[start : start + _PIECE].data)
            if digest.hexdigest() != file.sha256:
                self._found.append((place, _altered(file)))

    def _hashed(self, file: StoredFile) -> Fault | None:
        try:
            found = sha256_file(self._bake.shelf.local(file.name, size=file.size, sha256=file.sha256))
        except Damage as error:
            return Fault(shard=file.name, key=None, reason=str(error))
        return None if found == (file.sha256, file.size) else _altered(file)


def _altered(file: StoredFile) -> Fault:
    return Fault(shard=file.name, key=None, reason=f"its contents were altered (SHA-256 is not {file.sha256[:12]}…)")
