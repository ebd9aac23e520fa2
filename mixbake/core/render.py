"""The interpreter: (variant, image, picture) -> pixels. One at a time, or a block of small images at once.

Both ways run the same compiled function, so they give the same bytes. Kernels check nothing; every shape, box and
register is checked (`core.checks`) before one is called. A program with steps that are not mixbake's is run step by
step, through the same registers. Rule: no randomness, no state but scratch memory.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core import programs
from mixbake.core.checks import check_arguments, check_crops, check_image, check_rows
from mixbake.core.kernels import program
from mixbake.core.kernels.resize import work_words
from mixbake.core.nearest import advise
from mixbake.core.ops import STEPS
from mixbake.core.own import OWN_CODE, OwnStep
from mixbake.core.programs import Programs, source_count, units_of
from mixbake.core.variant import Crop, Number, Step, Variant
from mixbake.errors import UsageError

Bytes = NDArray[np.uint8]


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view. numba compiles read-only and writable arrays apart: inputs are all one kind."""
    view = array.view()
    view.flags.writeable = False
    return view


def flat_pictures(
    pixels: Bytes, offsets: NDArray[np.int64], shapes: NDArray[np.int32], channels: int
) -> program.Pictures:
    """Prepared pictures as kernels take them: see `core.kernels.program.Pictures`."""
    return frozen(pixels), frozen(offsets), frozen(shapes), channels


NO_PICTURES = flat_pictures(np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros((0, 2), np.int32), 1)
"""The mixing set of a recipe that uses none."""

_FIRST = np.zeros(1, np.int64)
_NOWHERE = np.zeros((1, 0), np.uint8)
"""No output: the result is read where it was made, in its register."""


class Canvas:
    """Scratch memory for one output size, used again for every variant: registers, packed pixels, tables."""

    __slots__ = ("_limits", "scratch", "size")

    def __init__(self, size: int, *, registers: int = 7) -> None:
        if not 1 <= size <= 2048:
            raise UsageError(f"size {size} is out of range: 1 to 2048 pixels")
        self.size = size
        self._limits = (registers, size, size)
        self.scratch = self._allocate()

    def _allocate(self) -> program.Scratch:
        registers, height, width = self._limits
        length = self.size * self.size * 3
        return (
            np.zeros((registers, length), np.uint8),
            np.zeros(self.size * self.size, np.uint64),
            np.zeros((6, 256), np.int32),
            np.zeros((3, 256), np.uint8),
            np.zeros(256, np.float32),
            np.zeros(256, np.float32),
            np.zeros(length, np.uint32),
            np.zeros(work_words(width, height, self.size), np.uint64),
        )

    def reserve(self, *, registers: int = 0, height: int = 0, width: int = 0) -> None:
        """Make room for programs with that many registers and source images of that size."""
        wanted = tuple(map(max, self._limits, (registers, height, width)))
        if wanted != self._limits:
            self._limits = wanted[0], wanted[1], wanted[2]
            self.scratch = self._allocate()


class _Canvases(threading.local):
    """The last canvas of each thread: kernels run without the GIL, so threads must not share scratch."""

    def __init__(self) -> None:
        self.canvas = Canvas(1)

    def of(self, size: int) -> Canvas:
        if self.canvas.size != size:
            self.canvas = Canvas(size)
        return self.canvas


_CANVASES = _Canvases()


def render(
    variant: Variant, image: Bytes, picture: Bytes | None = None, *, size: int, own: Sequence[OwnStep] = ()
) -> Bytes:
    """Pixels of one variant.

    image: uint8 H×W×3, the whole source. picture: uint8 h×w×1 or h×w×3, the prepared mixing picture that
    `variant.picture` names (its id is not looked up here). own: what renders steps that are not mixbake's. Returns
    uint8 size×size×3. Raises UsageError when a shape, box or step does not fit.
    """
    table = programs.from_variants([variant], own=own)
    pictures = NO_PICTURES
    if table.pictures[0, 0] >= 0:
        if picture is None:
            raise UsageError(f"variant {variant.key} mixes with picture {table.pictures[0, 0]}: pass its pixels")
        table.pictures[0, 0] = 0
        pictures = as_pictures([picture])
    return next(render_each(table, [image], pictures, _CANVASES.of(size))).copy()


