"""Noises and blurs against plain statements of each step."""

import itertools

import numpy as np
import pytest
from corruption_facts import EACH, NAMES, PUBLISHED, demo, distance, flat, rng_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mixbake.evaluate import blurs, filters
from mixbake.evaluate.corruptions import SCALES, SEVERITIES, Scale, corrupt


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
