"""Promises of the measures between two pictures: they are their formulas, in floating point and written plainly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mixbake.audit import likeness

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]


def drawn(seed: int, side: int, n: int = 4) -> Bytes:
    """Smooth, noisy, flat and hard-edged pictures by turns."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (n, side, side, 3)).astype(np.float64)
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2, 0)) * 3 - 255
    kinds = [noise, smooth, np.round(noise / 255) * 255, np.full_like(noise, rng.integers(0, 256))]
    chosen = np.stack([kinds[(seed + i) % 4][i] for i in range(n)])
    return np.clip(np.rint(chosen), 0, 255).astype(np.uint8)


def ssim(first: Bytes, second: Bytes) -> float:
    """Mean over all windows that fit, with scipy's box filter."""
    x, y = first.astype(np.float64), second.astype(np.float64)
    window = min(7, len(x))
    inside = slice(window // 2, len(x) - (window - 1) // 2)

    def mean(values: Floats) -> Floats:
        filtered: Floats = ndimage.uniform_filter(values, window)[inside, inside]
        return filtered

    mx, my = mean(x), mean(y)
    vx, vy, covariance = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 6.5025, 58.5225
    return float(np.mean((2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))))


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 5, 7, 8, 16, 33]))
@settings(max_examples=40, deadline=None)
def test_ssim_is_its_formula(seed: int, side: int) -> None:
    first, second = likeness.to_luma(drawn(seed, side)), likeness.to_luma(drawn(seed + 1, side))
    expected = [ssim(x, y) for x, y in zip(first, second, strict=True)]
    assert likeness.ssim(first, second) == pytest.approx(expected, abs=1e-9)
    assert likeness.ssim(first, first) == pytest.approx(1)


@given(st.integers(0, 10_000), st.sampled_from([1, 7, 16]))
@settings(max_examples=40, deadline=None)
def test_psnr_correlation_and_distance_are_their_formulas(seed: int, side: int) -> None:
    first, second = drawn(seed, side), drawn(seed + 1, side)
    correlations, distances = likeness.correlation(first, second)
    decibels = likeness.psnr(distances)
    for i in range(len(first)):
        x, y = first[i].astype(np.float64).ravel(), second[i].astype(np.float64).ravel()
        error = np.mean((x - y) ** 2)
        assert distances[i] == pytest.approx(np.sqrt(error) / 255)
        assert decibels[i] == pytest.approx(10 * np.log10(255**2 / error) if error else 100)
        expected = np.corrcoef(x, y)[0, 1] if np.ptp(x) and np.ptp(y) else 0
        assert correlations[i] == pytest.approx(expected, abs=1e-9)


def test_equal_pictures_are_as_near_as_can_be() -> None:
    pictures = drawn(0, 16)
    correlations, distances = likeness.correlation(pictures, pictures)
    assert correlations[:3] == pytest.approx(1)
    assert (distances == 0).all()
    assert (likeness.psnr(distances) == likeness.MOST_PSNR).all()


def test_a_negative_is_correlated_negatively() -> None:
    pictures = drawn(0, 16)[:1]
    assert likeness.correlation(pictures, 255 - pictures)[0] == pytest.approx([-1])


def test_sums_of_the_largest_pictures_do_not_overflow() -> None:
    white = np.full((1, 2048, 2048, 3), 255, np.uint8)
    white[0, 0, 0, 0] = 254
    correlations, distances = likeness.correlation(white, white)
    assert (distances[0], correlations[0]) == (0, pytest.approx(1, abs=1e-3))
    assert likeness.ssim(likeness.to_luma(white), likeness.to_luma(white)) == pytest.approx([1])
    assert likeness.flatness(white) == pytest.approx([white.reshape(-1, 3).std(axis=0)[0] / 3**0.5], rel=1e-3)


def test_luma_is_pillows() -> None:
    for picture in drawn(3, 32):
        assert (likeness.to_luma(picture[None])[0] == np.asarray(Image.fromarray(picture).convert("L"))).all()


def test_flatness_is_about_each_channels_mean() -> None:
    pictures = drawn(1, 16)
    expected = np.sqrt(pictures.reshape(4, -1, 3).astype(np.float64).var(axis=1).mean(axis=1))
    assert likeness.flatness(pictures) == pytest.approx(expected)
    red = np.zeros((1, 16, 16, 3), np.uint8)
    red[..., 0] = 255
    assert likeness.flatness(red) == [0]


def test_distances_of_pairs_are_their_formula() -> None:
    pictures = drawn(2, 16, 6)
    firsts, seconds = np.array([0, 5, 3]), np.array([1, 2, 3])
    apart = (pictures[firsts].astype(np.float64) - pictures[seconds]) / 255
    assert likeness.distances_of(pictures, firsts, seconds) == pytest.approx(np.sqrt((apart**2).mean(axis=(1, 2, 3))))
