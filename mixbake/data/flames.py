"""Flames and affine iterated function systems, drawn by the chaos game.

Draves and Reckase, "The Fractal Flame Algorithm" (2003): each map is an affine map followed by a
weighted pair of non-linear variations; points carry a colour that mixes towards the colour of each
map they pass; density is shown on a logarithmic scale. With the linear variation alone this is the
system of FractalDB (Kataoka et al., "Pre-training without natural images", ACCV 2020).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit

Field = NDArray[np.float32]

VARIATIONS = (
    "linear", "sinusoidal", "spherical", "swirl", "horseshoe", "bent", "fisheye", "bubble",
    "polar", "handkerchief", "heart", "disc", "spiral", "hyperbolic", "diamond", "julia",
)  # fmt: skip
"""Variations in the order of their codes in the kernel; those from `polar` on need the angle."""

POLAR = VARIATIONS.index("polar")
PICKS = 256
"""Length of the table from which the chaos game picks maps: a map's share of it is its probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flame:
    """An iterated function system of k maps.

    affine: float64[k, 6], x' = ax + by + c, y' = dx + ey + f. kinds: int64[k, 2] codes of two variations.
    weights: float64[k, 2]. colours: float64[k] in [0, 1]. picks: uint8[PICKS]. symmetry: rotations of the
    whole attractor (1: none).
    """

    affine: NDArray[np.float64]
    kinds: NDArray[np.int64]
    weights: NDArray[np.float64]
    colours: NDArray[np.float64]
    picks: NDArray[np.uint8]
    symmetry: int


def draw_flame(rng: np.random.Generator) -> Flame:
    """Two to five maps, each with one or two variations, sometimes with rotational symmetry."""
    maps = int(rng.integers(2, 6))
    favourites = rng.integers(len(VARIATIONS), size=2)
    kinds = np.where(rng.random((maps, 2)) < 0.5, favourites, rng.integers(len(VARIATIONS), size=(maps, 2)))
    share = rng.uniform(0.5, 1.0, maps)
    return Flame(
        affine=np.array([_affine(rng, 0.35, 1.0) for _ in range(maps)]),
        kinds=kinds,
        weights=np.stack([share, 1.0 - share], axis=1),
        colours=rng.permutation(np.linspace(0.0, 1.0, maps)),
        picks=_picks(rng.uniform(0.4, 1.0, maps)),
        symmetry=int(rng.choice((1, 1, 1, 2, 3, 4, 5, 6))),
    )


def draw_affine(rng: np.random.Generator) -> Flame:
    """Three to six contracting affine maps, picked in proportion to how much area they cover."""
    maps = int(rng.integers(3, 7))
    affine = np.array([_affine(rng, 0.2, 0.68) for _ in range(maps)])
    area = np.abs(affine[:, 0] * affine[:, 4] - affine[:, 1] * affine[:, 3])
    return Flame(
        affine=affine,
        kinds=np.zeros((maps, 2), dtype=np.int64),
        weights=np.tile((1.0, 0.0), (maps, 1)),
        colours=rng.permutation(np.linspace(0.0, 1.0, maps)),
        picks=_picks(area + 0.04),
        symmetry=int(rng.choice((1, 1, 2, 3))),
    )


def fullest(rng: np.random.Generator, draw: Callable[[np.random.Generator], Flame], filling: float) -> Flame:
    """The first of up to eight draws that fills the share `filling` of its frame, else the one that fills most.

    The filling rate is FractalDB's criterion: thin dust and single curves are passed over.
    """
    seen: list[tuple[float, Flame]] = []
    for _ in range(8):
        flame = draw(rng)
        seen.append((_filling(flame), flame))
        if seen[-1][0] >= filling:
            break
    return max(seen, key=lambda pair: pair[0])[1]


def _filling(flame: Flame) -> float:
    """Share of a 24×24 grid over the frame that 4,000 points (and their rotations) reach."""
    points = np.empty((4000, 3))
    _play(flame.affine, flame.kinds, flame.weights, flame.colours, flame.picks, np.uint64(88172645463325252), points)
    histogram = np.zeros((24, 24, 2), np.float32)
    _scatter(points, _turns(flame.symmetry), _frame(points, flame.symmetry, 1.0), histogram)
    return float((histogram[..., 0] > 0).mean())


def _turns(symmetry: int) -> NDArray[np.float64]:
    """Cosine and sine of every rotation of a symmetry: float64[symmetry, 2]."""
    angles = [2 * math.pi * turn / symmetry for turn in range(symmetry)]
    return np.array([(math.cos(angle), math.sin(angle)) for angle in angles])


