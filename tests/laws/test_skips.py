"""An image that cannot be decoded is left out with its reason, counted, and never in silence."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from bakes import bake, leftovers, samples, tars

from mixbake.errors import PlanDiffers, TooManySkipped

BROKEN = {
    "ash/000.png": b"",
    "birch/007.jpg": b"\xff\xd8\xff\xe0 no jpeg after all",
    "cedar/005.jpg": None,  # cut off in the middle
}


@pytest.fixture
def damaged(own_images: Path) -> Path:
    """40 images, three of which cannot be decoded."""
    for name, data in BROKEN.items():
        path = own_images / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if data is None else data)
    return own_images


def skips(out: Path) -> list[dict[str, Any]]:
    return [skip for path in sorted((out / "receipts").iterdir()) for skip in json.loads(path.read_bytes())["skips"]]


@pytest.mark.parametrize("codec", ["png", "raw"])
def test_skips_are_told_with_their_reason_and_counted(
    tmp_path: Path, damaged: Path, picture_folder: Path, codec: str
) -> None:
    out = tmp_path / "out"
    built = bake(damaged, out, picture_folder, max_skip=0.1, epochs_worth=2, codec=codec, size=32)
    assert built.skipped == 3
    document = json.loads((out / "bake.json").read_bytes())
    assert (document["images"], document["skipped"], document["samples"]) == (37, 3, 74)
    told = skips(out)
    assert {skip["source"] for skip in told} == set(BROKEN)
    assert all(skip["reason"] and len(skip["sha256"]) == 64 for skip in told)
    rows = {row["source"]: row for row in pq.read_table(out / "images.parquet").to_pylist()}
    assert {name for name, row in rows.items() if row["skipped"]} == set(BROKEN)
    baked = {json.loads(sample.members["json"])["source"] for sample in samples(out)}
    assert baked == rows.keys() - BROKEN.keys()


def test_a_skipped_image_keeps_its_number(tmp_path: Path, damaged: Path, picture_folder: Path, mix_bake: Path) -> None:
    """So the variants of all others are those of the undamaged source."""
    bake(damaged, tmp_path / "out", picture_folder, max_skip=0.1, size=32)
    whole = {sample.key: sample.members["png"] for sample in samples(mix_bake)}
    kept = {sample.key: sample.members["png"] for sample in samples(tmp_path / "out")}
    assert len(kept) == 37
    assert kept.items() <= whole.items()


@pytest.mark.slow
def test_above_the_limit_the_build_ends_with_3_and_a_higher_limit_resumes(
    tmp_path: Path, damaged: Path, picture_folder: Path, mixbake: Any
) -> None:
    settings = {"codec": "raw", "size": 32, "epochs_worth": 2}
    out, whole = tmp_path / "out", tmp_path / "whole"
    options = ("--mixing-set", picture_folder, "--codec", "raw", "--size", 32, "-n", 2, "--seed", 7)
    done = mixbake("build", damaged, out, *options, "--executor", "inline")
    assert done.code == 3, done.err
    assert "--max-skip" in done.err.splitlines()[-1]
    assert any(name in done.err for name in BROKEN)
    assert not (out / "bake.json").exists()
    bake(damaged, out, picture_folder, max_skip=0.1, **settings)
    bake(damaged, whole, picture_folder, max_skip=0.1, **settings)
    assert tars(out) == tars(whole)
    assert skips(out) == skips(whole)
    assert not leftovers(out)


def test_the_limit_is_of_all_images_however_often_it_is_run(
    tmp_path: Path, damaged: Path, picture_folder: Path
) -> None:
    """Blocks that an earlier run kept count as well."""
    for _ in range(3):
        with pytest.raises(TooManySkipped):
            bake(damaged, tmp_path / "out", picture_folder, codec="raw", size=32, max_skip=0.05)
    assert not (tmp_path / "out" / "bake.json").exists()


def test_an_image_mended_between_build_and_extension_is_named(
    tmp_path: Path, damaged: Path, picture_folder: Path
) -> None:
    bake(damaged, tmp_path / "out", picture_folder, max_skip=0.1, size=32)
    path = damaged / "birch" / "007.jpg"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(PlanDiffers, match=r"birch/007\.jpg"):
        bake(damaged, tmp_path / "out", picture_folder, max_skip=0.1, size=32, epochs_worth=2)
