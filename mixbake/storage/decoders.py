"""Stored pictures back into pixels, strictly: one literal table.

Rule: a stranger made these bytes; a decoder takes only the plan's size, and no size that a file states is believed.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from mixbake.storage.sizes import npy_header

Bytes = NDArray[np.uint8]


def _decode_jpeg(data: Bytes, out: Bytes) -> None:
    pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=False, fastupsample=False, buffer=out)
    if pixels.shape != out.shape:
        raise ValueError(f"it is {pixels.shape}, not {out.shape}")


def _decode_with_pillow(data: Bytes, out: Bytes) -> None:
    try:
        with Image.open(io.BytesIO(data.data), formats=("PNG", "WEBP")) as image:
            if (image.height, image.width) != out.shape[:2]:
                raise ValueError(f"it is {image.height}×{image.width}, not {out.shape[0]}×{out.shape[1]}")
            out[:] = np.asarray(image.convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"it claims to be huge ({error})") from error


def _decode_array(data: Bytes, out: Bytes) -> None:
    header = npy_header(out.shape, out.dtype)
    if len(data) != len(header) + out.nbytes or data[: len(header)].tobytes() != header:
        raise ValueError(f"it is not an array of uint8 {out.shape}")
    out.reshape(-1)[:] = data[len(header) :]


UNREADABLE = (
    ValueError,
    OSError,
    SyntaxError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What decoders raise for bytes that are no picture: Pillow's plug-ins meet damage in all these ways."""
DECODERS: dict[str, Callable[[Bytes, Bytes], None]] = {
    "jpeg": _decode_jpeg,
    "png": _decode_with_pillow,
    "webp": _decode_with_pillow,
    "raw": _decode_array,
}
"""By codec: stored bytes into uint8 S×S×3 of the plan's size. Raises one of `UNREADABLE` for anything else."""
