"""What the papers measure, from logits and labels: error, calibration, Brier score, AURRA, flips between frames.

Logits are float32 or float64, pictures × classes; labels int64, one a picture; everything is computed in float64.
Rule: no measure depends on the order of the pictures. Of equally confident pictures each counts as right to the share
of them that are, so that no order has to be made up.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mixbake.errors import UsageError
from mixbake.evaluate.results import Flips, Scores, Severities

Logits = NDArray[np.float32] | NDArray[np.float64]
Reals = NDArray[np.float64]
Labels = NDArray[np.int64]

BIN = 100
"""Pictures in a bin of the calibration error."""
TOP = 5


def score(logits: Logits, labels: Labels) -> Scores:
    """All measures of one set of labelled pictures.

    Raises UsageError when there is no picture, a label is no class, their numbers differ, or a logit is not finite.
    """
    return _judge(logits, labels)[0]


def score_severities(sets: Iterable[tuple[int, Logits, Labels]]) -> Severities:
    """All measures of one corruption, of each severity's pictures; and the calibration error of all of them together.

    Raises UsageError as `score` does.
    """
    scores: dict[int, Scores] = {}
    confidences: list[Reals] = []
    right: list[NDArray[np.bool_]] = []
    for severity, logits, labels in sets:
        scores[severity], sure, correct = _judge(logits, labels)
        confidences.append(sure)
        right.append(correct)
    return Severities(scores=scores, rms=calibration_rms(np.concatenate(confidences), np.concatenate(right)))


def _judge(logits: Logits, labels: Labels) -> tuple[Scores, Reals, NDArray[np.bool_]]:
    """All measures; and of each picture how sure the network is, and whether it is right."""
    _check(logits, labels)
    probabilities = softmax(logits)
    confidences, right = probabilities.max(axis=1), logits.argmax(axis=1) == labels
    scores = Scores(
        images=len(labels),
        error=int((~right).sum()) / len(right),
        rms=calibration_rms(confidences, right),
        brier=brier_score(probabilities, labels),
        aurra=aurra(confidences, right),
    )
    return scores, confidences, right


def count_not_finite(logits: Logits) -> int:
    """Pictures with a logit that is NaN or infinite: a network that is broken, or too coarse numbers."""
    return int((~np.isfinite(logits)).any(axis=-1).sum())


def softmax(logits: Logits) -> Reals:
    """Probabilities, float64 of the shape of finite logits; classes are the last axis."""
    # In place: 50,000 pictures of 1,000 classes take 400 MB. Without the shift, e^1000 would be infinite.
    values = logits.astype(np.float64)
    values -= values.max(axis=-1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=-1, keepdims=True)
    return values


def calibration_rms(confidences: Reals, right: NDArray[np.bool_]) -> float:
    """Root mean square calibration error with adaptive bins, 0 to 1.

    Pictures are sorted by confidence and cut into bins of 100; the rest below 100 joins the last bin. The error is the
    root of the mean over pictures of (mean confidence - accuracy of the picture's bin)².
    Hendrycks, Mazeika, Dietterich, "Deep anomaly detection with outlier exposure" (arXiv 1812.04606), on calibration;
    bins of 100 as in its public code, calibration_tools.py, which PixMix, IPMix and LayerMix share.
    That code forms the same bins and then leaves out the last one, the 100 to 199 most confident pictures: of 10,000,
    figures published with it lack 1 % of the pictures. All bins count here.
    """
    sorted_confidences, correct = _by_confidence(confidences, right)
    starts = np.arange(max(len(correct) // BIN, 1)) * BIN
    sizes = np.diff(np.append(starts, len(correct)))
    gaps = np.add.reduceat(sorted_confidences - correct, starts) / sizes
    return float(np.sqrt(np.average(gaps**2, weights=sizes)))


def brier_score(probabilities: Reals, labels: Labels) -> float:
    """Mean over pictures of the squared distance of probabilities from the truth, summed over classes: 0 to 2.

    Brier, "Verification of forecasts expressed in terms of probability" (Monthly Weather Review 78, 1950), his P.
    """
    truth = probabilities[np.arange(len(labels)), labels]
    squares = np.einsum("ij,ij->i", probabilities, probabilities)
    return float((squares - 2.0 * truth + 1.0).mean())


def aurra(confidences: Reals, right: NDArray[np.bool_]) -> float:
    """Area under the response rate accuracy curve: the mean over k of the accuracy on the k most confident, 0 to 1.

    Hendrycks, Zhao, Basart, Steinhardt, Song, "Natural adversarial examples" (arXiv 1907.07174), on metrics, and its
    public code. With ties it is the expectation over their orders.
    """
    _, correct = _by_confidence(confidences, right)
    return float((np.cumsum(correct[::-1]) / np.arange(1, len(correct) + 1)).mean())


def anomaly_scores(logits: Logits) -> Reals:
    """How little a picture looks like any class, minus the largest probability: float64, one a picture.

    Hendrycks, Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural networks"
    (arXiv 1610.02136), section 2.
    """
    return np.asarray(-softmax(logits).max(axis=-1))


def rank_top(logits: Logits) -> Labels:
    """The five likeliest classes, best first: int64[..., 5], of fewer classes all. Of equal logits the first is better.

    All that `measure_flips` needs of a frame, and far less than its logits, which are finite.
    """
    left = logits.copy()
    top = np.empty((*logits.shape[:-1], min(TOP, logits.shape[-1])), np.int64)
    # Five passes are some ten times as fast as sorting a thousand classes.
    for place in range(top.shape[-1]):
        top[..., place] = left.argmax(axis=-1)
        np.put_along_axis(left, top[..., place, None], -np.inf, axis=-1)
    return top


def measure_flips(top: Labels, *, noise: bool) -> Flips:
    """How predictions change along perturbation videos. top: `rank_top` of videos × frames × classes.

    noise: frames of noise are independent, and are compared with the first one; all others with the frame before.
    Hendrycks, Dietterich (arXiv 1903.12261), section 4, on ImageNet-P; not divided by AlexNet's. Raises UsageError
    without a video, or with fewer than two frames.
    """
    videos, frames = top.shape[:2]
    if not videos or frames < 2:
        raise UsageError(f"{videos} videos of {frames} frames: flips need a video, and two frames in each")
    before, after = top[:, :1] if noise else top[:, :-1], top[:, 1:]
    return Flips(
        videos=videos,
        frames=frames,
        flip_probability=float((before[..., 0] != after[..., 0]).mean()),
        top5_distance=_top_distance(before, after),
    )


def _top_distance(before: Labels, after: Labels) -> float:
    """Mean over pairs of the sum over ranks i, 1 to 5, of |i - min(rank of the i-th class in `after`, 6)|: 0 to 15.

    The same as the paper's d(τ, τ'), the number of ranks from 1 to 5 that classes pass on their way.
    """
    total = np.zeros(np.broadcast_shapes(before.shape, after.shape)[:2])
    for place in range(after.shape[-1]):
        same = before[..., place, None] == after
        total += np.abs(place - np.where(same.any(axis=-1), same.argmax(axis=-1), TOP))
    return float(total.mean())


def _by_confidence(confidences: Reals, right: NDArray[np.bool_]) -> tuple[Reals, Reals]:
    """Ascending confidences, and for each the share of the pictures with it that are right."""
    values, place, counts = np.unique(confidences, return_inverse=True, return_counts=True)
    shares = np.bincount(place, weights=right) / counts
    return np.repeat(values, counts), np.repeat(shares, counts)


def _check(logits: Logits, labels: Labels) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise UsageError(
            f"logits of shape {logits.shape}, labels of {labels.shape}: give n × classes and n, n at least 1"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise UsageError(
            f"labels {labels.min()} to {labels.max()}, but {logits.shape[1]} classes: give those of the network"
        )
    if broken := count_not_finite(logits):
        raise UsageError(
            f"{broken} of {len(logits)} pictures got logits that are NaN or infinite: the network is broken"
        )
