"""The families of generated mixing pictures: how one draw becomes one picture.

    draw parameters from rng  ->  fields at the asked resolution  ->  paint  ->  layers over grounds

Rule: parameters are drawn in the same order whatever the side, and only fields depend on the side, so a
small preview shows the very picture that the full side will show.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mixbake.data.escape import FOLDINGS, FORMULAS, PROBE, Orbit, Window, escape, fold, zoom
from mixbake.data.flames import Flame, draw_affine, draw_flame, fullest, render_flame
from mixbake.data.palettes import draw_palette, paint, stretch
from mixbake.data.plasma import draw_plasma

Field = NDArray[np.float32]
Colours = NDArray[np.float32]

MEAN_STEPS = 24.0
"""Windows whose orbits take more steps on average than this are left for another: they would be slow."""


def draw_flames(rng: np.random.Generator, side: int) -> Colours:
    """A flame over a dim ground."""
    return _glow(rng, fullest(rng, draw_flame, 0.4), side)


def draw_ifs(rng: np.random.Generator, side: int) -> Colours:
    """An affine iterated function system over a dim ground."""
    return _glow(rng, fullest(rng, draw_affine, 0.2), side)


def draw_zoom(rng: np.random.Generator, side: int) -> Colours:
    """A window at the boundary of the Mandelbrot set or one of its kin."""
    return _painted(rng, _zoom_field(rng, side))


def draw_julia(rng: np.random.Generator, side: int) -> Colours:
    """A Julia set whose constant lies at the boundary of its Mandelbrot set, often mirrored."""
    return _painted(rng, _julia_field(rng, side))


def draw_fold(rng: np.random.Generator, side: int) -> Colours:
    """A folding fractal that fills the frame, often as a kaleidoscope."""
    return _painted(rng, _fold_field(rng, side))


def draw_woven(rng: np.random.Generator, side: int) -> Colours:
    """A fractal whose colours are carried along by plasma: one field bends the other's palette."""
    carrier = (_zoom_field, _julia_field, _fold_field)[int(rng.integers(3))]
    weight = rng.uniform(0.25, 0.8)
    field = carrier(rng, side) + np.float32(weight) * _plasma_field(rng, side)
    return _painted(rng, field)


def draw_merged(rng: np.random.Generator, side: int) -> Colours:
    """Two fractals side by side in depth: plasma decides which of them is seen where."""
    front = draw_fold(rng, side) if rng.random() < 0.5 else draw_julia(rng, side)
    back = draw_ifs(rng, side) if rng.random() < 0.3 else draw_plasma_ground(rng, side)
    mask = np.clip((_plasma_field(rng, side) - np.float32(0.35)) * np.float32(4.0), 0.0, 1.0)
    return _over(back, front, mask)


def draw_crowned(rng: np.random.Generator, side: int) -> Colours:
    """A flame that glows in front of a folding fractal."""
    density, lit = _flame_layers(rng, fullest(rng, draw_flame, 0.4), side)
    return _over(draw_fold(rng, side) * np.float32(rng.uniform(0.35, 0.8)), lit, density)


def draw_plasma_ground(rng: np.random.Generator, side: int) -> Colours:
    """Plasma through a palette."""
    return _coloured(rng, _plasma_field(rng, side), rng.uniform(0.4, 1.6), rng.uniform(0.0, 0.8))


FAMILIES: dict[str, tuple[float, Callable[[np.random.Generator, int], Colours]]] = {
    "flame": (0.16, draw_flames),
    "ifs": (0.09, draw_ifs),
    "zoom": (0.14, draw_zoom),
    "julia": (0.15, draw_julia),
    "fold": (0.25, draw_fold),
    "woven": (0.10, draw_woven),
    "merged": (0.06, draw_merged),
    "crowned": (0.05, draw_crowned),
}
"""Name -> share of the draws, function. Shares sum to 1."""


