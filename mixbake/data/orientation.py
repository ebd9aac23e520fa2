"""Which way up a picture is: the Exif orientation tag (274), read and applied.

Rule: metadata never makes a picture unreadable. Exif that is absent, broken or out of range means
"as stored". Only tag 274 of the first Exif directory counts; XMP is not looked at.
"""

import struct

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

AS_STORED = 1
SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations that exchange height and width."""

_TAG = 274
_NUMBER_FORMATS = {1: "B", 3: "H", 4: "I"}
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_APP1, _START_OF_SCAN, _END = 0xE1, 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """`pixels` (H×W×3) turned and mirrored as Exif 2.32, tag 274, says; a contiguous uint8 array."""
    match orientation:
        case 2:
            pixels = pixels[:, ::-1]
        case 3:
            pixels = pixels[::-1, ::-1]
        case 4:
            pixels = pixels[::-1]
        case 5:
            pixels = pixels.transpose(1, 0, 2)
        case 6:
            pixels = pixels[::-1].transpose(1, 0, 2)
        case 7:
            pixels = pixels[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            pixels = pixels[:, ::-1].transpose(1, 0, 2)
    return np.ascontiguousarray(pixels)


def jpeg_orientation(data: bytes) -> int:
    """Orientation 1..8 of a JPEG file; costs about 2 µs where there is no Exif, as segments are only stepped over."""
    at, end = 2, len(data) - 4
    while at <= end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (_START_OF_SCAN, _END):
            break
        if marker == 0xFF:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            following = at + 2 + (data[at + 2] << 8 | data[at + 3])
            if marker == _APP1 and data[at + 4 : at + 10] == b"Exif\0\0":
                return exif_orientation(data[at + 10 : following])
            at = following
    return AS_STORED


def exif_orientation(exif: bytes) -> int:
    """Orientation 1..8 in an Exif block (a TIFF header and its directory, with or without the `Exif` prefix)."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return AS_STORED
    try:
        return _tag_value(tiff, order)
    except struct.error:  # a directory that points outside the block
        return AS_STORED


def _tag_value(tiff: bytes, order: str) -> int:
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    for at in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == _TAG and kind in _NUMBER_FORMATS:
            (value,) = struct.unpack_from(order + _NUMBER_FORMATS[kind], tiff, at + 8)
            return value if 1 <= value <= 8 else AS_STORED
    return AS_STORED
