"""Recipes of one's own, the easy way: what a file brings that `--recipe FILE.py:NAME` loads.

NAME is a frozen dataclass, or a value of one. Each field with its default is a parameter: `--set` overrides it, the
manifest records it. `draw(self, rng, program)` writes the program of one variant; the last register written is the
result. What it reads besides its fields and `rng` must never change: it is called again wherever a variant is needed.
Stated in the class, where the default does not do:

    most: ClassVar[Most] = Most(steps=8, ops=8, blends=8, arguments=24)    the longest program
    uses_pictures, gray_pictures, mirrored_pictures: ClassVar[bool] = False    of the mixing set; gray; mirrored by ½
    symmetric: ClassVar[bool] = False    its mirror image is as likely as a result: the flip is left to the trainer
    family: ClassVar[str] = "own:" + the class's name    of the random stream; presets of one family are paired
    laws(self, size) -> Laws | None    exact probabilities of what it draws in images of that size (`recipes.laws`),
        which an audit tests it against; unused if the file brings steps, of which no law can speak

Tables of the file, OPS = {"name": Op(...)} and BLENDS = {"name": Blend(...)}, bring operations and blends: pure
functions of uint8 S×S×3, on read-only arrays, that return a new one. They are stored as `own:name` and recorded with
their versions: raise one whenever its function gives other pixels. Integer arithmetic gives the same pixels on every
CPU; for floating point nobody can promise that.

A dataclass that follows `recipes.recipe.Recipe`, with a compiled `fill`, does as well, and is faster.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixbake.core.blends import BLENDS
from mixbake.core.nearest import find_nearest
from mixbake.core.ops import CENTRE, OPS, STEPS, Unit
from mixbake.core.own import OWN_CODE, OwnStep
from mixbake.core.programs import Most, Programs, units_of
from mixbake.core.variant import MICRO, Number

Register = int
Bytes = NDArray[np.uint8]
T = TypeVar("T")

MOST = Most(steps=8, ops=8, blends=8, arguments=24)
"""The longest program of a recipe that does not say."""
_BUFFER = 16
_SHEARS = ("shear_x", "shear_y")


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """An operation of one's own: apply(image, *arguments) -> image.

    args: "micro" is a decimal with six places, from -2000 to 2000, "int" a whole number below 2^32; the first is the
    level that metadata show.
    """

    version: int
    apply: Callable[..., Bytes]
    args: tuple[Unit, ...] = ("micro",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """A blend of one's own: apply(current, partner, *arguments) -> image; args as in `Op`."""

    version: int
    apply: Callable[..., Bytes]
    args: tuple[Unit, ...] = ()


class Chance:
    """Random numbers of one variant: words of Philox at (key, image, number), as `core.kernels.words` takes them."""

    __slots__ = ("_philox", "_words")

    def __init__(self, key: NDArray[np.uint64], image: int, number: int) -> None:
        self._philox = np.random.Philox(key=key, counter=np.array([0, 0, image, number], np.uint64))
        self._words: list[int] = []

    def below(self, count: int) -> int:
        """A whole number from 0 to count - 1."""
        if not 1 <= (exact := index(count)) <= 1 << 62:
            raise ValueError(f"below({count}): nothing can be drawn from that many numbers")
        if not self._words:
            self._words = self._philox.random_raw(_BUFFER).tolist()[::-1]
        return (self._words.pop() * exact) >> 64

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + self.below(high - low + 1)

    def uniform(self, low: float, high: float) -> float:
        """A decimal with six places from low to high, both included."""
        return self.whole(_micro(low), _micro(high)) / MICRO

    def choice(self, values: Sequence[T]) -> T:
        """One of some values, all equally often."""
        return values[self.below(len(values))]

    def sign(self) -> int:
        """1 or -1."""
        return 1 - 2 * self.below(2)

    def seed(self) -> int:
        """Of the mask of a pixel or element blend."""
        return self.below(1 << 32)

    def shares(self, count: int) -> tuple[float, ...]:
        """Weights ~ Dirichlet(1, ..., 1), each a decimal with six places, together 1."""
        cuts = sorted(self.whole(0, MICRO) for _ in range(count - 1))
        return tuple((b - a) / MICRO for a, b in zip([0, *cuts], [*cuts, MICRO], strict=True))


