"""WebDataset tars: every sample is listed, and no damage passes for fewer samples."""

import io
import json
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixbake.data.braces import expand_braces
from mixbake.data.sources import open_source
from mixbake.errors import UsageError

Member = tuple[str, bytes]


def write_tar(path: Path, members: list[Member], style: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=style) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, label: int, extension: str = "png") -> list[Member]:
    return [(f"{key}.{extension}", f"picture {key}".encode(errors="replace")), (f"{key}.cls", str(label).encode())]


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_shards_list_and_read_every_sample(tmp_path: Path, style: int) -> None:
    long = "long/" * 18 + "name"
    if style != tarfile.USTAR_FORMAT:
        long = "d\u00e9ep/" * 60 + "n\u00e4me" * 40
    write_tar(
        tmp_path / "t-0.tar", [*sample("b", 2), *sample("a", 0, "JPG"), ("a.json", b"{}"), ("README", b"")], style
    )
    write_tar(tmp_path / "t-1.tar", [*sample("./dir.v2/a", 1), *sample(long, 2)], style)
    source = open_source(f"wds:{tmp_path}/t-{{0..1}}.tar")
    listing = source.scan()
    assert set(listing.paths) == {"t-0.tar/a.JPG", "t-0.tar/b.png", "t-1.tar/dir.v2/a.png", f"t-1.tar/{long}.png"}
    assert list(listing.paths) == sorted(listing.paths)
    assert listing.classes == ("0", "1", "2")
    assert listing.ignored == 2
    labels = {entry.path: entry.label for entry in listing}
    assert labels["t-0.tar/b.png"] == 2
    assert labels["t-1.tar/dir.v2/a.png"] == 1
    for entry in listing:
        key = entry.path.partition("/")[2].rpartition(".")[0]
        blob = source.read(entry)
        assert isinstance(blob, bytes)
        assert blob.decode().removeprefix("picture ").removeprefix("./") == key
        assert len(blob) == entry.bytes


