"""Variants as a table: the form in which they are drawn, rendered and indexed a block at a time.

`Variant` is what people and JSON see; a row of `Programs` is the same thing as numbers in columns.
Rule: the two convert without loss (`variant(i)`, `from_variants`), and only recipes and
`from_variants` write columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.blends import BLEND_NAMES, BLENDS
from mixbake.core.kernels.codes import MAX_ARGS, MAX_SOURCES
from mixbake.core.ops import OP_NAMES, OPS, STEP_NAMES, STEPS
from mixbake.core.own import OWN_CODE, OwnStep, own_steps
from mixbake.core.variant import CROP_CODES, CROP_NAMES, MICRO, Crop, Number, Picture, Step, Variant
from mixbake.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Most:
    """Upper bounds of a recipe's programs: steps, operations, blends, and the arguments of all steps together.

    boxes: blends that may be limited to a box; the box is not among the arguments. either: of so many operations and so
    many blends, a program has only one or the other of each.
    """

    steps: int
    ops: int
    blends: int
    arguments: int
    boxes: int = 0
    either: int = 0

    def holds(self, other: "Most") -> bool:
        """Whether nothing of another one is more."""
        return all(getattr(other, name) <= getattr(self, name) for name in self.__slots__)


def used_by(variant: Variant) -> Most:
    """What a program is made of."""
    return Most(
        steps=len(variant.steps),
        ops=len(variant.ops),
        blends=len(variant.blends),
        arguments=sum(len(step.args) for step in variant.steps),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """n variants of one recipe and view; S steps, K operations and B blends at most.

    images, numbers: int64[n]. layers: int8[n], 0 for none. ops: int8[n, K], levels: int64[n, K] in 1e-6,
    op_counts: int8[n]. blends: int8[n, B], blend_counts: int8[n]. crops: int32[n, 5] kind, left, top,
    width, height. flips: uint8[n]. pictures: int32[n, 6] id (-1: none), left, top, hflip, vflip, gray.
    lengths: int16[n] steps in use. do: int16[n, S]. sources: int8[n, S, 8]. args: int64[n, S, 8].
    arities: int8[n, S] arguments in use. own: steps that are not mixbake's; the i-th has number OWN_CODE + i in `do`,
    len(OPS) + i in `ops` and len(BLENDS) + i in `blends`.
    """

    view: str
    recipe: str
    images: NDArray[np.int64]
    numbers: NDArray[np.int64]
    layers: NDArray[np.int8]
    ops: NDArray[np.int8]
    levels: NDArray[np.int64]
    op_counts: NDArray[np.int8]
    blends: NDArray[np.int8]
    blend_counts: NDArray[np.int8]
    crops: NDArray[np.int32]
    flips: NDArray[np.uint8]
    pictures: NDArray[np.int32]
    lengths: NDArray[np.int16]
    do: NDArray[np.int16]
    sources: NDArray[np.int8]
    args: NDArray[np.int64]
    arities: NDArray[np.int8]
    own: tuple[OwnStep, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def columns(self) -> tuple[Any, ...]:
        """What the renderer reads: see `core.kernels.program.Columns`."""
        return self.crops, self.flips, self.pictures, self.lengths, self.do, self.sources, self.args, self.arities

    @property
    def steps(self) -> tuple[Any, ...]:
        """What appending a step writes: (lengths, do, sources, args, arities)."""
        return self.lengths, self.do, self.sources, self.args, self.arities

    @property
    def provenance(self) -> tuple[Any, ...]:
        """What only metadata needs: (layers, ops, levels, op_counts, blends, blend_counts)."""
        return self.layers, self.ops, self.levels, self.op_counts, self.blends, self.blend_counts

    @property
    def op_names(self) -> tuple[str, ...]:
        """Names of operations by their numbers here."""
        return (*OP_NAMES, *(one.name for one in self.own)) if self.own else OP_NAMES

    @property
    def blend_names(self) -> tuple[str, ...]:
        """Names of blends by their numbers here."""
        return (*BLEND_NAMES, *(one.name for one in self.own)) if self.own else BLEND_NAMES

    def variant(self, row: int) -> Variant:
        """Row `row` as a Variant."""
        ops, blends = int(self.op_counts[row]), int(self.blend_counts[row])
        return Variant(
            image=int(self.images[row]),
            number=int(self.numbers[row]),
            view=self.view,
            recipe=self.recipe,
            layer=int(self.layers[row]) or None,
            ops=tuple(self.op_names[code] for code in self.ops[row, :ops]),
            levels=tuple(_decimal(level) for level in self.levels[row, :ops]),
            blends=tuple(self.blend_names[code] for code in self.blends[row, :blends]),
            crop=_crop(self.crops[row]),
            flip=bool(self.flips[row]),
            picture=_picture(self.pictures[row]),
            steps=tuple(self._step(row, i) for i in range(self.lengths[row])),
        )

    def _step(self, row: int, i: int) -> Step:
        code, arity = int(self.do[row, i]), int(self.arities[row, i])
        own = self.own[code - OWN_CODE] if code >= OWN_CODE else None
        name = own.name if own else STEP_NAMES[code]
        units, count = (own.args, own.sources) if own else (units_of(name, arity), source_count(name, arity))
        values = [int(value) for value in self.args[row, i, :arity]]
        args = tuple(v if unit == "int" else _decimal(v) for v, unit in zip(values, units, strict=True))
        return Step(do=name, src=tuple(int(s) for s in self.sources[row, i, :count]), args=args)


def source_count(name: str, arity: int) -> int:
    """Registers that a step reads: as many as weights for `weighted`, else fixed by its kind."""
    return STEPS[name].sources or arity


def units_of(name: str, arity: int) -> tuple[str, ...]:
    """Units of a step's arguments. Raises UsageError when the step does not take `arity` of them."""
    kind = STEPS[name]
    if kind.sources == 0:
        if not 1 <= arity <= MAX_ARGS:
            raise UsageError(f"step {name} takes 1 to {MAX_ARGS} weights, not {arity}")
        return kind.args * arity
    if arity == len(kind.args):
        return kind.args
    if kind.boxed and arity == len(kind.args) + 4:
        return (*kind.args, "int", "int", "int", "int")
    box = " (or four more for a box)" if kind.boxed else ""
    raise UsageError(f"step {name} takes {len(kind.args)} arguments{box}, not {arity}")


