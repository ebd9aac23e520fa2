"""Pickled plain data, read without unpickling: containers, text, numbers and integer arrays.

CIFAR's official archive is made of pickles, and loading a pickle runs whatever it asks for. Here the
opcodes are taken apart by the standard library's disassembler and followed by a machine of our own.
Rule: the machine holds no Python callable that a file could name. The few names that numpy writes are
keys of a literal table; every other name is refused, as is every opcode outside another table.
"""

import math
import pickletools
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mixbake.errors import UsageError

Integers = NDArray[np.integer[Any]]


class _RefusedError(ValueError):
    """The file asks for something that plain data does not need."""


class PickledArray:
    """An integer array inside pickled data: made empty, filled by its state, then in `array`."""

    __slots__ = ("array",)

    def __init__(self, array: Integers | None = None) -> None:
        self.array = array


class _Dtype:
    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "|"


class _Machine:
    """The pickle machine's two memories: a stack, where marks are `_MARK`, and numbered notes."""

    __slots__ = ("memo", "stack")

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop_to_mark(self) -> list[Any]:
        """Remove everything above the last mark, and the mark; returns it, lowest first."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:  # an IndexError below the bottom ends as "malformed"
            at -= 1
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def pop(self, count: int) -> list[Any]:
        """Remove the top `count` values; returns them, lowest first."""
        items = [self.stack.pop() for _ in range(count)]
        return items[::-1]


_MARK = object()


def read_plain_pickle(data: bytes, name: str) -> object:
    """The value pickled in `data` (any protocol, written by Python 2 or 3); nothing in it is run.

    Python 2's `str` comes as latin-1 text; arrays come as PickledArray. Raises UsageError, which calls the
    file `name`, for anything but plain data and integer arrays, naming the global or opcode it refused.
    """
    try:
        value = _follow(data)
    except _RefusedError as refusal:
        raise UsageError(f"{name!r} is refused, nothing in it was run: {refusal}: get the official archive") from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise UsageError(f"{name!r} is a damaged pickle ({error}): get the official archive again") from error
    return value


def _follow(data: bytes) -> object:
    """Take the file's opcodes one by one; returns what is left on the stack."""
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in _OPCODES:
            raise _RefusedError(f"it uses the pickle opcode {opcode.name}")
        _OPCODES[opcode.name](machine, argument)
    (value,) = machine.stack
    return cast("object", value)


# ── arrays, as numpy writes them ──────────────────────────────────────────────────────────────────


def _empty_array(*_: object) -> PickledArray:
    return PickledArray()


def _dtype(code: str | bytes, *_: object) -> _Dtype:
    code = _text(code)
    if code not in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"):
        raise _RefusedError(f"it holds an array of type {code!r}")
    return _Dtype(code)


def _encoded(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"it encodes text as {encoding!r}")
    return text.encode("latin-1")


def _empty_bytes() -> bytes:
    return b""


def _array_of_buffer(raw: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> PickledArray:
    return PickledArray(_shaped(raw, dtype, shape, order))


def _nameless(*_: object) -> None:
    raise _RefusedError("it calls something that is no function")


_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_CALLS: dict[tuple[str, str], Callable[..., object]] = {
    **{(module, "_reconstruct"): _empty_array for module in _MODULES},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array_of_buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _nameless,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encoded,
    ("__builtin__", "bytes"): _empty_bytes,
}
"""Global name -> what a call of it makes here. The functions stay in this table; the stack holds only names."""


class _Name(tuple[str, str]):
    """A (module, name) of `_CALLS` on the stack."""

    __slots__ = ()


def _shaped(raw: bytes | bytearray | str, dtype: _Dtype, shape: tuple[int, ...], order: str) -> Integers:
    data = raw.encode("latin-1") if isinstance(raw, str) else bytes(raw)
    kind = np.dtype(dtype.order + dtype.code)
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(data) or order not in ("C", "F"):
        raise ValueError(f"an array of shape {shape} does not fit its {len(data)} bytes")
    array: Integers = np.ndarray(shape, kind, data, order=cast("Any", order))
    return array


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


# ── opcodes ───────────────────────────────────────────────────────────────────────────────────────


def _push(machine: _Machine, argument: object) -> None:
    machine.stack.append(argument)


def _push_made(make: Callable[[], object]) -> Callable[[_Machine, object], None]:
    return lambda machine, _: machine.stack.append(make())


def _nothing(machine: _Machine, argument: object) -> None:
    """Protocol number, frame length, end: the disassembler has used them."""


def _put(machine: _Machine, argument: Any) -> None:
    machine.memo[argument] = machine.stack[-1]


def _memoize(machine: _Machine, _: object) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _get(machine: _Machine, argument: Any) -> None:
    machine.stack.append(machine.memo[argument])


def _tuple(count: int) -> Callable[[_Machine, object], None]:
    return lambda machine, _: machine.stack.append(tuple(machine.pop(count)))


def _append(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not list:
        raise _RefusedError("it appends to something that is no list")
    target.extend(items)


def _set_items(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not dict:
        raise _RefusedError("it sets items of something that is no dict")
    target.update(zip(items[::2], items[1::2], strict=True))


def _push_name(machine: _Machine, module: object, name: object) -> None:
    key = (str(module), str(name))
    if key not in _CALLS:
        raise _RefusedError(f"it asks for {key[0][:60] + '.' + key[1][:60]!r}")
    machine.stack.append(_Name(key))


def _reduce(machine: _Machine, _: object) -> None:
    function, arguments = machine.pop(2)
    if type(function) is not _Name or type(arguments) is not tuple:
        raise _RefusedError("it calls something that is no function")
    machine.stack.append(_CALLS[function](*arguments))


def _build(machine: _Machine, _: object) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if type(target) is _Dtype:
        target.order = _text(state[1])
        if target.order not in ("<", ">", "|"):
            raise _RefusedError(f"it holds an array of byte order {target.order!r}")
    elif type(target) is PickledArray:
        _, shape, dtype, fortran, raw = state
        target.array = _shaped(raw, dtype, shape, "F" if fortran else "C")
    else:
        raise _RefusedError("it sets the state of something that is no array")


_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"), _push),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _push),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _push),
    "NONE": _push_made(lambda: None),
    "NEWTRUE": _push_made(lambda: True),
    "NEWFALSE": _push_made(lambda: False),
    "EMPTY_DICT": _push_made(dict),
    "EMPTY_LIST": _push_made(list),
    "EMPTY_TUPLE": _push_made(tuple),
    "MARK": _push_made(lambda: _MARK),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "DICT": lambda machine, _: machine.stack.append(dict(zip(*[iter(machine.pop_to_mark())] * 2, strict=True))),
    "APPEND": lambda machine, _: _append(machine, machine.pop(1)),
    "APPENDS": lambda machine, _: _append(machine, machine.pop_to_mark()),
    "SETITEM": lambda machine, _: _set_items(machine, machine.pop(2)),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_to_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "MEMOIZE": _memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "GLOBAL": lambda machine, argument: _push_name(machine, *argument.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: _push_name(machine, *machine.pop(2)),
    "REDUCE": _reduce,
    "BUILD": _build,
}
"""Opcode -> what it does. INST, OBJ, NEWOBJ, EXT, persistent ids and out-of-band buffers are not here."""
