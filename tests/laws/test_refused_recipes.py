"""Recipes and mixing sets that cannot be baked are refused before OUT is made; what is merely odd is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bakes import Heard, bake

from mixbake.errors import UsageError

SLIPS: list[tuple[dict[str, Any], str]] = [
    ({"recipe": "pixmxi"}, "did you mean pixmix"),
    ({"recipe": "augmix-compsoer"}, "did you mean augmix-composer"),
    ({"recipe": "ipmx-cifar"}, "did you mean ipmix-cifar"),
    ({"recipe": "pixmix", "overrides": {"k": 99}}, "k 99 is out of range: 1 to 8"),
    ({"recipe": "pixmix", "overrides": {"beta": 0}}, "beta 0 is out of range: 0.01 to 100"),
    ({"recipe": "pixmix", "overrides": {"op_set": "layer12"}}, "'layer12'.*choose from safe9, all13"),
    ({"recipe": "pixmix", "overrides": {"partners": "none"}}, "choose from both, input, pictures"),
    ({"recipe": "augmix", "overrides": {"severity": 11}}, "severity 11 is out of range: 0.1 to 10"),
    ({"recipe": "augmix", "overrides": {"width": 9}}, "width 9 is out of range: 1 to 7"),
    ({"recipe": "augmix", "overrides": {"depth": 7}}, "depth .* 7 is out of range: 1 to 4"),
    ({"recipe": "augmix-composer", "overrides": {"severity": 0.5}}, "severity 0.5 is out of range: 1 to 10"),
    ({"recipe": "augmix", "overrides": {"k": 3}}, "no parameter k: it takes alpha, depth"),
    ({"recipe": "ipmix", "overrides": {"t": 9}}, "t 9 is out of range: 1 to 8"),
    ({"recipe": "ipmix", "overrides": {"patches": (1, 4)}}, "a side of 1 is out of range: 2 to 1024"),
    ({"recipe": "layermix", "overrides": {"severity": -1}}, "severity -1 is out of range: above 0, at most 10"),
    ({"recipe": "layermix", "overrides": {"min_posterize_bits": 2.5}}, "2.5 is out of range: 0 to 4, whole"),
    ({"recipe": "layermix", "overrides": {"layers": (1, 4)}}, "each of 1, 2, 3 at most once"),
    ({"recipe": "plain", "overrides": {"severity": 3}}, "no parameter severity: it takes no parameters"),
]


@pytest.mark.parametrize(("settings", "said"), SLIPS, ids=str)
def test_recipes_that_are_none_are_refused(
    tmp_path: Path, image_folder: Path, picture_folder: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        bake(image_folder, tmp_path / "out", picture_folder, **settings)
    assert not (tmp_path / "out").exists()


def empty(folder: Path) -> None:
    folder.mkdir()


def without_pictures(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")


def unreadable(folder: Path) -> None:
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        (folder / name).write_bytes(b"no picture")


def missing(folder: Path) -> None:
    """Leave it out."""


@pytest.mark.parametrize("recipe", ["layermix", "pixmix", "ipmix"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (empty, "holds no picture"),
        (without_pictures, "holds no picture"),
        (unreadable, r"none of the mixing set's 2 pictures can be read \(a\.png"),
        (missing, "is no folder: give a folder of pictures, or fractals"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_mixing_sets_that_are_none_are_refused(
    tmp_path: Path, image_folder: Path, recipe: str, make: Callable[[Path], None], said: str
) -> None:
    make(tmp_path / "pictures")
    with pytest.raises(UsageError, match=said):
        bake(image_folder, tmp_path / "out", tmp_path / "pictures", recipe=recipe)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("recipe", "overrides"), [("augmix", {}), ("plain", {}), ("pixmix", {"partners": "input"})], ids=str
)
def test_a_mixing_set_without_use_is_left_alone_and_named(
    tmp_path: Path, image_folder: Path, recipe: str, overrides: dict[str, Any]
) -> None:
    """Even one that could not be used."""
    heard = Heard()
    bake(image_folder, tmp_path / "out", tmp_path / "nowhere", heard, recipe=recipe, overrides=overrides, limit=2)
    said = [message for message in heard.messages if "mixes with no pictures" in message]
    assert len(said) == 1
    assert str(tmp_path / "nowhere") in said[0]
    assert not (tmp_path / "out" / "mixing").exists()


@pytest.mark.parametrize(
    ("recipe", "overrides", "overlap"),
    [
        ("pixmix", {}, "color, contrast, brightness, sharpness"),
        ("augmix-composer", {}, "color, contrast, brightness, sharpness"),
        ("layermix-article", {}, "brightness"),
        ("ipmix", {"op_set": "ipmix15"}, "color, contrast, brightness, sharpness"),
        ("ipmix", {}, None),
        ("layermix", {}, None),
        ("pixmix", {"op_set": "safe9"}, None),
        ("plain", {}, None),
    ],
    ids=str,
)
def test_operations_that_are_corruptions_too_are_said_before_anything_is_baked(
    tmp_path: Path,
    image_folder: Path,
    picture_folder: Path,
    recipe: str,
    overrides: dict[str, Any],
    overlap: str | None,
) -> None:
    out, said = tmp_path / "out", list[str]()

    class Early(Heard):
        def say(self, message: str) -> None:
            if "ImageNet-C" in message:
                assert not out.exists()
                said.append(message)

    bake(image_folder, out, picture_folder, Early(), recipe=recipe, overrides=overrides, limit=2)
    verb = "overlap" if overlap and "," in overlap else "overlaps"
    told = f"{overlap} {verb} ImageNet-C's corruptions: say so with any result"
    assert said == ([told] if overlap else [])
