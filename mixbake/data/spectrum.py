"""Noise with the spectrum, the wavelet marginals and the colours of a random model: `spectrum`.

The model "spectrum + colour + WMM" of Baradad et al., "Learning to See by Looking at Noise" (NeurIPS 2021): of each of
three channels, amplitudes fall as 1/f^α, oriented band-pass coefficients follow exp(−|x|^ρ), which is long-tailed, and
values have the distribution that a palette of a few colours has along its principal axes (`colourings`).
They start from noise and impose these in turns, by Fourier transforms and steerable pyramids. Here a field is made with
them: octave by octave, coefficients of that distribution are strewn as oriented wavelets, whose weights follow the law.
(Their α also differs a little between the two axes.)
Rule: fields are periodic, and an octave's numbers depend on nothing finer, so another side shows the same field.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit
from mixbake.core.kernels.lanes import cosine, exp2, log2, sine
from mixbake.core.rng import Word, stream
from mixbake.data.colourings import draw_colouring
from mixbake.data.quantised import raw_words, uniform
from mixbake.data.richness import PREVIEW, first_good, has_range

SPECTRUM_VERSION = 1
"""Raised whenever any picture changes, so that cached ones are drawn again."""

SLOPES = (0.5, 3.5)
"""Bounds of α."""

TAILS = (0.4, 0.8)
"""Bounds of ρ, drawn for each channel and octave; 2 would be Gaussian, 1 Laplacian."""

COARSEST = 4
"""Cells a side of the coarsest octave."""

ORIENTATIONS = 8
REACH = 2
"""A wavelet covers 2·REACH + 1 cells a side."""

TRIES = 16
"""Draws per number; few are too dark, light or even."""

QUANTILES = 4096
"""Entries of the table that turns uniform numbers into coefficients."""

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]
Reals = NDArray[np.float64]


def draw_spectrum(number: int, *, seed: int, side: int) -> Pixels:
    """Picture `number` of a seed, uint8 side×side×3: the first of its draws that has light and dark.

    Draw k comes from streams below ("spectrum", seed, number, k).
    """
    chosen = first_good(TRIES, lambda k: has_range(draw_texture(("spectrum", seed, number, k), PREVIEW)))
    return draw_texture(("spectrum", seed, number, chosen), side)


def draw_texture(path: tuple[Word, ...], side: int) -> Pixels:
    """One draw, good or weak, from streams below `path`: uint8 side×side×3, periodic if side is a power of two."""
    rng = stream(*path)
    slope = uniform(rng, *SLOPES)
    fields = np.stack([draw_field((*path, channel), side, slope=slope) for channel in range(3)])
    return draw_colouring(rng).paint(fields)


def draw_field(path: tuple[Word, ...], side: int, *, slope: float) -> Field:
    """A float32 side×side field whose amplitudes fall as 1/f^slope, from streams below `path`.

    Sides that are no power of two show the next one, sampled.
    """
    field = np.zeros((COARSEST // 2, COARSEST // 2), np.float32)
    octave = 0
    while len(field) < side:
        rng = stream(*path, octave)
        count = 2 * len(field)
        words = raw_words(rng, count * count // 8).view(np.uint32)
        table = _quantiles(uniform(rng, *TAILS))
        fine = np.zeros((count + 2 * REACH, count + 2 * REACH), np.float32)
        _strew(words, table, _wavelets(octave, slope), fine)
        _fold(fine)
        _enlarge(field, fine)
        field = np.ascontiguousarray(fine[REACH:-REACH, REACH:-REACH])
        octave += 1
    chosen = np.arange(side) * len(field) // side
    return field if side == len(field) else np.ascontiguousarray(field[np.ix_(chosen, chosen)])


def _wavelets(octave: int, slope: float) -> Field:
    """The wavelets of an octave, float32[2·ORIENTATIONS, 2·REACH + 1, 2·REACH + 1], even and odd, weighted by the law.

    An octave has four times the frequencies of the one below it. So with equal weights, that is equal variances,
    amplitudes fall as 1/f.
    """
    weighted: Field = (_unit_wavelets() * exp2((1.0 - slope) * octave)).astype(np.float32)
    return weighted


def _shape(u: float, v: float, odd: bool) -> float:
    """A wavelet's value at u across and v along it: a polynomial window, times u or a second difference."""
    window = max(0.0, 1.0 - u * u / 6.5) * max(0.0, 1.0 - v * v / 6.5)
    return window * window * (u if odd else 1.0 - 1.9 * u * u)


