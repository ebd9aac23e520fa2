"""The script a user would write without mixbake: the reference that the benchmarks compare with.

    python scripts/reference_layermix.py SOURCE MIXING OUT --size 32 --count 500

List the class folders, open each image with Pillow, crop it, run LayerMix (arXiv 2501.04861) on float
tensors with torchvision, encode PNG or JPEG with Pillow and write the shards with webdataset.
Rule: plain and competent, on one thread, neither slowed down nor tuned. Nothing of mixbake is imported,
so it is also an independent second opinion on what a LayerMix picture is.
"""

import argparse
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F  # noqa: N812  the name its own documentation uses

MAGNITUDE = 8
BETA = 3
SMALL = 64
SUFFIXES = {".jpg", ".jpeg", ".png"}

Rng = np.random.Generator
Drawn = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """An operation: its largest level (a share of the side where `of_side`), whether it has a sign, what it does."""

    apply: Callable[[Tensor, float], Tensor]
    largest: float = 0
    sign: bool = False
    of_side: bool = False

    def level(self, rng: Rng, side: int) -> float:
        """Draw a level between 0.1 and the largest one scaled by MAGNITUDE, whichever of the two is larger on top."""
        largest = int(self.largest * side) if self.of_side else self.largest
        low, high = sorted((0.1, largest * MAGNITUDE / 10))
        return rng.uniform(low, high) * ((-1, 1)[rng.integers(2)] if self.sign else 1)


