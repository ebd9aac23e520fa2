"""What steps do, in plain words: "24° left", "3 bits kept", "40 % kept".

Rule: words follow from a step's arguments alone, so they say what is done, not what was asked for.
"""

from collections.abc import Callable

from mixbake.core.ops import CENTRE, STEPS
from mixbake.core.variant import Number, Step


def spell_number(value: Number) -> str:
    """Three digits are enough for people: 8.352059 is 8.35."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def spell_arguments(step: Step) -> str:
    """The arguments of a step in words; "" where it has none."""
    words = _WORDS.get(step.do)
    if words is None:
        return ", ".join(map(spell_number, step.args))
    boxed = STEPS[step.do].boxed and len(step.args) == len(STEPS[step.do].args) + 4
    said = words(*(step.args[:-4] if boxed else step.args))
    return f"{said}, {_box(*step.args[-4:])}" if boxed else said


def spell_anchor(step: Step) -> str:
    """What a shear holds still, in words; "" of all other steps."""
    if step.do not in ("shear_x", "shear_y"):
        return ""
    return "centre held" if step.args[1] == CENTRE else "corner held"


def _box(left: Number, top: Number, width: Number, height: Number) -> str:
    return f"in {width} x {height} px at {left}, {top}"


def _directed(size: str, value: Number, above: str, below: str) -> str:
    """A size with the direction that its sign means."""
    return f"{size} {above if value > 0 else below}" if value else size


def _slope(value: Number, above: str, below: str) -> str:
    return _directed(spell_number(abs(value)), value, above, below)


def _bits(bits: Number) -> str:
    return f"{bits} bit{'s' * (bits != 1)} kept"


def _solarized(threshold: Number) -> str:
    return "nothing" if threshold > 255 else f"from {threshold} up"


def _cut(percent: Number) -> str:
    return f"{spell_number(percent)} % cut off" if percent else ""


def _nothing() -> str:
    return ""


def _factor(factor: Number) -> str:
    return f"factor {spell_number(factor)}"


def _coefficients(a: Number, b: Number) -> str:
    return f"a {a:.2f}, b {b:.2f}"


def _percent(share: Number) -> str:
    return f"{spell_number(round(100 * share, 1))} %"


_WORDS: dict[str, Callable[..., str]] = {
    "rotate": lambda degrees: _directed(f"{spell_number(abs(degrees))}°", degrees, "left", "right"),
    "shear_x": lambda slope, _anchor: _slope(slope, "right", "left"),
    "shear_y": lambda slope, _anchor: _slope(slope, "up", "down"),
    "translate_x": lambda pixels: _directed(f"{spell_number(abs(pixels))} px", pixels, "right", "left"),
    "translate_y": lambda pixels: _directed(f"{spell_number(abs(pixels))} px", pixels, "down", "up"),
    "posterize": _bits,
    "solarize": _solarized,
    "autocontrast": _cut,
    "equalize": _nothing,
    "grayscale": _nothing,
    "mirror": _nothing,
    "invert": _nothing,
    "color": _factor,
    "contrast": _factor,
    "brightness": _factor,
    "sharpness": _factor,
    "arithmetic": _coefficients,
    "geometric": _coefficients,
    "pixel": lambda share, _seed: f"{_percent(share)} kept",
    "element": lambda share, _seed: f"{_percent(share)} kept",
    "weighted": lambda *weights: " + ".join(map(_percent, weights)),
}
"""By kind of step. Positive slopes lean to the right or go up there; what masks keep is of the first register."""
