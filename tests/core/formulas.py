"""What every step means, in plain float64 numpy; and the images on which the kernels are held to it.

Rule: nothing here is fast, fixed-point or imported from mixbake, so that a slip in a kernel cannot repeat itself here.
A formula returns float64 values on the scale 0..255, before clipping and rounding; `rounded` makes uint8 of them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Values = NDArray[np.float64]


def rounded(values: Values) -> Image:
    """The nearest 8-bit value, halves up, clipped to 0..255."""
    # Ten decimals keep the noise of float64 from deciding a half.
    return np.floor(np.clip(values, 0, 255).round(10) + 0.5).astype(np.uint8)


# Geometry: where each output pixel (x, y) lies in the input.


def sampled(image: Image, x_in: Values, y_in: Values) -> Values:
    """Bilinear value of `image` at real positions; a neighbour outside the image counts as 0."""
    height, width, _ = image.shape
    left, top = np.floor(x_in), np.floor(y_in)
    total = np.zeros((*x_in.shape, 3))
    for column, x_weight in ((left, 1 - (x_in - left)), (left + 1, x_in - left)):
        for row, y_weight in ((top, 1 - (y_in - top)), (top + 1, y_in - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            nearest = (row.clip(0, height - 1).astype(int), column.clip(0, width - 1).astype(int))
            total += (inside * x_weight * y_weight)[..., None] * image[nearest]
    return total


def grid(image: Image) -> tuple[Values, Values]:
    """Real x and y of every pixel, each HxW."""
    y, x = np.indices(image.shape[:2]).astype(np.float64)
    return x, y


def rotate(image: Image, degrees: float) -> tuple[Values, Values]:
    """The image turned counter-clockwise about its centre."""
    x, y = grid(image)
    x_centre, y_centre = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    # y points down, so a counter-clockwise turn of the content is this clockwise-looking matrix on the way back.
    x_in = x_centre + cos * (x - x_centre) - sin * (y - y_centre)
    y_in = y_centre + sin * (x - x_centre) + cos * (y - y_centre)
    return x_in, y_in


def shear_x(image: Image, s: float, anchor: int) -> tuple[Values, Values]:
    x, y = grid(image)
    y0 = (image.shape[0] - 1) / 2 if anchor else 0.0
    return x + s * (y - y0), y


def shear_y(image: Image, s: float, anchor: int) -> tuple[Values, Values]:
    x, y = grid(image)
    x0 = (image.shape[1] - 1) / 2 if anchor else 0.0
    return x, y + s * (x - x0)


def translate_x(image: Image, px: float) -> tuple[Values, Values]:
    x, y = grid(image)
    return x - px, y


def translate_y(image: Image, px: float) -> tuple[Values, Values]:
    x, y = grid(image)
    return x, y - px


POSITIONS: dict[str, Callable[..., tuple[Values, Values]]] = {
    "rotate": rotate,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
}
"""Step -> input position (x, y), each HxW, of every output pixel of an image, given the step's arguments."""


def moved(do: str) -> Callable[..., Values]:
    """The formula of a geometric step."""
    return lambda image, *args: sampled(image, *POSITIONS[do](image, *args))


def mirror(image: Image) -> Values:
    return image[:, ::-1].astype(np.float64)


# Tone: every channel value by itself, or by the histogram of its channel.


def posterize(image: Image, bits: int) -> Values:
    width = 2.0 ** (8 - bits)
    return np.floor(image / width) * width


def solarize(image: Image, threshold: int) -> Values:
    return np.where(image >= threshold, 255.0 - image, image)


def invert(image: Image) -> Values:
    return 255.0 - image


def by_channel(change: Callable[[Values], Values], image: Image) -> Values:
    return np.stack([change(image[..., channel].astype(np.float64)) for channel in range(3)], axis=-1)


