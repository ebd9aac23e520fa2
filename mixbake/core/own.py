"""Steps that are not mixbake's: what programs, JSON and indexes say of somebody's own operations and blends.

Such a step is stored as `own:NAME`, so that nobody takes it for a built-in one, of this version or of a later one; its
arguments say themselves whether they are whole (3) or decimals (3.0). Rule: reading needs no function, rendering does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixbake.core.kernels import codes
from mixbake.core.ops import OWN_NAME, STEP_NAMES, STEPS, Unit
from mixbake.core.variant import MICRO, Number, Step, Variant
from mixbake.errors import UsageError

OWN_CODE = max(STEP_NAMES) + 1
"""Number of the first step of one's own in a table of programs; numbers of steps are stored nowhere."""
MOST_OWN = 64
"""Operations and blends that a recipe may bring: their numbers fit in int8 columns."""
RANGES: dict[Unit, tuple[int, int]] = {
    "int": (-(2**32) + 1, 2**32 - 1),
    "micro": (-2_000_000_000, 2_000_000_000),
}
"""Least and greatest argument of such a step, in its unit: JSON members are long enough for these."""
MOST_LEVEL = RANGES["int"][1] * MICRO
"""Greatest level, in 1e-6: that of an operation whose first argument is whole."""

Apply = Callable[[Sequence[NDArray[np.uint8]], Sequence[Number], str], NDArray[np.uint8]]
"""(registers uint8 S×S×3, arguments, key of the variant) -> uint8 S×S×3, checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnStep:
    """An operation (one source) or a blend (two). name: as stored, `own:vignette`. args: units of its arguments.

    apply: what renders it, or None where only JSON has been read.
    """

    name: str
    sources: int
    args: tuple[Unit, ...]
    apply: Apply | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what columns and JSON cannot hold."""
        if not OWN_NAME.fullmatch(self.name):
            raise UsageError(f"{self.name!r:.40} is no name of a step: write 1 to 16 of a-z, 0-9 and _, a letter first")
        if len(self.args) > codes.MAX_ARGS or not set(self.args) <= set(RANGES):
            raise UsageError(f"{self.name}: args {self.args}: at most {codes.MAX_ARGS}, each of {', '.join(RANGES)}")
        if self.sources not in (1, 2):
            raise UsageError(f"{self.name} reads {self.sources} registers: an operation reads one, a blend two")


def own_steps(variants: Iterable[Variant], known: Sequence[OwnStep]) -> tuple[OwnStep, ...]:
    """`known`, and after them what else stands in the variants, as it stands there. Raises UsageError."""
    found = {one.name: one for one in known}
    for variant in variants:
        for step in variant.steps:
            if step.do not in STEPS and step.do not in found:
                if not OWN_NAME.fullmatch(step.do):
                    raise UsageError(f"unknown step {step.do!r:.40}: known are {', '.join(STEPS)}, and own:NAME")
                units: tuple[Unit, ...] = tuple("int" if isinstance(value, int) else "micro" for value in step.args)
                found[step.do] = OwnStep(name=step.do, sources=len(step.src), args=units)
        # Of a program that was cut short the lists still tell of every use.
        for names, sources in ((variant.ops, 1), (variant.blends, 2)):
            for name in names:
                if OWN_NAME.fullmatch(name) and name not in found:
                    found[name] = OwnStep(name=name, sources=sources, args=())
    if len(found) > MOST_OWN:
        raise UsageError(f"{len(found)} steps of one's own: at most {MOST_OWN}")
    return tuple(found.values())


def sources_of(step: Step) -> int:
    """Registers that every step of its kind reads; 0 where it is one a weight."""
    return STEPS[step.do].sources if step.do in STEPS else len(step.src)