def on_bytes(operation: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Apply an operation that torchvision defines on uint8 to a float image."""
    return operation((image * 255).round().to(torch.uint8)).float() / 255


def posterize(image: Tensor, bits: int) -> Tensor:
    """Keep the upper `bits` bits, at least one."""
    return on_bytes(lambda pixels: F.posterize(pixels, max(1, bits)), image)


def rotate(image: Tensor, degrees: float) -> Tensor:
    """Rotate about the centre, bilinear; outside is black."""
    return F.rotate(image, degrees, interpolation=InterpolationMode.BILINEAR, fill=0.0)


def affine(image: Tensor, *, shift: tuple[float, float] = (0, 0), slope: tuple[float, float] = (0, 0)) -> Tensor:
    """Shift by pixels and shear by slopes about the centre, bilinear; outside is black."""
    shear = [math.degrees(math.atan(value)) for value in slope]
    return F.affine(image, 0, list(shift), 1.0, shear, interpolation=InterpolationMode.BILINEAR, fill=0.0)


OPS = {
    "autocontrast": Op(apply=lambda image, _: F.autocontrast(image)),
    "equalize": Op(apply=lambda image, _: on_bytes(F.equalize, image)),
    "grayscale": Op(apply=lambda image, _: F.rgb_to_grayscale(image, num_output_channels=3)),
    "posterize": Op(largest=4, apply=lambda image, level: posterize(image, int(level))),
    "posterize_increasing": Op(largest=4, apply=lambda image, level: posterize(image, 4 - int(level))),
    "solarize": Op(largest=1, apply=F.solarize),
    "solarize_increasing": Op(largest=1, apply=lambda image, level: F.solarize(image, 1 - level)),
    "rotate": Op(largest=30, sign=True, apply=rotate),
    "shear_x": Op(largest=0.3, sign=True, apply=lambda image, level: affine(image, slope=(level, 0))),
    "shear_y": Op(largest=0.3, sign=True, apply=lambda image, level: affine(image, slope=(0, level))),
    "translate_x": Op(largest=0.33, of_side=True, sign=True, apply=lambda x, level: affine(x, shift=(level, 0))),
    "translate_y": Op(largest=0.33, of_side=True, sign=True, apply=lambda x, level: affine(x, shift=(0, level))),
}


def weights(rng: Rng) -> tuple[float, float]:
    """Draw the two weights of a blend: both positive, or one above one and one below zero."""
    if rng.random() < 0.5:
        return rng.beta(BETA, 1), rng.beta(1, BETA)
    return 1 + rng.beta(1, BETA), -rng.beta(1, BETA)


def add(first: Tensor, second: Tensor, rng: Rng) -> Tensor:
    """Blend around mid-gray with weights."""
    a, b = weights(rng)
    return (a * (first * 2 - 1) + b * (second * 2 - 1) + 1) / 2


def multiply(first: Tensor, second: Tensor, rng: Rng) -> Tensor:
    """Blend as a product of powers."""
    a, b = weights(rng)
    return (first * 2) ** a * (second * 2).clamp(min=1e-37) ** b / 2


def random_pixels(first: Tensor, second: Tensor, rng: Rng) -> Tensor:
    """Take each pixel from either picture."""
    return torch.where(torch.rand(1, *first.shape[1:]) < rng.random(), first, second)


def random_elems(first: Tensor, second: Tensor, rng: Rng) -> Tensor:
    """Take each channel of each pixel from either picture."""
    return torch.where(torch.rand_like(first) < rng.random(), first, second)


BLENDS = {"add": add, "multiply": multiply, "random_pixels": random_pixels, "random_elems": random_elems}
OPS_DRAWN = tuple(OPS)
BLENDS_DRAWN = ("add", "add", "multiply", "multiply", "random_pixels", "random_elems")
"""Any of these, equally often: 1/3, 1/3, 1/6, 1/6."""


def layermix(image: Tensor, picture: Tensor, rng: Rng) -> tuple[Tensor, Drawn]:
    """LayerMix of float 3xHxW tensors in [0, 1], and what was drawn for it."""
    layer, name = int(rng.integers(1, 4)), OPS_DRAWN[rng.integers(len(OPS_DRAWN))]
    drawn: Drawn = {"layer": layer, "op": name, "levels": [], "blends": []}

    def op(pixels: Tensor) -> Tensor:
        drawn["levels"].append(float(OPS[name].level(rng, pixels.shape[-1])))
        return OPS[name].apply(pixels, drawn["levels"][-1])

    def blend(first: Tensor, second: Tensor) -> Tensor:
        drawn["blends"].append(BLENDS_DRAWN[rng.integers(len(BLENDS_DRAWN))])
        return BLENDS[drawn["blends"][-1]](first, second, rng).clamp(0, 1)

    mixed = op(image)
    if layer >= 2:
        mixed = blend(mixed, op(image))
    if layer == 3:
        mixed = op(blend(mixed, picture))
    return mixed.clamp(0, 1), drawn


def image_crop(size: int) -> v2.Transform:
    """Crop of the image: padded by an eighth up to SMALL pixels, of a random area above."""
    if size <= SMALL:
        return v2.RandomCrop(size, padding=size // 8)
    return v2.RandomResizedCrop(size, scale=(0.08, 1), antialias=True)


def picture_crop(size: int) -> v2.Transform:
    """Resize, crop, flips and gray of the mixing picture."""
    side = size * 36 // 32 if size <= SMALL else round(size * 256 / 224)
    steps = [v2.Resize(side, antialias=True), v2.RandomCrop(size), v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    return v2.Compose([*steps, v2.Grayscale(num_output_channels=3)])


def load(path: Path, crop: v2.Transform) -> Tensor:
    """Decode and crop one file: float 3xHxW in [0, 1]."""
    with Image.open(path) as opened:
        return F.to_dtype(F.to_image(crop(opened.convert("RGB"))), torch.float32, scale=True)


def encode(image: Tensor, size: int) -> tuple[str, bytes]:
    """Give the file name extension and the encoded bytes: PNG up to 64 pixels, JPEG 95 4:4:4 above."""
    buffer = io.BytesIO()
    picture = F.to_pil_image(image)
    if size <= SMALL:
        picture.save(buffer, "PNG")
        return "png", buffer.getvalue()
    picture.save(buffer, "JPEG", quality=95, subsampling=0)
    return "jpg", buffer.getvalue()


def reference(images: Sequence[tuple[Path, int]], mixing: Sequence[Path], out: Path, *, size: int, seed: int) -> int:
    """Write one LayerMix variant of each (file, label) into tar shards in `out`; returns how many."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    crop, crop_picture = image_crop(size), picture_crop(size)
    out.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(str(out / "%06d.tar"), maxcount=10_000, verbose=0) as writer:
        for number, (path, label) in enumerate(images):
            image = load(path, crop)
            picture_path = mixing[rng.integers(len(mixing))]
            mixed, drawn = layermix(image, load(picture_path, crop_picture), rng)
            extension, encoded = encode(mixed, size)
            drawn |= {"source": path.name, "picture": picture_path.name}
            writer.write({"__key__": f"{number:08d}", extension: encoded, "cls": label, "json": json.dumps(drawn)})
    return len(images)


def pictures_in(folder: Path) -> list[Path]:
    """Every picture below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def labelled(source: Path) -> list[tuple[Path, int]]:
    """Every picture of a folder with one folder a class, with its label."""
    classes = sorted(path for path in source.iterdir() if path.is_dir())
    return [(path, label) for label, folder in enumerate(classes) for path in pictures_in(folder)]


def main() -> None:
    """Write `--count` variants and print how many a second."""
    parser = argparse.ArgumentParser(description="LayerMix shards with torchvision and webdataset, one thread.")
    parser.add_argument("source", type=Path)
    parser.add_argument("mixing", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    images, mixing = labelled(settings.source), pictures_in(settings.mixing)
    chosen = [images[i] for i in np.random.default_rng(settings.seed).integers(len(images), size=settings.count)]
    reference(chosen[:32], mixing, settings.out, size=settings.size, seed=settings.seed)  # libraries load lazily
    start = time.perf_counter()
    written = reference(chosen, mixing, settings.out, size=settings.size, seed=settings.seed)
    print(f"{written / (time.perf_counter() - start):.1f} variants/s ({written} of {settings.size} px, one thread)")


if __name__ == "__main__":
    main()
