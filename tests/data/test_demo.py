import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbake.data.demo import CLASSES, SPLITS, DemoSource, draw_demo, parse_demo
from mixbake.errors import UsageError

PINNED = [[281, 225, 196, 227], [293, 227, 349, 229], [254, 213, 551, 207], [256, 167, 232, 256]]

NUMBERS = st.integers(0, 999_999)


@settings(max_examples=30)
@given(NUMBERS, st.sampled_from((16, 17, 32, 64)), st.sampled_from(SPLITS))
@pytest.mark.slow
def test_a_drawing_is_a_function_of_its_arguments(number, size, split):
    image = draw_demo(number, size=size, split=split)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, draw_demo(number, size=size, split=split))


@pytest.mark.slow
@given(NUMBERS)
def test_numbers_and_splits_are_different_images(number):
    image = draw_demo(number, size=32, split="train")
    assert not np.array_equal(image, draw_demo(number, size=32, split="test"))
    assert not np.array_equal(image, draw_demo(number + len(CLASSES), size=32, split="train"))


@given(NUMBERS)
def test_the_shape_stands_out_from_its_ground(number):
    luminance = draw_demo(number, size=32, split="train") @ (0.299, 0.587, 0.114)
    assert np.percentile(luminance, 97) - np.percentile(luminance, 3) > 60


@given(NUMBERS)
def test_sizes_show_the_same_image(number):
    small = draw_demo(number, size=32, split="train").astype(float)
    large = draw_demo(number, size=128, split="train").reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - large).mean() < 4


def test_pixels_never_change():
    # Arithmetic is exact on every CPU: a change here is a change of the demo set, for everyone.
    image = draw_demo(4, size=16, split="train")
    assert image[::5, ::5].sum(axis=2).tolist() == PINNED


@settings(max_examples=20)
@given(st.integers(1, 300), st.sampled_from((16, 32)), st.sampled_from(SPLITS))
def test_a_listing_is_sorted_unique_and_balanced(count, size, split):
    listing = DemoSource(spec="demo", count=count, size=size, split=split).scan()
    assert len(listing) == count
    assert list(listing.paths) == sorted(set(listing.paths))
    assert np.ptp(np.bincount(listing.labels, minlength=len(CLASSES))) <= 1
    assert listing.classes == CLASSES


def test_every_row_reads_as_its_drawing():
    source = parse_demo("demo:count=25,size=16,split=test")
    for entry in source.scan():
        image = source.read(entry)
        assert np.array_equal(image, draw_demo(entry.image, size=16, split="test"))
        assert image.nbytes == entry.bytes
        assert CLASSES[entry.label] in entry.path
        assert entry.path.startswith("test/")


def test_sorted_order_is_number_order_at_the_largest_count():
    paths = DemoSource(spec="demo", count=1_000_000).scan().paths
    assert all(before < after for before, after in itertools.pairwise(paths))


def test_options_left_out_have_the_documented_values():
    assert parse_demo("demo") == DemoSource(spec="demo", count=2000, size=32, split="train")
    assert parse_demo("demo:split=test,size=64") == DemoSource(spec="demo:split=test,size=64", size=64, split="test")


@pytest.mark.parametrize(
    "options",
    [
        "count=0",
        "count=1000001",
        "count=-1",
        "count=two",
        "size=15",
        "size=1025",
        "size=32.5",
        "split=val",
        "seed=1",
        "",
    ],
)
def test_a_wrong_option_is_refused(options):
    with pytest.raises(UsageError, match="demo"):
        parse_demo(f"demo:{options}")


def test_another_name_is_refused():
    with pytest.raises(UsageError, match="demos"):
        parse_demo("demos")


def _set(split: str, count: int):
    images = np.stack([draw_demo(number, size=32, split=split) for number in range(count)])
    return images, np.arange(count) % len(CLASSES)


@pytest.mark.slow
def test_a_linear_classifier_on_pixels_learns_next_to_nothing():
    (train, labels), (test, truth) = _set("train", 2000), _set("test", 1000)
    features = train.reshape(2000, -1) / 255 - 0.5
    targets = np.eye(len(CLASSES))[labels] - 1 / len(CLASSES)
    gram = features @ features.T
    for ridge in (10.0, 1000.0):
        weights = features.T @ np.linalg.solve(gram + ridge * np.eye(2000), targets)
        guesses = ((test.reshape(1000, -1) / 255 - 0.5) @ weights).argmax(axis=1)
        assert (guesses == truth).mean() < 0.35


@pytest.mark.slow
def test_the_outline_alone_tells_the_class():
    # Shares of the shape's area at several radii from its centroid: blind to place, scale, angle and colour.
    (train, labels), (test, truth) = _set("train", 1500), _set("test", 500)
    known, asked = (np.stack([_radial_profile(image) for image in images]) for images in (train, test))
    centres = np.stack([known[labels == label].mean(axis=0) for label in range(len(CLASSES))])
    guesses = ((asked[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (guesses == truth).mean() > 0.6


def _radial_profile(image):
    pixels = image.reshape(-1, 3).astype(float)
    ground = np.median(np.concatenate((image[0], image[-1], image[:, 0], image[:, -1])), axis=0)
    away = np.abs(pixels - ground).sum(axis=1)
    inside = (away > 0.5 * np.percentile(away, 98)).reshape(32, 32)
    y, x = np.nonzero(inside)
    radius = np.sqrt((x - x.mean()) ** 2 + (y - y.mean()) ** 2)
    scaled = radius / np.percentile(radius, 98)
    filled = inside.sum() / (np.pi * np.percentile(radius, 98) ** 2)
    return np.array([*(np.histogram(scaled, bins=6, range=(0, 1.05))[0] / len(scaled)), filled])
