"""Attractors of random affine maps in white on black, drawn as points: the pictures of FractalDB.

Kataoka et al., "Pre-training without Natural Images" (ACCV 2020): two to seven maps whose six numbers are uniform on
[−1, 1], picked in proportion to the area they leave; 100,000 points of the chaos game, stretched to the frame, on 512²
pixels. A system is a category if these points fill a share FILLING of the pixels. (Their renderer paints level 127 on
black, and varies the numbers of one system; here every picture is a system of its own.)
Rule: which system is taken is judged at JUDGED pixels, whatever the side that is drawn.
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import jit
from mixbake.core.rng import stream
from mixbake.data.quantised import raw_words, uniforms
from mixbake.data.richness import first_good

IFS_VERSION = 1
"""Raised whenever any picture changes, so that cached ones are drawn again."""

FILLING = 0.2
"""Share of the pixels that a system's points must fill."""

JUDGED = 512
"""Side of the picture on which it is measured."""

POINTS = 100_000
"""Points of such a picture; other sides have as many a pixel."""

MARGIN = 6 / 512
"""Left black round the points, in sides of the picture."""

MAPS = (2, 7)
TRIES = 4096
"""Draws per number; about one in 44 fills its frame, so the last one is reached for no number in practice."""

STAGES = ((1_000, 0.0033), (10_000, 0.03), (POINTS, FILLING))
"""Points, and the share of the pixels that they must fill: few systems need the whole game to be known as too thin.

Points meet others ever more often, so systems that fill FILLING in the end are well above the first two: of 68 such
systems the thinnest had 0.0037 and 0.035.
"""

Pixels = NDArray[np.uint8]
Reals = NDArray[np.float64]


def draw_attractor(number: int, *, seed: int, side: int) -> Pixels:
    """Picture `number` of a seed, uint8 side×side×3, 0 or 255: the first of its systems that fills its frame.

    System k comes from the stream ("ifs", seed, number, k).
    """
    chosen = first_good(TRIES, lambda k: _is_filling(number, seed, k))
    shown = _game(number, seed, chosen, max(POINTS, _points(side)))
    plane = np.zeros((side, side), np.uint8)
    _scatter(shown[: _points(side)], _frame(shown[:POINTS]), plane)
    return np.repeat(plane[:, :, None], 3, axis=2)


def filling(plane: Pixels) -> float:
    """Share of the pixels that are not black."""
    return int(np.count_nonzero(plane)) / plane.size


def _points(side: int) -> int:
    return POINTS * side * side // (JUDGED * JUDGED)


def _is_filling(number: int, seed: int, attempt: int) -> bool:
    for count, needed in STAGES:
        points = _game(number, seed, attempt, count)
        plane = np.zeros((JUDGED, JUDGED), np.uint8)
        _scatter(points, _frame(points), plane)
        if filling(plane) < needed:
            return False
    return True


def _game(number: int, seed: int, attempt: int, count: int) -> Reals:
    """The first points of a system's game, float64[count, 2]; more of them begin with the same ones."""
    rng = stream("ifs", seed, number, attempt)
    maps = uniforms(rng, -1.0, 1.0, int(rng.integers(MAPS[0], MAPS[1] + 1)), 6)
    points = np.zeros((count, 2))
    _play(maps, raw_words(rng, (count + 1) // 2).view(np.uint32), points)
    return points


@jit
def _play(maps: Reals, words: NDArray[np.uint32], points: Reals) -> None:
    """Fill points float64[n, 2] from the first on; word i picks the map of point i. A game that runs away ends."""
    count = len(maps)
    ends = np.empty(count)
    total = 0.0
    for i in range(count):
        total += abs(maps[i, 0] * maps[i, 3] - maps[i, 1] * maps[i, 2])
        ends[i] = total
    x, y = 0.0, 0.0
    for point in range(len(points)):
        share = words[point] * (total / 4294967296.0)
        pick = 0
        while pick < count - 1 and share >= ends[pick]:
            pick += 1
        x, y = (
            maps[pick, 0] * x + maps[pick, 1] * y + maps[pick, 4],
            maps[pick, 2] * x + maps[pick, 3] * y + maps[pick, 5],
        )
        if not (abs(x) < 1e6 and abs(y) < 1e6):
            return
        points[point, 0], points[point, 1] = x, y


@jit
def _frame(points: Reals) -> Reals:
    """Least x, least y, and extents, float64[4]."""
    left, right, top, bottom = points[0, 0], points[0, 0], points[0, 1], points[0, 1]
    for point in range(len(points)):
        x, y = points[point, 0], points[point, 1]
        left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    return np.array((left, top, max(right - left, 1e-9), max(bottom - top, 1e-9)))


@jit
def _scatter(points: Reals, frame: Reals, plane: Pixels) -> None:
    """Whiten the pixel of every point that lies in the frame."""
    side = len(plane)
    margin = MARGIN * side
    across, down = (side - 2.0 * margin) / frame[2], (side - 2.0 * margin) / frame[3]
    for point in range(len(points)):
        column = int((points[point, 0] - frame[0]) * across + margin)
        row = int((points[point, 1] - frame[1]) * down + margin)
        if 0 <= column < side and 0 <= row < side:
            plane[row, column] = 255
