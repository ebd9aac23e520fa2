"""What kernels trust of a table of programs, as columns: windows, kinds of step, registers, arguments, boxes.

Kernels check nothing: what is not refused here is run. `core.kernels.bounds` asks the same, compiled, without saying
what is wrong. Rule: a number is compared before anything is looked up or summed by it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.kernels import codes, program
from mixbake.core.ops import STEP_NAMES, STEPS
from mixbake.core.own import MOST_LEVEL, OWN_CODE, RANGES
from mixbake.core.programs import Most, Programs
from mixbake.errors import UsageError

Bytes = NDArray[np.uint8]


def check_image(image: Bytes) -> None:
    """Raise UsageError unless image is contiguous uint8 H×W×3 with H, W >= 1."""
    good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0
    if not good or not image.flags.c_contiguous:
        raise UsageError(f"an image must be contiguous uint8 H×W×3, not {image.dtype} {image.shape}")


def check_rows(table: Programs, shapes: NDArray[np.int32], pictures: program.Pictures, size: int) -> None:
    """Raise UsageError unless every window and step stays inside its image, picture and registers.

    shapes: int32[n, 2], height and width of each row's image.
    """
    check_crops(table.crops, shapes, size)
    _check_pictures(table.pictures, pictures, size)
    check_steps(table, size)


def _refuse(bad: Any, what: str, values: NDArray[Any]) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise UsageError(f"{what}: {values[first].tolist()}")


def check_crops(crops: NDArray[np.int32], shapes: NDArray[np.int32], size: int) -> None:
    """Raise UsageError unless every window (int32[n, 5]) can be cut from an image of its shape (int32[n, 2])."""
    kind, left, top, wide, high = crops.T.astype(np.int64)
    height, width = shapes.T
    padded = kind == codes.CROP_PAD
    _refuse((kind < 0) | (kind > codes.CROP_FIT), "unknown kind of crop (kind, left, top, width, height)", crops)
    _refuse(padded & ((wide != size) | (high != size)), f"a padded crop must be {size}×{size}", crops)
    far = (abs(left) > 4 * (size + width)) | (abs(top) > 4 * (size + height))
    outside = (left < 0) | (top < 0) | (wide < 1) | (high < 1) | (left + wide > width) | (top + high > height)
    _refuse(np.where(padded, far, outside), "a crop (kind, left, top, width, height) outside its image", crops)


def _check_pictures(chosen: NDArray[np.int32], pictures: program.Pictures, size: int) -> None:
    pixels, offsets, shapes, channels = pictures
    used = chosen[chosen[:, 0] >= 0].astype(np.int64)
    if not len(used):
        return
    _refuse(used[:, 0] >= len(shapes), f"a picture that is not in the mixing set of {len(shapes)}", used)
    high, wide = shapes[used[:, 0]].T
    left, top = used[:, 1], used[:, 2]
    outside = (left < 0) | (top < 0) | (left + size > wide) | (top + size > high)
    _refuse(outside, f"a {size}×{size} window outside its mixing picture", used)
    ends = offsets[used[:, 0]] + high.astype(np.int64) * wide * channels
    _refuse(ends > len(pixels), "a mixing picture that ends outside its file", used)


_SOURCE_COUNTS = np.zeros(max(STEP_NAMES) + 1, np.int64)
"""Registers that each step kind reads, by code; 0 for one a weight."""
_TAKES = np.zeros((len(_SOURCE_COUNTS), codes.MAX_ARGS + 1), np.bool_)
"""Whether each step kind takes so many arguments."""
for _kind in STEPS.values():
    _SOURCE_COUNTS[_kind.code] = _kind.sources
    # A weighted sum takes any number of weights, a blend four more for its box.
    _TAKES[_kind.code, len(_kind.args)] = True
    _TAKES[_kind.code, len(_kind.args) :] |= _kind.sources == 0
    _TAKES[_kind.code, len(_kind.args) + 4 * _kind.boxed] = True

_RANGES: dict[int, tuple[tuple[int, int], ...]] = {
    codes.ROTATE: ((-180_000_000, 180_000_000),),
    codes.SHEAR_X: ((-4_000_000, 4_000_000), (0, 1)),
    codes.SHEAR_Y: ((-4_000_000, 4_000_000), (0, 1)),
    codes.TRANSLATE_X: ((-2_000_000_000, 2_000_000_000),),
    codes.TRANSLATE_Y: ((-2_000_000_000, 2_000_000_000),),
    codes.POSTERIZE: ((0, 8),),
    codes.SOLARIZE: ((0, 256),),
    codes.AUTOCONTRAST: ((0, 49_999_999),),
    codes.COLOR: ((0, 16_000_000),),
    codes.CONTRAST: ((0, 16_000_000),),
    codes.BRIGHTNESS: ((0, 16_000_000),),
    codes.SHARPNESS: ((0, 16_000_000),),
    codes.ARITHMETIC: ((-16_000_000, 16_000_000), (-16_000_000, 16_000_000)),
    codes.GEOMETRIC: ((0, 8_000_000), (-8_000_000, 8_000_000)),
    codes.PIXEL: ((0, 1_000_000), (0, 2**32 - 1)),
    codes.ELEMENT: ((0, 1_000_000), (0, 2**32 - 1)),
    codes.WEIGHTED: ((-16_000_000, 16_000_000),) * codes.MAX_ARGS,
}
"""Least and greatest argument of each step kind, in its unit: inside them no kernel overflows."""


def limits() -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """What `check_rows` holds steps to, for kernels; the first index is the kind of step.

    int64[kinds]: registers that it reads, 0 for one a weight, -1 for no step. bool[kinds, MAX_ARGS + 1]: whether it
    takes so many arguments. int64[kinds, MAX_ARGS, 2]: least and greatest of each.
    """
    counts = np.full(len(_SOURCE_COUNTS), -1, np.int64)
    counts[[kind.code for kind in STEPS.values()]] = [kind.sources for kind in STEPS.values()]
    ends = np.empty((len(counts), codes.MAX_ARGS, 2), np.int64)
    ends[:] = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    for code, ranges in _RANGES.items():
        ends[code, : len(ranges)] = ranges
    return counts, _TAKES, ends


def check_programs(table: Programs, most: Most, size: int) -> None:
    """Raise UsageError unless rows are such that they can be rendered, written as JSON and indexed.

    For programs that code of one's own wrote into the columns; most: the bounds that it states.
    """
    check_steps(table, size)
    active = _active(table)
    arguments = np.where(active, table.arities, 0).sum(axis=1)
    _refuse(arguments > most.arguments, f"more arguments than the {most.arguments} of the recipe's `most`", arguments)
    unread = (table.pictures[:, 0] >= 0) & ~_reads(table, active, 1).any(axis=1)
    _refuse(unread, "a program names a picture that it does not read: its picture id must be -1", table.pictures)
    for what, numbers, counts, names in (
        ("an operation", table.ops, table.op_counts, table.op_names),
        ("a blend", table.blends, table.blend_counts, table.blend_names),
    ):
        places = numbers.shape[1]
        _refuse((counts < 0) | (counts > places), f"{what}: their count is outside 0..{places}", counts)
        used = np.arange(places) < counts[:, None]
        odd = used & ((numbers < 0) | (numbers >= len(names)))
        _refuse(odd.any(axis=1), f"{what} of no name (their numbers)", numbers)
    used = np.arange(table.levels.shape[1]) < table.op_counts[:, None]
    far = used & ((table.levels < -MOST_LEVEL) | (table.levels > MOST_LEVEL))
    _refuse(far.any(axis=1), f"a level is outside ±{MOST_LEVEL} (units of 1e-6)", table.levels)


def check_steps(table: Programs, size: int) -> None:
    """Raise UsageError unless every step's registers, arguments, box and picture are such that kernels can run it."""
    most = table.do.shape[1]
    _refuse((table.lengths < 0) | (table.lengths > most), f"a program's length is outside 0..{most}", table.lengths)
    active = _active(table)
    do = np.where(active, table.do, 0)
    kinds = [*STEP_NAMES, *range(OWN_CODE, OWN_CODE + len(table.own))]
    _refuse((active & ~np.isin(do, kinds)).any(axis=1), "a step of no kind (their numbers)", do)
    counted = (table.arities >= 0) & (table.arities <= codes.MAX_ARGS)
    taken = counted & _takes(table)[do, np.where(counted, table.arities, 0)]
    _refuse((active & ~taken).any(axis=1), "a step with more or fewer arguments than it takes", table.arities)
    written = np.arange(2, most + 2)[:, None]
    unwritten = _named(table, active) & ((table.sources < 0) | (table.sources >= written))
    _refuse(unwritten.any(axis=(1, 2)), "a step reads a register that is not written before it", table.sources)
    pictured = table.pictures[:, 0] >= 0
    _refuse(_reads(table, active, 1).any(axis=1) & ~pictured, "a program reads a picture that it does not name", do)
    check_arguments(table, size)


