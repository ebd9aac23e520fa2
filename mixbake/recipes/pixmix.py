"""PixMix (arXiv 2112.05135): the crop, blended several times with a picture or an operation of itself.

    z = x, or op(x)                               equally often
    r times, r uniform on 0..k
        p = op(x), or the picture                 equally often; the operation drawn anew, of the crop itself
        z = blend(z, p)                           drawn by `blend_weights`, clipped

Rule: probabilities are exact integers, never floats.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import jit
from mixbake.core.kernels.lanes import MICRO
from mixbake.core.kernels.words import CURSOR_WORDS, below, seek
from mixbake.core.programs import Most, Programs
from mixbake.recipes import pil_law
from mixbake.recipes.pil_law import write_op
from mixbake.recipes.recipe import require_beta, require_blend_weights, require_known, require_pictures, require_whole
from mixbake.recipes.writing import PUBLISHED, append_blend, draw_blend

BOTH, INPUT, PICTURES = 0, 1, 2
_PARTNERS = {"both": BOTH, "input": INPUT, "pictures": PICTURES}


@dataclass(frozen=True, slots=True, kw_only=True)
class PixMix:
    """PixMix's parameters.

    severity: m, of the levels, 0.1 to 10. beta: of the blends' Beta laws, 0.01 to 100. op_set: see `pil_law.SETS`. k:
    rounds at most, 1 to 8. partners: what is mixed in, operations of the "input", "pictures", or both equally often.
    blend_weights: how often arithmetic, geometric, pixel, element are drawn, whole numbers. picture_colors: of mixing
    pictures, "gray" or "rgb". picture_flips: mirror them, either way with p = ½.
    """

    family: ClassVar[str] = "pixmix"
    symmetric: ClassVar[bool] = False

    severity: float = 3
    beta: float = 3
    op_set: str = "all13"
    k: int = 4
    partners: Literal["both", "input", "pictures"] = "both"
    blend_weights: tuple[int, ...] = (1, 1, 0, 0)
    picture_colors: Literal["gray", "rgb"] = "rgb"
    picture_flips: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        pil_law.check(severity=self.severity, op_set=self.op_set)
        require_beta(self.beta)
        require_whole("k", self.k, 1, 8)
        require_known("partners", self.partners, _PARTNERS)
        require_blend_weights(self.blend_weights)
        require_pictures(colors=self.picture_colors, flips=self.picture_flips)

    @property
    def most(self) -> Most:
        """The longest program: an operation, then k times another one and a blend."""
        return Most(steps=2 * self.k + 1, ops=self.k + 1, blends=self.k, arguments=2 * (2 * self.k + 1))

    @property
    def uses_pictures(self) -> bool:
        """Unless only the input is mixed in."""
        return self.partners != "input"

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
            pil_law.op_rows(self.op_set, severity=self.severity, law=pil_law.PIL),
            size,
            np.array(self.blend_weights, np.int64),
            round(self.beta * MICRO),
            self.k,
            _PARTNERS[self.partners],
            table.steps,
            table.provenance,
            table.pictures,
        )


@jit
def _draw(
    key: NDArray[np.uint64],
    images: NDArray[np.int64],
    numbers: NDArray[np.int64],
    op_rows: NDArray[np.int64],
    side: int,
    blend_weights: NDArray[np.int64],
    beta: int,
    k: int,
    partners: int,
    steps: Any,
    provenance: Any,
    pictures: NDArray[np.int32],
) -> None:
    """Fill the programs of all rows, each from its own stream."""
    cursor = np.zeros(CURSOR_WORDS, dtype=np.uint64)
    for row in range(len(images)):
        seek(cursor, key, images[row], numbers[row])
        current, seen = 0, False
        if below(cursor, 2) == 0:
            current = write_op(cursor, steps, provenance, row, 0, op_rows, side, pil_law.PIL)
        for _ in range(below(cursor, k + 1)):
            partner = 1
            if partners == INPUT or (partners == BOTH and below(cursor, 2) == 0):
                partner = write_op(cursor, steps, provenance, row, 0, op_rows, side, pil_law.PIL)
            else:
                seen = True
            blend = draw_blend(cursor, blend_weights)
            current = append_blend(cursor, steps, provenance, row, current, partner, blend, beta, PUBLISHED)
        if not seen:
            pictures[row, 0] = -1
