"""Snow, frost, fog, brightness and digital faults against plain statements of each step."""

import colorsys
import itertools

import numpy as np
import pytest
import simplejpeg
from corruption_facts import EACH, PUBLISHED, Image, demo, distance, flat, rng_of
from scipy import ndimage

from mixbake.evaluate import digital, filters, ice, weather
from mixbake.evaluate.corruptions import SCALES, Scale, corrupt


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
