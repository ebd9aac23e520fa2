"""Escape-time and folding fractals: one orbit a pixel, summed up in a few numbers that are painted.

    escape   z <- f(z) + c until |z| > 64: Mandelbrot, Julia and kin, smooth count and orbit traps
    fold     a fixed number of foldings and inversions of the plane, never escaping: fills the frame

Smooth count: Peitgen and Richter, "The Beauty of Fractals" (1986). Foldings: the Kali set and the
Mandelbox in two dimensions.
Rule: kernels know geometry only; where to look is found by probing at low resolution first.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit

Field = NDArray[np.float32]
Plane = NDArray[np.float64]

FORMULAS = ("square", "cube", "ship", "tricorn", "celtic", "buffalo")
"""Escape maps, in the order of their codes in the kernel."""

FOLDINGS = ("kali", "box", "gasket")
"""Folding maps, in the order of their codes in the kernel."""

TRAPPED = 16
"""Steps during which an orbit is watched for the traps: later ones add grain, not shape."""

PROBE = 28
"""Side of the low-resolution look at a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A square of the plane: centre, half side, turn in radians, and how many mirrored sectors it shows (0: none)."""

    x: float
    y: float
    half: float
    turn: float = 0.0
    sectors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Orbit:
    """What is iterated: the formula's code, Julia constant or None (the pixel is the constant), most steps."""

    formula: int
    julia: tuple[float, float] | None
    steps: int


def plane(window: Window, side: int) -> tuple[Plane, Plane]:
    """Coordinates of every pixel, two float64 side×side arrays, after the window's turn and mirrors."""
    across: Plane = (np.arange(side, dtype=np.float64) + 0.5) * (2.0 / side) - 1.0
    x, y = np.empty((side, side)), np.empty((side, side))
    _place(across, window.sectors, math.cos(window.turn), math.sin(window.turn), x, y)
    x *= window.half
    y *= window.half
    x += window.x
    y += window.y
    return x, y


@jit
def _place(across: NDArray[np.float64], sectors: int, cosine: float, sine: float, x: Plane, y: Plane) -> None:
    sector = 2.0 * math.pi / max(sectors, 1)
    for row in range(len(across)):
        for column in range(len(across)):
            u, v = across[column], across[row]
            if sectors == 1:
                u = abs(u)
            elif sectors > 1:
                angle = math.atan2(v, u) / sector
                angle = abs(angle - math.floor(angle + 0.5)) * sector
                radius = math.sqrt(u * u + v * v)
                u, v = radius * math.cos(angle), radius * math.sin(angle)
            x[row, column] = cosine * u - sine * v
            y[row, column] = sine * u + cosine * v


@inline
def _least(a: float, b: float) -> float:
    """Minimum as one machine instruction: numba's own `min` branches to honour NaN."""
    if a < b:
        return a
    return b


@inline
def _advance(formula: int, x: float, y: float) -> tuple[float, float]:
    """f(z) of one escape map."""
    if formula == 1:
        return x * x * x - 3.0 * x * y * y, 3.0 * x * x * y - y * y * y
    real, imaginary = x * x - y * y, 2.0 * x * y
    if formula == 2:
        imaginary = abs(imaginary)
    elif formula == 3:
        imaginary = -imaginary
    elif formula == 4:
        real = abs(real)
    elif formula == 5:
        real, imaginary = abs(real), -abs(imaginary)
    return real, imaginary


@jit
def _escape(
    x: Plane, y: Plane, formula: int, julia: bool, jx: float, jy: float, steps: int, count: Field, trap: Field
) -> None:
    degree = math.log(3.0 if formula == 1 else 2.0)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            zx, zy = x[row, column], y[row, column]
            cx, cy = (jx, jy) if julia else (zx, zy)
            nearest, size, step = 1e9, zx * zx + zy * zy, 0
            while size < 4096.0 and step < TRAPPED:
                zx, zy = _advance(formula, zx, zy)
                zx, zy, step = zx + cx, zy + cy, step + 1
                size = zx * zx + zy * zy
                nearest = _least(nearest, _least(abs(size - 0.25), abs(zx * zy) * 4.0))
            while size < 4096.0 and step < steps:
                zx, zy = _advance(formula, zx, zy)
                zx, zy, step = zx + cx, zy + cy, step + 1
                size = zx * zx + zy * zy
            if size >= 4096.0:
                count[row, column] = step + 1.0 - math.log(0.5 * math.log(size) / 4.1588830833596715) / degree
            else:
                count[row, column] = -1.0
            trap[row, column] = math.sqrt(nearest)


