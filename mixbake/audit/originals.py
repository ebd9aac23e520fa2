"""The crops that variants were made from: clean ones, or cut from the images of the source.

Rule: an image is decoded once for all its variants, and held no longer.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.batches import Batch, BatchReader
from mixbake.audit.catalog import Catalog
from mixbake.audit.faults import plain
from mixbake.audit.images import Images, open_images, recorded_source
from mixbake.core import programs, render
from mixbake.core.variant import Crop
from mixbake.data.listing import Blob
from mixbake.errors import Damage, MixbakeError, PlanDiffers, StorageError, UsageError
from mixbake.storage.plan import Plan, given_in

Bytes = NDArray[np.uint8]
THREADS = 2
"""That decode: more would need more memory, for the largest images take half a gigabyte each."""
T = TypeVar("T")
R = TypeVar("R")


def mapped_ahead(work: Callable[[T], R], items: Iterable[T], *, threads: int = THREADS) -> Iterator[R]:
    """`map`, by threads, in order; items are taken one by one, and at most `threads` are waiting or done."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, "mixbake-signals")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also after an error: what has not begun is not begun any more.
        pool.shutdown(cancel_futures=True)


def cut_crops(images: Images, plan: Plan, batch: Batch, reader: BatchReader) -> Bytes:
    """The crops of variants, uint8 k×S×S×3; quick where those of one image follow each other.

    Raises PlanDiffers wherever an image is absent or another one, Damage naming shard and key for a crop that is none.
    """
    out = np.empty((len(batch), plan.size, plan.size, 3), np.uint8)
    groups = [list(group) for _, group in groupby(range(len(batch)), batch.variants.positions.__getitem__)]

    def cut(task: tuple[list[int], str, Blob]) -> None:
        group, path, blob = task
        image = render.fitted(images.decoded(path, blob), crop_kind=plan.crop, size=plan.size)
        windows = [_window(batch, i, reader) for i in group]
        try:
            for i, crop in zip(group, _cut(image, windows, plan.size), strict=True):
                out[i] = crop
        except UsageError:
            # One of them does not fit: alone, it is named.
            for i, window in zip(group, windows, strict=True):
                _check(image, window, plan.size, partial(reader.damage, batch, i))
            raise

    def blobs() -> Iterator[tuple[list[int], str, Blob]]:
        for group in groups:
            named = {(str(batch.rows[i]["source"]), str(batch.rows[i]["source_sha256"])) for i in group}
            if len(named) > 1:
                raise reader.damage(batch, group[0], "its image has another source elsewhere in the index")
            path, sha256 = named.pop()
            yield group, path, images.read(path, sha256)

    for _ in mapped_ahead(cut, blobs()):
        pass
    return out


class Beside:
    """What the variants of a bake are compared with: its own clean crops, else crops cut from its source.

    source: where the user says that it is, or None for where the bake says; only the first may raise PlanDiffers or
    StorageError. images: whether the source is wanted even if there are clean crops.
    kind: "clean" or "source". originals: the source, or None, and then `missing` says why.
    """

    def __init__(self, catalog: Catalog, source: str | None, *, images: bool) -> None:
        self._plan, self._given = catalog.bake.plan, source is not None
        self.kind = "source" if catalog.bake.plan.views == "mix" else "clean"
        self.originals: Images | None = None
        self.missing = ""
        if not (self._given or images or self.kind == "source"):
            return
        try:
            spec = source or recorded_source(given_in(catalog.bake.shelf.read("manifest.json")))
            self.originals = open_images(spec, catalog.bake.plan)
        except (PlanDiffers, StorageError) as error:
            self.lose(error)

    def lose(self, error: MixbakeError) -> None:
        """Go on without the source, unless the user named it."""
        if self._given:
            raise error
        self.originals, self.missing = None, plain(error)

    def crops(self, batch: Batch, reader: BatchReader) -> Bytes | None:
        """The crops of variants, uint8 k×S×S×3, or None without a source. Raises Damage naming shard and key."""
        if self.kind == "clean":
            return reader.clean_crops(batch)
        if self.originals is not None:
            try:
                return cut_crops(self.originals, self._plan, batch, reader)
            except (PlanDiffers, StorageError) as error:
                self.lose(error)
        return None


def squared(image: Bytes, size: int) -> Bytes:
    """The central square of an image at size×size: how pictures of any shape are compared."""
    return render.fitted(image, crop_kind="pad", size=size)


def _window(batch: Batch, i: int, reader: BatchReader) -> tuple[Crop, bool]:
    """Where a variant's crop was taken, and whether it was mirrored. Raises Damage naming shard and key."""
    document = reader.document(batch, i)
    try:
        window = Crop(**document["crop"])
        programs.crop_row(window)
    except (UsageError, KeyError, TypeError, ValueError) as error:
        raise reader.damage(batch, i, f"its crop is none ({plain(error)})") from error
    return window, bool(document.get("flip"))


def _cut(image: Bytes, windows: Sequence[tuple[Crop, bool]], size: int) -> Iterator[Bytes]:
    """Crops of an image one by one, in memory that the next one overwrites. Raises UsageError."""
    table = programs.empty(len(windows), view="clean", recipe="", steps=1, ops=1, blends=1)
    table.crops[:] = [programs.crop_row(window) for window, _ in windows]
    table.flips[:] = [flip for _, flip in windows]
    # Without steps the crop is the result.
    return render.render_each(table, [image] * len(windows), render.NO_PICTURES, render.Canvas(size))


def _check(image: Bytes, window: tuple[Crop, bool], size: int, damage: Callable[[str], Damage]) -> None:
    try:
        render.crop(image, window[0], size)
    except UsageError as error:
        raise damage(f"its crop cannot be cut ({plain(error)})") from error