def as_pictures(pictures: Sequence[Bytes]) -> program.Pictures:
    """Flat form of prepared pictures, each uint8 h×w×c, c the same for all (1 or 3)."""
    if len({picture.shape[2:] for picture in pictures}) > 1:
        raise UsageError("prepared pictures of one set have the same number of channels")
    for picture in pictures:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3):
            raise UsageError(f"a prepared picture is uint8 h×w×1 or h×w×3, not {picture.dtype} {picture.shape}")
    sizes = np.array([picture.size for picture in pictures], np.int64)
    return flat_pictures(
        np.concatenate([picture.reshape(-1) for picture in pictures]),
        np.cumsum(sizes) - sizes,
        np.array([picture.shape[:2] for picture in pictures], np.int32),
        int(pictures[0].shape[2]),
    )


def render_each(
    table: Programs, images: Sequence[Bytes], pictures: program.Pictures, canvas: Canvas
) -> Iterator[Bytes]:
    """Rows of a table one by one, row i from images[i] (uint8 H×W×3 of any size).

    Yields uint8 size×size×3 in memory that the next row overwrites: fresh memory costs more than rendering.
    """
    for image in images:
        check_image(image)
    shapes = np.array([image.shape[:2] for image in images], np.int32).reshape(-1, 2)
    if len(shapes) != len(table):
        raise UsageError(f"{len(table)} programs need as many images, not {len(shapes)}")
    check_rows(table, shapes, pictures, canvas.size)
    height, width = shapes.max(axis=0, initial=1).tolist()
    canvas.reserve(registers=table.do.shape[1] + 3, height=height, width=width)
    registers = canvas.scratch[0].reshape(-1, canvas.size, canvas.size, 3)
    columns = table.columns
    results, own = np.where(table.lengths > 0, table.lengths + 1, 0).tolist(), has_own_steps(table).tolist()
    for row, image in enumerate(images):
        if own[row]:
            _run_own(table, row, image, pictures, canvas)
        else:
            program.run_stack(
                columns, row, frozen(image[None]), _FIRST, pictures, canvas.size, canvas.scratch, _NOWHERE
            )
        yield registers[results[row]]


def render_stack(
    table: Programs, images: Bytes, which: NDArray[np.int64], pictures: program.Pictures, canvas: Canvas
) -> Bytes:
    """All rows of a table in one compiled call, if all steps are mixbake's; the same bytes as `render_each` row by row.

    images: uint8 m×H×W×3; which: int64[n], the image of each row. Returns uint8 n×size×size×3.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.flags.c_contiguous:
        raise UsageError(f"images must be contiguous uint8 m×H×W×3, not {images.dtype} {images.shape}")
    if len(which) != len(table) or (len(which) and not 0 <= which.min() <= which.max() < len(images)):
        raise UsageError(f"`which` must hold {len(table)} numbers below {len(images)}")
    shapes = np.broadcast_to(np.array(images.shape[1:3], np.int32), (len(table), 2))
    check_rows(table, shapes, pictures, canvas.size)
    canvas.reserve(registers=table.do.shape[1] + 3, height=images.shape[1], width=images.shape[2])
    size = canvas.size
    out = np.empty((len(table), size * size * 3), np.uint8)
    result = out.reshape(len(table), size, size, 3)
    if table.own and has_own_steps(table).any():
        each = (images[i] for i in which.tolist())
        for row, pixels in enumerate(render_each(table, list(each), pictures, canvas)):
            result[row] = pixels
    else:
        program.run_stack(table.columns, 0, frozen(images), which, pictures, size, canvas.scratch, out)
    return result


def has_own_steps(table: Programs) -> NDArray[np.bool_]:
    """Whether each row has a step that is not mixbake's: bool[n]."""
    used = np.arange(table.do.shape[1]) < table.lengths[:, None]
    found: NDArray[np.bool_] = np.any(used & (table.do >= OWN_CODE), axis=1)
    return found


