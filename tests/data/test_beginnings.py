"""The size of a picture, told by the beginning of its file."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixbake.data.decode import decode, image_size, size_of_start

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (11, 7, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=turned(), **options)
    return buffer.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


BEGINNINGS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(RGB, "JPEG"),
    "progressive jpeg": lambda: encoded(RGB, "JPEG", progressive=True),
    "jpeg with a profile": lambda: encoded(RGB, "JPEG", icc_profile=bytes(300)),
    "cmyk jpeg": lambda: encoded(RGB.convert("CMYK"), "JPEG"),
    "png": lambda: encoded(RGB, "PNG"),
    "png with a profile": lambda: encoded(RGB, "PNG", icc_profile=bytes(300)),
    "webp": lambda: encoded(RGB, "WEBP"),
    "tiff": lambda: encoded(RGB, "TIFF"),
}


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_no_beginning_of_a_file_tells_another_size(kind: str) -> None:
    data = BEGINNINGS[kind]()
    size = image_size(data)
    assert size == decode(data).shape[:2] == (7, 11)
    told = [size_of_start(data[:cut]) for cut in range(len(data) + 1)]
    assert set(told) <= {None, size}
    assert (told[-1] == size) == kind.endswith(("jpeg", "png", "profile"))
