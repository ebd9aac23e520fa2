"""The 15 corruptions against their published constants and against plain statements of each step."""

import colorsys
import itertools
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from mixbake.core.rng import stream
from mixbake.data.demo import draw_demo
from mixbake.errors import UsageError
from mixbake.evaluate import blurs, digital, filters, ice, weather
from mixbake.evaluate.corruptions import CORRUPTIONS, SCALES, SEVERITIES, Scale, corrupt, corrupt_all, scale_of

Image = NDArray[np.uint8]

# arXiv 1903.12261, table 1, left to right.
NAMES = [
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
]  # fmt: skip

# github.com/hendrycks/robustness, ImageNet-C/create_c: make_cifar_c.py, then make_imagenet_c.py.
PUBLISHED = {
    "gaussian_noise": ([0.04, 0.06, 0.08, 0.09, 0.1], [0.08, 0.12, 0.18, 0.26, 0.38]),
    "shot_noise": ([500, 250, 100, 75, 50], [60, 25, 12, 5, 3]),
    "impulse_noise": ([0.01, 0.02, 0.03, 0.05, 0.07], [0.03, 0.06, 0.09, 0.17, 0.27]),
    "brightness": ([0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5]),
    "contrast": ([0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05]),
    "pixelate": ([0.95, 0.9, 0.85, 0.75, 0.65], [0.6, 0.5, 0.4, 0.3, 0.25]),
    "jpeg_compression": ([80, 65, 58, 50, 40], [25, 18, 15, 10, 7]),
}
NOT_DRAWN = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
# The published constants trade a large bend for many small ones: the bend moves more values.
NOT_BY_DISTANCE = {"elastic_transform"}

SIDES = (32, 224)
CASES = list(itertools.product(NAMES, SIDES))
EACH = list(itertools.product(SCALES, SEVERITIES))


def demo(side: int, count: int, first: int = 0) -> Image:
    return np.stack([draw_demo(number, size=side, split="test") for number in range(first, first + count)])


def flat(level: int, side: int) -> Image:
    return np.full((side, side, 3), level, np.uint8)


def rng_of(*path: str | int) -> np.random.Generator:
    return stream("test", *path)


def distance(one: Image, other: Image) -> float:
    return float(((one.astype(np.float64) - other) ** 2).mean())


# ── all of them ───────────────────────────────────────────────────────────────────────────────────


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
    whole = corrupt_all(images, name, 3, seed, first=first)
    assert np.array_equal(whole[start:end], corrupt_all(images[start:end], name, 3, seed, first=first + start))
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


# ── noise ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("scale", "severity"), EACH)
def test_noise_on_grey_has_the_spread_of_its_constant(scale: Scale, severity: int) -> None:
    grey = flat(128, 160)
    column = SCALES.index(scale)
    spread = PUBLISHED["gaussian_noise"][column][severity - 1]
    photons = PUBLISHED["shot_noise"][column][severity - 1]
    share = PUBLISHED["impulse_noise"][column][severity - 1]
    made = {name: corrupt(name, grey, severity=severity, scale=scale, rng=rng_of(name, severity)) for name in NAMES[:3]}
    if spread < 0.2:  # above it, clipping takes its part
        assert made["gaussian_noise"].std() == pytest.approx(255 * spread, rel=0.02)
        assert made["gaussian_noise"].mean() == pytest.approx(127.5, abs=0.5)
    if photons > 10:  # so does it below this
        assert made["shot_noise"].std() == pytest.approx(255 * np.sqrt(128 / 255 / photons), rel=0.02)
        assert made["shot_noise"].mean() == pytest.approx(127.5, abs=0.5)
    hit = made["impulse_noise"] != 128
    assert hit.mean() == pytest.approx(share, rel=0.06)
    assert set(np.unique(made["impulse_noise"])) == {0, 128, 255}
    assert (made["impulse_noise"][hit] == 255).mean() == pytest.approx(0.5, abs=0.05)


def test_noise_is_drawn_for_each_channel() -> None:
    for name in NAMES[:3]:
        made = corrupt(name, flat(128, 64), severity=5, scale="cifar", rng=rng_of(name)).astype(float).reshape(-1, 3)
        assert np.abs(np.corrcoef(made.T)[np.triu_indices(3, 1)]).max() < 0.08


def test_few_photons_leave_few_levels() -> None:
    made = corrupt("shot_noise", demo(224, 1)[0], severity=5, scale="imagenet", rng=rng_of())
    assert set(np.unique(made)) == {0, 85, 170, 255}


