"""Mixing sets that are damaged, forged, killed while made, or hold what is no picture."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixing import noise, pixels_of, save

from mixbake.data.pictures import prepare
from mixbake.data.prepared import open_pictures
from mixbake.errors import Damage, StorageError, UsageError

quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


# ── Damage ────────────────────────────────────────────────────────────────────────────────────────


@quick
@given(place=st.floats(0, 1, exclude_max=True), early=st.booleans(), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found_and_the_file_named(tmp_path: Path, place: float, early: bool, bit: int) -> None:
    if not (tmp_path / "mixing").exists():
        save(tmp_path / "mixing/a.png", noise(36, 36))
    whole = prepare(str(tmp_path / "mixing"), tmp_path / "out", size=32, gray=False)
    data = bytearray(whole.path.read_bytes())
    data[int(place * (600 if early else len(data)))] ^= 1 << bit
    damaged = tmp_path / "damaged.pictures"
    damaged.write_bytes(data)

    with pytest.raises(Damage, match=r"damaged\.pictures"):
        open_pictures(damaged, check=True)


@pytest.mark.parametrize("length", [0, 10, 40, 1000, 4095, 4096, -1, +1])
def test_a_file_of_another_length_does_not_open(folder: Path, tmp_path: Path, length: int) -> None:
    data = prepare(str(folder), tmp_path / "out", size=32, gray=False).path.read_bytes()
    other = tmp_path / "other.pictures"
    other.write_bytes(data + b"x" if length > 0 and length == 1 else data[:length])
    with pytest.raises(Damage, match=r"other\.pictures"):
        open_pictures(other)


FORGERIES: dict[str, dict[str, object]] = {
    "too tall": {"shapes": [[36, 37000]]},
    "negative": {"shapes": [[-36, -36]]},
    "other side": {"side": 35},
    "five channels": {"channels": 5},
    "huge": {"shapes": [[2**40, 36]]},
    "no shapes": {"shapes": [], "names": []},
    "more names": {"names": ["a", "b"]},
    "no numbers": {"shapes": "many"},
    "a number for a name": {"names": [3]},
    "a side in part": {"side": 36.9},
    "channels in part": {"channels": 3.9},
    "a shape in part": {"shapes": [[36.0, 36]]},
    "a shape of truth": {"shapes": [[True, 36]]},
    "starts as text": {"starts": "0"},
    "starts in part": {"starts": [0.5]},
    "a list of inputs": {"inputs": [1]},
    "skipped for no text": {"skipped": [["a", 1]]},
    "preparation as text": {"preparation": "2"},
    "no hash": {"pixels_sha256": None},
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_header_with_a_right_digest_does_not_open(tmp_path: Path, forgery: str) -> None:
    from mixbake.data import prepared as module

    save(tmp_path / "mixing/a.png", noise(36, 36))
    whole = prepare(str(tmp_path / "mixing"), tmp_path / "out", size=32, gray=False)
    header, start, _ = module._read_header(whole.path)
    forged = json.dumps(json.loads(header) | FORGERIES[forgery], sort_keys=True, separators=(",", ":")).encode()
    path = tmp_path / "forged.pictures"
    path.write_bytes(module._preamble(forged)[0] + whole.path.read_bytes()[start:])
    with pytest.raises(Damage, match=r"forged\.pictures"):
        open_pictures(path)


@pytest.mark.parametrize("header", [b"[" * 100_000, b"[]", b"3", b"\xff"])
def test_a_header_that_is_no_mapping_does_not_open(tmp_path: Path, header: bytes) -> None:
    from mixbake.data import prepared as module

    (tmp_path / "forged.pictures").write_bytes(module._preamble(header)[0])
    with pytest.raises(Damage, match=r"forged\.pictures.*malformed"):
        open_pictures(tmp_path / "forged.pictures")


def test_a_damaged_file_is_prepared_again(folder: Path, tmp_path: Path) -> None:
    path = prepare(str(folder), tmp_path / "out", size=32, gray=False).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    assert prepare(str(folder), tmp_path / "out", size=32, gray=False).path.read_bytes() == whole


def test_the_whole_temporary_of_a_dead_build_is_not_used(folder: Path, tmp_path: Path) -> None:
    path = prepare(str(folder), tmp_path / "out", size=32, gray=False).path
    path.rename(path.with_name(f".tmp-1-0123456789abcdef-{path.name}"))

    assert prepare(str(folder), tmp_path / "out", size=32, gray=False).path == path


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none\.pictures"):
        open_pictures(tmp_path / "none.pictures")


KILLED = """
import sys
from pathlib import Path
from mixbake.data.pictures import prepare
print("ready", flush=True)
while True:
    for gray in (False, True):
        for path in Path(sys.argv[2]).glob("[!.]*.pictures"):
            path.unlink()
        prepare(sys.argv[1], Path(sys.argv[2]), size=224, gray=gray, jobs=2)