def test_globs_and_folders_of_the_same_shard_names(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        write_tar(tmp_path / folder / "000.tar", sample("k", 0))
    assert open_source(f"wds:{tmp_path}/*/*.tar").scan().paths == ("x/000.tar/k.png", "y/000.tar/k.png")
    assert open_source(f"wds:{tmp_path}/x/000.tar").scan().paths == ("000.tar/k.png",)
    source = open_source(f"wds:{tmp_path}/{{y,x}}/000.tar")
    assert [source.read(entry) for entry in source.scan()] == [b"picture k"] * 2


def test_classes_come_from_the_file_beside_the_first_tar(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", [*sample("k", 0), *sample("l", 2)])
    names = tmp_path / "classes.txt"
    names.write_text("zebra\nape\ncat\nunused\n")
    assert open_source(f"wds:{tar}").scan().classes == ("zebra", "ape", "cat", "unused")
    names.write_text("zebra\nape\n")
    with pytest.raises(UsageError, match="2 classes"):
        open_source(f"wds:{tar}").scan()


def described(key: str, label: int, document: object) -> list[Member]:
    return [*sample(key, label), (f"{key}.json", json.dumps(document).encode())]


def test_classes_come_from_the_json_members_when_all_have_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [*described("a", 2, {"class": "zebra"}), *described("b", 0, {"class": "ape"})])
    write_tar(tmp_path / "1.tar", [("c.json", b'{"class": "zebra"}'), *sample("c", 2), ("info.json", b"{}")])
    listing = open_source(f"wds:{tmp_path}/{{0,1}}.tar").scan()
    assert listing.classes == ("ape", "1", "zebra")
    assert listing.ignored == 1
    (tmp_path / "classes.txt").write_text("one\ntwo\nthree\n")
    assert open_source(f"wds:{tmp_path}/{{0,1}}.tar").scan().classes == ("one", "two", "three")


@pytest.mark.parametrize(
    "odd",
    [
        sample("b", 1),
        described("b", 1, {"class": None}),
        described("b", 1, {"class": 7}),
        described("b", 1, {"class": ""}),
        described("b", 1, ["class"]),
        described("b", 1, {"class": "ape", "long": " " * 70_000}),
        [*sample("b", 1), ("b.json", b"{")],
        [*sample("b", 1), ("b.json", b"[" * 60_000)],
        [*sample("b", 1), ("b.json", b"\xff\xfe")],
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_one_sample_without_a_class_leaves_numbers(tmp_path: Path, odd: list[Member], last: bool) -> None:
    named = described("a", 0, {"class": "ape"})
    tar = write_tar(tmp_path / "a.tar", [*named, *odd] if last else [*odd, *named])
    listing = open_source(f"wds:{tar}").scan()
    assert listing.classes == ("0", "1")
    assert listing.ignored == 1 + (len(odd) > 2)


def test_two_names_for_one_label_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", described("a", 0, {"class": "ape"}))
    write_tar(tmp_path / "1.tar", described("b", 0, {"class": "monkey"}))
    with pytest.raises(UsageError, match=r"'b' calls label 0 'monkey', another one calls it 'ape'"):
        open_source(f"wds:{tmp_path}/{{0,1}}.tar").scan()
    (tmp_path / "classes.txt").write_text("ape\n")
    assert open_source(f"wds:{tmp_path}/{{0,1}}.tar").scan().classes == ("ape",)
    (tmp_path / "classes.txt").unlink()
    write_tar(tmp_path / "2.tar", sample("c", 0))
    assert open_source(f"wds:{tmp_path}/{{0..2}}.tar").scan().classes == ("0",)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "no samples"),
        ([("a.json", b"{}")], "no samples"),
        ([("a.png", b"x")], "no .cls label"),
        ([("a.cls", b"1")], "no picture"),
        ([*sample("a", 0), *sample("b", 0), *sample("a", 0)], "twice"),
        ([*sample("a", 0), *sample("a", 0)], "two pictures"),
        ([("a.png", b"x"), ("a.jpg", b"x"), ("a.cls", b"1")], "two pictures"),
        ([("a.png", b"x"), ("b.txt", b""), ("a.cls", b"1")], "twice"),
        ([("a.png", b"x"), ("a.cls", b"cat")], "no class number"),
        ([("a.png", b"x"), ("a.cls", b"-1")], "no class number"),
        ([("a.png", b"x"), ("a.cls", b"1" * 18)], "no class number"),
        ([("a.png", b"x"), ("a.cls", b" " * 100 + b"1")], "no class number"),
        (sample("/etc/a", 0), "relative"),
        (sample("x/../../a", 0), "relative"),
        (sample("line\nbreak", 0), "rename"),
    ],
)
def test_incomplete_or_ambiguous_samples_are_refused(tmp_path: Path, members: list[Member], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        open_source(f"wds:{write_tar(tmp_path / 'a.tar', members)}").scan()
    assert str(caught.value).isprintable()


def test_names_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", sample("caf\udce9", 0), tarfile.GNU_FORMAT)
    with pytest.raises(UsageError, match="UTF-8"):
        open_source(f"wds:{tar}").scan()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_links_devices_and_sparse_members_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("odd.png")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(info)
    with pytest.raises(UsageError, match=r"odd\.png"):
        open_source(f"wds:{tmp_path}/a.tar").scan()


def test_folders_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("d.png")
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
        for name, data in sample("d.png/k", 0):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert open_source(f"wds:{tmp_path}/a.tar").scan().paths == ("a.tar/d.png/k.png",)


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_compressed_tars_are_refused(tmp_path: Path, compression: str) -> None:
    with tarfile.open(tmp_path / "a.tar", f"w:{compression}") as archive:  # type: ignore[call-overload]  # a mode from a list
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(UsageError, match="compressed"):
        open_source(f"wds:{tmp_path}/a.tar").scan()


def test_no_cut_of_a_tar_goes_unnoticed(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", [member for number in range(3) for member in sample(f"k{number}", number)])
    whole = tar.read_bytes()
    end = 3 * 4 * 512
    for cut in [*range(0, end + 1, 256), end - 1, end + 511]:
        tar.write_bytes(whole[:cut])
        with pytest.raises(UsageError):
            open_source(f"wds:{tar}").scan()


@given(st.integers(0, 11), st.integers(0, 511), st.integers(1, 255))
def test_no_flipped_header_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, block: int, at: int, flip: int
) -> None:
    tar = write_tar(
        tmp_path_factory.mktemp("flip") / "a.tar",
        [member for number in range(3) for member in sample(f"k{number}", number)],
    )
    data = bytearray(tar.read_bytes())
    before = open_source(f"wds:{tar}").scan()
    data[block * 512 + at] ^= flip
    tar.write_bytes(bytes(data))
    is_header = block % 2 == 0
    try:
        after = open_source(f"wds:{tar}").scan()
    except UsageError:
        return
    # The checksum field's own padding is the only part of a header that may change without harm.
    assert not is_header or 148 <= at < 156
    assert after.paths == before.paths


@pytest.mark.parametrize("data", [b"", b"hello", bytes(1024), b"x" * 2048])
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(UsageError):
        open_source(f"wds:{tmp_path}/a.tar").scan()


def test_a_size_that_leads_backwards_ends(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a.png")
        info.pax_headers = {"size": "-2048"}
        archive.addfile(info)
    with pytest.raises(UsageError, match="damaged"):
        open_source(f"wds:{tmp_path}/a.tar").scan()


def test_missing_and_repeated_shards_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", sample("a", 0))
    for pattern, said in [
        ("{0..1}.tar", r"1\.tar"),
        ("*.tgz", "no tar"),
        ("{0,0}.tar", "twice"),
        ("x/../{0,0}.tar", "twice"),
    ]:
        with pytest.raises(UsageError, match=said):
            open_source(f"wds:{tmp_path}/{pattern}")


def test_a_replaced_tar_is_read_anew_and_a_shrunk_one_is_an_os_error(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", [("k.png", b"old pixels"), ("k.cls", b"0")])
    source = open_source(f"wds:{tar}")
    entry = source.scan().entry(0)
    assert source.read(entry) == b"old pixels"
    write_tar(tmp_path / "new", [("k.png", b"new pixels"), ("k.cls", b"0")]).replace(tar)
    assert source.read(entry) == b"new pixels"
    tar.write_bytes(b"short")
    with pytest.raises(OSError, match="ends before"):
        source.read(entry)
    tar.unlink()
    with pytest.raises(FileNotFoundError):
        source.read(entry)


def test_a_tar_source_reads_in_another_process(tmp_path: Path) -> None:
    source = open_source(f"wds:{write_tar(tmp_path / 'a.tar', sample('k', 0))}")
    sent = pickle.dumps((source, source.scan().entry(0)))
    code = "import pickle, sys; s, e = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(s.read(e))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], input=sent, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"picture k", b"")


# ── braces ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pattern", "count", "first", "last"),
    [
        ("a{000..009}.tar", 10, "a000.tar", "a009.tar"),
        ("{8..11}", 4, "8", "11"),
        ("{08..11}", 4, "08", "11"),
        ("{2..0}", 3, "2", "0"),
        ("{a,b}/{0..1}", 4, "a/0", "b/1"),
        ("{a{0..1},b}", 3, "a0", "b"),
        ("{,x}y", 2, "y", "xy"),
        ("plain", 1, "plain", "plain"),
        ("{plain}{0..1}", 2, "{plain}0", "{plain}1"),
        ("{open{0..1}", 2, "{open0", "{open1"),
    ],
)
def test_braces_expand_as_in_a_shell(pattern: str, count: int, first: str, last: str) -> None:
    names = list(expand_braces(pattern))
    assert (len(names), names[0], names[-1]) == (count, first, last)


PATTERNS = st.recursive(
    st.text("01x.", max_size=2).map(lambda text: (text, [text])),
    lambda parts: st.one_of(
        st.lists(parts, min_size=2, max_size=3).map(
            lambda choices: (
                "{" + ",".join(written for written, _ in choices) + "}",
                [name for _, names in choices for name in names],
            )
        ),
        st.tuples(parts, parts).map(
            lambda pair: (pair[0][0] + pair[1][0], [left + right for left in pair[0][1] for right in pair[1][1]])
        ),
    ),
    max_leaves=8,
)
"""(pattern, what it stands for in order), built together."""


@given(PATTERNS)
def test_nested_and_joined_braces_give_every_combination_in_order(pattern: tuple[str, list[str]]) -> None:
    written, names = pattern
    assert list(expand_braces(written)) == names


def test_an_endless_range_is_refused() -> None:
    with pytest.raises(UsageError, match="more than"):
        open_source("wds:{0..999999999}.tar")
    with pytest.raises(UsageError, match=r"no tar|more than"):
        open_source("wds:" + "{0..999}" * 9)
