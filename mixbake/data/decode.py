"""Encoded picture -> uint8 H×W×3 RGB: every pixel of it, or a DecodeError that says why not.

JPEG goes through simplejpeg, all other formats and the odd JPEG (CMYK, rare subsampling) through Pillow.
The first frame of an animation counts, Exif orientation is applied, colour profiles are not.
Rule: a picture is whole or refused. Size limits are checked from the header, before any pixel is made;
a reason is one short line without paths or addresses, so equal files give equal reasons.
"""

import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from mixbake.data.listing import Blob
from mixbake.data.orientation import AS_STORED, SIDEWAYS, exif_orientation, jpeg_orientation, upright
from mixbake.errors import DecodeError

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

MAX_PIXELS = 178_956_970
"""Height times width that is still decoded: 512 MiB as RGB, the size at which Pillow, too, suspects an attack."""

MAX_SIDE = 65_535
"""Longest side that is still decoded, JPEG's own limit: a picture 16 million pixels wide takes minutes."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_FAST_SPACES = frozenset({"YCbCr", "Gray", "RGB"})
_HARMLESS = (
    "extraneous bytes before marker",
    "Unknown Adobe color transform",
    "unknown JFIF revision",
    "Invalid SOS parameters",
    "bad ICC marker",
)
"""libjpeg warnings about files whose pixels are all there, as photo collections have them: Pillow decodes those."""

_LOST_SECTOR = bytes(64)
"""Zeros where a scan should be: what is left of a disk error. JPEG has no checksum; other changes can pass."""

_REFUSED_MODES = {
    "F": "floating-point pixels have no agreed white: store it with 8 or 16 bits",
    "LAB": "CIELAB pixels are not supported: store it as RGB",
}
_GRAY16_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_PNG_GRAY_STEPS = {"L;2": 85, "L;4": 17}
_BAND_PIXELS = 1 << 20
_TIFF_BITS, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0

_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's readers raise on malformed bytes; running out of memory is not the file's fault."""

_PILLOW_SETTINGS = threading.Lock()


def decode(blob: Blob, *, background: Colour = (255, 255, 255)) -> Pixels:
    """RGB pixels of one stored image: uint8 H×W×3, contiguous, upright.

    Transparency is laid over `background`, rounded to nearest. 16-bit gray is scaled by 255/65535,
    rounded; 16-bit colour keeps its upper byte, as Pillow reads it. Arrays are checked and passed through.
    Raises DecodeError when `blob` is empty, cut short, damaged, above MAX_SIDE or MAX_PIXELS, or no picture.
    """
    if isinstance(blob, np.ndarray):
        return _checked(blob)
    if not blob.startswith(_JPEG):
        return _decode_by_pillow(blob, background)
    pixels = _decode_fast_jpeg(blob)
    return _decode_by_pillow(blob, background) if pixels is None else pixels


def image_size(blob: Blob) -> tuple[int, int]:
    """(height, width) that `decode` would give, read from the header alone. Raises DecodeError."""
    if isinstance(blob, np.ndarray):
        height, width = _checked(blob).shape[:2]
        return height, width
    header = _jpeg_header(blob) if blob.startswith(_JPEG) else None
    if header is not None:
        height, width, _ = header
        orientation = jpeg_orientation(blob)
    else:
        with _opened(blob) as image:
            width, height = image.size
            orientation = _orientation(blob, image)
    return (width, height) if orientation in SIDEWAYS else (height, width)


def size_of_start(start: bytes) -> tuple[int, int] | None:
    """`image_size` of a picture of which only the beginning is known; None when that does not tell.

    JPEG and PNG say size and orientation before the first scan or IDAT; without these their readers refuse.
    """
    if not start.startswith((_JPEG, _PNG)):
        return None
    try:
        return image_size(start)
    except DecodeError:
        return None


def _checked(pixels: Pixels) -> Pixels:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise DecodeError(f"pixels are {pixels.dtype}{list(pixels.shape)}, not uint8[height, width, 3]")
    _check_size(pixels.shape[0], pixels.shape[1])
    return np.ascontiguousarray(pixels)


def _check_size(height: int, width: int) -> None:
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise DecodeError(f"{width}x{height} pixels: sides are 1 to {MAX_SIDE}, in all at most {MAX_PIXELS} pixels")


# ── JPEG ──────────────────────────────────────────────────────────────────────────────────────────


def _jpeg_header(data: bytes) -> tuple[int, int, str] | None:
    """(height, width, colour space) of a JPEG; None where only Pillow may know."""
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    _check_size(height, width)
    return height, width, space


def _decode_fast_jpeg(data: bytes) -> Pixels | None:
    """Upright pixels through simplejpeg, any warning an error; None when it is a case for Pillow."""
    header = _jpeg_header(data)
    if header is None or header[2] not in _FAST_SPACES:
        return None
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        if _is_harmless(str(error), data):
            return None
        raise DecodeError(f"damaged JPEG: {_one_line(error)}") from error
    orientation = jpeg_orientation(data)
    return pixels if orientation == AS_STORED else upright(pixels, orientation)


