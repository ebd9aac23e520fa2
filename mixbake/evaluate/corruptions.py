"""The 15 common corruptions of CIFAR-10-C and ImageNet-C at five severities, for people without the published files.

Names, order, constants and steps: Hendrycks, Dietterich, "Benchmarking neural network robustness to common corruptions
and perturbations" (ICLR 2019, arXiv 1903.12261), and its public code, github.com/hendrycks/robustness, whose scripts
`make_cifar_c.py` and `make_imagenet_c.py` in ImageNet-C/create_c hold the constants of the two scales below.
Rule: these are stand-ins, never CIFAR-10-C or ImageNet-C: an error measured on them must not be compared with published
ones. Each function's docstring says what it does otherwise; besides, ImageNet-C's files went through JPEG 85 once more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixbake.core.rng import stream
from mixbake.errors import UsageError
from mixbake.evaluate import blurs, digital, noises, weather
from mixbake.evaluate.filters import Image

Scale = Literal["cifar", "imagenet"]
Constants = tuple[float, ...]

SCALES: tuple[Scale, ...] = ("cifar", "imagenet")
SEVERITIES = (1, 2, 3, 4, 5)
LARGEST_CIFAR = 64
"""Pictures with a longer side get ImageNet's constants; the published ones are for 32 and 224 pixels."""
LEAST_SIDE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """apply: (image, rng, *constants) -> image, uint8 H×W×3. cifar, imagenet: the constants of severities 1 to 5."""

    apply: Callable[..., Image]
    cifar: tuple[Constants, ...]
    imagenet: tuple[Constants, ...]

    def constants(self, severity: int, scale: Scale) -> Constants:
        """The constants of one severity, 1 to 5, in the order of `apply`'s arguments."""
        return {"cifar": self.cifar, "imagenet": self.imagenet}[scale][severity - 1]


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(
        apply=noises.gaussian_noise,
        cifar=((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
        imagenet=((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    ),
    "shot_noise": Corruption(
        apply=noises.shot_noise,
        cifar=((500,), (250,), (100,), (75,), (50,)),
        imagenet=((60,), (25,), (12,), (5,), (3,)),
    ),
    "impulse_noise": Corruption(
        apply=noises.impulse_noise,
        cifar=((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
        imagenet=((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    ),
    "defocus_blur": Corruption(
        apply=blurs.defocus_blur,
        cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": Corruption(
        apply=blurs.glass_blur,
        cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": Corruption(
        apply=blurs.motion_blur,
        cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": Corruption(
        apply=blurs.zoom_blur,
        cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "snow": Corruption(
        apply=weather.snow,
        cifar=(
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        imagenet=(
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": Corruption(
        apply=weather.frost,
        cifar=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        imagenet=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    ),
    "fog": Corruption(
        apply=weather.fog,
        cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": Corruption(
        apply=weather.brightness,
        cifar=((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
        imagenet=((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    ),
    "contrast": Corruption(
        apply=digital.contrast,
        cifar=((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
        imagenet=((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    ),
    # Published as multiples of 32 and, for 224 pixels, of 244.
    "elastic_transform": Corruption(
        apply=digital.elastic_transform,
        cifar=((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
        imagenet=(
            (488, 170.8, 24.4),
            (488, 19.52, 48.8),
            (12.2, 2.44, 4.88),
            (17.08, 2.44, 4.88),
            (29.28, 2.44, 4.88),
        ),
    ),
    "pixelate": Corruption(
        apply=digital.pixelate,
        cifar=((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
        imagenet=((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    ),
    "jpeg_compression": Corruption(
        apply=digital.jpeg_compression,
        cifar=((80,), (65,), (58,), (50,), (40,)),
        imagenet=((25,), (18,), (15,), (10,), (7,)),
    ),
}
"""Name -> corruption, in the order of the paper's tables; constants that are lengths are pixels, at any size."""


def corrupt(name: str, image: Image, *, severity: int, scale: Scale, rng: np.random.Generator) -> Image:
    """One corrupted picture, uint8 H×W×3, from one of that kind with sides of at least 16; `image` stays as it is.

    Raises UsageError for a name, severity or scale that there is not, or a picture of another kind.
    """
    _check(name, severity)
    if scale not in SCALES:
        raise UsageError(f"scale is one of {', '.join(SCALES)}, not {scale!r}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < LEAST_SIDE:
        raise UsageError(
            f"a picture of dtype {image.dtype} and shape {image.shape}: give uint8 H×W×3, H and W at least {LEAST_SIDE}"
        )
    corruption = CORRUPTIONS[name]
    return corruption.apply(image, rng, *corruption.constants(severity, scale))


def corrupt_all(images: Image, name: str, severity: int, seed: int, places: Sequence[int] | None = None) -> Image:
    """uint8 n×H×W×3, every picture corrupted; the scale is `scale_of` their size.

    places: number of each picture in its set; 0 to n - 1 if not given. Each draws from a stream of its own, (seed,
    "corruption", name, severity, number), so that any part of a set gives the same pixels as the whole. Raises
    UsageError as `corrupt` does.
    """
    _check(name, severity)
    if images.ndim != 4:
        raise UsageError(f"pictures of shape {images.shape}: give n×H×W×3; for a single one take corrupt")
    scale = scale_of(images.shape[1], images.shape[2])
    corrupted = np.empty_like(images)
    for row, place in enumerate(range(len(images)) if places is None else places):
        rng = stream(seed, "corruption", name, severity, int(place))
        corrupted[row] = corrupt(name, images[row], severity=severity, scale=scale, rng=rng)
    return corrupted


def scale_of(height: int, width: int) -> Scale:
    """Whose constants a picture of this size gets: CIFAR's up to 64 pixels a side, else ImageNet's."""
    return "cifar" if max(height, width) <= LARGEST_CIFAR else "imagenet"


def _check(name: str, severity: int) -> None:
    if name not in CORRUPTIONS:
        raise UsageError(f"no corruption is called {name!r}: take one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise UsageError(f"severity is 1 to 5, not {severity!r}")
