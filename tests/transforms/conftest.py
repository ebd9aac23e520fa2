"""Images to transform, and transforms of every family."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import CLASSES, Bytes, Make

from mixbake.data.demo import draw_demo
from mixbake.transforms import RecipeTransform


@pytest.fixture(scope="module")
def images() -> Bytes:
    """Five drawings of 32 px."""
    return np.stack([draw_demo(number, size=32, split="train") for number in range(5)])


@pytest.fixture(scope="module")
def make(picture_folder: Path) -> Make:
    """make(family, ...): a transform with the six pictures to mix with, where it takes any."""

    def made(family: str, **options: Any) -> RecipeTransform:
        mixing = {} if family == "augmix" else {"mixing_set": picture_folder}
        return CLASSES[family](**mixing | options)

    return made
