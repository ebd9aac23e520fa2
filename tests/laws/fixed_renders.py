"""Renders a fixed set of steps, crops and whole programs, and prints a digest of each: the pixels of this version.

Run as a program, it prints them as one JSON document, so that another CPU or another environment can be compared.
Rule: inputs are bytes of SHAKE-256 and integer arithmetic, so that they never depend on a library's version.
"""

import hashlib
import json
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mixbake.core import render
from mixbake.core.variant import Crop, Number, to_json
from mixbake.recipes.presets import RECIPES
from mixbake.recipes.recipe import Lot, draw

SIDE = 37
"""Odd, so that vectorised loops have a tail."""

STEPS: dict[str, tuple[tuple[Number, ...], ...]] = {
    "rotate": ((17.25,), (-29.999999,), (90.0,)),
    "shear_x": ((0.21, 1), (-0.09, 0)),
    "shear_y": ((0.21, 1), (-0.09, 0)),
    "translate_x": ((3.4,), (-7.0,)),
    "translate_y": ((3.4,), (-7.0,)),
    "posterize": ((0,), (1,), (5,)),
    "solarize": ((0,), (117,), (256,)),
    "equalize": ((),),
    "autocontrast": ((0.0,), (7.5,)),
    "grayscale": ((),),
    "mirror": ((),),
    "invert": ((),),
    "color": ((0.28,), (1.9,)),
    "contrast": ((0.28,), (1.9,)),
    "brightness": ((0.28,), (1.9,)),
    "sharpness": ((0.28,), (1.9,)),
    "arithmetic": ((0.8, 0.3), (1.4, -0.45), (0.8, 0.3, 3, 5, 20, 11)),
    "geometric": ((0.8, 0.3), (1.4, -0.45), (1.4, -0.45, 3, 5, 20, 11)),
    "pixel": ((0.43, 12345), (0.9, 2**32 - 1, 3, 5, 20, 11)),
    "element": ((0.43, 12345), (0.9, 2**32 - 1, 3, 5, 20, 11)),
    "weighted": ((1.0,), (0.5, 0.2, 0.3), (-0.4, 1.4, 0.1, 0.2, -0.3)),
}
CROPS = (
    Crop(kind="pad", left=-4, top=3, width=SIDE, height=SIDE),
    Crop(kind="resized", left=3, top=9, width=71, height=55),
    Crop(kind="resized", left=30, top=2, width=20, height=25),
    Crop(kind="fit", left=5, top=0, width=80, height=80),
)
TWO_SOURCES = {"arithmetic", "geometric", "pixel", "element"}


def picture(name: str, height: int, width: int) -> NDArray[np.uint8]:
    """Coarse shapes, a ramp and some noise, uint8[height, width, 3]."""
    noise = np.frombuffer(hashlib.shake_256(name.encode()).digest(height * width * 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    coarse = noise.reshape(height, width, 3)[y // 9 * 9 % height, x // 7 * 7 % width]
    ramp = (3 * x + 2 * y)[:, :, None] % 256
    return ((coarse.astype(np.int64) * 5 + ramp * 2 + noise.reshape(height, width, 3)) // 8).astype(np.uint8)


def digest(*parts: NDArray[np.uint8] | bytes) -> str:
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        state.update(part if isinstance(part, bytes) else part.tobytes())
    return state.hexdigest()


def step_digests() -> Iterator[tuple[str, str]]:
    registers = [picture(f"register {i}", SIDE, SIDE) for i in range(5)]
    for do, cases in STEPS.items():
        counts = [len(args) if do == "weighted" else 2 if do in TWO_SOURCES else 1 for args in cases]
        yield do, digest(*(render.apply(do, registers[:n], args) for n, args in zip(counts, cases, strict=True)))


def crop_digests() -> Iterator[tuple[str, str]]:
    image = picture("image", 80, 90)
    for kind in ("pad", "resized", "fit"):
        windows = [window for window in CROPS if window.kind == kind]
        yield f"crop {kind}", digest(*(render.crop(image, w, SIDE, flip) for w in windows for flip in (False, True)))


def program_digests() -> Iterator[tuple[str, str]]:
    """Draws and pixels of 96 programs of each preset and crop."""
    pictures = render.as_pictures([picture(f"picture {i}", 42 + i, 47)[:, :, :1].copy() for i in range(3)])
    images = np.stack([picture(f"image {i}", SIDE, SIDE) for i in range(4)])
    rows = np.arange(96)
    for name, recipe in RECIPES.items():
        for crop in ("pad", "resized"):
            lot = Lot(
                seed=11,
                view="mix",
                images=rows % 4,
                numbers=rows // 4,
                shapes=np.full((96, 2), SIDE, np.int32),
                size=SIDE,
                crop=crop,
                bake_flip=True,
                group=1,
                pictures=pictures[2],
            )
            table = draw(recipe, lot, name=name)
            programs = "\n".join(to_json(table.variant(row)) for row in rows.tolist()).encode()
            yield f"{name} {crop}: draws", digest(programs)
            yield (
                f"{name} {crop}: pixels",
                digest(render.render_stack(table, images, rows % 4, pictures, render.Canvas(SIDE))),
            )


def digests() -> dict[str, str]:
    """Digest by name of everything above."""
    return {**dict(step_digests()), **dict(crop_digests()), **dict(program_digests())}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(digests(), indent=1) + "\n")