def _run_own(table: Programs, row: int, image: Bytes, pictures: program.Pictures, canvas: Canvas) -> None:
    """One row, step by step; its registers are as `program.run_stack` leaves them."""
    crops, flips, chosen, lengths, *rest = table.columns
    size, scratch = canvas.size, canvas.scratch
    # Without steps, the compiled function lays the first two registers.
    bare = crops, flips, chosen, np.zeros_like(lengths), *rest
    program.run_stack(bare, row, frozen(image[None]), _FIRST, pictures, size, scratch, _NOWHERE)
    registers, variant = scratch[0].reshape(-1, size, size, 3), table.variant(row)
    for i, code in enumerate(table.do[row, : lengths[row]].tolist()):
        sources, args = table.sources[row, i], table.args[row, i]
        if code < OWN_CODE:
            program.run_single_step(code, sources, args, int(table.arities[row, i]), i + 2, size, scratch)
            continue
        own, step = table.own[code - OWN_CODE], variant.steps[i]
        if own.apply is None:
            raise UsageError(f"{own.name} is not mixbake's: rendering it needs the recipe that brings it")
        registers[i + 2] = own.apply([frozen(registers[s]) for s in step.src], step.args, variant.key)


def apply(do: str, registers: Sequence[Bytes], args: Sequence[Number] = ()) -> Bytes:
    """One step on its own: uint8 S×S×3 registers, as many as the step reads; returns a new register.

    Raises UsageError on an unknown step, wrong counts, unequal shapes, or arguments out of range.
    """
    if do not in STEPS:
        raise UsageError(f"unknown step {do!r}: {advise(do, STEPS)}")
    size = _common_size(registers)
    table = programs.empty(1, view="mix", recipe="", steps=1, ops=1, blends=1)
    expected = source_count(do, len(args))
    if len(registers) != expected:
        raise UsageError(f"step {do} reads {expected} registers, not {len(registers)}")
    # Register numbers are checked against step 0, which may read two; a weighted sum here reads more.
    units_of(do, len(args))
    programs.write_step(table, 0, 0, Step(do=do, src=(0,) * expected, args=tuple(args)))
    table.sources[0, 0, :expected] = range(expected)
    table.lengths[0] = 1
    check_arguments(table, size)
    canvas = Canvas(size, registers=expected + 1)
    for i, register in enumerate(registers):
        canvas.scratch[0][i] = register.reshape(-1)
    arity = int(table.arities[0, 0])
    program.run_single_step(
        int(table.do[0, 0]), table.sources[0, 0], table.args[0, 0], arity, expected, size, canvas.scratch
    )
    result: Bytes = canvas.scratch[0][expected]
    return result.reshape(size, size, 3).copy()


def crop(image: Bytes, window: Crop, size: int, flip: bool = False) -> Bytes:
    """The window of image (uint8 H×W×3) as uint8 size×size×3, mirrored when `flip`."""
    check_image(image)
    row = programs.crop_row(window)[None]
    check_crops(row, np.array([image.shape[:2]], np.int32), size)
    canvas = Canvas(size, registers=3)
    canvas.reserve(height=image.shape[0], width=image.shape[1])
    out = np.empty((size, size, 3), np.uint8)
    program.run_crop(frozen(image), row[0], int(flip), size, canvas.scratch, out.reshape(-1))
    return out


def fitted(image: Bytes, *, crop_kind: str, size: int) -> Bytes:
    """The image (uint8 H×W×3) as its crops are taken from: for padded crops ("pad") the central square at size×size.

    Any other kind of crop is taken from the image as it is.
    """
    height, width = image.shape[:2]
    if crop_kind != "pad" or (height, width) == (size, size):
        return image
    side = min(height, width)
    square = Crop(kind="fit", left=(width - side) // 2, top=(height - side) // 2, width=side, height=side)
    return crop(image, square, size)


def _common_size(registers: Sequence[Bytes]) -> int:
    for register in registers:
        check_image(register)
    shapes = {register.shape for register in registers}
    if len(shapes) != 1 or (shape := shapes.pop())[0] != shape[1]:
        raise UsageError(f"registers must be square and alike, not {sorted(r.shape for r in registers)}")
    return int(shape[0])
