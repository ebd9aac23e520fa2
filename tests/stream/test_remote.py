"""Bakes behind URLs: what arrives is right or refused, arrives once, and the cache keeps to its limit."""

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")

import fsspec
from servers import FOREVER, Fault, Server

from mixbake.errors import Damage, MixbakeError, StorageError, UsageError
from mixbake.storage.shelf import ABSENT, UNKNOWN, LocalShelf, Shelf
from mixbake.stream.content import ContentCache
from mixbake.stream.remote import Patience, RemoteShelf, open_shelf

PATIENCE = 120  # seconds: a limit against hanging, never a measure
QUICK = Patience(attempts=4, pause=0.01, timeout=5)
SHARD, OTHER = "mix/v000/000001.tar", "mix/v001/000001.tar"
CONTENTS = {
    SHARD: np.random.default_rng(1).bytes(300_001),
    OTHER: np.random.default_rng(2).bytes(70_000),
    "mix/v001/000002.tar": b"",
    "bake.json": b'{"format": 1}\n',
}

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


def promise(name: str, contents: bytes | None = None) -> dict[str, Any]:
    """Size and SHA-256 of a file, as its receipt tells them."""
    data = CONTENTS[name] if contents is None else contents
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def told(server: Server, cache: Path, name: str) -> list[str]:
    """The arguments of the processes above."""
    expected = promise(name)
    return [f"{server.url}/bake", str(cache), name, str(expected["size"]), expected["sha256"]]


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server({f"/bake/{name}": data for name, data in CONTENTS.items()}) as running:
        yield running


@pytest.fixture
def web(server: Server, tmp_path: Path) -> RemoteShelf:
    return RemoteShelf(f"{server.url}/bake", cache=tmp_path / "cache", patience=QUICK)


@pytest.fixture(scope="module")
def s3_options() -> Iterator[dict[str, Any]]:
    """Storage options that lead to an S3 server on this machine, which holds CONTENTS in s3://bakes/one."""
    moto_server = pytest.importorskip("moto.server")
    running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "none", "secret": "none"}
    bucket = fsspec.filesystem("s3", **options)
    bucket.mkdir("bakes")
    for name, data in CONTENTS.items():
        bucket.pipe_file(f"bakes/one/{name}", data)
    yield options
    running.stop()


