"""Compiled loops over batches: small pictures out of mapped shards, mirrored, as floats.

Records of a shard have one length, so picture i of a shard lies at a known address: no parsing, no Python a
sample. Rule: addresses were computed from a shard whose size was checked; the record's own name and the
frame of its PNG are compared before a pixel is taken.
"""

from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from mixbake.core.jit import inline, intrinsic, jit, kernel_cache
from mixbake.core.kernels.vectors import swap_sixteen
from mixbake.storage.tar import PNG_PIXELS, UNIT, stored_png

Bytes = NDArray[np.uint8]
_numba: Any = numba  # its own types leave these two out
_array_at, _BYTES = _numba.carray, _numba.types.CPointer(types.uint8)
_AHEAD, _LINE = 2, 64
"""Records are asked for that many ahead, a cache line at a time: they lie anywhere in memory."""


@intrinsic
def _pointer(_context: Any, _address: Any) -> Any:
    """An address as a pointer to bytes."""

    def emit(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(_BYTES))

    return _BYTES(types.uintp), emit


@intrinsic
def _prefetch(_context: Any, _address: Any) -> Any:
    """Ask for a cache line that will be read soon."""

    def emit(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        from llvmlite import ir  # noqa: PLC0415 - only while compiling

        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(fetch, [builder.inttoptr(args[0], byte), word(0), word(1), word(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), emit


def are_compiled() -> bool:
    """Whether this machine has compiled these loops before; otherwise their first calls take some seconds."""
    return any(kernel_cache(Path(__file__).resolve()).rglob("*.nbc"))


def png_frame(side: int) -> Bytes:
    """What every stored PNG of that side begins with, up to its first pixel."""
    return np.frombuffer(stored_png(np.zeros((side, side, 3), np.uint8)), np.uint8)[: PNG_PIXELS + 1].copy()


@inline
def _spells(record: Bytes, start: int, digits: int, value: int) -> bool:
    """Whether `digits` ASCII digits from `start` on spell `value`."""
    found = 0
    for i in range(start, start + digits):
        found = found * 10 + int(record[i]) - 48
    return found == value


@inline
def _is_named(record: Bytes, image: int, number: int, clean: int) -> bool:
    """Whether a record's header says `00000042-0003.png`, or `00000042-c0003.png`."""
    if not _spells(record, 0, 8, image) or record[8] != 45 or not _spells(record, 9 + clean, 4, number):
        return False
    return bool((clean == 0 or record[9] == 99) and record[13 + clean] == 46)


@inline
def _copy_lines(record: Bytes, first: int, picture: Bytes, side: int) -> None:
    """picture <- the lines of a PNG without their filter bytes; `first`: where the first pixel is."""
    for y in range(np.uintp(side)):
        start, to = np.uintp(first) + y * np.uintp(3 * side + 1), y * np.uintp(3 * side)
        for k in range(np.uintp(3 * side)):
            picture[to + k] = record[start + k]


@inline
def _address(
    starts: NDArray[np.uint64], blocks: NDArray[np.int32], rows: NDArray[np.int32], at: Any, record: Any
) -> Any:
    """Where the record of image position `at` begins, or 0."""
    start = starts[blocks[at]]
    return start + np.uint64(rows[at]) * record if start != 0 else start


@jit
def gather(
    starts: NDArray[np.uint64],
    blocks: NDArray[np.int32],
    rows: NDArray[np.int32],
    images: NDArray[np.int64],
    record: int,
    positions: NDArray[np.int64],
    targets: NDArray[np.int64],
    number: int,
    clean: int,
    frame: Bytes,
    out: Bytes,
    good: NDArray[np.bool_],
) -> int:
    """out[targets[i]] <- the picture of image positions[i]; good[targets[i]] says whether it is the one.

    starts: uint64[blocks], the address of each block's shard, 0 for one that is not to be used. blocks, rows:
    int32[n], images: int64[n], of all images: block, row in it, number. record: bytes of a record. number, clean:
    what the record's name must say. frame: `png_frame`. out: uint8 B×S×S×3. good: bool[B]. Returns how many are not.
    """
    side, step = out.shape[1], np.uint64(record)
    length = UNIT + len(frame) - 1 + side * (3 * side + 1)
    bad = 0
    for i in range(len(positions)):
        if i + _AHEAD < len(positions):
            ahead = _address(starts, blocks, rows, positions[i + _AHEAD], step)
            if ahead != 0:
                _prefetch(ahead)
                for at in range(np.uint64(UNIT), np.uint64(length), np.uint64(_LINE)):
                    _prefetch(ahead + at)
        target, address = targets[i], _address(starts, blocks, rows, positions[i], step)
        good[target] = False
        bad += 1
        if address == 0:
            continue
        picture = _array_at(_pointer(address), (length,), np.uint8)
        alike = _is_named(picture, images[positions[i]], number, clean)
        for k in range(len(frame)):
            alike &= picture[UNIT + k] == frame[k]
        if not alike:
            continue
        good[target] = True
        bad -= 1
        # The usual side as a constant: its lines are a few vectors each.
        if side == 32:
            _copy_lines(picture, UNIT + len(frame), out[target].reshape(-1), 32)
        else:
            _copy_lines(picture, UNIT + len(frame), out[target].reshape(-1), side)
    return bad


@jit
def mirror(pictures: Bytes, flips: NDArray[np.bool_]) -> None:
    """Mirror pictures[i] (uint8 B×H×W×3) left to right, in place, where flips[i]."""
    for i in range(len(pictures)):
        if flips[i]:
            for y in range(pictures.shape[1]):
                _mirror_line(pictures[i, y].reshape(-1), pictures.shape[2])


@inline
def _mirror_line(line: Bytes, width: int) -> None:
    if width % 16 == 0:
        for first in range(np.uintp(0), np.uintp((width // 16 + 1) // 2)):
            swap_sixteen(line, np.uintp(48) * first, np.uintp(3 * width - 48) - np.uintp(48) * first)
        return
    for x in range(np.uintp(width // 2)):
        p, q = np.uintp(3) * x, np.uintp(3 * (width - 1)) - np.uintp(3) * x
        for c in range(np.uintp(3)):
            line[p + c], line[q + c] = line[q + c], line[p + c]


@jit
def normalise(
    pictures: Bytes, scale: NDArray[np.float32], shift: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """out[i] <- pictures[i] · scale + shift, B×H×W×3 both; scale, shift: float32[3·width], those of a whole line."""
    columns = np.uintp(len(scale))
    lines, flat = pictures.reshape(-1, len(scale)), out.reshape(-1, len(scale))
    for y in range(len(lines)):
        line, to = lines[y], flat[y]
        for k in range(columns):
            to[k] = np.float32(line[k]) * scale[k] + shift[k]
