"""Bakes behind URLs: what arrives is right or refused, by every protocol and over poor connections."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")

import fsspec
from servers import CONTENTS, FOREVER, OTHER, QUICK, SHARD, Fault, Server, files_below, promise

from mixbake.errors import Damage, MixbakeError, StorageError, UsageError
from mixbake.storage.shelf import ABSENT, UNKNOWN, LocalShelf
from mixbake.stream.remote import Patience, RemoteShelf, open_shelf


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
