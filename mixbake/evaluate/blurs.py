"""Blur: corruptions that mix each pixel with its neighbours.

Rule: a function takes a picture, uint8 H×W×3, a generator (`_rng` where nothing is drawn) and the constants of one
severity; it gives uint8 H×W×3.
Steps and constants: Hendrycks, Dietterich (arXiv 1903.12261), section 4 and its public code.
"""

from functools import lru_cache

import numpy as np

from mixbake.core.jit import jit
from mixbake.evaluate.filters import (
    Field,
    Image,
    Places,
    gaussian_weights,
    smear,
    smooth,
    to_bytes,
    to_unit,
    weigh_neighbours,
    zoom_in,
)


def defocus_blur(image: Image, _rng: np.random.Generator, radius: float, softness: float) -> Image:
    """Each pixel becomes the mean of a disc of `radius` pixels, its rim softened by a Gaussian of `softness`.

    As published, even in that discs of radius 8 and 10 brighten by 1 per cent, because the softening mirrors their rim
    at the border of the kernel. Sums are float64, where OpenCV's kernel is float32, so that single levels may differ: a
    stand-in, never CIFAR-10-C.
    """
    rows, columns, weights = _disc(radius, softness)
    return to_bytes(weigh_neighbours(to_unit(image), rows, columns, weights, "reflect"))


@lru_cache(maxsize=16)
def _disc(radius: float, softness: float) -> tuple[Places, Places, Field]:
    """Offsets and weights: whole pixels within the radius, then a blur over 3 pixels, for radii above 8 over 5."""
    reach, rim = (8, 1) if radius <= 8 else (int(radius), 2)
    across = np.arange(-reach, reach + 1)
    disc = (across[:, None] ** 2 + across[None, :] ** 2 <= radius**2).astype(np.float64)
    soft = gaussian_weights(rim, softness)
    offsets = np.arange(-rim, rim + 1)
    rows, columns = (part.ravel() for part in np.meshgrid(offsets, offsets, indexing="ij"))
    disc = weigh_neighbours(disc / disc.sum(), rows, columns, np.outer(soft, soft).ravel(), "reflect")
    used = np.nonzero(disc)
    return used[0] - reach, used[1] - reach, disc[used]


def glass_blur(image: Image, rng: np.random.Generator, sigma: float, most: int, rounds: int) -> Image:
    """A Gaussian blur, then each pixel takes over one nearby, at most `most` pixels away, `rounds` times; a blur again.

    The published code writes the middle step as an exchange of two pixels, but what it does to an array is to copy
    the other one over; so does this. Otherwise as published, except for the random numbers: a stand-in, never
    CIFAR-10-C.
    """
    height, width = image.shape[:2]
    shaken = to_bytes(smooth(to_unit(image), sigma=sigma, truncate=4.0, border="edge"))
    _take_over(shaken, most, rng.integers(-most, most, size=(rounds, height - 2 * most, width - 2 * most, 2)))
    return to_bytes(smooth(to_unit(shaken), sigma=sigma, truncate=4.0, border="edge"))


@jit
def _take_over(image: Image, most: int, moves: Places) -> None:
    """In place, from the bottom right: later pixels see what earlier ones took. moves: (right, down) per pixel."""
    rounds, rows, columns, _ = moves.shape
    for turn in range(rounds):
        for row in range(rows + most, most, -1):
            for column in range(columns + most, most, -1):
                right, down = moves[turn, row - most - 1, column - most - 1]
                for channel in range(3):
                    image[row, column, channel] = image[row + down, column + right, channel]


def motion_blur(image: Image, rng: np.random.Generator, radius: int, sigma: float) -> Image:
    """A trail at an angle drawn from -45 to 45 degrees.

    The trail is `filters.smear`, an own statement of what ImageMagick does in the published code. ImageMagick 6.9.11,
    which works in 16 bits, gives another level (the next one) for 2 values of 1000. Otherwise as published, except for
    the random numbers: a stand-in, never CIFAR-10-C.
    """
    return to_bytes(smear(to_unit(image), radius=radius, sigma=sigma, angle=rng.uniform(-45.0, 45.0)))


def zoom_blur(image: Image, _rng: np.random.Generator, stop: float, step: float) -> Image:
    """The mean of the picture and of its enlargements by 1, 1 + step, ... below `stop`.

    As published, in float64 instead of float32: a stand-in, never CIFAR-10-C.
    """
    picture = to_unit(image)
    # numpy's own idea of where a range of floats ends decides, here as there: 1.06 itself is in the first one.
    factors = np.arange(1.0, stop, step)
    total = picture.copy()
    for factor in factors:
        total += zoom_in(picture, float(factor))
    return to_bytes(total / (len(factors) + 1))