def _is_harmless(warning: str, data: bytes) -> bool:
    """Whether libjpeg only grumbles: zeros within the last scan, too, end as leftover bytes."""
    scan = data.rfind(b"\xff\xda")
    return any(text in warning for text in _HARMLESS) and data.find(_LOST_SECTOR, scan) < 0


# ── Pillow ────────────────────────────────────────────────────────────────────────────────────────


def _decode_by_pillow(data: bytes, background: Colour) -> Pixels:
    with _opened(data) as image:
        orientation = _orientation(data, image)
        _settle_png_transparency(image)
        image.load()
        _check_size(image.height, image.width)  # a GIF frame may outgrow its header
        return upright(_rgb(image, background), orientation)


@contextmanager
def _opened(data: bytes) -> Iterator[ImageFile.ImageFile]:
    """Pillow's view of `data`, size checked; whatever goes wrong in the body, too, becomes a DecodeError."""
    if not data:
        raise DecodeError("empty file")
    with _strict_and_quiet():
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image.height, image.width)
                yield image
        except UnidentifiedImageError as error:
            raise DecodeError(f"not a readable picture: it begins with {data[:8].hex(' ')}") from error
        except _PILLOW_ERRORS as error:
            raise DecodeError(f"damaged or unsupported picture: {_one_line(error)}") from error


@contextmanager
def _strict_and_quiet() -> Iterator[None]:
    """Pillow's module settings as `decode` promises them, restored afterwards.

    Warnings are dropped so that the result never depends on the user's filters, and a program that lets
    Pillow load truncated files elsewhere gets no partial pictures here. Both are global: one thread at a time.
    """
    with _PILLOW_SETTINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lenient = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _orientation(data: bytes, image: ImageFile.ImageFile) -> int:
    """Orientation still to be applied; Pillow turns TIFF by itself."""
    if data.startswith(_JPEG):
        return jpeg_orientation(data)
    exif = image.info.get("exif")
    return exif_orientation(exif) if isinstance(exif, bytes) and image.format != "TIFF" else AS_STORED


def _settle_png_transparency(image: ImageFile.ImageFile) -> None:
    """Bring PNG's transparent colour to the scale of the pixels that Pillow is about to make."""
    key = image.info.get("transparency")
    if image.format != "PNG" or not image.tile or key is None:
        return
    raw_mode = str(image.tile[0][3])
    if raw_mode == "RGB;16B":
        raise DecodeError("16-bit colour with one transparent colour is not supported: store an alpha channel")
    image.info["transparency"] = key * _PNG_GRAY_STEPS[raw_mode] if raw_mode in _PNG_GRAY_STEPS else key


def _rgb(image: ImageFile.ImageFile, background: Colour) -> Pixels:
    if image.mode in _REFUSED_MODES:
        raise DecodeError(_REFUSED_MODES[image.mode])
    if image.mode in _GRAY16_MODES:
        return _scaled_gray(image, background)
    if image.has_transparency_data:
        return _over(np.asarray(image.convert("RGBA")), background)
    return np.array(image.convert("RGB"))


def _scaled_gray(image: ImageFile.ImageFile, background: Colour) -> Pixels:
    """16-bit gray to RGB: round(value · 255 / 65535), inverted where a TIFF stores white as zero."""
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if 12 in tags.get(_TIFF_BITS, ()) or values.min() < 0 or values.max() > 65535:
        raise DecodeError("gray values are not 16-bit from black 0 to white 65535: store it with 8 or 16 bits")
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 65535 - values
    gray = ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    pixels = np.repeat(gray[:, :, None], 3, axis=2)
    if "transparency" in image.info:
        pixels[values == image.info["transparency"]] = background
    return pixels


def _over(rgba: Pixels, background: Colour) -> Pixels:
    """`rgba` laid over an opaque colour: (c·a + b·(255 - a)) / 255 in integers, rounded to nearest."""
    behind = np.array(background, dtype=np.uint16)
    pixels = np.empty((*rgba.shape[:2], 3), dtype=np.uint8)
    rows = max(1, _BAND_PIXELS // rgba.shape[1])  # bands bound the 16-bit copies of a huge picture
    for top in range(0, len(rgba), rows):
        band = rgba[top : top + rows]
        alpha = band[:, :, 3:].astype(np.uint16)
        # At most 255·255 + 127, which fits 16 bits; 255 is odd, so there are no ties.
        pixels[top : top + rows] = (band[:, :, :3] * alpha + behind * (255 - alpha) + 127) // 255
    return pixels


def _one_line(error: BaseException) -> str:
    """The error's text, fit for a receipt: one line, printable ASCII, no object addresses, at most 100 characters."""
    text = " ".join(re.sub(r"<[^<>]*>", "data", str(error)).split()) or type(error).__name__
    return text.encode("ascii", "backslashreplace").decode()[:100]
