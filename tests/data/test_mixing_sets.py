"""Several mixing sets become one file: each picture can be traced to its set, and one set alone is as it ever was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mixing import noise, pixels_of, save

from mixbake.data.pictures import prepare
from mixbake.data.prepared import PictureSet, open_pictures
from mixbake.errors import UsageError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """Three and two pictures; one name is in both, and holds another picture in each."""
    for seed, name in enumerate(("one/a.png", "one/deep/b.png", "one/z.png", "two/a.png", "two/c.png")):
        save(tmp_path / name, noise(40 + seed, 50, seed))
    return str(tmp_path / "one"), str(tmp_path / "two")


def prepared(sets: str | tuple[str, ...], out: Path, *, gray: bool = False, jobs: int = 1) -> PictureSet:
    return prepare(sets, out, size=32, gray=gray, jobs=jobs)


@pytest.mark.parametrize("gray", [False, True])
def test_pictures_come_set_by_set_and_say_of_which_they_are(
    folders: tuple[str, str], tmp_path: Path, gray: bool
) -> None:
    both = prepared(folders, tmp_path / "out", gray=gray)
    assert both.names == ("1/a.png", "1/deep/b.png", "1/z.png", "2/a.png", "2/c.png")
    assert (both.starts, both.counts) == ((0, 3), (3, 2))
    alone = [prepared(folder, tmp_path / "out", gray=gray) for folder in folders]
    assert [(one.starts, one.counts) for one in alone] == [((0,), (3,)), ((0,), (2,))]
    expected = {f"{i}/{name}": pixels for i, one in enumerate(alone, 1) for name, pixels in pixels_of(one).items()}
    assert pixels_of(both) == expected
    opened = open_pictures(both.path, check=True)
    assert (opened.starts, opened.names) == (both.starts, both.names)


def test_one_set_in_a_list_is_that_set(folders: tuple[str, str], tmp_path: Path) -> None:
    alone, listed = prepared(folders[0], tmp_path / "alone"), prepared(folders[:1], tmp_path / "listed")
    assert alone.path.read_bytes() == listed.path.read_bytes()
    head = alone.path.read_bytes()[:4096]
    assert b'"starts"' not in head


def test_the_file_depends_on_neither_place_nor_threads(folders: tuple[str, str], tmp_path: Path) -> None:
    elsewhere = tuple(str(shutil.copytree(folder, tmp_path / f"moved {i}")) for i, folder in enumerate(folders))
    one, other = prepared(folders, tmp_path / "out"), prepared(elsewhere, tmp_path / "other", jobs=3)
    assert one.path.read_bytes() == other.path.read_bytes()


def test_order_and_bounds_of_sets_are_part_of_the_file(folders: tuple[str, str], tmp_path: Path) -> None:
    """A folder of folders called 1 and 2 has the same names, and is one set."""
    for number, folder in enumerate(folders, 1):
        shutil.copytree(folder, tmp_path / "nested" / str(number))
    out = tmp_path / "out"
    found = [prepared(sets, out) for sets in (folders, folders[::-1], str(tmp_path / "nested"), (*folders, folders[0]))]
    assert len({one.digest for one in found}) == len({one.inputs for one in found}) == 4
    assert found[0].names == found[2].names
    assert [one.counts for one in found] == [(3, 2), (2, 3), (5,), (3, 2, 3)]
    assert prepared(folders, out).path == found[0].path


def test_what_cannot_be_read_is_left_out_of_its_set(folders: tuple[str, str], tmp_path: Path) -> None:
    Path(folders[0], "a.png").write_bytes(b"no picture")
    both = prepared(folders, tmp_path / "out")
    assert [name for name, _ in both.skipped] == ["1/a.png"]
    assert (both.starts, both.counts) == ((0, 2), (2, 2))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: [path.write_bytes(b"x") for path in folder.glob("*.png")],
            "none of the mixing set '.*two''s 2 ",
        ),
        (lambda folder: [path.unlink() for path in folder.glob("*.png")], "the mixing set '.*two' holds no picture"),
        (shutil.rmtree, "the mixing set '.*two' is no folder"),
    ],
    ids=["unreadable", "empty", "absent"],
)
def test_a_set_without_pictures_is_refused_by_name(
    folders: tuple[str, str], tmp_path: Path, spoil: object, message: str
) -> None:
    """Though the other set has some."""
    spoil(Path(folders[1]))  # type: ignore[operator]  # pytest's parameters have no types
    with pytest.raises(UsageError, match=message):
        prepared(folders, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize("blank", ["", " "], ids=repr)
def test_a_blank_name_is_not_the_folder_that_one_is_in(
    folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    """A variable of a shell that is not set gives one."""
    monkeypatch.chdir(folders[0])
    for sets in (blank, (folders[1], blank)):
        with pytest.raises(UsageError, match=f"the mixing set '{blank}' is no folder: give a folder of pictures"):
            prepared(sets, tmp_path / "out")
    assert prepared(".", tmp_path / "out").counts == (3,)


@pytest.fixture
def large_and_small(tmp_path: Path) -> tuple[str, str]:
    """A picture of 300 px, and three of which the largest has 40."""
    for seed, side in enumerate((8, 40, 39)):
        save(tmp_path / f"small/{seed}.png", noise(side, 200, seed))
    save(tmp_path / "large/a.png", noise(300, 300))
    return str(tmp_path / "large"), str(tmp_path / "small")


def test_a_quarter_of_the_output_is_large_enough(tmp_path: Path, large_and_small: tuple[str, str]) -> None:
    """For one picture of a set; up to four times they are enlarged, as published code does."""
    assert prepare(large_and_small, tmp_path / "out", size=160, gray=False).counts == (1, 3)


def test_a_set_of_nothing_but_small_pictures_is_refused(tmp_path: Path, large_and_small: tuple[str, str]) -> None:
    with pytest.raises(
        UsageError, match=r"set '.*small' is too small for 161 px: none of its 3 .* than 40 px .* 41 px"
    ):
        prepare(large_and_small, tmp_path / "out", size=161, gray=False)
    with pytest.raises(UsageError, match="the mixing set is too small for 161 px"):
        prepare(large_and_small[1], tmp_path / "out", size=161, gray=False)
    assert not list((tmp_path / "out").glob("*.pictures"))


def test_drawn_pictures_and_a_folder(folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXBAKE_CACHE", str(tmp_path / "cache"))
    both = prepared(("fractals:count=2", folders[1]), tmp_path / "out")
    assert both.names == ("1/fractal-000000.png", "1/fractal-000001.png", "2/a.png", "2/c.png")
    assert both.counts == (2, 2)


@pytest.mark.parametrize("starts", [[], [1, 3], [0, 0], [0, 5], [0, 9], [0, -1], ["x"], [0, 3, 2]], ids=str)
def test_a_header_of_impossible_sets_does_not_open(folders: tuple[str, str], tmp_path: Path, starts: object) -> None:
    from mixbake.data import prepared as module
    from mixbake.errors import Damage

    whole = prepared(folders, tmp_path / "out")
    header, start, _ = module._read_header(whole.path)
    forged = json.dumps(json.loads(header) | {"starts": starts}, sort_keys=True, separators=(",", ":")).encode()
    path = tmp_path / "forged.pictures"
    path.write_bytes(module._preamble(forged)[0] + whole.path.read_bytes()[start:])
    with pytest.raises(Damage, match=r"forged\.pictures"):
        open_pictures(path)


def test_shapes_and_offsets_run_through(folders: tuple[str, str], tmp_path: Path) -> None:
    both = prepared(folders, tmp_path / "out")
    lengths = both.shapes.prod(axis=1) * 3
    np.testing.assert_array_equal(both.offsets, np.cumsum(lengths) - lengths)
    assert both.shapes.min() == both.side == 36
