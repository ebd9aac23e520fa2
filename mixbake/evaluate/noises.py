"""Noise: corruptions that change every value, or some, without looking at its neighbours.

Rule: a function takes a picture, uint8 H×W×3, a generator (`_rng` where nothing is drawn) and the constants of one
severity; it gives uint8 H×W×3.
Steps and constants: Hendrycks, Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (arXiv 1903.12261), section 4 and its public code.
"""

import numpy as np

from mixbake.evaluate.filters import Image, to_bytes, to_unit


def gaussian_noise(image: Image, rng: np.random.Generator, spread: float) -> Image:
    """Adds a normal number of standard deviation `spread` (of 1) to every value.

    As published, except for the random numbers: a stand-in, never CIFAR-10-C.
    """
    return to_bytes(to_unit(image) + rng.normal(scale=spread, size=image.shape))


def shot_noise(image: Image, rng: np.random.Generator, photons: float) -> Image:
    """Every value becomes a Poisson number of light particles, of which full white has `photons`.

    As published, except for the random numbers: a stand-in, never CIFAR-10-C.
    """
    return to_bytes(rng.poisson(to_unit(image) * photons) / photons)


def impulse_noise(image: Image, rng: np.random.Generator, share: float) -> Image:
    """A `share` of all values becomes 0 or 255, either as often.

    As published (scikit-image's salt and pepper, each channel on its own), except for the random numbers: a
    stand-in, never CIFAR-10-C.
    """
    hit = rng.random(image.shape) <= share
    extremes = np.where(rng.random(image.shape) <= 0.5, np.uint8(255), np.uint8(0))
    return np.where(hit, extremes, image)
