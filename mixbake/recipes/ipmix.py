"""IPMix (Huang et al., NeurIPS 2023): chains of operations, or of blends in patches, mixed with the crop.

    chain     image: up to t times op(chain), or patch: up to t times a blend of a box of the chain and of its partner;
              either kind equally often, the number of rounds uniform on 0..t
    box       P × P for a P of `patches`, or, equally often, width and height uniform on 2..P; in a P × P window
              that lies anywhere
    partner   the picture; or, equally often where partners is "both", op(x)
    result    (1 - s) · x + s · Σ w_i · chain_i, w ~ Dirichlet(1, ..., 1), s ~ U(0, 1)

The result is one weighted sum, rounded once. Rule: probabilities are exact integers, never floats.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import inline, jit
from mixbake.core.kernels.codes import MAX_SOURCES
from mixbake.core.kernels.lanes import MICRO
from mixbake.core.kernels.words import CURSOR_WORDS, below, seek, uniform
from mixbake.core.programs import Most, Programs
from mixbake.recipes import pil_law
from mixbake.recipes.pil_law import write_op
from mixbake.recipes.recipe import (
    require,
    require_beta,
    require_blend_weights,
    require_known,
    require_pictures,
    require_whole,
)
from mixbake.recipes.writing import PUBLISHED, append_blend, append_sum, draw_blend, draw_shares, limit_to_box

PICTURES, BOTH = 0, 1
_PARTNERS = {"pictures": PICTURES, "both": BOTH}
LEAST_PATCH, LARGEST_PATCH = 2, 1024
"""Sides of a patch; 2 is also the least side of a box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IPMix:
    """IPMix's parameters.

    severity: m, of the levels, 0.1 to 10. beta: of the blends' Beta laws, 0.01 to 100. op_set: see `pil_law.SETS`. k:
    chains, 1 to 7; t: rounds of a chain at most, 1 to 8, at most 16 rounds in all chains. patches: sides in pixels,
    ascending, 2 to 1024; those larger than the output are as large as it. partners: of a patch, "pictures" or "both".
    blend_weights: how often arithmetic, geometric, pixel, element are drawn, whole numbers. picture_colors: of mixing
    pictures, "gray" or "rgb". picture_flips: mirror them, either way with p = ½.
    """

    family: ClassVar[str] = "ipmix"
    symmetric: ClassVar[bool] = False

    severity: float = 3
    beta: float = 3
    op_set: str = "ipmix10"
    k: int = 3
    t: int = 3
    patches: tuple[int, ...] = (4, 8, 16, 32)
    partners: Literal["pictures", "both"] = "pictures"
    blend_weights: tuple[int, ...] = (1, 1, 1, 1)
    picture_colors: Literal["gray", "rgb"] = "rgb"
    picture_flips: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        pil_law.check(severity=self.severity, op_set=self.op_set)
        require_beta(self.beta)
        require_whole("k", self.k, 1, MAX_SOURCES - 1)
        require_whole("t", self.t, 1, 8)
        require(self.k * self.t <= 16, f"k {self.k} times t {self.t} is out of range: at most 16 rounds in all chains")
        for side in self.patches:
            require_whole("patches: a side of", side, LEAST_PATCH, LARGEST_PATCH)
        ascending = 0 < len(self.patches) <= 16 and list(self.patches) == sorted(set(self.patches))
        require(ascending, f"patches {self.patches}: 1 to 16 sides, ascending")
        require_known("partners", self.partners, _PARTNERS)
        require_blend_weights(self.blend_weights)
        require_pictures(colors=self.picture_colors, flips=self.picture_flips)

    def sides(self, size: int) -> tuple[int, ...]:
        """Sides of patches in an output of that size."""
        return tuple(min(side, size) for side in self.patches)

    @property
    def most(self) -> Most:
        """The longest program: in all rounds an operation, a blend in a box, or, if partners are both, both of them."""
        rounds, steps = self.k * self.t, 2 if self.partners == "both" else 1
        return Most(
            steps=rounds * steps + 1,
            ops=rounds,
            blends=rounds,
            arguments=2 * rounds * steps + self.k + 1,
            boxes=rounds,
            either=rounds if self.partners == "pictures" else 0,
        )

    @property
    def uses_pictures(self) -> bool:
        """Always: in patches."""
        return True

    @property
    def gray_pictures(self) -> bool:
        """As asked; the published code's pictures keep their colours."""
        return self.picture_colors == "gray"

    @property
    def mirrored_pictures(self) -> bool:
        """As asked; the published code mirrors none."""
        return self.picture_flips

    def fill(self, table: Programs, *, key: NDArray[np.uint64], size: int) -> None:
        """Write every row's program: see `mixbake.recipes.recipe.Recipe`."""
        _draw(
            key,
            table.images,
            table.numbers,
            pil_law.op_rows(self.op_set, severity=self.severity, law=pil_law.CUTOFF),
            size,
            np.array(self.sides(size), np.int64),
            round(self.beta * MICRO),
            self.k,
            self.t,
            _PARTNERS[self.partners],
            np.array(self.blend_weights, np.int64),
            table.steps,
            table.provenance,
            table.pictures,
        )


@inline
def _blend_patch(
    cursor: Any,
    steps: Any,
    provenance: Any,
    row: int,
    x1: int,
    x2: int,
    side: int,
    sides: Any,
    beta: int,
    blend_weights: NDArray[np.int64],
) -> Any:
    """Append a blend of registers x1, x2 in a freshly drawn box; returns the register it writes."""
    patch = sides[below(cursor, len(sides))]
    left, top = below(cursor, side - patch + 1), below(cursor, side - patch + 1)
    width, height = patch, patch
    if below(cursor, 2) == 0:
        width, height = uniform(cursor, LEAST_PATCH, patch), uniform(cursor, LEAST_PATCH, patch)
    blend = draw_blend(cursor, blend_weights)
    register = append_blend(cursor, steps, provenance, row, x1, x2, blend, beta, PUBLISHED)
    limit_to_box(steps, row, left, top, width, height)
    return register


@jit
def _draw(
    key: NDArray[np.uint64],
    images: NDArray[np.int64],
    numbers: NDArray[np.int64],
    op_rows: NDArray[np.int64],
    side: int,
    sides: NDArray[np.int64],
    beta: int,
    k: int,
    t: int,
    partners: int,
    blend_weights: NDArray[np.int64],
    steps: Any,
    provenance: Any,
    pictures: NDArray[np.int32],
) -> None:
    """Fill the programs of all rows, each from its own stream."""
    cursor = np.zeros(CURSOR_WORDS, dtype=np.uint64)
    ends, registers = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64)
    for row in range(len(images)):
        seek(cursor, key, images[row], numbers[row])
        draw_shares(cursor, k, 1, ends)
        share, seen = uniform(cursor, 0, MICRO), False
        for chain in range(k):
            register, patchy = 0, below(cursor, 2) == 0
            for _ in range(below(cursor, t + 1)):
                if not patchy:
                    register = write_op(cursor, steps, provenance, row, register, op_rows, side, pil_law.CUTOFF)
                    continue
                partner = 1
                if partners == BOTH and below(cursor, 2) == 0:
                    partner = write_op(cursor, steps, provenance, row, 0, op_rows, side, pil_law.CUTOFF)
                else:
                    seen = True
                register = _blend_patch(
                    cursor, steps, provenance, row, register, partner, side, sides, beta, blend_weights
                )
            registers[chain] = register
        append_sum(steps, row, registers, ends, k, share)
        if not seen:
            pictures[row, 0] = -1
