"""Operations that change values and leave every pixel in its place, on uint8 registers.

Whatever acts on each value alone becomes a 256-entry table; tables are drawn up per channel where the
operation looks at a channel's histogram. Rule: the definitions are Pillow's (ImageOps, ImageEnhance),
rounded to nearest where Pillow truncates a float.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline
from mixbake.core.kernels.lanes import MICRO, add32, byte, clipped_byte, copy, mul32

Bytes = NDArray[np.uint8]
_SCALE = 65536
_LANES = 192
"""Values side by side in a loop over channels: a multiple of 3 and of the vector's 64."""


@inline
def posterize(source: Bytes, out: Bytes, length: int, bits: int) -> None:
    """Keep the upper `bits` bits, 0..8."""
    mask = np.uint8((0xFF00 >> bits) & 0xFF)
    for i in range(np.uintp(length)):
        out[i] = source[i] & mask


@inline
def solarize(source: Bytes, out: Bytes, length: int, threshold: int) -> None:
    """Values >= threshold (0..256) become 255 - value."""
    if threshold > 255:
        copy(source, 0, out, 0, length)
        return
    limit = np.uint8(threshold)
    for i in range(np.uintp(length)):
        value = source[i]
        out[i] = ~value if value >= limit else value


@inline
def _apply_tables(source: Bytes, out: Bytes, length: int, tables: Bytes) -> None:
    """out = tables[channel][value]; tables: uint8[3, 256]. Eight pixels are three words: few loads, few stores."""
    groups = length // 24
    words_in, words_out = source[: 24 * groups].view(np.uint64), out[: 24 * groups].view(np.uint64)
    flat, low = tables.reshape(-1), np.uint64(255)
    for i in range(np.uintp(groups)):
        for k in range(np.uintp(3)):
            word, result = words_in[np.uintp(3) * i + k], np.uint64(0)
            for b in range(np.uintp(8)):
                # Byte 8k + b of a group belongs to channel (8k + b) mod 3.
                row = np.uintp(256) * ((np.uintp(8) * k + b) % np.uintp(3))
                result |= np.uint64(flat[row + np.uintp(word & low)]) << (b << np.uintp(3))
                word >>= np.uint64(8)
            words_out[np.uintp(3) * i + k] = result
    for i in range(np.uintp(24 * groups), np.uintp(length), np.uintp(3)):
        for c in range(np.uintp(3)):
            out[i + c] = tables[c, source[i + c]]