def draw_family(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """One draw, good or weak: uint8 side×side×3."""
    shares = [share for share, _ in FAMILIES.values()]
    name = tuple(FAMILIES)[int(rng.choice(len(FAMILIES), p=shares))]
    colours = FAMILIES[name][1](rng, side)
    np.clip(colours, 0.0, 255.0, out=colours)
    return colours.astype(np.uint8)


def _coloured(rng: np.random.Generator, field: Field, cycles: float, relief: float) -> Colours:
    palette, phase = draw_palette(rng), rng.random()
    out = np.empty((*field.shape, 3), np.float32)
    paint(field, palette, cycles, phase, relief, out)
    return out


def _painted(rng: np.random.Generator, field: Field) -> Colours:
    cycles = math.exp(rng.uniform(math.log(0.6), math.log(3.5)))
    relief = rng.uniform(0.2, 0.9) if rng.random() < 0.4 else 0.0
    return _coloured(rng, stretch(field), cycles, relief)


def _over(back: Colours, front: Colours, cover: Field) -> Colours:
    back += (front - back) * cover[:, :, None]
    return back


def _glow(rng: np.random.Generator, flame: Flame, side: int) -> Colours:
    density, lit = _flame_layers(rng, flame, side)
    dim = rng.uniform(0.2, 0.7)
    ground = draw_plasma_ground(rng, side) if rng.random() < 0.7 else draw_fold(rng, side)
    return _over(ground * np.float32(dim), lit, density)


def _flame_layers(rng: np.random.Generator, flame: Flame, side: int) -> tuple[Field, Colours]:
    """Cover in [0, 1] and colours of a flame: hue follows the maps passed, brightness the density."""
    density, colour = render_flame(rng, flame, side)
    mix, gamma = rng.uniform(0.2, 0.9), rng.uniform(0.35, 0.7)
    lit = _coloured(rng, colour + np.float32(mix) * density, rng.uniform(0.6, 1.8), 0.0)
    lit *= np.float32(0.7) + np.float32(0.8) * density[:, :, None]
    return density ** np.float32(gamma), lit


def _plasma_field(rng: np.random.Generator, side: int) -> Field:
    seed, cells, roughness = int(rng.integers(2**62)), int(rng.integers(2, 6)), rng.uniform(0.42, 0.68)
    return stretch(draw_plasma(seed, side, cells=cells, roughness=roughness))


def _fold_field(rng: np.random.Generator, side: int) -> Field:
    folding = int(rng.integers(len(FOLDINGS)))
    low, high, factors = ((0.3, 1.1, (1.0, 1.0)), (-1.5, 1.5, (-2.2, -1.2)), (-1.0, 1.0, (0.8, 1.5)))[folding]
    constants = (rng.uniform(low, high), rng.uniform(low, high), rng.uniform(*factors))
    window = _mirrored(rng, Window(x=0.0, y=0.0, half=math.exp(rng.uniform(math.log(0.5), math.log(2.5)))))
    mean, trap = fold(folding, constants, int(rng.integers(3, 8)), window, side)
    return _mixture(rng, mean, trap)


def _mirrored(rng: np.random.Generator, window: Window) -> Window:
    """The window moved a little, turned, and in two of three cases mirrored into 1 to 8 sectors."""
    sectors = int(rng.choice((0, 0, 0, 1, 1, 3, 4, 5, 6, 8)))
    x, y = rng.uniform(-1.0, 1.0, 2) * window.half
    return Window(x=window.x + x, y=window.y + y, half=window.half, turn=rng.uniform(0, 2 * math.pi), sectors=sectors)


def _mixture(rng: np.random.Generator, first: Field, second: Field) -> Field:
    """Two fields of one orbit, each stretched, weighted at random."""
    share = np.float32(rng.uniform(0.0, 1.0))
    return (np.float32(1) - share) * stretch(first) + share * stretch(second)


def _zoom_field(rng: np.random.Generator, side: int) -> Field:
    formula = int(rng.integers(len(FORMULAS)))
    times = int(rng.integers(2, 7))
    orbit = Orbit(formula=formula, julia=None, steps=50 + 15 * times)
    window = _cheapest(rng, orbit, Window(x=-0.4, y=0.0, half=1.5), times)
    turned = Window(x=window.x, y=window.y, half=window.half, turn=rng.uniform(0, 2 * math.pi))
    return _escape_field(rng, orbit, turned, side)


def _julia_field(rng: np.random.Generator, side: int) -> Field:
    formula = int(rng.integers(len(FORMULAS)))
    parameter = zoom(rng, Orbit(formula=formula, julia=None, steps=200), Window(x=-0.4, y=0.0, half=1.5), 4)
    orbit = Orbit(formula=formula, julia=(parameter.x, parameter.y), steps=90)
    window = _cheapest(rng, orbit, Window(x=0.0, y=0.0, half=1.4), int(rng.integers(0, 4)))
    sectors = int(rng.choice((0, 0, 0, 1, 2, 3, 4, 6)))
    turned = Window(x=window.x, y=window.y, half=window.half, turn=rng.uniform(0, 2 * math.pi), sectors=sectors)
    return _escape_field(rng, orbit, turned, side)


def _cheapest(rng: np.random.Generator, orbit: Orbit, start: Window, times: int) -> Window:
    """The first of up to four zooms whose mean step count is within MEAN_STEPS, else the cheapest."""
    seen: list[tuple[float, Window]] = []
    for _ in range(4):
        window = zoom(rng, orbit, start, times)
        count, _ = escape(orbit, window, PROBE)
        seen.append((float(np.where(count < 0, orbit.steps, count).mean()), window))
        if seen[-1][0] <= MEAN_STEPS:
            break
    return min(seen, key=lambda pair: pair[0])[1]


def _escape_field(rng: np.random.Generator, orbit: Orbit, window: Window, side: int) -> Field:
    """Logarithm of the smooth step count outside, traps inside, and a share of the traps everywhere."""
    count, trap = escape(orbit, window, side)
    trap = stretch(trap)
    outside = np.log(np.maximum(count, np.float32(0.5)))
    level = np.where(count < 0, np.float32(0.5) * trap, stretch(outside))
    share = np.float32(rng.uniform(0.0, 0.5))
    return (np.float32(1) - share) * level + share * trap
