"""Orientation: a picture comes upright whatever its Exif says, and broken Exif says nothing."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mixbake.data.decode import decode, image_size


def smooth(height: int = 40, width: int = 56) -> Any:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 5, (x + y) * 2], axis=2).clip(0, 255).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[271] = "a maker"
    exif[274] = orientation
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_as_their_exif_says(kind: str, orientation: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    data = encoded(Image.fromarray(smooth()), kind, exif=exif_with(orientation), **options)
    with Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), dtype=int)
    pixels = decode(data)
    assert pixels.shape == wanted.shape
    assert np.abs(pixels - wanted).max() <= 1
    assert pixels.flags.c_contiguous
    assert image_size(data) == pixels.shape[:2]


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_both_byte_orders(order: str) -> None:
    magic = b"II*\0" if order == "<" else b"MM\0*"
    tiff = magic + struct.pack(order + "IHHHIHH", 8, 1, 274, 3, 1, 6, 0) + bytes(4)
    data = encoded(Image.fromarray(smooth()), "JPEG", exif=b"Exif\0\0" + tiff)
    assert image_size(data) == (56, 40)


@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0\xff\xff"]))
def test_broken_exif_never_makes_a_picture_unreadable(junk: bytes, start: bytes) -> None:
    data = encoded(Image.fromarray(smooth(8, 16)), "JPEG", exif=b"Exif\0\0" + start + junk)
    assert sorted(decode(data).shape[:2]) == [8, 16]
    assert image_size(data) == decode(data).shape[:2]