@pytest.fixture(params=["http", "s3", "memory", "file"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteShelf:
    """The same bake behind each protocol."""
    cache = tmp_path / "cache"
    match request.param:
        case "http":
            server = request.getfixturevalue("server")
            return RemoteShelf(f"{server.url}/bake/", cache=cache, patience=QUICK)
        case "s3":
            options = request.getfixturevalue("s3_options")
            return RemoteShelf("s3://bakes/one", cache=cache, storage_options=options, patience=QUICK)
        case "memory":
            memory = fsspec.filesystem("memory")
            for name, data in CONTENTS.items():
                memory.pipe_file(f"/one/{name}", data)
            return RemoteShelf("memory://one", cache=cache, patience=QUICK)
        case _:
            for name, data in CONTENTS.items():
                path = tmp_path / "a bake" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            return RemoteShelf(f"file://{tmp_path}/a bake", cache=cache, patience=QUICK)


class TestEveryProtocol:
    def test_files_arrive_as_they_are(self, shelf: RemoteShelf) -> None:
        for name, data in CONTENTS.items():
            assert shelf.local(name, **promise(name)).read_bytes() == data
            assert shelf.read(name) == data
            assert shelf.exists(name)

    def test_absent_files_are_reported(self, shelf: RemoteShelf) -> None:
        assert not shelf.exists("mix/v009/000001.tar")
        assert not shelf.exists("mix/v000")
        for attempt in (shelf.read, lambda name: shelf.local(name, **promise(SHARD))):
            with pytest.raises(Damage, match=r"mix/v009/000001\.tar is missing"):
                attempt("mix/v009/000001.tar")

    def test_sizes(self, shelf: RemoteShelf) -> None:
        names = [*CONTENTS, "mix/v001/000003.tar", "mix/v009/000001.tar", "mix/v000"]
        expected = [len(data) for data in CONTENTS.values()] + [ABSENT] * 3
        told = shelf.sizes(names)
        assert told.dtype == np.int64
        assert told.tolist() == ([UNKNOWN] * len(names) if shelf.name.startswith("http") else expected)
        assert shelf.sizes([]).shape == (0,)

    def test_what_differs_from_its_receipt_is_damage(self, shelf: RemoteShelf, tmp_path: Path) -> None:
        expected = promise(SHARD)
        for wrong in ({"size": 5}, {"size": 400_000}, {"sha256": "0" * 64}):
            with pytest.raises(Damage, match=SHARD) as caught:
                shelf.local(SHARD, **(expected | wrong))
            assert str((expected | wrong)["sha256"]) in str(caught.value)
        assert files_below(tmp_path / "cache") == set()


class TestPoorConnections:
    @pytest.mark.parametrize("fault", [Fault.DROP, Fault.CUT, Fault.ERROR, Fault.BUSY])
    def test_what_passes_is_tried_again(self, web: RemoteShelf, server: Server, fault: Fault) -> None:
        server.faults = {"/bake/" + name: [fault, fault] for name in (SHARD, "bake.json")}
        assert web.local(SHARD, **promise(SHARD)).read_bytes() == CONTENTS[SHARD]
        assert web.read("bake.json") == CONTENTS["bake.json"]
        server.faults = {"/bake/bake.json": [fault, fault], "/bake/none": [fault]}
        assert web.exists("bake.json")
        assert not web.exists("none")

    @pytest.mark.parametrize("fault", [Fault.DROP, Fault.CUT, Fault.ERROR])
    def test_what_stays_is_a_storage_error(
        self, web: RemoteShelf, server: Server, fault: Fault, tmp_path: Path
    ) -> None:
        server.faults = {f"/bake/{SHARD}": [fault] * FOREVER}
        for attempt in (web.read, lambda name: web.local(name, **promise(name))):
            with pytest.raises(StorageError, match=rf"{SHARD} in {server.url}/bake: .*4 attempts"):
                attempt(SHARD)
        # aiohttp asks again on its own when a connection that it had kept drops.
        most = 4 if fault is Fault.DROP else 2
        assert 2 * QUICK.attempts <= server.requests[f"/bake/{SHARD}"] <= most * QUICK.attempts
        assert files_below(tmp_path / "cache") == set()

    @pytest.mark.parametrize("protocol", ["http", "s3"])
    def test_silence_ends(self, server: Server, tmp_path: Path, protocol: str) -> None:
        server.faults = {f"/bake/{SHARD}": [Fault.STALL] * FOREVER}
        url, options = {
            "http": (f"{server.url}/bake", {}),
            "s3": ("s3://bake", {"endpoint_url": server.url, "key": "none", "secret": "none"}),
        }[protocol]
        patience = Patience(attempts=2, pause=0.01, timeout=0.2)
        shelf = RemoteShelf(url, cache=tmp_path, storage_options=options, patience=patience)
        with pytest.raises(StorageError, match="2 attempts"):
            shelf.local(SHARD, **promise(SHARD))

    def test_nobody_there(self, tmp_path: Path) -> None:
        with Server({}) as gone:
            url = gone.url
        with pytest.raises(StorageError, match="4 attempts"):
            RemoteShelf(url, cache=tmp_path, patience=QUICK).exists("bake.json")

    def test_a_refusal_is_not_tried_again(self, web: RemoteShelf, server: Server) -> None:
        server.faults = {"/bake/bake.json": [Fault.FORBIDDEN] * FOREVER}
        for attempt in (web.read, web.exists):
            with pytest.raises(StorageError, match=r"HTTP 403.*credentials"):
                attempt("bake.json")
        assert server.requests["/bake/bake.json"] == 2

    def test_s3_files_are_seen_when_they_appear(self, s3_options: dict[str, Any], tmp_path: Path) -> None:
        shelf = RemoteShelf("s3://bakes/growing", cache=tmp_path, storage_options=s3_options, patience=QUICK)
        bucket = fsspec.filesystem("s3", **s3_options)
        for size in (1, 2):
            bucket.pipe_file("bakes/growing/first", bytes(size))
            assert shelf.sizes(["first", "second"]).tolist() == [size, ABSENT]
        assert not shelf.exists("second")
        bucket.pipe_file("bakes/growing/second", b"123")
        assert shelf.exists("second")
        assert shelf.sizes(["second"]).tolist() == [3]

    def test_s3_errors(self, s3_options: dict[str, Any], server: Server, tmp_path: Path) -> None:
        address = f"/bakes/one/{SHARD}"
        server.files[address] = CONTENTS[SHARD]
        options = s3_options | {"endpoint_url": server.url}
        shelf = RemoteShelf("s3://bakes/one", cache=tmp_path, storage_options=options, patience=QUICK)
        server.faults[address] = [Fault.ERROR, Fault.CUT, Fault.DROP]
        assert shelf.local(SHARD, **promise(SHARD)).read_bytes() == CONTENTS[SHARD]
        assert server.requests[address] == 4
        for fault in (Fault.ERROR, Fault.CUT, Fault.DROP):
            server.faults[address] = [fault] * FOREVER
            before = server.requests[address]
            with pytest.raises(StorageError, match=rf"{SHARD} in s3://bakes/one"):
                shelf.local(SHARD, size=len(CONTENTS[SHARD]), sha256="0" * 64)
            assert fault is Fault.DROP or server.requests[address] - before == QUICK.attempts
        server.faults[address] = [Fault.ALTER] * 2
        with pytest.raises(Damage, match=SHARD):
            shelf.local(SHARD, size=len(CONTENTS[SHARD]), sha256="0" * 64)


class TestWrongContents:
    @pytest.mark.parametrize("fault", [Fault.ALTER, Fault.SHORT, Fault.LONGER, Fault.ENDLESS])
    def test_once_is_forgiven_twice_is_damage(
        self, web: RemoteShelf, server: Server, fault: Fault, tmp_path: Path
    ) -> None:
        server.faults = {f"/bake/{SHARD}": [fault], f"/bake/{OTHER}": [fault] * FOREVER}
        assert web.local(SHARD, **promise(SHARD)).read_bytes() == CONTENTS[SHARD]
        with pytest.raises(Damage, match=rf"{OTHER} in {server.url}/bake should be 70000 bytes"):
            web.local(OTHER, **promise(OTHER))
        assert server.requests[f"/bake/{OTHER}"] == 2
        assert files_below(tmp_path / "cache") == {promise(SHARD)["sha256"]}
        assert server.sent < 2e8  # of an endless file only what was on its way

    def test_only_digests_name_files(self, web: RemoteShelf, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        for sha256 in ("../../secret", str(tmp_path / "secret"), "", "A" * 64):
            with pytest.raises(Damage, match=SHARD):
                web.local(SHARD, size=6, sha256=sha256)

    def test_a_cached_file_of_another_size_is_replaced(self, web: RemoteShelf) -> None:
        path = web.local(SHARD, **promise(SHARD))
        path.write_bytes(b"cut")
        assert web.local(SHARD, **promise(SHARD)).read_bytes() == CONTENTS[SHARD]


class TestTogether:
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


class TestOpening:
    def test_paths_are_local(self, tmp_path: Path) -> None:
        spaced = tmp_path / "a bake"
        spaced.mkdir()
        (spaced / "x").write_bytes(b"1")
        for given in (spaced, str(spaced), f"file://{spaced}", f"file://{tmp_path}/a%20bake", spaced.as_uri()):
            shelf = open_shelf(given, cache=tmp_path / "unused")
            assert isinstance(shelf, LocalShelf)
            assert shelf.read("x") == b"1"

    def test_urls_are_remote(self, server: Server, tmp_path: Path) -> None:
        shelf = open_shelf(f"{server.url}/bake", cache=tmp_path)
        assert shelf.read("bake.json") == CONTENTS["bake.json"]

    @pytest.mark.parametrize("url", ["gopherx://host/bake", "zip://a::s3://b/c", "file://host/bake"])
    def test_other_urls_are_refused(self, url: str) -> None:
        with pytest.raises(UsageError, match=r"s3://|///"):
            open_shelf(url)

    def test_wrong_options_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="limit"):
            RemoteShelf("memory://x", cache=tmp_path, limit_bytes=-1)
        options = {"key": "a", "username": "b"}
        with pytest.raises(UsageError, match=r"s3://.*key, username"):
            RemoteShelf("s3://x", cache=tmp_path, storage_options=options).exists("bake.json")

    def test_a_missing_package_names_its_extra(self, python: Callable[..., Any]) -> None:
        code = """
import sys
sys.modules[sys.argv[1]] = None  # as if it were not installed
from mixbake.errors import MissingExtra
from mixbake.stream.remote import RemoteShelf
try:
    RemoteShelf(sys.argv[2])
except MissingExtra as error:
    print(error)
"""
        for package, url in (("fsspec", "memory://x"), ("s3fs", "s3://x/y"), ("aiohttp", "https://x/y")):
            outcome = python(code, package, url)
            assert outcome.out.startswith(f"{package} is not installed"), outcome.err
            assert ".[remote]" in outcome.out

    def test_signatures_are_sent_and_not_told(self, server: Server, tmp_path: Path) -> None:
        shelf = RemoteShelf(f"{server.url}/bake/?signature=s3cr3t", cache=tmp_path, patience=QUICK)
        assert shelf.local(SHARD, **promise(SHARD)).read_bytes() == CONTENTS[SHARD]
        assert server.queries == {"signature=s3cr3t"}
        server.faults = {"/bake/bake.json": [Fault.FORBIDDEN] + [Fault.DROP] * FOREVER}
        for _ in range(2):
            with pytest.raises(MixbakeError) as caught:
                shelf.read("bake.json")
            assert "s3cr3t" not in str(caught.value) + shelf.name


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
