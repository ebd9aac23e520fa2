"""Dead leaves: shapes of one colour, or of one texture, that hide each other, their sizes as in natural scenes.

The model of Baradad et al., "Learning to See by Looking at Noise" (NeurIPS 2021): centres are uniform, colours are,
and a radius r, in sides of the picture, has a density in proportion to r^-3 − 1 on [SMALLEST, 1]; polygons have their
corners on the circle of that radius. Leaves are laid from the front to the back until nothing is left open, which is
the model's stationary law (Kendall and Thönnes, "Perfect simulation in stochastic geometry", 1999).
Rule: leaves are drawn in units of the side, so another side shows the same leaves.
"""

import math

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit
from mixbake.core.kernels.lanes import cosine, sine
from mixbake.core.rng import stream
from mixbake.data.quantised import uniforms
from mixbake.data.richness import PREVIEW, first_good, has_range
from mixbake.data.spectrum import draw_texture

DEADLEAVES_VERSION = 1
"""Raised whenever any picture changes, so that cached ones are drawn again."""

SMALLEST = 0.03
"""The least radius, in sides of the picture."""

CIRCLE, SQUARE, ORIENTED, RECTANGLE, TRIANGLE, QUADRILATERAL = range(6)

SHAPES: dict[str, tuple[int, ...]] = {
    "squares": (SQUARE,),
    "oriented": (ORIENTED,),
    "circles": (CIRCLE,),
    "mixed": (CIRCLE, SQUARE, ORIENTED, RECTANGLE, TRIANGLE, QUADRILATERAL),
    "textured": (CIRCLE, SQUARE, ORIENTED, RECTANGLE, TRIANGLE, QUADRILATERAL),
}
"""Choice -> the shapes that are drawn, equally often."""

TEXTURES = 4
"""Textures of a picture of textured leaves, from which each leaf takes another place and order of colours."""

TRIES = 16
"""Draws per number; few are too dark, light or even."""

_LOT = 512
"""Leaves drawn at a time."""

Pixels = NDArray[np.uint8]
Reals = NDArray[np.float64]


def draw_dead_leaves(number: int, *, seed: int, side: int, shapes: str) -> Pixels:
    """Picture `number` of a seed, uint8 side×side×3: the first of its draws that has light and dark.

    shapes: of SHAPES. Draw k comes from the stream ("deadleaves", shapes, seed, number, k).
    """
    chosen = first_good(TRIES, lambda k: has_range(_draw(number, seed, k, PREVIEW, shapes)))
    return _draw(number, seed, chosen, side, shapes)


def draw_radii(rng: np.random.Generator, count: int) -> Reals:
    """Radii in sides of the picture, float64[count]: of density in proportion to r^-3 − 1 on [SMALLEST, 1]."""
    kept = np.empty(0)
    while len(kept) < count:
        # The inverse of r^-3's distribution function, of which a share of 1 − r^3 is kept.
        share, chance = uniforms(rng, 0.0, 1.0, 2, count)
        radii = SMALLEST / np.sqrt(1.0 - share * (1.0 - SMALLEST * SMALLEST))
        kept = np.concatenate((kept, radii[chance < 1.0 - radii * radii * radii]))
    return kept[:count]


def _draw(number: int, seed: int, attempt: int, side: int, shapes: str) -> Pixels:
    rng = stream("deadleaves", shapes, seed, number, attempt)
    textures = _textures(number, seed, attempt, side) if shapes == "textured" else np.zeros((0, 1, 1, 3), np.uint8)
    out = np.zeros((side, side, 3), np.uint8)
    covered = np.zeros((side, side), np.bool_)
    left = side * side
    while left:
        radii = draw_radii(rng, _LOT)
        centres = uniforms(rng, 0.0, 1.0, _LOT, 2)
        kinds = np.array(SHAPES[shapes])[rng.integers(len(SHAPES[shapes]), size=_LOT)]
        angles = uniforms(rng, -math.pi, math.pi, _LOT, 4)
        fills = rng.integers(256, size=(_LOT, 4))
        left -= _lay(radii * side, centres * side, kinds, angles, fills, textures, out, covered)
    return out


