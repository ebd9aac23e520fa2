"""What several corruptions are built from: borders, blurs along a line or round a point, zooms, the way back to bytes.

Fields are float64, H×W or H×W×channels; pictures lie in [0, 1].
Rule: nothing here draws random numbers; the same field and constants give the same field.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import jit

Image = NDArray[np.uint8]
Field = NDArray[np.float64]
Places = NDArray[np.int64]
Border = Literal["edge", "reflect", "symmetric"]

BORDERS: dict[Border, Callable[[Places, int], Places]] = {
    "edge": lambda places, size: np.clip(places, 0, size - 1),
    "reflect": lambda places, size: size - 1 - np.abs(places % (2 * size - 2) - (size - 1)),
    "symmetric": lambda places, size: np.minimum(places % (2 * size), 2 * size - 1 - places % (2 * size)),
}
"""Place on a line that may lie outside it -> the place 0 to size - 1 that is seen there, as `numpy.pad` names them."""

_ROUNDING = 2.0**-20


def to_unit(image: Image) -> Field:
    """uint8 as float64 in [0, 1]."""
    return image / 255.0


def to_bytes(picture: Field) -> Image:
    """A picture in [0, 1], clipped and cut to whole levels, as the published files are: uint8."""
    levels = np.clip(picture, 0.0, 1.0) * 255.0
    # Without it a sum of weights that ends one bit below 1 would darken flat areas by a level.
    return (levels + _ROUNDING).astype(np.uint8, order="C")


def smooth(field: Field, *, sigma: float, truncate: float, border: Border) -> Field:
    """Gaussian blur of both axes; weights end int(truncate · sigma + 0.5) pixels away, as scipy's do."""
    down, across = (smoothing(size, sigma, truncate, border) for size in field.shape[:2])
    planes = down @ np.moveaxis(np.atleast_3d(field), 2, 0) @ across.T
    return np.moveaxis(planes, 0, 2).reshape(field.shape)


@lru_cache(maxsize=32)
def smoothing(size: int, sigma: float, truncate: float, border: Border) -> Field:
    """The blur of one axis as a matrix, size×size: a border folds even weights that reach far beyond it."""
    reach = int(truncate * sigma + 0.5)
    matrix = np.zeros((size, size))
    places = np.arange(size)
    for offset, weight in zip(range(-reach, reach + 1), gaussian_weights(reach, sigma), strict=True):
        matrix[places, BORDERS[border](places + offset, size)] += weight
    return matrix


def gaussian_weights(reach: int, sigma: float) -> Field:
    """Weights of -reach to reach pixels, with sum 1."""
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) if offset else 1.0 for offset in range(-reach, reach + 1)]
    return np.array(weights) / math.fsum(weights)


def weigh_neighbours(field: Field, rows: Places, columns: Places, weights: Field, border: Border) -> Field:
    """Each pixel becomes the sum of weights[k] · its neighbour rows[k] below and columns[k] to the right.

    rows, columns: int64[k], offsets in pixels, negative ones too. weights: float64[k].
    """
    height, width = field.shape[:2]
    top, left = int(rows.min()), int(columns.min())
    below = BORDERS[border](np.arange(height + int(rows.max()) - top) + top, height)
    right = BORDERS[border](np.arange(width + int(columns.max()) - left) + left, width)
    padded = field.reshape(height, width, -1)[below][:, right]
    channels = padded.shape[2]
    total = np.zeros((height, width * channels))
    _add_neighbours(padded.reshape(len(below), -1), rows - top, (columns - left) * channels, weights, total)
    return total.reshape(field.shape)


@jit
def _add_neighbours(padded: Field, rows: Places, starts: Places, weights: Field, total: Field) -> None:
    """Rows outside, so that the sums of one line stay in the cache; the inner loop is a plain vector sum."""
    height, length = total.shape
    for row in range(height):
        for k in range(len(weights)):
            start, weight = starts[k], weights[k]
            for column in range(length):
                total[row, column] += weight * padded[row + rows[k], start + column]


def smear(field: Field, *, radius: int, sigma: float, angle: float) -> Field:
    """Motion blur: a trail of 2 · radius + 1 pixels to one side, falling off as a Gaussian; borders repeat.

    angle: degrees, from the right, clockwise on the screen. The definition is that of ImageMagick's `-motion-blur`
    (MagickCore, effect.c): weights of 0 to 2 · radius pixels, each taken at the nearest whole pixel.
    """
    steps = np.arange(2 * radius + 1)
    turn = math.radians(angle)
    rows, columns = (np.ceil(steps * part - 0.5).astype(np.int64) for part in (math.sin(turn), math.cos(turn)))
    weights = gaussian_weights(2 * radius, sigma)[2 * radius :]
    return weigh_neighbours(field, rows, columns, weights / weights.sum(), "edge")


def zoom_in(field: Field, factor: float) -> Field:
    """The middle of a field, enlarged bilinearly by `factor` >= 1 to the field's own shape."""
    (first, share_down), (left, share_right) = (_enlarged(size, factor) for size in field.shape[:2])
    extra = (1,) * (field.ndim - 2)
    share_down, share_right = share_down.reshape(-1, 1, *extra), share_right.reshape(-1, *extra)
    upper = field[first]
    rows = upper + (field[first + 1] - upper) * share_down
    nearer = rows.take(left, axis=1)
    return np.asarray(nearer + (rows.take(left + 1, axis=1) - nearer) * share_right)


@lru_cache(maxsize=256)
def _enlarged(size: int, factor: float) -> tuple[Places, Field]:
    """Where each of `size` enlarged pixels lies: the pixel before it, and how far from there to the next."""
    seen = math.ceil(size / factor)
    enlarged = round(seen * factor)
    # Corner pixels are laid on corner pixels, then both ends are trimmed alike.
    across = (np.arange(size) + (enlarged - size) // 2) * ((seen - 1) / (enlarged - 1))
    before: Places = np.minimum(across.astype(np.int64), seen - 2)
    return before + (size - seen) // 2, np.asarray(across - before, dtype=np.float64)


def sample(field: Field, rows: Field, columns: Field, border: Border) -> Field:
    """A field seen at other places, bilinearly: rows and columns are float64 H×W, in pixels, any number."""
    top, left = np.floor(rows), np.floor(columns)
    down, right = ((rows - top)[..., None], (columns - left)[..., None])
    y, x = top.astype(np.int64), left.astype(np.int64)
    (y0, y1), (x0, x1) = (
        (BORDERS[border](place, size), BORDERS[border](place + 1, size))
        for place, size in zip((y, x), field.shape[:2], strict=True)
    )
    upper = field[y0, x0] + (field[y0, x1] - field[y0, x0]) * right
    lower = field[y1, x0] + (field[y1, x1] - field[y1, x0]) * right
    return np.asarray(upper + (lower - upper) * down)
