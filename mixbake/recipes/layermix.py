"""LayerMix (arXiv 2501.04861): one operation at three depths, mixed with itself and with a picture.

    layer 1   op(x)
    layer 2   blend(op(x), op(x))                 levels and blend drawn anew
    layer 3   op(blend(layer 2, picture))         the same op, a new level

The layer is uniform over `layers`, the operation over `op_set`; both op(x) start from the crop x. That all stages
share the operation is the paper's covariance; without it each use draws its own, and with that of blends, layer 3
shares the kind of blend, too.
Rule: probabilities are exact integers, never floats.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import jit
from mixbake.core.kernels.lanes import MICRO
from mixbake.core.kernels.words import CURSOR_WORDS, below, seek
from mixbake.core.ops import OP_SETS, OPS, TENSOR_LAW, tensor_range
from mixbake.core.programs import Most, Programs
from mixbake.core.render import frozen
from mixbake.recipes.recipe import (
    require,
    require_beta,
    require_blend_weights,
    require_known,
    require_pictures,
    require_whole,
)
from mixbake.recipes.tensor_law import write_op
from mixbake.recipes.writing import CONVEX, PUBLISHED, append_blend, draw_blend

QUIRKS = ("none", "published")
COEFFICIENTS = ("published", "convex")
COVARIANCES = ("op", "blend", "op_and_blend", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMix:
    """LayerMix's parameters.

    severity: m, above 0, at most 10 (paper: 8). beta: of the blends' Beta laws (paper: 3). op_set: a name in `OP_SETS`.
    min_posterize_bits: least bits that posterize keeps; 0 is the published code's, and gives black pictures.
    quirks: "published" repeats the code's slip in solarize_increasing (its threshold is 1 - the drawn
    severity). layers: which samples are drawn. coefficients: "published" is the paper's pair of Beta laws,
    "convex" is w ~ Beta(beta, beta) and 1 - w. covariance: what a variant draws once for all its stages: the
    operation ("op", the paper's), the kind of blend, both, or neither. blend_weights: how often arithmetic, geometric,
    pixel, element are drawn, whole numbers. picture_colors: of mixing pictures, "gray" or "rgb". picture_flips:
    mirror them, either way with p = ½.
    """

    family: ClassVar[str] = "layermix"

    severity: float = 8
    beta: float = 3
    op_set: str = "layer12"
    min_posterize_bits: int = 1
    quirks: Literal["none", "published"] = "none"
    layers: tuple[int, ...] = (1, 2, 3)
    coefficients: Literal["published", "convex"] = "published"
    covariance: Literal["op", "blend", "op_and_blend", "none"] = "op"
    blend_weights: tuple[int, ...] = (2, 2, 1, 1)
    picture_colors: Literal["gray", "rgb"] = "gray"
    picture_flips: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require(0 < self.severity <= 10, f"severity {self.severity} is out of range: above 0, at most 10")
        require(round(self.severity, 6) == self.severity, f"severity {self.severity} has more than six decimal places")
        require_beta(self.beta)
        require_known("op set", self.op_set, OP_SETS)
        require_whole("min_posterize_bits", self.min_posterize_bits, 0, 4)
        require_known("quirks", self.quirks, QUIRKS)
        whole = all(type(layer) is int for layer in self.layers)
        known = whole and set(self.layers) <= {1, 2, 3} and len(set(self.layers)) == len(self.layers) > 0
        require(known, f"layers {self.layers}: each of 1, 2, 3 at most once, at least one")
        require_known("coefficients", self.coefficients, COEFFICIENTS)
        whole = self.coefficients == "published" or float(self.beta).is_integer()
        require(whole, f"convex coefficients need a whole beta, not {self.beta}")
        require_known("covariance", self.covariance, COVARIANCES)
        require_blend_weights(self.blend_weights)
        require_pictures(colors=self.picture_colors, flips=self.picture_flips)

    @property
    def one_op(self) -> bool:
        """Whether all stages of a variant share one operation."""
        return self.covariance in ("op", "op_and_blend")

    @property
    def one_blend(self) -> bool:
        """Whether both blends of layer 3 are of one kind."""
        return self.covariance in ("blend", "op_and_blend")

    @property
    def symmetric(self) -> bool:
        """Signs are ± with ½, shears hold the centre, and pictures are mirrored: nothing tells left from right."""
        return self.picture_flips or not self.uses_pictures

    @property
    def mirrored_pictures(self) -> bool:
        """As asked; the published code mirrors them."""
        return self.picture_flips

    @property
    def most(self) -> Most:
        """Layer 3: three operations, two blends."""
        return Most(steps=5, ops=3, blends=2, arguments=10)

    @property
    def uses_pictures(self) -> bool:
        """Layer 3 mixes with a picture."""
        return 3 in self.layers

    @property
    def gray_pictures(self) -> bool:
        """As asked; the published code mixes with grayscale pictures."""
        return self.picture_colors == "gray"

    def fill(self, table: Programs, *, key: NDArray[np.uint64], size: int) -> None:
        """Write every row's program: see `mixbake.recipes.recipe.Recipe`."""
        _draw(
            key,
            table.images,
            table.numbers,
            _op_rows(self, size),
            np.array(self.layers, np.int64),
            round(self.beta * MICRO),
            PUBLISHED if self.coefficients == "published" else CONVEX,
            self.min_posterize_bits,
            np.array(self.blend_weights, np.int64),
            self.one_op,
            self.one_blend,
            table.steps,
            table.provenance,
            table.pictures,
        )

    def op_row(self, op: str, size: int) -> tuple[int, int, int, int]:
        """(operation, low, high, signed); ends of the level's law in 1e-6, both 0 without a level."""
        low, high = tensor_range(op, severity=self.severity, size=size)
        if op == "solarize_increasing" and self.quirks == "published":
            # The code passes 1 - magnitude, where the magnitude is U(0.1, severity): mostly below zero.
            low, high = sorted((100_000, round(self.severity * MICRO)))
        return OPS[op], low, high, int(TENSOR_LAW[op].signed)


@lru_cache(maxsize=64)
def _op_rows(recipe: LayerMix, size: int) -> NDArray[np.int64]:
    """int64[k, 4]: see `LayerMix.op_row`. Kept, as to make them costs more than to draw a program."""
    return frozen(np.array([recipe.op_row(op, size) for op in OP_SETS[recipe.op_set]], np.int64))


@jit
def _draw(
    key: NDArray[np.uint64],
    images: NDArray[np.int64],
    numbers: NDArray[np.int64],
    op_rows: NDArray[np.int64],
    layers: NDArray[np.int64],
    beta: int,
    law: int,
    min_bits: int,
    blend_weights: NDArray[np.int64],
    one_op: bool,
    one_blend: bool,
    steps: Any,
    provenance: Any,
    pictures: NDArray[np.int32],
) -> None:
    """Fill the programs of all rows, each from its own stream."""
    cursor = np.zeros(CURSOR_WORDS, dtype=np.uint64)
    for row in range(len(images)):
        seek(cursor, key, images[row], numbers[row])
        layer = layers[below(cursor, len(layers))]
        op = op_rows[below(cursor, len(op_rows))]
        provenance[0][row] = layer
        current = write_op(cursor, steps, provenance, row, 0, op, min_bits)
        blend = 0
        if layer >= 2:
            if not one_op:
                op = op_rows[below(cursor, len(op_rows))]
            partner = write_op(cursor, steps, provenance, row, 0, op, min_bits)
            blend = draw_blend(cursor, blend_weights)
            current = append_blend(cursor, steps, provenance, row, current, partner, blend, beta, law)
        if layer == 3:
            if not one_blend:
                blend = draw_blend(cursor, blend_weights)
            current = append_blend(cursor, steps, provenance, row, current, 1, blend, beta, law)
            if not one_op:
                op = op_rows[below(cursor, len(op_rows))]
            write_op(cursor, steps, provenance, row, current, op, min_bits)
        else:
            pictures[row, 0] = -1
