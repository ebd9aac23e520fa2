"""Rotation, shear, translation, mirror: bilinear, black outside, on square uint8 registers.

Along one axis a line moves by a constant: a weighted sum of two neighbouring bytes. Rotation and the
vertical shear move every pixel differently: there a pixel travels as one uint64 with 21 bits a channel,
so that one multiplication weighs three channels. Positions are integers in units of 2^-32 pixel.
Rule: each neighbour outside the image counts as 0; a whole-pixel move is exact.
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, splice
from mixbake.core.kernels.lanes import MICRO, add32, byte, clear, copy, cosine, mul32, sine

Bytes = NDArray[np.uint8]
Packed = NDArray[np.uint64]

FRACTION = 32
"""Bits after the point of a position."""
_ONE = 1 << FRACTION
_WEIGHT = 9
"""Bits of a bilinear weight: 1/1024 of a step of error on each axis, times 255."""
_SHIFT = np.uint64(_WEIGHT)
_HALF = 1 << (FRACTION - _WEIGHT - 1)
"""Half a step of a weight: added once to where a gather starts."""
_TRIM = np.uint64(5)
_TRIMMED = np.uint64(0x0000_0FFF | 0x0000_0FFF << 21 | 0x0FFF << 42)
_ROUND_ROW = np.uint64(16 | 16 << 21 | 16 << 42)
_ROUND = np.uint64((1 << 12) | (1 << 12) << 21 | (1 << 12) << 42)


@inline
def positions(micro: int) -> int:
    """A length in 1e-6 pixel as a position in 2^-32 pixel, rounded to nearest (|length| < 2000 pixels)."""
    return (micro * 4294967296 + MICRO // 2) // MICRO


@inline
def _move_line(source: Bytes, start: int, out: Bytes, at: int, step: int, size: int, shift: int) -> None:
    """One line of `size` pixels moved by `shift` (2^-32 pixel): out[i] = source(i + shift), black outside.

    step: bytes from one pixel to the next when a "pixel" is a whole row (translate_y), else 3.
    """
    whole = shift >> FRACTION
    weight = ((shift & (_ONE - 1)) + (1 << (FRACTION - 9))) >> (FRACTION - 8)
    if weight == 256:
        whole, weight = whole + 1, 0
    right, left = np.uint32(weight), np.uint32(256 - weight)
    first = min(max(-whole, 0), size)
    last = max(min(size - whole, size), first)
    inner = max(min(last, size - 1 - whole), first)
    # Before the first whole pair only the right neighbour can be inside; after the last only the left.
    clear(out, at, first * step)
    clear(out, at + last * step, (size - last) * step)
    if first > 0 and first - 1 < size and 0 <= whole + first < size:
        edge, neighbour = at + (first - 1) * step, start + (whole + first) * step
        for c in range(step):
            out[edge + c] = byte(add32(128, mul32(right, source[neighbour + c])), 8)
    p, q = np.uintp(start + (whole + first) * step), np.uintp(at + first * step)
    s = np.uintp(step)
    if weight == 0:
        copy(source, start + (whole + first) * step, out, at + first * step, (last - first) * step)
        return
    for j in range(np.uintp((inner - first) * step)):
        out[q + j] = byte(add32(add32(128, mul32(left, source[p + j])), mul32(right, source[p + s + j])), 8)
    for j in range(np.uintp((inner - first) * step), np.uintp((last - first) * step)):
        out[q + j] = byte(add32(128, mul32(left, source[p + j])), 8)


@splice
def translate_x(source: Bytes, out: Bytes, size: int, micro: int) -> None:
    """x_in = x - micro/1e6: content moves right for positive arguments."""
    shift = -positions(micro)
    for y in range(size):
        _move_line(source, y * size * 3, out, y * size * 3, 3, size, shift)


@splice
def translate_y(source: Bytes, out: Bytes, size: int, micro: int) -> None:
    """y_in = y - micro/1e6: content moves down for positive arguments."""
    _move_line(source, 0, out, 0, size * 3, size, -positions(micro))


@splice
def shear_x(source: Bytes, out: Bytes, size: int, micro: int, centred: int) -> None:
    """x_in = x + s·(y - y0), s = micro/1e6; y0 = (size-1)/2 when centred, else 0."""
    for y in range(size):
        # Twice the distance keeps the half-pixel centre an integer.
        twice = 2 * y - (size - 1) * centred
        shift = (positions(micro) * twice) >> 1
        _move_line(source, y * size * 3, out, y * size * 3, 3, size, shift)


@inline
def pack(source: Bytes, size: int, packed: Packed) -> None:
    """packed[i] = R | G << 21 | B << 42 of pixel i."""
    for i in range(np.uintp(size * size)):
        p = np.uintp(3) * i
        red, green, blue = np.uint64(source[p]), np.uint64(source[p + np.uintp(1)]), np.uint64(source[p + np.uintp(2)])
        packed[i] = red | (green << np.uint64(21)) | (blue << np.uint64(42))


@inline
def _unpack(line: Packed, size: int, out: Bytes, at: int) -> None:
    """out[at:] = the upper bytes of `size` packed pixels with 13 bits after the point."""
    target = np.uintp(at)
    for i in range(np.uintp(size)):
        value, q = line[i], target + np.uintp(3) * i
        out[q] = np.uint8(value >> np.uint64(13))
        out[q + np.uintp(1)] = np.uint8(value >> np.uint64(34))
        out[q + np.uintp(2)] = np.uint8(value >> np.uint64(55))


@inline
def _weight(position: int) -> np.uint64:
    """The fraction of a position in 9 bits, cut off: positions carry `_HALF`, so this rounds to nearest."""
    return np.uint64((position >> (FRACTION - _WEIGHT)) & 511)


@inline
def _blend_line(corners: Packed, line: Packed, size: int, x: int, x_step: int, y: int, y_step: int) -> None:
    """line[i] <- bilinear mean of corners[:4, i] at position (x + i·x_step, y + i·y_step).

    17 bits a channel after x, trimmed to 12, 21 after y. a·(512 - w) + b·w is a·512 + (b - a)·w: the
    difference may borrow across channels, but modulo 2^64 the sum is the same number, for one
    multiplication instead of two.
    """
    north_west, north_east, south_west, south_east = corners[0], corners[1], corners[2], corners[3]
    for i in range(size):
        wx, wy = _weight(x + i * x_step), _weight(y + i * y_step)
        nw, sw = north_west[i], south_west[i]
        north = (((nw << _SHIFT) + (north_east[i] - nw) * wx + _ROUND_ROW) >> _TRIM) & _TRIMMED
        south = (((sw << _SHIFT) + (south_east[i] - sw) * wx + _ROUND_ROW) >> _TRIM) & _TRIMMED
        line[i] = (north << _SHIFT) + (south - north) * wy + _ROUND


@inline
def _pixel(packed: Packed, size: int, y: int, x: int) -> np.uint64:
    inside = 0 <= y < size and 0 <= x < size
    return packed[y * size + x] if inside else np.uint64(0)


@inline
def _gather_edge(packed: Packed, size: int, x: int, y: int, corners: Packed, i: int) -> None:
    """corners[:, i] <- the four neighbours of a position in 2^-32 pixel, 0 where they lie outside."""
    left, top = x >> FRACTION, y >> FRACTION
    corners[0, i], corners[1, i] = _pixel(packed, size, top, left), _pixel(packed, size, top, left + 1)
    corners[2, i], corners[3, i] = _pixel(packed, size, top + 1, left), _pixel(packed, size, top + 1, left + 1)


@inline
def _span(start: int, step: int, size: int, first: int, last: int) -> tuple[int, int]:
    """Narrow first..last-1 to the i for which 0 <= (start + i·step) >> 32 <= size - 2; never widens."""
    low, high = 0, ((size - 1) << FRACTION) - 1
    if step == 0:
        return (first, last) if low <= start <= high else (first, first)
    if step < 0:
        # Count from the other side: -start runs upward through the mirrored bounds.
        start, step, low, high = -start, -step, -high, -low
    first = min(max(first, -((start - low) // step)), last)
    return first, max(min(last, (high - start) // step + 1), first)


@inline
def _affine(packed: Packed, size: int, out: Bytes, x_row: int, y_row: int, cos: int, sin: int) -> None:
    """Pixel (i, r) comes from (x_row + i·cos - r·sin, y_row + i·sin + r·cos), in 2^-32 pixel.

    A row at a time: first its neighbours are gathered into four lines, pixel by pixel, then the lines are
    blended as vectors, in half the time of doing both at each pixel.
    """
    step = np.uintp(size)
    corners, line = np.empty((4, size), dtype=np.uint64), np.empty(size, dtype=np.uint64)
    north_west, north_east, south_west, south_east = corners[0], corners[1], corners[2], corners[3]
    for r in range(size):
        x0, y0 = x_row - r * sin, y_row + r * cos
        first, last = _span(x0, cos, size, 0, size)
        first, last = _span(y0, sin, size, first, last)
        for i in range(first):
            _gather_edge(packed, size, x0 + i * cos, y0 + i * sin, corners, i)
        for i in range(np.uintp(first), np.uintp(last)):
            x, y = x0 + np.int64(i) * cos, y0 + np.int64(i) * sin
            p = np.uintp(y >> FRACTION) * step + np.uintp(x >> FRACTION)
            q = p + step
            north_west[i], north_east[i] = packed[p], packed[p + np.uintp(1)]
            south_west[i], south_east[i] = packed[q], packed[q + np.uintp(1)]
        for i in range(last, size):
            _gather_edge(packed, size, x0 + i * cos, y0 + i * sin, corners, i)
        _blend_line(corners, line, size, x0, cos, y0, sin)
        _unpack(line, size, out, r * size * 3)


@splice
def rotate(source: Bytes, out: Bytes, size: int, micro: int, packed: Packed) -> None:
    """Turn counter-clockwise by micro/1e6 degrees about the centre, |angle| <= 180."""
    angle = micro * 1e-6 * 0.017453292519943295
    cos, sin = int(np.rint(cosine(angle) * _ONE)), int(np.rint(sine(angle) * _ONE))
    pack(source, size, packed)
    # In half pixels the centre is an integer: c - (c·cos - c·sin) and so on, c = (size-1)/2.
    x_row = (((size - 1) * (_ONE - cos + sin)) >> 1) + _HALF
    y_row = (((size - 1) * (_ONE - cos - sin)) >> 1) + _HALF
    _affine(packed, size, out, x_row, y_row, cos, sin)


@splice
def shear_y(source: Bytes, out: Bytes, size: int, micro: int, centred: int, packed: Packed) -> None:
    """y_in = y + s·(x - x0), s = micro/1e6; x0 = (size-1)/2 when centred, else 0."""
    slope = positions(micro)
    pack(source, size, packed)
    _affine_rows(packed, size, out, _HALF - ((slope * (size - 1) * centred) >> 1), slope)


@inline
def _affine_rows(packed: Packed, size: int, out: Bytes, start: int, slope: int) -> None:
    """y_in = y + start + x·slope, x_in = x: two neighbours instead of four."""
    step = np.uintp(size)
    corners, line = np.empty((4, size), dtype=np.uint64), np.empty(size, dtype=np.uint64)
    north, south = corners[0], corners[2]
    for r in range(size):
        y0 = (r << FRACTION) + start
        first, last = _span(y0, slope, size, 0, size)
        for i in range(first):
            _gather_edge(packed, size, i << FRACTION, y0 + i * slope, corners, i)
        for i in range(np.uintp(first), np.uintp(last)):
            p = np.uintp((y0 + np.int64(i) * slope) >> FRACTION) * step + i
            north[i], south[i] = packed[p], packed[p + step]
        for i in range(last, size):
            _gather_edge(packed, size, i << FRACTION, y0 + i * slope, corners, i)
        for i in range(size):
            up = north[i] << np.uint64(4)
            line[i] = (up << _SHIFT) + ((south[i] << np.uint64(4)) - up) * _weight(y0 + i * slope) + _ROUND
        _unpack(line, size, out, r * size * 3)


@inline
def mirror_line(source: Bytes, start: int, out: Bytes, at: int, size: int) -> None:
    """One line of `size` pixels from right to left."""
    p, q = np.uintp(start), np.uintp(at + size * 3 - 3)
    for i in range(np.uintp(size)):
        a, b = p + np.uintp(3) * i, q - np.uintp(3) * i
        out[b], out[b + np.uintp(1)], out[b + np.uintp(2)] = source[a], source[a + np.uintp(1)], source[a + np.uintp(2)]


@inline
def mirror(source: Bytes, out: Bytes, size: int) -> None:
    """Left and right exchanged."""
    for y in range(size):
        mirror_line(source, y * size * 3, out, y * size * 3, size)
