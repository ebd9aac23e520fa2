"""Parameters of drawn pictures, drawn as integers: numbers that every CPU agrees on to the last bit.

Rule: nothing here or downstream goes through libm; integers, + − × ÷ and square roots are the same everywhere.
"""

import numpy as np
from numpy.typing import NDArray

MICRO = 1_000_000
"""Numbers are drawn in steps of a millionth of their range."""


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number of the MICRO + 1 from `low` to `high`, both included."""
    return low + (high - low) * (int(rng.integers(MICRO + 1)) / MICRO)


def uniforms(rng: np.random.Generator, low: float, high: float, *shape: int) -> NDArray[np.float64]:
    """An array of such numbers."""
    drawn: NDArray[np.float64] = low + (high - low) * (rng.integers(MICRO + 1, size=shape) / MICRO)
    return drawn


def raw_words(rng: np.random.Generator, count: int) -> NDArray[np.uint64]:
    """Words of the stream as Philox makes them."""
    words: NDArray[np.uint64] = rng.bit_generator.random_raw(count)
    return words
