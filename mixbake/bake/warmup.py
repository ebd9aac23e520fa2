"""Compiles every kernel that a bake needs, once, in the parent, before workers start.

Six workers started cold would each compile everything. Rule: called with one of each shape of argument
that the bake will pass, so that workers only load from the cache.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mixbake.core import members, render
from mixbake.core.jit import kernel_cache
from mixbake.core.kernels import program
from mixbake.core.variant import Crop
from mixbake.recipes.presets import RECIPES
from mixbake.recipes.recipe import Lot, draw


def warm_up(say: Callable[[str], None]) -> None:
    """Compile, or load, every kernel; says so beforehand when it will take long."""
    kernels = kernel_cache(Path(program.__file__).resolve())
    if not any(kernels.rglob("*.nbc")):
        say(f"compiling the kernels, once for this installation (kept in {kernels}): about half a minute")
    pictures = render.as_pictures([np.zeros((36, 36, 1), np.uint8)])
    images = np.zeros((1, 32, 32, 3), np.uint8)
    for name, recipe in RECIPES.items():
        for crop in ("pad", "resized"):
            lot = Lot(
                seed=0,
                view="mix",
                images=np.zeros(1, np.int64),
                numbers=np.zeros(1, np.int64),
                shapes=np.full((1, 2), 32, np.int32),
                size=32,
                crop=crop,
                bake_flip=True,
                group=1,
                pictures=pictures[2],
            )
            table = draw(recipe, lot, name=name)
            render.render_stack(table, images, np.zeros(1, np.int64), pictures, render.Canvas(32))
    labels = members.Labels(labels=np.zeros(1, np.int64), classes=["a"], sources=["a"])
    members.write_members(table, np.zeros(1, np.int64), labels, 2048)
    render.crop(images[0], Crop(kind="fit", left=0, top=0, width=32, height=32), 16)
