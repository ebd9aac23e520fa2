"""The 15 corruptions: what holds for all of them, and their published constants."""

import itertools
from typing import Any

import numpy as np
import pytest
from corruption_facts import NAMES, PUBLISHED, demo, distance, flat, rng_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbake.core.rng import stream
from mixbake.errors import UsageError
from mixbake.evaluate.corruptions import CORRUPTIONS, SCALES, SEVERITIES, Scale, corrupt, corrupt_all, scale_of

NOT_DRAWN = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
# The published constants trade a large bend for many small ones: the bend moves more values.
NOT_BY_DISTANCE = {"elastic_transform"}

SIDES = (32, 224)
CASES = list(itertools.product(NAMES, SIDES))


def test_the_names_are_the_published_ones_in_their_order() -> None:
    assert list(CORRUPTIONS) == NAMES


@pytest.mark.parametrize("name", PUBLISHED)
def test_constants_are_the_published_ones(name: str) -> None:
    corruption = CORRUPTIONS[name]
    shown = [[value for (value,) in constants] for constants in (corruption.cifar, corruption.imagenet)]
    assert shown == list(PUBLISHED[name])
    for scale, column in zip(SCALES, PUBLISHED[name], strict=True):
        assert [corruption.constants(severity, scale)[0] for severity in SEVERITIES] == column


@pytest.mark.parametrize(("name", "side"), CASES)
def test_every_severity_gives_another_picture_of_the_same_kind_each_time_the_same(name: str, side: int) -> None:
    images = demo(side, 1)
    before = images.copy()
    images.flags.writeable = False
    made = [corrupt_all(images, name, severity, 5) for severity in SEVERITIES]
    for severity, corrupted in zip(SEVERITIES, made, strict=True):
        assert corrupted.shape == images.shape
        assert corrupted.dtype == np.uint8
        assert not np.array_equal(corrupted, before)
        assert np.array_equal(corrupted, corrupt_all(images, name, severity, 5))
    assert np.array_equal(images, before)
    assert all(not np.array_equal(one, other) for one, other in itertools.combinations(made, 2))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31), first=st.integers(0, 10**6), start=st.integers(0, 2), end=st.integers(2, 4))
def test_any_slice_gives_the_pixels_of_the_whole(name: str, seed: int, first: int, start: int, end: int) -> None:
    images = demo(32, 4)
    places = range(first, first + 4)
    whole = corrupt_all(images, name, 3, seed, places)
    assert np.array_equal(whole[start:end], corrupt_all(images[start:end], name, 3, seed, places[start:end]))
    rng = stream(seed, "corruption", name, 3, first + 1)
    assert np.array_equal(whole[1], corrupt(name, images[1], severity=3, scale="cifar", rng=rng))


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_places_draw_other_numbers_where_numbers_are_drawn(name: str) -> None:
    image = demo(32, 1)
    by_place = corrupt_all(image.repeat(6, axis=0), name, 4, 0)
    by_seed = np.concatenate([corrupt_all(image, name, 4, seed) for seed in range(6)])
    for made in (by_place, by_seed):
        # Two angles may be too near each other to tell; six are not.
        assert (made == made[0]).all() == (name in NOT_DRAWN)


@pytest.mark.parametrize(("name", "side"), [case for case in CASES if case[0] not in NOT_BY_DISTANCE])
def test_the_highest_severity_is_farther_from_the_picture_than_the_lowest(name: str, side: int) -> None:
    images = demo(side, 20 if side == 32 else 3)
    assert distance(corrupt_all(images, name, 5, 2), images) > distance(corrupt_all(images, name, 1, 2), images)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(16, 16), (19, 40), (70, 33)], ids=str)
def test_any_shape_keeps_its_shape(name: str, scale: Scale, shape: tuple[int, int]) -> None:
    image = demo(72, 1)[0, : shape[0], : shape[1]]
    for severity in (1, 5):
        corrupted = corrupt(name, image, severity=severity, scale=scale, rng=rng_of(name))
        assert corrupted.shape == image.shape
        assert corrupted.flags.c_contiguous


def test_the_size_decides_whose_constants_are_taken() -> None:
    assert [scale_of(side, side) for side in (32, 64, 65, 224)] == ["cifar", "cifar", "imagenet", "imagenet"]
    assert scale_of(32, 65) == scale_of(65, 32) == "imagenet"
    for side, scale in zip(SIDES, SCALES, strict=True):
        images = demo(side, 1)
        alone = corrupt("contrast", images[0], severity=2, scale=scale, rng=rng_of())
        assert np.array_equal(corrupt_all(images, "contrast", 2, 0)[0], alone)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "rain"}, "'rain'.*gaussian_noise.*jpeg_compression"),
        ({"severity": 0}, "1 to 5, not 0"),
        ({"severity": 6}, "1 to 5, not 6"),
        ({"scale": "mnist"}, "cifar, imagenet, not 'mnist'"),
        ({"image": np.zeros((32, 32, 3))}, "float64.*uint8"),
        ({"image": np.zeros((32, 32, 4), np.uint8)}, r"\(32, 32, 4\)"),
        ({"image": np.zeros((32, 32), np.uint8)}, r"\(32, 32\)"),
        ({"image": np.zeros((15, 32, 3), np.uint8)}, "at least 16"),
    ],
    ids=str,
)
def test_what_cannot_be_corrupted_is_refused(wrong: dict[str, Any], said: str) -> None:
    given = {"name": "contrast", "image": flat(9, 32), "severity": 1, "scale": "cifar", "rng": rng_of()} | wrong
    with pytest.raises(UsageError, match=said):
        corrupt(given.pop("name"), given.pop("image"), **given)


def test_sets_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="rain"):
        corrupt_all(demo(32, 1)[:0], "rain", 1, 0)
    with pytest.raises(UsageError, match="n×H×W×3"):
        corrupt_all(flat(0, 32), "contrast", 1, 0)
    assert corrupt_all(demo(32, 1)[:0], "contrast", 1, 0).shape == (0, 32, 32, 3)
