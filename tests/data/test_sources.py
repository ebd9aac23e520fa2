"""Sources: what a user names is what is listed, in an order that depends on names alone."""

import csv
import os
import pickle
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mixbake.data.decode import decode
from mixbake.data.listing import Listing
from mixbake.data.sources import open_source
from mixbake.errors import UsageError


def write(root: Path, *names: str) -> Path:
    """Files whose content is their own name: enough for a scan, and for telling reads apart."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def labelled(listing: Listing) -> dict[str, str]:
    return {entry.path: listing.classes[entry.label] for entry in listing}


# ── image folder ──────────────────────────────────────────────────────────────────────────────────


def test_a_folder_lists_its_pictures_sorted_with_labels_and_sizes(tmp_path: Path) -> None:
    write(tmp_path, "dog/b.PNG", "dog/deep/er/a.jpeg", "cat/z.JPG", "cat/notes.txt", "cat/.hidden.png", "readme.md")
    write(tmp_path, ".git/x.png")
    source = open_source(str(tmp_path))
    listing = source.scan()
    assert listing.spec == source.spec == str(tmp_path)
    assert listing.classes == ("cat", "dog")
    assert listing.paths == ("cat/z.JPG", "dog/b.PNG", "dog/deep/er/a.jpeg")
    assert listing.labels.tolist() == [0, 1, 1]
    assert listing.ignored == 2
    for entry in listing:
        assert source.read(entry) == entry.path.encode()
        assert entry.bytes == len(entry.path)
    assert all(column.dtype == np.int64 for column in (listing.sizes, listing.offsets, listing.labels))


@pytest.mark.parametrize(
    "suffix", ["jpg", "jpeg", "jpe", "png", "bmp", "webp", "gif", "tif", "tiff", "ppm", "pgm", "pbm"]
)
def test_every_picture_extension_counts_in_any_case(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, f"c/a.{suffix}", f"c/b.{suffix.upper()}")
    assert len(open_source(str(tmp_path)).scan()) == 2


NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/"), min_size=1, max_size=8
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.sets(st.tuples(NAMES, NAMES), min_size=1, max_size=8))
def test_order_is_code_point_order_of_paths_and_classes(
    tmp_path_factory: pytest.TempPathFactory, names: set[tuple[str, str]]
) -> None:
    paths = {f"c{folder}/f{name}.png" for folder, name in names}
    root = write(tmp_path_factory.mktemp("tree"), *paths)
    if len({unicodedata.normalize("NFC", path) for path in paths}) < len(paths):
        with pytest.raises(UsageError, match="same name"):
            open_source(str(root)).scan()
        return
    listing = open_source(str(root)).scan()
    assert list(listing.paths) == sorted(paths)
    assert list(listing.classes) == sorted({path.partition("/")[0] for path in paths})
    assert labelled(listing) == {path: path.partition("/")[0] for path in paths}


def test_a_class_file_chooses_classes_and_keeps_their_sorted_order(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "a/1.png", "b/1.png", "c/1.png")
    chosen = tmp_path / "classes.txt"
    chosen.write_text("# two of three\nc\n\n  a  \n")
    listing = open_source(str(root), classes=chosen).scan()
    assert listing.classes == ("a", "c")
    assert labelled(listing) == {"a/1.png": "a", "c/1.png": "c"}


@pytest.mark.parametrize(
    ("text", "named"), [("a\nzebra\n", "zebra"), ("a\na\n", "'a'"), ("# none\n", "names no class")]
)
def test_a_class_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, named: str) -> None:
    root = write(tmp_path / "data", "a/1.png")
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UsageError, match=named):
        open_source(str(root), classes=tmp_path / "classes.txt").scan()


def test_a_class_file_goes_with_folders_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="class file"):
        open_source("demo", classes=tmp_path / "classes.txt")
    with pytest.raises(UsageError, match="cannot be read"):
        open_source(str(tmp_path), classes=tmp_path / "absent.txt")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "holds no folders"),
        (("a.png",), "holds no folders"),
        (("cat/a.png", "dog/notes.txt"), "'dog' without pictures"),
        (("train/cat/a.png", "val/cat/a.png"), "/train"),
        (("Test/cat/a.png",), "/Test"),
    ],
)
def test_folders_without_classes_are_refused(tmp_path: Path, files: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_source(str(write(tmp_path, *files))).scan()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        open_source(str(tmp_path / "absent")).scan()


def test_a_class_called_train_beside_others_is_a_class(tmp_path: Path) -> None:
    assert open_source(str(write(tmp_path, "train/a.png", "plane/a.png"))).scan().classes == ("plane", "train")


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "cat/a.png")
    elsewhere = write(tmp_path / "elsewhere", "x/b.png", "c.png")
    (root / "dog").symlink_to(elsewhere / "x")
    (root / "cat" / "linked.png").symlink_to(elsewhere / "c.png")
    source = open_source(str(root))
    listing = source.scan()
    assert listing.paths == ("cat/a.png", "cat/linked.png", "dog/b.png")
    assert [source.read(entry) for entry in listing] == [b"cat/a.png", b"c.png", b"x/b.png"]


@pytest.mark.parametrize("target", [".", "..", "../cat"])
def test_a_link_to_a_folder_above_it_is_refused_by_name(tmp_path: Path, target: str) -> None:
    root = write(tmp_path, "cat/a.png")
    (root / "cat" / "again").symlink_to(target)
    with pytest.raises(UsageError, match="cat/again"):
        open_source(str(root)).scan()


@pytest.mark.parametrize("target", ["self.png", "absent.png"])
def test_a_link_that_leads_nowhere_is_refused_by_name(tmp_path: Path, target: str) -> None:
    root = write(tmp_path, "cat/a.png")
    (root / "cat" / "self.png").symlink_to(target)
    with pytest.raises(UsageError, match=r"cat/self\.png"):
        open_source(str(root)).scan()


def test_the_same_folder_linked_twice_side_by_side_is_no_loop(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "cat/a.png")
    for name in ("one", "two"):
        (root / "cat" / name).symlink_to(write(tmp_path / "shared", "s.png"))
    assert open_source(str(root)).scan().paths == ("cat/a.png", "cat/one/s.png", "cat/two/s.png")


def test_a_pipe_is_ignored_not_waited_for(tmp_path: Path) -> None:
    root = write(tmp_path, "cat/a.png")
    os.mkfifo(root / "cat" / "pipe.png")
    listing = open_source(str(root)).scan()
    assert (listing.paths, listing.ignored) == (("cat/a.png",), 1)


@pytest.mark.parametrize("name", [b"line\nbreak.png", b"\x1b[31mred.png", b"latin-\xe9.png", b"tab\there.png"])
@pytest.mark.parametrize("place", ["file", "class"])
def test_unprintable_names_are_refused_escaped(tmp_path: Path, name: bytes, place: str) -> None:
    text = os.fsdecode(name)
    path = tmp_path / "cat" / text if place == "file" else tmp_path / text / "a.png"
    path.parent.mkdir()
    path.touch()
    with pytest.raises(UsageError, match="rename") as caught:
        open_source(str(tmp_path)).scan()
    assert str(caught.value).isprintable()


def test_names_that_only_unicode_can_tell_apart_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "c/\u00e9.png", "c/e\u0301.png")
    with pytest.raises(UsageError, match=r"xe9.*u0301|u0301.*xe9"):
        open_source(str(tmp_path)).scan()


def test_a_source_reads_in_another_process_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "data", "cat/a.png")
    monkeypatch.chdir(tmp_path)
    source = open_source("data")
    sent = pickle.dumps((source, source.scan().entry(0)))
    assert source.spec == "data"
    code = "import pickle, sys; s, e = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(s.read(e))"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True, cwd="/")
    assert done.stdout == b"cat/a.png"


def test_a_file_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    source = open_source(str(write(tmp_path, "cat/a.png")))
    entry = source.scan().entry(0)
    (tmp_path / "cat" / "a.png").unlink()
    with pytest.raises(OSError, match=r"a\.png"):
        source.read(entry)


# ── names of kinds ────────────────────────────────────────────────────────────────────────────────


def test_demo_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "demo/cat/a.png")
    monkeypatch.chdir(tmp_path)
    assert len(open_source("demo:count=12").scan()) == 12
    assert len(open_source("demo").scan()) > 1
    assert open_source("./demo").scan().paths == ("cat/a.png",)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("cifra10:x", "did you mean cifar10"),
        ("wsd:x.tar", "did you mean wds"),
        ("qqqq:x", "cifar100"),
        ("cifar10", "did you mean cifar10:"),
        ("", "give a folder"),
        ("wds:s3://bucket/x.tar", "download"),
        ("wds:https://host/{0..3}.tar", "download"),
        ("wds:pipe:cat x", "download"),
        ("wds:", "names no shards"),
        ("list:x.txt", "csv"),
    ],
)
def test_a_spec_that_names_nothing_says_what_to_write(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_source(spec)


@pytest.mark.parametrize(("name", "said"), [("a.tar", "wds:"), ("a.csv", "list:"), ("a.png", "folder")])
def test_a_file_given_as_a_folder_gets_a_hint(tmp_path: Path, name: str, said: str) -> None:
    write(tmp_path, name)
    with pytest.raises(UsageError, match=said):
        open_source(str(tmp_path / name))


# ── lists ─────────────────────────────────────────────────────────────────────────────────────────


def write_list(path: Path, rows: list[tuple[object, object]]) -> str:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *rows])
    else:
        table = pa.table({"label": [label for _, label in rows], "path": [str(name) for name, _ in rows]})
        pq.write_table(table, path)
    return f"list:{path}"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_names_its_images(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, "x/b.png", "a, b.png", "c.png")
    spec = write_list(tmp_path / f"list{suffix}", [("x/b.png", "dog"), ("a, b.png", "cat"), ("./c.png", "dog")])
    source = open_source(spec)
    listing = source.scan()
    assert listing.classes == ("cat", "dog")
    assert labelled(listing) == {"a, b.png": "cat", "c.png": "dog", "x/b.png": "dog"}
    assert list(listing.paths) == sorted(listing.paths)
    assert [source.read(entry) for entry in listing] == [path.encode() for path in listing.paths]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_labels_spelled_as_numbers_are_numbers(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, "a.png", "b.png")
    listing = open_source(write_list(tmp_path / f"l{suffix}", [("b.png", 0), ("a.png", 10)])).scan()
    assert listing.labels.tolist() == [10, 0]
    assert listing.classes == tuple(map(str, range(11)))


def test_padded_numbers_are_class_names(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "b.png")
    assert open_source(write_list(tmp_path / "l.csv", [("b.png", "007"), ("a.png", "010")])).scan().classes == (
        "007",
        "010",
    )


def test_absolute_paths_and_dots_never_reach_the_listing(tmp_path: Path) -> None:
    write(tmp_path, "data/x/a.png", "data/y/b.png", "lists/c.png")
    rows: list[tuple[object, object]] = [(tmp_path / "data/x/a.png", "1"), ("../data/y/b.png", "0")]
    source = open_source(write_list(tmp_path / "lists" / "l.csv", rows))
    listing = source.scan()
    assert listing.paths == ("x/a.png", "y/b.png")
    assert [source.read(entry) for entry in listing] == [b"data/x/a.png", b"data/y/b.png"]
    both = open_source(write_list(tmp_path / "lists" / "l.csv", [*rows, ("c.png", "1")])).scan()
    assert both.paths == ("data/x/a.png", "data/y/b.png", "lists/c.png")


def test_missing_files_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    spec = write_list(tmp_path / "l.csv", [("a.png", "1"), ("gone.png", "1"), ("lost.png", "0")])
    with pytest.raises(UsageError, match=r"2 missing.*gone\.png"):
        open_source(spec).scan()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it needs one called 'path'"),
        ("file,label\na.png,1\n", "it needs one called 'path'"),
        ("path,label\n", "no rows"),
        ("path,label\na.png\n", "row 1"),
        ("path,label\na.png,\n", "row 1"),
        ("path,label\na.png,1\n./a.png,1\n", "same name"),
        ("path,label\na.png,99999999999999\n", "below"),
        ('path,label\n"a.png,1\n', "cannot be read"),
        ("path,label\n.,1\n", "missing"),
    ],
)
def test_malformed_lists_are_refused(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, "a.png")
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        open_source(f"list:{tmp_path / 'l.csv'}").scan()


def test_broken_parquet_and_nulls_are_refused(tmp_path: Path) -> None:
    (tmp_path / "l.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UsageError, match="cannot be read"):
        open_source(f"list:{tmp_path / 'l.parquet'}")
    pq.write_table(pa.table({"path": ["a.png", None], "label": [1, 2]}), tmp_path / "l.parquet")
    with pytest.raises(UsageError, match="row 2"):
        open_source(f"list:{tmp_path / 'l.parquet'}")
    with pytest.raises(UsageError, match="cannot be read"):
        open_source(f"list:{tmp_path / 'absent.csv'}")


# ── real data ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif("MIXBAKE_DATA" not in os.environ, reason="MIXBAKE_DATA names no folder of extracted pictures")
@pytest.mark.parametrize("name", ["cifar10-small/train", "photos224-small/train"])
def test_real_pictures_decode_as_pillow_decodes_them(name: str) -> None:
    source = open_source(str(Path(os.environ["MIXBAKE_DATA"]) / name))
    listing = source.scan()
    for entry in [listing.entry(image) for image in range(0, len(listing), max(1, len(listing) // 40))]:
        with Image.open(Path(os.environ["MIXBAKE_DATA"]) / name / entry.path) as image:
            wanted = np.asarray(image.convert("RGB"), dtype=int)
        assert np.abs(decode(source.read(entry)) - wanted).max() <= 1
