"""Promises of the words for steps: directions are those in which pixels go, and everything has words."""

import numpy as np
import pytest

from mixbake.audit.words import spell_anchor, spell_arguments
from mixbake.core.ops import STEPS
from mixbake.core.render import apply
from mixbake.core.variant import Number, Step

SIZE = 33
TOP, BOTTOM, LEFT, RIGHT = (6, 16), (26, 16), (16, 6), (16, 26)
"""Row and column of the dot that is watched."""


def moved(do: str, args: tuple[Number, ...], dot: tuple[int, int]) -> tuple[float, float]:
    """By how many rows and columns a step moves a dot."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[dot[0] - 1 : dot[0] + 2, dot[1] - 1 : dot[1] + 2] = 255
    weights = apply(do, [image], args)[:, :, 0].astype(float)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return (
        float((rows * weights).sum() / weights.sum() - dot[0]),
        float((columns * weights).sum() / weights.sum() - dot[1]),
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("do", "args", "dot", "axis", "words"),
    [
        ("translate_x", (3,), TOP, 1, ("right", "left")),
        ("translate_y", (3,), LEFT, 0, ("down", "up")),
        ("rotate", (15,), TOP, 1, ("right", "left")),
        ("shear_x", (0.3, 1), TOP, 1, ("right", "left")),
        ("shear_y", (0.3, 1), RIGHT, 0, ("down", "up")),
    ],
)
def test_words_say_where_pixels_go(
    do: str, args: tuple[Number, ...], dot: tuple[int, int], axis: int, words: tuple[str, str], sign: int
) -> None:
    """To the right and down is where columns and rows grow; what turns or leans to the left takes its top there."""
    args = sign * args[0], *args[1:]
    assert spell_arguments(Step(do=do, src=(0,), args=args)).split()[-1] == words[moved(do, args, dot)[axis] < 0]


def test_what_stays_at_rest_has_no_direction() -> None:
    for do in ("rotate", "translate_x", "translate_y"):
        assert spell_arguments(Step(do=do, src=(0,), args=(0,))).split()[-1] in ("0°", "px")


@pytest.mark.parametrize("anchor", [0, 1])
def test_a_shear_holds_what_is_said(anchor: int) -> None:
    place = ((SIZE - 1) // 2, 16) if anchor else (1, 16)
    far = BOTTOM
    step = Step(do="shear_x", src=(0,), args=(0.2, anchor))
    assert abs(moved("shear_x", step.args, place)[1]) < 0.3 < abs(moved("shear_x", step.args, far)[1])
    assert spell_anchor(step) == ("corner held", "centre held")[anchor]


def test_every_step_has_words_that_fit_a_line() -> None:
    arguments: dict[str, tuple[Number, ...]] = {"int": (3,), "micro": (0.123456,)}
    for do, kind in STEPS.items():
        args = tuple(arguments[unit][0] for unit in kind.args)
        said = spell_arguments(Step(do=do, src=(0,) * (kind.sources or 1), args=args))
        assert bool(said) == bool(args), do
        assert len(said) < 20
        if kind.boxed:
            boxed = spell_arguments(Step(do=do, src=(0, 1), args=(*args, 1, 2, 4, 8)))
            assert boxed == f"{said}, in 4 x 8 px at 1, 2"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step(do="posterize", src=(0,), args=(1,)), "1 bit kept"),
        (Step(do="posterize", src=(0,), args=(3,)), "3 bits kept"),
        (Step(do="solarize", src=(0,), args=(256,)), "nothing"),
        (Step(do="solarize", src=(0,), args=(128,)), "from 128 up"),
        (Step(do="autocontrast", src=(0,), args=(0,)), ""),
        (Step(do="color", src=(0,), args=(1.254321,)), "factor 1.25"),
        (Step(do="geometric", src=(0, 1), args=(1.2, -0.2)), "a 1.20, b -0.20"),
        (Step(do="weighted", src=(0, 2, 3), args=(0.5, 0.25, 0.25)), "50 % + 25 % + 25 %"),
    ],
)
def test_words_are_plain(step: Step, words: str) -> None:
    assert spell_arguments(step) == words
