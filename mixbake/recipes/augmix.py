"""AugMix (arXiv 1912.02781): chains of operations on the crop, mixed with it by random weights.

    chain i   op(op(op(x)))                       `depth` operations, each drawn anew, with a level of its own
    result    (1 - t) · x + t · Σ w_i · chain_i    w ~ Dirichlet(alpha, ..., alpha), t ~ Beta(alpha, alpha)

The result is one weighted sum, rounded once. Rule: probabilities are exact integers, never floats.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import jit
from mixbake.core.kernels.codes import MAX_SOURCES
from mixbake.core.kernels.words import CURSOR_WORDS, below, median, seek
from mixbake.core.programs import Most, Programs
from mixbake.recipes import pil_law
from mixbake.recipes.pil_law import write_op
from mixbake.recipes.recipe import require_known, require_whole
from mixbake.recipes.writing import append_sum, draw_shares

DEPTHS = (1, 2, 3)
"""Of a chain, equally often, where depth is -1 (arXiv 1912.02781, section 3)."""
_LAWS = {"pil": pil_law.PIL, "composer": pil_law.COMPOSER}


@dataclass(frozen=True, slots=True, kw_only=True)
class AugMix:
    """AugMix's parameters.

    severity: m, of the levels, 0.1 to 10 (1 to 10 under the law composer). op_set: see `pil_law.SETS`. width: chains,
    1 to 7. depth: operations of a chain, 1 to 4, or -1 for 1, 2 or 3 by chance. alpha: of the Dirichlet and Beta laws,
    a whole number from 1 to 10. law: "pil" is the published code's, "composer" that of MosaicML's Composer.
    """

    family: ClassVar[str] = "augmix"
    symmetric: ClassVar[bool] = False
    mirrored_pictures: ClassVar[bool] = False

    severity: float = 3
    op_set: str = "safe9"
    width: int = 3
    depth: int = -1
    alpha: int = 1
    law: Literal["pil", "composer"] = "pil"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_known("law", self.law, _LAWS)
        pil_law.check(severity=self.severity, op_set=self.op_set, law=self.level_law)
        require_whole("width", self.width, 1, MAX_SOURCES - 1)
        if self.depth != -1:
            require_whole("depth (-1: 1, 2 or 3 by chance)", self.depth, 1, 4)
        # Dirichlet laws of other alpha need powers, whose last digits would have to be proven alike everywhere.
        require_whole("alpha", self.alpha, 1, 10)

    @property
    def level_law(self) -> int:
        """The law of levels, as `pil_law` numbers them."""
        return _LAWS[self.law]

    @property
    def depths(self) -> tuple[int, ...]:
        """How many operations a chain may have, all equally often."""
        return DEPTHS if self.depth == -1 else (self.depth,)

    @property
    def most(self) -> Most:
        """The longest program: every chain as deep as can be, and the sum."""
        ops = self.width * max(self.depths)
        return Most(steps=ops + 1, ops=ops, blends=1, arguments=2 * ops + self.width + 1)

    @property
    def uses_pictures(self) -> bool:
        """Never."""
        return False

    @property
    def gray_pictures(self) -> bool:
        """Not applicable: no pictures."""
        return False

    def fill(self, table: Programs, *, key: NDArray[np.uint64], size: int) -> None:
        """Write every row's program: see `mixbake.recipes.recipe.Recipe`."""
        _draw(
            key,
            table.images,
            table.numbers,
            pil_law.op_rows(self.op_set, severity=self.severity, law=self.level_law),
            size,
            self.level_law,
            np.array(self.depths, np.int64),
            self.width,
            self.alpha,
            table.steps,
            table.provenance,
        )


@jit
def _draw(
    key: NDArray[np.uint64],
    images: NDArray[np.int64],
    numbers: NDArray[np.int64],
    op_rows: NDArray[np.int64],
    side: int,
    law: int,
    depths: NDArray[np.int64],
    width: int,
    alpha: int,
    steps: Any,
    provenance: Any,
) -> None:
    """Fill the programs of all rows, each from its own stream."""
    cursor = np.zeros(CURSOR_WORDS, dtype=np.uint64)
    ends, registers = np.zeros(width, dtype=np.int64), np.zeros(width, dtype=np.int64)
    for row in range(len(images)):
        seek(cursor, key, images[row], numbers[row])
        draw_shares(cursor, width, alpha, ends)
        t = median(cursor, alpha)
        for chain in range(width):
            register = 0
            for _ in range(depths[below(cursor, len(depths))]):
                register = write_op(cursor, steps, provenance, row, register, op_rows, side, law)
            registers[chain] = register
        append_sum(steps, row, registers, ends, width, t)