@inline
def histograms(source: Bytes, length: int, counts: NDArray[np.int32]) -> None:
    """counts[:3]: int32[3, 256], how often each value occurs in each channel.

    Neighbouring pixels count in two sets of rows: equal values in a row would wait for each other.
    """
    for c in range(6):
        for value in range(256):
            counts[c, value] = 0
    pairs = np.uintp(length // 6 * 6)
    for i in range(np.uintp(0), pairs, np.uintp(6)):
        for c in range(np.uintp(6)):
            counts[c, source[i + c]] += 1
    for i in range(pairs, np.uintp(length)):
        counts[i - pairs, source[i]] += 1
    for c in range(3):
        for value in range(256):
            counts[c, value] += counts[c + 3, value]


@inline
def equalize(source: Bytes, out: Bytes, length: int, counts: NDArray[np.int32], tables: Bytes) -> None:
    """Pillow's ImageOps.equalize: a flat histogram per channel; a channel of one value is kept."""
    histograms(source, length, counts)
    pixels = length // 3
    for c in range(3):
        last = 255
        while counts[c, last] == 0:
            last -= 1
        step = (pixels - counts[c, last]) // 255
        total = step // 2
        for value in range(256):
            tables[c, value] = value if step == 0 else min(total // max(step, 1), 255)
            total += counts[c, value]
    _apply_tables(source, out, length, tables)


@inline
def _cut(counts: NDArray[np.int32], channel: int, amount: int, first: int, step: int) -> int:
    """First value from one end that is left after `amount` pixels are cut off there."""
    value = first
    while 0 <= value <= 255 and counts[channel, value] <= amount:
        amount -= counts[channel, value]
        value += step
    return value


@inline
def _ends(source: Bytes, length: int, counts: NDArray[np.int32]) -> None:
    """counts[c, :2]: the least and the greatest value of each channel.

    Eight vectors of 24 pixels side by side: every lane belongs to one channel and waits for no other.
    """
    low, high = np.full(_LANES, np.uint8(255)), np.zeros(_LANES, dtype=np.uint8)
    whole = np.uintp(length // _LANES * _LANES)
    for i in range(np.uintp(0), whole, np.uintp(_LANES)):
        for k in range(np.uintp(_LANES)):
            low[k] = min(low[k], source[i + k])
            high[k] = max(high[k], source[i + k])
    for i in range(whole, np.uintp(length)):
        low[i - whole] = min(low[i - whole], source[i])
        high[i - whole] = max(high[i - whole], source[i])
    for c in range(3):
        counts[c, 0], counts[c, 1] = 255, 0
        for k in range(c, _LANES, 3):
            counts[c, 0] = min(counts[c, 0], low[k])
            counts[c, 1] = max(counts[c, 1], high[k])


@inline
def autocontrast(source: Bytes, out: Bytes, length: int, cutoff: int, counts: NDArray[np.int32], tables: Bytes) -> None:
    """Pillow's ImageOps.autocontrast: stretch each channel to 0..255 after `cutoff`/1e6 percent at both ends."""
    amount = (length // 3) * cutoff // (100 * MICRO)
    if amount == 0:
        _ends(source, length, counts)
    else:
        histograms(source, length, counts)
    alike = True
    for c in range(3):
        low, high = counts[c, 0], counts[c, 1]
        if amount > 0:
            low, high = _cut(counts, c, amount, 0, 1), _cut(counts, c, amount, 255, -1)
        if high <= low:
            low, high = 0, 255
        scale = 255.0 / (high - low)
        slope = np.uint32(255 * ((1 << 24) // (high - low) + 1))
        for value in range(256):
            stretched = min(max(int(value * scale - low * scale), 0), 255)
            tables[c, value] = stretched
            alike &= _stretched(np.uint8(value), np.uint8(low), np.uint8(high), slope) == stretched
        counts[c, 0], counts[c, 1], counts[c, 2] = low, high, np.int32(slope)
    if alike:
        _stretch(source, out, length, counts)
    else:
        _apply_tables(source, out, length, tables)


@inline
def _stretched(value: np.uint8, low: np.uint8, high: np.uint8, slope: np.uint32) -> np.uint8:
    """floor(255 · (value - low) / (high - low)), value limited to low..high; slope in 2^-24, rounded up."""
    return byte(mul32(slope, np.uint8(min(max(value, low), high) - low)), 24)


@inline
def _stretch(source: Bytes, out: Bytes, length: int, ends: NDArray[np.int32]) -> None:
    """out = `_stretched` of each channel; ends[c, :3]: low, high, slope. As vectors, where a table goes byte by byte.

    Only where the float arithmetic of the definition comes to the same: it is one less here and there.
    """
    low, high = np.empty(_LANES, dtype=np.uint8), np.empty(_LANES, dtype=np.uint8)
    slope = np.empty(_LANES, dtype=np.uint32)
    for k in range(_LANES):
        low[k], high[k], slope[k] = ends[k % 3, 0], ends[k % 3, 1], np.uint32(ends[k % 3, 2])
    whole = np.uintp(length // _LANES * _LANES)
    for i in range(np.uintp(0), whole, np.uintp(_LANES)):
        for k in range(np.uintp(_LANES)):
            out[i + k] = _stretched(source[i + k], low[k], high[k], slope[k])
    for i in range(whole, np.uintp(length)):
        lane = i - whole
        out[i] = _stretched(source[i], low[lane], high[lane], slope[lane])


@inline
def luma(red: np.uint8, green: np.uint8, blue: np.uint8) -> np.uint8:
    """ITU-R 601-2 luma, as Pillow rounds it."""
    weighted = add32(add32(mul32(19595, red), mul32(38470, green)), add32(mul32(7471, blue), 0x8000))
    return byte(weighted, 16)


@inline
def grayscale(source: Bytes, out: Bytes, length: int) -> None:
    """Three equal channels of luma."""
    for i in range(np.uintp(0), np.uintp(length), np.uintp(3)):
        gray = luma(source[i], source[i + np.uintp(1)], source[i + np.uintp(2)])
        out[i], out[i + np.uintp(1)], out[i + np.uintp(2)] = gray, gray, gray


@inline
def invert(source: Bytes, out: Bytes, length: int) -> None:
    """255 - value."""
    for i in range(np.uintp(length)):
        out[i] = ~source[i]


@inline
def _weights(factor: int) -> tuple[np.uint32, np.uint32]:
    """(factor, 1 - factor) in units of 2^-16, modulo 2^32; factor in 1e-6."""
    scaled = (factor * _SCALE + MICRO // 2) // MICRO
    return np.uint32(scaled), np.uint32(_SCALE - scaled)


@inline
def _toward(value: np.uint8, degenerate: np.uint8, near: np.uint32, far: np.uint32) -> np.uint8:
    """degenerate + factor·(value - degenerate), rounded and clipped."""
    return clipped_byte(add32(add32(mul32(near, value), mul32(far, degenerate)), 32768), 16)


@inline
def brightness(source: Bytes, out: Bytes, length: int, factor: int) -> None:
    """factor · value."""
    near, far = _weights(factor)
    for i in range(np.uintp(length)):
        out[i] = _toward(source[i], np.uint8(0), near, far)


@inline
def contrast(source: Bytes, out: Bytes, length: int, factor: int) -> None:
    """Away from the image's mean luma (an integer, rounded half up) by factor."""
    total = 0
    for i in range(np.uintp(0), np.uintp(length), np.uintp(3)):
        total += int(luma(source[i], source[i + np.uintp(1)], source[i + np.uintp(2)]))
    pixels = length // 3
    mean = np.uint8((2 * total + pixels) // (2 * pixels))
    near, far = _weights(factor)
    for i in range(np.uintp(length)):
        out[i] = _toward(source[i], mean, near, far)


@inline
def color(source: Bytes, out: Bytes, length: int, factor: int) -> None:
    """Away from the pixel's own luma by factor."""
    near, far = _weights(factor)
    for i in range(np.uintp(0), np.uintp(length), np.uintp(3)):
        gray = luma(source[i], source[i + np.uintp(1)], source[i + np.uintp(2)])
        for c in range(np.uintp(3)):
            out[i + c] = _toward(source[i + c], gray, near, far)


@inline
def _smooth(source: Bytes, at: Any, row: Any) -> np.uint8:
    """Pillow's SMOOTH filter around one inner value: (8 neighbours + 5 · centre) / 13, rounded."""
    up, down, three = at - row, at + row, np.uintp(3)
    total = np.uint32(5) * source[at] + source[at - three] + source[at + three]
    total += np.uint32(source[up - three]) + source[up] + source[up + three]
    total += np.uint32(source[down - three]) + source[down] + source[down + three]
    return np.uint8((2 * total + 13) // 26)


@inline
def sharpness(source: Bytes, out: Bytes, size: int, factor: int) -> None:
    """Away from the smoothed image by factor; border pixels keep their value, as in Pillow."""
    near, far = _weights(factor)
    row = np.uintp(size * 3)
    copy(source, 0, out, 0, size * size * 3)
    for y in range(np.uintp(1), np.uintp(size - 1)):
        for i in range(y * row + np.uintp(3), y * row + row - np.uintp(3)):
            out[i] = _toward(source[i], _smooth(source, i, row), near, far)
