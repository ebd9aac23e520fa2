"""Writes the JSON members of a block of variants: sorted keys, compact, ASCII, space-padded.

The same text as `core.variant.to_json` with label, class, source and schema added, a hundred times
faster. Rule: numbers are integers, or decimals in 1e-6 without trailing zeros and exponents.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.blends import BLENDS
from mixbake.core.jit import inline, jit
from mixbake.core.kernels import codes
from mixbake.core.kernels.lanes import MICRO
from mixbake.core.ops import OPS, STEPS
from mixbake.core.own import OWN_CODE, OwnStep
from mixbake.core.variant import CROP_NAMES, SCHEMA_VERSION

Text = NDArray[np.uint8]


def _bytes(text: str) -> Text:
    return np.frombuffer(text.encode("ascii"), np.uint8).copy()


def _table(names: dict[int, str]) -> tuple[Text, NDArray[np.int64]]:
    """Quoted names by number: uint8[numbers, longest] and their lengths."""
    quoted = {number: f'"{name}"'.encode() for number, name in names.items()}
    rows = np.zeros((max(quoted) + 1, max(map(len, quoted.values()))), np.uint8)
    lengths = np.zeros(max(quoted) + 1, np.int64)
    for number, name in quoted.items():
        rows[number, : len(name)] = np.frombuffer(name, np.uint8)
        lengths[number] = len(name)
    return rows, lengths


Names = tuple[Text, NDArray[np.int64], Text, NDArray[np.int64], Text, NDArray[np.int64], NDArray[np.bool_], Any]


@cache
def names_of(own: tuple[OwnStep, ...]) -> Names:
    """What numbers in tables with these steps of one's own stand for.

    Quoted names (uint8[numbers, longest]) and their lengths, of operations, blends and steps; which arguments of steps
    are whole (bool[numbers, 8]); registers that steps read (int64[numbers], 0 for one a weight).
    """
    kinds = {kind.code: (name, kind.sources, kind.args) for name, kind in STEPS.items()}
    kinds |= {OWN_CODE + i: (one.name, one.sources, one.args) for i, one in enumerate(own)}
    named, count = [one.name for one in own], max(kinds) + 1
    whole, sources = np.zeros((count, codes.MAX_ARGS), np.bool_), np.zeros(count, np.int64)
    for code, (_, registers, args) in kinds.items():
        # A box's four arguments are whole; weights, of which there is any number, are decimals.
        whole[code] = registers > 0
        whole[code, : len(args)] = [unit == "int" for unit in args]
        sources[code] = registers
    return (
        *_table(dict(enumerate([*OPS, *named]))),
        *_table(dict(enumerate([*BLENDS, *named]))),
        *_table({code: name for code, (name, _, _) in kinds.items()}),
        whole,
        sources,
    )


_KIND_NAMES, _KIND_LENGTHS = _table(dict(enumerate(CROP_NAMES)))
_BLENDS, _CLASS, _CROP, _KIND = (
    _bytes('{"blends":['),
    _bytes('],"class":'),
    _bytes(',"crop":{"height":'),
    _bytes(',"kind":'),
)
_LEFT, _TOP, _WIDTH, _FLIP = _bytes(',"left":'), _bytes(',"top":'), _bytes(',"width":'), _bytes('},"flip":')
_IMAGE, _LABEL, _LAYER, _LEVELS = _bytes(',"image":'), _bytes(',"label":'), _bytes(',"layer":'), _bytes(',"levels":[')
_NUMBER, _OPS, _PICTURE, _GRAY = _bytes('],"number":'), _bytes(',"ops":['), _bytes('],"picture":'), _bytes('{"gray":')
_HFLIP, _ID, _VFLIP, _RECIPE = _bytes(',"hflip":'), _bytes(',"id":'), _bytes(',"vflip":'), _bytes(',"recipe":')
_SCHEMA, _STEPS = _bytes(f',"schema":{SCHEMA_VERSION},"source":'), _bytes(',"steps":')
_ARGS, _DO, _SRC, _END_STEP = _bytes('{"args":['), _bytes('],"do":'), _bytes(',"src":['), _bytes("]}")
_VIEW, _END, _NULL, _TRUE, _FALSE = _bytes(',"view":'), _bytes("}"), _bytes("null"), _bytes("true"), _bytes("false")
_COMMA, _OPEN, _CLOSE = np.uint8(ord(",")), np.uint8(ord("[")), np.uint8(ord("]"))
_ZERO, _MINUS, _POINT, _SPACE = np.uint8(ord("0")), np.uint8(ord("-")), np.uint8(ord(".")), np.uint8(ord(" "))


@inline
def _put(out: Text, at: int, text: Text, start: int, length: int) -> int:
    for i in range(length):
        out[at + i] = text[start + i]
    return at + length


@inline
def _literal(out: Text, at: int, text: Text) -> int:
    return _put(out, at, text, 0, len(text))


@inline
def _integer(out: Text, at: int, value: int) -> int:
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    digits, rest = 1, value
    while rest >= 10:
        rest //= 10
        digits += 1
    for i in range(digits):
        out[at + digits - 1 - i] = _ZERO + np.uint8(value % 10)
        value //= 10
    return at + digits


@inline
def _decimal(out: Text, at: int, micro: int) -> int:
    if micro < 0:
        out[at] = _MINUS
        at += 1
        micro = -micro
    at = _integer(out, at, micro // MICRO)
    out[at] = _POINT
    at += 1
    rest, unit = micro % MICRO, MICRO // 10
    out[at] = _ZERO + np.uint8(rest // unit)
    at += 1
    rest %= unit
    while rest > 0:
        unit //= 10
        out[at] = _ZERO + np.uint8(rest // unit)
        at += 1
        rest %= unit
    return at


@inline
def _truth(out: Text, at: int, value: int) -> int:
    return _literal(out, at, _TRUE if value else _FALSE)


@inline
def _names(out: Text, at: int, numbers: Any, count: int, names: Text, lengths: Any) -> int:
    for i in range(count):
        if i > 0:
            out[at] = _COMMA
            at += 1
        at = _put(out, at, names[numbers[i]], 0, lengths[numbers[i]])
    return at


@inline
def _window(out: Text, at: int, crop: Any) -> int:
    at = _integer(out, _literal(out, at, _CROP), crop[4])
    at = _literal(out, at, _KIND)
    at = _put(out, at, _KIND_NAMES[crop[0]], 0, _KIND_LENGTHS[crop[0]])
    at = _integer(out, _literal(out, at, _LEFT), crop[1])
    at = _integer(out, _literal(out, at, _TOP), crop[2])
    return _integer(out, _literal(out, at, _WIDTH), crop[3])


@inline
def _mixing_picture(out: Text, at: int, picture: Any) -> int:
    if picture[0] < 0:
        return _literal(out, at, _NULL)
    at = _truth(out, _literal(out, at, _GRAY), picture[5])
    at = _truth(out, _literal(out, at, _HFLIP), picture[3])
    at = _integer(out, _literal(out, at, _ID), picture[0])
    at = _integer(out, _literal(out, at, _LEFT), picture[1])
    at = _integer(out, _literal(out, at, _TOP), picture[2])
    at = _truth(out, _literal(out, at, _VFLIP), picture[4])
    return _literal(out, at, _END)


@inline
def _step(out: Text, at: int, do: int, sources: Any, args: Any, arity: int, names: Any) -> int:
    _, _, _, _, texts, lengths, whole, registers = names
    at = _literal(out, at, _ARGS)
    for k in range(arity):
        if k > 0:
            out[at] = _COMMA
            at += 1
        at = _integer(out, at, args[k]) if whole[do, k] else _decimal(out, at, args[k])
    at = _literal(out, at, _DO)
    at = _put(out, at, texts[do], 0, lengths[do])
    at = _literal(out, at, _SRC)
    for k in range(registers[do] if registers[do] > 0 else arity):
        if k > 0:
            out[at] = _COMMA
            at += 1
        at = _integer(out, at, sources[k])
    return _literal(out, at, _END_STEP)


@inline
def _levels(out: Text, at: int, levels: Any, count: int) -> int:
    at = _literal(out, at, _LEVELS)
    for k in range(count):
        if k > 0:
            out[at] = _COMMA
            at += 1
        at = _decimal(out, at, levels[k])
    return at


@jit
def write_members(
    keys: Any,
    columns: Any,
    provenance: Any,
    which: NDArray[np.int64],
    strings: Any,
    names: Any,
    out: Text,
    spans: NDArray[np.int64],
) -> None:
    """out[i] (uint8[n, length]) <- JSON of row i, padded with spaces.

    keys: (images, numbers); columns, provenance: of `Programs`. which[i]: the row's entry in
    strings = (labels int64[m], texts, starts int64[m, 2], lengths int64[m, 2], recipe, view): quoted class
    and source of each image. names: of `names_of`. spans: int64[n, 2], first and last byte + 1 of the steps array.
    The caller has made `length` long enough for any row (`core.members.member_length`).
    """
    images, numbers = keys
    crops, flips, pictures, lengths, do, sources, args, arities = columns
    layers, ops, levels, op_counts, blends, blend_counts = provenance
    labels, texts, starts, sizes, recipe, view = strings
    for row in range(len(images)):
        line, of = out[row], which[row]
        at = _literal(line, 0, _BLENDS)
        at = _names(line, at, blends[row], blend_counts[row], names[2], names[3])
        at = _put(line, _literal(line, at, _CLASS), texts, starts[of, 0], sizes[of, 0])
        at = _window(line, at, crops[row])
        at = _truth(line, _literal(line, at, _FLIP), flips[row])
        at = _integer(line, _literal(line, at, _IMAGE), images[row])
        at = _integer(line, _literal(line, at, _LABEL), labels[of])
        at = _literal(line, at, _LAYER)
        at = _integer(line, at, layers[row]) if layers[row] else _literal(line, at, _NULL)
        at = _levels(line, at, levels[row], op_counts[row])
        at = _integer(line, _literal(line, at, _NUMBER), numbers[row])
        at = _names(line, _literal(line, at, _OPS), ops[row], op_counts[row], names[0], names[1])
        at = _mixing_picture(line, _literal(line, at, _PICTURE), pictures[row])
        at = _literal(line, _literal(line, at, _RECIPE), recipe)
        at = _put(line, _literal(line, at, _SCHEMA), texts, starts[of, 1], sizes[of, 1])
        at = _literal(line, at, _STEPS)
        spans[row, 0] = at
        line[at] = _OPEN
        at += 1
        for i in range(lengths[row]):
            if i > 0:
                line[at] = _COMMA
                at += 1
            at = _step(line, at, do[row, i], sources[row, i], args[row, i], arities[row, i], names)
        line[at] = _CLOSE
        at += 1
        spans[row, 1] = at
        at = _literal(line, _literal(line, at, _VIEW), view)
        at = _literal(line, at, _END)
        for i in range(at, len(line)):
            line[i] = _SPACE