def empty(
    n: int, *, view: str, recipe: str, steps: int, ops: int, blends: int, own: tuple[OwnStep, ...] = ()
) -> Programs:
    """A table of n rows without steps, ready to be filled."""
    return Programs(
        view=view,
        recipe=recipe,
        images=np.zeros(n, np.int64),
        numbers=np.zeros(n, np.int64),
        layers=np.zeros(n, np.int8),
        ops=np.zeros((n, ops), np.int8),
        levels=np.zeros((n, ops), np.int64),
        op_counts=np.zeros(n, np.int8),
        blends=np.zeros((n, blends), np.int8),
        blend_counts=np.zeros(n, np.int8),
        crops=np.zeros((n, 5), np.int32),
        flips=np.zeros(n, np.uint8),
        pictures=np.full((n, 6), -1, np.int32),
        lengths=np.zeros(n, np.int16),
        do=np.zeros((n, steps), np.int16),
        sources=np.zeros((n, steps, MAX_SOURCES), np.int8),
        args=np.zeros((n, steps, MAX_ARGS), np.int64),
        arities=np.zeros((n, steps), np.int8),
        own=own,
    )


def clear(table: Programs) -> None:
    """Empty a table of mixes for other programs; images, numbers, crops and flips stay as they are."""
    for column in (*table.steps, *table.provenance):
        column.fill(0)
    table.pictures.fill(-1)


def from_variants(variants: Sequence[Variant], *, own: Sequence[OwnStep] = ()) -> Programs:
    """A table of the given variants, of one recipe and view. Raises UsageError on a malformed step.

    own: steps that are not mixbake's; those that the variants have besides are only known by name.
    """
    first = variants[0]
    table = empty(
        len(variants),
        view=first.view,
        recipe=first.recipe,
        steps=max([1, *(len(v.steps) for v in variants)]),
        ops=max([1, *(len(v.ops) for v in variants)]),
        blends=max([1, *(len(v.blends) for v in variants)]),
        own=own_steps(variants, own),
    )
    for row, variant in enumerate(variants):
        _write(table, row, variant)
    return table


