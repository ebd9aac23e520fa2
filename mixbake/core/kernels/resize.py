"""Antialiased bilinear resize of a box, vertical pass first, equal to Pillow's to the bit.

Pillow's arithmetic: float64 triangle weights, normalised, rounded to 22 bits; each pass rounds to 8
bits. Its order of passes depends on its version; ours is fixed: vertical, then horizontal.

How it is fast: the vertical pass works on whole interleaved lines. A block of output rows is then
turned on its side as 32-bit pixels (R, G, B, anything), so that the horizontal pass is the same line kernel
along rows; the block stays in the second-level cache. Rule: one line kernel does all arithmetic.
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline
from mixbake.core.kernels.lanes import add32, byte, load32, mul32

BLOCK = 112
"""Output rows a block: a line of 448 bytes is seven whole vectors of 64, and two blocks make 224 rows.
Half as many rows take 92 µs instead of 79 for a 200×180 box: each line then ends in a scalar remainder."""
_BITS = 22
_RGB, _GB, _B = np.uint32(0xFFFFFF), np.uint32(0xFFFF), np.uint32(0xFF)

Bytes = NDArray[np.uint8]


@inline
def weigh(size_in: int, size_out: int, starts: NDArray[np.int32], weights: NDArray[np.uint32]) -> int:
    """Fill Pillow's taps for one axis; returns their count per output position.

    starts: int32[size_out], first input position; weights: uint32[size_out × taps], flat, row by row.
    Windows narrower than the widest are padded with zero weights and shifted inside the input.
    """
    scale = size_in / size_out
    support = max(scale, 1.0)
    widest = 1
    for x in range(size_out):
        first, count = _window(x, scale, support, size_in)
        widest = max(widest, count)
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
def _turn(lines: Bytes, width: int, pixels: NDArray[np.uint32], rows: int) -> None:
    """pixels[x·rows + r] = lines[r][x] as R, G, B and a byte of no meaning; lines: rows × width × 3.

    Reads one byte behind the lines: they lie in an arena that goes on.
    """
    stride = np.uintp(3 * width)
    for group in range(0, rows, 8):
        first = np.uintp(group) * stride
        for x in range(np.uintp(width)):
            p = first + np.uintp(3) * x
            q = x * np.uintp(rows) + np.uintp(group)
            for r in range(np.uintp(8)):
                pixels[q + r] = load32(lines, p + r * stride)


@inline
def _turn_back(pixels: NDArray[np.uint32], rows: int, wanted: int, out: Bytes, first_row: int, size: int) -> None:
    """out[first_row + r][x] = RGB of pixels[x·rows + r] for r < wanted; `out` is size × size × 3.

    Four pixels leave as three 32-bit words; what does not fill four leaves byte by byte.
    """
    words = out.view(np.uint32) if size % 4 == 0 else pixels
    fours = size // 4 if size % 4 == 0 else 0
    step = np.uintp(rows)
    for group in range(0, fours, 4):
        count = np.uintp(min(4, fours - group))
        for r in range(np.uintp(wanted)):
            q = np.uintp((first_row + np.int64(r)) * (size // 4 * 3) + group * 3)
            p = np.uintp(group * 4 * rows) + r
            for _ in range(count):
                one, two, three, four = (
                    pixels[p],
                    pixels[p + step],
                    pixels[p + step + step],
                    pixels[p + step * np.uintp(3)],
                )
                words[q] = (one & _RGB) | (two << np.uint32(24))
                words[q + np.uintp(1)] = ((two >> np.uint32(8)) & _GB) | (three << np.uint32(16))
                words[q + np.uintp(2)] = ((three >> np.uint32(16)) & _B) | (four << np.uint32(8))
                q += np.uintp(3)
                p += step * np.uintp(4)
    for r in range(wanted):
        for x in range(4 * fours, size):
            value = pixels[x * rows + r]
            q = np.uintp(((first_row + r) * size + x) * 3)
            out[q] = np.uint8(value)
            out[q + np.uintp(1)] = np.uint8(value >> np.uint32(8))
            out[q + np.uintp(2)] = np.uint8(value >> np.uint32(16))


@inline
def resize_box(
    image: Bytes, left: int, top: int, width: int, height: int, out: Bytes, size: int, work: NDArray[np.uint64]
) -> None:
    """Resize a box of `image` (H×W×3) to out (flat size·size·3). `work`: at least `work_words` uint64."""
    full = image.shape[1]
    flat = image.reshape(-1)
    rows = min(BLOCK, (size + 7) // 8 * 8)
    # One arena, carved by hand: fresh memory would cost more than the arithmetic.
    row_taps = size * (2 * (height // size) + 4)
    column_taps = size * (2 * (width // size) + 4)
    arena = work.view(np.uint32)
    cut = 0
    row_starts = arena[cut : cut + size].view(np.int32)
    cut += size
    row_weights = arena[cut : cut + row_taps]
    cut += row_taps
    column_starts = arena[cut : cut + size].view(np.int32)
    cut += size
    column_weights = arena[cut : cut + column_taps]
    cut += column_taps
    lines = arena[cut : cut + rows * width].view(np.uint8)
    cut += rows * width
    turned = arena[cut : cut + rows * width]
    cut += rows * width
    done = arena[cut : cut + rows * size]
    vertical = weigh(height, size, row_starts, row_weights)
    horizontal = weigh(width, size, column_starts, column_weights)
    turned_bytes, done_bytes = turned.view(np.uint8), done.view(np.uint8)
    for begin in range(0, size, rows):
        count = min(rows, size - begin)
        for r in range(count):
            y = begin + r
            first = ((top + row_starts[y]) * full + left) * 3
            combine(flat, first, full * 3, lines, r * width * 3, width * 3, row_weights, y * vertical, vertical)
        _turn(lines, width, turned, rows)
        for x in range(size):
            first = column_starts[x] * rows * 4
            combine(
                turned_bytes,
                first,
                rows * 4,
                done_bytes,
                x * rows * 4,
                rows * 4,
                column_weights,
                x * horizontal,
                horizontal,
            )
        _turn_back(done, rows, count, out, begin, size)


def work_words(width: int, height: int, size: int) -> int:
    """uint64 words of scratch that `resize_box` needs for a box of width × height."""
    rows = min(BLOCK, (size + 7) // 8 * 8)
    taps = size * (2 * (height // size) + 4) + size * (2 * (width // size) + 4)
    return (2 * size + taps + 2 * rows * width + rows * size) // 2 + 8
