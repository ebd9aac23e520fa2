"""Whole programs in plain float64 numpy, and how far the renderer is from them.

Which values a mask keeps is the kernel's own choice, and is asked of it; everything else is `formulas`.
Rule: a program is read from the variant alone; nothing is taken from recipes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from formulas import FORMULAS, Image, Values, luma, rounded

from mixbake.core import render
from mixbake.core.ops import STEPS
from mixbake.core.variant import Crop, Picture, Step, Variant
from mixbake.recipes.recipe import Lot, Recipe, draw

BARE = Variant(
    image=0,
    number=0,
    view="mix",
    recipe="plain",
    layer=None,
    ops=(),
    levels=(),
    blends=(),
    crop=Crop(kind="pad", left=0, top=0, width=8, height=8),
    flip=False,
    picture=None,
    steps=(),
)
"""The crop of an image of 8 by 8, and nothing else."""


def drawn(recipe: Recipe, name: str, images: Sequence[Image], pictures: Sequence[Image], count: int) -> list[Variant]:
    """The first variants of square images, mixed with some of the pictures, images in turns."""
    rows, size = np.arange(count), len(images[0])
    lot = Lot(
        seed=4,
        view="mix",
        images=rows % len(images),
        numbers=rows // len(images),
        shapes=np.full((count, 2), size, np.int32),
        size=size,
        crop="pad",
        bake_flip=True,
        group=1,
        pictures=np.array([picture.shape[:2] for picture in pictures], np.int32),
    )
    table = draw(recipe, lot, name=name)
    return [table.variant(row) for row in rows.tolist()]


def beginning(variant: Variant, image: Image, picture: Image | None) -> list[Image]:
    """Registers 0 and 1: the crop, and the window of the picture (black where there is none)."""
    crop = render.crop(image, variant.crop, len(image), flip=variant.flip)
    if variant.picture is None or picture is None:
        return [crop, np.zeros_like(crop)]
    return [crop, window(picture, variant.picture, len(image))]


def window(picture: Image, chosen: Picture, size: int) -> Image:
    """Cut, mirrored, gray."""
    part = picture[chosen.top : chosen.top + size, chosen.left : chosen.left + size]
    part = part[:, ::-1] if chosen.hflip else part
    part = part[::-1] if chosen.vflip else part
    return np.repeat(luma(part).astype(np.uint8)[..., None], 3, axis=2) if chosen.gray else part.copy()


def registers(variant: Variant, image: Image, picture: Image | None) -> list[Image]:
    """All that the renderer writes: crop, window, and the result of each step."""
    begun = (replace(variant, steps=variant.steps[:count]) for count in range(1, len(variant.steps) + 1))
    made = [render.render(part, image, picture, size=len(image)) for part in begun]
    return [*beginning(variant, image, picture), *made]


def box_of(step: Step, size: int) -> tuple[slice, slice]:
    """Where a blend mixes."""
    left, top, width, height = step.args[2:] or (0, 0, size, size)
    return np.s_[int(top) : int(top + height), int(left) : int(left + width)]


def blended(step: Step, x1: Values | Image, x2: Values | Image) -> Values:
    """A blend of two registers 0..255, limited to its box if it has one; neither clipped nor rounded."""
    box, result = box_of(step, len(x1)), np.array(x1, np.float64)
    a, b = step.args[:2]
    if step.do in FORMULAS:
        result[box] = FORMULAS[step.do](x1[box], x2[box], a, b)
    else:
        white = np.full(x1.shape, 255, np.uint8)
        kept = render.apply(step.do, [white, np.zeros_like(white)], (a, int(b))) == 255
        result[box] = np.where(kept, x1, x2)[box]
    return result


def run(variant: Variant, crop: Image, picture: Image, *, in_bytes: bool) -> Image:
    """The result of a program.

    in_bytes: every register is rounded to 8 bits, as the renderer's are; else blends and sums keep their fractions,
    as in code that mixes floats, and only operations get 8 bits to work on.
    """
    made: list[Values] = [crop.astype(np.float64), picture.astype(np.float64)]
    for step in variant.steps:
        read = [made[source] for source in step.src]
        if len(read) == 1 and step.do != "weighted":
            values = FORMULAS[step.do](rounded(read[0]), *step.args)
        elif STEPS[step.do].boxed:
            values = blended(step, *read)
        else:
            values = FORMULAS[step.do](*read, *step.args)
        made.append(rounded(values).astype(np.float64) if in_bytes else np.clip(values, 0, 255))
    return rounded(made[-1] if variant.steps else made[0])


def apart(
    recipe: Recipe, name: str, images: Sequence[Image], pictures: Sequence[Image], count: int, *, in_bytes: bool
) -> Iterator[Image]:
    """Differences of `count` variants from their programs in float64, in grey levels."""
    for variant in drawn(recipe, name, images, pictures, count):
        image = images[variant.image]
        picture = None if variant.picture is None else pictures[variant.picture.id]
        result = render.render(variant, image, picture, size=len(image))
        wanted = run(variant, *beginning(variant, image, picture), in_bytes=in_bytes)
        yield np.abs(result.astype(int) - wanted)
