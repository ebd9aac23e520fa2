"""One-register steps: each agrees with its float64 formula, and with Pillow where Pillow defines the same thing."""

from dataclasses import replace

import numpy as np
import pytest
from formulas import FORMULAS, KINDS, POSITIONS, Image, differences, rounded, sample, sampled
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageEnhance, ImageOps
from plain_programs import BARE

from mixbake.core.render import apply, render
from mixbake.core.variant import Step
from mixbake.errors import UsageError

# Allowed over any image: the largest difference from the rounded formula in 8-bit steps, and the mean excess over
# the half step of perfect rounding (truncation has 0.125 or more; see `formulas.differences`). Geometry weighs by
# 256ths: at full contrast that alone can cost another half step, so there only the test of bias tells truncation.
EXACT = (0, 0.0)
BOUNDS: dict[str, tuple[int, float]] = {
    "rotate": (1, 0.2),
    "shear_x": (1, 0.2),
    "shear_y": (1, 0.2),
    "translate_x": (1, 0.2),
    "translate_y": (1, 0.2),
    "color": (1, 0.001),
    "contrast": (1, 0.001),
    "brightness": (1, 0.001),
    "sharpness": (1, 0.001),
    "mirror": EXACT,
    "posterize": EXACT,
    "solarize": EXACT,
    "invert": EXACT,
    "equalize": EXACT,
    "autocontrast": EXACT,
    "grayscale": EXACT,
}

FACTORS = ((0.0,), (0.1,), (0.37,), (1.000001,), (1.9,), (2.75,), (10.0,), (16.0,))
SHEARS = ((0.000001, 1), (0.3, 1), (-0.3, 1), (0.123457, 0), (-0.3, 0), (1.0, 0), (-2.5, 1))
SHIFTS = ((0.000001,), (0.5,), (-0.25,), (3.333333,), (-7.654321,), (10,), (-31,), (223.5,), (-1000.5,))
ARGS: dict[str, tuple[tuple[float, ...], ...]] = {
    "rotate": ((0.000001,), (7.123456,), (-30.0,), (45.0,), (90.0,), (-179.5,), (180.0,), (-180.0,)),
    "shear_x": SHEARS,
    "shear_y": SHEARS,
    "translate_x": SHIFTS,
    "translate_y": SHIFTS,
    "color": FACTORS,
    "contrast": FACTORS,
    "brightness": FACTORS,
    "sharpness": FACTORS,
    "mirror": ((),),
    "posterize": tuple((bits,) for bits in range(9)),
    "solarize": ((0,), (1,), (127,), (128,), (255,), (256,)),
    "invert": ((),),
    "equalize": ((),),
    "autocontrast": ((0,), (0.5,), (7.25,), (10,), (33.333333,), (49.999999,)),
    "grayscale": ((),),
}
IDENTITIES: dict[str, tuple[float, ...]] = {
    "rotate": (0.0,),
    "shear_x": (0.0, 1),
    "shear_y": (0.0, 0),
    "translate_x": (0.0,),
    "translate_y": (0.0,),
    "color": (1.0,),
    "contrast": (1.0,),
    "brightness": (1.0,),
    "sharpness": (1.0,),
    "posterize": (8,),
    "solarize": (256,),
}

LARGEST = 2048
SIDES = (1, 2, 3, 17, 32, 33, 96, 224)
EVERY_OP = pytest.mark.parametrize("do", sorted(BOUNDS))


