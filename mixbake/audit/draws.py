"""What the indexes say was drawn, as columns of numbers.

    rows of the indexes, a run at a time -> names to codes, steps (JSON) to columns -> uses, blends

Rule: an index may hold anything of its columns' types. A name, number or step that no recipe writes becomes a code
that no law knows; only steps that are no steps at all are damage.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog, Rows, Variants
from mixbake.core import rng
from mixbake.core.blends import BLENDS
from mixbake.core.kernels.codes import MAX_ARGS
from mixbake.core.ops import OPS, STEPS
from mixbake.core.variant import MICRO
from mixbake.errors import Damage
from mixbake.storage.opened import RESTORE

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RUN = 1 << 17
"""Rows read at a time."""
MOST_RUNS = 16
"""Of a larger bake so many runs are read, drawn by chance: two million rows tell all there is to tell."""
LONGEST_STEPS = 4096
"""Letters of a program's steps: twice what any recipe writes."""
OTHER = -1
"""Code of a name that is not known, of a null, and of what is not there."""
OFF = -(1 << 62)
"""Stands for a number that is not whole in its unit: far below what any law allows."""

_COLUMNS = ("layer", "ops", "levels", "blends", "picture", "picture_hflip", "picture_vflip", "flip", "steps")
_STEPS = pa.list_(pa.struct([("args", pa.list_(pa.float64())), ("do", pa.string()), ("src", pa.list_(pa.int64()))]))
_LINE = pa.schema([("s", _STEPS)])
_SOURCES = np.array([kind.sources for kind in STEPS.values()])
STEP_CODES = {name: code for code, name in enumerate(STEPS)}

Progress = Callable[[str, int, int], None]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variety:
    """n variants, as columns; codes of names are their places in `OPS` and `BLENDS`, layers and pictures 0 or above.

    row: of the catalog. clean: bool[n]. owner: int64[n], the image's position in `Bake.images`. number: int64[n].
    group: number that shares a crop with others. op: of all uses, OTHER if they differ or there is none. hflip, vflip,
    flip: 0, 1, or OTHER. sound: bool[n], whether steps, ops and blends can be laid side by side.
    """

    row: Ints
    clean: Flags
    owner: Ints
    number: Ints
    group: Ints
    layer: Ints
    op: Ints
    ops: Ints
    blends: Ints
    first_blend: Ints
    second_blend: Ints
    picture: Ints
    hflip: Ints
    vflip: Ints
    flip: Ints
    sound: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """Uses of operations by all sound variants: of[u], the variant; op; level in 1e-6; step: code of its kind in STEPS.

    arity: arguments that the step has; args: int64[u, 2], the first ones in their units, OFF where there is none.
    """

    of: Ints
    op: Ints
    level: Ints
    step: Ints
    arity: Ints
    args: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Blended:
    """Blends by all sound variants: of[b], the variant; blend; step, arity and args as in `Uses`.

    box: int32[b, 4], left, top, width and height; below 0 where there is none.
    """

    of: Ints
    blend: Ints
    step: Ints
    arity: Ints
    args: Ints
    box: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summed:
    """Weighted sums by all sound variants: of[s], the variant; arity: how many weights; weights: int64[s, 8]."""

    of: Ints
    arity: Ints
    weights: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """What was drawn for a bake's variants, clean crops included."""

    variants: Variety
    uses: Uses
    blended: Blended
    summed: Summed


def read_draws(catalog: Catalog, progress: Progress) -> Draws:
    """Read the indexes. Raises Damage naming one that cannot be used, and the key of steps that are none."""
    parts, start, runs = [], 0, _runs(len(catalog))
    for done, rows in enumerate(runs):
        progress("index", done, len(runs))
        parts.append(_read(catalog, rows, start))
        start += len(rows)
    progress("index", len(runs), len(runs))
    return Draws(
        variants=_together([part.variants for part in parts]),
        uses=_together([part.uses for part in parts]),
        blended=_together([part.blended for part in parts]),
        summed=_together([part.summed for part in parts]),
    )


def _runs(count: int) -> list[Rows]:
    """Numbers of the rows to read, a run at a time."""
    starts = np.arange(0, max(count, 1), RUN)
    if len(starts) > MOST_RUNS:
        starts = np.sort(rng.stream("audit", count).choice(starts, MOST_RUNS, replace=False))
    return [np.arange(start, min(start + RUN, count)) for start in starts.tolist()]


