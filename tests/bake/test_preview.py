"""Promises of `mixbake preview`: the sheet shows what would be baked, few images are read, nothing else written."""

import json
import tarfile
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as quickly
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFont

from mixbake.bake.build import build
from mixbake.bake.preview import draw_preview
from mixbake.bake.settings import BuildSettings
from mixbake.bake.sheet import Cell, Row, cell_side, draw_sheet, fitting
from mixbake.data.demo import draw_demo
from mixbake.errors import StorageError, UsageError
from mixbake.progress import LineWatcher

Bytes = NDArray[np.uint8]

COUNT_READS = """
import sys
from pathlib import Path
from mixbake.bake.preview import draw_preview
from mixbake.bake.settings import BuildSettings
source, pictures, output = sys.argv[1:]
read = set()
sys.addaudithook(lambda event, given: read.add(str(given[0])) if event == "open" else None)
draw_preview(BuildSettings(source=source, mixing_set=pictures, out=Path(output).parent / "out"), Path(output))
print(sum(path.startswith(source + "/") and Path(path).is_file() for path in read))
"""


def quiet() -> LineWatcher:
    return LineWatcher(StringIO())


@pytest.fixture
def settings(tmp_path: Path, picture_folder: Path) -> Callable[..., BuildSettings]:
    def make(**given: Any) -> BuildSettings:
        quick: dict[str, Any] = {"source": "demo:count=40", "out": tmp_path / "out", "mixing_set": str(picture_folder)}
        return BuildSettings(**(quick | {"executor": "inline"} | given))

    return make


def pixels(path: Path) -> Bytes:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def enlarged(image: Bytes) -> Bytes:
    factor = cell_side(image.shape[0]) // image.shape[0]
    return image.repeat(factor, 0).repeat(factor, 1)


def place(sheet: Bytes, patch: Bytes) -> tuple[int, int] | None:
    """(top, left) where a patch lies in a sheet, every pixel of it."""
    first = patch[0].tobytes()
    for top in range(len(sheet) - len(patch) + 1):
        line = sheet[top].tobytes()
        start = line.find(first)
        while start >= 0:
            left = start // 3
            if np.array_equal(sheet[top : top + len(patch), left : left + patch.shape[1]], patch):
                return top, left
            start = line.find(first, start + 1)
    return None


def baked(out: Path) -> list[tuple[dict[str, Any], Bytes]]:
    """(JSON, pixels) of every sample of a bake."""
    found = []
    for shard in sorted(out.glob("*/*/*.tar")):
        with tarfile.open(shard) as archive:
            members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]  # all are files
        for name, data in members.items():
            if name.endswith(".png"):
                with Image.open(BytesIO(data)) as image:
                    found.append((json.loads(members[name[:-3] + "json"]), np.asarray(image.convert("RGB"))))
    return found


def oblong_images(folder: Path) -> Path:
    for number in range(40):
        path = folder / f"class{number % 10}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_demo(number, size=64, split="train")[number % 7 : 50]).save(path)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("oblong", [False, True], ids=["square", "oblong"])
@pytest.mark.parametrize("crop", ["pad", "resized"])
def test_the_sheet_shows_what_a_build_bakes(
    settings: Callable[..., BuildSettings], tmp_path: Path, oblong: bool, crop: str
) -> None:
    source = str(oblong_images(tmp_path / "images")) if oblong else "demo:count=40"
    asked = settings(source=source, size=32, crop=crop, flip="baked", views="clean", epochs_worth=12)
    draw_preview(asked, tmp_path / "sheet.png")
    build(asked, quiet())
    sheet = pixels(tmp_path / "sheet.png")
    places: dict[str, set[tuple[int, int]]] = {}
    first: set[tuple[int, str]] = set()
    for told, image in baked(tmp_path / "out"):
        name = "crop" if told["view"] == "clean" else f"layer {told['layer']}"
        # A sheet has the first variant of each layer, and the first crop.
        if (told["image"], name) not in first and (at := place(sheet, enlarged(image))):
            places.setdefault(name, set()).add(at)
        first.add((told["image"], name))
    assert sorted(places) == ["crop", "layer 1", "layer 2", "layer 3"]
    tops = {name: {top for top, _ in found} for name, found in places.items()}
    assert all(len(found) == 1 for found in tops.values())
    assert len(set.union(*tops.values())) == 4
    assert {left for _, left in places["crop"]} >= {left for found in places.values() for _, left in found}
    assert len(places["crop"]) == 8
    # Twelve numbers hold a given layer for all eight images but with 6 %.
    assert all(len(found) >= 6 for found in places.values())


