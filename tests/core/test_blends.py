"""Two-register blends and the weighted sum: each agrees with its float64 formula; masks are fair, nested and seeded."""

import numpy as np
import pytest
from formulas import FORMULAS, KINDS, Image, all_pairs, differences, registers, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbake.core.render import apply
from mixbake.errors import UsageError

# Allowed over any images: the largest difference from the rounded formula in 8-bit steps, and the mean excess over
# the half step of perfect rounding (truncation has 0.125 or more; see `formulas.differences`).
BOUNDS: dict[str, tuple[int, float]] = {
    "arithmetic": (1, 0.002),
    "geometric": (1, 0.002),
    "weighted": (1, 0.002),
}
FORMULA_BLENDS = pytest.mark.parametrize("do", ["arithmetic", "geometric"])
MASKS = pytest.mark.parametrize("do", ["pixel", "element"])

# Coefficients of both laws, a=Beta(k,1) b=Beta(1,k) and a=1+Beta(1,k) b=-Beta(1,k), with the ends of their ranges.
INSIDE = ((0.793701, 0.206299), (0.5, 0.5), (0.999999, 0.000001), (0.1, 0.9), (0.000001, 0.999999), (1.0, 1.0))
BEYOND = ((1.206299, -0.206299), (1.5, -0.5), (1.000001, -0.000001), (1.02, -0.03), (1.1, -0.9), (2.0, -1.0))
LAWS = (*INSIDE, *BEYOND, (1.0, -1.0), (2.0, 0.0), (1.0, 0.0))
SIDES = (1, 2, 3, 17, 32, 33, 96, 224)