def _affine(rng: np.random.Generator, low: float, high: float) -> NDArray[np.float64]:
    """A random affine map whose singular values lie in [low, high]; half of them mirror the plane."""
    first, second = rng.uniform(-math.pi, math.pi, 2)
    long, short = rng.uniform(0.5 * (low + high), high), rng.uniform(low, high)
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    turn = np.array([[math.cos(first), -math.sin(first)], [math.sin(first), math.cos(first)]])
    back = np.array([[math.cos(second), -math.sin(second)], [math.sin(second), math.cos(second)]])
    matrix = turn @ np.diag((long, short * mirror)) @ back
    shift = rng.uniform(-1.0, 1.0, 2)
    return np.array([*matrix[0], shift[0], *matrix[1], shift[1]])


def _picks(weights: NDArray[np.float64]) -> NDArray[np.uint8]:
    ends = np.cumsum(weights) / weights.sum()
    return np.searchsorted(ends, (np.arange(PICKS) + 0.5) / PICKS).astype(np.uint8)


@inline
def _plain(kind: int, x: float, y: float) -> tuple[float, float]:
    """Variations 0 to 7: those that need no angle."""
    u, v, square = x, y, x * x + y * y + 1e-9
    if kind == 1:
        u, v = math.sin(x), math.sin(y)
    elif kind == 2:
        u, v = x / square, y / square
    elif kind == 3:
        sine, cosine = math.sin(square), math.cos(square)
        u, v = x * sine - y * cosine, x * cosine + y * sine
    elif kind == 4:
        radius = math.sqrt(square)
        u, v = (x - y) * (x + y) / radius, 2.0 * x * y / radius
    elif kind == 5:
        u, v = (x if x >= 0 else 2.0 * x), (y if y >= 0 else 0.5 * y)
    elif kind >= 6:
        factor = 2.0 / (math.sqrt(square) + 1.0) if kind == 6 else 4.0 / (square + 4.0)
        u, v = factor * x, factor * y
    return u, v


@inline
def _angular(kind: int, x: float, y: float) -> tuple[float, float]:
    """Variations 8 to 15: those of the angle (from the y axis) and the radius."""
    radius, angle = math.sqrt(x * x + y * y) + 1e-9, math.atan2(x, y)
    if kind == 8:
        u, v = angle / math.pi, radius - 1.0
    elif kind == 9:
        u, v = radius * math.sin(angle + radius), radius * math.cos(angle - radius)
    elif kind == 10:
        u, v = radius * math.sin(angle * radius), -radius * math.cos(angle * radius)
    elif kind == 11:
        u, v = angle / math.pi * math.sin(math.pi * radius), angle / math.pi * math.cos(math.pi * radius)
    elif kind == 12:
        u, v = (math.cos(angle) + math.sin(radius)) / radius, (math.sin(angle) - math.cos(radius)) / radius
    elif kind == 13:
        u, v = math.sin(angle) / radius, math.cos(angle) * radius
    elif kind == 14:
        u, v = math.sin(angle) * math.cos(radius), math.cos(angle) * math.sin(radius)
    else:
        root = math.sqrt(radius)
        u, v = root * math.cos(0.5 * angle), root * math.sin(0.5 * angle)
    return u, v