def check_arguments(table: Programs, size: int) -> None:
    """Raise UsageError unless arguments and boxes are in range; kinds of steps and their counts are right already."""
    active = _active(table)
    for code in np.unique(table.do[active]).tolist():
        here = active & (table.do == code)
        values, arity = table.args[here], table.arities[here]
        own = table.own[code - OWN_CODE] if code >= OWN_CODE else None
        name = own.name if own else STEP_NAMES[code]
        ranges = tuple(RANGES[unit] for unit in own.args) if own else _RANGES.get(code, ())
        for k, (low, high) in enumerate(ranges):
            bad = (k < arity) & ((values[:, k] < low) | (values[:, k] > high))
            _refuse(bad, f"argument {k} of step {name} is outside {low}..{high} (units of 1e-6, or whole)", values)
        if codes.ARITHMETIC <= code < codes.WEIGHTED:
            _check_boxes(values[arity == 6][:, 2:6], size)


def _active(table: Programs) -> NDArray[np.bool_]:
    """Which places hold a step: bool[n, S]."""
    active: NDArray[np.bool_] = np.arange(table.do.shape[1]) < table.lengths[:, None]
    return active


def _takes(table: Programs) -> NDArray[np.bool_]:
    """`_TAKES`, with the table's own steps behind."""
    own = [np.arange(codes.MAX_ARGS + 1) == len(one.args) for one in table.own]
    return np.stack([*_TAKES, *own])


def _named(table: Programs, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which entries of `sources` name a register that a step reads: bool[n, S, 8]."""
    of_kind = np.append(_SOURCE_COUNTS, [one.sources for one in table.own]).astype(np.int64)
    counts = of_kind[np.where(active, table.do, 0)]
    counts = np.where(active, np.where(counts > 0, counts, table.arities), 0)
    named: NDArray[np.bool_] = np.arange(codes.MAX_SOURCES) < counts[:, :, None]
    return named


def _reads(table: Programs, active: NDArray[np.bool_], register: int) -> NDArray[np.bool_]:
    """Which steps read a register: bool[n, S]."""
    reads: NDArray[np.bool_] = (_named(table, active) & (table.sources == register)).any(axis=2)
    return reads


def _check_boxes(boxes: NDArray[np.int64], size: int) -> None:
    # One by one before the sums: a sum of huge numbers would wrap around.
    _refuse(((boxes < 0) | (boxes > size)).any(axis=1), f"a blend's box outside its {size}×{size} register", boxes)
    left, top, width, height = boxes.T
    outside = (width < 1) | (height < 1) | (left + width > size) | (top + height > size)
    _refuse(outside, f"a blend's box outside its {size}×{size} register", boxes)
