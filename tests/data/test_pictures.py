"""Mixing sets: one file, the same wherever it is prepared, never stale, never silently damaged."""

import itertools
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixing import noise, pixels_of, save
from numpy.typing import NDArray
from PIL import Image

from mixbake.data.pictures import prepare, prepared_side, resized
from mixbake.data.prepared import PictureSet
from mixbake.errors import Damage, PlanDiffers

quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def unpickled(data: bytes) -> PictureSet:
    pictures = pickle.loads(data)  # noqa: S301  bytes that this test made
    assert isinstance(pictures, PictureSet)
    return pictures


# ── What is stored ────────────────────────────────────────────────────────────────────────────────


def triangle(length: int, target: int) -> NDArray[np.float64]:
    """The antialiased bilinear filter as a float matrix[target, length]: a triangle around each centre."""
    scale = length / target
    reach = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    taps = np.maximum(0.0, 1 - abs(np.arange(length) + 0.5 - centres[:, None]) / reach)
    weights: NDArray[np.float64] = taps / taps.sum(axis=1, keepdims=True)
    return weights


@quick
@given(height=st.integers(1, 300), width=st.integers(1, 300), side=st.sampled_from([1, 7, 36, 110]))
def test_a_picture_is_the_antialiased_resize_of_its_central_cut(height: int, width: int, side: int) -> None:
    image = noise(height, width, height * 1000 + width)
    tall, wide = min(height, 4 * width), min(width, 4 * height)
    top, left = (height - tall) // 2, (width - wide) // 2
    short = min(tall, wide)
    down, across = triangle(tall, tall * side // short), triangle(wide, wide * side // short)
    cut = image[top : top + tall, left : left + wide].astype(np.float64)
    expected = across @ np.tensordot(down, cut, 1)  # over rows, then over columns

    result = resized(image, side=side, gray=False)

    assert result.shape == expected.shape
    assert min(result.shape[:2]) == side
    assert max(result.shape[:2]) <= 4 * side
    # Each pass rounds once, so the two together are off by one at most.
    assert abs(result - expected).max() <= 1.01


@quick
@given(height=st.integers(1, 120), width=st.integers(1, 120), side=st.sampled_from([9, 36]))
def test_the_vertical_pass_comes_first_whatever_the_shape(height: int, width: int, side: int) -> None:
    image = noise(height, width, height * 1000 + width)[: 4 * width, : 4 * height]
    picture = Image.fromarray(image)
    short = min(picture.size)
    high, wide = picture.height * side // short, picture.width * side // short
    first = picture.resize((picture.width, high), Image.Resampling.BILINEAR)
    expected = np.asarray(first.resize((wide, high), Image.Resampling.BILINEAR))

    assert np.array_equal(resized(image, side=side, gray=False), expected)


def test_gray_is_luma_of_the_resized_colours(folder: Path, tmp_path: Path) -> None:
    colour = prepare(str(folder), tmp_path / "out", size=32, gray=False)
    gray = prepare(str(folder), tmp_path / "out", size=32, gray=True)

    assert (colour.channels, gray.channels) == (3, 1)
    assert gray.names == colour.names
    for i in range(len(gray)):
        red, green, blue = np.moveaxis(colour.picture(i).astype(np.int64), 2, 0)
        assert np.array_equal(gray.picture(i)[..., 0], (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16)


@pytest.mark.parametrize(("size", "side"), [(1, 1), (16, 18), (32, 36), (64, 72), (65, 74), (96, 110), (224, 256)])
def test_the_short_side_leaves_room_for_a_crop(size: int, side: int) -> None:
    assert prepared_side(size) == side >= size


def test_columns_agree_with_each_other_and_with_the_file(folder: Path, tmp_path: Path) -> None:
    pictures = prepare(str(folder), tmp_path / "out", size=32, gray=False)

    assert pictures.names == ("a-b/c.PNG", "a/deep/er.jpg", "a/z.png", "b.png", "é.bmp")
    assert pictures.path == (tmp_path / "out" / f"{pictures.digest[:16]}.pictures").resolve()
    columns = (pictures.shapes, pictures.offsets, pictures.pixels)
    assert [str(column.dtype) for column in columns] == ["int32", "int64", "uint8"]
    assert pictures.skipped == ()
    assert pictures.side == 36
    for i, (offset, (height, width)) in enumerate(zip(pictures.offsets, pictures.shapes, strict=True)):
        assert pictures.picture(i).shape == (height, width, 3)
        assert pictures.picture(i).ravel()[0] == pictures.pixels[offset]
    assert pictures.picture(len(pictures) - 1).tobytes() == pictures.pixels[pictures.offsets[-1] :].tobytes()
    assert pictures.path.read_bytes().endswith(pictures.pixels.tobytes())
    for outside in (-1, len(pictures)):
        with pytest.raises(IndexError, match=str(outside)):
            pictures.picture(outside)


def test_pixels_begin_on_a_page_and_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    pictures = prepare(str(folder), tmp_path / "out", size=32, gray=False)

    assert (pictures.path.stat().st_size - pictures.pixels.size) % 4096 == 0
    with pytest.raises(ValueError, match="read-only"):
        pictures.picture(0)[0, 0] = 1


# ── The same everywhere ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("gray", [False, True])
def test_the_file_depends_on_neither_place_nor_time_nor_threads(folder: Path, tmp_path: Path, gray: bool) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    elsewhere = tmp_path / "other place" / "set"
    shutil.copytree(folder, elsewhere, copy_function=shutil.copyfile)
    os.utime(elsewhere / "b.png", (1, 1))

    first = prepare(str(folder), tmp_path / "1", size=32, gray=gray, jobs=1)
    second = prepare(str(elsewhere), tmp_path / "2", size=32, gray=gray, jobs=3)

    assert first.path.name == second.path.name
    assert first.path.read_bytes() == second.path.read_bytes()
    assert str(tmp_path).encode() not in first.path.read_bytes()


def test_a_second_preparation_reuses_the_file(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"")
    first = prepare(str(folder), tmp_path / "out", size=32, gray=False)
    written = first.path.stat()
    calls: list[tuple[str, int, int]] = []

    again = prepare(str(folder), tmp_path / "out", size=32, gray=False, progress=lambda *call: calls.append(call))

    assert again == first
    assert (again.path.stat().st_ino, again.path.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert calls == []


def other_pixels(path: Path) -> None:
    """Change a picture and nothing else: same length, same time of change."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x80
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


CHANGES: dict[str, Callable[[Path], object]] = {
    "pixels": lambda root: other_pixels(root / "é.bmp"),
    "renamed": lambda root: (root / "b.png").rename(root / "c.png"),
    "added": lambda root: save(root / "new.png", noise(40, 40, 9)),
    "removed": lambda root: (root / "b.png").unlink(),
    "swapped": lambda root: (
        (root / "b.png").rename(root / "t"),
        (root / "a/z.png").rename(root / "b.png"),
        (root / "t").rename(root / "a/z.png"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_the_pictures_gives_another_file(folder: Path, tmp_path: Path, change: str) -> None:
    before = prepare(str(folder), tmp_path / "out", size=32, gray=False)
    CHANGES[change](folder)
    after = prepare(str(folder), tmp_path / "out", size=32, gray=False)

    assert after.digest != before.digest
    assert pixels_of(after) == pixels_of(prepare(str(folder), tmp_path / "fresh", size=32, gray=False))
    assert pixels_of(after) != pixels_of(before)


def test_sizes_and_gray_live_side_by_side(folder: Path, tmp_path: Path) -> None:
    made = [
        prepare(str(folder), tmp_path / "out", size=size, gray=gray)
        for size, gray in itertools.product((32, 64), (False, True))
    ]

    assert len({pictures.digest for pictures in made}) == 4
    assert [(pictures.side, pictures.channels) for pictures in made] == [(36, 3), (36, 1), (72, 3), (72, 1)]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {pictures.path.name for pictures in made}


def test_a_picture_that_changes_meanwhile_is_refused(folder: Path, tmp_path: Path) -> None:
    def meddle(_what: str, done: int, _total: int) -> None:
        if done == 1:
            other_pixels(folder / "é.bmp")

    with pytest.raises(PlanDiffers, match=r"é\.bmp"):
        prepare(str(folder), tmp_path / "out", size=32, gray=False, progress=meddle)
    assert list((tmp_path / "out").iterdir()) == []


def test_work_runs_only_a_few_pictures_ahead(tmp_path: Path) -> None:
    for i in range(16):
        save(tmp_path / f"mixing/{i:02}.bmp", noise(40, 40, i))

    def dawdle(_what: str, done: int, _total: int) -> None:
        if done == 1:
            time.sleep(0.3)  # long enough to read all sixteen, were nothing to hold the threads back
            other_pixels(tmp_path / "mixing/15.bmp")

    with pytest.raises(PlanDiffers, match=r"15\.bmp"):
        prepare(str(tmp_path / "mixing"), tmp_path / "out", size=32, gray=False, jobs=2, progress=dawdle)


def test_progress_counts_every_picture_in_order(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"x")
    calls: list[tuple[str, int, int]] = []
    prepare(str(folder), tmp_path / "out", size=32, gray=False, jobs=2, progress=lambda *call: calls.append(call))
    assert calls == [("preparing mixing pictures", done, 6) for done in range(1, 7)]


def test_drawing_and_preparing_have_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXBAKE_CACHE", str(tmp_path / "cache"))
    calls: list[tuple[str, int, int]] = []
    for _ in range(2):
        prepare("fractals:count=2", tmp_path / "out", size=32, gray=True, progress=lambda *call: calls.append(call))
    drawn, prepared = "drawing fractals", "preparing mixing pictures"
    assert calls == [(drawn, 0, 2), (drawn, 1, 2), (drawn, 2, 2), (prepared, 1, 2), (prepared, 2, 2)]


# ── Sharing ───────────────────────────────────────────────────────────────────────────────────────


def test_a_pickle_is_small_and_opens_once_a_process(folder: Path, tmp_path: Path) -> None:
    pictures = prepare(str(folder), tmp_path / "out", size=224, gray=False)
    pickled = pickle.dumps(pictures)

    assert len(pickled) < 1000
    assert unpickled(pickled) is unpickled(pickled)
    assert unpickled(pickled) == pictures


CHILD = """
import hashlib, pickle, sys
pictures = pickle.load(sys.stdin.buffer)
print(hashlib.sha256(b"".join(pictures.picture(i).tobytes() for i in range(len(pictures)))).hexdigest())
"""


def test_another_process_in_another_folder_sees_the_same_pixels(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = prepare("mixing", Path("out"), size=32, gray=False)
    child = subprocess.run(
        [sys.executable, "-c", CHILD], input=pickle.dumps(pictures), capture_output=True, check=True, cwd="/"
    )
    assert child.stdout.decode().strip() == pictures.pixels_sha256


def test_a_pickle_of_a_file_that_was_replaced_is_refused(folder: Path, tmp_path: Path) -> None:
    pictures = prepare(str(folder), tmp_path / "out", size=32, gray=False)
    pickled = pickle.dumps(pictures)
    shutil.copyfile(prepare(str(folder), tmp_path / "out", size=32, gray=True).path, pictures.path)
    with pytest.raises(Damage, match=pictures.path.name):
        unpickled(pickled)


HUNGRY = """
import resource, sys
from pathlib import Path
from mixbake.data.pictures import prepare
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare(sys.argv[1] + "/one", Path(sys.argv[2]), size=32, gray=False, jobs=2)
before = peak()
prepare(sys.argv[1] + "/many", Path(sys.argv[2]), size=32, gray=False, jobs=2)
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    big = np.zeros((2000, 2000, 3), dtype=np.uint8)  # 12 MB each once decoded
    save(tmp_path / "one/0.png", big)
    for i in range(16):
        save(tmp_path / f"many/{i}.png", big + np.uint8(i))
    child = subprocess.run(
        [sys.executable, "-c", HUNGRY, str(tmp_path), str(tmp_path / "out")], capture_output=True, check=True
    )
    scale = 1 if sys.platform == "darwin" else 1024
    assert int(child.stdout) * scale < 100e6  # all sixteen together would be 192 MB
