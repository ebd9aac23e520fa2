"""Promises of drawing: a variant depends on its own names alone, and is a program that the renderer takes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbake.core import programs, render
from mixbake.core.ops import OP_SETS, STEPS
from mixbake.core.programs import Programs
from mixbake.core.variant import Variant
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.plain import Plain
from mixbake.recipes.presets import RECIPES
from mixbake.recipes.recipe import Lot, Recipe, draw, draw_one

PICTURES = np.array([[40, 36], [36, 70], [36, 36]], np.int32)


def lot(images: Any, numbers: Any, **changed: Any) -> Lot:
    given: dict[str, Any] = {
        "seed": 5,
        "view": "mix",
        "images": np.asarray(images, np.int64),
        "numbers": np.asarray(numbers, np.int64),
        "shapes": np.full((len(images), 2), 32, np.int32),
        "size": 32,
        "crop": "pad",
        "bake_flip": True,
        "group": 1,
        "pictures": PICTURES,
    }
    return Lot(**given | changed)


def rows(table: Programs) -> list[Variant]:
    return [table.variant(row) for row in range(len(table))]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("crop", ["pad", "resized", "fit"])
@given(keys=st.lists(st.tuples(st.integers(0, 10**8 - 1), st.integers(0, 1999)), min_size=1, max_size=20))
@settings(deadline=None, max_examples=10)
def test_a_variant_does_not_depend_on_its_lot(name: str, crop: str, keys: list[tuple[int, int]]) -> None:
    images, numbers = zip(*keys, strict=True)
    recipe = RECIPES[name]
    together = rows(draw(recipe, lot(images, numbers, crop=crop), name=name))
    backwards = rows(draw(recipe, lot(images[::-1], numbers[::-1], crop=crop), name=name))
    assert backwards[::-1] == together
    for variant in together:
        alone = draw_one(
            recipe,
            name=name,
            image=variant.image,
            number=variant.number,
            image_hw=(32, 32),
            seed=5,
            view="mix",
            size=32,
            crop=crop,
            bake_flip=True,
            group=1,
            pictures=PICTURES,
        )
        assert alone == variant


@pytest.mark.parametrize("name", RECIPES)
def test_tables_and_variants_convert_without_loss(name: str) -> None:
    table = draw(RECIPES[name], lot(np.arange(200), np.arange(200) % 7), name=name)
    again = programs.from_variants(rows(table))
    assert rows(again) == rows(table)
    for column, other in zip(again.columns + again.provenance, table.columns + table.provenance, strict=True):
        shared = tuple(slice(0, min(pair)) for pair in zip(column.shape, other.shape, strict=True))
        if column is not again.pictures:
            np.testing.assert_array_equal(column[shared], other[shared])


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", [16, 33, 96])
def test_every_drawn_program_can_be_rendered(name: str, size: int) -> None:
    """The renderer refuses windows, registers and arguments out of range."""
    recipe = RECIPES[name]
    images = [np.full((size + 8, size, 3), 90, np.uint8), np.full((size, size + 40, 3), 90, np.uint8)]
    pictures = [np.zeros((size + 4, size + 4 + i, 1), np.uint8) for i in range(3)]
    shapes = np.array([image.shape[:2] for image in images], np.int32)
    keys = np.arange(150), np.zeros(150)
    wanted = lot(*keys, shapes=shapes[keys[0] % 2], size=size, crop="resized", pictures=shapes_of(pictures))
    table = draw(recipe, wanted, name=name)
    for row, variant in enumerate(rows(table)):
        picture = None if variant.picture is None else pictures[variant.picture.id]
        assert render.render(variant, images[row % 2], picture, size=size).shape == (size, size, 3)
    assert table.lengths.max() <= recipe.most.steps
    assert table.op_counts.max() <= recipe.most.ops
    assert table.blend_counts.max() <= recipe.most.blends
    used = np.arange(table.do.shape[1]) < table.lengths[:, None]
    # Blends alone may have six arguments, of which a box is four.
    boxed = used & (table.arities == 6) & (table.do < STEPS["weighted"].code)
    assert boxed.sum(axis=1).max() <= recipe.most.boxes
    assert (table.arities * used - 4 * boxed).sum(axis=1).max() <= recipe.most.arguments
    both = table.op_counts.astype(int) + table.blend_counts
    assert both.max() <= recipe.most.ops + recipe.most.blends - recipe.most.either


def shapes_of(pictures: list[Any]) -> Any:
    return np.array([picture.shape[:2] for picture in pictures], np.int32)


@pytest.mark.parametrize("recipe", [LayerMix(layers=layers) for layers in [(1,), (2,), (3,), (1, 3), (3, 2, 1)]])
def test_only_the_layers_asked_for_are_drawn(recipe: LayerMix) -> None:
    table = draw(recipe, lot(np.arange(400), np.zeros(400)), name="layermix")
    assert set(table.layers.tolist()) == set(recipe.layers)
    assert recipe.uses_pictures == (3 in recipe.layers)
    np.testing.assert_array_equal(table.pictures[:, 0] >= 0, table.layers == 3)


def test_programs_have_the_shape_of_their_layer() -> None:
    """Layer 1: op(x). Layer 2: blend(op(x), op(x)). Layer 3: op(blend(layer 2, picture))."""
    seen = set()
    for variant in rows(draw(LayerMix(), lot(np.arange(300), np.zeros(300)), name="layermix")):
        kinds = ["blend" if STEPS[step.do].sources == 2 else "op" for step in variant.steps]
        sources = [step.src for step in variant.steps]
        assert variant.layer is not None
        seen.add(variant.layer)
        assert kinds == {1: ["op"], 2: ["op", "op", "blend"], 3: ["op", "op", "blend", "blend", "op"]}[variant.layer]
        assert sources == [(0,), (0,), (2, 3), (4, 1), (5,)][: len(kinds)]
        assert len(set(variant.ops)) == 1
        assert [step.do for step in variant.steps if step.do in variant.blends] == list(variant.blends)
        assert set(variant.ops) <= set(OP_SETS["layer12"])
    assert seen == {1, 2, 3}


@pytest.mark.parametrize("recipe", [LayerMix(), Plain()])
def test_clean_views_are_the_bare_crop_of_their_group(recipe: Recipe) -> None:
    mixed = rows(draw(recipe, lot(np.arange(50), np.full(50, 6), group=2), name="r"))
    other = rows(draw(recipe, lot(np.arange(50), np.full(50, 7), group=2), name="r"))
    clean = rows(draw(recipe, lot(np.arange(50), np.full(50, 3), group=2, view="clean"), name="r"))
    for one, two, bare in zip(mixed, other, clean, strict=True):
        assert (one.crop, one.flip) == (two.crop, two.flip) == (bare.crop, bare.flip)
        assert (bare.steps, bare.ops, bare.blends, bare.layer, bare.picture) == ((), (), (), None, None)
        if one.picture and two.picture:
            assert one.picture == two.picture
    if isinstance(recipe, LayerMix):
        assert sum(one.steps != two.steps for one, two in zip(mixed, other, strict=True)) >= 48


def test_nothing_but_the_baked_flip_is_mirrored() -> None:
    table = draw(LayerMix(), lot(np.arange(100), np.zeros(100), bake_flip=False), name="layermix")
    assert not table.flips.any()
    assert draw(LayerMix(), lot(np.arange(100), np.zeros(100)), name="layermix").flips.any()


def test_pictures_come_from_weighted_sets() -> None:
    table = draw(
        LayerMix(layers=(3,)), lot(np.arange(200), np.zeros(200), mixing_sets=((1, 0), (2, 5))), name="layermix"
    )
    assert set(table.pictures[:, 0].tolist()) == {1, 2}
