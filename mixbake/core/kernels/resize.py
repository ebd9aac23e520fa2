"""Antialiased bilinear resize of a box, vertical pass first, equal to Pillow's to the bit.

Pillow's arithmetic: float64 triangle weights, normalised, rounded to 22 bits; each pass rounds to 8
bits. Its order of passes depends on its version; ours is fixed: vertical, then horizontal.

How it is fast: the vertical pass makes one output row as a whole interleaved line, which stays in the
first-level cache; the horizontal pass reads that line four pixels at a time, each as one 32-bit word.
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline
from mixbake.core.kernels.lanes import add32, byte, copy, mul32
from mixbake.core.kernels.vectors import SPILL, weigh_four

_BITS = 22

Bytes = NDArray[np.uint8]


@inline
def weigh(size_in: int, size_out: int, starts: NDArray[np.int32], weights: NDArray[np.uint32]) -> int:
    """Fill Pillow's taps for one axis; returns their count per output position.

    starts: int32[size_out], first input position; weights: uint32[size_out × taps], flat, row by row.
    Windows narrower than the widest are padded with zero weights and shifted inside the input.
    """
    scale = size_in / size_out
    if scale <= 1.0 and size_in > 1:
        _weigh_pairs(size_in, size_out, starts, weights)
        return 2
    support = max(scale, 1.0)
    widest = 2 * int(np.ceil(support)) + 1
    taps = 1
    for x in range(size_out):
        first, count = _window(x, scale, support, size_in)
        row = x * widest
        _triangle(x, first, count, scale, support, weights, row)
        # Weights that round to zero at either end cost a tap each and change nothing.
        lead = 0
        while lead < count - 1 and weights[row + lead] == 0:
            lead += 1
        while count > lead + 1 and weights[row + count - 1] == 0:
            count -= 1
        for k in range(widest):
            weights[row + k] = weights[row + lead + k] if lead + k < count else np.uint32(0)
        starts[x] = first + lead
        taps = max(taps, count - lead)
    for x in range(size_out):
        shift = max(starts[x] + taps - size_in, 0)
        starts[x] -= shift
        for k in range(taps - 1, -1, -1):
            weights[x * widest + k] = weights[x * widest + k - shift] if k >= shift else np.uint32(0)
        for k in range(taps):
            weights[x * taps + k] = weights[x * widest + k]
    return taps


@inline
def _weigh_pairs(size_in: int, size_out: int, starts: NDArray[np.int32], weights: NDArray[np.uint32]) -> None:
    """`weigh` where nothing shrinks: the triangle then reaches two inputs at most, and no loop has to find out.

    Pillow looks at up to three inputs; those at the rim of the triangle, or outside of the line, weigh nothing.
    """
    scale = size_in / size_out
    for x in range(np.uintp(size_out)):
        center = (np.float64(x) + 0.5) * scale
        first = np.int32(max(center - 0.5, 0.0))
        last = min(np.int32(center + 1.5), np.int32(size_in)) - 1
        w0 = max(1.0 - abs(first - center + 0.5), 0.0)
        w1 = max(1.0 - abs(1.0 + first - center + 0.5), 0.0) if first + 1 <= last else 0.0
        w2 = max(1.0 - abs(2.0 + first - center + 0.5), 0.0) if first + 2 <= last else 0.0
        total = w0 + w1 + w2
        one, two = np.uint32(0.5 + w0 / total * (1 << _BITS)), np.uint32(0.5 + w1 / total * (1 << _BITS))
        if one == 0:
            first, one, two = first + 1, two, np.uint32(0.5 + w2 / total * (1 << _BITS))
        if first + 2 > size_in:
            first, one, two = first - 1, np.uint32(0), one
        starts[x] = first
        weights[np.uintp(2) * x], weights[np.uintp(2) * x + np.uintp(1)] = one, two


@inline
def _window(x: int, scale: float, support: float, size_in: int) -> tuple[int, int]:
    """First input position under output position x, and how many there are."""
    center = (x + 0.5) * scale
    first = max(int(center - support + 0.5), 0)
    return first, min(int(center + support + 0.5), size_in) - first


@inline
def _triangle(
    x: int, first: int, count: int, scale: float, support: float, weights: NDArray[np.uint32], row: int
) -> None:
    """weights[row : row + count] <- Pillow's rounded, normalised triangle around output position x."""
    center, inverse = (x + 0.5) * scale, 1.0 / support
    total = 0.0
    for k in range(count):
        total += max(1.0 - abs((k + first - center + 0.5) * inverse), 0.0)
    for k in range(count):
        weight = max(1.0 - abs((k + first - center + 0.5) * inverse), 0.0)
        share = weight / total if total != 0.0 else weight
        weights[row + k] = np.uint32(int(0.5 + share * (1 << _BITS)))


