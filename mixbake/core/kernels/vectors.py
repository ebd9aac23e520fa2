"""Sums of neighbouring RGB pixels, four at a time, written as vectors of 16 lanes of 32 bits.

Compilers find vectors where inputs lie side by side; here each pixel's lie elsewhere, so the vectors are
spelled out: a pixel is loaded as one 32-bit word (R, G, B and a byte of no meaning). LLVM splits them
where a CPU has shorter ones, and integers are the same everywhere.
Rule: a load reads one byte behind its pixel; four pixels are stored as 12 bytes and 4 of no meaning.
"""

from typing import Any

from numba import types

from mixbake.core.jit import intrinsic

SPILL = 13
"""Bytes behind a row of pixels that its last store may overwrite: up to three pixels too many, and 4."""


@intrinsic
def weigh_four(
    _context: Any,
    line: Any,
    _first: Any,
    _second: Any,
    _third: Any,
    _fourth: Any,
    weights: Any,
    _at: Any,
    _taps: Any,
    _bits: Any,
    out: Any,
    _q: Any,
) -> Any:
    """out[q : q + 12] <- four pixels, each the weighted sum of `taps` neighbours, rounded from `bits` bits of fraction.

    A pixel's neighbours begin at byte `first`, `second`, ... of uint8 line. weights: uint32, 16 a tap from
    `at` on, each pixel's four times over.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir  # noqa: PLC0415 - only while compiling
        from numba.core import cgutils as untyped  # noqa: PLC0415 - as above

        cgutils: Any = untyped

        def pointer(number: int, index: Any, kind: Any) -> Any:
            data = context.make_array(signature.args[number])(context, builder, args[number]).data
            return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())

        def pixels(starts: list[Any]) -> Any:
            words = ir.Constant(ir.VectorType(word, 4), ir.Undefined)
            for lane, start in enumerate(starts):
                words = builder.insert_element(words, builder.load(pointer(0, start, word), align=1), word(lane))
            return builder.zext(builder.bitcast(words, letters), lanes)

        word, index = ir.IntType(32), args[6].type
        lanes, letters = ir.VectorType(word, 16), ir.VectorType(ir.IntType(8), 16)
        zeros, ones = ir.Constant(lanes, [0] * 16), ir.Constant(lanes, [1] * 16)
        bits = builder.shuffle_vector(builder.insert_element(zeros, args[8], word(0)), zeros, zeros)
        total = cgutils.alloca_once_value(builder, builder.shl(ones, builder.sub(bits, ones)))
        with cgutils.for_range(builder, args[7], intp=index) as loop:
            starts = [builder.add(args[1 + lane], builder.mul(loop.index, index(3))) for lane in range(4)]
            place = builder.add(args[6], builder.mul(loop.index, index(16)))
            shares = builder.load(pointer(5, place, lanes), align=4)
            builder.store(builder.add(builder.load(total), builder.mul(pixels(starts), shares)), total)
        values = builder.trunc(builder.lshr(builder.load(total), bits), letters)
        order = ir.Constant(lanes, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15])
        packed = builder.shuffle_vector(values, ir.Constant(letters, ir.Undefined), order)
        builder.store(packed, pointer(9, args[10], letters), align=1)
        return context.get_dummy_value()

    at = types.uintp
    return types.void(line, at, at, at, at, weights, at, at, types.uint32, out, at), emit


@intrinsic
def swap_sixteen(_context: Any, line: Any, _p: Any, _q: Any) -> Any:
    """Exchange the 16 pixels at byte p with those at byte q, each 16 from right to left; p = q turns them in place."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir  # noqa: PLC0415 - only while compiling

        letters = ir.VectorType(ir.IntType(8), 48)
        order = ir.Constant(ir.VectorType(ir.IntType(32), 48), [45 - 3 * (k // 3) + k % 3 for k in range(48)])
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        places = [builder.bitcast(builder.gep(data, [at]), letters.as_pointer()) for at in args[1:]]
        loaded = [builder.load(place, align=1) for place in places]
        for place, pixels in zip(places, reversed(loaded), strict=True):
            turned = builder.shuffle_vector(pixels, ir.Constant(letters, ir.Undefined), order)
            builder.store(turned, place, align=1)
        return context.get_dummy_value()

    return types.void(line, types.uintp, types.uintp), emit
