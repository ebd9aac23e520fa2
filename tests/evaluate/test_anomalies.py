"""Drawn anomalies: their distributions, the published steps, and seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from mixbake.core.rng import stream
from mixbake.errors import UsageError
from mixbake.evaluate.anomalies import ANOMALIES, draw_anomalies


@pytest.mark.parametrize("name", ANOMALIES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), first=st.integers(0, 10**6), start=st.integers(0, 3), count=st.integers(0, 3))
def test_any_slice_has_the_pixels_of_the_whole(name: str, seed: int, first: int, start: int, count: int) -> None:
    whole = draw_anomalies(name, 6, size=32, seed=seed, first=first)
    assert whole.shape == (6, 32, 32, 3)
    assert whole.dtype == np.uint8
    part = draw_anomalies(name, count, size=32, seed=seed, first=first + start)
    assert np.array_equal(part, whole[start : start + count])


def test_seeds_numbers_and_kinds_give_other_pictures() -> None:
    drawn = [
        one.tobytes() for name in ANOMALIES for seed in (0, 1) for one in draw_anomalies(name, 4, size=16, seed=seed)
    ]
    assert len(set(drawn)) == len(drawn)


def test_gaussian_noise_is_normal_about_grey_and_clipped() -> None:
    values = draw_anomalies("gaussian", 30, size=32, seed=0).ravel() / 255
    inside = values[(values > 0) & (values < 1)]
    # Cut to whole levels, it is half a level darker.
    assert np.median(values) == pytest.approx(0.5 - 0.5 / 255, abs=0.005)
    assert inside.std() == pytest.approx(stats.truncnorm(-2, 2, 0.5, 0.25).std(), rel=0.02)
    assert (values == 1).mean() == pytest.approx(stats.norm.sf(2), rel=0.1)


def test_rademacher_noise_is_black_or_white_in_each_colour() -> None:
    drawn = draw_anomalies("rademacher", 30, size=32, seed=0)
    assert set(np.unique(drawn)) == {0, 255}
    assert (drawn == 255).mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.corrcoef(drawn.reshape(-1, 3).T)[np.triu_indices(3, 1)]).max() < 0.05


@pytest.mark.parametrize(("size", "width"), [(32, 1.5), (64, 2.0)])
def test_blobs_are_blurred_over_all_three_axes_and_cut_off(size: int, width: float) -> None:
    lit = (stream(3, "anomaly", "blobs", 5).random((size, size, 3)) < 0.7).astype(np.float64)
    blurred = ndimage.gaussian_filter(lit, width, mode="nearest", truncate=4.0)
    wanted = np.where(blurred < 0.75, 0, blurred * 255)
    drawn = draw_anomalies("blobs", 1, size=size, seed=3, first=5)[0]
    near_the_edge = np.abs(blurred - 0.75) < 1e-9
    assert np.abs(drawn - wanted)[~near_the_edge].max() <= 1
    assert 0.05 < (drawn > 0).mean() < 0.4


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'stripes'.*gaussian, rademacher, blobs"):
        draw_anomalies("stripes", 1, size=32, seed=0)