# ── blur ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("scale", "severity"), EACH)
def test_defocus_is_the_mean_of_a_softened_disc(scale: Scale, severity: int) -> None:
    radius, softness = {
        "cifar": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        "imagenet": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    }[scale][severity - 1]
    reach, rim = (8, 1) if radius <= 8 else (10, 2)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.where(x * x + y * y <= radius * radius, 1.0, 0.0)
    soft = np.exp(-(np.arange(-rim, rim + 1) ** 2) / (2 * softness**2))
    soft /= soft.sum()
    kernel = ndimage.correlate(disc / disc.sum(), np.outer(soft, soft), mode="mirror")
    image = demo(48, 1)[0]
    wanted = np.stack([ndimage.correlate(image[..., c] / 255.0, kernel, mode="mirror") for c in range(3)], axis=2)
    made = corrupt("defocus_blur", image, severity=severity, scale=scale, rng=rng_of())
    # Cut, not rounded, to whole levels.
    assert np.abs(made + 0.5 - 255.0 * wanted).max() <= 0.5 + 1e-4


def test_defocus_brightens_only_where_the_published_kernel_does() -> None:
    for scale, severity in EACH:
        made = corrupt("defocus_blur", flat(200, 32), severity=severity, scale=scale, rng=rng_of())
        wanted = {("imagenet", 4): int(200 * 1.01297), ("imagenet", 5): int(200 * 1.01078)}.get((scale, severity), 200)
        assert np.array_equal(made, flat(wanted, 32))


@pytest.mark.parametrize("name", ["glass_blur", "motion_blur", "zoom_blur", "elastic_transform"])
@given(level=st.integers(0, 255))
@settings(max_examples=10)
def test_what_only_moves_and_mixes_leaves_a_flat_picture_as_it_is(name: str, level: int) -> None:
    for scale, severity in itertools.product(SCALES, (1, 5)):
        made = corrupt(name, flat(level, 40), severity=severity, scale=scale, rng=rng_of(level))
        assert np.array_equal(made, flat(level, 40))


@pytest.mark.parametrize(("border", "mode"), [("edge", "nearest"), ("symmetric", "reflect"), ("reflect", "mirror")])
@pytest.mark.parametrize(("sigma", "truncate"), [(0.0, 3.0), (0.05, 4.0), (0.7, 4.0), (2.44, 3.0), (30.0, 3.0)])
def test_the_gaussian_is_scipys(border: filters.Border, mode: str, sigma: float, truncate: float) -> None:
    field = rng_of("gaussian").random((23, 31, 3))
    wanted = ndimage.gaussian_filter(field, (sigma, sigma, 0), mode=mode, truncate=truncate) if sigma else field
    assert np.allclose(filters.smooth(field, sigma=sigma, truncate=truncate, border=border), wanted, atol=1e-12)
    plane = filters.smooth(field[..., 0], sigma=sigma, truncate=truncate, border=border)
    assert np.allclose(plane, wanted[..., 0], atol=1e-12)


@pytest.mark.parametrize(("most", "rounds"), [(1, 1), (1, 2), (2, 1), (3, 2)])
def test_glass_lets_pixels_take_over_their_neighbours_in_order(most: int, rounds: int) -> None:
    image = demo(24, 1)[0]
    made = blurs.glass_blur(image, rng_of("glass"), 0.05, most, rounds)  # that sigma is too small to blur
    side, wanted = 24 - 2 * most, image.copy()
    moves = rng_of("glass").integers(-most, most, size=(rounds, side, side, 2))
    for turn in range(rounds):
        for row, column in itertools.product(range(24 - most, most, -1), repeat=2):
            right, down = moves[turn, row - most - 1, column - most - 1]
            wanted[row, column] = wanted[row + down, column + right]
    assert np.array_equal(made, wanted)