def equalize(image: Image) -> Values:
    """Pillow's rule: a level goes to (pixels below it + half a step) // step, with 255 steps below the top level."""

    def spread(plane: Values) -> Values:
        levels, counts = np.unique(plane, return_counts=True)
        step = (plane.size - counts[-1]) // 255
        if step == 0:
            return plane
        below = np.cumsum(counts) - counts
        return ((below + step // 2) // step)[np.searchsorted(levels, plane)].astype(np.float64)

    return by_channel(spread, image)


def autocontrast(image: Image, cutoff: float) -> Values:
    """Pillow's rule: drop int(n·cutoff/100) pixels at each end, then stretch what is left to 0..255, truncating."""

    def stretch(plane: Values) -> Values:
        cut = int(plane.size * cutoff // 100)
        kept = np.sort(plane, axis=None)[cut : plane.size - cut]
        if kept.size == 0 or kept[0] == kept[-1]:
            return plane
        scale = 255.0 / (kept[-1] - kept[0])
        return np.trunc(plane * scale - kept[0] * scale)

    return by_channel(stretch, image)


# Colour: ITU-R 601 luma, and a line through the image and a degenerate one.


def luma(image: Image) -> Values:
    """8-bit ITU-R 601 luma, HxW, with the weights as whole 65536ths as Pillow has them (0.299, 0.587, 0.114)."""
    return np.floor((image @ np.array([19595.0, 38470.0, 7471.0])) / 65536 + 0.5)


def in_three_channels(plane: Values) -> Values:
    return np.repeat(plane[..., None], 3, axis=-1)


def smoothed(image: Image) -> Values:
    """3x3 mean with a five-fold centre, rounded to whole levels; the border pixels keep their value."""
    source = image.astype(np.float64)
    result = source.copy()
    height, width, _ = image.shape
    if height < 3 or width < 3:
        return result
    windows = [source[dy : height - 2 + dy, dx : width - 2 + dx] for dy in range(3) for dx in range(3)]
    result[1:-1, 1:-1] = np.floor((sum(windows) + 4 * windows[4]) / 13 + 0.5)
    return result


def along(degenerate: Values | float, image: Image, factor: float) -> Values:
    return degenerate + factor * (image - degenerate)


def grayscale(image: Image) -> Values:
    return in_three_channels(luma(image))


def color(image: Image, factor: float) -> Values:
    return along(grayscale(image), image, factor)


def contrast(image: Image, factor: float) -> Values:
    return along(float(np.floor(luma(image).mean() + 0.5)), image, factor)


def brightness(image: Image, factor: float) -> Values:
    return along(0.0, image, factor)


def sharpness(image: Image, factor: float) -> Values:
    return along(smoothed(image), image, factor)


# Blends: x1 is the current image, x2 the partner, on [0, 1].


def arithmetic(x1: Image, x2: Image, a: float, b: float) -> Values:
    return 255 * (a * (2 * (x1 / 255) - 1) + b * (2 * (x2 / 255) - 1) + 1) / 2


def geometric(x1: Image, x2: Image, a: float, b: float) -> Values:
    """Black stays black, for a = 0 too; for b < 0 a black partner gives white unless |b| is small."""
    with np.errstate(over="ignore", invalid="ignore"):  # 1e-37 to a large negative power is just white
        powers = (2 * (x1 / 255)) ** a * np.maximum(2 * (x2 / 255), 1e-37) ** b
    return np.where(x1 == 0, 0.0, 255 * powers / 2)


def weighted(*registers_and_weights: Image | float) -> Values:
    """sum w_i·x_i of k images followed by k weights."""
    k = len(registers_and_weights) // 2
    pairs = zip(registers_and_weights[k:], registers_and_weights[:k], strict=True)
    return np.sum([weight * image.astype(np.float64) for weight, image in pairs], axis=0)


FORMULAS: dict[str, Callable[..., Values]] = {
    **{do: moved(do) for do in POSITIONS},
    "mirror": mirror,
    "posterize": posterize,
    "solarize": solarize,
    "invert": invert,
    "equalize": equalize,
    "autocontrast": autocontrast,
    "grayscale": grayscale,
    "color": color,
    "contrast": contrast,
    "brightness": brightness,
    "sharpness": sharpness,
    "arithmetic": arithmetic,
    "geometric": geometric,
    "weighted": weighted,
}


# Sample images. Every one is a pure function of (kind, height, width, seed).


def _noise(height: int, width: int, rng: np.random.Generator) -> Image:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _smooth(height: int, width: int, rng: np.random.Generator) -> Image:
    """A sum of slow waves with a hard edge and a little grain: the statistics of a photograph, roughly."""
    y, x = np.indices((height, width)) / max(height, width)
    waves = np.zeros((height, width, 3))
    for frequency in (1, 2, 4, 9):
        angle, phase = rng.uniform(0, 2 * np.pi, (2, 3))
        across = x[..., None] * np.cos(angle) + y[..., None] * np.sin(angle)
        waves += np.sin(2 * np.pi * frequency * across + phase) / frequency
    waves[(x + 2 * y) > rng.uniform(0.5, 2.5)] -= 0.7
    return rounded(120 + 70 * waves + rng.normal(0, 2, waves.shape))


def _corners(height: int, width: int, rng: np.random.Generator) -> Image:
    return rng.choice(np.array([0, 1, 254, 255], dtype=np.uint8), (height, width, 3))


def _faint(height: int, width: int, rng: np.random.Generator) -> Image:
    """Few levels: the histogram ops meet empty bins and steps of one."""
    return rng.integers(100, 109, (height, width, 3), dtype=np.uint8)


def _flat(height: int, width: int, rng: np.random.Generator) -> Image:
    return np.tile(rng.integers(0, 256, 3, dtype=np.uint8), (height, width, 1))


KINDS: dict[str, Callable[[int, int, np.random.Generator], Image]] = {
    "noise": _noise,
    "smooth": _smooth,
    "corners": _corners,
    "faint": _faint,
    "flat": _flat,
}


def sample(kind: str, height: int, width: int, seed: int = 0) -> Image:
    """uint8 HxWx3 of one of `KINDS`."""
    return KINDS[kind](height, width, np.random.default_rng([seed, height, width]))


def all_pairs() -> tuple[Image, Image]:
    """Two 256x256 grey images that hold every pair of 8-bit values: rows count x1, columns count x2."""
    levels = np.arange(256, dtype=np.uint8)
    x1, x2 = np.meshgrid(levels, levels, indexing="ij")
    return np.dstack([x1] * 3), np.dstack([x2] * 3)


def differences(result: Image, values: Values) -> tuple[int, float]:
    """How far an 8-bit result is from a formula: the largest difference in steps, and the mean excess.

    Excess is what a value lies beyond the half step that rounding to nearest costs at most. Unlike a difference of
    rounded values it does not jump where a formula gives halves all over an image; truncation shows as 1/8 or more.
    """
    exact = np.clip(values, 0, 255).round(10)
    largest = np.abs(result.astype(int) - rounded(values)).max()
    excess = np.maximum(np.abs(result - exact) - 0.5, 0)
    return int(largest), float(excess.mean())


def registers(kind: str, height: int, width: int, count: int, seed: int = 0) -> Sequence[Image]:
    """`count` different samples of one kind and shape."""
    return tuple(sample(kind, height, width, seed * 100 + index) for index in range(count))
