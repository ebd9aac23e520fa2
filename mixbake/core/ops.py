"""The operations on one image, the sets of them that papers use, and the laws their levels follow.

Rule: literal tables. An operation is a name that users, JSON and indexes see; the step it becomes is one
of `STEPS` (`posterize_increasing` becomes a `posterize` step). Levels are integers in 1e-6.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mixbake.core.kernels import codes

Unit = Literal["int", "micro"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind:
    """What one step of a program takes: its kernel's number, registers read, units of its arguments.

    sources: how many registers, or 0 for one a weight. args: "int" is a whole number, "micro" a decimal
    with up to six places. boxed: may be limited to a box by four more ints (left, top, width, height).
    """

    code: int
    sources: int = 1
    args: tuple[Unit, ...] = ()
    boxed: bool = False


STEPS: dict[str, StepKind] = {
    "rotate": StepKind(code=codes.ROTATE, args=("micro",)),
    "shear_x": StepKind(code=codes.SHEAR_X, args=("micro", "int")),
    "shear_y": StepKind(code=codes.SHEAR_Y, args=("micro", "int")),
    "translate_x": StepKind(code=codes.TRANSLATE_X, args=("micro",)),
    "translate_y": StepKind(code=codes.TRANSLATE_Y, args=("micro",)),
    "posterize": StepKind(code=codes.POSTERIZE, args=("int",)),
    "solarize": StepKind(code=codes.SOLARIZE, args=("int",)),
    "equalize": StepKind(code=codes.EQUALIZE),
    "autocontrast": StepKind(code=codes.AUTOCONTRAST, args=("micro",)),
    "grayscale": StepKind(code=codes.GRAYSCALE),
    "mirror": StepKind(code=codes.MIRROR),
    "invert": StepKind(code=codes.INVERT),
    "color": StepKind(code=codes.COLOR, args=("micro",)),
    "contrast": StepKind(code=codes.CONTRAST, args=("micro",)),
    "brightness": StepKind(code=codes.BRIGHTNESS, args=("micro",)),
    "sharpness": StepKind(code=codes.SHARPNESS, args=("micro",)),
    "arithmetic": StepKind(code=codes.ARITHMETIC, sources=2, args=("micro", "micro"), boxed=True),
    "geometric": StepKind(code=codes.GEOMETRIC, sources=2, args=("micro", "micro"), boxed=True),
    "pixel": StepKind(code=codes.PIXEL, sources=2, args=("micro", "int"), boxed=True),
    "element": StepKind(code=codes.ELEMENT, sources=2, args=("micro", "int"), boxed=True),
    "weighted": StepKind(code=codes.WEIGHTED, sources=0, args=("micro",)),
}

STEP_NAMES = {kind.code: name for name, kind in STEPS.items()}

OWN = "own:"
OWN_NAME = re.compile(r"own:[a-z][a-z0-9_]{0,15}")
"""A step, operation or blend of somebody's own, as JSON and indexes name it: see `core.own`."""

CENTRE = 1
"""A shear's second argument: it holds the centre still (LayerMix). 0 is the top-left corner (Pillow)."""

OPS: dict[str, int] = {
    "autocontrast": 0,
    "equalize": 1,
    "posterize": 2,
    "rotate": 3,
    "solarize": 4,
    "shear_x": 5,
    "shear_y": 6,
    "translate_x": 7,
    "translate_y": 8,
    "posterize_increasing": 9,
    "solarize_increasing": 10,
    "grayscale": 11,
    "color": 12,
    "contrast": 13,
    "brightness": 14,
    "sharpness": 15,
    "mirror": 16,
    "invert": 17,
}
"""Operation names and the numbers that stand for them in program tables."""

OP_NAMES = tuple(OPS)

SAFE9 = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
COLOUR4 = ("color", "contrast", "brightness", "sharpness")
LAYER12 = (*SAFE9, "posterize_increasing", "solarize_increasing", "grayscale")

OP_SETS: dict[str, tuple[str, ...]] = {
    "safe9": SAFE9,
    "all13": (*SAFE9, *COLOUR4),
    "layer12": LAYER12,
    "layer16": (*LAYER12, *COLOUR4),
    "article10": (*SAFE9, "brightness"),
    "ipmix10": (*SAFE9[1:], "mirror", "invert"),
    "ipmix15": (*SAFE9, *COLOUR4, "mirror", "invert"),
}
"""safe9: AugMix. all13: AugMix `all`, PixMix. layer12, layer16: LayerMix. ipmix10, ipmix15: IPMix."""


NOT_PARAMETERS = ("name", "family", "own")
"""What a plan's recipe holds besides parameters. Recipes and storage, which write and read it, both see this module."""


def parameters_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Of a plan's recipe."""
    return {name: value for name, value in recipe.items() if name not in NOT_PARAMETERS}


def overlaps_imagenet_c(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """Operations of a plan's recipe that are also corruptions of ImageNet-C (Hendrycks and Dietterich, 2019)."""
    return tuple(op for op in OP_SETS.get(str(recipe.get("op_set")), ()) if op in COLOUR4)


def tell_overlap(recipe: Mapping[str, Any]) -> str:
    """What anybody should say with results of a plan's recipe, or nothing."""
    found = overlaps_imagenet_c(recipe)
    does = "overlaps" if len(found) == 1 else "overlap"
    return f"{', '.join(found)} {does} ImageNet-C's corruptions: say so with any result" if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far the tensor law lets an operation go at severity 10, in its own unit, and whether ± applies.

    maximum is None where the operation has no level; "side" means a third of the image's side in pixels.
    """

    maximum: float | Literal["side"] | None = None
    signed: bool = False


TENSOR_LAW: dict[str, Reach] = {
    "autocontrast": Reach(),
    "equalize": Reach(),
    "grayscale": Reach(),
    "mirror": Reach(),
    "invert": Reach(),
    "posterize": Reach(maximum=4),
    "posterize_increasing": Reach(maximum=4),
    "solarize": Reach(maximum=1),
    "solarize_increasing": Reach(maximum=1),
    "rotate": Reach(maximum=30, signed=True),
    "shear_x": Reach(maximum=0.3, signed=True),
    "shear_y": Reach(maximum=0.3, signed=True),
    "translate_x": Reach(maximum="side", signed=True),
    "translate_y": Reach(maximum="side", signed=True),
    "color": Reach(maximum=0.9, signed=True),
    "contrast": Reach(maximum=0.9, signed=True),
    "brightness": Reach(maximum=0.9, signed=True),
    "sharpness": Reach(maximum=0.9, signed=True),
}
"""LayerMix's levels (arXiv 2501.04861): u ~ U between 0.1 and maximum · severity / 10."""


def tensor_range(op: str, *, severity: float, size: int) -> tuple[int, int]:
    """Ends (low, high) of the tensor law's U for one operation, in 1e-6; (0, 0) without a level.

    0.1 and maximum·severity/10, whichever is larger being the upper end; `int(.33·size)` pixels for
    translations.
    """
    maximum = TENSOR_LAW[op].maximum
    if maximum is None:
        return 0, 0
    reach = int(0.33 * size) if maximum == "side" else maximum
    ends = sorted((100_000, round(reach * severity * 100_000)))
    return ends[0], ends[1]