"""


@pytest.mark.parametrize("delay", [0.003, 0.03, 0.2])
def test_a_kill_never_leaves_a_partial_file_under_a_final_name(folder: Path, tmp_path: Path, delay: float) -> None:
    out = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(folder), str(out)], stdout=subprocess.PIPE)
    with child:
        assert child.stdout
        child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
    for path in out.glob("[!.]*.pictures"):
        open_pictures(path, check=True)
    after = prepare(str(folder), out, size=224, gray=False)
    assert after.path.read_bytes() == prepare(str(folder), tmp_path / "calm", size=224, gray=False).path.read_bytes()


@pytest.mark.parametrize("room", [-1000, +1000])  # less than the pixels, less than pixels and header
def test_a_full_disk_leaves_nothing_behind(folder: Path, tmp_path: Path, room: int) -> None:
    limit = prepare(str(folder), tmp_path / "whole", size=32, gray=False).pixels.size + room
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        with pytest.raises(StorageError, match=r"mixing|\.pictures"):
            prepare(str(folder), tmp_path / "out", size=32, gray=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list((tmp_path / "out").iterdir()) == []


# ── Which pictures ────────────────────────────────────────────────────────────────────────────────


def test_unreadable_pictures_are_passed_over_and_listed(folder: Path, tmp_path: Path) -> None:
    whole = prepare(str(folder), tmp_path / "whole", size=32, gray=False)
    (folder / "a/empty.png").write_bytes(b"")
    (folder / "zz.jpg").write_bytes((folder / "a/deep/er.jpg").read_bytes()[:700])
    some = prepare(str(folder), tmp_path / "some", size=32, gray=False, jobs=2)

    assert [name for name, _ in some.skipped] == ["a/empty.png", "zz.jpg"]
    assert all(reason for _, reason in some.skipped)
    assert pixels_of(some) == pixels_of(whole)
    assert open_pictures(some.path).skipped == some.skipped


def test_what_an_older_decoder_skipped_is_tried_again(folder: Path, tmp_path: Path) -> None:
    from mixbake.data import prepared as module

    whole = prepare(str(folder), tmp_path / "whole", size=32, gray=False)
    header = json.loads(module._read_header(whole.path)[0])
    fewer = whole.pixels[: whole.offsets[-1]].tobytes()
    header |= {"skipped": [[header["names"].pop(), "unknown format"]], "shapes": header["shapes"][:-1]}
    header |= {"pixels_sha256": hashlib.sha256(fewer).hexdigest()}
    older = tmp_path / "out/older.pictures"
    older.parent.mkdir()
    older.write_bytes(module._preamble(json.dumps(header).encode())[0] + fewer)
    assert open_pictures(older, check=True).names == whole.names[:-1]

    assert prepare(str(folder), tmp_path / "out", size=32, gray=False) != open_pictures(older)
    assert prepare(str(folder), tmp_path / "out", size=32, gray=False).digest == whole.digest


def test_other_and_hidden_files_do_not_exist(folder: Path, tmp_path: Path) -> None:
    before = prepare(str(folder), tmp_path / "out", size=32, gray=False)
    (folder / "notes.txt").write_text("no picture")
    (folder / "a/LICENSE").write_text("no picture")
    save(folder / ".thumbnails/x.png", noise(8, 8))
    (folder / "._b.png").write_bytes(b"resource fork")
    assert prepare(str(folder), tmp_path / "out", size=32, gray=False) == before


def test_nothing_to_mix_with_is_a_usage_error(tmp_path: Path) -> None:
    empty, broken, file = tmp_path / "empty", tmp_path / "broken", tmp_path / "file.png"
    empty.mkdir()
    broken.mkdir()
    (broken / "a.png").write_bytes(b"x")
    save(file, noise(8, 8))
    for spec in (empty, broken, file, tmp_path / "absent"):
        with pytest.raises(UsageError, match="mixing set"):
            prepare(str(spec), tmp_path / "out", size=32, gray=False)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("size", "jobs"), [(0, 1), (10**6, 1), (32, 0)])
def test_impossible_numbers_are_usage_errors(folder: Path, tmp_path: Path, size: int, jobs: int) -> None:
    with pytest.raises(UsageError, match=f"size is {size} and jobs is {jobs}"):
        prepare(str(folder), tmp_path / "out", gray=False, size=size, jobs=jobs)


def test_links_are_followed(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for child in folder.iterdir():
        (linked / child.name).symlink_to(child)
    first = prepare(str(folder), tmp_path / "out", size=32, gray=False)
    assert prepare(str(linked), tmp_path / "out", size=32, gray=False) == first


LOOPS: dict[str, Callable[[Path], object]] = {
    "up": lambda root: (root / "a/up").symlink_to(root),
    "self": lambda root: (root / "self.png").symlink_to(root / "self.png"),
    "nowhere": lambda root: (root / "gone.png").symlink_to(root / "absent"),
    "pipe": lambda root: os.mkfifo(root / "pipe.png"),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_links_that_loop_or_lead_nowhere_are_refused(folder: Path, tmp_path: Path, loop: str) -> None:
    LOOPS[loop](folder)
    with pytest.raises(UsageError, match="link"):
        prepare(str(folder), tmp_path / "out", size=32, gray=False)


def test_fractals_win_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXBAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "fractals/mine.png", noise(40, 40))

    drawn = prepare("fractals:count=3", tmp_path / "out", size=32, gray=True)
    fewer = prepare("fractals:count=2", tmp_path / "out", size=32, gray=True)

    assert drawn.names == ("fractal-000000.png", "fractal-000001.png", "fractal-000002.png")
    assert fewer.names == drawn.names[:2]
    assert drawn.shapes.tolist() == [[36, 36]] * 3
    assert prepare("./fractals", tmp_path / "out", size=32, gray=True).names == ("mine.png",)


def test_a_misspelt_fractals_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="count"):
        prepare("fractals:number=3", tmp_path / "out", size=32, gray=True)


@pytest.mark.skipif("MIXBAKE_DATA" not in os.environ, reason="MIXBAKE_DATA names no folder of pictures")
def test_real_pictures(tmp_path: Path) -> None:
    source = Path(os.environ["MIXBAKE_DATA"], "fractals")
    pictures = prepare(str(source), tmp_path, size=224, gray=True, jobs=2)
    assert len(pictures) == len(list(source.rglob("*.jpg")))
    assert not pictures.skipped
