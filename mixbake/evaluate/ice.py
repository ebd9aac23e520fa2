"""Ice on a window, drawn: ferns of frost that grow in all directions, for the corruption `frost`.

The published corruption cuts its ice out of photographs, which lie beside its code. This has in common with them only
how bright they are, how much they vary, and on what lengths: the constants below were chosen for that.
Rule: a texture is drawn in pixels of such a photograph, so that small pictures see it from farther away.
"""

import math

import numpy as np

from mixbake.evaluate.filters import Field, Places

CELL = 32.0
"""Pixels of a photograph from one fern to the next, on average."""

LONG = 150.0
"""Pixels of a photograph from thick ice to thin, where it varies slowly."""

BARB = (1.2, 3.5)
"""Width of a fern's barbs in pixels of a photograph, least and most."""

BARBS = 32
"""After so many barbs a fern's pattern comes again."""

LIGHT = (115.0, 215.0)
"""Level that a texture lies about: luma means of 224-pixel cuts from the five photographs in use are 111 to 202."""

SPREAD = (14.0, 34.0)
"""Standard deviation of a texture, in levels. In those cuts, luma: 16 to 37."""

BLUENESS = (0.0, 0.25)
"""How much less red than green there is. In those photographs: 2 to 48 per cent, 10 or less in four of the five."""


def draw_ice(height: int, width: int, *, pixel: float, rng: np.random.Generator) -> Field:
    """A texture in [0, 1], float64 H×W×3; pixel: how many pixels of a photograph one pixel here is wide."""
    down, across = (np.asarray(np.arange(side) * pixel, dtype=np.float64) for side in (height, width))
    grown = _ferns(down, across, rng)
    grown += 0.35 * _patches(down, across, CELL, rng) + 0.5 * _patches(down, across, LONG, rng)
    grown += 0.1 * rng.normal(size=(height, width))
    grown = (grown - grown.mean()) / grown.std()
    light, spread, blueness = (rng.uniform(*bounds) for bounds in (LIGHT, SPREAD, BLUENESS))
    tint = np.array([1.0 - blueness, 1.0, 1.0 + 0.3 * blueness])
    return np.asarray(np.clip((light + spread * grown)[..., None] * tint / 255.0, 0.0, 1.0))


def _ferns(down: Field, across: Field, rng: np.random.Generator) -> Field:
    """Every place belongs to the nearest of scattered seeds, and lies on its fern: a spine with slanting barbs."""
    count = max(4, round(float(down[-1] * across[-1]) / CELL**2))
    seeds = rng.random((count, 2)) * (down[-1], across[-1])
    turns, widths = rng.uniform(0.0, 2.0 * math.pi, count), rng.uniform(*BARB, count)
    # Bent lines: neither spines nor the borders of cells are straight.
    y, x = (bent[None] for bent in _bent(down, across, rng))
    y, x = y - seeds[:, 0, None, None], x - seeds[:, 1, None, None]
    owner = np.argmin(y * y + x * x, axis=0)
    y, x = (np.take_along_axis(part, owner[None], axis=0)[0] for part in (y, x))
    cosine, sine = np.cos(turns)[owner], np.sin(turns)[owner]
    along, aside = cosine * x + sine * y, np.abs(cosine * y - sine * x)
    # Ice grows in directions 60 degrees apart: barbs leave the spine at that angle.
    barb, share = _eased((along - aside / math.sqrt(3.0)) / widths[owner])
    lights = rng.random((count, BARBS))
    first, second = lights[owner, barb % BARBS], lights[owner, (barb + 1) % BARBS]
    return np.asarray(np.maximum(first + (second - first) * share, 1.0 - aside / 3.0))


def _bent(down: Field, across: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    rows, columns = (12.0 * _patches(down, across, CELL, rng) for _ in range(2))
    return rows + down[:, None], columns + across[None, :]


def _patches(down: Field, across: Field, length: float, rng: np.random.Generator) -> Field:
    """Thick and thin ice: values of -1 to 1 on a grid of `length` pixels, joined smoothly."""
    (top, share_down), (left, share_right) = (_eased(line / length + rng.random()) for line in (down, across))
    nodes = rng.uniform(-1.0, 1.0, size=(int(top[-1]) + 2, int(left[-1]) + 2))
    lines = nodes[top] + (nodes[top + 1] - nodes[top]) * share_down[:, None]
    return np.asarray(lines[:, left] + (lines[:, left + 1] - lines[:, left]) * share_right)


def _eased(line: Field) -> tuple[Places, Field]:
    """The whole number before each value, and how far it is from there to the next, without a kink at either."""
    before = np.floor(line)
    share = line - before
    return before.astype(np.int64), share * share * (3.0 - 2.0 * share)
