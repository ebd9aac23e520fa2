"""Philox4x64-10 inside kernels: the same words as `rng.stream`, without a Python object per stream.

A cursor is uint64[12]: key (2), counter (4), buffered words (4), next buffer index, spare.
Rule: integer arithmetic only; equal to numpy's Philox word for word.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline
from mixbake.core.kernels.lanes import MICRO

Cursor = NDArray[np.uint64]
CURSOR_WORDS = 12
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


@inline
def high_product(a: np.uint64, b: np.uint64) -> np.uint64:
    """The upper 64 bits of a · b."""
    a0, a1 = a & _LOW, a >> _HALF
    b0, b1 = b & _LOW, b >> _HALF
    middle = a1 * b0 + ((a0 * b0) >> _HALF)
    return a1 * b1 + (middle >> _HALF) + (((middle & _LOW) + a0 * b1) >> _HALF)


@inline
def seek(cursor: Cursor, key: NDArray[np.uint64], image: int, number: int) -> None:
    """Point `cursor` at the start of stream (key, image, number)."""
    cursor[0], cursor[1] = key[0], key[1]
    cursor[2], cursor[3] = np.uint64(0), np.uint64(0)
    cursor[4], cursor[5] = np.uint64(image), np.uint64(number)
    cursor[10] = np.uint64(4)


@inline
def _refill(cursor: Cursor) -> None:
    cursor[2] += np.uint64(1)
    k0, k1 = cursor[0], cursor[1]
    c0, c1, c2, c3 = cursor[2], cursor[3], cursor[4], cursor[5]
    for _ in range(10):
        h0, l0 = high_product(_M0, c0), _M0 * c0
        h1, l1 = high_product(_M1, c2), _M1 * c2
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
        k0, k1 = k0 + _W0, k1 + _W1
    cursor[6], cursor[7], cursor[8], cursor[9] = c0, c1, c2, c3
    cursor[10] = np.uint64(0)


@inline
def next_word(cursor: Cursor) -> np.uint64:
    """The stream's next uint64."""
    if cursor[10] == np.uint64(4):
        _refill(cursor)
    word = cursor[np.uint64(6) + cursor[10]]
    cursor[10] += np.uint64(1)
    return word


@inline
def below(cursor: Cursor, n: Any) -> Any:
    """Uniform integer in 0..n-1: one word times n, upper half (bias below n / 2^64)."""
    return np.int64(high_product(next_word(cursor), np.uint64(n)))


@inline
def uniform(cursor: Cursor, low: int, high: int) -> int:
    """Uniform integer in low..high, both ends included; in units of 1e-6 this is U(low, high)."""
    return low + below(cursor, high - low + 1)


@inline
def greatest(cursor: Cursor, count: int) -> int:
    """Largest of `count` uniforms on [0, 1], in units of 1e-6: Beta(count, 1)."""
    best = 0
    for _ in range(count):
        best = max(best, uniform(cursor, 0, MICRO))
    return best


@inline
def median(cursor: Cursor, count: int) -> Any:
    """Middle one of 2·count - 1 uniforms on [0, 1], in units of 1e-6: Beta(count, count)."""
    drawn = np.empty(2 * count - 1, dtype=np.int64)
    for i in range(2 * count - 1):
        value, at = uniform(cursor, 0, MICRO), i
        while at > 0 and drawn[at - 1] > value:
            drawn[at] = drawn[at - 1]
            at -= 1
        drawn[at] = value
    return np.int64(drawn[count - 1])
