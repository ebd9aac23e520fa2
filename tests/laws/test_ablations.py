"""Every ablation bakes real pictures, verifies and renders each variant again; of one seed all are paired."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from bakes import bake, samples

from mixbake.audit.verify import Checks, verify

pytestmark = pytest.mark.skipif("MIXBAKE_DATA" not in os.environ, reason="MIXBAKE_DATA names no folder of pictures")
IMAGES = 24
SAME_PROGRAMS = ("as it is", "colour", "never mirrored", "two sets")
"""Where only pictures differ."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "covariance none": {"overrides": {"covariance": "none"}},
    "covariance of both": {"overrides": {"covariance": "op_and_blend"}},
    "colour": {"overrides": {"picture_colors": "rgb"}},
    "never mirrored": {"overrides": {"picture_flips": False}},
    "masks alone": {"overrides": {"blend_weights": (0, 0, 1, 1)}},
    "layer 3 alone": {"overrides": {"layers": (3,)}},
    "pixmix, gray and mirrored": {
        "recipe": "pixmix",
        "overrides": {"picture_colors": "gray", "picture_flips": True, "blend_weights": (1, 1, 1, 1)},
    },
    "ipmix, mirrored": {"recipe": "ipmix", "overrides": {"picture_flips": True, "blend_weights": (1, 0, 0, 1)}},
    "two sets": {"mixing_weights": (1, 3)},
}


@pytest.fixture(scope="module")
def mixing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Four fractals, and two others."""
    folder = tmp_path_factory.mktemp("mixing")
    found = sorted(path for path in Path(os.environ["MIXBAKE_DATA"], "fractals").rglob("*") if path.is_file())[:6]
    for number, path in enumerate(found):
        (folder / str(number // 4)).mkdir(exist_ok=True)
        shutil.copy(path, folder / str(number // 4) / path.name)
    return folder / "0", folder / "1"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, mixing: tuple[Path, Path]) -> dict[str, dict[str, dict[str, Any]]]:
    """What the JSON of each bake's samples says, by key."""
    source, found = Path(os.environ["MIXBAKE_DATA"], "cifar10-small", "train"), {}
    for name, given in ABLATIONS.items():
        out = tmp_path_factory.mktemp("ablations") / "out"
        settings = {"limit": IMAGES, "epochs_worth": 2, "flip": "baked"} | given
        if "mixing_weights" in given:
            settings["mixing_set"] = tuple(map(str, mixing))
        bake(source, out, mixing[0], **settings)
        verified = verify(out, Checks(full=True, decode=True, replay=2 * IMAGES, source=str(source)))
        assert (verified.intact, verified.replayed, verified.differing) == (True, 2 * IMAGES, ()), (
            name,
            verified.faults,
        )
        found[name] = {sample.key: json.loads(sample.members["json"]) for sample in samples(out)}
    return found


def test_all_of_one_seed_share_crops_and_windows(told: dict[str, dict[str, dict[str, Any]]]) -> None:
    first = told["as it is"]
    for name, other in told.items():
        assert other.keys() == first.keys()
        same = all(other[key]["steps"] == first[key]["steps"] for key in first)
        assert same == (name in SAME_PROGRAMS), name
        for key, document in first.items():
            one, two = document["picture"], other[key]["picture"]
            assert (document["crop"], document["flip"]) == (other[key]["crop"], other[key]["flip"])
            if one and two and name != "two sets":
                assert [one[field] for field in ("id", "left", "top")] == [
                    two[field] for field in ("id", "left", "top")
                ]


def test_each_is_what_its_name_says(told: dict[str, dict[str, dict[str, Any]]]) -> None:
    def pictures(name: str) -> list[dict[str, Any]]:
        return [document["picture"] for document in told[name].values() if document["picture"]]

    assert any(len(set(document["ops"])) > 1 for document in told["covariance none"].values())
    both = [document["blends"] for document in told["covariance of both"].values() if len(document["blends"]) == 2]
    assert both
    assert all(one == two for one, two in both)
    assert all(picture["gray"] for picture in pictures("as it is"))
    assert not any(picture["gray"] for picture in pictures("colour"))
    assert not any(picture["hflip"] or picture["vflip"] for picture in pictures("never mirrored"))
    assert any(picture["hflip"] for picture in pictures("pixmix, gray and mirrored"))
    masked = [blend for document in told["masks alone"].values() for blend in document["blends"]]
    assert set(masked) == {"pixel", "element"}
    assert {document["layer"] for document in told["layer 3 alone"].values()} == {3}
    assert {picture["id"] for picture in pictures("two sets")} & {4, 5}