class Program:
    """A program being written. size: side of the output in pixels; image, picture: the two registers it begins with.

    Arguments are rounded to six places; of built-in steps they are those of the table in ARCHITECTURE.md.
    """

    __slots__ = ("_blends", "_levels", "_ops", "_own", "_steps", "size")

    image: Register = 0
    picture: Register = 1

    def __init__(self, size: int, own: Mapping[str, tuple[int, OwnStep]]) -> None:
        self.size, self._own = size, own
        self._steps: list[tuple[int, list[int], list[int]]] = []
        self._ops: list[int] = []
        self._levels: list[int] = []
        self._blends: list[int] = []

    def op(self, name: str, x: Register, *arguments: Number) -> Register:
        """An operation on register x: rotate, degrees; shear_x, slope; posterize, bits kept; ...; or one's own.

        The first argument is its level. Shears hold the centre still, unless a second argument 0 names the corner.
        """
        if name in _SHEARS and len(arguments) == 1:
            arguments = (*arguments, CENTRE)
        step, code, units = self._kind(name, 1, len(arguments))
        written = self._append(step, [x], arguments, units)
        level = self._steps[-1][2][0] if arguments else 0
        self._ops.append(code)
        self._levels.append(level * MICRO if units[:1] == ("int",) else level)
        return written

    def blend(
        self,
        name: str,
        x1: Register,
        x2: Register,
        *arguments: Number,
        box: tuple[int, int, int, int] | None = None,
    ) -> Register:
        """A blend of two registers: arithmetic or geometric, a and b; pixel or element, p and a seed; or one's own.

        box: (left, top, width, height), outside of which a built-in blend leaves x1 as it is.
        """
        _, own = self._own.get(name, (0, None))
        if box is not None and own is not None and own.sources == 2:
            raise ValueError(f"{name} takes no box, as only built-in blends do: leave box away")
        given = (*arguments, *(box or ()))
        step, code, units = self._kind(name, 2, len(given))
        written = self._append(step, [x1, x2], given, units)
        self._blends.append(code)
        return written

    def weighted(self, *parts: tuple[Register, float]) -> Register:
        """A sum of registers, each with its weight, rounded once: `weighted((x, 0.25), (y, 0.75))`."""
        units = units_of("weighted", len(parts))
        return self._append(STEPS["weighted"].code, [x for x, _ in parts], [weight for _, weight in parts], units)

    def _kind(self, name: str, sources: int, arity: int) -> tuple[int, int, tuple[str, ...]]:
        """Number of the step, of the operation or blend, and units of so many arguments."""
        known = OPS if sources == 1 else BLENDS
        i, own = self._own.get(name, (0, None))
        if own is not None and own.sources == sources:
            if arity != len(own.args):
                raise ValueError(
                    f'{name} takes {len(own.args)} arguments, not {arity}: args=("int", "micro") declares a whole '
                    "number and a decimal"
                )
            return OWN_CODE + i, len(known) + i, own.args
        if name not in known or name not in STEPS:
            mine = [one for one, (_, step) in self._own.items() if step.sources == sources]
            names = [*mine, *(one for one in known if one in STEPS)]
            nearest = find_nearest(name, names)
            hint = f"did you mean {nearest}? Known are" if nearest else "known are"
            kind = "operation" if sources == 1 else "blend"
            raise ValueError(f"there is no {kind} {name!r}: {hint} {', '.join(names)}")
        return STEPS[name].code, known[name], units_of(name, arity)

    def _append(self, code: int, sources: list[Register], arguments: Sequence[Any], units: Sequence[str]) -> Register:
        written = len(self._steps) + 2
        if odd := [x for x in sources if not 0 <= index(x) < written]:
            raise ValueError(f"register {odd[0]} is not written yet: there are 0 to {written - 1}")
        values = [_whole(a) if unit == "int" else _micro(a) for a, unit in zip(arguments, units, strict=True)]
        self._steps.append((code, sources, values))
        return written

    def write(self, table: Programs, row: int, most: Most, *, pictures: bool, returned: Register | None) -> None:
        """Into a row of a table. Raises ValueError for what the recipe has not stated: too much, or a picture.

        returned: the register that `draw` gave back, if any.
        """
        if returned is not None and returned != (len(self._steps) + 1 if self._steps else 0):
            raise ValueError(f"draw returned {returned!r}, but the register written last is the result")
        used = Most(
            steps=len(self._steps),
            ops=len(self._ops),
            blends=len(self._blends),
            arguments=sum(len(values) for _, _, values in self._steps),
        )
        for name in Most.__slots__:
            if getattr(used, name) > getattr(most, name):
                raise ValueError(
                    f"the program has {getattr(used, name)} {name}, and the recipe's `most` allows "
                    f"{getattr(most, name)}: state most = Most(...) in its class"
                )
        reads = any(self.picture in sources for _, sources, _ in self._steps)
        if reads and not pictures:
            raise ValueError("the program reads a mixing picture: state uses_pictures = True in the recipe's class")
        if not reads:
            table.pictures[row, 0] = -1
        for i, (code, sources, values) in enumerate(self._steps):
            table.do[row, i], table.arities[row, i] = code, len(values)
            table.sources[row, i, : len(sources)] = sources
            table.args[row, i, : len(values)] = values
        table.lengths[row] = used.steps
        table.ops[row, : used.ops], table.levels[row, : used.ops] = self._ops, self._levels
        table.blends[row, : used.blends] = self._blends
        table.op_counts[row], table.blend_counts[row] = used.ops, used.blends


def _whole(value: Any) -> int:
    """A whole number, exactly. Raises TypeError for a decimal."""
    if abs(exact := index(value)) >= 1 << 32:
        raise ValueError(f"{value} is no argument: whole numbers are below 2^32")
    return exact


def _micro(value: Number) -> int:
    """A number in 1e-6, rounded."""
    if not math.isfinite(value) or abs(value) > 1e6:
        raise ValueError(f"{value} is no argument: numbers are finite, and below a million")
    return round(value * MICRO)
