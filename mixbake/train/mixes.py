"""Published augmentations of whole batches, on the device the batch lies on: rows to compare a bake with.

    name, images, labels, (seed, step, rank) -> new images, targets

Rule: what is drawn is a function of (seed, step, rank), drawn on the host: no generator has a state that a
checkpoint would have to keep, and the host never waits for the device. Images that came in are never written to.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it
from numpy.typing import NDArray
from torch import Tensor

from mixbake.core import rng
from mixbake.errors import UsageError

Mixed = tuple[Tensor, Tensor]
Mix = Callable[[Tensor, Tensor, int, np.random.Generator], Mixed]
Boxes = NDArray[np.int64]
"""int64[4, B]: first row, end of rows, first column, end of columns of each image's box."""

_ERASED = 0.5  # share of images of which a box is erased
_AREA = (0.02, 0.33)  # of the image
_RATIO = (0.3, 3.3)  # height to width
_TRIES = 10


def apply_mix(name: str, images: Tensor, labels: Tensor, *, classes: int, seed: int, step: int, rank: int = 0) -> Mixed:
    """Images and targets of a batch under the mix `name`, one of `MIXES`.

    images: float[B, C, H, W], normalised, of any memory format. labels: int64[B], on the same device, below
    `classes`. step: counts from the start of training, not of a pass. Returns images in the same type and memory
    format, and targets: the labels as they are, or, from mixup and cutmix, probabilities, float32[B, classes].
    "none" gives back the tensors it was given. Raises UsageError for another name.
    """
    if name not in MIXES:
        raise UsageError(f"mix is one of {', '.join(MIXES)}, not {name!r}")
    return MIXES[name](images, labels, classes, rng.stream(seed, "mix", step, rank))


def _none(images: Tensor, labels: Tensor, _classes: int, _random: np.random.Generator) -> Mixed:
    """What came in."""
    return images, labels


def _mixup(images: Tensor, labels: Tensor, classes: int, random: np.random.Generator) -> Mixed:
    """Zhang et al. 2018, arXiv 1710.09412, with alpha = 1: λ ~ Beta(1, 1), one for the batch.

    An image's partner is the one before it: batches are shuffled already.
    """
    share = random.random()
    return _blended(images, share), _blended(_probabilities(labels, classes), share)


def _cutmix(images: Tensor, labels: Tensor, classes: int, random: np.random.Generator) -> Mixed:
    """Yun et al. 2019, arXiv 1905.04899, section 3, with alpha = 1 and for every batch; λ, box: one for the batch.

    The partner is the image before. A target's share is that of the pixels left after the box was cut off at the
    border (the published code does so, too).
    """
    height, width = images.shape[-2:]
    half = 0.5 * math.sqrt(1 - random.random())
    top, bottom = _span(int(random.integers(height)), int(half * height), height)
    left, right = _span(int(random.integers(width)), int(half * width), width)
    box = (..., slice(top, bottom), slice(left, right))
    mixed = images.clone()
    mixed[1:][box] = images[:-1][box]
    mixed[:1][box] = images[-1:][box]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, _blended(_probabilities(labels, classes), share)


def _cutout(images: Tensor, labels: Tensor, _classes: int, random: np.random.Generator) -> Mixed:
    """DeVries and Taylor 2017, arXiv 1708.04552, section 3: a square a picture, its centre any pixel, cut off outside.

    Its side is half the picture's, as the paper has it for CIFAR-10. It is filled with 0, the mean colour.
    """
    count, _, height, width = images.shape
    side = min(height, width) // 2
    top = random.integers(height, size=count) - side // 2
    left = random.integers(width, size=count) - side // 2
    # What lies outside needs no cutting off: there are no pixels.
    return _blanked(images, np.stack((top, top + side, left, left + side))), labels


def _erasing(images: Tensor, labels: Tensor, _classes: int, random: np.random.Generator) -> Mixed:
    """Random erasing of Zhong et al. 2020, arXiv 1708.04896, algorithm 1: with probability ½ a box a picture.

    Area, ratio (uniform in its logarithm), number of tries and fill, 0, are the defaults of torchvision's
    RandomErasing. The published code has areas up to 0.4 and ratios up to 1 / 0.3; the paper fills with noise.
    """
    count, _, height, width = images.shape
    area = height * width * random.uniform(*_AREA, size=(count, _TRIES))
    ratio = np.exp(random.uniform(math.log(_RATIO[0]), math.log(_RATIO[1]), size=(count, _TRIES)))
    heights, widths = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (heights < height) & (widths < width)
    first = (np.arange(count), fits.argmax(axis=1))
    erased = fits[first] & (random.random(count) < _ERASED)
    tall, wide = (np.where(erased, sides[first], 0).astype(np.int64) for sides in (heights, widths))
    top, left = random.integers(height - tall + 1), random.integers(width - wide + 1)
    return _blanked(images, np.stack((top, top + tall, left, left + wide))), labels


MIXES: dict[str, Mix] = {
    "none": _none,
    "mixup": _mixup,
    "cutmix": _cutmix,
    "cutout": _cutout,
    "erasing": _erasing,
}


def _span(centre: int, half: int, size: int) -> tuple[int, int]:
    """From `half` before the centre to `half` behind it, cut off at the border."""
    return max(centre - half, 0), min(centre + half, size)


def _probabilities(labels: Tensor, classes: int) -> Tensor:
    return F.one_hot(labels, classes).float()


def _blended(rows: Tensor, share: float) -> Tensor:
    """share · row + (1 − share) · the row before; before the first one stands the last."""
    # Written to its place in two parts: `roll` would copy the whole batch, and on a GPU forget its memory format.
    blended = torch.empty_like(rows)
    torch.lerp(rows[1:], rows[:-1], 1 - share, out=blended[1:])
    torch.lerp(rows[:1], rows[-1:], 1 - share, out=blended[:1])
    return blended


def _blanked(images: Tensor, boxes: Boxes) -> Tensor:
    """A copy with 0 in each image's box. Boxes may be empty, or stick out."""
    there = torch.from_numpy(boxes)
    if images.device.type == "cuda":
        # From pageable memory, or waiting for the copy, the host would stand still until the device is idle.
        there = there.pin_memory().to(images.device, non_blocking=True)
    top, bottom, left, right = there[:, :, None]
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[-2:])
    within_rows, within_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return torch.where(within_rows[:, None, :, None] & within_columns[:, None, None, :], 0.0, images)
