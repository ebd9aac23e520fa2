"""Two bakes of one seed see the same crops and pictures, whatever their severity, operations or recipe."""

import json
from pathlib import Path
from typing import Any

import pytest
from bakes import bake, samples


def told(out: Path) -> dict[str, dict[str, Any]]:
    return {sample.key: json.loads(sample.members["json"]) for sample in samples(out)}


@pytest.mark.parametrize(
    "other",
    [
        {"overrides": {"severity": 3}},
        {"overrides": {"op_set": "layer16", "beta": 1.5}},
        {"recipe": "layermix-code"},
        {"recipe": "layermix-article"},
        {"recipe": "plain"},
    ],
    ids=str,
)
def test_crops_and_pictures_are_shared(
    tmp_path: Path, image_folder: Path, picture_folder: Path, other: dict[str, Any]
) -> None:
    bake(image_folder, tmp_path / "one", picture_folder, flip="baked", epochs_worth=2)
    bake(image_folder, tmp_path / "other", picture_folder, flip="baked", epochs_worth=2, **other)
    one, two = told(tmp_path / "one"), told(tmp_path / "other")
    assert one.keys() == two.keys()
    both = 0
    for key, first in one.items():
        second = two[key]
        assert (first["crop"], first["flip"]) == (second["crop"], second["flip"])
        if first["picture"] and second["picture"]:
            both += 1
            assert first["picture"] == second["picture"]
    assert both == 0 if other == {"recipe": "plain"} else both > 5
    assert any(one[key]["steps"] != two[key]["steps"] for key in one)


@pytest.mark.parametrize("recipe", ["pixmix", "ipmix-imagenet", "augmix"])
def test_other_recipes_see_the_same_crops_and_windows(
    tmp_path: Path, image_folder: Path, picture_folder: Path, recipe: str
) -> None:
    """Their pictures keep their colours and are never mirrored: the window is the same."""
    bake(image_folder, tmp_path / "one", picture_folder, flip="baked", epochs_worth=2)
    bake(image_folder, tmp_path / "other", picture_folder, epochs_worth=2, recipe=recipe)
    one, two = told(tmp_path / "one"), told(tmp_path / "other")
    both = 0
    for key, first in one.items():
        second = two[key]
        assert (first["crop"], first["flip"]) == (second["crop"], second["flip"])
        if first["picture"] and second["picture"]:
            both += 1
            assert all(first["picture"][name] == second["picture"][name] for name in ("id", "left", "top"))
            assert not any(second["picture"][name] for name in ("hflip", "vflip", "gray"))
    assert both == 0 if recipe == "augmix" else both > 5


def test_another_severity_changes_the_levels_only(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    """Of one recipe even layer, operation and blends are shared: the comparison is of severity alone."""
    bake(image_folder, tmp_path / "mild", picture_folder, overrides={"severity": 3})
    bake(image_folder, tmp_path / "harsh", picture_folder, overrides={"severity": 8})
    mild, harsh = told(tmp_path / "mild"), told(tmp_path / "harsh")
    for key, first in mild.items():
        for name in ("layer", "ops", "blends", "crop", "picture"):
            assert first[name] == harsh[key][name], name
    assert any(mild[key]["levels"] != harsh[key]["levels"] for key in mild)


def test_another_seed_shares_nothing(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    bake(image_folder, tmp_path / "one", picture_folder, seed=1, flip="baked")
    bake(image_folder, tmp_path / "other", picture_folder, seed=2, flip="baked")
    one, two = told(tmp_path / "one"), told(tmp_path / "other")
    assert sum(one[key]["crop"] == two[key]["crop"] for key in one) < 6
    assert sum(one[key]["steps"] == two[key]["steps"] for key in one) < 6


def test_an_aligned_pair_and_its_clean_crop_share_crop_and_flip(jsd_bake: Path) -> None:
    variants = told(jsd_bake)
    differ = 0
    for image in range(40):
        for group in range(2):
            first, second = (variants[f"{image:08d}-{number:04d}"] for number in (2 * group, 2 * group + 1))
            clean = variants[f"{image:08d}-c{group:04d}"]
            assert first["crop"] == second["crop"] == clean["crop"]
            assert first["flip"] == second["flip"] == clean["flip"]
            assert clean["steps"] == []
            assert clean["picture"] is None
            if first["picture"] and second["picture"]:
                assert first["picture"] == second["picture"]
            differ += first["steps"] != second["steps"]
    assert differ >= 76


def test_bakes_with_and_without_clean_crops_hold_the_same_variants(
    tmp_path: Path, image_folder: Path, mix_bake: Path, picture_folder: Path
) -> None:
    bake(image_folder, tmp_path / "clean", picture_folder, views="clean", epochs_worth=3)
    mixed = {sample.key: sample.members for sample in samples(mix_bake)}
    again = {sample.key: sample.members for sample in samples(tmp_path / "clean") if "c" not in sample.key}
    assert again == mixed
