"""Copies of what lies elsewhere: threads, processes and bakes share them, fetched once, and they keep to a limit."""

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE

pytest.importorskip("fsspec", reason="the extra `remote` is not installed")
pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")

from servers import CONTENTS, OTHER, SHARD, Fault, Server, files_below, promise

from mixbake.errors import StorageError
from mixbake.storage.shelf import Shelf
from mixbake.stream.content import ContentCache
from mixbake.stream.remote import RemoteShelf

READER = """
import sys
from pathlib import Path
from mixbake.stream.remote import Patience, RemoteShelf
url, cache, name, size, sha256 = sys.argv[1:]
shelf = RemoteShelf(url, cache=Path(cache), patience=Patience(attempts=4, pause=0.01, timeout=60))
"""
FETCH = READER + "print('ready', flush=True)\nsys.stdin.readline()\n"
FETCH += "print(shelf.local(name, size=int(size), sha256=sha256))"
FETCH_AND_FORK = (
    READER
    + """
import os, signal, threading, time
fetching = threading.Thread(target=shelf.local, args=(name,), kwargs={"size": int(size), "sha256": sha256})
fetching.start()
sys.stdin.readline()
child = os.fork()
if not child:
    time.sleep(600)
    os._exit(0)
print(child, flush=True)
fetching.join()
"""
)
READ_FORK_READ = (
    READER
    + """
import os
assert shelf.read("bake.json")
child = os.fork()
if not child:
    shelf.local(name, size=int(size), sha256=sha256)
    os._exit(7)
_, status = os.waitpid(child, 0)
assert shelf.read("bake.json")
print(os.waitstatus_to_exitcode(status))
"""
)


def told(server: Server, cache: Path, name: str) -> list[str]:
    """The arguments of the processes above."""
    expected = promise(name)
    return [f"{server.url}/bake", str(cache), name, str(expected["size"]), expected["sha256"]]


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """A process of its own that runs `code`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(reader: "subprocess.Popen[str]") -> str:
    """Let it go on, and return what it says."""
    out, _ = reader.communicate("go\n", timeout=PATIENCE)
    assert reader.returncode == 0
    return out.strip()


class TestTogether:
    @pytest.mark.slow
    def test_processes_fetch_a_file_once(self, server: Server, tmp_path: Path) -> None:
        readers = [start(FETCH, *told(server, tmp_path, SHARD)) for _ in range(4)]
        for reader in readers:
            assert reader.stdout
            assert reader.stdout.readline() == "ready\n"
        paths = {finish(reader) for reader in readers}
        assert server.requests[f"/bake/{SHARD}"] == 1
        (path,) = paths
        assert Path(path).read_bytes() == CONTENTS[SHARD]
        assert files_below(tmp_path) == {Path(path).name}

    def test_threads_fetch_a_file_once(self, web: RemoteShelf, server: Server) -> None:
        names = [SHARD, OTHER, "bake.json"] * 8
        with ThreadPoolExecutor(12) as pool:
            paths = list(pool.map(lambda name: web.local(name, **promise(name)), names))
        assert [path.read_bytes() for path in paths] == [CONTENTS[name] for name in names]
        assert set(server.requests.values()) == {1}

    def test_one_fetches_at_a_time(self, tmp_path: Path) -> None:
        """Even when all fail, so that all try, and the lock's file is removed again and again."""
        cache, inside, most = ContentCache(root=tmp_path), threading.Semaphore(1), []

        def fetch(_: Path) -> None:
            alone = inside.acquire(blocking=False)
            most.append(alone)
            time.sleep(0.001)
            if alone:
                inside.release()
            raise StorageError("none")

        def attempt(_: int) -> None:
            with pytest.raises(StorageError, match="none"):
                cache.keep(**promise(SHARD), fetch=fetch)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(attempt, range(100)))
        assert most == [True] * 100
        assert files_below(tmp_path) == set()

    def test_bakes_share_equal_files(self, server: Server, tmp_path: Path) -> None:
        server.files["/copy/renamed.tar"] = CONTENTS[SHARD]
        one, copy = (RemoteShelf(f"{server.url}/{bake}", cache=tmp_path) for bake in ("bake", "copy"))
        assert one.local(SHARD, **promise(SHARD)) == copy.local("renamed.tar", **promise(SHARD))
        assert server.requests["/copy/renamed.tar"] == 0

    def test_a_killed_process_hinders_nobody(self, server: Server, tmp_path: Path) -> None:
        """Its forked child, which lives on, does not either."""
        server.faults = {f"/bake/{SHARD}": [Fault.STALL]}
        victim = start(FETCH_AND_FORK, *told(server, tmp_path, SHARD))
        assert server.stalling.wait(PATIENCE)
        assert victim.stdin
        assert victim.stdout
        print("fork", file=victim.stdin, flush=True)
        orphan = int(victim.stdout.readline())
        try:
            waiting = start(FETCH, *told(server, tmp_path, SHARD))
            assert waiting.stdout
            assert waiting.stdout.readline() == "ready\n"
            shelf = RemoteShelf(f"{server.url}/bake", cache=tmp_path)
            assert len(files_below(tmp_path)) == 2  # the living process's file and its lock stay
            victim.kill()
            victim.wait()
            path = Path(finish(waiting))
            assert path.read_bytes() == CONTENTS[SHARD]
            assert server.requests[f"/bake/{SHARD}"] == 2
            assert shelf.local(SHARD, **promise(SHARD)) == path
            RemoteShelf(f"{server.url}/bake", cache=tmp_path)
            assert files_below(tmp_path) == {path.name}
        finally:
            os.kill(orphan, signal.SIGKILL)
            victim.communicate()

    def test_after_a_fork(self, server: Server, tmp_path: Path, python: Callable[..., Any]) -> None:
        outcome = python(READ_FORK_READ, *told(server, tmp_path, SHARD))
        assert outcome.out == "7\n", outcome.err

    def test_pickled(self, web: RemoteShelf) -> None:
        web.read("bake.json")
        again: RemoteShelf = pickle.loads(pickle.dumps(web))  # noqa: S301 - our own bytes
        assert again.local(SHARD, **promise(SHARD)) == web.local(SHARD, **promise(SHARD))


