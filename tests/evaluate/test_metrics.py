"""Each metric against an independent computation, made-up cases and what must hold of it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax as scipy_softmax
from scipy.stats import rankdata

from mixbake.core.rng import stream
from mixbake.errors import UsageError
from mixbake.evaluate import metrics
from mixbake.evaluate.results import Scores

Reals = NDArray[np.float64]


def random_logits(pictures: int, classes: int, seed: int = 0) -> tuple[Reals, NDArray[np.int64]]:
    """Logits of a network that is right about half of the time."""
    rng = stream("test", "logits", seed)
    labels = rng.integers(0, classes, pictures)
    logits = rng.normal(size=(pictures, classes))
    logits[np.arange(pictures), labels] += 1.5
    return logits * 2, labels


def one_hot(labels: NDArray[np.int64], classes: int, height: float) -> Reals:
    return np.eye(classes)[labels] * height


cases = st.builds(random_logits, pictures=st.integers(1, 350), classes=st.integers(2, 12), seed=st.integers(0, 2**31))


# ── against others ────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=20, deadline=None)
@given(case=cases)
def test_error_and_brier_score_are_scikit_learns(case: tuple[Reals, NDArray[np.int64]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    logits, labels = case
    scores = metrics.score(logits, labels)
    classes = np.arange(logits.shape[1])
    assert scores.images == len(labels)
    assert scores.error == pytest.approx(1 - sklearn.accuracy_score(labels, logits.argmax(1)))
    one_a_class = [sklearn.mean_squared_error(labels == one, scipy_softmax(logits, axis=1)[:, one]) for one in classes]
    assert scores.brier == pytest.approx(sum(one_a_class))
    assert 0 <= scores.rms <= 1
    assert 0 <= scores.aurra <= 1


@pytest.mark.parametrize("pictures", [1, 30, 99, 100, 101, 199, 200, 2345])
def test_calibration_and_aurra_are_those_of_pytorch_ood(pictures: int) -> None:
    ood = pytest.importorskip("pytorch_ood.metrics")
    torch = pytest.importorskip("torch")
    logits, labels = random_logits(pictures, 10, seed=pictures)
    confidences, right = scipy_softmax(logits, axis=1).max(1), logits.argmax(1) == labels
    scores = metrics.score(logits, labels)
    given = torch.from_numpy(confidences), torch.from_numpy(right)
    assert scores.rms == pytest.approx(ood.calibration_error(*given, p="2", beta=100))
    assert scores.aurra == pytest.approx(ood.aurra(*given))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**31),
    videos=st.integers(1, 3),
    frames=st.integers(2, 5),
    classes=st.integers(2, 12),
    noise=st.booleans(),
)
def test_flips_are_those_of_the_papers_formulas(seed: int, videos: int, frames: int, classes: int, noise: bool) -> None:
    logits = stream("test", "videos", seed).integers(0, 6, size=(videos, frames, classes)).astype(np.float32)
    flips, distances = [], []
    for video in logits:
        ranks = [rankdata(-frame, method="ordinal") for frame in video]
        for number in range(1, frames):
            before = 0 if noise else number - 1
            flips.append(video[number].argmax() != video[before].argmax())
            passed = 0
            for place in range(1, min(5, classes) + 1):
                now = ranks[number][list(ranks[before]).index(place)]
                passed += sum(1 <= j - 1 <= 5 for j in range(min(place, now) + 1, max(place, now) + 1))
            distances.append(passed)
    found = metrics.measure_flips(metrics.rank_top(logits), noise=noise)
    assert (found.videos, found.frames) == (videos, frames)
    assert found.flip_probability == pytest.approx(np.mean(flips))
    assert found.top5_distance == pytest.approx(np.mean(distances))


# ── made-up cases and extremes ────────────────────────────────────────────────────────────────────


def test_a_perfect_classifier() -> None:
    labels = np.arange(250) % 10
    scores = metrics.score(one_hot(labels, 10, 1000.0), labels)
    assert scores == Scores(images=250, error=0.0, rms=0.0, brier=0.0, aurra=1.0)


def test_a_classifier_that_is_surely_wrong() -> None:
    labels = np.arange(250) % 10
    scores = metrics.score(one_hot((labels + 1) % 10, 10, 1000.0), labels)
    assert scores == Scores(images=250, error=1.0, rms=1.0, brier=2.0, aurra=0.0)


@pytest.mark.parametrize("height", [0.0, 1.0, 3.0])
def test_a_constant_classifier_is_off_by_confidence_minus_accuracy(height: float) -> None:
    labels = np.sort(np.arange(1000) % 10)  # in one order or another, all pictures look alike to it
    scores = metrics.score(one_hot(np.zeros(1000, np.int64), 10, height), labels)
    confidence = math.exp(height) / (math.exp(height) + 9)
    rest = (1 - confidence) / 9
    assert scores.error == pytest.approx(0.9)
    assert scores.rms == pytest.approx(abs(confidence - 0.1), abs=1e-12)
    assert scores.aurra == pytest.approx(0.1)
    squares = confidence**2 + 9 * rest**2
    assert scores.brier == pytest.approx(squares + 1 - 2 * (0.1 * confidence + 0.9 * rest))


def test_a_classifier_that_knows_nothing_has_the_brier_score_of_guessing() -> None:
    assert metrics.score(np.zeros((7, 4)), np.arange(7) % 4).brier == pytest.approx(3 / 4)


def test_every_bin_counts_the_most_confident_too() -> None:
    confidences = np.concatenate([np.full(100, 0.5), np.full(100, 0.8), np.full(150, 1.0)])
    right = np.concatenate([np.arange(100) < 50, np.arange(100) < 50, np.arange(150) < 60])
    gaps = [0.0, 0.3, 0.6]
    expected = math.sqrt(sum(share * gap**2 for share, gap in zip([100, 100, 150], gaps, strict=True)) / 350)
    assert metrics.calibration_rms(confidences, right) == pytest.approx(expected)


def test_bins_end_at_a_hundred() -> None:
    # Opposite gaps cancel in one bin of 200, and do not in two of 100.
    confidences = np.concatenate([np.linspace(0.39, 0.41, 100), np.linspace(0.59, 0.61, 100)])
    right = np.concatenate([np.arange(100) % 5 < 3, np.arange(100) % 5 < 2])
    assert metrics.calibration_rms(confidences, right) == pytest.approx(0.2)
    assert metrics.calibration_rms(confidences[50:150], right[50:150]) == pytest.approx(0.0, abs=1e-9)


def test_aurra_by_hand() -> None:
    confidences, right = np.array([0.5, 0.9, 0.7]), np.array([True, True, False])
    assert metrics.aurra(confidences, right) == pytest.approx((1 + 1 / 2 + 2 / 3) / 3)
    # Of two alike, one of them right: either first, 1 or 0 of 1; then 1 of 2.
    assert metrics.aurra(np.array([0.9, 0.9]), np.array([False, True])) == pytest.approx((0.5 + 0.5) / 2)


def test_flips_by_hand() -> None:
    labels = np.array([[[0], [1], [1], [0]], [[2], [2], [2], [2]]])
    assert metrics.measure_flips(labels, noise=False).flip_probability == pytest.approx(2 / 6)
    assert metrics.measure_flips(labels, noise=True).flip_probability == pytest.approx(2 / 6)
    assert metrics.measure_flips(labels[:1, :3], noise=False).flip_probability == pytest.approx(1 / 2)
    assert metrics.measure_flips(labels[:1, :3], noise=True).flip_probability == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("after", "distance"),
    [([0, 1, 2, 3, 4], 0), ([1, 0, 2, 3, 4], 2), ([5, 6, 7, 8, 9], 15), ([0, 1, 2, 3, 9], 1), ([4, 3, 2, 1, 0], 12)],
    ids=str,
)
def test_distances_of_five_by_hand(after: list[int], distance: int) -> None:
    top = np.array([[[0, 1, 2, 3, 4], after]])
    assert metrics.measure_flips(top, noise=False).top5_distance == distance


# ── what must hold ────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25)
@given(case=cases, levels=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_the_order_of_pictures_does_not_matter(case: tuple[Reals, NDArray[np.int64]], levels: int, seed: int) -> None:
    logits, labels = case
    coarse = np.round(logits / levels)  # many ties
    order = stream("test", "order", seed).permutation(len(labels))
    one, other = metrics.score(coarse, labels), metrics.score(coarse[order], labels[order])
    assert one == Scores(
        images=other.images, error=other.error, rms=other.rms, brier=pytest.approx(other.brier), aurra=other.aurra
    )


@settings(max_examples=25)
@given(case=cases, seed=st.integers(0, 2**31))
def test_the_order_of_classes_and_a_shift_of_logits_do_not_matter(
    case: tuple[Reals, NDArray[np.int64]], seed: int
) -> None:
    logits, labels = case
    order = stream("test", "classes", seed).permutation(logits.shape[1])
    one, other = metrics.score(logits, labels), metrics.score(logits[:, order] + 50, np.argsort(order)[labels])
    assert [other.error, other.rms, other.brier, other.aurra] == pytest.approx(
        [one.error, one.rms, one.brier, one.aurra], abs=1e-9
    )


@settings(max_examples=15)
@given(case=cases)
def test_halves_of_a_set_have_its_error_and_brier_score_on_average(case: tuple[Reals, NDArray[np.int64]]) -> None:
    logits, labels = np.concatenate([case[0]] * 2), np.concatenate([case[1]] * 2)
    whole, half = metrics.score(logits, labels), metrics.score(*case)
    assert (whole.error, whole.brier) == pytest.approx((half.error, half.brier))


def test_huge_logits_are_no_trouble_and_float32_is_taken() -> None:
    logits = np.array([[-1e38, 3e38, 0.0], [1e38, -3e38, 1e38]], np.float32)
    assert metrics.softmax(logits).tolist() == [[0, 1, 0], [0.5, 0, 0.5]]
    assert metrics.anomaly_scores(logits).tolist() == [-1, -0.5]
    assert metrics.softmax(logits).dtype == metrics.anomaly_scores(logits).dtype == np.float64


def test_the_likeliest_of_rank_top_is_the_prediction() -> None:
    logits = np.round(random_logits(500, 8)[0])
    assert np.array_equal(metrics.rank_top(logits)[:, 0], logits.argmax(1))
    assert metrics.rank_top(logits[:, :3]).shape == (500, 3)
    assert metrics.rank_top(logits).shape == (500, 5)


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────


def test_logits_that_are_not_finite_are_counted_and_refused() -> None:
    logits, labels = random_logits(50, 5)
    assert metrics.count_not_finite(logits) == 0
    logits[3, 2], logits[3, 4], logits[7, 0], logits[9, 1] = np.nan, np.inf, -np.inf, np.nan
    assert metrics.count_not_finite(logits) == 3
    with pytest.raises(UsageError, match="3 of 50 pictures got logits that are NaN or infinite"):
        metrics.score(logits, labels)


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (np.zeros((3, 4)), np.zeros(2, np.int64), r"\(3, 4\), labels of \(2,\)"),
        (np.zeros((0, 4)), np.zeros(0, np.int64), "n at least 1"),
        (np.zeros(4), np.zeros(4, np.int64), "n × classes"),
        (np.zeros((2, 4)), np.array([0, 4]), "labels 0 to 4, but 4 classes"),
        (np.zeros((2, 4)), np.array([-1, 0]), "labels -1 to 0"),
    ],
)
def test_what_does_not_fit_is_refused(logits: Reals, labels: NDArray[np.int64], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        metrics.score(logits, labels)


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 1, 5)])
def test_flips_need_two_frames_of_a_video(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="two frames in each"):
        metrics.measure_flips(np.zeros(shape, np.int64), noise=False)


def test_gaps_of_opposite_signs_cancel_in_the_calibration_of_all_severities_together() -> None:
    sure = one_hot(np.zeros(200, np.int64), 2, math.log(3))  # three quarters for the first class
    often, seldom = (np.repeat([0, 1], [right, 200 - right]) for right in (170, 130))
    found = metrics.score_severities([(1, sure, often), (2, sure, seldom)])
    assert found.scores == {1: metrics.score(sure, often), 2: metrics.score(sure, seldom)}
    assert [one.rms for one in found.scores.values()] == pytest.approx([0.1, 0.1])
    assert found.rms == pytest.approx(0)
    assert found.error == pytest.approx(0.25)