def _textures(number: int, seed: int, attempt: int, side: int) -> Pixels:
    """TEXTURES periodic textures of about half the side."""
    half = max(side // 2, 8)
    paths = [("deadleaves", "texture", seed, number, attempt, texture) for texture in range(TEXTURES)]
    return np.stack([draw_texture(path, half) for path in paths])


@inline
def _corners(kind: int, angles: Reals, x: float, y: float, radius: float, corners: Reals) -> int:
    """Write the corners of a polygon, in order round the circle of its radius, into float64[4, 2]; returns how many."""
    count = 3 if kind == TRIANGLE else 4
    quarter, eighth, slant = 0.5 * math.pi, 0.25 * math.pi, 0.25 * (angles[0] + math.pi)
    for i in range(count):
        if kind == SQUARE:
            angle = (i - 1.5) * quarter
        elif kind == ORIENTED:
            angle = 0.25 * angles[0] - eighth + (i - 1) * quarter
        elif kind == RECTANGLE:
            angle = (slant, math.pi - slant, slant - math.pi, -slant)[i]
        else:
            angle = math.pi + eighth  # above all of them
            for other in angles[:count]:
                if other < angle and (i == 0 or other > corners[i - 1, 0]):
                    angle = other
        corners[i, 0] = angle
    for i in range(count):
        angle = corners[i, 0]
        corners[i, 0], corners[i, 1] = x + radius * cosine(angle), y + radius * sine(angle)
    return count


@inline
def _span(corners: Reals, count: int, middle: float) -> tuple[float, float]:
    """Where a horizontal line enters and leaves a convex polygon; (1, 0) where it misses it."""
    low, high = 1.0, 0.0
    for i in range(count):
        x0, y0 = corners[i, 0], corners[i, 1]
        x1, y1 = corners[(i + 1) % count, 0], corners[(i + 1) % count, 1]
        if (y0 <= middle) != (y1 <= middle):
            x = x0 + (middle - y0) * (x1 - x0) / (y1 - y0)
            low, high = (x, x) if low > high else (min(low, x), max(high, x))
    return low, high


@inline
def _fill(
    row: int, left: int, right: int, fill: NDArray[np.int64], textures: Pixels, out: Pixels, covered: NDArray[np.bool_]
) -> int:
    """Colour what is open of a row from `left` to `right`; returns how many pixels that were."""
    coloured = 0
    for column in range(left, right):
        if covered[row, column]:
            continue
        covered[row, column] = True
        coloured += 1
        for channel in range(3):
            value = fill[channel]
            if len(textures):
                height, width = textures.shape[1], textures.shape[2]
                down, across = (row + fill[0] * height // 256) % height, (column + fill[1] * width // 256) % width
                value = textures[fill[3] % TEXTURES, down, across, (channel + fill[2]) % 3]
                value = 255 - value if (fill[3] >> (channel + 4)) & 1 else value
            out[row, column, channel] = value
    return coloured


@jit
def _lay(
    radii: Reals,
    centres: Reals,
    kinds: NDArray[np.int64],
    angles: Reals,
    fills: NDArray[np.int64],
    textures: Pixels,
    out: Pixels,
    covered: NDArray[np.bool_],
) -> int:
    """Lay leaves behind those that lie already, in pixels; returns how many pixels they colour.

    fills: int64[n, 4] in 0..255, colour and a spare number; of textures, uint8[m, h, w, 3], the place and the texture.
    """
    side = len(out)
    corners = np.empty((4, 2))
    coloured = 0
    for leaf in range(len(radii)):
        radius, x, y = radii[leaf], centres[leaf, 0], centres[leaf, 1]
        count = 0
        if kinds[leaf] != CIRCLE:
            count = _corners(kinds[leaf], angles[leaf], x, y, radius, corners)
        for row in range(max(0, int(y - radius)), min(side, int(y + radius) + 1)):
            middle = row + 0.5
            if count:
                low, high = _span(corners, count, middle)
            else:
                square = radius * radius - (middle - y) * (middle - y)
                half = np.sqrt(max(square, 0.0))
                low, high = x - half, x + half
            left, right = max(0, int(np.ceil(low - 0.5))), min(side, int(np.ceil(high - 0.5)))
            coloured += _fill(row, left, right, fills[leaf], textures, out, covered)
    return coloured
