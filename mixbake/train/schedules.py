"""The learning rate: a pure function of the step, so that a run that goes on has nothing to restore.

Rule: a schedule is checked whole when it is made; what it gives never depends on which steps were asked before.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from mixbake.errors import UsageError

_FACTORS = (1.0, 0.1, 0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """kind: one of `SCHEDULES`. peak: the highest learning rate. steps_per_epoch: optimizer steps in a pass.

    final: what "cosine" falls to; the others do not use it. warmup_steps: how many steps rise to the peak,
    before what `kind` says. Raises UsageError when these do not go together.
    """

    kind: str
    peak: float
    epochs: int
    steps_per_epoch: int
    final: float = 1e-6
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise UsageError(f"schedule is one of {', '.join(SCHEDULES)}, not {self.kind!r}")
        if self.epochs < 1 or self.steps_per_epoch < 1:
            raise UsageError(
                f"a schedule needs at least 1 epoch of 1 step, not {self.epochs} epochs of {self.steps_per_epoch} steps"
            )
        if not 0 < self.peak < math.inf:
            raise UsageError(f"the learning rate must be above 0 and finite, not {self.peak}")
        if self.kind == "cosine" and not 0 <= self.final <= self.peak:
            raise UsageError(f"the final learning rate must be 0 to the highest, {self.peak}, not {self.final}")
        if self.kind == "steps" and self.epochs < len(_FACTORS):
            raise UsageError(f'schedule "steps" needs {len(_FACTORS)} epochs, not {self.epochs}: take "cosine"')
        room = self.third - 1 if self.kind == "steps" else self.total_steps - 1
        if not 0 <= self.warmup_steps <= room:
            raise UsageError(
                f"warm-up must be 0 to {room} steps in {self.epochs} epochs of {self.steps_per_epoch} steps with "
                f"schedule {self.kind!r}, not {self.warmup_steps}"
            )

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    @property
    def third(self) -> int:
        """Steps in a third of the epochs, whole epochs: the last third takes what is left."""
        return self.epochs // len(_FACTORS) * self.steps_per_epoch

    def at(self, step: int) -> float:
        """The learning rate of a step, 0 to total_steps - 1. Raises UsageError for another.

        The first W = warmup_steps steps rise along a line, peak · (step + 1) / (W + 1), so that step W has the peak
        (gradual warm-up: Goyal et al. 2017, arXiv 1706.02677, section 2.2).
        """
        if not 0 <= step < self.total_steps:
            raise UsageError(f"training has {self.total_steps} steps: there is no step {step}")
        if step < self.warmup_steps:
            return self.peak * (step + 1) / (self.warmup_steps + 1)
        return SCHEDULES[self.kind](self, step)


def _cosine(schedule: Schedule, step: int) -> float:
    """Half a cosine from the peak to final (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5; no restarts).

    It falls with every step, the first one having the peak, as in AugMix's and PixMix's code for CIFAR.
    """
    done = (step - schedule.warmup_steps) / (schedule.total_steps - schedule.warmup_steps)
    return schedule.final + (schedule.peak - schedule.final) * 0.5 * (1 + math.cos(done * math.pi))


def _steps(schedule: Schedule, step: int) -> float:
    """A tenth of the rate after each third of the epochs, as in AugMix's code for ImageNet."""
    return schedule.peak * _FACTORS[min(step // schedule.third, len(_FACTORS) - 1)]


def _constant(schedule: Schedule, _step: int) -> float:
    """The peak, always."""
    return schedule.peak


SCHEDULES: dict[str, Callable[[Schedule, int], float]] = {
    "cosine": _cosine,
    "steps": _steps,
    "constant": _constant,
}