def escape(orbit: Orbit, window: Window, side: int) -> tuple[Field, Field]:
    """Smooth step counts (-1 where the orbit stays) and root distances to the traps, float32 side×side each.

    The traps are the circle of radius 1/2 and the axes.
    """
    x, y = plane(window, side)
    count, trap = np.empty((side, side), np.float32), np.empty((side, side), np.float32)
    jx, jy = orbit.julia or (0.0, 0.0)
    _escape(x, y, orbit.formula, orbit.julia is not None, jx, jy, orbit.steps, count, trap)
    return count, trap


@inline
def _folded(folding: int, x: float, y: float, a: float, b: float, c: float) -> tuple[float, float, float]:
    """One folding of the plane: the new point and the factor it was scaled by."""
    if folding == 0:
        factor = 1.0 / (x * x + y * y + 1e-6)
        return abs(x) * factor - a, abs(y) * factor - b, factor
    if folding == 1:
        # |x + 1| - |x - 1| - x mirrors x at ±1.
        x, y = abs(x + 1.0) - abs(x - 1.0) - x, abs(y + 1.0) - abs(y - 1.0) - y
        size = x * x + y * y
        factor = c * (4.0 if size < 0.25 else 1.0 / size if size < 1.0 else 1.0)
        return x * factor + a, y * factor + b, abs(factor)
    x, y = x - 2.0 * math.floor(0.5 * x + 0.5), y - 2.0 * math.floor(0.5 * y + 0.5)
    factor = c / (x * x + y * y + 1e-6)
    return x * factor + 0.1 * a, y * factor + 0.1 * b, factor


@jit
def _fold(x: Plane, y: Plane, folding: int, a: float, b: float, c: float, steps: int, mean: Field, trap: Field) -> None:
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            zx, zy, scale = x[row, column], y[row, column], 1.0
            px, py = (zx, zy) if folding == 1 else (a, b)
            total, weight, nearest, size = 0.0, 1.0, 1e9, zx * zx + zy * zy
            for _ in range(steps):
                zx, zy, factor = _folded(folding, zx, zy, px, py, c)
                scale *= factor
                last, size = size, zx * zx + zy * zy
                # Early foldings are the coarse structure: later ones add detail of less and less weight.
                weight *= 0.72
                total += weight * _least(abs(size - last), 2.0)
                nearest = _least(nearest, _least(_least(abs(zx), abs(zy)), abs(size - 0.6)))
            mean[row, column] = total
            trap[row, column] = math.sqrt(nearest) + 0.02 * math.log(1.0 + scale)


def fold(
    folding: int, constants: tuple[float, float, float], steps: int, window: Window, side: int
) -> tuple[Field, Field]:
    """Weighted mean change of radius along the orbit, and root distance to the traps: float32 side×side each."""
    x, y = plane(window, side)
    mean, trap = np.empty((side, side), np.float32), np.empty((side, side), np.float32)
    _fold(x, y, folding, *constants, steps, mean, trap)
    return mean, trap


def zoom(rng: np.random.Generator, orbit: Orbit, window: Window, times: int) -> Window:
    """Zoom `times` times towards a random place of the boundary, as seen at PROBE resolution.

    The boundary is where the step count changes most: one of the 24 steepest pixels is the next centre.
    """
    for _ in range(times):
        count, _ = escape(orbit, window, PROBE)
        level = np.log(np.where(count < 0, np.float32(orbit.steps), np.maximum(count, 1)))
        steep = np.abs(np.diff(level, axis=0))[:, 1:] + np.abs(np.diff(level, axis=1))[1:]
        chosen = int(np.argsort(steep, axis=None, kind="stable")[-1 - int(rng.integers(24))])
        row, column = divmod(chosen, PROBE - 1)
        step = 2.0 * window.half / PROBE
        window = Window(
            x=window.x + (column + 1) * step - window.half,
            y=window.y + (row + 1) * step - window.half,
            half=window.half * rng.uniform(0.2, 0.5),
        )
    return window
