"""Runs programs: registers 0 and 1 are the cropped image and the picture, step i writes register i + 2.

One compiled function runs a program table, be it one variant or a whole block of small images, so both
give the same bytes by construction. Rule: shapes, boxes and
register numbers were checked by the caller (`core.checks`): nothing here looks again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit, splice
from mixbake.core.kernels import codes, geometry, mixing, tone
from mixbake.core.kernels.lanes import clear, copy
from mixbake.core.kernels.resize import resize_box

Bytes = NDArray[np.uint8]
Columns = tuple[Any, ...]
"""(crops, flips, pictures, lengths, do, sources, args, arities): see `core.programs`."""
Scratch = tuple[Any, ...]
"""(registers, packed, counts, tables, first, second, sums, work): see `core.render.Canvas`."""
Pictures = tuple[Any, ...]
"""(pixels, offsets, shapes, channels): flat uint8, int64[m], int32[m, 2] height and width, 1 or 3."""


@splice
def _blend(do: int, x1: Bytes, x2: Bytes, out: Bytes, start: int, length: int, args: Any, scratch: Scratch) -> None:
    if do == codes.ARITHMETIC:
        mixing.arithmetic(x1, x2, out, start, length, args[0], args[1])
    elif do == codes.GEOMETRIC:
        mixing.geometric(x1, x2, out, start, length, scratch[4], scratch[5])
    elif do == codes.PIXEL:
        mixing.pixel_mask(x1, x2, out, start, length, args[0], args[1])
    else:
        mixing.element_mask(x1, x2, out, start, length, args[0], args[1])


@splice
def _run_blend(do: int, x1: Bytes, x2: Bytes, out: Bytes, size: int, args: Any, arity: int, scratch: Scratch) -> None:
    """A blend of two registers, over the whole image or inside the box in args[2:6]."""
    length = size * size * 3
    if do == codes.GEOMETRIC:
        mixing.power_tables(args[0], args[1], scratch[4], scratch[5])
    if arity == 2:
        _blend(do, x1, x2, out, 0, length, args, scratch)
        return
    copy(x1, 0, out, 0, length)
    left, top, width, height = args[2], args[3], args[4], args[5]
    for y in range(top, top + height):
        _blend(do, x1, x2, out, (y * size + left) * 3, width * 3, args, scratch)


@splice
def _run_weighted(sources: Any, out: Bytes, size: int, args: Any, arity: int, scratch: Scratch) -> None:
    registers, sums = scratch[0], scratch[6]
    length = size * size * 3
    mixing.begin_sum(sums, length)
    for k in range(arity):
        mixing.add_to_sum(registers[sources[k]], args[k], sums, length)
    mixing.end_sum(sums, out, length)


@splice
def _run_geometry(do: int, x: Bytes, out: Bytes, size: int, args: Any, packed: Any) -> None:
    if do == codes.ROTATE:
        geometry.rotate(x, out, size, args[0], packed)
    elif do == codes.SHEAR_X:
        geometry.shear_x(x, out, size, args[0], args[1])
    elif do == codes.SHEAR_Y:
        geometry.shear_y(x, out, size, args[0], args[1], packed)
    elif do == codes.TRANSLATE_X:
        geometry.translate_x(x, out, size, args[0])
    else:
        geometry.translate_y(x, out, size, args[0])


@splice
def _run_tone(do: int, x: Bytes, out: Bytes, size: int, args: Any, counts: Any, tables: Any) -> None:
    length = size * size * 3
    if do == codes.POSTERIZE:
        tone.posterize(x, out, length, args[0])
    elif do == codes.SOLARIZE:
        tone.solarize(x, out, length, args[0])
    elif do == codes.EQUALIZE:
        tone.equalize(x, out, length, counts, tables)
    elif do == codes.AUTOCONTRAST:
        tone.autocontrast(x, out, length, args[0], counts, tables)
    elif do == codes.GRAYSCALE:
        tone.grayscale(x, out, length)
    elif do == codes.MIRROR:
        geometry.mirror(x, out, size)
    else:
        tone.invert(x, out, length)


@splice
def _run_colour(do: int, x: Bytes, out: Bytes, size: int, factor: int) -> None:
    length = size * size * 3
    if do == codes.COLOR:
        tone.color(x, out, length, factor)
    elif do == codes.CONTRAST:
        tone.contrast(x, out, length, factor)
    elif do == codes.BRIGHTNESS:
        tone.brightness(x, out, length, factor)
    else:
        tone.sharpness(x, out, size, factor)


@splice
def run_step(do: int, sources: Any, args: Any, arity: int, target: int, size: int, scratch: Scratch) -> None:
    """registers[target] <- do(registers[sources], args)."""
    registers, packed, counts, tables = scratch[0], scratch[1], scratch[2], scratch[3]
    x, out = registers[sources[0]], registers[target]
    if do <= codes.TRANSLATE_Y:
        _run_geometry(do, x, out, size, args, packed)
    elif do <= codes.INVERT:
        _run_tone(do, x, out, size, args, counts, tables)
    elif do <= codes.SHARPNESS:
        _run_colour(do, x, out, size, args[0])
    elif do == codes.WEIGHTED:
        _run_weighted(sources, out, size, args, arity, scratch)
    else:
        _run_blend(do, x, registers[sources[1]], out, size, args, arity, scratch)


@splice
def crop_image(image: Bytes, crop: Any, flip: int, size: int, out: Bytes, spare: Bytes, work: Any) -> None:
    """out <- the crop (kind, left, top, width, height) of image H×W×3 as size × size, mirrored when flip."""
    kind, left, top, width, height = crop[0], crop[1], crop[2], crop[3], crop[4]
    target = spare if flip else out
    if kind == codes.CROP_PAD or (width == size and height == size):
        _cut(image, left, top, size, target)
    else:
        resize_box(image, left, top, width, height, target, size, work)
    if flip:
        geometry.mirror(spare, out, size)


@inline
def _cut(image: Bytes, left: int, top: int, size: int, out: Bytes) -> None:
    """A size × size window that may reach over the edges, where it is black."""
    height, width = image.shape[0], image.shape[1]
    flat = image.reshape(-1)
    first, last = min(max(-left, 0), size), max(min(width - left, size), 0)
    for y in range(size):
        row = y * size * 3
        inside = 0 <= top + y < height and first < last
        if not inside:
            clear(out, row, size * 3)
            continue
        clear(out, row, first * 3)
        copy(flat, ((top + y) * width + left + first) * 3, out, row + first * 3, (last - first) * 3)
        clear(out, row + last * 3, (size - last) * 3)


@inline
def lay_picture(pictures: Pictures, picture: Any, size: int, out: Bytes, line: Bytes) -> None:
    """out <- the window (id, left, top, hflip, vflip, gray) of a prepared picture, as size × size × 3."""
    pixels, offsets, shapes, channels = pictures[0], pictures[1], pictures[2], pictures[3]
    number, left, top = picture[0], picture[1], picture[2]
    hflip, vflip, gray = picture[3], picture[4], picture[5]
    width = np.int64(shapes[number, 1])
    for y in range(size):
        row = top + (size - 1 - y if vflip else y)
        start = offsets[number] + (row * width + left) * channels
        if channels == 1:
            _widen(pixels, start, out, y * size * 3, size)
        elif gray:
            _gray_line(pixels, start, out, y * size * 3, size)
        else:
            copy(pixels, start, out, y * size * 3, size * 3)
    if hflip:
        for y in range(size):
            copy(out, y * size * 3, line, 0, size * 3)
            geometry.mirror_line(line, 0, out, y * size * 3, size)


@inline
def _widen(gray: Bytes, start: int, out: Bytes, at: int, length: int) -> None:
    """Each byte three times."""
    p, q = np.uintp(start), np.uintp(at)
    for i in range(np.uintp(length)):
        value, k = gray[p + i], q + np.uintp(3) * i
        out[k], out[k + np.uintp(1)], out[k + np.uintp(2)] = value, value, value


@inline
def _gray_line(source: Bytes, start: int, out: Bytes, at: int, length: int) -> None:
    """Each pixel's luma three times."""
    p, q = np.uintp(start), np.uintp(at)
    for i in range(np.uintp(length)):
        k = np.uintp(3) * i
        value = tone.luma(source[p + k], source[p + k + np.uintp(1)], source[p + k + np.uintp(2)])
        out[q + k], out[q + k + np.uintp(1)], out[q + k + np.uintp(2)] = value, value, value


