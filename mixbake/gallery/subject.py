"""What a gallery is made of: an image, and the pictures it is mixed with.

Rule: a gallery begins with the image's central square, so that what differs is what was done to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.steps import window_of
from mixbake.core import render
from mixbake.core.jit import cache_root
from mixbake.core.own import OwnStep
from mixbake.core.variant import Crop, Variant
from mixbake.data.decode import decode
from mixbake.data.demo import COUNTS, SPLITS, draw_demo
from mixbake.data.pictures import prepare
from mixbake.data.prepared import PictureSet
from mixbake.data.spec import parse_options, whole_number
from mixbake.errors import DecodeError, UsageError
from mixbake.recipes.recipe import Lot, Recipe, draw, own_steps_of

Bytes = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]

NUMBER = 47
IMAGE = f"demo:number={NUMBER}"
"""A tilted heart on light stripes, in full colours: every operation can be seen on it."""
MIXING = "fractals:count=24"
SIZES = (16, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """image: uint8 H×W×3, under its name. size: of everything shown. pictures: by number of channels, 3 and 1.

    own: steps that recipes of one's own bring.
    """

    image: Bytes
    name: str
    size: int
    seed: int
    pictures: dict[int, PictureSet]
    own: tuple[OwnStep, ...] = ()

    def draw(self, recipe: Recipe, name: str, count: int) -> tuple[Variant, ...]:
        """The first variants of a recipe under that name, as any bake of this seed draws them from this crop."""
        lot = Lot(
            seed=self.seed,
            view="mix",
            images=np.zeros(count, np.int64),
            numbers=np.arange(count, dtype=np.int64),
            shapes=np.tile(np.array(self.image.shape[:2], np.int32), (count, 1)),
            size=self.size,
            crop=self.crop.kind,
            bake_flip=False,
            group=1,
            pictures=self.colour.shapes if recipe.uses_pictures else render.NO_PICTURES[2],
        )
        table = draw(recipe, lot, name=name)
        return tuple(table.variant(row) for row in range(count))

    @property
    def colour(self) -> PictureSet:
        """The mixing set in colour; only where there is one."""
        return self.pictures[3]

    @property
    def crop(self) -> Crop:
        """The central square."""
        height, width = self.image.shape[:2]
        side = min(height, width)
        return Crop(kind="fit", left=(width - side) // 2, top=(height - side) // 2, width=side, height=side)

    def render(self, variant: Variant) -> Bytes:
        """Pixels of a variant of this image."""
        return render.render(variant, self.image, self._picture(variant), size=self.size, own=self.own)

    def window(self, variant: Variant) -> Bytes | None:
        """What a variant mixes with, or None."""
        picture = self._picture(variant)
        return None if picture is None else window_of(variant, picture, size=self.size)

    def picture_name(self, variant: Variant) -> str:
        """Of what a variant mixes with, or ""."""
        return self._set(variant).names[variant.picture.id] if variant.picture else ""

    def _picture(self, variant: Variant) -> Bytes | None:
        return self._set(variant).picture(variant.picture.id) if variant.picture else None

    def _set(self, variant: Variant) -> PictureSet:
        return self.pictures[1 if variant.picture and variant.picture.gray else 3]


def open_subject(
    image: str, mixing_set: Sequence[str], *, size: int, seed: int, recipes: Sequence[Recipe], progress: Progress
) -> Subject:
    """Read the image, and prepare the pictures that any of the recipes mixes with.

    image: a file, or demo:number=47,split=train. mixing_set: one or several, as for a build. Raises UsageError,
    StorageError.
    """
    for flag, value, (low, high) in (("--size", size, SIZES), ("--seed", seed, (0, 2**63 - 1))):
        if not low <= value <= high:
            raise UsageError(f"{flag} {value} is out of range: {low} to {high}")
    pixels = _read_image(image, size)
    folder = cache_root() / "pictures"
    # In colour always: the windows themselves are shown, too.
    kinds = {3} | {1 for recipe in recipes if recipe.gray_pictures}
    used = kinds if any(recipe.uses_pictures for recipe in recipes) else ()
    pictures = {
        channels: prepare(mixing_set, folder, size=size, gray=channels == 1, progress=progress)
        for channels in sorted(used)
    }
    return Subject(image=pixels, name=image, size=size, seed=seed, pictures=pictures, own=_own_steps(recipes))


def _own_steps(recipes: Sequence[Recipe]) -> tuple[OwnStep, ...]:
    """Each once; recipes of one file bring the same. Raises UsageError for different ones under one name."""
    found: dict[str, OwnStep] = {}
    for step in (step for recipe in recipes for step in own_steps_of(recipe)):
        known = found.setdefault(step.name, step)
        if (known, known.apply) != (step, step.apply):
            raise UsageError(f"recipes of different files bring {step.name}: draw a gallery of each")
    return tuple(found.values())


def _read_image(image: str, size: int) -> Bytes:
    if image.partition(":")[0] == "demo":
        options = parse_options(image, ("number", "split"))
        split = options.get("split", SPLITS[0])
        if split not in SPLITS:
            raise UsageError(f"{image!r}: split is {split!r}: choose from {', '.join(SPLITS)}")
        number = whole_number(image, "number", options.get("number", str(NUMBER)), low=0, high=COUNTS[1] - 1)
        return draw_demo(number, size=size, split=split)
    path = Path(image)
    if not path.is_file():
        raise UsageError(f"--image {image}: there is no such file: name a picture, or {IMAGE}")
    try:
        return decode(path.read_bytes())
    except DecodeError as error:
        raise UsageError(f"--image {image} cannot be read ({error}): name another picture") from error