def _write(table: Programs, row: int, variant: Variant) -> None:
    table.images[row], table.numbers[row] = variant.image, variant.number
    table.layers[row] = variant.layer or 0
    table.op_counts[row], table.blend_counts[row] = len(variant.ops), len(variant.blends)
    table.ops[row, : len(variant.ops)] = [_number(OPS, table, name) for name in variant.ops]
    table.levels[row, : len(variant.ops)] = [micro(level) for level in variant.levels]
    table.blends[row, : len(variant.blends)] = [_number(BLENDS, table, name) for name in variant.blends]
    table.crops[row] = crop_row(variant.crop)
    table.flips[row] = variant.flip
    if (picture := variant.picture) is not None:
        window = picture.id, picture.left, picture.top, picture.hflip, picture.vflip, picture.gray
        table.pictures[row] = _int32("picture", window)
    table.lengths[row] = len(variant.steps)
    for i, step in enumerate(variant.steps):
        write_step(table, row, i, step)


def _number(known: Mapping[str, int], table: Programs, name: str) -> int:
    """Number of an operation or blend. Raises UsageError when no step can have made it."""
    if name in known:
        return known[name]
    for i, one in enumerate(table.own):
        if one.name == name:
            return len(known) + i
    raise UsageError(f"unknown {name!r:.60}: known are {', '.join(known)}")


def crop_row(crop: Crop) -> NDArray[np.int32]:
    """A crop as int32[5]. Raises UsageError on an unknown kind or a number that does not fit."""
    if crop.kind not in CROP_CODES:
        raise UsageError(f"unknown kind of crop {crop.kind!r}: choose from {', '.join(CROP_CODES)}")
    return _int32("crop", (CROP_CODES[crop.kind], crop.left, crop.top, crop.width, crop.height))


def _int32(what: str, values: tuple[int, ...]) -> NDArray[np.int32]:
    if not all(-(2**31) <= value < 2**31 for value in values):
        raise UsageError(f"a {what} with numbers beyond 32 bits: {values}")
    return np.array(values, np.int32)


def write_step(table: Programs, row: int, i: int, step: Step) -> None:
    """Put step i of a row in its columns, after checking names, counts and registers (< i + 2)."""
    arity = len(step.args)
    code, count, units = _kind(table, step.do, arity)
    if len(step.src) != count:
        raise UsageError(f"step {step.do} reads {count} registers, not {len(step.src)}")
    if not all(0 <= s < i + 2 for s in step.src):
        raise UsageError(f"step {i} ({step.do}) reads registers {step.src}: only 0..{i + 1} are written before it")
    table.do[row, i], table.arities[row, i] = code, arity
    table.sources[row, i, : len(step.src)] = step.src
    for k, (value, unit) in enumerate(zip(step.args, units, strict=True)):
        table.args[row, i, k] = _whole(step.do, value) if unit == "int" else micro(value)


def _kind(table: Programs, name: str, arity: int) -> tuple[int, int, tuple[str, ...]]:
    """Number, registers and units of a step with so many arguments."""
    if name in STEPS:
        return STEPS[name].code, source_count(name, arity), units_of(name, arity)
    for i, one in enumerate(table.own):
        if one.name == name:
            if arity != len(one.args):
                raise UsageError(f"step {name} takes {len(one.args)} arguments, not {arity}")
            return OWN_CODE + i, one.sources, one.args
    raise UsageError(f"unknown step {name!r}: known are {', '.join(STEPS)}")


def micro(value: Number) -> int:
    """A decimal in units of 1e-6. Raises UsageError when it has more than six places or is not finite."""
    if not -1e12 < value < 1e12:
        raise UsageError(f"{value} is outside the range of a stored number (|x| < 1e12)")
    scaled = round(value * MICRO)
    if scaled / MICRO != value:
        raise UsageError(f"{value!r} has more than six decimal places: quantise drawn numbers to 1e-6")
    return scaled


def _whole(do: str, value: Number) -> int:
    if not -(2**62) < value < 2**62 or value != int(value):
        raise UsageError(f"step {do} takes a whole number here, not {value}")
    return int(value)


def _decimal(value: Any) -> float:
    return int(value) / MICRO


def _crop(row: NDArray[np.int32]) -> Crop:
    kind, left, top, width, height = (int(value) for value in row)
    return Crop(kind=CROP_NAMES[kind], left=left, top=top, width=width, height=height)


def _picture(row: NDArray[np.int32]) -> Picture | None:
    number, left, top, hflip, vflip, gray = (int(value) for value in row)
    if number < 0:
        return None
    return Picture(id=number, left=left, top=top, hflip=bool(hflip), vflip=bool(vflip), gray=bool(gray))
