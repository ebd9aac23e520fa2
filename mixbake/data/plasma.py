"""Plasma: random fields with structure at every scale, used as grounds and as masks.

Midpoint displacement on a torus: Fournier, Fussell, Carpenter, "Computer rendering of stochastic
models" (CACM 1982).
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.core.rng import stream

Field = NDArray[np.float32]


def draw_plasma(seed: int, side: int, *, cells: int, roughness: float) -> Field:
    """A float32 side×side field of about unit range; another side shows the same field at its resolution.

    cells: values a side that the coarsest level starts from. roughness: amplitude kept from a level to
    the next finer one, 0.4 (smooth clouds) to 0.75 (rugged).
    """
    rng = stream("plasma", seed)
    field = rng.random((cells, cells), dtype=np.float32)
    amplitude = 1.0
    while len(field) < side:
        amplitude *= roughness
        field = _refine(rng, field, np.float32(amplitude))
    chosen = np.arange(side) * len(field) // side
    return np.ascontiguousarray(field[np.ix_(chosen, chosen)])


def _refine(rng: np.random.Generator, coarse: Field, amplitude: np.float32) -> Field:
    """Twice the side: new nodes are means of their neighbours, then displaced by up to ±amplitude/2."""
    count = len(coarse)
    fine = np.empty((2 * count, 2 * count), dtype=np.float32)
    noise = (rng.random((3, count, count), dtype=np.float32) - np.float32(0.5)) * amplitude
    below = np.roll(coarse, -1, axis=0)
    fine[::2, ::2] = coarse
    fine[1::2, ::2] = (coarse + below) * np.float32(0.5) + noise[0]
    fine[::2, 1::2] = (coarse + np.roll(coarse, -1, axis=1)) * np.float32(0.5) + noise[1]
    centre = (fine[1::2, ::2] + np.roll(fine[1::2, ::2], -1, axis=1)) * np.float32(0.5)
    fine[1::2, 1::2] = centre + noise[2]
    return fine
