"""Pictures to mix with: how tests make some."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixbake.data.prepared import PictureSet


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


def pixels_of(pictures: PictureSet) -> dict[str, bytes]:
    return {name: pictures.picture(i).tobytes() for i, name in enumerate(pictures.names)}
