"""How pictures are stored: one literal table of codecs.

Rule: the same pixels give the same bytes with the same library versions, which the environment id holds.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from mixbake.errors import UsageError
from mixbake.storage import tar

Bytes = NDArray[np.uint8]
FIXED_LIMIT = 64
"""Up to this side, PNGs are stored uncompressed, all of one size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """extension: of the member. encode: uint8 S×S×3 and a quality to bytes."""

    extension: str
    encode: Callable[[Bytes, int], bytes]


def _jpeg(pixels: Bytes, quality: int) -> bytes:
    # 4:4:4: at 4:2:0 a mask drawn per channel loses 17 to 28 dB.
    return bytes(simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="RGB", colorsubsampling="444"))


def _png(pixels: Bytes, _quality: int) -> bytes:
    if pixels.shape[0] <= FIXED_LIMIT:
        return tar.stored_png(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def _webp(pixels: Bytes, quality: int) -> bytes:
    buffer = io.BytesIO()
    lossless = quality >= 100
    Image.fromarray(pixels).save(buffer, format="WEBP", quality=quality, lossless=lossless, exact=True, method=2)
    return buffer.getvalue()


def _raw(pixels: Bytes, _quality: int) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, pixels, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


CODECS: dict[str, Codec] = {
    "png": Codec(extension="png", encode=_png),
    "jpeg": Codec(extension="jpg", encode=_jpeg),
    "webp": Codec(extension="webp", encode=_webp),
    "raw": Codec(extension="npy", encode=_raw),
}
"""png: stored up to 64 px, deflate level 3 above. jpeg: 4:4:4. webp: lossless at quality 100. raw: a .npy array."""


def choose_codec(name: str, size: int) -> str:
    """The codec's name, "auto" resolved: png up to 64 px, jpeg above. Raises UsageError on an unknown name."""
    if name == "auto":
        return "png" if size <= FIXED_LIMIT else "jpeg"
    if name not in CODECS:
        raise UsageError(f"unknown codec {name!r}: choose from auto, {', '.join(CODECS)}")
    return name


def is_fixed(name: str, size: int) -> bool:
    """Whether every record of a shard has the same length."""
    return name == "png" and size <= FIXED_LIMIT


def most_bytes(size: int) -> int:
    """Bytes that no stored picture of that side exceeds, whatever its codec: so a forged length cannot fill memory.

    Four times the pixels: JPEG at quality 100 needs less than twice as much for noise of black and white.
    """
    return 4 * 3 * size * size + (1 << 16)


def decode_stored(data: bytes, codec: str) -> Bytes:
    """Pixels of a stored member, uint8 H×W×3; nothing is unpickled."""
    if codec == "raw":
        return np.asarray(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False), np.uint8)
    if codec == "jpeg":
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=False, fastupsample=False), np.uint8)
    with Image.open(io.BytesIO(data), formats=("PNG", "WEBP")) as image:
        return np.asarray(image.convert("RGB"), np.uint8)