def decimals(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers as recipes draw them: six decimals."""
    return st.integers(round(low * 10**6), round(high * 10**6)).map(lambda millionths: millionths / 10**6)


inside = st.tuples(decimals(0.000001, 1), decimals(0, 1))
beyond = st.tuples(decimals(1, 2), decimals(-1, 0))
pairs = st.builds(
    lambda kind, side, seed: registers(kind, side, side, 2, seed),
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 40),
    st.integers(0, 1_000_000),
)


def assert_agrees(do: str, images: tuple[Image, ...], args: tuple[float, ...]) -> None:
    result = apply(do, images, args)
    assert (result.shape, result.dtype) == (images[0].shape, np.uint8)
    largest, excess = differences(result, FORMULAS[do](*images, *args))
    assert largest <= BOUNDS[do][0], f"{do}{args}: {largest} steps away"
    assert excess <= BOUNDS[do][1], f"{do}{args}: {excess} steps too far on average"


class TestFormula:
    @FORMULA_BLENDS
    @pytest.mark.parametrize("law", LAWS)
    def test_agrees_on_all_65536_pairs_of_values(self, do: str, law: tuple[float, float]) -> None:
        assert_agrees(do, all_pairs(), law)

    @FORMULA_BLENDS
    @pytest.mark.parametrize("law", [inside, beyond], ids=["inside", "beyond"])
    def test_agrees_on_all_pairs_for_any_coefficients(
        self, do: str, law: st.SearchStrategy[tuple[float, float]]
    ) -> None:
        images = all_pairs()

        @settings(max_examples=60, deadline=None)
        @given(args=law)
        def check(args: tuple[float, float]) -> None:
            assert_agrees(do, images, args)

        check()

    @FORMULA_BLENDS
    @pytest.mark.parametrize("side", SIDES)
    def test_agrees_on_every_kind_of_image(self, do: str, side: int) -> None:
        for kind in KINDS if side < 200 else ("noise", "smooth"):
            images = tuple(registers(kind, side, side, 2))
            for args in LAWS:
                assert_agrees(do, images, args)

    @FORMULA_BLENDS
    @settings(max_examples=40, deadline=None)
    @given(images=pairs, law=inside | beyond)
    def test_agrees_for_any_images(self, do: str, images: tuple[Image, ...], law: tuple[float, float]) -> None:
        assert_agrees(do, images, law)

    @FORMULA_BLENDS
    @pytest.mark.parametrize("law", LAWS)
    def test_agrees_on_the_sixteen_corners(self, do: str, law: tuple[float, float]) -> None:
        corners = np.array([0, 1, 254, 255], dtype=np.uint8)
        x1, x2 = (np.dstack([plane] * 3) for plane in np.meshgrid(corners, corners, indexing="ij"))
        assert_agrees(do, (x1, x2), law)

    @FORMULA_BLENDS
    def test_rounds_to_nearest_without_a_bias(self, do: str) -> None:
        """Truncation would show as half a step."""
        images = tuple(registers("noise", 224, 224, 2))
        for args in ((0.617283, 0.382717), (1.173205, -0.214159)):
            values = FORMULAS[do](*images, *args)
            free = (values > 0) & (values < 255)
            assert abs((apply(do, images, args) - values)[free].mean()) < 0.02

    @FORMULA_BLENDS
    @pytest.mark.parametrize("a", [0.000001, 1.3, 4.0, 8.0, 16.0])
    @pytest.mark.parametrize("b", [-16.0, -8.0, -4.0, 4.0, 8.0, 16.0])
    def test_large_coefficients_are_refused_or_right(self, do: str, a: float, b: float) -> None:
        try:
            apply(do, all_pairs(), (a, b))
        except UsageError:
            # No law draws coefficients beyond 2, so those and twice that much must render.
            assert max(abs(a), abs(b)) > 4
        else:
            assert_agrees(do, all_pairs(), (a, b))

    @FORMULA_BLENDS
    def test_a_one_b_zero_is_the_current_image(self, do: str) -> None:
        x1, x2 = all_pairs()
        np.testing.assert_array_equal(apply(do, (x1, x2), (1.0, 0.0)), x1)

    def test_black_times_anything_stays_black(self) -> None:
        x1, x2 = np.zeros((16, 16, 3), np.uint8), np.arange(768, dtype=np.uint8).reshape(16, 16, 3)
        for law in (*LAWS, (0.0, 0.5), (0.0, -0.5)):
            assert not apply("geometric", (x1, x2), law).any(), law

    @pytest.mark.parametrize(("a", "b"), [law for law in LAWS if law[1] <= -0.1])
    def test_division_by_black_is_white(self, a: float, b: float) -> None:
        """1e-37 to the power -0.1 is 5012: more than enough to lift even 1/255 with a <= 1.5."""
        x1 = np.resize(np.arange(1, 256, dtype=np.uint8), (16, 16, 3))
        assert (apply("geometric", (x1, np.zeros_like(x1)), (a, b)) == 255).all()


class TestMasks:
    @staticmethod
    def mask(do: str, p: float, seed: int, side: int = 224) -> np.ndarray:
        """bool side x side x 3: where the output is x1 (all 9s) and not x2 (all 200s)."""
        x1, x2 = np.full((side, side, 3), 9, np.uint8), np.full((side, side, 3), 200, np.uint8)
        result = apply(do, (x1, x2), (p, seed))
        assert np.isin(result, (9, 200)).all()
        return result == 9

    @MASKS
    @settings(max_examples=30, deadline=None)
    @given(images=pairs, p=decimals(0, 1), seed=st.integers(0, 2**32 - 1))
    def test_every_value_is_one_of_both(self, do: str, images: tuple[Image, ...], p: float, seed: int) -> None:
        result = apply(do, images, (p, seed))
        x1, x2 = images
        assert ((result == x1) | (result == x2)).all()

    @MASKS
    @pytest.mark.parametrize("p", [0.003, 0.05, 0.25, 0.333333, 0.5, 0.666667, 0.9, 0.997])
    def test_share_of_the_current_image_is_p(self, do: str, p: float) -> None:
        for seed in (0, 1, 123456789, 2**32 - 1):
            drawn = self.mask(do, p, seed)
            # A pixel mask has one draw a pixel: its three channels are one observation.
            draws = drawn.size // (3 if do == "pixel" else 1)
            assert abs(drawn.mean() - p) < 5 * np.sqrt(p * (1 - p) / draws)

    @MASKS
    def test_the_ends_are_pure(self, do: str) -> None:
        for seed in range(20):
            assert self.mask(do, 1.0, seed).all()
            assert not self.mask(do, 0.0, seed).any()

    def test_pixel_masks_are_equal_in_all_channels_and_element_masks_are_not(self) -> None:
        red, green, blue = np.moveaxis(self.mask("pixel", 0.5, 7), -1, 0)
        assert (red == green).all()
        assert (green == blue).all()
        red, green, blue = np.moveaxis(self.mask("element", 0.5, 7), -1, 0)
        for one, other in ((red, green), (green, blue), (blue, red)):
            assert abs((one == other).mean() - 0.5) < 0.012

    @MASKS
    def test_neighbours_are_independent(self, do: str) -> None:
        drawn = self.mask(do, 0.5, 99)[..., 0]
        for one, other in (
            (drawn[1:], drawn[:-1]),
            (drawn[:, 1:], drawn[:, :-1]),
            (drawn[:, 4:], drawn[:, :-4]),
            (drawn[:, 8:], drawn[:, :-8]),
            (drawn[112:], drawn[:112]),
        ):
            # Five standard deviations of a fair coin thrown at least 25,000 times.
            assert abs((one == other).mean() - 0.5) < 0.016

    @MASKS
    def test_rows_and_columns_all_have_their_share(self, do: str) -> None:
        """A tail that the generator never reached would be a row of one image."""
        drawn = self.mask(do, 0.5, 5, side=97)[..., 0]
        for axis in (0, 1):
            assert np.abs(drawn.mean(axis=axis) - 0.5).max() < 0.27

    @MASKS
    def test_same_seed_same_mask_other_seed_other_mask(self, do: str) -> None:
        first = self.mask(do, 0.5, 3)
        np.testing.assert_array_equal(first, self.mask(do, 0.5, 3))
        for seed in (0, 2, 4, 3 + 2**16, 3 + 2**31):
            # Masks of two seeds agree by chance alone.
            assert abs((first == self.mask(do, 0.5, seed)).mean() - 0.5) < 0.012

    @MASKS
    @settings(max_examples=25, deadline=None)
    @given(ends=st.tuples(decimals(0, 1), decimals(0, 1)), seed=st.integers(0, 2**32 - 1))
    def test_a_greater_p_keeps_what_a_smaller_one_kept(self, do: str, ends: tuple[float, float], seed: int) -> None:
        """M = [rand < p], and rand depends on the seed alone."""
        small, great = (self.mask(do, p, seed, side=40) for p in sorted(ends))
        assert (great | ~small).all()


BOXED: dict[str, tuple[float, ...]] = {
    "arithmetic": (0.7, 0.4),
    "geometric": (1.3, -0.2),
    "pixel": (0.4, 11),
    "element": (0.4, 11),
}


@st.composite
def boxes(draw: st.DrawFn, side: int) -> tuple[int, int, int, int]:
    """left, top, width, height of a box inside a square image."""
    left, top = draw(st.integers(0, side - 1)), draw(st.integers(0, side - 1))
    return left, top, draw(st.integers(1, side - left)), draw(st.integers(1, side - top))


class TestBoxes:
    @pytest.mark.parametrize("do", sorted(BOXED))
    @settings(max_examples=40, deadline=None)
    @given(box=boxes(37))
    def test_outside_the_box_the_current_image_stays(self, do: str, box: tuple[int, int, int, int]) -> None:
        x1, x2 = registers("noise", 37, 37, 2)
        result = apply(do, (x1, x2), (*BOXED[do], *box))
        left, top, width, height = box
        outside = np.ones(x1.shape, bool)
        outside[top : top + height, left : left + width] = False
        np.testing.assert_array_equal(result[outside], x1[outside])

    @FORMULA_BLENDS
    @settings(max_examples=40, deadline=None)
    @given(box=boxes(37))
    def test_inside_the_box_the_blend_is_the_whole_images(self, do: str, box: tuple[int, int, int, int]) -> None:
        x1, x2 = registers("smooth", 37, 37, 2)
        left, top, width, height = box
        inner = np.s_[top : top + height, left : left + width]
        result = apply(do, (x1, x2), (*BOXED[do], *box))
        np.testing.assert_array_equal(result[inner], apply(do, (x1, x2), BOXED[do])[inner])

    @MASKS
    def test_inside_the_box_a_mask_mixes_both(self, do: str) -> None:
        x1, x2 = np.full((64, 64, 3), 9, np.uint8), np.full((64, 64, 3), 200, np.uint8)
        inner = apply(do, (x1, x2), (0.4, 11, 3, 5, 50, 40))[5:45, 3:53]
        assert np.isin(inner, (9, 200)).all()
        assert abs((inner == 9).mean() - 0.4) < 5 * np.sqrt(0.24 / 2000)

    @pytest.mark.parametrize("do", sorted(BOXED))
    def test_a_box_over_everything_is_no_box(self, do: str) -> None:
        x1, x2 = registers("noise", 30, 30, 2)
        whole = apply(do, (x1, x2), (*BOXED[do], 0, 0, 30, 30))
        np.testing.assert_array_equal(whole, apply(do, (x1, x2), BOXED[do]))


class TestWeighted:
    @settings(max_examples=80, deadline=None)
    @given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 10**6))
    def test_agrees_for_any_weights(self, data: st.DataObject, kind: str, seed: int) -> None:
        weights = tuple(data.draw(st.lists(decimals(0, 1), min_size=1, max_size=8)))
        side = data.draw(st.integers(1, 40))
        assert_agrees("weighted", tuple(registers(kind, side, side, len(weights), seed)), weights)

    @pytest.mark.parametrize("count", range(1, 9))
    def test_convex_weights_keep_an_image_that_all_share(self, count: int) -> None:
        """Six decimals of k equal weights sum to within a millionth of 1: too little to move any level."""
        image = all_pairs()[0]
        weights = [round(1 / count, 6)] * (count - 1)
        weights.append(round(1 - sum(weights), 6))
        np.testing.assert_array_equal(apply("weighted", [image] * count, weights), image)

    def test_weight_one_is_the_image(self) -> None:
        images = registers("noise", 33, 33, 8)
        for place in range(8):
            weights = [float(index == place) for index in range(8)]
            np.testing.assert_array_equal(apply("weighted", images, weights), images[place])
        np.testing.assert_array_equal(apply("weighted", images[:1], (1.0,)), images[0])

    def test_the_sum_is_rounded_once(self) -> None:
        """Eight weights of an eighth: rounding each term would be up to four steps off."""
        images = registers("noise", 64, 64, 8)
        result = apply("weighted", images, (0.125,) * 8)
        exact = (np.sum(images, axis=0, dtype=int) + 4) // 8
        np.testing.assert_array_equal(result, exact)

    @pytest.mark.parametrize("weight", [16.0, -16.0])
    def test_the_largest_weights_do_not_overflow(self, weight: float) -> None:
        images = registers("corners", 32, 32, 8)
        assert_agrees("weighted", tuple(images), (weight,) * 8)
        white = np.full((9, 9, 3), 255, np.uint8)
        assert_agrees("weighted", (white,) * 8, (weight,) * 8)

    def test_sums_above_white_are_white(self) -> None:
        white = np.full((9, 9, 3), 255, np.uint8)
        assert (apply("weighted", [white] * 8, (1.0,) * 8) == 255).all()


class TestPurity:
    @pytest.mark.parametrize("do", [*sorted(BOXED), "weighted"])
    def test_inputs_are_left_alone_and_may_be_read_only(self, do: str) -> None:
        images = registers("smooth", 33, 33, 2)
        frozen = registers("smooth", 33, 33, 2)
        for image in frozen:
            image.flags.writeable = False
        args = BOXED.get(do, (0.3, 0.7))
        np.testing.assert_array_equal(apply(do, images, args), apply(do, frozen, args))
        np.testing.assert_array_equal(images, frozen)

    @pytest.mark.parametrize("do", [*sorted(BOXED), "weighted"])
    def test_outsized_args_are_refused_or_right(self, do: str) -> None:
        """Fixed-point numbers overflow silently, so there must be no args for which they can."""
        images = tuple(registers("corners", 16, 16, 2))
        for place in (0, 1):
            for value in (30.0, -30.0, 1e3, -1e3, 1e6, -1e6, 2.0**31, -(2.0**31), 1e15, -1e15, 2.0**63, 1e300, -1e300):
                args = tuple(value if index == place else arg for index, arg in enumerate(BOXED.get(do, (0.5, 0.5))))
                try:
                    apply(do, images, args)
                except UsageError:
                    continue
                if do in FORMULAS:
                    assert_agrees(do, images, args)
                else:
                    assert 0 <= args[0] <= 1, f"{do} took {args}"


ONE, TWO = registers("noise", 8, 8, 2)
PAIR = [ONE, TWO]
REFUSED: dict[str, tuple[str, list[object], tuple[object, ...]]] = {
    "one register": ("arithmetic", [ONE], (0.5, 0.5)),
    "three registers": ("geometric", [ONE, TWO, ONE], (0.5, 0.5)),
    "two oblongs": ("pixel", [ONE[:7], TWO[:7]], (0.5, 1)),
    "two heights": ("arithmetic", [ONE, TWO[:7]], (0.5, 0.5)),
    "two sizes in a sum": ("weighted", [ONE, sample("noise", 9, 9)], (0.5, 0.5)),
    "grey partner": ("element", [ONE, TWO[..., 0]], (0.5, 1)),
    "float partner": ("arithmetic", [ONE, TWO / 255], (0.5, 0.5)),
    "no coefficients": ("geometric", PAIR, ()),
    "one coefficient": ("arithmetic", PAIR, (0.5,)),
    "half a box": ("arithmetic", PAIR, (0.5, 0.5, 0, 0)),
    "five numbers of a box": ("arithmetic", PAIR, (0.5, 0.5, 0, 0, 8, 8, 0)),
    "box past the right": ("arithmetic", PAIR, (0.5, 0.5, 1, 0, 8, 8)),
    "box past the bottom": ("geometric", PAIR, (0.5, 0.5, 0, 5, 8, 4)),
    "box past the left": ("pixel", PAIR, (0.5, 1, -1, 0, 4, 4)),
    "box above the top": ("element", PAIR, (0.5, 1, 0, -3, 4, 4)),
    "box of negative width": ("arithmetic", PAIR, (0.5, 0.5, 4, 4, -2, 2)),
    "box of negative height": ("geometric", PAIR, (0.5, 0.5, 4, 4, 2, -2)),
    "box that wraps around": ("pixel", PAIR, (0.5, 1, 2**63 - 1, 0, 2, 2)),
    "fractional box": ("arithmetic", PAIR, (0.5, 0.5, 0.5, 0, 4, 4)),
    "share above 1": ("pixel", PAIR, (1.5, 1)),
    "share below 0": ("element", PAIR, (-0.5, 1)),
    "share that is not a number": ("pixel", PAIR, (float("nan"), 1)),
    "fractional seed": ("pixel", PAIR, (0.5, 1.5)),
    "coefficient that is not a number": ("arithmetic", PAIR, (float("nan"), 0.5)),
    "infinite coefficient": ("geometric", PAIR, (0.5, float("-inf"))),
    "no weights": ("weighted", PAIR, ()),
    "a weight too few": ("weighted", PAIR, (1.0,)),
    "a weight too many": ("weighted", PAIR, (0.2, 0.3, 0.5)),
    "nothing to weigh": ("weighted", [], ()),
    "nine registers": ("weighted", [ONE] * 9, (0.1,) * 9),
    "weight that is not a number": ("weighted", PAIR, (0.5, float("nan"))),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_a_kernel_cannot_do_is_refused(case: str) -> None:
    do, images, args = REFUSED[case]
    with pytest.raises(UsageError, match=r"\w"):
        apply(do, images, args)  # type: ignore[arg-type]  # that is the point
