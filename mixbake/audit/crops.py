"""The crops that variants were made from, to be shown beside them.

Rule: a crop is the bake's own clean one, or cut from the source image that has the SHA-256 of the one that was
baked; where there is neither, none is shown.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog
from mixbake.audit.faults import plain
from mixbake.audit.images import Images
from mixbake.audit.samples import Record, read_records
from mixbake.core import render
from mixbake.core.variant import from_json
from mixbake.errors import Damage, UsageError
from mixbake.storage.plan import Plan

Bytes = NDArray[np.uint8]


def find_crops(catalog: Catalog, records: Sequence[Record], source: str | None) -> dict[str, Bytes]:
    """Crops, uint8 S×S×3, by the key of the variant; clean crops are their own and have none.

    source: spec of the source, or None for the bake's clean crops alone. Raises PlanDiffers when an image there is
    absent or another one, Damage, StorageError, and UsageError when the source cannot be opened.
    """
    mixes = [record for record in records if record.row["view"] == "mix"]
    if catalog.bake.plan.views != "mix":
        return _stored(catalog, mixes)
    return {} if source is None else _cut(catalog.bake.plan, mixes, source)


def _stored(catalog: Catalog, mixes: Sequence[Record]) -> dict[str, Bytes]:
    bake = catalog.bake
    positions = np.searchsorted(bake.images, [record.row["image"] for record in mixes]).tolist()
    numbers = [record.row["number"] // bake.plan.group for record in mixes]
    rows = [catalog.find("clean", number, position) for number, position in zip(numbers, positions, strict=True)]
    crops = read_records(catalog, np.array(rows, np.int64))
    return {record.key: crop.pixels for record, crop in zip(mixes, crops, strict=True)}


def _cut(plan: Plan, mixes: Sequence[Record], spec: str) -> dict[str, Bytes]:
    images = Images(spec, plan)
    return {record.key: _crop(plan, record, images) for record in mixes}


def _crop(plan: Plan, record: Record, images: Images) -> Bytes:
    image = images.pixels(record.row["source"], record.row["source_sha256"])
    pixels = render.fitted(image, crop_kind=plan.crop, size=plan.size)
    try:
        variant = from_json(record.text)
        return render.crop(pixels, variant.crop, plan.size, variant.flip)
    except UsageError as error:
        raise Damage(f"{record.row['shard']}, {record.key}: {plain(error)}") from error
