"""The quick check of programs passes nothing that the check with messages refuses, and all that recipes draw."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mixbake.core.checks import check_rows, limits
from mixbake.core.kernels import bounds, codes, planes
from mixbake.core.programs import Programs
from mixbake.core.render import NO_PICTURES, as_pictures, frozen
from mixbake.core.variant import CROP_CODES
from mixbake.errors import UsageError
from mixbake.recipes.presets import RECIPES
from mixbake.recipes.recipe import Lot, draw

SIZE = 32
PICTURES = as_pictures([np.zeros((36, 40, 3), np.uint8), np.zeros((50, 36, 3), np.uint8)])
LIMITS = limits()
DRAWN = ("layermix-cifar", "pixmix-cifar", "ipmix-imagenet", "augmix-cifar")
EXTREMES = st.sampled_from([-(2**31), -1, 0, 1, 2, 5, 24, 31, 32, 33, 36, 40, 50, 2**31 - 1])


def drawn(name: str, *, crop: str = "pad", rows: int = 60) -> Programs:
    lot = Lot(
        seed=1,
        view="mix",
        images=np.arange(rows),
        numbers=np.zeros(rows, np.int64),
        shapes=np.full((rows, 2), SIZE, np.int32),
        size=SIZE,
        crop=crop,
        bake_flip=False,
        group=1,
        pictures=PICTURES[2],
    )
    return draw(RECIPES[name], lot, name=name)


def fits(table: Programs, pictures: tuple = PICTURES) -> bool:
    return bool(bounds.all_fit(table.columns, SIZE, SIZE, pictures, SIZE, LIMITS))


def refused(table: Programs) -> bool:
    try:
        check_rows(table, np.full((len(table), 2), SIZE, np.int32), PICTURES, SIZE)
    except UsageError:
        return True
    return False


@pytest.mark.parametrize("crop", CROP_CODES)
@pytest.mark.parametrize("name", RECIPES)
def test_what_recipes_draw_passes(name: str, crop: str) -> None:
    assert fits(drawn(name, crop=crop))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), recipe=st.sampled_from(DRAWN), crop=st.sampled_from(list(CROP_CODES)))
def test_it_is_never_more_lenient(data: st.DataObject, recipe: str, crop: str) -> None:
    """One number of a good program is replaced; what the quick check then passes, the other passes too."""
    table = drawn(recipe, crop=crop, rows=4)
    name = data.draw(st.sampled_from(["crops", "pictures", "lengths", "do", "sources", "args", "arities"]))
    column = getattr(table, name)
    row = data.draw(st.integers(0, 3))
    places = column.shape[1:2] if name in ("crops", "pictures", "lengths") else (int(table.lengths[row]),)
    assume(all(places))
    cell = (row, *(data.draw(st.integers(0, n - 1)) for n in (*places, *column.shape[2:])))
    info = np.iinfo(column.dtype)
    value = data.draw(st.one_of(EXTREMES, st.integers(info.min, info.max)))
    column[cell] = min(max(value, info.min), info.max)
    assert not (fits(table) and refused(table)), value


@pytest.mark.parametrize(
    ("column", "place", "value"),
    [
        ("crops", 0, 3),
        ("crops", 0, -1),
        ("crops", 3, SIZE + 1),
        ("crops", 1, 100_000),
        ("pictures", 0, 2),
        ("pictures", 1, 100),
        ("pictures", 2, -1),
        ("lengths", (), 100),
        ("lengths", (), -1),
        ("do", 0, 16),
        ("do", 0, 99),
        ("do", 0, -1),
        ("arities", 0, 9),
        ("arities", 0, -1),
        ("arities", 0, 5),
        ("sources", (0, 0), 2),
        ("sources", (0, 0), -1),
        ("sources", (0, 0), 127),
    ],
)
def test_each_thing_that_kernels_trust_is_looked_at(column: str, place: object, value: int) -> None:
    table = drawn("pixmix-cifar")
    row = int(np.flatnonzero((table.pictures[:, 0] >= 0) & (table.lengths > 1))[0])
    at = (row, *(place if isinstance(place, tuple) else (place,)))
    getattr(table, column)[at] = value
    assert not fits(table)
    assert refused(table)


def test_arguments_and_boxes_are_looked_at() -> None:
    for column, value in ((0, 16_000_001), (2, -1), (3, SIZE + 1), (4, 0), (5, SIZE + 1)):
        table = drawn("ipmix-cifar")
        row, step = map(int, np.argwhere((table.do == codes.ARITHMETIC) & (table.arities == 6))[0])
        table.args[row, step, column] = value
        assert not fits(table), column


@pytest.mark.parametrize("arity", range(-1, 10))
def test_a_blend_has_two_arguments_or_a_box_besides(arity: int) -> None:
    """With any other count a kernel would take what nobody has looked at for a box."""
    table = drawn("ipmix-cifar")
    row, step = map(int, np.argwhere((table.do == codes.ARITHMETIC) & (table.arities == 6))[0])
    table.arities[row, step] = arity
    assert (fits(table), refused(table)) == (arity in (2, 6), arity not in (2, 6))


def test_a_picture_that_is_read_must_be_there() -> None:
    table = drawn("pixmix-cifar")
    table.pictures[:, 0] = -1
    assert not fits(table)
    assert not fits(drawn("pixmix-cifar"), NO_PICTURES)
    short = (frozen(PICTURES[0][:-1]), *PICTURES[1:])
    assert not fits(drawn("pixmix-cifar"), short)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 5, 7), (0, 3, 4, 4)])
def test_planes_are_joined_and_split(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels, again = np.empty(image.size, np.uint8), np.empty(image.size, np.uint8)
    planes.join_planes(frozen(image.reshape(-1)), pixels, len(image))
    assert np.array_equal(pixels, image.transpose(0, 2, 3, 1).reshape(-1))
    planes.split_planes(frozen(pixels), again, len(image))
    assert np.array_equal(again, image.reshape(-1))
