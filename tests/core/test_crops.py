"""Crops: "resized" and "fit" are Pillow's antialiased bilinear to the bit, "pad" is a window on a zero-padded image."""

import numpy as np
import pytest
from formulas import KINDS, Image, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from mixbake.core.render import crop
from mixbake.core.variant import Crop
from mixbake.errors import UsageError

SIZES = (32, 64, 100, 224, 225)
Box = tuple[int, int, int, int]


def in_pillow(image: Image, box: Box, size: int) -> Image:
    """Vertical pass first, by two one-axis calls: how Pillow orders the passes of one call depends on its version."""
    left, top, width, height = box
    window = Pillow.fromarray(image).crop((left, top, left + width, top + height))
    columns = window.resize((width, size), Pillow.Resampling.BILINEAR)
    return np.asarray(columns.resize((size, size), Pillow.Resampling.BILINEAR))


def resized(image: Image, box: Box, size: int, *, kind: str = "resized", flip: bool = False) -> Image:
    left, top, width, height = box
    return crop(image, Crop(kind=kind, left=left, top=top, width=width, height=height), size, flip)


def assert_pillows(image: Image, box: Box, size: int) -> None:
    result = resized(image, box, size)
    assert (result.shape, result.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_array_equal(result, in_pillow(image, box, size), err_msg=f"{image.shape} {box} to {size}")


@st.composite
def images_and_boxes(draw: st.DrawFn) -> tuple[Image, Box]:
    height, width = draw(st.integers(1, 130)), draw(st.integers(1, 130))
    image = sample(draw(st.sampled_from(sorted(KINDS))), height, width, draw(st.integers(0, 10**6)))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return image, (left, top, draw(st.integers(1, width - left)), draw(st.integers(1, height - top)))


@pytest.fixture(scope="module")
def photographs() -> tuple[Image, ...]:
    """Three images of a photograph's size."""
    return tuple(sample(kind, 375, 500) for kind in ("smooth", "noise", "corners"))


class TestResized:
    @settings(max_examples=250, deadline=None)
    @given(image_and_box=images_and_boxes(), size=st.sampled_from(SIZES) | st.integers(1, 80))
    def test_any_box_is_pillows(self, image_and_box: tuple[Image, Box], size: int) -> None:
        assert_pillows(*image_and_box, size)

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize(
        "box",
        [
            (0, 0, 500, 375),
            (0, 0, 375, 375),
            (17, 3, 1, 372),
            (3, 17, 497, 1),
            (499, 374, 1, 1),
            (100, 0, 40, 375),
            (0, 100, 500, 40),
            (200, 100, 7, 5),
            (123, 45, 224, 224),
            (123, 45, 225, 100),
            (0, 0, 32, 375),
            (12, 34, 449, 64),
        ],
    )
    def test_boxes_of_a_photograph_are_pillows(self, photographs: tuple[Image, ...], box: Box, size: int) -> None:
        for image in photographs:
            assert_pillows(image, box, size)

    @pytest.mark.parametrize("seed", range(4))
    def test_random_resized_crops_are_pillows(self, seed: int) -> None:
        """Area 8 to 100 percent, ratio 3/4 to 4/3: what recipes draw."""
        rng = np.random.default_rng(seed)
        image = sample("noise", 333, 400, seed)
        for _ in range(15):
            area, ratio = 333 * 400 * rng.uniform(0.08, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            width, height = min(400, round((area * ratio) ** 0.5)), min(333, round((area / ratio) ** 0.5))
            left, top = int(rng.integers(0, 401 - width)), int(rng.integers(0, 334 - height))
            assert_pillows(image, (left, top, width, height), 224)

    @pytest.mark.parametrize("shape", [(1500, 2000), (2000, 1500), (4000, 3), (3, 4000)])
    def test_large_reductions_are_pillows(self, shape: tuple[int, int]) -> None:
        image = sample("noise", *shape)
        assert_pillows(image, (0, 0, shape[1], shape[0]), 32)

    @pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
    def test_one_level_stays_that_level(self, level: int) -> None:
        image = np.full((61, 83, 3), level, np.uint8)
        for size in SIZES:
            assert (resized(image, (5, 2, 71, 43), size) == level).all()

    def test_own_size_is_the_window_itself(self) -> None:
        image = sample("noise", 120, 150)
        np.testing.assert_array_equal(resized(image, (20, 30, 64, 64), 64), image[30:94, 20:84])

    @settings(max_examples=60, deadline=None)
    @given(image_and_box=images_and_boxes(), size=st.integers(1, 70))
    def test_fit_is_resized_with_the_callers_box(self, image_and_box: tuple[Image, Box], size: int) -> None:
        image, box = image_and_box
        np.testing.assert_array_equal(resized(image, box, size, kind="fit"), in_pillow(image, box, size))

    @settings(max_examples=60, deadline=None)
    @given(image_and_box=images_and_boxes(), size=st.integers(1, 70), kind=st.sampled_from(["resized", "fit"]))
    def test_flip_mirrors_the_result(self, image_and_box: tuple[Image, Box], size: int, kind: str) -> None:
        image, box = image_and_box
        expected = np.fliplr(in_pillow(image, box, size))
        np.testing.assert_array_equal(resized(image, box, size, kind=kind, flip=True), expected)


class TestPad:
    @settings(max_examples=150, deadline=None)
    @given(data=st.data(), size=st.integers(1, 64), flip=st.booleans())
    def test_window_on_the_zero_padded_image(self, data: st.DataObject, size: int, flip: bool) -> None:
        image = sample("noise", size, size, data.draw(st.integers(0, 1000)))
        left, top = (data.draw(st.integers(-size, size)) for _ in range(2))
        padded = np.pad(image, ((size, size), (size, size), (0, 0)))
        expected = padded[top + size : top + 2 * size, left + size : left + 2 * size]
        window = Crop(kind="pad", left=left, top=top, width=size, height=size)
        result = crop(image, window, size, flip)
        assert (result.shape, result.dtype) == ((size, size, 3), np.uint8)
        np.testing.assert_array_equal(result, np.fliplr(expected) if flip else expected)

    def test_every_offset_of_a_small_image(self) -> None:
        """side/8 on each edge, as for 32x32 images."""
        image = sample("smooth", 32, 32)
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        for top in range(-4, 5):
            for left in range(-4, 5):
                result = crop(image, Crop(kind="pad", left=left, top=top, width=32, height=32), 32)
                np.testing.assert_array_equal(result, padded[top + 4 : top + 36, left + 4 : left + 36])


class TestPurity:
    @pytest.mark.parametrize("kind", ["pad", "resized", "fit"])
    @pytest.mark.parametrize("flip", [False, True])
    def test_input_is_left_alone_and_may_be_read_only(self, kind: str, flip: bool) -> None:
        image = sample("noise", 32, 32)
        frozen = image.copy()
        frozen.flags.writeable = False
        box = (3, -2, 32, 32) if kind == "pad" else (3, 2, 20, 25)
        first = resized(image, box, 32, kind=kind, flip=flip)
        np.testing.assert_array_equal(first, resized(frozen, box, 32, kind=kind, flip=flip))
        np.testing.assert_array_equal(image, frozen)

    @pytest.mark.parametrize("kind", ["pad", "resized"])
    def test_the_result_is_new_memory(self, kind: str) -> None:
        image = sample("noise", 32, 32)
        result = resized(image, (0, 0, 32, 32), 32, kind=kind)
        np.testing.assert_array_equal(result, image)
        result[:] = 0
        np.testing.assert_array_equal(image, sample("noise", 32, 32))


IMAGE = sample("noise", 40, 50)
SQUARE = sample("noise", 32, 32)
REFUSED: dict[str, tuple[object, str, Box, int]] = {
    "past the right": (IMAGE, "resized", (20, 0, 31, 40), 32),
    "past the bottom": (IMAGE, "resized", (0, 20, 50, 21), 32),
    "past the left": (IMAGE, "resized", (-1, 0, 20, 20), 32),
    "above the top": (IMAGE, "fit", (0, -1, 20, 20), 32),
    "far away": (IMAGE, "fit", (10**12, 0, 20, 20), 32),
    "so far that it wraps around": (IMAGE, "resized", (2**63 - 10, 0, 20, 20), 32),
    "no width": (IMAGE, "resized", (5, 5, 0, 10), 32),
    "no height": (IMAGE, "fit", (5, 5, 10, 0), 32),
    "negative width": (IMAGE, "resized", (20, 5, -10, 10), 32),
    "no size": (IMAGE, "resized", (0, 0, 40, 40), 0),
    "negative size": (IMAGE, "resized", (0, 0, 40, 40), -32),
    "unknown kind": (IMAGE, "stretched", (0, 0, 40, 40), 32),
    "grey image": (IMAGE[..., 0], "resized", (0, 0, 40, 40), 32),
    "four channels": (np.zeros((40, 40, 4), np.uint8), "resized", (0, 0, 40, 40), 32),
    "no pixels": (np.zeros((0, 40, 3), np.uint8), "resized", (0, 0, 40, 40), 32),
    "floats": (IMAGE / 255, "resized", (0, 0, 40, 40), 32),
    "16 bits": (IMAGE.astype(np.uint16), "fit", (0, 0, 40, 40), 32),
    "padding floats": (SQUARE / 255, "pad", (0, 0, 32, 32), 32),
    "padding a grey image": (SQUARE[..., 0], "pad", (0, 0, 32, 32), 32),
    "padded window of another size": (SQUARE, "pad", (0, 0, 30, 32), 32),
    "every other pixel": (IMAGE[::2, ::2], "resized", (0, 0, 20, 20), 32),
    "padded window of negative size": (SQUARE, "pad", (0, 0, -32, -32), 32),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_a_kernel_cannot_do_is_refused(case: str) -> None:
    image, kind, (left, top, width, height), size = REFUSED[case]
    with pytest.raises(UsageError, match=r"\w"):
        # Crop may refuse by itself: what counts is that no kernel runs past its arrays.
        crop(image, Crop(kind=kind, left=left, top=top, width=width, height=height), size)  # type: ignore[arg-type]  # the point