@inline
def combine(
    source: Bytes,
    first: int,
    stride: int,
    out: Bytes,
    at: int,
    length: int,
    weights: NDArray[np.uint32],
    row: int,
    taps: int,
) -> None:
    """out[at + j] = round(sum over k of weights[row + k] · source[first + k·stride + j]), j < length."""
    half = np.uint32(1 << (_BITS - 1))
    n, p, q, s = np.uintp(length), np.uintp(first), np.uintp(at), np.uintp(stride)
    w0 = weights[row]
    if taps == 1:
        for j in range(n):
            out[q + j] = byte(add32(half, mul32(w0, source[p + j])), _BITS)
        return
    w1 = weights[row + 1]
    if taps == 2:
        for j in range(n):
            out[q + j] = byte(add32(add32(half, mul32(w0, source[p + j])), mul32(w1, source[p + s + j])), _BITS)
        return
    w2 = weights[row + 2]
    s2 = s + s
    if taps == 3:
        for j in range(n):
            total = add32(add32(half, mul32(w0, source[p + j])), mul32(w1, source[p + s + j]))
            out[q + j] = byte(add32(total, mul32(w2, source[p + s2 + j])), _BITS)
        return
    w3 = weights[row + 3]
    s3 = s2 + s
    if taps == 4:
        for j in range(n):
            total = add32(add32(half, mul32(w0, source[p + j])), mul32(w1, source[p + s + j]))
            total = add32(total, mul32(w2, source[p + s2 + j]))
            out[q + j] = byte(add32(total, mul32(w3, source[p + s3 + j])), _BITS)
        return
    _combine_many(source, first, stride, out, at, length, weights, row, taps)


@inline
def _combine_many(
    source: Bytes,
    first: int,
    stride: int,
    out: Bytes,
    at: int,
    length: int,
    weights: NDArray[np.uint32],
    row: int,
    taps: int,
) -> None:
    """`combine` for five taps and more: four at a time into a 32-bit running sum."""
    chunk = 256
    sums = np.empty(chunk, dtype=np.uint32)
    half = np.uint32(1 << (_BITS - 1))
    s = np.uintp(stride)
    for begin in range(0, length, chunk):
        n = np.uintp(min(chunk, length - begin))
        for j in range(n):
            sums[j] = half
        k = 0
        while k + 1 < taps:
            p = np.uintp(first + k * stride + begin)
            w0, w1 = weights[row + k], weights[row + k + 1]
            for j in range(n):
                sums[j] = add32(sums[j], add32(mul32(w0, source[p + j]), mul32(w1, source[p + s + j])))
            k += 2
        if k < taps:
            p = np.uintp(first + k * stride + begin)
            w0 = weights[row + k]
            for j in range(n):
                sums[j] = add32(sums[j], mul32(w0, source[p + j]))
        q = np.uintp(at + begin)
        for j in range(n):
            out[q + j] = byte(sums[j], _BITS)


