"""Every losslessly stored variant renders again, to the pixel, from its JSON, its source and the bake's pictures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bakes import bake, samples

from mixbake.core import render
from mixbake.core.variant import Crop, from_json
from mixbake.data.decode import decode
from mixbake.data.prepared import open_pictures
from mixbake.storage.codecs import decode_stored


def assert_replays(out: Path, source: Path, *, size: int, codec: str = "png", fitted: bool = False) -> int:
    """Render every sample of a bake again and compare; returns how many used a picture."""
    pictures = open_pictures(next((out / "mixing").iterdir()), check=True)
    mixed = 0
    for sample in samples(out):
        variant = from_json(sample.members["json"])
        pixels = decode((source / json.loads(sample.members["json"])["source"]).read_bytes())
        picture = None if variant.picture is None else pictures.picture(variant.picture.id)
        again = render.render(variant, square(pixels, size) if fitted else pixels, picture, size=size)
        stored = decode_stored(sample.members["npy" if codec == "raw" else codec], codec)
        np.testing.assert_array_equal(again, stored, err_msg=sample.key)
        assert sample.key == variant.key
        mixed += picture is not None
    return mixed


def square(pixels: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """The central square at the output size: what a padded crop of another size is taken from."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    window = Crop(kind="fit", left=(width - side) // 2, top=(height - side) // 2, width=side, height=side)
    return render.crop(pixels, window, size)


def test_small_pictures(mix_bake: Path, image_folder: Path) -> None:
    assert assert_replays(mix_bake, image_folder, size=32) > 10


def test_aligned_pairs_and_clean_crops(jsd_bake: Path, image_folder: Path) -> None:
    assert assert_replays(jsd_bake, image_folder, size=32) > 10


@pytest.mark.parametrize(
    "settings",
    [
        {"codec": "raw", "size": 72},
        {"codec": "png", "size": 72, "flip": "baked"},
        {"codec": "raw", "size": 24, "crop": "resized", "op_set": "layer16", "flip": "baked"},
        {"codec": "png", "size": 40, "crop": "fit", "recipe": "layermix-code"},
        {"codec": "png", "size": 24, "crop": "pad", "recipe": "layermix-article"},
        {"codec": "png", "size": 32, "crop": "pad", "recipe": "pixmix"},
        {"codec": "png", "size": 32, "crop": "pad", "recipe": "ipmix"},
        {"codec": "raw", "size": 224, "crop": "resized", "recipe": "pixmix"},
        {"codec": "png", "size": 224, "crop": "resized", "recipe": "ipmix"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_every_crop_and_lossless_codec(
    tmp_path: Path, picture_folder: Path, write_images: Callable[..., Path], settings: dict[str, Any]
) -> None:
    source = write_images(tmp_path / "images", 12, size=90)
    given = dict(settings)
    overrides = {name: given.pop(name) for name in ("op_set",) if name in given}
    bake(source, tmp_path / "out", picture_folder, overrides=overrides, epochs_worth=4, **given)
    fitted = settings.get("crop") == "pad"
    assert assert_replays(tmp_path / "out", source, size=settings["size"], codec=settings["codec"], fitted=fitted) > 5


@pytest.mark.parametrize(("recipe", "size"), [("augmix-cifar", 32), ("augmix-composer", 32), ("augmix-imagenet", 224)])
def test_without_any_picture(
    tmp_path: Path, picture_folder: Path, write_images: Callable[..., Path], recipe: str, size: int
) -> None:
    """A mixing set is passed over, and the bake holds none."""
    source, out = write_images(tmp_path / "images", 12, size=90), tmp_path / "out"
    bake(source, out, picture_folder, recipe=recipe, size=size, codec="png", views="jsd")
    assert not (out / "mixing").exists()
    seen = 0
    for sample in samples(out):
        variant = from_json(sample.members["json"])
        pixels = decode((source / json.loads(sample.members["json"])["source"]).read_bytes())
        again = render.render(variant, square(pixels, size) if size <= 64 else pixels, size=size)
        np.testing.assert_array_equal(again, decode_stored(sample.members["png"], "png"), err_msg=sample.key)
        assert variant.picture is None
        seen += bool(variant.steps)
    assert seen == 24


def test_the_index_holds_the_same_programs(mix_bake: Path) -> None:
    import pyarrow.parquet as pq

    indexed = {row["key"]: row for path in (mix_bake / "index").iterdir() for row in pq.read_table(path).to_pylist()}
    for sample in samples(mix_bake):
        told, row = json.loads(sample.members["json"]), indexed.pop(sample.key)
        assert json.loads(row["steps"]) == told["steps"]
        for name in ("image", "number", "view", "label", "class", "source", "layer", "ops", "levels", "blends", "flip"):
            assert row[name] == told[name], name
        assert row["picture"] == (told["picture"] or {"id": None})["id"]
        assert row["op"] == (told["ops"][0] if len(set(told["ops"])) == 1 else None)
        assert row["shard"] == sample.shard
    assert not indexed