def test_eight_sources_of_eight_classes_are_shown(settings: Callable[..., BuildSettings], tmp_path: Path) -> None:
    draw_preview(settings(), tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    drawn = {number: place(sheet, enlarged(draw_demo(number, size=32, split="train"))) for number in range(40)}
    found = {number: at for number, at in drawn.items() if at}
    assert len(found) == 8
    assert len({top for top, _ in found.values()}) == 1
    assert len({number % 10 for number in found}) == 8


def test_a_bare_crop_needs_no_pictures(settings: Callable[..., BuildSettings], tmp_path: Path) -> None:
    draw_preview(settings(recipe="plain", mixing_set=str(tmp_path / "nowhere")), tmp_path / "plain.png")
    draw_preview(settings(), tmp_path / "layers.png")
    assert len(pixels(tmp_path / "plain.png")) < len(pixels(tmp_path / "layers.png")) / 2


@pytest.mark.slow
def test_few_images_are_read_and_nothing_else_is_written(
    many_images: Path, picture_folder: Path, tmp_path: Path, python: Callable[..., Any]
) -> None:
    outcome = python(COUNT_READS, many_images, picture_folder, tmp_path / "sheet.png")
    assert outcome.code == 0, outcome.err
    assert 8 <= int(outcome.out) <= 8 + 16 + 32
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("flip", "words"),
    [("auto", "left to the trainer"), ("baked", "half of the crops"), ("none", "no image is mirrored")],
)
def test_the_text_says_who_flips(settings: Callable[..., BuildSettings], tmp_path: Path, flip: str, words: str) -> None:
    text = draw_preview(settings(flip=flip, recipe="plain"), tmp_path / "sheet.png")
    assert words in text
    assert ("--flip none" in text) == (flip != "none")
    assert str(tmp_path / "sheet.png") in text.splitlines()[0]


@pytest.mark.slow
def test_what_looks_wrong_is_said(settings: Callable[..., BuildSettings], tmp_path: Path) -> None:
    assert "warning" not in draw_preview(settings(), tmp_path / "sheet.png")
    text = draw_preview(settings(recipe="layermix-article"), tmp_path / "sheet.png")
    assert "warning: brightness overlaps ImageNet-C's corruptions: say so with any result" in text.splitlines()
    assert "enlarged" in draw_preview(settings(source="demo:count=40,size=24", size=32), tmp_path / "sheet.png")
    assert "central square" in draw_preview(settings(source="demo:count=40,size=48", size=32), tmp_path / "sheet.png")
    with pytest.raises(UsageError, match="--size 32 or --size 224"):
        draw_preview(settings(source=str(oblong_images(tmp_path / "images"))), tmp_path / "sheet.png")


def test_damaged_images_are_passed_over_and_named(
    settings: Callable[..., BuildSettings], own_images: Path, tmp_path: Path
) -> None:
    files = sorted(path for path in own_images.rglob("*") if path.is_file())
    for path in files[::3]:
        path.write_bytes(b"no picture")
    text = draw_preview(settings(source=str(own_images), size=32), tmp_path / "sheet.png")
    assert "8 of 40 images" in text
    assert "cannot be decoded" in text
    for path in files:
        path.write_bytes(b"no picture")
    with pytest.raises(UsageError, match="decoded"):
        draw_preview(settings(source=str(own_images), size=32), tmp_path / "sheet.png")


def test_a_sheet_appears_whole_or_not_at_all(settings: Callable[..., BuildSettings], tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        draw_preview(settings(recipe="plain"), tmp_path / "nowhere" / "sheet.png")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
@quickly(deadline=None, max_examples=25)
@given(
    size=st.sampled_from([8, 28, 32, 64, 96, 112, 224, 500]),
    rows=st.integers(1, 4),
    columns=st.integers(1, 9),
    lines=st.integers(0, 4),
)
def test_cells_lie_in_a_grid_and_never_overlap(size: int, rows: int, columns: int, lines: int) -> None:
    colours = [(0, 40 + 50 * row, 10 + 20 * column) for row in range(rows) for column in range(columns)]
    cells = [Cell(pixels=np.full((size, size, 3), colour, np.uint8), lines=("caption",) * lines) for colour in colours]
    named = [Row(name=f"row {i}", cells=tuple(cells[i * columns : (i + 1) * columns])) for i in range(rows)]
    with Image.open(BytesIO(draw_sheet(("a title",), named, size=size))) as image:
        sheet = np.asarray(image)
    side, tops, lefts = cell_side(size), set(), set()
    for colour in colours:
        down, across = np.nonzero((sheet == colour).all(axis=2))
        # A whole square of one colour: nothing was drawn over it, no caption, no neighbour.
        assert len(down) == side * side == (np.ptp(down) + 1) * (np.ptp(across) + 1)
        tops.add(int(down.min()))
        lefts.add(int(across.min()))
        if lines:
            below = sheet[down.max() + 1 : down.max() + 20, across.min() : across.max() + 1]
            assert (below < 128).any()
    assert (len(tops), len(lefts)) == (rows, columns)


@given(text=st.text(max_size=80), width=st.integers(0, 200))
def test_captions_keep_to_their_width(text: str, width: int) -> None:
    font = ImageFont.load_default(12)
    shown = fitting(text, font, width)
    assert font.getlength(shown) <= width or not shown
    assert shown.isprintable()
    if text.isprintable() and font.getlength(text) <= width:
        assert shown == text
