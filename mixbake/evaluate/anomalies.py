"""Pictures of nothing, drawn: Gaussian noise, Rademacher noise, blobs, which a network should not be sure about.

Constants and steps: Hendrycks, Mazeika, Dietterich, "Deep anomaly detection with outlier exposure" (arXiv 1812.04606),
and its public code, github.com/hendrycks/outlier-exposure, CIFAR/test.py; PixMix (arXiv 2112.05135) detects the same.
There values from -1 to 1 go into the network; here they are pixels from 0 to 255, which is the same to a network
whose means and deviations are 0.5, as in PixMix's code. Ours are cut to whole levels.
Rule: a picture depends on its seed, its kind and its number alone.
"""

from collections.abc import Callable, Mapping

import numpy as np

from mixbake.core.rng import stream
from mixbake.errors import UsageError
from mixbake.evaluate.filters import Image, smooth, smoothing, to_bytes

KNOWN_PER_ANOMALY = 5
"""The papers take a fifth as many anomalies as there are test pictures: AUPR depends on it."""


def gaussian(rng: np.random.Generator, size: int) -> Image:
    """Every value normal about grey, with a standard deviation of a quarter of the scale, clipped."""
    return to_bytes(rng.normal(0.5, 0.25, size=(size, size, 3)))


def rademacher(rng: np.random.Generator, size: int) -> Image:
    """Every value 0 or 255, either as often."""
    return rng.integers(0, 2, size=(size, size, 3), dtype=np.uint8) * np.uint8(255)


def blobs(rng: np.random.Generator, size: int) -> Image:
    """Coloured values 1 with probability 0.7, blurred, and black wherever less than 0.75 is left.

    The blur is Gaussian, over the colours too, so that blobs are grey with coloured rims; edges repeat. Its width is
    1.5 pixels, above 32 pixels a side 2, as in TinyImageNet/test.py of the same code.
    """
    width = 1.5 if size <= 32 else 2.0
    lit = (rng.random((size, size, 3)) < 0.7).astype(np.float64)
    blurred = smooth(lit, sigma=width, truncate=4.0, border="edge") @ smoothing(3, width, 4.0, "edge").T
    return to_bytes(np.where(blurred < 0.75, 0.0, blurred))


ANOMALIES: Mapping[str, Callable[[np.random.Generator, int], Image]] = {
    "gaussian": gaussian,
    "rademacher": rademacher,
    "blobs": blobs,
}
"""Name -> (rng, size) -> picture, uint8 size×size×3."""


def draw_anomalies(name: str, count: int, *, size: int, seed: int, first: int = 0) -> Image:
    """`count` pictures of one kind, uint8 n×size×size×3; first: number of the first.

    Each draws from a stream of its own, (seed, "anomaly", name, number), so that any slice has the pixels of the whole.
    Raises UsageError for a name that there is not.
    """
    if name not in ANOMALIES:
        raise UsageError(f"no anomaly is called {name!r}: take one of {', '.join(ANOMALIES)}, or a folder")
    drawn = np.empty((count, size, size, 3), np.uint8)
    for place in range(count):
        drawn[place] = ANOMALIES[name](stream(seed, "anomaly", name, first + place), size)
    return drawn