def _together(parts: Sequence[T]) -> T:
    names = [field.name for field in fields(parts[0])]
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _read(catalog: Catalog, rows: Rows, start: int) -> Draws:
    """The draws of some rows, which are variants `start` and those after it."""
    table, which = catalog.take(rows, _COLUMNS).combine_chunks(), catalog.variants(rows)
    columns = {name: _whole(table[name]) for name in _COLUMNS}
    steps = _Steps(_parsed(columns["steps"], lambda row: _bad_steps(catalog, which, row)))
    names, levels, blends = _List(columns["ops"]), _List(columns["levels"]), _List(columns["blends"])
    op_codes, blend_codes = _codes(names.values, OPS), _codes(blends.values, BLENDS)
    of_op, of_blend = _SOURCES[steps.do] == 1, _SOURCES[steps.do] == 2
    known = steps.do >= 0
    sound = (
        (np.bincount(steps.of[known & of_op], minlength=len(rows)) == names.counts)
        & (np.bincount(steps.of[known & of_blend], minlength=len(rows)) == blends.counts)
        & (np.bincount(steps.of[~known], minlength=len(rows)) == 0)
        & (levels.counts == names.counts)
    )
    group = catalog.bake.plan.group
    variants = Variety(
        row=rows,
        clean=which.clean,
        owner=which.positions,
        number=which.numbers,
        group=np.where(which.clean, which.numbers, which.numbers // group),
        layer=_numbers(columns["layer"]),
        op=_single(op_codes, names),
        ops=names.counts,
        blends=blends.counts,
        first_blend=blends.entry(blend_codes, 0),
        second_blend=blends.entry(blend_codes, 1),
        picture=_numbers(columns["picture"]),
        hflip=_numbers(columns["picture_hflip"]),
        vflip=_numbers(columns["picture_vflip"]),
        flip=_numbers(columns["flip"]),
        sound=sound,
    )
    used, mixed = sound[names.of], sound[blends.of]
    op_steps, blend_steps = known & of_op & sound[steps.of], known & of_blend & sound[steps.of]
    sum_steps = known & (_SOURCES[steps.do] == 0) & sound[steps.of]
    return Draws(
        variants=variants,
        uses=Uses(
            of=start + names.of[used],
            op=op_codes[used],
            level=_in_unit(levels.values.to_numpy(zero_copy_only=False)[sound[levels.of]], MICRO),
            **steps.columns(op_steps),
        ),
        blended=Blended(
            of=start + blends.of[mixed],
            blend=blend_codes[mixed],
            box=np.clip(steps.arguments(blend_steps, 2, 6), -1, _INT32).astype(np.int32),
            **steps.columns(blend_steps),
        ),
        summed=Summed(
            of=start + steps.of[sum_steps],
            arity=steps.arity[sum_steps],
            weights=steps.arguments(sum_steps, 0, MAX_ARGS),
        ),
    )


# ── columns ───────────────────────────────────────────────────────────────────────────────────────


class _List:
    """A list column, null lists as empty ones: its values, how many each row has, and the row of each value."""

    def __init__(self, column: Any) -> None:
        self.values = column.flatten()
        self.counts: Ints = (
            pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        )
        self.of: Ints = np.repeat(np.arange(len(column)), self.counts)
        self.starts: Ints = np.cumsum(self.counts) - self.counts

    def entry(self, codes: Ints, i: int) -> Ints:
        """The i-th code of each row, OTHER where it has none."""
        found = np.full(len(self.counts), OTHER, np.int64)
        there = self.counts > i
        found[there] = codes[self.starts[there] + i]
        return found


class _Steps:
    """All steps of n programs, one after the other: do (code, OTHER if unknown), the row of each, its arguments."""

    def __init__(self, column: Any) -> None:
        programs = _List(column)
        steps = programs.values
        self.of = programs.of
        self.do = _codes(steps.field("do").dictionary_encode(), STEP_CODES)
        self._arguments = _List(steps.field("args"))
        self._values = self._arguments.values.to_numpy(zero_copy_only=False)
        self.arity = self._arguments.counts

    def arguments(self, which: Flags, first: int, last: int) -> Ints:
        """Arguments first to last - 1 of some steps in their units, OFF where there is none: int64[k, last - first]."""
        do, arity, starts = self.do[which], self.arity[which], self._arguments.starts[which]
        found = np.empty((len(do), last - first), np.int64)
        for i in range(first, last):
            raw, there = np.full(len(do), np.nan), arity > i
            raw[there] = self._values[starts[there] + i]
            found[:, i - first] = np.where(_WHOLE[do, i], _in_unit(raw, 1), _in_unit(raw, MICRO))
        return found

    def columns(self, which: Flags) -> dict[str, Any]:
        """Kind, arity and first arguments of some."""
        return {"step": self.do[which], "arity": self.arity[which], "args": self.arguments(which, 0, 2)}


_WHOLE = np.array(
    [
        # A box's numbers are whole; weights, of which there is any number, are decimals.
        [kind.args[i] == "int" if i < len(kind.args) else kind.boxed for i in range(MAX_ARGS)]
        for kind in STEPS.values()
    ]
)
_INT32 = 2**31 - 1


def _whole(column: Any) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else pa.array([], column.type)


def _numbers(column: Any) -> Ints:
    """A column of small numbers or truths, OTHER where it is null or below zero."""
    values: Ints = pc.fill_null(column.cast(pa.int64()), OTHER).to_numpy(zero_copy_only=False)
    return np.maximum(values, OTHER)


def _codes(names: Any, known: Mapping[str, int]) -> Ints:
    """Codes of a dictionary-encoded column of names."""
    codes = np.array([*(known.get(name, OTHER) for name in names.dictionary.to_pylist()), OTHER], np.int64)
    places: Ints = pc.fill_null(names.indices, len(codes) - 1).to_numpy(zero_copy_only=False)
    return codes[places]


def _single(codes: Ints, lists: _List) -> Ints:
    """The code that all entries of a row have."""
    first = lists.entry(codes, 0)
    odd = np.bincount(lists.of[codes != first[lists.of]], minlength=len(first))
    return np.where(odd == 0, first, OTHER)


def _in_unit(values: NDArray[np.float64], unit: int) -> Ints:
    """Numbers in 1/unit, OFF where they are not whole in it."""
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.rint(values * unit)
        good = (np.abs(scaled) < 1 << 52) & (scaled / unit == values)
    return np.where(good, np.where(good, scaled, 0).astype(np.int64), OFF)


# ── steps ─────────────────────────────────────────────────────────────────────────────────────────


def _parsed(texts: Any, damage: Callable[[int], Damage]) -> Any:
    """The steps of n texts as an Arrow list column. damage: what to raise for a row."""
    if (found := _parse(texts)) is not None:
        return found
    low, high = 0, len(texts)
    # The half that cannot be read, again and again, ends at a row that cannot.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _parse(texts.slice(low, middle - low)) is not None else (low, middle)
    raise damage(low)


def _parse(texts: Any) -> Any | None:
    """None unless every text is the JSON of steps."""
    if not len(texts):
        return pa.array([], _STEPS)
    if texts.null_count or pc.max(pc.binary_length(texts)).as_py() > LONGEST_STEPS:
        return None
    if pc.any(pc.match_substring_regex(texts, "[\r\n]")).as_py():
        return None
    from pyarrow import json  # noqa: PLC0415 - only who parses waits for it

    lines = pc.binary_join_element_wise('{"s":', texts, "}\n", "")
    begin, end = np.frombuffer(lines.buffers()[1], np.int32)[[lines.offset, lines.offset + len(lines)]].tolist()
    text = lines.buffers()[2].slice(begin, end - begin)
    try:
        table = json.read_json(
            pa.BufferReader(text),
            read_options=json.ReadOptions(block_size=1 << 22),
            parse_options=json.ParseOptions(explicit_schema=_LINE, unexpected_field_behavior="error"),
        )
    except pa.ArrowException:
        return None
    column = table["s"].combine_chunks()
    good = len(table) == len(texts) and not column.null_count and not _has_nulls(column.flatten())
    return column if good else None


def _has_nulls(steps: Any) -> bool:
    parts = [steps, *(steps.field(name) for name in ("args", "do", "src")), steps.field("args").flatten()]
    return any(part.null_count for part in parts)


def _bad_steps(catalog: Catalog, which: Variants, row: int) -> Damage:
    bake = catalog.bake
    view, number = which.view(row), int(which.numbers[row])
    file, _ = bake.index(view, number, int(bake.blocks[which.positions[row]]))
    return Damage(f"{file.name} in {bake.shelf.name}: the steps of {which.key(row)} are none: {RESTORE}")
