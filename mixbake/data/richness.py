"""How much there is to see in a picture, and from where on a generated one is good enough to mix with.

A mixing picture helps by its structure (Hendrycks et al., PixMix, CVPR 2022), so flat, dark, empty and
purely noisy draws are refused. Everything is measured on the luminance of a small preview.
Rule: thresholds are data (`LIMITS`), each with its reason.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

LIMITS: dict[str, tuple[float, float]] = {
    "brightness": (55.0, 205.0),  # mean: darker or lighter leaves no room for the blend to act
    "contrast": (24.0, 128.0),  # standard deviation: below, the blend is a mere tint
    "entropy": (3.6, 6.0),  # bits over 64 levels: two-tone pictures have 1 to 3
    "edges": (0.06, 0.68),  # share of neighbours 12 levels apart: few is empty, nearly all is noise
    "flat": (0.0, 0.40),  # share of 4×4 tiles that span less than 8 levels: empty ground
    "coarse": (9.0, 128.0),  # standard deviation of 8×8-tile means: none is noise or an even pattern
    "colour": (12.0, 256.0),  # mean distance of red, green, blue from their mean: greyscale has 0
}
"""Measure -> smallest and largest value that passes, for a preview of PREVIEW × PREVIEW pixels."""

LUMA = np.array((299, 587, 114))
"""Weights of red, green and blue in the luminance, in thousandths."""

PREVIEW = 64
"""Side of the preview that is judged."""


def first_good(tries: int, is_good: Callable[[int], bool]) -> int:
    """The first good one of the draws 0 to tries − 1; the last one if none before it is, good or weak."""
    return next((attempt for attempt in range(tries - 1) if is_good(attempt)), tries - 1)


def measure(preview: NDArray[np.uint8]) -> dict[str, float]:
    """Each measure of `LIMITS` for a uint8 PREVIEW×PREVIEW×3 picture."""
    channels = preview.astype(np.float64)
    luminance = channels @ (LUMA / 1000)
    steps = np.concatenate((np.abs(np.diff(luminance, axis=0)).ravel(), np.abs(np.diff(luminance, axis=1)).ravel()))
    levels = np.bincount((luminance / 4.0).astype(np.intp).ravel(), minlength=64) / luminance.size
    tiles = _tiles(luminance, 4)
    return {
        "brightness": float(luminance.mean()),
        "contrast": float(luminance.std()),
        "entropy": float(-np.sum(levels * np.log2(np.maximum(levels, 1e-12)))),
        "edges": float((steps > 12.0).mean()),
        "flat": float((tiles.max(axis=1) - tiles.min(axis=1) < 8.0).mean()),
        "coarse": float(_tiles(luminance, 8).mean(axis=1).std()),
        "colour": float(np.abs(channels - channels.mean(axis=2, keepdims=True)).mean()),
    }


def shortfalls(preview: NDArray[np.uint8]) -> list[str]:
    """Names of the measures that fall outside their limits; empty for a picture worth keeping."""
    values = measure(preview)
    return [name for name, (low, high) in LIMITS.items() if not low <= values[name] <= high]


def has_range(preview: NDArray[np.uint8]) -> bool:
    """Whether brightness and contrast of a picture are within their limits: for families whose law is their own.

    In integers, so that every CPU decides alike.
    """
    luma: NDArray[np.int64] = preview.astype(np.int64) @ LUMA
    count, total, squares = luma.size, int(luma.sum()), int((luma * luma).sum())
    (dark, light), (weak, strong) = (
        [int(limit) * int(LUMA.sum()) for limit in LIMITS[name]] for name in ("brightness", "contrast")
    )
    spread = count * squares - total * total
    return dark * count <= total <= light * count and (weak * count) ** 2 <= spread <= (strong * count) ** 2


def _tiles(plane: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """The plane cut into side×side tiles, one a row."""
    count = len(plane) // side
    return plane.reshape(count, side, count, side).swapaxes(1, 2).reshape(count * count, side * side)