def test_glass_is_blurred_before_and_after() -> None:
    image = demo(64, 1)[0]
    blurred = [ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest") for sigma in (1.5, 2.1)]
    made = blurs.glass_blur(image, rng_of("glass"), 1.5, 1, 1)
    # Two blurs of 1.5 are one of 2.12: the result is nearer to that than to a single one.
    assert distance(made, blurred[1]) < distance(made, blurred[0])


@settings(max_examples=40)
@given(radius=st.integers(1, 12), sigma=st.floats(0.5, 15.0), angle=st.floats(-180.0, 180.0))
def test_a_trail_is_a_sum_of_pixels_along_a_line(radius: int, sigma: float, angle: float) -> None:
    field = rng_of("trail").random((17, 29))
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    wanted = np.zeros_like(field)
    for step, weight in enumerate(weights / weights.sum()):
        down, right = step * np.sin(np.deg2rad(angle)), step * np.cos(np.deg2rad(angle))
        if np.abs(np.array([down, right]) % 1 - 0.5).min() < 1e-6:
            return  # between two pixels, the last digit of a sine decides
        rows = np.clip(np.arange(17) + round(down), 0, 16)
        columns = np.clip(np.arange(29) + round(right), 0, 28)
        wanted += weight * field[np.ix_(rows, columns)]
    assert np.allclose(filters.smear(field, radius=radius, sigma=sigma, angle=angle), wanted, atol=1e-12)


@pytest.mark.parametrize(("shape", "factor"), [((32, 32), 1.0), ((32, 32), 1.07), ((32, 32), 2.25), ((24, 41), 1.3),
                                               ((224, 224), 1.11), ((224, 224), 4.5)])  # fmt: skip
def test_a_zoom_is_scipys_of_the_middle(shape: tuple[int, int], factor: float) -> None:
    field = rng_of("zoom").random((*shape, 3))
    seen = [int(np.ceil(side / factor)) for side in shape]
    first = [(side - part) // 2 for side, part in zip(shape, seen, strict=True)]
    middle = field[first[0] : first[0] + seen[0], first[1] : first[1] + seen[1]]
    large = ndimage.zoom(middle, (factor, factor, 1), order=1)
    top, left = ((large.shape[axis] - shape[axis]) // 2 for axis in range(2))
    wanted = large[top : top + shape[0], left : left + shape[1]]
    assert np.allclose(filters.zoom_in(field, factor), wanted, atol=1e-9)


@pytest.mark.parametrize(("scale", "counts"), [("cifar", [7, 12, 16, 21, 26]), ("imagenet", [12, 16, 11, 13, 11])])
def test_zoom_blur_is_the_mean_of_so_many_zooms(scale: Scale, counts: list[int]) -> None:
    image = demo(48, 1)[0]
    steps = {"cifar": [0.01] * 5, "imagenet": [0.01, 0.01, 0.02, 0.02, 0.03]}[scale]
    for severity, count, step in zip(SEVERITIES, counts, steps, strict=True):
        pictures = [image / 255.0] + [filters.zoom_in(image / 255.0, 1.0 + step * part) for part in range(count)]
        made = corrupt("zoom_blur", image, severity=severity, scale=scale, rng=rng_of())
        assert np.abs(made + 0.5 - 255.0 * np.mean(pictures, axis=0)).max() <= 0.5 + 1e-4


# ── weather ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("scale", "severity"), EACH)
def test_snow_only_brightens_and_falls_the_same_upside_down(scale: Scale, severity: int) -> None:
    image = demo(64, 1)[0]
    assert (corrupt("snow", image, severity=severity, scale=scale, rng=rng_of()) >= image).all()
    made = corrupt("snow", flat(90, 64), severity=severity, scale=scale, rng=rng_of())
    assert np.array_equal(made, made[::-1, ::-1])
    assert made.std() > 1


def test_snow_falls_down_more_than_sideways() -> None:
    made = np.stack(
        [corrupt("snow", flat(40, 64), severity=5, scale="cifar", rng=rng_of(n))[..., 0] for n in range(8)]
    ).astype(float)
    assert np.abs(np.diff(made, axis=1)).mean() < 0.8 * np.abs(np.diff(made, axis=2)).mean()


def test_the_ground_under_snow_is_whitened() -> None:
    # Without flakes: nothing is above a threshold of 99.
    image = demo(32, 1)[0]
    made = weather.snow(image, rng_of(), 0.1, 0.2, 1, 99.0, 8, 3, 0.8)
    picture = image / 255.0
    grey = 0.299 * picture[..., 0] + 0.587 * picture[..., 1] + 0.114 * picture[..., 2]
    wanted = 0.8 * picture + 0.2 * np.maximum(picture, 1.5 * grey[..., None] + 0.5)
    assert np.abs(made + 0.5 - 255.0 * np.minimum(wanted, 1.0)).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(("scale", "severity"), EACH)
def test_frost_is_a_share_of_the_picture_and_a_share_of_ice(scale: Scale, severity: int) -> None:
    kept, covered = {
        "cifar": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
        "imagenet": [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
    }[scale][severity - 1]
    black, grey = (
        corrupt("frost", flat(level, 64), severity=severity, scale=scale, rng=rng_of(severity)).astype(int)
        for level in (0, 60)
    )
    seen = grey < 255
    assert black.max() <= 255 * covered
    assert np.abs(grey - black - 60 * kept)[seen].max() <= 1
    assert black.std() > 5 * covered


def test_ice_is_as_bright_and_as_varied_as_it_says_and_never_the_same() -> None:
    drawn = [ice.draw_ice(96, 96, pixel=1.0, rng=rng_of("ice", number)) for number in range(20)]
    greens = np.array([(255 * texture[..., 1].mean(), 255 * texture[..., 1].std()) for texture in drawn])
    assert all(texture.shape == (96, 96, 3) and texture.min() >= 0 and texture.max() <= 1 for texture in drawn)
    assert ((greens[:, 0] > ice.LIGHT[0] - 2) & (greens[:, 0] < ice.LIGHT[1] + 2)).all()
    assert ((greens[:, 1] > ice.SPREAD[0] - 6) & (greens[:, 1] < ice.SPREAD[1] + 2)).all()
    assert np.ptp(greens, axis=0).min() > 10
    assert all(texture[..., 0].mean() <= texture[..., 2].mean() for texture in drawn)


def test_ice_has_structure_that_a_farther_look_makes_finer() -> None:
    def likeness(pixel: float) -> float:
        """Mean correlation of neighbouring pixels."""
        found = []
        for number in range(12):
            texture = ice.draw_ice(64, 64, pixel=pixel, rng=rng_of("ice", number))[..., 1]
            found.append(np.corrcoef(texture[:, 1:].ravel(), texture[:, :-1].ravel())[0, 1])
        return float(np.mean(found))

    assert likeness(1.0) > 0.65
    assert 0.25 < likeness(5.0) < likeness(1.0) - 0.1


@pytest.mark.parametrize("decay", [3.0, 1.4])
def test_a_cloud_is_made_by_diamonds_and_squares(decay: float) -> None:
    side, reach, rng = 16, 1.0, rng_of("cloud")
    wanted, step = np.zeros((side, side)), side
    while step > 1:
        half, places = step // 2, range(0, side, step)
        shifts = rng.uniform(-reach, reach, size=(3, side // step, side // step))
        for row, column in itertools.product(places, places):
            corners = [wanted[(row + y) % side, (column + x) % side] for y in (0, step) for x in (0, step)]
            wanted[row + half, column + half] = np.mean(corners) + shifts[0, row // step, column // step]
        for row, column in itertools.product(places, places):
            for shift, y, x in ((shifts[1], row, column + half), (shifts[2], row + half, column)):
                around = [(y - half, x), (y + half, x), (y, x - half), (y, x + half)]
                mean = np.mean([wanted[one % side, other % side] for one, other in around])
                wanted[y, x] = mean + shift[row // step, column // step]
        step, reach = half, reach / decay**2
    wanted = (wanted - wanted.min()) / np.ptp(wanted)
    assert np.allclose(weather.draw_cloud(side, decay, rng_of("cloud")), wanted, atol=1e-12)


@pytest.mark.parametrize(("side", "whole"), [(16, 16), (17, 32), (224, 256), (257, 512)])
def test_a_cloud_covers_the_picture(side: int, whole: int) -> None:
    cloud = weather.draw_cloud(side, 2.0, rng_of("cloud"))
    assert cloud.shape == (whole, whole)
    assert (cloud.min(), cloud.max()) == (0.0, 1.0)


@pytest.mark.parametrize(("severity", "thickness"), list(enumerate([0.2, 0.5, 0.75, 1.0, 1.5], start=1)))
def test_fog_adds_up_to_its_thickness_and_dims_the_rest(severity: int, thickness: float) -> None:
    made = corrupt("fog", flat(100, 32), severity=severity, scale="cifar", rng=rng_of(severity))
    dimmed = 100 / (100 / 255 + thickness) / 255
    assert made.min() == int(100 * dimmed)
    assert made.max() == int((100 + 255 * thickness) * dimmed + 1e-6) == 100


@pytest.mark.parametrize(("scale", "severity"), EACH)
def test_brightness_adds_to_the_value_of_hsv(scale: Scale, severity: int) -> None:
    image = np.concatenate([demo(32, 1)[0], rng_of("colours").integers(0, 256, (32, 32, 3), dtype=np.uint8)])
    image[0, 0], image[0, 1], image[0, 2] = (0, 0, 0), (255, 255, 255), (0, 255, 0)
    more = PUBLISHED["brightness"][SCALES.index(scale)][severity - 1]
    made = corrupt("brightness", image, severity=severity, scale=scale, rng=rng_of()).reshape(-1, 3)
    for (red, green, blue), seen in zip((image / 255.0).reshape(-1, 3), made, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        wanted = 255.0 * np.array(colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1.0)))
        assert np.abs(seen + 0.5 - wanted).max() <= 0.5 + 1e-5


# ── digital ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("scale", "severity"), EACH)
def test_contrast_draws_towards_the_mean_of_each_channel(scale: Scale, severity: int) -> None:
    image = demo(40, 1)[0]
    factor = PUBLISHED["contrast"][SCALES.index(scale)][severity - 1]
    means = image.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    wanted = factor * image.astype(np.float64) + (1 - factor) * means
    made = corrupt("contrast", image, severity=severity, scale=scale, rng=rng_of())
    assert np.array_equal(made, np.floor(wanted + 1e-6).astype(np.uint8))


@pytest.mark.parametrize(("border", "mode"), [("symmetric", "reflect"), ("reflect", "mirror"), ("edge", "nearest")])
def test_sampling_between_pixels_is_scipys(border: filters.Border, mode: str) -> None:
    rng = rng_of("sample")
    field = rng.random((13, 21, 3))
    rows, columns = rng.uniform(-60, 60, (2, 13, 21))
    wanted = [ndimage.map_coordinates(field[..., c], [rows, columns], order=1, mode=mode) for c in range(3)]
    assert np.allclose(filters.sample(field, rows, columns, border), np.stack(wanted, axis=2), atol=1e-9)


def ramps(side: int) -> Image:
    """Red tells the column, green the row."""
    row, column = np.indices((side, side))
    return np.stack([column, row, 0 * row], axis=2).astype(np.uint8)


def test_elastic_moves_three_points_by_its_jitter() -> None:
    made = digital.elastic_transform(ramps(224), rng_of("affine"), 0.0, 0.0, 24.4)
    jitter = rng_of("affine").uniform(-24.4, 24.4, size=(3, 2))
    for (x, y), (right, down) in zip([(186, 186), (186, 38), (38, 38)], jitter, strict=True):
        red, green, _ = made[round(y + down), round(x + right)].astype(float)
        assert max(abs(red - x), abs(green - y)) < 2.5


def test_elastic_without_jitter_and_waves_changes_nothing() -> None:
    image = demo(45, 1)[0, :, :31]
    assert np.array_equal(digital.elastic_transform(image, rng_of(), 0.0, 0.0, 0.0), image)


def test_waves_are_as_high_and_as_long_as_their_constants() -> None:
    height, sigma = 17.08, 2.44
    made = digital.elastic_transform(ramps(224), rng_of("waves"), height, sigma, 0.0)
    moved = (made.astype(float) - ramps(224))[20:-20, 20:-20, :2]
    # Uniform numbers of variance 1/3, blurred by a Gaussian whose squares sum to 1 / (4 π σ²).
    wanted = height / np.sqrt(3 * 4 * np.pi * sigma**2)
    for shift in (moved[..., 0] - moved[..., 0].mean(), moved[..., 1] - moved[..., 1].mean()):
        assert shift.std() == pytest.approx(wanted, rel=0.15)
        for lag in (2, 5):
            likeness = (shift[lag:] * shift[:-lag]).mean() / shift.var()
            assert likeness == pytest.approx(np.exp(-(lag**2) / (4 * sigma**2)), abs=0.12)
    assert abs(np.corrcoef(moved[..., 0].ravel(), moved[..., 1].ravel())[0, 1]) < 0.15


def test_pixelate_shows_means_of_boxes() -> None:
    image = demo(224, 1)[0, :, :96]
    for severity, box in ((2, 2), (5, 4)):
        means = image.reshape(224 // box, box, 96 // box, box, 3).mean(axis=(1, 3))
        made = corrupt("pixelate", image, severity=severity, scale="imagenet", rng=rng_of())
        assert np.abs(made - means.repeat(box, axis=0).repeat(box, axis=1)).max() <= 1
        assert np.array_equal(made[::box, ::box], made[box - 1 :: box, box - 1 :: box])


@pytest.mark.parametrize(("scale", "severity"), EACH)
def test_jpeg_is_that_of_another_encoder_at_the_published_quality(scale: Scale, severity: int) -> None:
    image = demo(64, 1)[0]
    made = corrupt("jpeg_compression", image, severity=severity, scale=scale, rng=rng_of())
    qualities = PUBLISHED["jpeg_compression"][SCALES.index(scale)]
    far = {
        quality: distance(made, simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(image, quality, "RGB", "420")))
        for quality in qualities
    }
    right = far.pop(qualities[severity - 1])
    assert right < 0.25 * min(far.values())
