"""How alike two pictures are: compiled measures over batches of small pictures.

Rule: sums are integers, so that they are exact; no array as large as the batch is made beside it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

WINDOW = 7
"""Side of SSIM's windows in pixels; smaller pictures are one window."""
MOST_PSNR = 100.0
"""In dB: what equal pictures have here, whose PSNR is infinite."""
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_NOTHING = 1e-9
"""A variance below this is rounding: one level that differs in the largest picture makes 8e-8."""


def flatness(pictures: Bytes) -> Floats:
    """Standard deviation of the levels about the mean of their own channel, float64[n]; pictures: uint8 n×S×S×3.

    So a picture of one colour has 0, whatever the colour.
    """
    out = np.empty(len(pictures))
    _flatness(pictures.reshape(len(pictures), -1, 3), out)
    return out


def to_luma(pictures: Bytes) -> Bytes:
    """Luma (ITU-R BT.601, rounded to nearest): uint8 n×S×S of uint8 n×S×S×3."""
    out = np.empty(pictures.shape[:3], np.uint8)
    _to_luma(pictures.reshape(-1, 3), out.reshape(-1))
    return out


def ssim(first: Bytes, second: Bytes) -> Floats:
    """Mean SSIM of lumas, uint8 n×S×S both: float64[n], 1 for equal ones.

    Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity",
    eq. 13 with K1 = 0.01, K2 = 0.03, L = 255; windows are uniform, WINDOW px a side, at every pixel where they fit,
    instead of the paper's Gaussian ones of 11 px.
    """
    out = np.empty(len(first))
    side = first.shape[1]
    _ssim(first, second, min(WINDOW, side), np.empty((5, side), np.int64), out)
    return out


def correlation(first: Bytes, second: Bytes) -> tuple[Floats, Floats]:
    """Pearson's correlation of all levels, and the root of their mean squared difference, 0 to 1: float64[n] each.

    first, second: uint8 n×S×S×3. Where either is of one level everywhere, the correlation is undefined and 0 here.
    """
    correlations, distances = np.empty(len(first)), np.empty(len(first))
    flat = first.reshape(len(first), -1), second.reshape(len(second), -1)
    _correlation(*flat, correlations, distances)
    return correlations, distances


def psnr(distances: Floats) -> Floats:
    """Peak signal-to-noise ratio in dB of root mean square distances, 0 to 1: at most MOST_PSNR."""
    with np.errstate(divide="ignore"):
        decibels: Floats = np.minimum(-20 * np.log10(distances), MOST_PSNR)
    return decibels


def distances_of(pictures: Bytes, firsts: NDArray[np.int64], seconds: NDArray[np.int64]) -> Floats:
    """Root mean square distance, 0 to 1, of pictures[firsts[i]] to pictures[seconds[i]]: float64[k]."""
    out = np.empty(len(firsts))
    _distances(pictures.reshape(len(pictures), -1), firsts, seconds, out)
    return out


@jit
def _flatness(pictures: Bytes, out: Floats) -> None:
    count = pictures.shape[1]
    for i in range(len(pictures)):
        variance = 0.0
        for c in range(3):
            total, squares = 0, 0
            for k in range(count):
                level = int(pictures[i, k, c])
                total += level
                squares += level * level
            variance += squares / count - (total / count) ** 2
        out[i] = math.sqrt(max(variance, 0.0) / 3)


@jit
def _to_luma(pixels: Bytes, out: Bytes) -> None:
    for k in range(len(pixels)):
        red, green, blue = int(pixels[k, 0]), int(pixels[k, 1]), int(pixels[k, 2])
        out[k] = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


@inline
def _add_row(columns: NDArray[np.int64], first: Bytes, second: Bytes, sign: int) -> None:
    """Sums of x, y, x², y², xy down each column, a row more or a row less."""
    for k in range(len(first)):
        x, y = int(first[k]), int(second[k])
        columns[0, k] += sign * x
        columns[1, k] += sign * y
        columns[2, k] += sign * x * x
        columns[3, k] += sign * y * y
        columns[4, k] += sign * x * y


@inline
def _along(columns: NDArray[np.int64], window: int) -> float:
    """Sum of SSIM over the windows of one row."""
    count, total = window * window, 0.0
    sx, sy, sxx, syy, sxy = 0, 0, 0, 0, 0
    for k in range(columns.shape[1]):
        sx += columns[0, k]
        sy += columns[1, k]
        sxx += columns[2, k]
        syy += columns[3, k]
        sxy += columns[4, k]
        if k >= window:
            sx -= columns[0, k - window]
            sy -= columns[1, k - window]
            sxx -= columns[2, k - window]
            syy -= columns[3, k - window]
            sxy -= columns[4, k - window]
        if k >= window - 1:
            mx, my = sx / count, sy / count
            vx, vy, covariance = sxx / count - mx * mx, syy / count - my * my, sxy / count - mx * my
            light = (2 * mx * my + _C1) / (mx * mx + my * my + _C1)
            total += light * (2 * covariance + _C2) / (vx + vy + _C2)
    return total


@jit
def _ssim(first: Bytes, second: Bytes, window: int, columns: NDArray[np.int64], out: Floats) -> None:
    side = first.shape[1]
    for i in range(len(first)):
        columns[:] = 0
        total = 0.0
        for y in range(side):
            _add_row(columns, first[i, y], second[i, y], 1)
            if y >= window:
                _add_row(columns, first[i, y - window], second[i, y - window], -1)
            if y >= window - 1:
                total += _along(columns, window)
        out[i] = total / (side - window + 1) ** 2


@jit
def _correlation(first: Bytes, second: Bytes, correlations: Floats, distances: Floats) -> None:
    count = first.shape[1]
    for i in range(len(first)):
        sx, sy, sxx, syy, sxy = 0, 0, 0, 0, 0
        for k in range(count):
            x, y = int(first[i, k]), int(second[i, k])
            sx += x
            sy += y
            sxx += x * x
            syy += y * y
            sxy += x * y
        vx, vy = sxx / count - (sx / count) ** 2, syy / count - (sy / count) ** 2
        covariance = sxy / count - (sx / count) * (sy / count)
        correlations[i] = covariance / math.sqrt(vx * vy) if min(vx, vy) > _NOTHING else 0.0
        distances[i] = math.sqrt((sxx + syy - 2 * sxy) / count) / 255


@jit
def _distances(pictures: Bytes, firsts: NDArray[np.int64], seconds: NDArray[np.int64], out: Floats) -> None:
    count = pictures.shape[1]
    for i in range(len(firsts)):
        first, second = pictures[firsts[i]], pictures[seconds[i]]
        total = 0
        for k in range(count):
            apart = int(first[k]) - int(second[k])
            total += apart * apart
        out[i] = math.sqrt(total / count) / 255