def _unit_wavelet(axis: tuple[float, float], odd: bool) -> Reals:
    """A wavelet without mean and with unit energy, across `axis`."""
    cells = [(x, y) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1)]
    values = [_shape(axis[0] * x + axis[1] * y, axis[0] * y - axis[1] * x, odd) for x, y in cells]
    bump = [_shape(0.0, math.sqrt(x * x + y * y), False) for x, y in cells]
    excess = math.fsum(values) / math.fsum(bump)
    even = [value - excess * weight for value, weight in zip(values, bump, strict=True)]
    energy = math.sqrt(math.fsum(value * value for value in even))
    return np.array([value / energy for value in even]).reshape(2 * REACH + 1, -1)


@cache
def _unit_wavelets() -> Reals:
    """Of every orientation, even and odd. Made when first asked for: they compile functions, which no import should."""
    angles = [math.pi * turn / ORIENTATIONS for turn in range(ORIENTATIONS)]
    axes = [(cosine(angle), sine(angle)) for angle in angles]
    return np.stack([_unit_wavelet(axis, odd) for axis in axes for odd in (False, True)])


@jit
def _quantiles(tail: float) -> Field:
    """Magnitudes of exp(−|x|^tail), cut off at exp(−9): QUANTILES equal steps of probability, mean square one."""
    steps = 2048
    # There exp(−x^tail) is 1e-4: what lies beyond would be a few huge wavelets.
    last = exp2(log2(9.0) / tail)
    ends = np.empty(steps)
    total = 0.0
    for i in range(steps):
        # Places lie ever farther apart, as the density is steep at 0.
        share = (i + 0.5) / steps
        place = last * share * share * share
        total += exp2(-1.4426950408889634 * exp2(tail * log2(place))) * share * share
        ends[i] = total
    out = np.empty(QUANTILES, np.float32)
    squares, i = 0.0, 0
    for k in range(QUANTILES):
        while i < steps - 1 and ends[i] < total * (k + 0.5) / QUANTILES:
            i += 1
        share = (i + 0.5) / steps
        value = last * share * share * share
        squares += value * value
        out[k] = value
    scale = 1.0 / np.sqrt(squares / QUANTILES)
    for k in range(QUANTILES):
        out[k] *= scale
    return out


@jit
def _strew(words: NDArray[np.uint32], table: Field, wavelets: Field, out: Field) -> None:
    """Add a wavelet at every other cell, like a chessboard's, of a random kind, sign and magnitude.

    out: float32[n + 2·REACH, n + 2·REACH]; words: uint32[n·n/4], a half for each.
    """
    count = len(out) - 2 * REACH
    cell = 0
    for row in range(count):
        for column in range(row & 1, count, 2):
            bits = (words[cell >> 1] >> np.uint32(16 * (cell & 1))) & np.uint32(0xFFFF)
            cell += 1
            kind = np.intp(bits & np.uint32(15))
            value = table[np.intp(bits >> np.uint32(4)) & (QUANTILES - 1)]
            for down in range(2 * REACH + 1):
                for across in range(2 * REACH + 1):
                    out[row + down, column + across] += value * wavelets[kind, down, across]


@inline
def _fold_rows(field: Field) -> None:
    count = len(field) - 2 * REACH
    for i in range(REACH):
        for column in range(field.shape[1]):
            field[count + i, column] += field[i, column]
            field[REACH + i, column] += field[count + REACH + i, column]


@jit
def _fold(field: Field) -> None:
    """Add what stands out of the middle of a field to the other side of it."""
    _fold_rows(field)
    _fold_rows(field.T)


@jit
def _enlarge(coarse: Field, out: Field) -> None:
    """Add a periodic field at twice its resolution, as a cubic spline has it, to the middle of `out`."""
    count = len(coarse)
    rows = np.empty((2 * count, count), np.float32)
    small, large, half = np.float32(0.125), np.float32(0.75), np.float32(0.5)
    for row in range(count):
        above, below = (row - 1) % count, (row + 1) % count
        for column in range(count):
            here = coarse[row, column]
            rows[2 * row, column] = small * (coarse[above, column] + coarse[below, column]) + large * here
            rows[2 * row + 1, column] = half * (here + coarse[below, column])
    for row in range(2 * count):
        for column in range(count):
            here, before, after = rows[row, column], rows[row, (column - 1) % count], rows[row, (column + 1) % count]
            out[REACH + row, REACH + 2 * column] += small * (before + after) + large * here
            out[REACH + row, REACH + 2 * column + 1] += half * (here + after)
