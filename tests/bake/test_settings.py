"""The common size of a source: from headers, the same as from whole files, refused when images differ."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixbake.bake.settings import HEADER_BYTES, common_size
from mixbake.data.sources import open_source
from mixbake.errors import UsageError

SIDEWAYS = 6


def noise(height: int, width: int) -> Image.Image:
    """Pixels that no codec makes small."""
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8))


def size_of(folder: Path) -> int:
    source = open_source(str(folder))
    return common_size(source, source.scan(), lambda _message: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images" / "class").mkdir(parents=True)
    return tmp_path / "images"


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_only_the_beginning_is_read(folder: Path, name: str) -> None:
    """The file is longer than any memory: reading it whole could not end well."""
    path = folder / "class" / name
    noise(200, 200).save(path)
    os.truncate(path, 1 << 43)
    assert size_of(folder) == 200


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif", "bmp", "ppm"])
def test_large_files_of_every_format_are_measured(folder: Path, suffix: str) -> None:
    path = folder / "class" / f"a.{suffix}"
    noise(320, 320).save(path, **({"quality": 100} if suffix in ("jpg", "webp") else {}))
    assert path.stat().st_size > HEADER_BYTES
    assert size_of(folder) == 320


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("padding", [0, 3 * HEADER_BYTES])
def test_orientation_counts_wherever_the_header_ends(folder: Path, suffix: str, padding: int) -> None:
    """A profile before the pixels moves their beginning behind what is read first."""
    exif = Image.Exif()
    exif[274] = SIDEWAYS
    path = folder / "class" / f"a.{suffix}"
    profile = np.random.default_rng(6).bytes(padding)
    noise(200, 320).save(path, exif=exif, icc_profile=profile, **({"quality": 100} if suffix == "jpg" else {}))
    assert path.stat().st_size > HEADER_BYTES
    with pytest.raises(UsageError, match=f"{path.name} is 200×320"):
        size_of(folder)


def test_what_differs_is_named_and_what_is_damaged_passed_over(folder: Path) -> None:
    for name, side in (("a.png", 200), ("c.png", 200), ("d.png", 201)):
        noise(side, side).save(folder / "class" / name)
    (folder / "class" / "b.jpg").write_bytes(b"\xff\xd8\xff" + bytes(2 * HEADER_BYTES))
    with pytest.raises(UsageError, match=r"d\.png is 201×201, others are 200×200"):
        size_of(folder)
    (folder / "class" / "d.png").unlink()
    assert size_of(folder) == 200
