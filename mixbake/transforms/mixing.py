"""The mixing set of a transform: as it was given, and prepared for a size as builds prepare theirs.

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
from mixbake.data.generators import GENERATORS, parse_drawn
from mixbake.data.pictures import prepare
from mixbake.data.prepared import PictureSet
from mixbake.errors import UsageError
from mixbake.transforms.kinds import pixels_of

MixingSet = str | Path | PictureSet | Sequence[Any]
"""A folder, a drawn set as in `fractals:count=256`, an opened PictureSet, or pictures: PIL, uint8 H×W×3, tensors."""

_DRAWN = " or ".join(map(repr, GENERATORS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """A folder or a drawn set (spec), or else an opened set, which serves every size up to its side."""

    spec: str
    opened: PictureSet | None

    def prepared(self, *, size: int, gray: bool) -> PictureSet:
        """The set for images of that size. Raises UsageError when an opened set does not fit, and as `prepare` does."""
        opened = self.opened
        if opened is None:
            jobs = len(os.sched_getaffinity(0))
            return prepare(self.spec, cache_root() / "pictures", size=size, gray=gray, jobs=jobs)
        if opened.side < size:
            raise UsageError(
                f"mixing_set {opened.path} was prepared with a short side of {opened.side}, too small for {size}: "
                "give the folder that it was made of"
            )
        if opened.channels == 1 and not gray:
            raise UsageError(f"mixing_set {opened.path} is gray and the recipe mixes colours: give the folder instead")
        return opened


def understood(given: MixingSet) -> Mixing:
    """A mixing set as given. Raises UsageError, naming the argument, when it is none."""
    if isinstance(given, PictureSet):
        return Mixing(spec=str(given.path), opened=given)
    if isinstance(given, str) and parse_drawn(given) is not None:
        return Mixing(spec=given, opened=None)
    if isinstance(given, str | Path):
        folder = Path(given).expanduser().absolute()
        if not folder.is_dir():
            raise UsageError(
                f"mixing_set {str(given)!r} is no folder: give a folder of pictures, {_DRAWN}, or a list of pictures"
            )
        return Mixing(spec=str(folder), opened=None)
    if isinstance(given, Sequence) and len(given):
        return Mixing(spec=str(_kept(given)), opened=None)
    what = "empty" if isinstance(given, Sequence) else f"a {type(given).__name__}"
    raise UsageError(f"mixing_set is {what}: give a folder of pictures, {_DRAWN}, or a list of pictures")


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
