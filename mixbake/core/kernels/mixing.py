"""Blends of two registers, and the weighted sum of several, rounded once.

Arithmetic is one multiply-add a value; geometric is the product of two 256-entry tables;
masks come from a 32-bit counter hash, fused with the choice. Coefficients are integers in 1e-6.
Source of the formulas: PixMix (arXiv 2112.05135, appendix) as LayerMix (arXiv 2501.04861) extends them.
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline
from mixbake.core.kernels.lanes import MICRO, add32, clipped_byte, exp2, log2, mul32, shift_right

Bytes = NDArray[np.uint8]
Tables = NDArray[np.float32]
_SCALE = 65536
_CHUNK = 1024
_LOG2_FLOOR = -122.9113395108324
"""log2(1e-37): the published floor of the partner's base."""


def _log2_series(x: float) -> float:
    """What `lanes.log2` computes, in plain Python: a compiled call at import would cost a second."""
    return float(getattr(log2, "py_func", log2)(x))


_LOG2 = np.array([_LOG2_FLOOR, *(_log2_series(2.0 * value / 255.0) for value in range(1, 256))])
"""log2 of a byte on [0, 2]; index 0 holds the floor."""


@inline
def _fixed(micro: int) -> int:
    """Units of 1e-6 to units of 2^-16, rounded."""
    return (micro * _SCALE + MICRO // 2) // MICRO


@inline
def arithmetic(current: Bytes, partner: Bytes, out: Bytes, start: int, length: int, a: int, b: int) -> None:
    """(a·(2·x1 - 1) + b·(2·x2 - 1) + 1) / 2 = a·x1 + b·x2 + (1 - a - b)/2 on [0, 1], clipped."""
    weight1, weight2 = np.uint32(_fixed(a)), np.uint32(_fixed(b))
    # The offset times 255, in 2^-16, plus one half for rounding; taken from micro so that it rounds once.
    offset = np.uint32(((MICRO - a - b) * 255 * _SCALE + MICRO) // (2 * MICRO) + _SCALE // 2)
    for i in range(np.uintp(start), np.uintp(start + length)):
        out[i] = clipped_byte(add32(add32(mul32(weight1, current[i]), mul32(weight2, partner[i])), offset), 16)


@inline
def power_tables(a: int, b: int, first: Tables, second: Tables) -> None:
    """first[v] = (2v/255)^a; second[v] = 127.5 · max(2v/255, 1e-37)^b, both float32[256].

    One float32 product is rounded the same on every CPU, and faster than an integer one; entries stop
    at 1e30, far above white, so that black times the ceiling is black and not a NaN.
    """
    exponent1, exponent2 = a / MICRO, b / MICRO
    for value in range(256):
        first[value] = np.float32(exp2(exponent1 * _LOG2[value]))
        second[value] = np.float32(min(exp2(exponent2 * _LOG2[value]) * 127.5, 1e30))
    first[0] = np.float32(0.0)


@inline
def geometric(
    current: Bytes, partner: Bytes, out: Bytes, start: int, length: int, first: Tables, second: Tables
) -> None:
    """(2·x1)^a · max(2·x2, 1e-37)^b / 2 on [0, 1], clipped, from `power_tables`; x1 = 0 stays 0."""
    whole = length // 8 if start % 8 == 0 else 0
    _geometric_words(current, partner, out, start, whole, first, second)
    half, white = np.float32(0.5), np.float32(255.0)
    for i in range(np.uintp(start + 8 * whole), np.uintp(start + length)):
        out[i] = np.uint8(min(first[current[i]] * second[partner[i]] + half, white))


@inline
def _geometric_words(
    current: Bytes, partner: Bytes, out: Bytes, start: int, words: int, first: Tables, second: Tables
) -> None:
    """`geometric` for whole words: eight bytes come with one load, products are rounded as vectors."""
    half, white, low = np.float32(0.5), np.float32(255.0), np.uint64(255)
    x1 = current[start : start + 8 * words].view(np.uint64)
    x2 = partner[start : start + 8 * words].view(np.uint64)
    products = np.empty(_CHUNK, dtype=np.float32)
    for begin in range(0, words, _CHUNK // 8):
        count, base = np.uintp(min(_CHUNK // 8, words - begin)), np.uintp(begin)
        for i in range(count):
            one, two, at = x1[base + i], x2[base + i], i << np.uintp(3)
            for k in range(np.uintp(8)):
                products[at + k] = first[np.uintp(one & low)] * second[np.uintp(two & low)]
                one >>= np.uint64(8)
                two >>= np.uint64(8)
        to = np.uintp(start) + (base << np.uintp(3))
        for i in range(count << np.uintp(3)):
            out[to + i] = np.uint8(np.int32(min(products[i] + half, white)))


@inline
def _hash(index: np.uint32, key: np.uint32, other: np.uint32) -> np.uint32:
    """31 random bits of a counter: multiply-xorshift rounds with a key in front and one in the middle."""
    h = add32(mul32(index, 0x9E3779B1), key)
    h = mul32(h ^ shift_right(h, 16), 0x85EBCA6B)
    h = mul32(add32(h ^ shift_right(h, 13), other), 0xC2B2AE35)
    return shift_right(h ^ shift_right(h, 16), 1)


@inline
def _mask_keys(seed: int) -> tuple[np.uint32, np.uint32]:
    """Two 32-bit keys of one seed, far apart for neighbouring seeds."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.uint32(z), np.uint32(z >> np.uint64(32))


@inline
def _limit(p: int) -> np.uint32:
    """31-bit threshold of a probability in 1e-6: 0 never, 2^31 always."""
    return np.uint32((p * 2147483648 + MICRO // 2) // MICRO)


@inline
def _draw_mask(
    mask: Bytes, count: np.uintp, base: np.uint32, key: np.uint32, other: np.uint32, limit: np.uint32
) -> None:
    """mask[i] <- 255 where the hash of base + i is below limit, else 0."""
    for i in range(count):
        mask[i] = np.uint8(255) if _hash(add32(base, i), key, other) < limit else np.uint8(0)


@inline
def pixel_mask(current: Bytes, partner: Bytes, out: Bytes, start: int, length: int, p: int, seed: int) -> None:
    """M·x1 + (1-M)·x2, M = [rand < p] drawn per pixel; `start` and `length` in values, multiples of 3."""
    key, other = _mask_keys(seed)
    limit = _limit(p)
    mask = np.empty(_CHUNK, dtype=np.uint8)
    first, pixels = start // 3, length // 3
    for begin in range(0, pixels, _CHUNK):
        count, base = np.uintp(min(_CHUNK, pixels - begin)), np.uint32(first + begin)
        _draw_mask(mask, count, base, key, other, limit)
        for i in range(count):
            at = np.uintp(3) * (np.uintp(base) + i)
            keep = mask[i]
            for c in range(np.uintp(3)):
                out[at + c] = (current[at + c] & keep) | (partner[at + c] & ~keep)


@inline
def element_mask(current: Bytes, partner: Bytes, out: Bytes, start: int, length: int, p: int, seed: int) -> None:
    """M·x1 + (1-M)·x2, M = [rand < p] drawn per pixel and channel."""
    key, other = _mask_keys(seed)
    limit = _limit(p)
    mask = np.empty(_CHUNK, dtype=np.uint8)
    for begin in range(start, start + length, _CHUNK):
        count, base = np.uintp(min(_CHUNK, start + length - begin)), np.uintp(begin)
        _draw_mask(mask, count, np.uint32(begin), key, other, limit)
        for i in range(count):
            out[base + i] = (current[base + i] & mask[i]) | (partner[base + i] & ~mask[i])


@inline
def begin_sum(sums: NDArray[np.uint32], length: int) -> None:
    """Start a weighted sum at one half."""
    for i in range(np.uintp(length)):
        sums[i] = np.uint32(32768)


@inline
def add_to_sum(source: Bytes, weight: int, sums: NDArray[np.uint32], length: int) -> None:
    """Add weight · source, weight in 1e-6 (|weight| <= 16)."""
    scaled = np.uint32(_fixed(weight))
    for i in range(np.uintp(length)):
        sums[i] = add32(sums[i], mul32(scaled, source[i]))


@inline
def end_sum(sums: NDArray[np.uint32], out: Bytes, length: int) -> None:
    """Round and clip a weighted sum."""
    for i in range(np.uintp(length)):
        out[i] = clipped_byte(sums[i], 16)
