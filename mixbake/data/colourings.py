"""Colours of noise: three fields become a picture with the colours of a random palette.

After Baradad et al., "Learning to See by Looking at Noise" (NeurIPS 2021): three to 22 uniform colours, in random
shares and softened where they meet, have three principal axes. Each field gets the distribution of the palette along
one of them, and is added along it; the picture is stretched to the full range.
Rule: a field is used by its ranks alone. Pixels are sums of integers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit

COLOURS = (3, 22)
SOFTNESS = (4, 40)
"""Length of the mean that softens the palette, in entries."""

ENTRIES = 512
"""Entries of a palette."""

LEVELS = 4096
"""Steps in which a field is ranked."""

Field = NDArray[np.float32]
Reals = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Colouring:
    """Distributions along three axes. values: float64[3, ENTRIES], ascending. axes: float64[3, 3], one a row."""

    values: Reals
    axes: Reals

    def paint(self, fields: Field) -> Pixels:
        """uint8 side×side×3 of three fields, float32[3, side, side]."""
        sums = np.zeros((*fields.shape[1:], 3), np.int32)
        for field, values, axis in zip(fields, self.values, self.axes, strict=True):
            _add(field, values, axis, sums)
        out = np.empty(sums.shape, np.uint8)
        _stretch(sums, out)
        return out


def draw_colouring(rng: np.random.Generator) -> Colouring:
    """The colouring of a random palette."""
    count = int(rng.integers(COLOURS[0], COLOURS[1] + 1))
    shares = np.cumsum(1 + rng.integers(1000, size=count))
    colours = rng.integers(256, size=(count, 3)).astype(np.float64)
    entries = np.searchsorted(shares, (np.arange(ENTRIES) * shares[-1]) // ENTRIES, side="right")
    return _colouring(colours[entries], int(rng.integers(SOFTNESS[0], SOFTNESS[1] + 1)))


def _colouring(palette: Reals, softness: int) -> Colouring:
    soft, axes, along = np.empty_like(palette), np.eye(3), np.empty((3, ENTRIES))
    _soften(palette, softness, soft)
    _find_axes(soft, axes, along)
    return Colouring(values=np.sort(along, axis=1), axes=axes)


@jit
def _soften(palette: Reals, softness: int, out: Reals) -> None:
    """Means over `softness` entries, which are mirrored at the ends."""
    count = len(palette)
    for entry in range(count):
        for channel in range(3):
            total = 0.0
            for step in range(softness):
                place = entry + step - softness // 2
                place = -1 - place if place < 0 else place
                total += palette[2 * count - 1 - place if place >= count else place, channel]
            out[entry, channel] = total / softness


@inline
def _covariance(centred: Reals, matrix: Reals) -> None:
    """Means of products of the columns of float64[n, 3]."""
    for i in range(3):
        for j in range(3):
            total = 0.0
            for entry in range(len(centred)):
                total += centred[entry, i] * centred[entry, j]
            matrix[i, j] = total / len(centred)


@inline
def _turn(p: int, q: int, matrix: Reals, axes: Reals) -> None:
    """Jacobi's rotation: makes entry (p, q) of a symmetric matrix zero, and turns axes along."""
    if abs(matrix[p, q]) < 1e-9:
        return
    ratio = (matrix[q, q] - matrix[p, p]) / (2.0 * matrix[p, q])
    tangent = (1.0 if ratio >= 0.0 else -1.0) / (abs(ratio) + np.sqrt(ratio * ratio + 1.0))
    c = 1.0 / np.sqrt(tangent * tangent + 1.0)
    s = tangent * c
    for k in range(3):
        a, b = matrix[k, p], matrix[k, q]
        matrix[k, p], matrix[k, q] = c * a - s * b, s * a + c * b
    for k in range(3):
        a, b = matrix[p, k], matrix[q, k]
        matrix[p, k], matrix[q, k] = c * a - s * b, s * a + c * b
        a, b = axes[p, k], axes[q, k]
        axes[p, k], axes[q, k] = c * a - s * b, s * a + c * b


@jit
def _find_axes(colours: Reals, axes: Reals, along: Reals) -> None:
    """Turn `axes` from the identity to the principal axes of colours float64[n, 3], one a row; places along them."""
    centred, matrix = np.empty_like(colours), np.empty((3, 3))
    for channel in range(3):
        total = 0.0
        for entry in range(len(colours)):
            total += colours[entry, channel]
        for entry in range(len(colours)):
            centred[entry, channel] = colours[entry, channel] - total / len(colours)
    _covariance(centred, matrix)
    for _ in range(8):
        _turn(0, 1, matrix, axes)
        _turn(0, 2, matrix, axes)
        _turn(1, 2, matrix, axes)
    for i in range(3):
        for entry in range(len(colours)):
            x, y, z = centred[entry, 0], centred[entry, 1], centred[entry, 2]
            along[i, entry] = axes[i, 0] * x + axes[i, 1] * y + axes[i, 2] * z


@jit
def _add(field: Field, values: Reals, axis: Reals, sums: NDArray[np.int32]) -> None:
    """Add to sums int32[H, W, 3], in units of 2^-16 levels, what the ranks of a field stand for along an axis."""
    height, width = field.shape
    low, high = field[0, 0], field[0, 0]
    for row in range(height):
        for column in range(width):
            low, high = min(low, field[row, column]), max(high, field[row, column])
    scale = np.float32(LEVELS - 1) / max(high - low, np.float32(1e-30))
    counts, levels = np.zeros(LEVELS, np.int64), np.empty((height, width), np.uint16)
    for row in range(height):
        for column in range(width):
            levels[row, column] = np.uint16((field[row, column] - low) * scale)
            counts[levels[row, column]] += 1
    parts = np.empty((LEVELS, 3), np.int32)
    below = 0
    for level in range(LEVELS):
        # In the middle of those of the same level.
        place = (2 * below + counts[level]) * ENTRIES / (2.0 * height * width)
        value = values[min(int(place), ENTRIES - 1)]
        below += counts[level]
        for channel in range(3):
            parts[level, channel] = np.int32(np.floor(value * axis[channel] * 65536.0 + 0.5))
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                sums[row, column, channel] += parts[levels[row, column], channel]


@jit
def _stretch(sums: NDArray[np.int32], out: Pixels) -> None:
    """Bring the least number to 0 and the largest to 255."""
    height, width = out.shape[:2]
    low, high = int(sums[0, 0, 0]), int(sums[0, 0, 0])
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                value = int(sums[row, column, channel])
                low, high = min(low, value), max(high, value)
    scale = (255 << 32) // max(high - low, 1)
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                out[row, column, channel] = ((int(sums[row, column, channel]) - low) * scale + (1 << 31)) >> 32
