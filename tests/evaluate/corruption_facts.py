"""What the tests of corruptions share: published facts, pictures, random numbers."""

import itertools

import numpy as np
from numpy.typing import NDArray

from mixbake.core.rng import stream
from mixbake.data.demo import draw_demo
from mixbake.evaluate.corruptions import SCALES, SEVERITIES

Image = NDArray[np.uint8]

# arXiv 1903.12261, table 1, left to right.
NAMES = [
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
]  # fmt: skip

# github.com/hendrycks/robustness, ImageNet-C/create_c: make_cifar_c.py, then make_imagenet_c.py.
PUBLISHED = {
    "gaussian_noise": ([0.04, 0.06, 0.08, 0.09, 0.1], [0.08, 0.12, 0.18, 0.26, 0.38]),
    "shot_noise": ([500, 250, 100, 75, 50], [60, 25, 12, 5, 3]),
    "impulse_noise": ([0.01, 0.02, 0.03, 0.05, 0.07], [0.03, 0.06, 0.09, 0.17, 0.27]),
    "brightness": ([0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5]),
    "contrast": ([0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05]),
    "pixelate": ([0.95, 0.9, 0.85, 0.75, 0.65], [0.6, 0.5, 0.4, 0.3, 0.25]),
    "jpeg_compression": ([80, 65, 58, 50, 40], [25, 18, 15, 10, 7]),
}

EACH = list(itertools.product(SCALES, SEVERITIES))


def demo(side: int, count: int, first: int = 0) -> Image:
    return np.stack([draw_demo(number, size=side, split="test") for number in range(first, first + count)])


def flat(level: int, side: int) -> Image:
    return np.full((side, side, 3), level, np.uint8)


def rng_of(*path: str | int) -> np.random.Generator:
    return stream("test", *path)


def distance(one: Image, other: Image) -> float:
    return float(((one.astype(np.float64) - other) ** 2).mean())
