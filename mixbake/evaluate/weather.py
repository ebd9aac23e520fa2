"""Weather: corruptions that lay snow, frost or fog over a picture, or light it up.

Rule: a function takes a picture, uint8 H×W×3, a generator (`_rng` where nothing is drawn) and the constants of one
severity; it gives uint8 H×W×3.
Steps and constants: Hendrycks, Dietterich (arXiv 1903.12261), section 4 and its public code.
"""

import numpy as np

from mixbake.evaluate.filters import Field, Image, smear, to_bytes, to_unit, zoom_in
from mixbake.evaluate.ice import draw_ice

_GREY = (0.299, 0.587, 0.114)
"""Luma of red, green and blue, ITU-R BT.601."""


def snow(
    image: Image,
    rng: np.random.Generator,
    mean: float,
    spread: float,
    size: float,
    threshold: float,
    radius: int,
    sigma: float,
    kept: float,
) -> Image:
    """Flakes from thresholded normal noise, enlarged by `size` and smeared as they fall, over a whitened picture.

    The smear is `filters.smear`, an own statement of what ImageMagick does in the published code; otherwise as
    published, except for the random numbers: a stand-in, never CIFAR-10-C.
    """
    flakes = zoom_in(rng.normal(mean, spread, size=image.shape[:2]), size)
    flakes[flakes < threshold] = 0.0
    fallen = smear(to_unit(to_bytes(flakes)), radius=radius, sigma=sigma, angle=rng.uniform(-135.0, -45.0))
    layer = to_unit(to_bytes(fallen))
    picture = to_unit(image)
    whitened = np.maximum(picture, (picture @ _GREY)[..., None] * 1.5 + 0.5)
    covered = kept * picture + (1.0 - kept) * whitened
    return to_bytes(covered + (layer + layer[::-1, ::-1])[..., None])


def frost(image: Image, rng: np.random.Generator, kept: float, covered: float, reduction: float) -> Image:
    """kept · picture + covered · ice, where the ice is seen reduced by `reduction`.

    The published code cuts the ice out of five photographs that cannot be given on here; this draws crystals instead
    (`ice.draw_ice`), no two pictures alike. Of all the corruptions it is the one farthest from the published files:
    a stand-in, never CIFAR-10-C.
    """
    ice = draw_ice(image.shape[0], image.shape[1], pixel=1.0 / reduction, rng=rng)
    return to_bytes(kept * to_unit(image) + covered * ice)


def fog(image: Image, rng: np.random.Generator, thickness: float, decay: float) -> Image:
    """Adds a cloud of up to `thickness`, then dims everything so that the brightest value can stay what it is.

    As published, except for the random numbers; larger pictures than 256 pixels get a larger cloud: a stand-in, never
    CIFAR-10-C.
    """
    height, width = image.shape[:2]
    picture = to_unit(image)
    brightest = picture.max()
    cloud = draw_cloud(max(height, width), decay, rng)[:height, :width, None]
    return to_bytes((picture + thickness * cloud) * (brightest / (brightest + thickness)))


def draw_cloud(side: int, decay: float, rng: np.random.Generator) -> Field:
    """Diamond-square on a torus, values 0 to 1: float64, its side the next power of two.

    Fournier, Fussell, Carpenter, "Computer rendering of stochastic models" (CACM 1982). Every level shifts new points
    by up to 1 / decay² of the level before, the square because the published code multiplies by its amplitude twice.
    """
    cloud, reach = np.zeros((1, 1)), 1.0
    while len(cloud) < side:
        count = len(cloud)
        centres, above, beside = rng.uniform(-reach, reach, size=(3, count, count))
        below = cloud + np.roll(cloud, -1, axis=0)
        right = cloud + np.roll(cloud, -1, axis=1)
        centres += (below + np.roll(below, -1, axis=1)) / 4
        finer = np.empty((2 * count, 2 * count))
        finer[::2, ::2], finer[1::2, 1::2] = cloud, centres
        finer[::2, 1::2] = (right + centres + np.roll(centres, 1, axis=0)) / 4 + above
        finer[1::2, ::2] = (below + centres + np.roll(centres, 1, axis=1)) / 4 + beside
        cloud, reach = finer, reach / decay**2
    cloud -= cloud.min()
    return np.asarray(cloud / cloud.max())


def brightness(image: Image, _rng: np.random.Generator, more: float) -> Image:
    """Adds `more` to the value of hue, saturation and value, at most up to 1.

    As published, without the way through hue and saturation: with both held, colours are proportional to the value,
    and black, which has neither, becomes grey: a stand-in, never CIFAR-10-C.
    """
    picture = to_unit(image)
    value = picture.max(axis=2, keepdims=True)
    brighter = np.minimum(value + more, 1.0)
    black = value == 0.0
    return to_bytes(np.where(black, brighter, picture * brighter / np.where(black, 1.0, value)))
