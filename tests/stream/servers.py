"""A web server on this machine that misbehaves as told, file by file and request by request; and what it serves."""

import gzip
import hashlib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from mixbake.stream.remote import Patience

QUICK = Patience(attempts=4, pause=0.01, timeout=5)
SHARD, OTHER = "mix/v000/000001.tar", "mix/v001/000001.tar"
CONTENTS = {
    SHARD: np.random.default_rng(1).bytes(300_001),
    OTHER: np.random.default_rng(2).bytes(70_000),
    "mix/v001/000002.tar": b"",
    "bake.json": b'{"format": 1}\n',
}
"""The files of a bake, by name; nothing looks into them."""

FOREVER = 1000
SAME = -1
PIECE = bytes(1 << 16)


def promise(name: str, contents: bytes | None = None) -> dict[str, Any]:
    """Size and SHA-256 of a file, as its receipt tells them."""
    data = CONTENTS[name] if contents is None else contents
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


class Fault(Enum):
    """What goes wrong with one request."""

    DROP = auto()  # the connection closes before the answer
    CUT = auto()  # it closes in the middle of the body
    ERROR = auto()  # 500
    BUSY = auto()  # 429
    FORBIDDEN = auto()  # 403
    ALTER = auto()  # one byte differs
    SHORT = auto()  # half of the body, said to be all
    LONGER = auto()  # a byte more than there should be, said to be so
    ENDLESS = auto()  # an unsaid number of bytes, without end
    STALL = auto()  # half of the body, then nothing until the server stops


REFUSALS = {Fault.ERROR: 500, Fault.BUSY: 429, Fault.FORBIDDEN: 403}
ALTERED: dict[Fault, Callable[[bytes], bytes]] = {
    Fault.ALTER: lambda body: bytes([body[0] ^ 1]) + body[1:],
    Fault.SHORT: lambda body: body[: len(body) // 2],
    Fault.LONGER: lambda body: body + b"!",
}


@dataclass(slots=True)
class Server:
    """Context manager; `faults[path]` lists what happens to the next requests for a file, in order."""

    files: dict[str, bytes]
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    queries: set[str] = field(default_factory=set)
    sent: int = 0
    stalling: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    _http: ThreadingHTTPServer = field(init=False)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def next_fault(self, path: str) -> Fault | None:
        waiting = self.faults.get(path)
        return waiting.pop(0) if waiting else None


class _Handler(BaseHTTPRequestHandler):
    script: Server
    coding = "identity"

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.script.requests[address.path] += 1
        self.script.queries.add(address.query)
        body = self.script.files.get(address.path)
        if body is None:
            self.answer(404, b"a page that says, at length, that there is no such file")
        else:
            self.misbehave(self.script.next_fault(address.path), self.coded(body))

    def coded(self, body: bytes) -> bytes:
        """As some servers do, compress for clients that can undo it."""
        self.coding = "gzip" if "gzip" in self.headers.get("Accept-Encoding", "") else "identity"
        return gzip.compress(body) if self.coding == "gzip" else body

    def misbehave(self, fault: Fault | None, body: bytes) -> None:
        if fault is Fault.DROP:
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault in REFUSALS:
            self.answer(REFUSALS[fault], b"no")
        elif fault in ALTERED:
            self.answer(200, ALTERED[fault](body))
        elif fault is Fault.ENDLESS:
            self.answer(200, body, promised=None)
            self.flood()
        else:
            self.answer(200, body[: len(body) // 2] if fault else body, promised=len(body))
        if fault is Fault.STALL:
            self.script.stalling.set()
            self.script.stopped.wait()

    def answer(self, status: int, body: bytes, *, promised: int | None = SAME) -> None:
        self.send_response(status)
        if promised is not None:
            self.send_header("Content-Length", str(len(body) if promised == SAME else promised))
        self.send_header("Content-Encoding", self.coding)
        self.end_headers()
        self.wfile.write(body)

    def flood(self) -> None:
        try:
            while not self.script.stopped.is_set():
                self.wfile.write(PIECE)
                self.script.sent += len(PIECE)
        except OSError:
            pass  # the reader had enough

    def log_message(self, *_: object) -> None:
        """Be quiet."""
