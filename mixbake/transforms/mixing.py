"""The mixing sets of a transform: as they were given, and prepared for a size as builds prepare theirs.

Pictures that are given themselves are kept as PNG files in the cache, in a folder named by a digest of their pixels,
and are a folder from then on. Rule: what travels to other processes is a path, never pixels.
"""

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mixbake.core.jit import cache_root
from mixbake.data.cache import adding
from mixbake.data.generators import parse_drawn, suggest_name
from mixbake.data.pictures import find_folder, prepare
from mixbake.data.prepared import PictureSet
from mixbake.errors import UsageError
from mixbake.recipes.weights import require_weights
from mixbake.transforms.kinds import pixels_of

MixingSet = str | Path | PictureSet | Sequence[Any]
"""A folder, a drawn set as in `fractals:count=256`, several of these, an opened PictureSet, or pictures: PIL, uint8
H×W×3, tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """Folders and drawn sets (specs), or else an opened file of sets, which serves every size up to its side.

    weights: how often each set is mixed with; if empty, a picture is any of all.
    """

    specs: tuple[str, ...]
    opened: PictureSet | None
    weights: tuple[int, ...]

    def said(self) -> dict[str, Any]:
        """The arguments that give the same."""
        given: dict[str, Any] = {"mixing_set": self.specs[0] if len(self.specs) == 1 else list(self.specs)}
        return given | ({"mixing_weights": self.weights} if self.weights else {})

    def prepared(self, *, size: int, gray: bool) -> PictureSet:
        """The set for images of that size. Raises UsageError when an opened set does not fit, and as `prepare` does."""
        opened = self.opened
        if opened is None:
            jobs = len(os.sched_getaffinity(0))
            return prepare(self.specs, cache_root() / "pictures", size=size, gray=gray, jobs=jobs)
        if opened.side < size:
            raise UsageError(
                f"mixing_set {opened.path} was prepared with a short side of {opened.side}, too small for {size}: "
                "give the folder that it was made of"
            )
        if opened.channels == 1 and not gray:
            raise UsageError(f"mixing_set {opened.path} is gray and the recipe mixes colours: give the folder instead")
        return opened


def understood(given: MixingSet, weights: Sequence[int]) -> Mixing:
    """Mixing sets as given. Raises UsageError, naming the argument, when they are none, or weights do not fit."""
    opened = given if isinstance(given, PictureSet) else None
    specs = (str(opened.path),) if opened else _specs(given)
    sets = [f"{number} of {opened.path}" for number in range(1, len(opened.starts) + 1)] if opened else specs
    given_weights = tuple(weights) if isinstance(weights, list | tuple) else (weights,)
    require_weights(given_weights, sets, name="mixing_weights")
    return Mixing(specs=specs, opened=opened, weights=given_weights)


def _specs(given: Any) -> tuple[str, ...]:
    """Mixing sets as `prepare` takes them."""
    if isinstance(given, str | Path):
        return (_spec(given),)
    if isinstance(given, Sequence) and len(given):
        return tuple(map(_spec, given)) if isinstance(given[0], str | Path) else (str(_kept(given)),)
    what = "empty" if isinstance(given, Sequence) else f"a {type(given).__name__}"
    raise UsageError(f"mixing_set is {what}: {suggest_name('')}, or a list of pictures")


def _spec(given: Any) -> str:
    if not isinstance(given, str | Path):
        raise UsageError(f"mixing_set has a {type(given).__name__} beside names: give several sets, or pictures alone")
    if isinstance(given, str) and parse_drawn(given) is not None:
        return given
    folder = find_folder(str(given))
    if folder is None:
        raise UsageError(f"mixing_set {str(given)!r} is no folder: {suggest_name(str(given))}")
    return str(folder.absolute())


def _kept(pictures: Sequence[Any]) -> Path:
    """A folder in the cache with those pictures; what lies there already is used again."""
    pixels = [pixels_of(picture) for picture in pictures]
    digest = hashlib.sha256()
    for one in pixels:
        digest.update(repr(one.shape).encode() + one.tobytes())
    folder = cache_root() / "given" / digest.hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(pixels):
        path = folder / f"{number:06d}.png"
        if not path.exists():
            data = io.BytesIO()
            Image.fromarray(one).save(data, format="PNG", compress_level=1)
            with adding(path) as writer:
                writer.write(data.getvalue())
    return folder
