"""What a table of programs does to images; what does not fit is refused with what it is, before a kernel sees it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from formulas import sample
from plain_programs import BARE

from mixbake.core import programs, render
from mixbake.core.jit import cache_root
from mixbake.core.rng import scrambled
from mixbake.core.variant import Crop, Picture, Step, Variant, canonical_number, from_json, to_json
from mixbake.errors import UsageError

SIZE = 8
IMAGE = sample("noise", SIZE, SIZE)
PLAIN = replace(BARE, image=5, number=3)
MIXED = replace(
    PLAIN,
    picture=Picture(id=2, left=0, top=0, hflip=False, vflip=False, gray=False),
    steps=(Step(do="pixel", src=(0, 1), args=(0.5, 7)),),
)


def with_step(**step: Any) -> Variant:
    return replace(PLAIN, steps=(Step(**step),))


def stacked(images: Any, which: Any) -> Any:
    table = programs.from_variants([PLAIN])
    return render.render_stack(table, images, np.asarray(which, np.int64), render.NO_PICTURES, render.Canvas(SIZE))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "an unknown step": (lambda: programs.from_variants([with_step(do="wobble", src=(0,))]), "unknown step 'wobble'"),
    "a register too few": (
        lambda: programs.from_variants([with_step(do="pixel", src=(0,), args=(0.5, 7))]),
        "pixel reads 2 registers, not 1",
    ),
    "no picture": (lambda: render.render(MIXED, IMAGE, size=SIZE), "00000005-0003 mixes with picture 2: pass"),
    "a picture of two channels": (
        lambda: render.render(MIXED, IMAGE, np.zeros((SIZE, SIZE, 2), np.uint8), size=SIZE),
        "a prepared picture is uint8",
    ),
    "a picture of floats": (lambda: render.render(MIXED, IMAGE, IMAGE / 255, size=SIZE), "not float64"),
    "pictures of one and of three channels": (
        lambda: render.as_pictures([IMAGE, IMAGE[:, :, :1]]),
        "the same number of channels",
    ),
    "an image too many": (
        lambda: list(
            render.render_each(programs.from_variants([PLAIN]), [IMAGE, IMAGE], render.NO_PICTURES, render.Canvas(SIZE))
        ),
        "1 programs need as many images, not 2",
    ),
    "a stack of floats": (lambda: stacked(IMAGE[None] / 255, [0]), "contiguous uint8 m×H×W×3"),
    "a stack with holes": (lambda: stacked(IMAGE[None, :, ::2], [0]), "contiguous uint8 m×H×W×3"),
    "a row of no image": (lambda: stacked(IMAGE[None], [1]), "1 numbers below 1"),
    "rows too few": (lambda: stacked(IMAGE[None], []), "1 numbers below 1"),
    "text that is no JSON": (lambda: from_json("{"), "not the JSON of a variant"),
    "JSON of something else": (lambda: from_json('{"image": 1}'), "not the JSON of a variant"),
    "JSON of a step that is none": (
        lambda: from_json(to_json(MIXED).replace("pixel", "wobble!")),
        "unknown step 'wobble!'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str) -> None:
    run, said = REFUSED[case]
    with pytest.raises(UsageError, match=said):
        run()


def test_a_picture_is_what_its_program_reads() -> None:
    picture = sample("smooth", SIZE, SIZE)
    result = render.render(MIXED, IMAGE, picture, size=SIZE)
    assert ((result == IMAGE) | (result == picture)).all()


def test_an_image_is_fitted_to_padded_crops_alone() -> None:
    oblong = sample("smooth", 12, 20)
    assert render.fitted(oblong, crop_kind="resized", size=SIZE) is oblong
    assert render.fitted(IMAGE, crop_kind="pad", size=SIZE) is IMAGE
    square = Crop(kind="fit", left=4, top=0, width=12, height=12)
    np.testing.assert_array_equal(render.fitted(oblong, crop_kind="pad", size=SIZE), render.crop(oblong, square, SIZE))


def test_numbers_are_spelt_without_exponents() -> None:
    spelt = [canonical_number(value) for value in (12, -3, 0.000001, -12.5, 1e6, 0.0)]
    assert spelt == ["12", "-3", "0.000001", "-12.5", "1000000.0", "0.0"]


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MIXBAKE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "mixbake"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "mixbake"
    monkeypatch.setenv("MIXBAKE_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"


def test_scrambled_words_are_all_others() -> None:
    """A bijection that turns over half of the bits when one changes."""
    words = np.arange(4096, dtype=np.uint64)
    found = scrambled(words)
    assert len(np.unique(found)) == len(words)
    changed = [(found ^ scrambled(words ^ np.uint64(1 << bit))) for bit in (0, 17, 63)]
    for bits in changed:
        assert abs(np.bitwise_count(bits).mean() - 32) < 0.5


def test_rows_one_by_one_are_rows_at_once() -> None:
    table = programs.from_variants([PLAIN, replace(PLAIN, flip=True), with_step(do="invert", src=(0,))])
    canvas = render.Canvas(SIZE)
    each = [image.copy() for image in render.render_each(table, [IMAGE] * 3, render.NO_PICTURES, canvas)]
    at_once = render.render_stack(table, IMAGE[None], np.zeros(3, np.int64), render.NO_PICTURES, canvas)
    np.testing.assert_array_equal(each, at_once)
    np.testing.assert_array_equal(each, [IMAGE, IMAGE[:, ::-1], 255 - IMAGE])
