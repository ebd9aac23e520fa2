"""Colours of the generated pictures: cyclic tables drawn from a hue scheme, and how fields are painted.

A field is one number a pixel. Painting looks it up in a palette and may light it as if it were a relief.
Rule: a palette always spans dark to light, so that a field with structure gives a picture with contrast.
"""

import colorsys

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import jit

PALETTE = 1024
"""Entries of a palette; the last one runs smoothly into the first."""

SCHEMES: dict[str, tuple[float, ...]] = {
    "one hue": (0.0, 0.03, -0.03),
    "neighbours": (0.0, 0.08, 0.16, -0.08),
    "opposites": (0.0, 0.5, 0.04, 0.54),
    "triad": (0.0, 1 / 3, 2 / 3),
    "split": (0.0, 0.42, 0.58),
    "tetrad": (0.0, 0.25, 0.5, 0.75),
    "rainbow": (0.0, 0.17, 0.33, 0.5, 0.67, 0.83),
}
"""Name -> hues that go together, in turns from the first one."""

WHEEL = (0.0, 0.045, 0.085, 0.12, 0.155, 0.25, 0.38, 0.47, 0.53, 0.57, 0.61, 0.66, 0.74, 0.84, 0.94, 1.0)
"""HSV hues at equal steps of the painters' wheel: warm colours and blues get the room that HSV gives to green."""

Palette = NDArray[np.float32]
Field = NDArray[np.float32]


def draw_palette(rng: np.random.Generator) -> Palette:
    """A cyclic palette, float32[PALETTE, 3] in 0..255: 4 to 8 colour stops between a dark and a light one."""
    hues = tuple(SCHEMES.values())[rng.integers(len(SCHEMES))]
    first, stops = rng.random(), int(rng.integers(4, 9))
    saturation = 1.0 - 0.55 * rng.random() ** 3
    levels = rng.uniform(0.22, 0.72, stops)
    levels[0], levels[int(rng.integers(2, stops - 1))] = rng.uniform(0.03, 0.2), rng.uniform(0.75, 0.97)
    colours = np.empty((stops, 3))
    for stop in range(stops):
        hue = first + hues[int(rng.integers(len(hues)))] + rng.uniform(-0.03, 0.03)
        colours[stop] = _colour(hue, levels[stop], saturation * rng.uniform(0.75, 1.0))
    gaps = rng.uniform(0.4, 1.6, stops)
    return _ring(colours, np.cumsum(gaps) / gaps.sum())


def _colour(hue: float, luminance: float, saturation: float) -> NDArray[np.float64]:
    """RGB in 0..255 of about the given luminance; colourful at every level, unlike HSV."""
    tint = float(np.interp(hue % 1.0, np.linspace(0.0, 1.0, len(WHEEL)), WHEEL))
    pure = np.array(colorsys.hsv_to_rgb(tint, 1.0, 1.0))
    grey = float(pure @ (0.299, 0.587, 0.114))
    # Towards black below the hue's own luminance, towards white above it: full colour is kept in between.
    toned = pure * (luminance / grey) if luminance <= grey else 1 - (1 - pure) * ((1 - luminance) / (1 - grey))
    return np.clip(luminance + saturation * (toned - luminance), 0.0, 1.0) * 255.0


def _ring(colours: NDArray[np.float64], ends: NDArray[np.float64]) -> Palette:
    """Stops placed at `ends` (ascending to 1) around the ring, joined by smoothstep."""
    at = np.arange(PALETTE) / PALETTE
    segment = np.searchsorted(ends, at, side="right")
    starts = np.concatenate(([0.0], ends[:-1]))
    share = (at - starts[segment]) / (ends - starts)[segment]
    share = (share * share * (3 - 2 * share))[:, None]
    here, after = colours[segment], colours[(segment + 1) % len(colours)]
    return (here + (after - here) * share).astype(np.float32)


def stretch(field: Field) -> Field:
    """The field scaled so that its 1st and 99th percentile (of every 7th pixel) lie at 0 and 1; not clipped."""
    low, high = np.percentile(field.reshape(-1)[::7], (1, 99))
    span = np.float32(max(float(high - low), 1e-6))
    return np.asarray((field - np.float32(low)) / span, dtype=np.float32)


@jit
def paint(field: Field, palette: Palette, cycles: float, phase: float, relief: float, out: NDArray[np.float32]) -> None:
    """Look up `field * cycles + phase` (in turns of the palette) and light it from the upper left.

    out: float32 H×W×3. relief: 0 is flat; 1 brightens and darkens slopes by up to a factor of about 1.6.
    """
    height, width = field.shape
    for row in range(height):
        for column in range(width):
            value = field[row, column]
            turn = value * cycles + phase
            place = (turn - np.floor(turn)) * PALETTE
            index = min(int(place), PALETTE - 1)
            share = place - index
            after = (index + 1) % PALETTE
            light = 1.0
            if relief > 0.0:
                right = field[row, min(column + 1, width - 1)] - field[row, max(column - 1, 0)]
                down = field[min(row + 1, height - 1), column] - field[max(row - 1, 0), column]
                slope = (right + down) * cycles * 0.03 * width
                light = 1.0 + 0.6 * relief * slope / (1.0 + abs(slope))
            for channel in range(3):
                near, far = palette[index, channel], palette[after, channel]
                out[row, column, channel] = (near + (far - near) * share) * light
