"""PixMix, AugMix and IPMix as one would write them with Pillow, numpy and torch: what the benchmarks compare with.

Written from the papers: PixMix (arXiv 2112.05135), AugMix (arXiv 1912.02781), IPMix (NeurIPS 2023). Operations are
Pillow's, on Pillow images; blends and sums are floats, of torch in PixMix, of numpy in the others, as published.
Rule: plain and competent, on one thread, neither slowed down nor tuned. Nothing of mixbake is imported.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812  the name its own documentation uses

Rng = np.random.Generator
Picture = Image.Image
Values = NDArray[np.float32]
Op = Callable[[Picture, float, Rng], Picture]

BILINEAR = Image.Resampling.BILINEAR
IMAGENET_FROM = 65
"""Sides from this one on have the papers' parameters for ImageNet, smaller ones those for CIFAR."""


# ── operations at a level between 0.1 and the severity ────────────────────────────────────────────


def signed(value: float, rng: Rng) -> float:
    """Either of ± value."""
    return value if rng.random() < 0.5 else -value


def affine(image: Picture, *row: float) -> Picture:
    """Move pixels by an affine map, bilinear; outside is black."""
    return image.transform(image.size, Image.Transform.AFFINE, row, BILINEAR)


def whole_pixels(image: Picture, level: float, rng: Rng) -> float:
    """A shift of up to a third of the side at level 10."""
    return signed(int(level * image.size[0] / 30), rng)


def enhanced(kind: Callable[[Picture], ImageEnhance._Enhance]) -> Op:
    """A colour operation: its factor is below 1 up to level 5."""
    return lambda image, level, _: kind(image).enhance(0.18 * level + 0.1)


SAFE: dict[str, Op] = {
    "autocontrast": lambda image, _level, _rng: ImageOps.autocontrast(image),
    "equalize": lambda image, _level, _rng: ImageOps.equalize(image),
    "posterize": lambda image, level, _: ImageOps.posterize(image, 4 - int(0.4 * level)),
    "rotate": lambda image, level, rng: image.rotate(signed(int(3 * level), rng), BILINEAR),
    "solarize": lambda image, level, _: ImageOps.solarize(image, 256 - int(25.6 * level)),
    "shear_x": lambda image, level, rng: affine(image, 1, signed(0.03 * level, rng), 0, 0, 1, 0),
    "shear_y": lambda image, level, rng: affine(image, 1, 0, 0, signed(0.03 * level, rng), 1, 0),
    "translate_x": lambda image, level, rng: affine(image, 1, 0, whole_pixels(image, level, rng), 0, 1, 0),
    "translate_y": lambda image, level, rng: affine(image, 1, 0, 0, 0, 1, whole_pixels(image, level, rng)),
}
ALL = {
    **SAFE,
    "color": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "brightness": enhanced(ImageEnhance.Brightness),
    "sharpness": enhanced(ImageEnhance.Sharpness),
}
OF_IPMIX = {
    **{name: op for name, op in SAFE.items() if name != "autocontrast"},
    "mirror": lambda image, _level, _rng: ImageOps.mirror(image),
    "invert": lambda image, _level, _rng: ImageOps.invert(image),
}


def any_op(ops: dict[str, Op], image: Picture, severity: float, rng: Rng) -> Picture:
    """One of the operations, with a level drawn for it."""
    op = list(ops.values())[rng.integers(len(ops))]
    return op(image, rng.uniform(0.1, severity), rng)


def coefficients(beta: float, rng: Rng) -> tuple[float, float]:
    """Both positive, or one above one and one below zero."""
    if rng.random() < 0.5:
        return rng.beta(beta, 1), rng.beta(1, beta)
    return 1 + rng.beta(1, beta), -rng.beta(1, beta)


# ── PixMix ────────────────────────────────────────────────────────────────────────────────────────


def tensor(image: Picture) -> Tensor:
    """float32 3xHxW in [0, 1]."""
    return F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True)


def add(first: Tensor, second: Tensor, beta: float, rng: Rng) -> Tensor:
    """Blend around mid-gray with weights."""
    a, b = coefficients(beta, rng)
    return (a * (first * 2 - 1) + b * (second * 2 - 1) + 1) / 2


