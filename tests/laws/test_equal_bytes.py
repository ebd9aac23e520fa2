"""One plan has one set of tar bytes, whatever the workers, the executor, restarts, or how N was reached."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bakes import bake, leftovers, samples, tars

from mixbake.core import render
from mixbake.data.demo import draw_demo
from mixbake.recipes.augmix import AugMix
from mixbake.recipes.ipmix import IPMix
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.pixmix import PixMix
from mixbake.recipes.recipe import Lot, Recipe, draw
from mixbake.storage.codecs import decode_stored

BLOCKS: dict[str, Any] = {"codec": "raw", "limit": 200, "epochs_worth": 2}
"""Several blocks, so that workers have something to share."""


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_make_no_difference(tmp_path: Path, many_images: Path, picture_folder: Path, jobs: int) -> None:
    bake(many_images, tmp_path / "here", picture_folder, **BLOCKS)
    bake(many_images, tmp_path / "there", picture_folder, executor="joblib", jobs=jobs, **BLOCKS)
    assert len(tars(tmp_path / "here")) > 4
    assert tars(tmp_path / "there") == tars(tmp_path / "here")


@pytest.mark.parametrize("views", ["mix", "jsd", "clean"])
def test_five_extended_to_ten_is_ten_at_once(
    tmp_path: Path, image_folder: Path, picture_folder: Path, views: str
) -> None:
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    bake(image_folder, grown, picture_folder, views=views, epochs_worth=5)
    before = tars(grown)
    bake(image_folder, grown, picture_folder, views=views, epochs_worth=10)
    bake(image_folder, whole, picture_folder, views=views, epochs_worth=10)
    assert tars(grown) == tars(whole)
    assert before.items() <= tars(grown).items()
    assert len(before) * 2 == len(tars(grown)) == 10 * {"mix": 1, "jsd": 3, "clean": 2}[views]
    assert not leftovers(grown)


def test_a_limited_bake_is_equal_however_often_it_is_asked_for(
    tmp_path: Path, image_folder: Path, picture_folder: Path
) -> None:
    for name in ("first", "second"):
        bake(image_folder, tmp_path / name, picture_folder, limit=9)
    assert tars(tmp_path / "first") == tars(tmp_path / "second")
    assert len(list(samples(tmp_path / "first"))) == 9


def test_the_place_of_source_and_output_makes_no_difference(
    tmp_path: Path, image_folder: Path, own_images: Path, picture_folder: Path
) -> None:
    bake(image_folder, tmp_path / "here", picture_folder)
    bake(own_images, tmp_path / "some" / "where" / "else", picture_folder)
    assert tars(tmp_path / "here") == tars(tmp_path / "some" / "where" / "else")
    manifests = [out / "manifest.json" for out in (tmp_path / "here", tmp_path / "some" / "where" / "else")]
    assert all(str(tmp_path) not in path.read_text().partition('"plan"')[2] for path in manifests)


STACKED: dict[str, Recipe] = {
    "layermix": LayerMix(op_set="layer16"),
    "layermix in colour": LayerMix(picture_colors="rgb", covariance="none"),
    "pixmix": PixMix(blend_weights=(1, 1, 1, 1)),
    "augmix": AugMix(op_set="ipmix15", law="composer"),
    "ipmix": IPMix(op_set="ipmix15", partners="both"),
}


@pytest.mark.parametrize("name", STACKED)
@pytest.mark.parametrize("crop", ["pad", "resized"])
def test_one_at_a_time_and_in_a_stack_give_the_same_pixels(name: str, crop: str) -> None:
    images = np.stack([draw_demo(number, size=40, split="train") for number in range(12)])
    size = 40 if crop == "pad" else 24
    prepared = [draw_demo(number, size=45, split="test") for number in range(5)]
    pictures = render.as_pictures(prepared)
    rows = np.arange(240)
    lot = Lot(
        seed=3,
        view="mix",
        images=rows // 20,
        numbers=rows % 20,
        shapes=np.full((240, 2), 40, np.int32),
        size=size,
        crop=crop,
        bake_flip=True,
        group=1,
        pictures=pictures[2],
    )
    table = draw(STACKED[name], lot, name=name)
    stack = render.render_stack(table, images, rows // 20, pictures, render.Canvas(size))
    for row in rows.tolist():
        variant = table.variant(row)
        picture = None if variant.picture is None else prepared[variant.picture.id]
        alone = render.render(variant, images[row // 20], picture, size=size)
        np.testing.assert_array_equal(alone, stack[row], err_msg=str(variant))


def test_the_codec_changes_bytes_but_no_pixel(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    """PNGs of this size are rendered a block at a time, arrays one by one."""
    pixels = {}
    for codec, extension in (("png", "png"), ("raw", "npy")):
        bake(image_folder, tmp_path / codec, picture_folder, codec=codec)
        found = {sample.key: sample.members[extension] for sample in samples(tmp_path / codec)}
        pixels[codec] = {key: decode_stored(data, codec).tobytes() for key, data in found.items()}
    assert len(pixels["png"]) == 40
    assert pixels["png"] == pixels["raw"]
