"""Arithmetic of explicit width, and elementary functions that every CPU evaluates alike.

numba promotes int32·int32 to int64, which halves the number of vector lanes; the intrinsics here emit
LLVM instructions of exactly 32 bits. Rule: float64 only through + − × ÷ and sqrt, which IEEE 754 rounds
the same everywhere; libm's `pow`, `exp` and `sin` differ between CPUs in the last digit.
"""

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from mixbake.core.jit import inline, intrinsic

MICRO = 1_000_000
"""Drawn numbers are stored as integers in units of 1e-6."""


@intrinsic
def mul32(_context: Any, _a: Any, _b: Any) -> Any:
    """a · b modulo 2^32."""
    return types.uint32(types.uint32, types.uint32), lambda _c, builder, _s, args: builder.mul(*args)


@intrinsic
def add32(_context: Any, _a: Any, _b: Any) -> Any:
    """a + b modulo 2^32."""
    return types.uint32(types.uint32, types.uint32), lambda _c, builder, _s, args: builder.add(*args)


@intrinsic
def shift_right(_context: Any, _a: Any, _bits: Any) -> Any:
    """a >> bits, of an unsigned 32-bit number."""
    return types.uint32(types.uint32, types.uint32), lambda _c, builder, _s, args: builder.lshr(*args)


@intrinsic
def byte(_context: Any, _a: Any, _bits: Any) -> Any:
    """The low eight bits of a >> bits (a: uint32 whose result fits in a byte)."""

    def emit(_c: Any, builder: Any, _s: Any, args: Any) -> Any:
        from llvmlite import ir  # noqa: PLC0415 - only while compiling

        return builder.trunc(builder.lshr(*args), ir.IntType(8))

    return types.uint8(types.uint32, types.uint32), emit


@intrinsic
def clipped_byte(_context: Any, _a: Any, _bits: Any) -> Any:
    """a >> bits of a signed 32-bit number, clipped to 0..255."""

    def emit(_c: Any, builder: Any, _s: Any, args: Any) -> Any:
        from llvmlite import ir  # noqa: PLC0415 - only while compiling

        word = ir.IntType(32)
        value = builder.ashr(*args)
        value = builder.select(builder.icmp_signed("<", value, word(0)), word(0), value)
        value = builder.select(builder.icmp_signed(">", value, word(255)), word(255), value)
        return builder.trunc(value, ir.IntType(8))

    return types.uint8(types.uint32, types.uint32), emit


@inline
def copy(source: NDArray[np.uint8], start: int, out: NDArray[np.uint8], at: int, length: int) -> None:
    """out[at : at + length] = source[start : start + length]. A slice assignment would compile a shape check."""
    p, q = np.uintp(start), np.uintp(at)
    for i in range(np.uintp(max(length, 0))):
        out[q + i] = source[p + i]


@inline
def clear(out: NDArray[np.uint8], at: int, length: int) -> None:
    """out[at : at + length] = 0."""
    q = np.uintp(at)
    for i in range(np.uintp(max(length, 0))):
        out[q + i] = np.uint8(0)


@inline
def log2(x: float) -> float:
    """Base-2 logarithm of x > 0, within 1e-15, by atanh's series on a mantissa in [0.75, 1.5)."""
    exponent = 0.0
    while x >= 1.5:
        x *= 0.5
        exponent += 1.0
    while x < 0.75:
        x *= 2.0
        exponent -= 1.0
    y = (x - 1.0) / (x + 1.0)
    square = y * y
    total = 0.0
    for k in range(33, -1, -2):
        total = total * square + 1.0 / k
    return exponent + total * y * 2.8853900817779268  # 2 / ln 2


_EXP_TERMS = np.array([0.6931471805599453**k / math.factorial(k) for k in range(11)])
"""Taylor coefficients of 2**x: what is left out is below 1e-12 relative at |x| = 1/2."""
_POWERS = np.array([2.0**n for n in range(-300, 301)])


@inline
def exp2(x: float) -> float:
    """2**x within 1e-12 relative, x limited to ±300."""
    x = min(max(x, -300.0), 300.0)
    whole = np.floor(x + 0.5)
    y = x - whole
    total = 0.0
    for k in range(10, -1, -1):
        total = total * y + _EXP_TERMS[k]
    return total * _POWERS[np.intp(whole) + 300]


@inline
def sine(x: float) -> float:
    """sin x for |x| <= 3.2 rad, within 1e-14."""
    square = x * x
    total = 1.0
    for k in range(34, 0, -2):
        total = 1.0 - total * square / (k * (k + 1))
    return x * total


@inline
def cosine(x: float) -> float:
    """cos x for |x| <= 3.2 rad, within 1e-14."""
    square = x * x
    total = 1.0
    for k in range(33, 0, -2):
        total = 1.0 - total * square / (k * (k + 1))
    return total
