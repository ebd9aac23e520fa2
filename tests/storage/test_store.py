"""Promises of the store: whole files or none, on disks that fill up, refuse or hiccup."""

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixbake.errors import Damage, StorageError
from mixbake.storage.store import (
    LEFTOVER,
    canonical_json,
    publish_bytes,
    publishing,
    read_json,
    remove_leftovers,
    retrying,
    sha256_file,
    temporary_path,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"mounting a tmpfs needs rights that this process lacks: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def publish_half(path: Path, error: BaseException) -> None:
    with publishing(path) as writer:
        writer.write(b"half")
        raise error


def publish_zeros(path: Path, size: int, chunk: int) -> None:
    with publishing(path) as writer:
        while writer.size < size:
            writer.write(bytes(chunk))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "size=256k")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "size=256k,ro")


@given(parts=st.lists(st.binary(max_size=3000), max_size=20))
def test_a_stream_is_published_with_its_hash_and_size(
    parts: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("out") / "file.tar"
    whole = b"".join(parts)
    with publishing(path) as writer:
        for part in parts:
            writer.write(part)
    assert path.read_bytes() == whole
    assert (writer.sha256, writer.size) == (hashlib.sha256(whole).hexdigest(), len(whole)) == sha256_file(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "buffer",
    [
        bytearray(b"abcdef"),
        memoryview(b"abcdef")[2:],
        np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[1:],
        np.zeros((0, 4, 3), np.uint8),
        np.frombuffer(b"read only", np.uint8),
    ],
    ids=["bytearray", "memoryview", "array", "slice", "empty", "read-only"],
)
def test_any_contiguous_buffer_is_written_as_its_bytes(buffer: memoryview, tmp_path: Path) -> None:
    with publishing(tmp_path / "x") as writer:
        writer.write(buffer)
    assert (tmp_path / "x").read_bytes() == bytes(memoryview(buffer).tobytes())


def test_a_strided_array_is_refused_and_nothing_published(tmp_path: Path) -> None:
    with pytest.raises(TypeError), publishing(tmp_path / "x") as writer:
        writer.write(np.zeros((4, 4), np.uint8)[:, ::2])
    assert list(tmp_path.iterdir()) == []


def test_the_file_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    publish_bytes(path, b"old")
    with publishing(path) as writer:
        writer.write(bytes(3 << 20))
        assert path.read_bytes() == b"old"
        assert writer.size == 3 << 20
    assert path.stat().st_size == 3 << 20


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_an_error_in_between_leaves_what_was_there(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "x"
    publish_bytes(path, b"old")
    # The error of the block itself comes through as it is: it need not be about this file.
    with pytest.raises(error, match="mine"):
        publish_half(path, error("mine"))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("chunk", [1000, 1 << 20], ids=["buffered", "direct"])
def test_a_full_disk_is_said_and_leaves_nothing(chunk: int, small_disk: Path) -> None:
    publish_bytes(small_disk / "kept", b"kept")
    with pytest.raises(StorageError, match=r"x\.tar: No space left.*free some space"):
        publish_zeros(small_disk / "x.tar", 1 << 20, chunk)
    assert [path.name for path in small_disk.iterdir()] == ["kept"]
    publish_bytes(small_disk / "x.tar", bytes(1000))


def test_a_read_only_folder_is_said(read_only_disk: Path) -> None:
    with pytest.raises(StorageError, match="Read-only file system; choose a folder"):
        publish_bytes(read_only_disk / "x", b"data")


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere.*No such file"):
        publish_bytes(tmp_path / "nowhere" / "x", b"data")


def test_a_folder_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        publish_bytes(tmp_path / "x", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_rights_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        publish_bytes(tmp_path / "x", b"data")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


ENDLESS_WRITER = """
import pathlib, sys
from mixbake.storage.store import publishing
with publishing(pathlib.Path(sys.argv[1])) as writer:
    print("writing", flush=True)
    for _ in range(1 << 40):
        writer.write(bytes(512))
        if writer.size > 1 << 26:
            input()
"""


def test_a_killed_writer_leaves_only_a_leftover(tmp_path: Path) -> None:
    (tmp_path / "mix" / "v000").mkdir(parents=True)
    path = tmp_path / "mix" / "v000" / "000001.tar"
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS_WRITER, path], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.05)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    (left,) = path.parent.iterdir()
    assert LEFTOVER.fullmatch(left.name)
    assert remove_leftovers(tmp_path) == 1
    assert list(path.parent.iterdir()) == []


@given(name=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=20))
def test_leftovers_are_told_from_other_files(name: str) -> None:
    assert LEFTOVER.fullmatch(temporary_path(Path("folder", "x" + name)).name)
    assert not LEFTOVER.fullmatch(name)


def test_removal_keeps_everything_else(tmp_path: Path) -> None:
    kept = ["x.tar", ".tmp-notes", ".tmp-12-short-x", "tmp-1-0123456789abcdef-x", ".lock"]
    for name in [*kept, ".tmp-1-0123456789abcdef-x", ".tmp-99-0123456789abcdef-a-b.tar"]:
        (tmp_path / name).touch()
    (tmp_path / ".tmp-1-0123456789abcdef-folder").mkdir()
    (tmp_path / ".tmp-1-0123456789abcdef-folder" / "inside").touch()
    assert remove_leftovers(tmp_path) == 2
    assert remove_leftovers(tmp_path) == 0
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted([*kept, "inside"])


@given(value=JSON)
def test_canonical_json_reads_back_and_is_ascii(value: object) -> None:
    data = canonical_json(value)
    assert data.isascii()
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


def test_canonical_json_ignores_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == canonical_json({"a": [1.5, "é"], "b": 1})
    assert canonical_json({"b": 1, "a": "é"}) == b'{"a":"\\u00e9","b":1}'


@pytest.mark.parametrize("value", [math.nan, math.inf, {"deep": [-math.inf]}])
def test_canonical_json_refuses_what_is_not_json(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


def test_json_is_read_or_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    publish_bytes(path, canonical_json({"a": 1}))
    assert read_json(path) == {"a": 1}
    for broken in (b"", b'{"a": ', b"\xff\xfe"):
        publish_bytes(path, broken)
        with pytest.raises(Damage, match=r"x\.json is not JSON"):
            read_json(path)
    with pytest.raises(StorageError, match="No such file"):
        read_json(tmp_path / "absent.json")


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EAGAIN])
@pytest.mark.parametrize("failures", range(4))
def test_a_read_is_tried_three_times(code: int, failures: int, tmp_path: Path) -> None:
    calls = []

    def read() -> str:
        calls.append(1)
        if len(calls) <= failures:
            raise OSError(code, os.strerror(code))
        return "data"

    if failures < 3:
        assert retrying(read, tmp_path, pause=0.0) == "data"
    else:
        with pytest.raises(StorageError, match=os.strerror(code)) as caught:
            retrying(read, tmp_path, pause=0.0)
        assert caught.value.exit_code == 74
    assert len(calls) == min(failures + 1, 3)


def test_an_error_that_stays_is_not_tried_again(tmp_path: Path) -> None:
    calls = []

    def read() -> None:
        calls.append(1)
        (tmp_path / "absent").read_bytes()

    with pytest.raises(StorageError, match="No such file"):
        retrying(read, tmp_path / "absent")
    assert len(calls) == 1
