"""Digital: corruptions by a camera's settings, by storing and by bending: contrast, elastic, pixelate, JPEG.

Rule: a function takes a picture, uint8 H×W×3, a generator (`_rng` where nothing is drawn) and the constants of one
severity; it gives uint8 H×W×3.
Steps and constants: Hendrycks, Dietterich (arXiv 1903.12261), section 4 and its public code.
"""

import io

import numpy as np
from PIL import Image as Pillow

from mixbake.evaluate.filters import Field, Image, sample, smooth, to_bytes, to_unit


def contrast(image: Image, _rng: np.random.Generator, factor: float) -> Image:
    """Draws every value towards the mean of its channel.

    As published: a stand-in, never CIFAR-10-C.
    """
    picture = to_unit(image)
    means = picture.mean(axis=(0, 1))
    return to_bytes((picture - means) * factor + means)


def elastic_transform(image: Image, rng: np.random.Generator, height: float, sigma: float, jitter: float) -> Image:
    """An affine map that moves three points by up to `jitter` pixels, then waves.

    The waves are uniform numbers, blurred by a Gaussian of `sigma` pixels and multiplied by `height`. OpenCV rounds
    places of the affine map to 1/32 pixel, this does not; otherwise as published, except for the random numbers: a
    stand-in, never CIFAR-10-C.
    """
    rows, columns = np.indices(image.shape[:2], dtype=np.float64)
    back = _inverse_affine(image.shape[0], image.shape[1], rng, jitter)
    x, y = (a * columns + b * rows + c for a, b, c in back)
    moved = sample(to_unit(image), y, x, "reflect")
    right, down = (
        height * smooth(rng.uniform(-1.0, 1.0, rows.shape), sigma=sigma, truncate=3.0, border="symmetric")
        for _ in range(2)
    )
    return to_bytes(sample(moved, rows + down, columns + right, "symmetric"))


def _inverse_affine(height: int, width: int, rng: np.random.Generator, jitter: float) -> Field:
    """float64[2, 3]: x and y in the picture, from column, row and 1 in the result."""
    arm = min(height, width) // 3
    x, y = width // 2, height // 2
    points = np.array([(x + arm, y + arm), (x + arm, y - arm), (x - arm, y - arm)], dtype=np.float64)
    moved = points + rng.uniform(-jitter, jitter, size=points.shape)
    return np.asarray(np.linalg.solve(np.column_stack([moved, np.ones(3)]), points).T, dtype=np.float64)


def pixelate(image: Image, _rng: np.random.Generator, factor: float) -> Image:
    """Reduced to `factor` of its size and enlarged again, both by means of boxes.

    As published, by the same calls of Pillow, whose versions may differ: a stand-in, never CIFAR-10-C.
    """
    height, width = image.shape[:2]
    small = Pillow.fromarray(image).resize((int(width * factor), int(height * factor)), Pillow.Resampling.BOX)
    return np.array(small.resize((width, height), Pillow.Resampling.BOX))


def jpeg_compression(image: Image, _rng: np.random.Generator, quality: int) -> Image:
    """Stored as JPEG of `quality` and read again.

    As published, by Pillow's settings for that quality; its libjpeg may be another: a stand-in, never CIFAR-10-C.
    """
    stored = io.BytesIO()
    Pillow.fromarray(image).save(stored, "JPEG", quality=quality)
    return np.array(Pillow.open(stored))
