"""Promises of the folder lock: one holder, told by name, gone with its process."""

import errno
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mixbake.errors import Locked, StorageError
from mixbake.storage.lock import FolderLock, _refusal

HOLDER = """
import pathlib, sys
from mixbake.storage.lock import FolderLock
with FolderLock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""
COUNTER = """
import pathlib, sys
from mixbake.errors import Locked
from mixbake.storage.lock import FolderLock
folder = pathlib.Path(sys.argv[1])
done = 0
while done < 100:
    try:
        with FolderLock(folder):
            count = folder / "count"
            count.write_text(str(int(count.read_text()) + 1))
            done += 1
    except Locked:
        pass
"""


def test_a_second_holder_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(Locked, match=rf"process {os.getpid()} on host {socket.gethostname()}"):
        FolderLock(tmp_path).__enter__()


def test_the_folder_is_free_and_clean_afterwards(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    for _ in range(2):
        with lock, pytest.raises(Locked):
            FolderLock(tmp_path).__enter__()
        assert list(tmp_path.iterdir()) == []


def test_an_error_inside_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), FolderLock(tmp_path):
        raise KeyboardInterrupt
    with FolderLock(tmp_path):
        pass


def test_a_killed_holder_frees_the_folder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(Locked, match=f"process {child.pid} on host"):
            FolderLock(tmp_path).__enter__()
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / ".lock").exists()
    with FolderLock(tmp_path), pytest.raises(Locked, match=f"process {os.getpid()} "):
        FolderLock(tmp_path).__enter__()


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with FolderLock(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_two_processes_never_hold_it_together(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    children = [subprocess.Popen([sys.executable, "-c", COUNTER, tmp_path]) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "300"


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    inside: list[int] = []

    def hold(number: int) -> None:
        try:
            with FolderLock(tmp_path):
                inside.append(number)
                assert inside == [number]
                inside.remove(number)
        except Locked:
            pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hold, range(500)))


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"pid": null, "host": 1}', b"\xff"])
def test_whatever_the_file_says_it_is_only_a_file(left: bytes, tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(left)
    with FolderLock(tmp_path) as _:
        (tmp_path / ".lock").write_bytes(left)
        with pytest.raises(Locked, match="another process works in"):
            FolderLock(tmp_path).__enter__()


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot lock .*nowhere"):
        FolderLock(tmp_path / "nowhere").__enter__()


def test_a_link_in_the_lock_s_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(victim)
    with pytest.raises(StorageError, match="cannot lock"):
        FolderLock(tmp_path / "out").__enter__()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said(code: int, tmp_path: Path) -> None:
    # No file system at hand lacks flock, so the kernel's answer is given by hand.
    refusal = _refusal(tmp_path / ".lock", -1, OSError(code, os.strerror(code)))
    assert isinstance(refusal, StorageError)
    assert "no file locks" in str(refusal)
    assert "local disk" in str(refusal)
