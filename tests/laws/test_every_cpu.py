"""Pixels are the same on every CPU, and for as long as the schema version is the same.

The digests below are of the pixels and draws of schema version 1. A change that alters one is breaking: raise
`SCHEMA_VERSION`, say so in the change log, and print the new table with `python tests/laws/fixed_renders.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import fixed_renders
import pytest
from processes import PATIENCE

from mixbake.core import ops
from mixbake.core.variant import SCHEMA_VERSION
from mixbake.recipes.presets import RECIPES

PIXELS_OF_VERSION = 1
PIXELS = {
    "rotate": "6cd411d45e738bd6",
    "shear_x": "ade538877305ab10",
    "shear_y": "58a55a30871a9c48",
    "translate_x": "6eb15f99496f4100",
    "translate_y": "81bade72b717747e",
    "posterize": "a5b48366bdd13cb4",
    "solarize": "bd638bb32b83fd78",
    "equalize": "708eea67de8a88f1",
    "autocontrast": "1fe7c89f3b4c4d80",
    "grayscale": "94323849a71d6225",
    "mirror": "bfb70cbf37fd9cda",
    "invert": "dee3f966a27fa651",
    "color": "0c14295bad4c966f",
    "contrast": "8199f50d9ca3df17",
    "brightness": "b3ef46816e4eae03",
    "sharpness": "40b572bf640c59e0",
    "arithmetic": "960cdedb9878862a",
    "geometric": "10f91dce0a6af1af",
    "pixel": "f97e83a6f0dc55bc",
    "element": "ff65a3252cc22024",
    "weighted": "0c0a32aa2c755ca8",
    "crop pad": "5e61eac99f5ce66f",
    "crop resized": "5e743996b5e99d9f",
    "crop fit": "e70325c3b2de4834",
    "layermix-cifar pad: draws": "d26ae5e2565ee9c1",
    "layermix-cifar pad: pixels": "1466866a1b3569eb",
    "layermix-cifar resized: draws": "41e6b278fa748a81",
    "layermix-cifar resized: pixels": "3f56db9ae020f1db",
    "layermix-imagenet pad: draws": "8bafdb1c30c8e0c3",
    "layermix-imagenet pad: pixels": "1466866a1b3569eb",
    "layermix-imagenet resized: draws": "e52ae5888de3479b",
    "layermix-imagenet resized: pixels": "3f56db9ae020f1db",
    "layermix-code pad: draws": "ea2c95c13b697821",
    "layermix-code pad: pixels": "8075edaed0d520c8",
    "layermix-code resized: draws": "00f2a6f02d089f9e",
    "layermix-code resized: pixels": "b6db84eb3da95fe3",
    "layermix-article pad: draws": "3cccb2c4df4dc5b0",
    "layermix-article pad: pixels": "d91c0b8fe2be2e2e",
    "layermix-article resized: draws": "7de496c0b6574ad7",
    "layermix-article resized: pixels": "5c485e1ae0c63ec3",
    "pixmix-cifar pad: draws": "00d53905852cc4e0",
    "pixmix-cifar pad: pixels": "1fcc77bcce662829",
    "pixmix-cifar resized: draws": "c995f7ba190b2625",
    "pixmix-cifar resized: pixels": "13572f42e3b697c7",
    "pixmix-imagenet pad: draws": "4e2a190177f44623",
    "pixmix-imagenet pad: pixels": "63f5f6db36942eb0",
    "pixmix-imagenet resized: draws": "d7b8acfa1ce834b3",
    "pixmix-imagenet resized: pixels": "b6ca573d3e61393d",
    "augmix-cifar pad: draws": "f3dc925ca8b9e76a",
    "augmix-cifar pad: pixels": "9d10532a3556a1d6",
    "augmix-cifar resized: draws": "8848a08751f2f7f2",
    "augmix-cifar resized: pixels": "48ae63ec57a4d748",
    "augmix-imagenet pad: draws": "ae95901cbf64c9f8",
    "augmix-imagenet pad: pixels": "d80a218cf4be2be2",
    "augmix-imagenet resized: draws": "6a18155802e910be",
    "augmix-imagenet resized: pixels": "b65885bc796381bb",
    "augmix-composer pad: draws": "01191e98575a8522",
    "augmix-composer pad: pixels": "d7995d8bac977826",
    "augmix-composer resized: draws": "5157d415a659c1f6",
    "augmix-composer resized: pixels": "7e8ccb8d09a6ad9a",
    "ipmix-cifar pad: draws": "cbcd3817bd50e42b",
    "ipmix-cifar pad: pixels": "a71858a766c3789c",
    "ipmix-cifar resized: draws": "0faa6c88baeb2562",
    "ipmix-cifar resized: pixels": "a12fe449b87dd170",
    "ipmix-imagenet pad: draws": "497c82b5067e2b68",
    "ipmix-imagenet pad: pixels": "7cf2f99d61be3560",
    "ipmix-imagenet resized: draws": "28479448f39c8975",
    "ipmix-imagenet resized: pixels": "0ee7f8220610da9e",
    "plain pad: draws": "e6f11a4826157fdf",
    "plain pad: pixels": "dd7e11d91e5457ae",
    "plain resized: draws": "388e7996446c3d23",
    "plain resized: pixels": "f72ee300f348cf9b",
}

SLOWEST_NUMPY = """
import numpy
compiled = numpy._core._multiarray_umath
print(" ".join(name for name in compiled.__cpu_dispatch__ if compiled.__cpu_features__[name]))
"""


def test_pixels_and_draws_are_those_of_this_version() -> None:
    assert SCHEMA_VERSION == PIXELS_OF_VERSION, "a new version: print a new table with fixed_renders.py"
    now = fixed_renders.digests()
    changed = sorted(name for name in PIXELS if now.get(name) != PIXELS[name])
    assert not changed, f"pixels or draws of {changed} have changed: bump SCHEMA_VERSION, or undo the change"
    assert now.keys() == PIXELS.keys()


def test_every_step_crop_and_preset_is_looked_at() -> None:
    assert fixed_renders.STEPS.keys() == ops.STEPS.keys()
    assert {f"{name} pad: pixels" for name in RECIPES} <= PIXELS.keys()
    assert len({PIXELS[name] for name in ops.STEPS}) == len(ops.STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["generic numba", "baseline numpy", "both"])
def test_the_oldest_cpu_renders_the_same_pixels(tmp_path: Path, cpu: str) -> None:
    """A process of its own compiles every kernel for a CPU without AVX, or runs numpy without its faster paths."""
    environment = os.environ | {"MIXBAKE_CACHE": str(tmp_path / "cache")}
    if cpu != "baseline numpy":
        environment |= {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    if cpu != "generic numba":
        dispatched = _run([sys.executable, "-c", SLOWEST_NUMPY], os.environ.copy())
        environment |= {"NPY_DISABLE_CPU_FEATURES": dispatched.strip()}
    told = _run([sys.executable, "-W", "error", str(Path(fixed_renders.__file__))], environment)
    assert json.loads(told) == fixed_renders.digests()
    assert any((tmp_path / "cache").rglob("*.nbc"))


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
