"""Recipes change pictures as much, and as variously, as the plain renditions in scripts/ do, written without mixbake.

What is compared is a picture's mean change over many variants: of the same images with the same mixing pictures.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from mixbake.core import render
from mixbake.data.demo import draw_demo
from mixbake.recipes.presets import resolve
from mixbake.recipes.recipe import Lot, draw

pytest.importorskip("torchvision")
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "scripts"))

SIZE, IMAGES, VARIANTS = 32, 8, 800
SIGNIFICANCE = 1e-3
ROWS = np.arange(VARIANTS)
Bytes = NDArray[np.uint8]


def images() -> Bytes:
    return np.stack([draw_demo(number, size=SIZE, split="train") for number in range(IMAGES)])


def pictures(*, gray: bool) -> list[Bytes]:
    """Mixing pictures of the very size, so that there is one window of each."""
    found = [Image.fromarray(draw_demo(number, size=SIZE, split="test")) for number in range(6)]
    return [np.array(one.convert("L") if gray else one).reshape(SIZE, SIZE, -1) for one in found]


def ours(name: str, **overrides: Any) -> Bytes:
    named = resolve(name, size=SIZE, overrides=overrides)
    flat = render.as_pictures(pictures(gray=named.recipe.gray_pictures))
    lot = Lot(
        seed=3,
        view="mix",
        images=ROWS % IMAGES,
        numbers=ROWS // IMAGES,
        shapes=np.full((VARIANTS, 2), SIZE, np.int32),
        size=SIZE,
        crop="fit",
        bake_flip=False,
        group=1,
        pictures=flat[2],
    )
    table = draw(named.recipe, lot, name=named.name)
    return render.render_stack(table, images(), ROWS % IMAGES, flat, render.Canvas(SIZE))


def theirs(name: str) -> Bytes:
    import torch
    from reference_layermix import layermix
    from reference_recipes import RECIPES, tensor

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    sources = [Image.fromarray(image) for image in images()]
    mixing = [Image.fromarray(picture.squeeze()).convert("RGB") for picture in pictures(gray=name == "layermix")]
    rendition: Callable[..., Any] = RECIPES.get(name, layermix)

    def mixed(row: int) -> Bytes:
        image, picture = sources[row % IMAGES], mixing[rng.integers(len(mixing))]
        if name == "layermix":
            result, _ = layermix(tensor(image), flipped(tensor(picture), rng), rng)
        else:
            result = rendition(image, picture, rng)
        scaled = np.asarray(result.permute(1, 2, 0) * 255 if isinstance(result, torch.Tensor) else result)
        return scaled.round().clip(0, 255).astype(np.uint8)

    return np.stack([mixed(row) for row in ROWS.tolist()])


def flipped(picture: Any, rng: np.random.Generator) -> Any:
    """LayerMix mirrors its pictures, either way."""
    return picture.flip([axis for axis in (1, 2) if rng.random() < 0.5])


def change(variants: Bytes) -> NDArray[np.float64]:
    """Mean absolute change of each variant, in grey levels."""
    return np.abs(variants.astype(float) - images()[ROWS % IMAGES]).mean(axis=(1, 2, 3))


def p_value(mine: Bytes, other: Bytes) -> float:
    """Least of three p-values: of change, brightness and contrast of variants (Kolmogorov and Smirnov)."""
    signals = change, lambda variants: variants.mean(axis=(1, 2, 3)), lambda variants: variants.std(axis=(1, 2, 3))
    return min(float(stats.ks_2samp(signal(mine), signal(other)).pvalue) for signal in signals)


OTHERWISE: dict[str, dict[str, Any]] = {
    "layermix": {"layers": (1, 2)},
    "pixmix": {"k": 2},
    "augmix": {"severity": 6},
    "ipmix": {"t": 2},
}
"""A parameter that makes another recipe of each."""


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERWISE)
def test_variants_change_as_those_of_the_plain_rendition(name: str) -> None:
    other = theirs(name)
    assert p_value(ours(name), other) > SIGNIFICANCE
    # Else nothing would have been compared.
    assert p_value(ours(name, **OTHERWISE[name]), other) < SIGNIFICANCE
