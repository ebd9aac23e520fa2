"""CIFAR archives: nothing in them is run, and every image in them is listed."""

import contextlib
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixbake.data.cifar import CifarSource
from mixbake.data.pickles import PickledArray, read_plain_pickle
from mixbake.data.sources import open_source
from mixbake.errors import UsageError

# ── pickles, as Python 2 wrote them ───────────────────────────────────────────────────────────────


def python2_pickle(value: Any) -> bytes:
    """`value` as Python 2's protocol 2 spells it: byte strings, and arrays through numpy.core.multiarray."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    return PYTHON2[type(value)](value)


def _python2_bytes(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<I", len(value)) + value


def _python2_array(value: Any) -> bytes:
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return made + b"(K\x01" + shape + dtype + b"\x89" + _python2(value.tobytes()) + b"tb"


PYTHON2: dict[type, Callable[[Any], bytes]] = {
    int: lambda value: b"J" + struct.pack("<i", value),
    str: lambda value: _python2_bytes(value.encode("latin-1")),
    bytes: _python2_bytes,
    list: lambda value: b"](" + b"".join(map(_python2, value)) + b"e",
    dict: lambda value: b"}(" + b"".join(_python2(key) + _python2(item) for key, item in value.items()) + b"u",
    np.ndarray: _python2_array,
}


WRITERS: dict[str, Callable[[Any], bytes]] = {
    "python2": python2_pickle,
    **{f"protocol {number}": lambda value, number=number: pickle.dumps(value, protocol=number) for number in range(6)},
}

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=12,
)


@given(PLAIN, st.integers(0, 5))
def test_plain_data_reads_as_pickle_reads_it(value: Any, protocol: int) -> None:
    assert read_plain_pickle(pickle.dumps(value, protocol=protocol), "f") == value


@given(
    st.sampled_from(["u1", "<i2", ">i4", "<i8", ">u8"]),
    st.lists(st.integers(0, 4), min_size=0, max_size=3),
    st.integers(0, 5),
    st.sampled_from("CF"),
)
def test_integer_arrays_of_any_shape_order_and_protocol_read_back(
    dtype: str, shape: list[int], protocol: int, order: Any
) -> None:
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype, order=order)
    got = read_plain_pickle(pickle.dumps(array, protocol=protocol), "f")
    assert isinstance(got, PickledArray)
    assert got.array is not None
    assert got.array.dtype == array.dtype
    assert np.array_equal(got.array, array)


class Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def hostile(marker: Path) -> dict[str, bytes]:
    command = f"touch {marker}".encode()
    system = b"cposix\nsystem\n"
    return {
        "reduce": pickle.dumps({"data": Runs(marker)}),
        "protocol 0": pickle.dumps({"data": Runs(marker)}, protocol=0),
        "inst": b"(S'" + command + b"'\niposix\nsystem\n.",
        "obj": b"(" + system + b"U" + bytes([len(command)]) + command + b"o.",
        "newobj": b"\x80\x02" + system + b"U" + bytes([len(command)]) + command + b"\x85\x81.",
        "eval": b'cbuiltins\neval\n(S\'__import__("os").system("' + command + b"\")'\ntR.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0etest.os.system\x93U" + bytes([len(command)]) + command + b"\x85R.",
        "codec": b"c_codecs\nencode\n(V" + command + b"\nVunicode_escape\ntR.",
        "call of a string": b"(S'os.system'\nS'" + command + b"'\ntR.",
        "state of a name": b"cnumpy\ndtype\n}(S'__code__'\nS'x'\nub.",
        "persistent": b"Pid\n.",
        "extension": b"\x80\x02\x82\x01.",
        "list from numpy": b"]cnumpy\nndarray\na.",
        "append to a name": b"cnumpy\nndarray\n(K\x01e.",
    }


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    files = write_cifar(tmp_path / "c", python2_pickle)
    (files / "data_batch_3").write_bytes(hostile(marker)[name])
    source = open_source(f"cifar10:{files}")
    with pytest.raises(UsageError, match="data_batch_3") as caught:
        source.scan()
    assert str(caught.value).isprintable()
    assert not marker.exists()


def test_the_hostile_pickle_is_hostile(tmp_path: Path) -> None:
    pickle.loads(hostile(tmp_path / "marker")["reduce"])  # noqa: S301  shows what the other test is about
    assert (tmp_path / "marker").exists()


def test_a_refused_global_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"posix\.system|nt\.system"):
        read_plain_pickle(pickle.dumps(Runs(tmp_path / "m")), "f")


@given(st.binary(max_size=60), st.integers(0, 5))
def test_random_bytes_and_cut_pickles_are_usage_errors(junk: bytes, protocol: int) -> None:
    whole = pickle.dumps({"labels": [1, 2], "data": np.zeros((2, 3), np.uint8)}, protocol=protocol)
    for data in (junk, whole[: len(junk)], whole[:20] + junk + b"."):
        with contextlib.suppress(UsageError):
            read_plain_pickle(data, "f")


@pytest.mark.parametrize("array", [np.zeros(3), np.array(["a"]), np.array([object()], dtype=object), np.zeros(2, "c8")])
def test_only_integer_arrays_are_read(array: Any) -> None:
    for protocol in (2, 5):
        with pytest.raises(UsageError, match="refused"):
            read_plain_pickle(pickle.dumps(array, protocol=protocol), "f")


def test_the_python2_spelling_is_a_pickle_that_python_itself_loads() -> None:
    value = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2], "batch_label": "x" * 300}
    loaded = pickle.loads(python2_pickle(value), encoding="latin1")  # noqa: S301  our own bytes
    assert np.array_equal(loaded.pop("data"), value.pop("data"))
    assert loaded == value


# ── CIFAR ─────────────────────────────────────────────────────────────────────────────────────────

PER_FILE = 4


def batch(seed: int, classes: int, keys: Callable[[str], Any] = str, label_key: str = "labels") -> dict[Any, Any]:
    rng = np.random.default_rng(seed)
    return {
        keys("batch_label"): keys(f"batch {seed}"),
        keys(label_key): [int(label) for label in rng.integers(0, classes, PER_FILE)],
        keys("data"): rng.integers(0, 256, (PER_FILE, 3072), dtype=np.uint8),
        keys("filenames"): [keys(f"photo_s_{seed:02d}{row}.png") for row in range(PER_FILE)],
    }


def write_cifar(root: Path, dump: Callable[[Any], bytes], keys: Callable[[str], Any] = str) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}").write_bytes(dump(batch(number, 10, keys)))
    (folder / "test_batch").write_bytes(dump(batch(6, 10, keys)))
    (folder / "batches.meta").write_bytes(dump({keys("label_names"): [keys(f"class {n}") for n in range(10)]}))
    return folder


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("keys", [str, str.encode])
def test_cifar10_lists_and_reads_every_image(tmp_path: Path, writer: str, keys: Callable[[str], Any]) -> None:
    folder = write_cifar(tmp_path, WRITERS[writer], keys)
    source = open_source(f"cifar10:{folder}")
    listing = source.scan()
    assert len(listing) == 5 * PER_FILE
    assert listing.classes == tuple(f"class {number}" for number in range(10))
    assert listing.paths[5] == "train/00005-photo_s_021.png"
    assert list(listing.paths) == sorted(listing.paths)
    batches = [batch(number, 10) for number in range(1, 6)]
    assert listing.labels.tolist() == [label for one in batches for label in one["labels"]]
    planes = np.concatenate([one["data"] for one in batches]).reshape(-1, 3, 32, 32)
    for entry in listing:
        pixels = source.read(entry)
        assert isinstance(pixels, np.ndarray)
        assert pixels.flags.c_contiguous
        assert np.array_equal(pixels, planes[entry.image].transpose(1, 2, 0))
        assert entry.bytes == pixels.nbytes == 3072


def test_the_folder_may_be_the_parent_and_the_split_the_test_images(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path, python2_pickle)
    parent = open_source(f"cifar10:{tmp_path}")
    assert parent.scan().paths == open_source(f"cifar10:{folder}").scan().paths
    listing = open_source(f"cifar10:{tmp_path},split=test").scan()
    assert len(listing) == PER_FILE
    assert all(path.startswith("test/") for path in listing.paths)
    assert np.array_equal(open_source(f"cifar10:{tmp_path},split=train").scan().labels, parent.scan().labels)


def test_cifar100_takes_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for number, name in enumerate(("train", "test")):
        content = batch(number, 100, label_key="fine_labels") | {"coarse_labels": [0] * PER_FILE}
        (folder / name).write_bytes(python2_pickle(content))
    (folder / "meta").write_bytes(
        python2_pickle({"fine_label_names": [f"f{n}" for n in range(100)], "coarse_label_names": ["c"] * 20})
    )
    listing = open_source(f"cifar100:{tmp_path}").scan()
    assert listing.classes[99] == "f99"
    assert listing.labels.tolist() == batch(0, 100, label_key="fine_labels")["fine_labels"]


def test_a_pickled_source_carries_no_pixels_and_reads_elsewhere(tmp_path: Path) -> None:
    source = open_source(f"cifar10:{write_cifar(tmp_path, python2_pickle)}")
    entry = source.scan().entry(7)
    wanted = source.read(entry)
    assert isinstance(wanted, np.ndarray)
    sent = pickle.dumps((source, entry))
    assert len(sent) < 2000
    code = "import pickle, sys; s, e = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(s.read(e).tobytes())"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
    assert done.stdout == wanted.tobytes()


def test_a_new_scan_sees_changed_files(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path, python2_pickle)
    source = open_source(f"cifar10:{folder}")
    entry = source.scan().entry(0)
    before = source.read(entry)
    (folder / "data_batch_1").write_bytes(python2_pickle(batch(77, 10)))
    source.scan()
    assert not np.array_equal(source.read(entry), before)


BAD_BATCHES: dict[str, dict[str, Any]] = {
    "label too large": {"labels": [0, 1, 2, 10]},
    "label below zero": {"labels": [0, 1, 2, -1]},
    "labels missing": {"labels": [0, 1, 2]},
    "labels of another type": {"labels": ["0"] * 4},
    "wide rows": {"data": np.zeros((4, 3073), np.uint8)},
    "one dimension": {"data": np.zeros(4 * 3072, np.uint8)},
    "no array": {"data": [0] * 3072},
    "slash in a name": {"filenames": ["a", "b", "../c", "d"]},
    "control character in a name": {"filenames": ["a", "b", "c\n", "d"]},
    "names missing": {"filenames": []},
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_contents_that_do_not_fit_are_refused(tmp_path: Path, name: str) -> None:
    folder = write_cifar(tmp_path, python2_pickle)
    (folder / "data_batch_2").write_bytes(python2_pickle(batch(2, 10) | BAD_BATCHES[name]))
    with pytest.raises(UsageError):
        open_source(f"cifar10:{folder}").scan()


@pytest.mark.parametrize("file", ["data_batch_4", "batches.meta"])
@pytest.mark.parametrize("damage", ["gone", "cut", "a list", "empty"])
def test_missing_and_damaged_files_are_named(tmp_path: Path, file: str, damage: str) -> None:
    folder = write_cifar(tmp_path, python2_pickle)
    whole = (folder / file).read_bytes()
    contents = {"cut": whole[: len(whole) // 2], "a list": python2_pickle([1]), "empty": b""}
    if damage == "gone":
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(contents[damage])
    with pytest.raises(UsageError, match=file):
        open_source(f"cifar10:{folder}").scan()


@pytest.mark.parametrize("rest", ["", ",split=train", "DIR,split=val", "DIR,split="])
def test_a_cifar_spec_says_how_it_is_written(tmp_path: Path, rest: str) -> None:
    with pytest.raises(UsageError, match=r"DIR\[,split=test\]"):
        open_source("cifar10:" + rest.replace("DIR", str(tmp_path)))


def test_a_folder_without_the_archive_says_what_to_extract(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cifar-10-python\.tar\.gz"):
        open_source(f"cifar10:{tmp_path}")
    with pytest.raises(UsageError, match=r"cifar-100-python\.tar\.gz"):
        open_source(f"cifar100:{tmp_path}")


def test_an_entry_beyond_the_archive_is_an_os_error(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path, python2_pickle)
    entry = open_source(f"cifar10:{folder}").scan().entry(19)
    source = CifarSource(spec="s", kind="cifar10", folder=str(folder), split="test")
    with pytest.raises(OSError, match="changed"):
        source.read(entry)
