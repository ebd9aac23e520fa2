"""A bake is plain tar, PNG or JPEG, JSON and Parquet: stock tools read every sample, and headers never vary."""

import importlib.util
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from bakes import bake, samples
from PIL import Image

from mixbake.storage.codecs import decode_stored

EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}


@pytest.fixture(scope="module", params=[("png", 32), ("png", 72), ("jpeg", 72), ("webp", 72)], ids=str)
def coded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    write_images: Callable[..., Path],
    picture_folder: Path,
) -> tuple[Path, str, int]:
    """A bake of 12 images in each codec: (folder, codec, size)."""
    codec, size = request.param
    folder = tmp_path_factory.mktemp("coded")
    source = write_images(folder / "images", 12, size=size)
    bake(source, folder / "out", picture_folder, codec=codec, views="clean", epochs_worth=2)
    return folder / "out", codec, size


def test_tarfile_lists_every_member_with_a_fixed_header(coded: tuple[Path, str, int]) -> None:
    out, codec, _ = coded
    for path in sorted(out.rglob("*.tar")):
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
        assert len(members) == 3 * 12
        for member in members:
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            assert (member.uname, member.gname, member.linkname, member.pax_headers) == ("", "", "", {})
            assert member.isreg()
        extensions = [member.name.partition(".")[2] for member in members]
        assert extensions == [EXTENSIONS[codec], "cls", "json"] * 12
        assert path.stat().st_size % 512 == 0
        assert path.read_bytes()[-1024:] == bytes(1024)


def test_pillow_opens_every_picture(coded: tuple[Path, str, int]) -> None:
    out, codec, size = coded
    opened = 0
    for sample in samples(out):
        data = sample.members[EXTENSIONS[codec]]
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.mode, image.size) == (codec.upper(), "RGB", (size, size))
            image.load()
            pixels = np.asarray(image)
        if codec == "png":
            np.testing.assert_array_equal(pixels, decode_stored(data, codec))
        opened += 1
    assert opened == 4 * 12


READ_ALL = """
import json, sys, warnings
warnings.simplefilter("ignore")
import webdataset
shards = sys.argv[1:]
reader = webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8")
for sample in reader:
    extension = next(name for name in sample if name in ("png", "jpg", "webp"))
    picture = sample[extension]
    print(json.dumps([sample["__key__"], list(picture.shape), int(picture.sum()), sample["cls"], sample["json"]]))
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("webdataset") is None, reason="webdataset is in the train extra")
def test_stock_webdataset_reads_every_sample(coded: tuple[Path, str, int], python: Callable[..., Any]) -> None:
    out, codec, size = coded
    done = python(READ_ALL, *sorted(out.rglob("*.tar")))
    assert done.code == 0, done.err
    read = {key: rest for key, *rest in map(json.loads, done.out.splitlines())}
    stored = {sample.key: sample.members for sample in samples(out)}
    assert read.keys() == stored.keys()
    assert len(done.out.splitlines()) == 4 * 12
    for key, (shape, total, label, told) in read.items():
        members = stored[key]
        with Image.open(io.BytesIO(members[EXTENSIONS[codec]])) as image:
            assert total == int(np.asarray(image).sum())
        assert shape == [size, size, 3]
        assert label == int(members["cls"]) == told["label"]
        assert told == json.loads(members["json"])


def test_numpy_opens_raw_members(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    bake(image_folder, tmp_path / "out", picture_folder, codec="raw", limit=5)
    arrays = [np.load(io.BytesIO(s.members["npy"]), allow_pickle=False) for s in samples(tmp_path / "out")]
    assert [(array.shape, array.dtype) for array in arrays] == [((32, 32, 3), np.uint8)] * 5


def test_duckdb_reads_the_index(jsd_bake: Path) -> None:
    query = """
        SELECT view, count(*), count(DISTINCT key), count(DISTINCT shard), sum(CAST(picture IS NOT NULL AS INT))
        FROM read_parquet(?) GROUP BY view ORDER BY view
    """
    rows = duckdb.execute(query, [str(jsd_bake / "index" / "*.parquet")]).fetchall()
    (clean, *clean_counts, clean_mixed), (mix, *mix_counts, mix_mixed) = rows
    assert (clean, clean_counts, clean_mixed) == ("clean", [80, 80, 2], 0)
    assert (mix, mix_counts) == ("mix", [160, 160, 4])
    assert 160 / 3 - 25 < mix_mixed < 160 / 3 + 25
