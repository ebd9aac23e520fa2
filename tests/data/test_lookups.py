"""Looking up: single images of a source are found by their paths, and nothing else is looked at."""

from pathlib import Path

import numpy as np
import pytest
from test_sources import write

from mixbake.data.sources import look_up, open_source
from mixbake.errors import UsageError


def test_every_listed_image_is_found_by_its_path(tmp_path: Path) -> None:
    names = ("dog/b.PNG", "dog/deep/er/a.jpeg", "cat/z.JPG")
    write(tmp_path / "images", *names)
    lines = "".join(f"images/{name},{name.partition('/')[0]}\n" for name in names)
    (tmp_path / "list.csv").write_text(f"path,label\n{lines}")
    for spec in (str(tmp_path / "images"), f"list:{tmp_path / 'list.csv'}", "demo:count=12,size=16"):
        source = open_source(spec)
        find = look_up(source)
        for entry in source.scan():
            assert np.array_equal(find(entry.path), source.read(entry))  # type: ignore[arg-type]  # bytes compare too
        assert find("dog/other.png") is None


def test_what_a_folder_does_not_list_is_not_found_in_it(tmp_path: Path) -> None:
    write(tmp_path, "root/dog/a.png", "root/dog/.b.png", "root/.dog/a.png", "root/dog/notes.txt", "a.png", "root/c.png")
    find = look_up(open_source(str(tmp_path / "root")))
    assert find("dog/a.png") == b"root/dog/a.png"
    for path in (
        "dog/.b.png", ".dog/a.png", "dog/notes.txt", "../a.png", "dog/../../a.png", "dog/../dog/a.png", "c.png", "dog",
        "", "/", "dog//a.png", f"{tmp_path}/a.png", "dog/a.png\0",
    ):  # fmt: skip
        assert find(path) is None, path


def test_one_image_is_found_without_a_look_at_the_others(tmp_path: Path) -> None:
    write(tmp_path, "dog/a.png", "cat/b.png")
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere")
    source = open_source(str(tmp_path))
    with pytest.raises(UsageError, match=r"gone\.png"):
        source.scan()
    assert look_up(source)("dog/a.png") == b"dog/a.png"


def test_a_source_that_is_not_there_is_no_place_to_look(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        look_up(open_source(str(tmp_path / "nowhere")))


def test_a_chosen_class_is_the_only_one_to_be_found(tmp_path: Path) -> None:
    write(tmp_path, "root/dog/a.png", "root/cat/b.png")
    (tmp_path / "classes.txt").write_text("dog\n")
    find = look_up(open_source(str(tmp_path / "root"), classes=tmp_path / "classes.txt"))
    assert find("dog/a.png") == b"root/dog/a.png"
    assert find("cat/b.png") is None
