"""The mixing pictures `fractals`: colourful ones of many families, each a pure function of (number, seed, side).

What is drawn is in `families`, what is kept in `richness`.
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.core.rng import stream
from mixbake.data.families import FAMILIES, draw_family
from mixbake.data.richness import PREVIEW, first_good, shortfalls

FRACTALS_VERSION = 1
"""Raised whenever any picture changes, so that cached ones are drawn again."""

TRIES = 24
"""Draws per number; about two in five are weak, so the last one is reached for no number in practice."""


def draw_fractal(number: int, *, seed: int, side: int) -> NDArray[np.uint8]:
    """Picture `number` of a seed, uint8 side×side×3: the first of its draws whose preview is rich enough.

    Draw k comes from the stream ("fractals", seed, number, k). Another side shows the same picture.
    """
    chosen = first_good(TRIES, lambda k: not shortfalls(_draw(number, seed, k, PREVIEW)))
    return _draw(number, seed, chosen, side)


def _draw(number: int, seed: int, attempt: int, side: int) -> NDArray[np.uint8]:
    return draw_family(stream("fractals", seed, number, attempt), side)


def compile_families() -> None:
    """Draw one of each family, so that every kernel they need is compiled."""
    for _, draw in FAMILIES.values():
        draw(stream("fractals", "warm"), PREVIEW)
