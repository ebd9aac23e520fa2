"""The source of a bake: where it is, and single images out of it.

Rule: an image counts only if its bytes have the SHA-256 of the one that was baked; nothing is put in its place.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.faults import plain
from mixbake.data.decode import decode
from mixbake.data.folder import FolderSource
from mixbake.data.listing import Blob, Listing, Source, sha256_of
from mixbake.data.sources import look_up, open_source
from mixbake.errors import DecodeError, PlanDiffers, UsageError
from mixbake.storage.plan import Plan, source_digest
from mixbake.storage.store import retrying

Bytes = NDArray[np.uint8]


def recorded_source(given: Mapping[str, Any]) -> str:
    """The source as the build was given it. given: `storage.plan.given_in`. Raises PlanDiffers when it does not say."""
    spec = given.get("source")
    if not isinstance(spec, str):
        raise PlanDiffers("the bake does not say where its source is: say it with --source")
    return spec


class Images:
    """The images that a bake was made of, found by their paths; the source is not listed for that where it need not be.

    spec: of the source. Raises UsageError when that cannot be opened.
    """

    def __init__(self, spec: str, plan: Plan) -> None:
        self._spec, self._background, self._find = plain(spec), plan.background, look_up(open_source(spec))

    def read(self, path: str, sha256: str) -> Blob:
        """The stored image of that path, if it has that SHA-256 (hex). Raises PlanDiffers, StorageError."""
        blob = retrying(lambda: self._find(path), Path(path))
        if blob is None:
            raise PlanDiffers(f"{plain(path)} is not in {self._spec}: say with --source where the baked images are")
        if sha256_of(blob) != sha256:
            raise PlanDiffers(
                f"{plain(path)} in {self._spec} is not the image that was baked: say with --source where that is"
            )
        return blob

    def decoded(self, path: str, blob: Blob) -> Bytes:
        """Pixels of what was read, uint8 H×W×3. Raises PlanDiffers."""
        try:
            return decode(blob, background=self._background)
        except DecodeError as error:
            raise PlanDiffers(
                f"{plain(path)} in {self._spec} cannot be decoded by the libraries here ({plain(error)})"
            ) from error

    def pixels(self, path: str, sha256: str) -> Bytes:
        """Pixels of the image of that path and SHA-256, uint8 H×W×3. Raises PlanDiffers, StorageError."""
        return self.decoded(path, self.read(path, sha256))


def open_images(spec: str, plan: Plan) -> Images:
    """The images of a source. Raises PlanDiffers when it cannot be opened."""
    try:
        return Images(spec, plan)
    except UsageError as error:
        raise unopened(spec, error) from error


def open_given_source(spec: str, plan: Plan) -> tuple[Source, Listing]:
    """Open and list a source; of a folder the plan's classes alone, where these are what was baked (`--classes`).

    Raises PlanDiffers when it is not there.
    """
    try:
        source = open_source(spec)
        if not isinstance(source, FolderSource):
            return source, source.scan()
        chosen = replace(source, chosen=plan.classes)
        with suppress(UsageError):
            if source_digest(listing := chosen.scan()) == plan.source:
                return chosen, listing
        return source, source.scan()
    except UsageError as error:
        raise unopened(spec, error) from error


def unopened(spec: str, error: UsageError) -> PlanDiffers:
    """What to raise for a source that cannot be opened."""
    return PlanDiffers(f"the source {plain(spec)!r} cannot be opened ({plain(error)}): say with --source where it is")
