"""Every variant of every image is baked exactly once, under a key that is unique in the bake and holds no dot."""

import json
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bakes import bake, samples

KEY = re.compile(r"\d{8}-c?\d{4}", re.ASCII)


def keys(out: Path) -> list[str]:
    return [sample.key for sample in samples(out)]


def expected(images: list[int], mixes: int, cleans: int) -> set[str]:
    mixed = {f"{image:08d}-{number:04d}" for image in images for number in range(mixes)}
    return mixed | {f"{image:08d}-c{number:04d}" for image in images for number in range(cleans)}


@pytest.mark.parametrize(("views", "mixes", "cleans"), [("mix", 3, 0), ("clean", 3, 3), ("jsd", 6, 3)])
def test_every_image_has_every_number(
    tmp_path: Path, image_folder: Path, picture_folder: Path, views: str, mixes: int, cleans: int
) -> None:
    bake(image_folder, tmp_path / "out", picture_folder, views=views, epochs_worth=3)
    found = keys(tmp_path / "out")
    assert set(found) == expected(list(range(40)), mixes, cleans)
    assert max(Counter(found).values()) == 1
    assert all(KEY.fullmatch(key) for key in found)


@pytest.mark.parametrize("codec", ["png", "jpeg", "webp", "raw"])
def test_blocks_share_out_the_images(tmp_path: Path, many_images: Path, picture_folder: Path, codec: str) -> None:
    out = tmp_path / "out"
    built = bake(many_images, out, picture_folder, codec=codec, views="clean")
    assert len(list((out / "mix" / "v000").iterdir())) > 1
    assert Counter(keys(out)) == Counter(expected(list(range(450)), 1, 1))
    assert built.finished.document["samples"] == 900


def test_index_and_tars_tell_of_the_same_samples(jsd_bake: Path) -> None:
    rows = [row for path in sorted((jsd_bake / "index").iterdir()) for row in pq.read_table(path).to_pylist()]
    stored = {sample.key: sample for sample in samples(jsd_bake)}
    assert Counter(row["key"] for row in rows) == Counter(list(stored))
    for row in rows:
        sample = stored[row["key"]]
        assert row["shard"] == sample.shard
        assert int(sample.members["cls"]) == row["label"]
        with (jsd_bake / row["shard"]).open("rb") as file:
            file.seek(row["offset"])
            assert file.read(row["size"]) == sample.members["png"]


def test_images_are_told_once_with_their_labels(mix_bake: Path, image_folder: Path) -> None:
    rows = pq.read_table(mix_bake / "images.parquet").to_pylist()
    paths = sorted(path.relative_to(image_folder).as_posix() for path in image_folder.rglob("*.*"))
    assert [row["source"] for row in rows] == paths
    assert [row["number"] for row in rows] == list(range(40))
    assert [row["class"] for row in rows] == [path.partition("/")[0] for path in paths]
    labels = {row["number"]: row["label"] for row in rows}
    for sample in samples(mix_bake):
        told = json.loads(sample.members["json"])
        assert labels[told["image"]] == told["label"] == int(sample.members["cls"])
        assert told["source"] == paths[told["image"]]


def test_no_two_variants_of_an_image_are_the_same_program(mix_bake: Path) -> None:
    programs = Counter(
        (told["image"], json.dumps([told["steps"], told["crop"]]))
        for sample in samples(mix_bake)
        for told in [json.loads(sample.members["json"])]
    )
    # Some operations have no level: two bare equalizes on one crop do happen, but rarely.
    assert len(programs) >= 0.97 * 120
