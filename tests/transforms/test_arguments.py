"""What transforms and functions take: wrong arguments are refused at once, and values that say the same do the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import CLASSES, Bytes, Make
from PIL import Image

from mixbake import transforms
from mixbake.core.render import render
from mixbake.data.demo import draw_demo
from mixbake.data.pictures import open_pictures, prepared_side, resized
from mixbake.errors import UsageError
from mixbake.recipes.presets import BARE, find
from mixbake.transforms import AugMix, LayerMix, PixMix, RecipeTransform


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "layermixx"}, "did you mean layermix"),
        ({"preset": "pixmix-cifar"}, "is no layermix"),
        ({"preset": "pixmix"}, "preset 'pixmix' is no layermix"),
        ({"preset": "LAYERMIX"}, "unknown recipe 'LAYERMIX': did you mean layermix"),
        ({"sevrity": 3}, r"no parameter sevrity: did you mean severity\? It takes beta, "),
        ({"op_set": "layer11"}, r"unknown op set 'layer11': did you mean layer1\d\? Else choose from safe9, "),
        ({"severity": 11}, "severity 11 is out of range"),
        ({"no_such": 1}, "has no parameter no_such"),
        ({"views": "all"}, "choose mix or jsd"),
        ({"severity": "8"}, "severity '8' is not a number, as its default"),
        ({"severity": None}, "severity None is not a number"),
        ({"severity": True}, "severity True is not a number"),
        ({"severity": np.True_}, "severity True is not a number"),
        ({"severity": [8]}, "severity .8,. is not a number"),
        ({"severity": float("nan")}, "severity nan: give a number that is finite"),
        ({"beta": "x"}, "beta 'x' is not a number"),
        ({"min_posterize_bits": 1.5}, "min_posterize_bits 1.5 is not a whole number"),
        ({"layers": 3}, "layers 3 is not a list"),
        ({"layers": ["1"]}, "layers '1' is not a whole number"),
        ({"op_set": {}}, "op_set {} is not text"),
        ({"picture_flips": 1}, "picture_flips 1 is not true or false"),
        ({"no_such": {}}, "has no parameter no_such"),
        ({"preset": 3}, "preset is 3"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": True}, "seed is True"),
        ({"seed": -1}, "seed is -1: give a whole number from 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"size": 7}, "8 to 2048"),
        ({"return_provenance": "yaml"}, "return_provenance is 'yaml': choose"),
        ({"return_provenance": 1}, "return_provenance is 1: choose"),
        ({"mixing_set": None}, "give mixing_set, a folder"),
        (
            {"mixing_set": "no/such/folder"},
            "mixing_set 'no/such/folder' is no folder: give a folder of pictures, or frac",
        ),
        ({"mixing_set": ""}, "mixing_set '' is no folder: give a folder of pictures, or frac"),
        ({"mixing_set": ["ifs:count=2", ""]}, "mixing_set '' is no folder"),
        ({"mixing_set": "fractal"}, "mixing_set 'fractal' is no folder: did you mean fractals"),
        (
            {"mixing_set": ["ifs:count=2", "deadleafs:count=2"]},
            "'deadleafs:count=2' is no folder: did you mean deadleaves",
        ),
        ({"mixing_set": ["ifs:count=2", np.zeros((4, 4, 3), np.uint8)]}, "a ndarray beside names"),
        ({"mixing_set": ()}, "mixing_set is empty: give a folder of pictures, .* or a list of pictures"),
        ({"mixing_weights": 3.5}, "mixing_weights 3.5: give whole numbers"),
        ({"mixing_weights": "3,1"}, "mixing_weights '3,1': give whole numbers"),
        ({"mixing_weights": (3, 1)}, "mixing_weights 3,1 for 1 mixing sets .*one for each"),
        ({"mixing_weights": (1001,)}, "mixing_weights 1001 is out of range: 0 to 1000"),
        ({"mixing_weights": (0,)}, "mixing_weights are all 0"),
        ({"mixing_set": 5}, "mixing_set is a int"),
        ({"mixing_set": [np.zeros((4, 4), np.uint8)]}, "give H×W×3"),
        ({"mixing_set": [np.zeros((0, 4, 3), np.uint8)]}, "4×0 pixels holds nothing"),
        ({"mixing_set": [Image.new("RGB", (0, 4))]}, "0×4 pixels holds nothing"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options: dict[str, Any], message: str, make: Make) -> None:
    with pytest.raises(UsageError, match=message):
        make("layermix", **options)


@pytest.mark.parametrize("options", [{"severity": "8"}, {"op_set": {}}, {"no_such": {}}, {"preset": 3}], ids=str)
def test_functions_refuse_them_too(options: dict[str, Any], images: Bytes) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        transforms.layermix(images[0], images[1], 0, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"severity": np.int64(8)},
        {"severity": np.float64(8)},
        {"min_posterize_bits": np.int64(1)},
        {"min_posterize_bits": 1.0},
        {"layers": [np.int64(1), 2.0, 3]},
        {"picture_flips": np.True_},
    ],
    ids=str,
)
def test_values_that_say_the_same_do_the_same(options: dict[str, Any], make: Make, images: Bytes) -> None:
    assert np.array_equal(make("layermix", **options)(images, rng=1), make("layermix")(images, rng=1))
    once = transforms.layermix(images, images[1], 1)
    assert np.array_equal(transforms.layermix(images, images[1], 1, **options), once)


def test_functions_take_a_value_whatever_was_called_before(images: Bytes) -> None:
    wanted = transforms.pixmix(images, images[1], 1, k=np.int64(3))
    for k in (3, 3.0, np.float32(3)):
        assert np.array_equal(transforms.pixmix(images, images[1], 1, k=k), wanted)
    with pytest.raises(UsageError, match="k True is not a whole number"):
        transforms.pixmix(images, images[1], 1, k=True)


def test_the_largest_seed_is_good(make: Make, images: Bytes) -> None:
    assert make("layermix", seed=2**63 - 1)(images[0]).shape == images[0].shape


def test_only_recipes_that_mix_with_pictures_want_some(picture_folder: Path, images: Bytes) -> None:
    assert PixMix(partners="input")(images[0]).shape == (32, 32, 3)
    assert PixMix(partners="input").pictures(32) is None
    with pytest.warns(UserWarning, match="augmix-cifar mixes with no pictures: mixing_set is left alone") as said:
        given = AugMix(picture_folder)
    assert [one.filename for one in said] == [__file__]
    with pytest.warns(UserWarning, match="pixmix-cifar mixes with no pictures"):
        PixMix(picture_folder, partners="input")
    assert repr(given) == repr(AugMix())
    assert np.array_equal(given(images, rng=1), AugMix()(images, rng=1))
    with pytest.raises(UsageError, match="give preset"):
        RecipeTransform(picture_folder)
    any_recipe = RecipeTransform(picture_folder, preset="layermix-article")
    assert np.array_equal(
        any_recipe(images[0], rng=1), LayerMix(picture_folder, preset="layermix-article")(images[0], rng=1)
    )


def test_a_mixing_set_may_be_a_folder_its_name_its_pictures_or_opened(picture_folder: Path, images: Bytes) -> None:
    files = sorted(picture_folder.glob("*.png"))
    wanted = LayerMix(picture_folder, layers=(3,))(images, rng=1)
    opened = LayerMix(picture_folder, size=32).pictures(32)
    held = [Image.open(file).convert("RGB") for file in files]
    arrays = [np.asarray(one) for one in held]
    for mixing_set in (str(picture_folder), opened, held, arrays, arrays):
        assert np.array_equal(LayerMix(mixing_set, layers=(3,))(images, rng=1), wanted)
    with pytest.raises(UsageError, match="too small for 224"):
        LayerMix(opened)(draw_demo(0, size=224, split="train"))
    with pytest.raises(UsageError, match="gray and the recipe mixes colours"):
        PixMix(opened)(images)
    coloured = open_pictures(PixMix(picture_folder, size=32).pictures(32).path)
    assert np.array_equal(LayerMix(coloured, layers=(3,))(images, rng=1), wanted)


@pytest.mark.parametrize("family", BARE)
def test_functions_are_classes_for_one_picture(family: str, make: Make, images: Bytes) -> None:
    picture = draw_demo(3, size=90, split="test")[:, 5:]
    function, pictures = getattr(transforms, family), [] if family == "augmix" else [picture]
    transform = CLASSES[family](**{"mixing_set": pictures} if pictures else {})
    assert np.array_equal(function(images, *pictures, 5), transform(images, rng=5))
    made, variant = function(images[0], *pictures, rng=5, severity=2, return_provenance=True)
    gray = find(variant.recipe).gray_pictures
    prepared = resized(np.ascontiguousarray(picture), side=prepared_side(32), gray=gray)
    assert np.array_equal(render(variant, images[0], prepared, size=32), made)
    assert len(function(Image.fromarray(images[0]), *map(Image.fromarray, pictures), views="jsd")) == 3
    if pictures:
        with pytest.raises(UsageError, match="mixes with a picture: give one"):
            function(images[0], None)
        with pytest.raises(UsageError, match="no picture"):
            function(images[0], "picture.png")
        with pytest.raises(UsageError, match="4×0 pixels holds nothing"):
            function(images[0], np.zeros((0, 4, 3), np.uint8), 0)


def test_it_says_what_it_is(make: Make, picture_folder: Path) -> None:
    told = repr(make("layermix", severity=3, size=32))
    assert told == f"LayerMix(preset='layermix', mixing_set={str(picture_folder)!r}, size=32, views='mix', severity=3)"
