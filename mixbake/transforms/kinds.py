"""The kinds of images that transforms take, there and back: PIL, numpy, torch; one, or (arrays) a batch.

    image  ->  uint8 m×S×S×3, contiguous  ->  ...  ->  the same kind, in memory of its own

Rule: what comes in is never written to, and nothing is converted silently: another type, shape or mode is refused, with
the transform that helps.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixbake.core.kernels import planes
from mixbake.core.render import frozen
from mixbake.errors import UsageError
from mixbake.transforms.words import torch_if_imported

Bytes = NDArray[np.uint8]
LEAST, MOST = 8, 2048
"""Sides of an image, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An image, or a batch of them, as pixels.

    pixels: contiguous uint8 m×S×S×3, to be read only. batched: it was a batch, m may be any number. give: from uint8
    S×S×3, or of a batch ...×S×S×3, to the kind that it was.
    """

    pixels: Bytes
    batched: bool
    give: Callable[[Bytes], Any]


def is_array(value: object) -> bool:
    """Whether a value is a numpy array or a tensor without a meaning of its own, with room for an image."""
    if isinstance(value, np.ndarray):
        return value.ndim > 2
    torch = torch_if_imported()
    return torch is not None and isinstance(value, torch.Tensor) and value.ndim > 2 and _meaning(value) is None


def is_image(value: object) -> bool:
    """Whether a value says itself that it is an image: of PIL, or torchvision's `tv_tensors.Image`.

    Raises UsageError for other tensors of torchvision's: boxes and masks would no longer fit, videos are none.
    """
    if isinstance(value, Image.Image):
        return True
    kind = _meaning(value)
    if kind is not None and kind is not _tv_tensors().Image:
        raise UsageError(
            f"a {kind.__name__} cannot go through a recipe, which moves and mixes pixels: transform the image alone"
        )
    return kind is not None


def take(image: Any) -> Taken:
    """Pixels of an image or batch; see `Taken`. Raises UsageError for what is neither."""
    if isinstance(image, Image.Image):
        return Taken(pixels=_square(pixels_of(image)[None]), batched=False, give=_to_pil)
    if isinstance(image, np.ndarray):
        batched = image.ndim == 4
        pixels = np.ascontiguousarray(_checked(image, "H×W×3", image.shape[-1:], image.dtype == np.uint8))
        return Taken(pixels=_square(pixels if batched else pixels[None]), batched=batched, give=np.ascontiguousarray)
    torch = torch_if_imported()
    if torch is None or not isinstance(image, torch.Tensor):
        raise UsageError(f"a {type(image).__name__} is no image: give a PIL image, a numpy array or a torch tensor")
    return _take_tensor(image, torch)


def pixels_of(picture: Any) -> Bytes:
    """uint8 H×W×3, contiguous, of one picture of any shape. Raises UsageError for what is none."""
    if isinstance(picture, Image.Image):
        if picture.mode != "RGB":
            raise UsageError(
                f"an image of mode {picture.mode} is not RGB: use image.convert('RGB'), or v2.RGB() before"
            )
        # Of a small image, numpy and Pillow spend longer on asking each other for the form than on the pixels.
        pixels = np.frombuffer(picture.tobytes(), np.uint8)
        return _some(pixels.reshape(picture.height, picture.width, 3))
    if isinstance(picture, np.ndarray):
        return _some(_checked(picture, "H×W×3", picture.shape[-1:], picture.dtype == np.uint8, 3))
    torch = torch_if_imported()
    if torch is None or not isinstance(picture, torch.Tensor):
        raise UsageError(f"a {type(picture).__name__} is no picture: give a PIL image, a numpy array or a torch tensor")
    return _some(_checked_tensor(picture, torch, 3).permute(1, 2, 0).numpy())


def _to_pil(pixels: Bytes) -> Image.Image:
    """An RGB image with a copy of contiguous uint8 H×W×3."""
    return Image.frombytes("RGB", pixels.shape[1::-1], pixels)


def _some(pixels: Bytes) -> Bytes:
    height, width = pixels.shape[:2]
    if not height or not width:
        raise UsageError(f"a picture of {width}×{height} pixels holds nothing: give one of at least 1×1")
    return np.ascontiguousarray(pixels)


def _take_tensor(image: Any, torch: Any) -> Taken:
    like = image if is_image(image) else None
    plain = _checked_tensor(image, torch)
    batched, contiguous = plain.ndim == 4, plain.is_contiguous()
    pixels = _joined(plain.numpy()) if contiguous else plain.movedim(-3, -1).contiguous().numpy()

    def give(made: Bytes) -> Any:
        tensor = torch.from_numpy(_split(made)) if contiguous else torch.from_numpy(made).movedim(-1, -3)
        return tensor if like is None else _tv_tensors().wrap(tensor, like=like)

    return Taken(pixels=_square(pixels if batched else pixels[None]), batched=batched, give=give)


def _joined(image: Bytes) -> Bytes:
    """...×3×H×W as ...×H×W×3: ten times as fast as a copy of a transposed view."""
    *before, channels, height, width = image.shape
    pixels = np.empty((*before, height, width, channels), np.uint8)
    planes.join_planes(frozen(image.reshape(-1)), pixels.reshape(-1), math.prod(before))
    return pixels


def _split(pixels: Bytes) -> Bytes:
    """...×H×W×3 as ...×3×H×W."""
    *before, height, width, channels = pixels.shape
    image = np.empty((*before, channels, height, width), np.uint8)
    planes.split_planes(frozen(pixels.reshape(-1)), image.reshape(-1), math.prod(before))
    return image


def _checked_tensor(image: Any, torch: Any, most: int = 4) -> Any:
    plain = image if type(image) is torch.Tensor else image.as_subclass(torch.Tensor)
    if plain.device.type != "cpu":
        raise UsageError(f"an image on {plain.device}: recipes run on the CPU, so transform before .to(device)")
    return _checked(plain, "C×H×W, C = 3", plain.shape[-3:-2], plain.dtype == torch.uint8, most)


def _checked(image: Any, form: str, channels: tuple[int, ...], whole: bool, most: int = 4) -> Any:
    if not whole:
        raise UsageError(
            f"an image of {image.dtype} is not uint8: put the recipe before ToTensor, ToDtype and Normalize, or bring "
            "it back with v2.ToDtype(torch.uint8, scale=True)"
        )
    if not 3 <= image.ndim <= most or tuple(channels) != (3,):
        batch = f", or a batch, B×{form}" if most == 4 else ""
        raise UsageError(f"an image of shape {tuple(image.shape)}: give {form}{batch} (v2.RGB() makes three channels)")
    return image


def _square(pixels: Bytes) -> Bytes:
    height, width = pixels.shape[1:3]
    if height != width:
        raise UsageError(
            f"an image of {width}×{height} pixels is not square: crop it before, as v2.RandomResizedCrop, RandomCrop "
            "or CenterCrop do"
        )
    if not LEAST <= width <= MOST:
        raise UsageError(f"an image of {width}×{height} pixels: its side must be {LEAST} to {MOST}")
    return pixels


def _meaning(value: object) -> Any:
    """The class of a tensor of torchvision's with a meaning (Image, Mask, ...), or None."""
    known = _tv_tensors()
    return type(value) if known is not None and isinstance(value, known.TVTensor) else None


def _tv_tensors() -> Any:
    """torchvision's module of that name, or None: whoever has such a tensor has imported it."""
    return sys.modules.get("torchvision.tv_tensors")