def multiply(first: Tensor, second: Tensor, beta: float, rng: Rng) -> Tensor:
    """Blend as a product of powers."""
    a, b = coefficients(beta, rng)
    return (first * 2) ** a * (second * 2).clamp(min=1e-37) ** b / 2


def pixmix(image: Picture, picture: Picture, rng: Rng) -> Tensor:
    """PixMix of two images of one size: float32 3xHxW in [0, 1]."""
    severity, beta = (1, 4) if image.size[0] >= IMAGENET_FROM else (3, 3)
    mixed = tensor(any_op(ALL, image, severity, rng) if rng.random() < 0.5 else image)
    for _ in range(rng.integers(5)):
        partner = any_op(ALL, image, severity, rng) if rng.random() < 0.5 else picture
        blend = add if rng.random() < 0.5 else multiply
        mixed = blend(mixed, tensor(partner), beta, rng).clamp(0, 1)
    return mixed


# ── AugMix ────────────────────────────────────────────────────────────────────────────────────────


def weighted(image: Picture, chains: list[Picture], rng: Rng) -> Values:
    """Mix the image with a weighted sum of its chains: float32 HxWx3 in [0, 255]."""
    share, mixed = rng.random(), np.zeros((*image.size[::-1], 3), np.float32)
    for weight, chain in zip(rng.dirichlet([1.0] * len(chains)), chains, strict=True):
        mixed += np.float32(weight) * np.asarray(chain)
    return np.float32(1 - share) * np.asarray(image) + np.float32(share) * mixed


def augmix(image: Picture, _picture: Picture, rng: Rng) -> Values:
    """AugMix of an image: float32 HxWx3 in [0, 255]."""
    severity, chains = 1 if image.size[0] >= IMAGENET_FROM else 3, []
    for _ in range(3):
        chain = image
        for _ in range(rng.integers(1, 4)):
            chain = any_op(SAFE, chain, severity, rng)
        chains.append(chain)
    return weighted(image, chains, rng)


# ── IPMix ─────────────────────────────────────────────────────────────────────────────────────────


def blended(first: Values, second: Values, beta: float, rng: Rng) -> Values:
    """Any of the four blends of arrays HxWx3 in [0, 1]."""
    kind = rng.integers(4)
    if kind >= 2:
        mask = rng.random(first.shape[:2] + ((1,) if kind == 2 else (3,))) < rng.random()
        return np.where(mask, first, second)
    a, b = coefficients(beta, rng)
    if kind == 0:
        return (a * (first * 2 - 1) + b * (second * 2 - 1) + 1) / 2
    return (first * 2) ** a * np.maximum(second * 2, 1e-37) ** b / 2


def patched(chain: Picture, partner: Picture, patches: tuple[int, ...], beta: float, rng: Rng) -> Picture:
    """A box of the chain blended with the same box of its partner, which is cut out before anything is computed."""
    side = patches[rng.integers(len(patches))]
    left, top = rng.integers(chain.size[0] - side + 1, size=2).tolist()
    width, height = (side, side) if rng.random() < 0.5 else rng.integers(2, side + 1, size=2).tolist()
    box = left, top, left + width, top + height
    first, second = (np.asarray(image.crop(box), np.float32) / 255 for image in (chain, partner))
    patch = blended(first, second, beta, rng).clip(0, 1) * 255
    mixed = chain.copy()
    mixed.paste(Image.fromarray(patch.round().astype(np.uint8)), box)
    return mixed


def ipmix(image: Picture, picture: Picture, rng: Rng) -> Values:
    """IPMix of two images of one size: float32 HxWx3 in [0, 255]."""
    large = image.size[0] >= IMAGENET_FROM
    severity, beta = (1, 4) if large else (3, 3)
    patches = (4, 8, 16, 32, 64, image.size[0]) if large else (4, 8, 16, 32)
    chains = []
    for _ in range(3):
        chain, patchy = image, rng.random() < 0.5
        for _ in range(rng.integers(4)):
            if not patchy:
                chain = any_op(OF_IPMIX, chain, severity, rng)
                continue
            partner = any_op(OF_IPMIX, image, severity, rng) if large and rng.random() < 0.5 else picture
            chain = patched(chain, partner, patches, beta, rng)
        chains.append(chain)
    return weighted(image, chains, rng)


RECIPES = {"pixmix": pixmix, "augmix": augmix, "ipmix": ipmix}