def decimals(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers as recipes draw them: six decimals."""
    return st.integers(round(low * 10**6), round(high * 10**6)).map(lambda millionths: millionths / 10**6)


shears = st.tuples(decimals(-4, 4), st.sampled_from([0, 1]))
shifts = st.tuples(decimals(-60, 60))
factors = st.tuples(decimals(0, 4))
DRAWN_ARGS: dict[str, st.SearchStrategy[tuple[float, ...]]] = {
    "rotate": st.tuples(decimals(-180, 180)),
    "shear_x": shears,
    "shear_y": shears,
    "translate_x": shifts,
    "translate_y": shifts,
    "color": factors,
    "contrast": factors,
    "brightness": factors,
    "sharpness": factors,
    "posterize": st.tuples(st.integers(0, 8)),
    "solarize": st.tuples(st.integers(0, 256)),
    "autocontrast": st.tuples(decimals(0, 49.999999)),
}


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Any square sample image of up to 48x48 pixels."""
    side = draw(st.integers(1, 48))
    return sample(draw(st.sampled_from(sorted(KINDS))), side, side, draw(st.integers(0, 1_000_000)))


def assert_agrees(do: str, image: Image, args: tuple[float, ...]) -> None:
    result = apply(do, [image], args)
    assert (result.shape, result.dtype) == (image.shape, np.uint8)
    largest, excess = differences(result, FORMULAS[do](image, *args))
    assert largest <= BOUNDS[do][0], f"{do}{args}: {largest} steps away"
    # The one bad pixel of a tiny image is no bias.
    assert excess <= BOUNDS[do][1] or image.size < 1000, f"{do}{args}: {excess} steps too far on average"


def in_pillow(image: Image) -> Pillow.Image:
    return Pillow.fromarray(image)


class TestFormula:
    @EVERY_OP
    @pytest.mark.parametrize("side", SIDES)
    def test_agrees_on_every_kind_of_image(self, do: str, side: int) -> None:
        for kind in KINDS if side < 200 else ("noise", "smooth"):
            image = sample(kind, side, side)
            for args in ARGS[do]:
                assert_agrees(do, image, args)

    @pytest.mark.parametrize("do", sorted(DRAWN_ARGS))
    def test_agrees_for_any_args(self, do: str) -> None:
        @settings(max_examples=50, deadline=None)
        @given(image=images(), args=DRAWN_ARGS[do])
        def check(image: Image, args: tuple[float, ...]) -> None:
            assert_agrees(do, image, args)

        check()

    @pytest.mark.parametrize("do", ["equalize", "grayscale", "mirror", "invert"])
    @settings(max_examples=50, deadline=None)
    @given(image=images())
    def test_agrees_for_any_image(self, do: str, image: Image) -> None:
        assert_agrees(do, image, ())

    @pytest.mark.parametrize(
        ("do", "args"),
        [
            ("rotate", (11.7,)),
            ("shear_x", (0.217, 1)),
            ("shear_y", (-0.113, 0)),
            ("translate_x", (2.41,)),
            ("translate_y", (-3.77,)),
            ("color", (0.63,)),
            ("contrast", (0.41,)),
            ("brightness", (0.77,)),
            ("sharpness", (0.29,)),
        ],
    )
    def test_rounds_to_nearest_without_a_bias(self, do: str, args: tuple[float, ...]) -> None:
        """Truncation would show as half a step."""
        for image in (sample("noise", 224, 224), sample("smooth", 224, 224)):
            values = np.clip(FORMULAS[do](image, *args), 0, 255)
            assert abs((apply(do, [image], args) - values).mean()) < 0.02

    @pytest.mark.parametrize("do", sorted(IDENTITIES))
    @settings(max_examples=30, deadline=None)
    @given(image=images())
    def test_identity_args_change_nothing(self, do: str, image: Image) -> None:
        np.testing.assert_array_equal(apply(do, [image], IDENTITIES[do]), image)

    @settings(max_examples=60, deadline=None)
    @given(image=images(), px=st.integers(-60, 60))
    def test_whole_pixel_translation_moves_and_never_mixes(self, image: Image, px: int) -> None:
        for do in ("translate_x", "translate_y"):
            np.testing.assert_array_equal(apply(do, [image], (px,)), rounded(FORMULAS[do](image, px)))

    @pytest.mark.parametrize(
        ("do", "args"),
        [
            *(("rotate", (degrees,)) for degrees in (0.000001, 44.9, 135.3, -179.999999)),
            *((do, (s, anchor)) for do in ("shear_x", "shear_y") for s in (-4.0, 0.300001) for anchor in (0, 1)),
            *((do, (px,)) for do in ("translate_x", "translate_y") for px in (-2000.0, 1999.4)),
        ],
    )
    def test_positions_keep_their_precision_in_the_largest_image(self, do: str, args: tuple[float, ...]) -> None:
        """Fixed-point positions drift or overflow at the far ends of long rows first."""
        rows = [0, 1, LARGEST // 2, LARGEST - 2, LARGEST - 1]
        image = sample("noise", LARGEST, LARGEST)
        x_in, y_in = POSITIONS[do](image, *args)
        largest, excess = differences(apply(do, [image], args)[rows], sampled(image, x_in[rows], y_in[rows]))
        assert largest <= BOUNDS[do][0]
        assert excess <= BOUNDS[do][1]

    def test_anchor_tells_where_a_shear_stands_still(self) -> None:
        image = sample("noise", 33, 33)
        corner, centre = (apply("shear_x", [image], (0.25, anchor)) for anchor in (0, 1))
        np.testing.assert_array_equal(corner[0], image[0])
        np.testing.assert_array_equal(centre[16], image[16])
        np.testing.assert_array_equal(corner[4, :-1], image[4, 1:])
        np.testing.assert_array_equal(centre[20, :-1], image[20, 1:])

    def test_quarter_turns_are_exact(self) -> None:
        for side in (32, 33, 224):
            image = sample("noise", side, side)
            for degrees, quarters in ((90.0, 1), (180.0, 2), (-90.0, 3), (-180.0, 2)):
                np.testing.assert_array_equal(apply("rotate", [image], (degrees,)), np.rot90(image, quarters))


class TestPillow:
    @settings(max_examples=80, deadline=None)
    @given(image=images())
    def test_equalize_is_pillows(self, image: Image) -> None:
        np.testing.assert_array_equal(apply("equalize", [image]), ImageOps.equalize(in_pillow(image)))

    @settings(max_examples=80, deadline=None)
    @given(image=images(), cutoff=decimals(0, 49.999999))
    def test_autocontrast_is_pillows(self, image: Image, cutoff: float) -> None:
        expected = ImageOps.autocontrast(in_pillow(image), cutoff=cutoff)
        np.testing.assert_array_equal(apply("autocontrast", [image], (cutoff,)), expected)

    @pytest.mark.slow
    def test_autocontrast_is_pillows_for_every_pair_of_ends(self) -> None:
        for low in range(255):
            # Three ranges at once, one a channel.
            tops = np.arange(low + 1, 256)
            for highs in np.resize(tops, (-(-tops.size // 3), 3)):
                ramp = np.arange(256)[:, None].clip(low, highs)
                image = np.ascontiguousarray(ramp.reshape(16, 16, 3).astype(np.uint8))
                expected = ImageOps.autocontrast(in_pillow(image))
                np.testing.assert_array_equal(apply("autocontrast", [image], (0,)), expected)

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def test_tables_are_pillows(self, kind: str) -> None:
        image = sample(kind, 51, 51)
        there = in_pillow(image)
        for bits in range(1, 9):
            np.testing.assert_array_equal(apply("posterize", [image], (bits,)), ImageOps.posterize(there, bits))
        for threshold in range(257):
            expected = ImageOps.solarize(there, threshold)
            np.testing.assert_array_equal(apply("solarize", [image], (threshold,)), expected)
        np.testing.assert_array_equal(apply("invert", [image]), ImageOps.invert(there))
        np.testing.assert_array_equal(apply("mirror", [image]), ImageOps.mirror(there))
        np.testing.assert_array_equal(apply("grayscale", [image]), there.convert("L").convert("RGB"))

    def test_grayscale_is_pillows_for_every_green_and_red(self) -> None:
        red, green = np.indices((256, 256)).astype(np.uint8)
        for blue in (0, 1, 127, 128, 255):
            image = np.dstack([red, green, np.full_like(red, blue)])
            np.testing.assert_array_equal(apply("grayscale", [image]), in_pillow(image).convert("L").convert("RGB"))

    @pytest.mark.parametrize("size", [32, 33, 224])
    @pytest.mark.parametrize("degrees", [1.0, -13.37, 30.0, 77.7, 180.0])
    def test_rotation_is_pillows_inside(self, size: int, degrees: float) -> None:
        """Pillow stretches its border by half a pixel, so only pixels that lie well inside are compared."""
        for image in (sample("noise", size, size), sample("smooth", size, size)):
            expected = np.asarray(in_pillow(image).rotate(degrees, Pillow.Resampling.BILINEAR))
            x_in, y_in = POSITIONS["rotate"](image, degrees)
            inside = (np.minimum(x_in, y_in) >= 1) & (np.maximum(x_in, y_in) <= size - 2)
            assert inside.mean() > 0.5
            result = apply("rotate", [image], (degrees,))
            assert np.abs(result[inside].astype(int) - expected[inside].astype(int)).max() <= 1

    @pytest.mark.parametrize(
        ("do", "enhance"),
        [
            ("color", ImageEnhance.Color),
            ("contrast", ImageEnhance.Contrast),
            ("brightness", ImageEnhance.Brightness),
            ("sharpness", ImageEnhance.Sharpness),
        ],
    )
    def test_enhancement_is_pillows_within_a_step(self, do: str, enhance: type) -> None:
        @settings(max_examples=60, deadline=None)
        @given(image=images(), factor=decimals(0, 4))
        def check(image: Image, factor: float) -> None:
            expected = np.asarray(enhance(in_pillow(image)).enhance(factor)).astype(int)
            assert np.abs(apply(do, [image], (factor,)) - expected).max() <= 1

        check()


class TestPurity:
    @EVERY_OP
    def test_input_is_left_alone_and_may_be_read_only(self, do: str) -> None:
        whole = sample("smooth", 33, 33)
        frozen = whole.copy()
        frozen.flags.writeable = False
        for args in ARGS[do]:
            np.testing.assert_array_equal(apply(do, [frozen], args), apply(do, [whole], args))
        np.testing.assert_array_equal(whole, sample("smooth", 33, 33))

    @EVERY_OP
    def test_outsized_args_are_refused_or_right(self, do: str) -> None:
        """Fixed-point numbers overflow silently, so there must be no args for which they can."""
        image = sample("noise", 24, 24)
        for args in ARGS[do][:1]:
            for place in range(len(args)):
                for value in (1e3, -1e3, 1e6, -1e6, 2.0**31, -(2.0**31), 1e15, -1e15, 2.0**63, 1e300, -1e300):
                    outsized = (*args[:place], value, *args[place + 1 :])
                    try:
                        apply(do, [image], outsized)
                    except UsageError:
                        continue
                    assert_agrees(do, image, outsized)


IMAGE = sample("noise", 8, 8)
REFUSED: dict[str, tuple[str, list[object], tuple[object, ...]]] = {
    "unknown step": ("wobble", [IMAGE], ()),
    "empty name": ("", [IMAGE], ()),
    "no register": ("invert", [], ()),
    "a register too many": ("invert", [IMAGE, IMAGE], ()),
    "an arg too few": ("rotate", [IMAGE], ()),
    "an arg too many": ("invert", [IMAGE], (1,)),
    "shear without anchor": ("shear_x", [IMAGE], (0.1,)),
    "unknown anchor": ("shear_x", [IMAGE], (0.1, 2)),
    "fractional anchor": ("shear_y", [IMAGE], (0.1, 0.5)),
    "grey image": ("invert", [IMAGE[..., 0]], ()),
    "four channels": ("invert", [np.zeros((8, 8, 4), np.uint8)], ()),
    "a batch": ("invert", [IMAGE[None]], ()),
    "no pixels": ("equalize", [np.zeros((0, 8, 3), np.uint8)], ()),
    "no columns": ("contrast", [np.zeros((8, 0, 3), np.uint8)], (0.5,)),
    "floats": ("invert", [IMAGE / 255], ()),
    "16 bits": ("invert", [IMAGE.astype(np.uint16)], ()),
    "signed bytes": ("invert", [IMAGE.astype(np.int8)], ()),
    "an oblong": ("rotate", [IMAGE[:7]], (7.0,)),
    "9 bits": ("posterize", [IMAGE], (9,)),
    "-1 bits": ("posterize", [IMAGE], (-1,)),
    "half a bit": ("posterize", [IMAGE], (2.5,)),
    "threshold above 256": ("solarize", [IMAGE], (257,)),
    "threshold below 0": ("solarize", [IMAGE], (-1,)),
    "negative cutoff": ("autocontrast", [IMAGE], (-0.5,)),
    "angle that is not a number": ("rotate", [IMAGE], (float("nan"),)),
    "infinite angle": ("rotate", [IMAGE], (float("inf"),)),
    "shift that is not a number": ("translate_x", [IMAGE], (float("nan"),)),
    "infinite shift": ("translate_y", [IMAGE], (float("-inf"),)),
    "shear that is not a number": ("shear_x", [IMAGE], (float("nan"), 1)),
    "factor that is not a number": ("color", [IMAGE], (float("nan"),)),
    "infinite factor": ("sharpness", [IMAGE], (float("inf"),)),
    "seven decimals": ("rotate", [IMAGE], (0.1234567,)),
    "negative factor": ("color", [IMAGE], (-0.1,)),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_a_kernel_cannot_do_is_refused(case: str) -> None:
    do, registers, args = REFUSED[case]
    with pytest.raises(UsageError, match=r"\w"):
        apply(do, registers, args)  # type: ignore[arg-type]  # that is the point


def rendered(*steps: Step) -> Image:
    return render(replace(BARE, steps=steps), IMAGE, size=8)


INVERT = Step(do="invert", src=(0,))


def test_a_step_reads_what_is_written_before_it() -> None:
    np.testing.assert_array_equal(rendered(INVERT, Step(do="mirror", src=(2,))), 255 - IMAGE[:, ::-1])


@pytest.mark.parametrize("register", [-1, 3, 4, 127, 128, 256, 2**63])
def test_a_step_that_reads_an_unwritten_register_is_refused(register: int) -> None:
    with pytest.raises(UsageError, match="register"):
        rendered(INVERT, Step(do="mirror", src=(register,)))


def test_a_step_that_reads_a_picture_where_there_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="picture"):
        rendered(Step(do="mirror", src=(1,)))