@splice
def _run_row(
    columns: Columns, row: int, image: Bytes, pictures: Pictures, size: int, scratch: Scratch, out: Bytes
) -> None:
    crops, flips, chosen, lengths, do, sources, args, arities = columns
    registers, work = scratch[0], scratch[7]
    crop_image(image, crops[row], flips[row], size, registers[0], registers[2], work)
    if chosen[row, 0] >= 0:
        lay_picture(pictures, chosen[row], size, registers[1], registers[2])
    last = lengths[row]
    for i in range(last):
        run_step(do[row, i], sources[row, i], args[row, i], arities[row, i], i + 2, size, scratch)
    result = registers[last + 1] if last else registers[0]
    copy(result, 0, out, 0, len(out))


@jit
def run_stack(
    columns: Columns,
    first: int,
    images: Bytes,
    which: NDArray[np.int64],
    pictures: Pictures,
    size: int,
    scratch: Scratch,
    out: Bytes,
) -> None:
    """Render rows of a program table; row first + i starts from images[which[i]] (m×H×W×3) and fills out[i].

    Rows of `out` are size·size·3 long, or empty for callers that read the last register.
    A single variant is row `first` of a table: one compiled function, so the bytes cannot differ.
    """
    for row in range(out.shape[0]):
        _run_row(columns, first + row, images[which[row]], pictures, size, scratch, out[row])


@jit
def run_single_step(do: int, sources: Any, args: Any, arity: int, target: int, size: int, scratch: Scratch) -> None:
    """`run_step` on its own, for callers outside compiled code."""
    run_step(do, sources, args, arity, target, size, scratch)


@jit
def run_crop(image: Bytes, crop: Any, flip: int, size: int, scratch: Scratch, out: Bytes) -> None:
    """`crop_image` on its own, for callers outside compiled code."""
    crop_image(image, crop, flip, size, out, scratch[0][2], scratch[7])