@inline
def _spread(weights: NDArray[np.uint32], taps: int, size: int, wide: NDArray[np.uint32]) -> None:
    """wide: the weights as `weigh_four` reads them, for groups of four outputs; behind the last, zeros."""
    for x in range((size + 3) // 4 * 4):
        group, lane = x // 4 * taps * 16, x % 4 * 4
        for k in range(taps):
            weight = weights[x * taps + k] if x < size else np.uint32(0)
            for c in range(4):
                wide[group + k * 16 + lane + c] = weight


@inline
def _squeeze(
    line: Bytes, starts: NDArray[np.int32], wide: NDArray[np.uint32], taps: int, size: int, out: Bytes, at: int
) -> None:
    """out[at : at + 3·size] <- a line of pixels resized; up to SPILL bytes more are overwritten."""
    # The usual counts as constants: their loops are unrolled.
    if taps == 2:
        _squeeze_taps(line, starts, wide, 2, size, out, at)
    elif taps == 3:
        _squeeze_taps(line, starts, wide, 3, size, out, at)
    else:
        _squeeze_taps(line, starts, wide, taps, size, out, at)


@inline
def _squeeze_taps(
    line: Bytes, starts: NDArray[np.int32], wide: NDArray[np.uint32], taps: int, size: int, out: Bytes, at: int
) -> None:
    three, step = np.uintp(3), np.uintp(16 * taps)
    q, place = np.uintp(at), np.uintp(0)
    for x in range(np.uintp(0), np.uintp(size), np.uintp(4)):
        weigh_four(
            line,
            three * np.uintp(starts[x]),
            three * np.uintp(starts[x + np.uintp(1)]),
            three * np.uintp(starts[x + np.uintp(2)]),
            three * np.uintp(starts[x + three]),
            wide,
            place,
            np.uintp(taps),
            np.uint32(_BITS),
            out,
            q,
        )
        q += np.uintp(12)
        place += step


@inline
def resize_box(
    image: Bytes, left: int, top: int, width: int, height: int, out: Bytes, size: int, work: NDArray[np.uint64]
) -> None:
    """Resize a box of `image` (H×W×3) to out (flat size·size·3). `work`: at least `work_words` uint64."""
    full = image.shape[1]
    flat = image.reshape(-1)
    groups = (size + 3) // 4 * 4
    row_taps = size * (2 * (height // size) + 4)
    column_taps = groups * (2 * (width // size) + 4)
    # One arena, carved by hand: fresh memory would cost more than the arithmetic.
    arena = work.view(np.uint32)
    row_starts, arena = arena[:size].view(np.int32), arena[size:]
    row_weights, arena = arena[:row_taps], arena[row_taps:]
    column_starts, arena = arena[:groups].view(np.int32), arena[groups:]
    column_weights, arena = arena[:column_taps], arena[column_taps:]
    wide, arena = arena[: 4 * column_taps], arena[4 * column_taps :]
    line, arena = arena[: width + 1].view(np.uint8), arena[width + 1 :]
    last = arena[: size + 4].view(np.uint8)
    vertical = weigh(height, size, row_starts, row_weights)
    horizontal = weigh(width, size, column_starts, column_weights)
    for x in range(size, groups):
        column_starts[x] = 0
    _spread(column_weights, horizontal, size, wide)
    for y in range(size):
        first = ((top + row_starts[y]) * full + left) * 3
        combine(flat, first, full * 3, line, 0, width * 3, row_weights, y * vertical, vertical)
        at = y * size * 3
        if at + size * 3 + SPILL <= size * size * 3:
            _squeeze(line, column_starts, wide, horizontal, size, out, at)
        else:
            _squeeze(line, column_starts, wide, horizontal, size, last, 0)
            copy(last, 0, out, at, size * 3)


def work_words(width: int, height: int, size: int) -> int:
    """uint64 words of scratch that `resize_box` needs for a box of width × height."""
    groups = (size + 3) // 4 * 4
    taps = size * (2 * (height // size) + 4) + 5 * groups * (2 * (width // size) + 4)
    return (2 * groups + taps + width + size) // 2 + 8