class TestLimit:
    FILES = 6
    BYTES = 1000

    @pytest.fixture
    def many(self, server: Server) -> dict[str, bytes]:
        data = {f"{n}.tar": bytes([n]) * self.BYTES for n in range(self.FILES)}
        server.files |= {f"/bake/{name}": contents for name, contents in data.items()}
        return data

    def fetch(self, shelf: Shelf, many: dict[str, bytes], name: str, *, age: float) -> Path:
        """Fetch or use a file, and let that be `age` seconds ago."""
        path = shelf.local(name, **promise(name, many[name]))
        assert path.read_bytes() == many[name]
        used = time.time() - age
        os.utime(path, (used, used))
        return path

    def test_the_least_recently_used_go(self, server: Server, tmp_path: Path, many: dict[str, bytes]) -> None:
        shelf = RemoteShelf(f"{server.url}/bake", cache=tmp_path, limit_bytes=3 * self.BYTES)
        paths = {name: self.fetch(shelf, many, name, age=1000 - n) for n, name in enumerate([*many][:3])}
        assert shelf.local("0.tar", **promise("0.tar", many["0.tar"])) == paths["0.tar"]
        for name, victim in (("3.tar", "1.tar"), ("4.tar", "2.tar"), ("5.tar", "3.tar")):
            assert paths[victim].exists()
            paths[name] = self.fetch(shelf, many, name, age=100)
            assert not paths[victim].exists()
            assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) == 3 * self.BYTES
        assert paths["0.tar"].exists()
        assert server.requests["/bake/0.tar"] == 1

    def test_what_was_just_handed_out_stays(self, server: Server, tmp_path: Path, many: dict[str, bytes]) -> None:
        shelf = RemoteShelf(f"{server.url}/bake", cache=tmp_path, limit_bytes=1)
        paths = [self.fetch(shelf, many, name, age=0) for name in many]
        assert all(path.exists() for path in paths)

    def test_a_file_beyond_the_limit_serves(self, server: Server, tmp_path: Path, many: dict[str, bytes]) -> None:
        shelf = RemoteShelf(f"{server.url}/bake", cache=tmp_path, limit_bytes=1)
        first = self.fetch(shelf, many, "0.tar", age=1000)
        copy = pickle.loads(pickle.dumps(shelf))  # noqa: S301 - our own bytes
        assert self.fetch(copy, many, "1.tar", age=1000).exists()
        assert not first.exists()

    def test_the_newest_stays_whatever_the_clock_says(self, tmp_path: Path) -> None:
        def write(data: bytes, path: Path) -> None:
            path.write_bytes(data)

        cache = ContentCache(root=tmp_path, limit_bytes=1, spare_seconds=-1000)
        for data in (b"one", b"two"):
            cache.keep(**promise("", data), fetch=partial(write, data))
            assert files_below(tmp_path) == {promise("", data)["sha256"]}

    def test_only_our_own_files_go(self, server: Server, tmp_path: Path, many: dict[str, bytes]) -> None:
        digest = hashlib.sha256(b"").hexdigest()
        outside, cache = tmp_path / "outside", tmp_path / "cache"
        foreign = [
            cache / "notes.txt",
            cache / digest,
            cache / "ff" / digest,
            cache / digest[:2] / f"{digest}.bak",
            cache / digest[:2] / "folder" / digest,
            cache / digest[:2] / digest / "a folder of this name",
            cache / digest[:2] / f".tmp-x-{digest}",
            cache / digest[:2] / ".tmp-1-0123456789abcdef-notes",
            outside / "kept",
        ]
        for path in foreign:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 5000)
            os.utime(path, (1, 1))
        link = cache / "00" / ("00" * 32)
        link.parent.mkdir()
        link.symlink_to(outside / "kept")
        before = set(tmp_path.rglob("*"))
        shelf = RemoteShelf(f"{server.url}/bake", cache=cache, limit_bytes=1)
        for name in many:
            last = self.fetch(shelf, many, name, age=1000)
        after = {path for path in tmp_path.rglob("*") if path in before or path.is_file()}
        assert after == before | {last}