@inline
def _random(state: np.uint64) -> np.uint64:
    """Next state of a 64-bit xorshift generator (Marsaglia 2003)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@inline
def _step(
    affine: NDArray[np.float64], kinds: NDArray[np.int64], weights: NDArray[np.float64], pick: int, x: float, y: float
) -> tuple[float, float]:
    """Where map `pick` sends a point."""
    u = affine[pick, 0] * x + affine[pick, 1] * y + affine[pick, 2]
    v = affine[pick, 3] * x + affine[pick, 4] * y + affine[pick, 5]
    newx, newy = 0.0, 0.0
    for slot in range(2):
        weight = weights[pick, slot]
        if weight > 0.0:
            kind = kinds[pick, slot]
            p, q = _plain(kind, u, v) if kind < POLAR else _angular(kind, u, v)
            newx += weight * p
            newy += weight * q
    return newx, newy


@jit
def _play(
    affine: NDArray[np.float64],
    kinds: NDArray[np.int64],
    weights: NDArray[np.float64],
    colours: NDArray[np.float64],
    picks: NDArray[np.uint8],
    state: np.uint64,
    points: NDArray[np.float64],
) -> None:
    """Fill points float64[n, 3] with x, y and colour of successive points of the game."""
    x, y, colour = 0.1, 0.2, 0.5
    for index in range(-20, len(points)):
        state = _random(state)
        pick = picks[(state >> np.uint64(40)) & np.uint64(PICKS - 1)]
        x, y = _step(affine, kinds, weights, pick, x, y)
        colour = 0.5 * (colour + colours[pick])
        if not (abs(x) < 1e6 and abs(y) < 1e6):
            x, y = float(index % 7) * 0.1 - 0.3, float(index % 5) * 0.1 - 0.2
        if index >= 0:
            points[index, 0], points[index, 1], points[index, 2] = x, y, colour


@jit
def _scatter(
    points: NDArray[np.float64], turns: NDArray[np.float64], window: NDArray[np.float64], histogram: NDArray[np.float32]
) -> None:
    """Count every point and its rotations into histogram float32[side, side, 2]: density, summed colour."""
    side = histogram.shape[0]
    scale = side / (2.0 * window[2])
    for index in range(len(points)):
        x, y, colour = points[index, 0], points[index, 1], points[index, 2]
        for turn in range(len(turns)):
            cosine, sine = turns[turn, 0], turns[turn, 1]
            column = (cosine * x - sine * y - window[0] + window[2]) * scale
            row = (sine * x + cosine * y - window[1] + window[2]) * scale
            if 0.0 <= column < side and 0.0 <= row < side:
                histogram[int(row), int(column), 0] += np.float32(1.0)
                histogram[int(row), int(column), 1] += np.float32(colour)


def render_flame(rng: np.random.Generator, flame: Flame, side: int) -> tuple[Field, Field]:
    """Play the game and look at where most points fall.

    Returns the tone-mapped density in [0, 1] and the mean colour in [0, 1], both float32 side×side.
    """
    state, zoom = np.uint64(rng.integers(1, 2**63)), rng.uniform(0.7, 1.05)
    # Small pictures are drawn finer and averaged, or every thin line would fill whole pixels.
    finer = max(1, 256 // side)
    fine = finer * side
    points = np.empty((max(1 << 14, 3 * fine * fine // (flame.symmetry + 2)), 3))
    _play(flame.affine, flame.kinds, flame.weights, flame.colours, flame.picks, state, points)
    histogram = np.zeros((fine, fine, 2), np.float32)
    _scatter(points, _turns(flame.symmetry), _frame(points, flame.symmetry, zoom), histogram)
    smooth = _soften(histogram)
    colour: Field = np.divide(smooth[..., 1], np.maximum(smooth[..., 0], np.float32(1e-6)), dtype=np.float32)
    density = _tone(smooth[..., 0])
    cover = _mean(density, finer)
    tint: Field = np.divide(_mean(colour * density, finer), np.maximum(cover, np.float32(1e-6)), dtype=np.float32)
    return cover, tint


def _mean(field: Field, factor: int) -> Field:
    """Means over factor×factor pixels."""
    side = len(field) // factor
    return np.asarray(field.reshape(side, factor, side, factor).mean(axis=(1, 3)), dtype=np.float32)


def _frame(points: NDArray[np.float64], symmetry: int, zoom: float) -> NDArray[np.float64]:
    """Centre x, y and half side of the square that holds the middle 94 % of the points on either axis, times `zoom`."""
    low, high = np.percentile(points[: 1 << 14, :2], (3, 97), axis=0)
    if symmetry > 1:
        reach = float(np.percentile(np.hypot(points[: 1 << 14, 0], points[: 1 << 14, 1]), 95))
        return np.array([0.0, 0.0, zoom * max(reach, 1e-3)])
    centre = 0.5 * (low + high)
    return np.array([*centre, zoom * 0.55 * max(float((high - low).max()), 1e-3)])


def _soften(histogram: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where few points fell, the mean over 3×3 pixels: grain goes, edges of dense parts stay."""
    mean = histogram.copy()
    mean[1:] += histogram[:-1]
    mean[:-1] += histogram[1:]
    rows = mean.copy()
    mean[:, 1:] += rows[:, :-1]
    mean[:, :-1] += rows[:, 1:]
    mean /= np.float32(9)
    keep = (histogram[..., :1] / (histogram[..., :1] + np.float32(6))).astype(np.float32)
    return mean + (histogram - mean) * keep


def _tone(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithm of the density, 1 at its 99.5th percentile."""
    level = np.log1p(density)
    top = max(float(np.percentile(level.reshape(-1)[::5], 99.5)), 1e-6)
    return np.minimum(level / np.float32(top), np.float32(1))
