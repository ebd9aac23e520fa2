"""Steps and programs agree with their formulas, with Pillow and with torchvision, as closely as the table says."""

import importlib.util
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from formulas import KINDS, Image, sample
from peers import FORMULA_BOUNDS, PEERS, Row, formula_rows, peer_rows, recipe_rows
from PIL import Image as Pillow

from mixbake.core.ops import STEPS
from mixbake.data.demo import draw_demo

Load = Callable[[], list[Image]]
REAL = Path(os.environ.get("MIXBAKE_DATA", "")) / "cifar10-small" / "train"


def synthetic() -> list[Image]:
    return [sample(kind, 48, 48, seed) for kind in KINDS for seed in range(2)]


def photographs() -> list[Image]:
    if not os.environ.get("MIXBAKE_DATA") or not REAL.is_dir():
        pytest.skip("MIXBAKE_DATA names no folder with cifar10-small")
    return [np.asarray(Pillow.open(path).convert("RGB")) for path in sorted(REAL.rglob("*.png"))[:12]]


def assert_within(rows: Iterable[Row]) -> None:
    found = list(rows)
    assert found
    for row in found:
        if row.bound is None:
            assert row.note
            assert row.largest > 1, f"{row}: nothing is defined differently here"
        else:
            largest, mean = row.bound
            assert largest is None or row.largest <= largest, row
            assert row.mean <= mean, row
            assert row.worst_bound is None or row.worst <= row.worst_bound, row


PICTURES = pytest.mark.parametrize("pictures", [synthetic, photographs], ids=lambda load: load.__name__)


@PICTURES
def test_steps_are_their_formulas(pictures: Load) -> None:
    assert_within(formula_rows(pictures()))


@PICTURES
@pytest.mark.parametrize("library", ["Pillow", "torchvision"])
def test_steps_are_those_of_other_libraries(pictures: Load, library: str) -> None:
    if library == "torchvision" and importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is in the train extra")
    peers = [peer for peer in PEERS if peer.against.startswith(library)]
    assert_within(peer_rows(pictures(), peers))


@PICTURES
def test_whole_programs_are_those_of_float64(pictures: Load) -> None:
    images = pictures() if pictures is photographs else [draw_demo(i, size=32, split="train") for i in range(6)]
    assert_within(recipe_rows(images, 24))


def test_nothing_is_left_out() -> None:
    assert FORMULA_BOUNDS.keys() == STEPS.keys()
    both = {"Pillow", "torchvision"}
    compared = {do: {peer.against.split()[0].strip(",") for peer in PEERS if peer.do == do} for do in STEPS}
    assert all(compared[do] == (both if STEPS[do].sources == 1 else set()) for do in STEPS), compared
