"""Compiled comparison of records with what they must be: what a tar holds is looked at once, and nothing is built.

Rule: these loops only say whether a record is right; what is wrong with one that is not, `audit.scribe` describes.
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit
from mixbake.storage.tar import LABEL_WIDTH, UNIT

Bytes = NDArray[np.uint8]
_SIZE, _SUM = 124, 148
"""Where a tar header has the size of its file (11 octal digits) and its checksum (6, then NUL and a space)."""


@inline
def _octal_differs(data: Bytes, at: int, digits: int, value: int) -> int:
    odd = 0
    for k in range(digits):
        odd |= int(data[at + digits - 1 - k]) ^ (48 + (value & 7))
        value >>= 3
    return odd


@inline
def _differs(data: Bytes, at: int, wanted: Bytes, start: int, end: int) -> int:
    odd = np.uint8(0)
    for k in range(np.uintp(start), np.uintp(end)):
        odd |= data[np.uintp(at) + k] ^ wanted[k]
    return int(odd)


@inline
def _header_differs(data: Bytes, at: int, name: Bytes, blank: Bytes, total: int, size: int) -> int:
    """Whether a header is not `blank` with the key `name`, that size and the sum that follows from them.

    total: sum of the bytes of blank, whose key is NULs, and whose size and checksum are spaces.
    """
    width = len(name)
    odd = _differs(data, at, name, 0, width) | _differs(data, at, blank, width, _SIZE)
    odd |= _octal_differs(data, at + _SIZE, 11, size)
    odd |= _differs(data, at, blank, _SIZE + 11, _SUM) | _differs(data, at, blank, _SUM + 6, UNIT)
    for k in range(width):
        total += name[k]
    digits = size
    for _ in range(11):
        total += 48 + (digits & 7) - 32
        digits >>= 3
    return odd | _octal_differs(data, at + _SUM, 6, total)


@jit
def find_odd(
    heads: Bytes,
    head_step: int,
    tails: Bytes,
    tail_start: int,
    tail_step: int,
    names: Bytes,
    sizes: NDArray[np.int64],
    labels: Bytes,
    texts: Bytes,
    blanks: Bytes,
    totals: NDArray[np.int64],
    odd: NDArray[np.bool_],
) -> int:
    """odd[i] <- whether sample i is not what it must be, but for its picture; returns how many are not.

    heads, tails: the bytes of a tar, or of parts of it; the header of picture i begins at i · head_step, the label's
    at tail_start + i · tail_step. names: uint8[n, length], keys. sizes: int64[n], of the pictures. labels: uint8[n, 8].
    texts: uint8[n, L], JSON. blanks: uint8[3, 512], totals: int64[3]: headers as `blank_headers` makes them.
    """
    count = 0
    length = texts.shape[1]
    for i in range(len(names)):
        at = tail_start + i * tail_step
        bad = _header_differs(heads, i * head_step, names[i], blanks[0], totals[0], sizes[i])
        bad |= _header_differs(tails, at, names[i], blanks[1], totals[1], LABEL_WIDTH)
        bad |= _differs(tails, at + UNIT, labels[i], 0, LABEL_WIDTH)
        for k in range(LABEL_WIDTH, UNIT):
            bad |= int(tails[at + UNIT + k])
        bad |= _header_differs(tails, at + 2 * UNIT, names[i], blanks[2], totals[2], length)
        bad |= _differs(tails, at + 3 * UNIT, texts[i], 0, length)
        odd[i] = bad != 0
        count += int(odd[i])
    return count


@jit
def find_odd_texts(
    starts: NDArray[np.int32], letters: Bytes, texts: Bytes, spans: NDArray[np.int64], odd: NDArray[np.bool_]
) -> int:
    """odd[i] <- whether text i of an Arrow string column is not bytes spans[i] of texts[i]; returns how many are not.

    starts: int32[n + 1], letters: the column's buffers.
    """
    count = 0
    for i in range(len(texts)):
        length = spans[i, 1] - spans[i, 0]
        odd[i] = starts[i + 1] - starts[i] != length
        if not odd[i]:
            bad = np.uint8(0)
            for k in range(np.uintp(length)):
                bad |= letters[np.uintp(starts[i]) + k] ^ texts[i, np.uintp(spans[i, 0]) + k]
            odd[i] = bad != 0
        count += int(odd[i])
    return count


def blank_headers(headers: list[bytes], width: int) -> tuple[Bytes, NDArray[np.int64]]:
    """Headers without key, size and checksum, uint8[n, 512], and the sums of their bytes, int64[n]: see `find_odd`."""
    blanks = np.frombuffer(b"".join(headers), np.uint8).reshape(-1, UNIT).copy()
    blanks[:, :width] = 0
    blanks[:, _SIZE : _SIZE + 11] = blanks[:, _SUM : _SUM + 8] = ord(" ")
    totals = blanks.sum(axis=1, dtype=np.int64)
    # Its last two bytes are compared as they are.
    blanks[:, _SUM + 6] = 0
    return blanks, totals
