"""`_info.json`, by which timm's `wds/` data sets know their splits (timm 1.0, its reader of WebDataset shards).

A split has a name, the names of its shards relative to the root, the samples in each and in all.
Rule: `train` is every mixed variant, so a pass over it is as many epochs as the bake is worth; `v003` is number 3
alone, `clean` and `clean_v003` are clean crops. A name must not contain "tar": timm would take it for a path.
"""

import json
from collections.abc import Sequence
from typing import Any

from mixbake.errors import UsageError
from mixbake.export.bakes import Described
from mixbake.storage.opened import Place, StoredFile

READABLE = ("png", "jpg", "webp")
"""Extensions of pictures that timm's reader looks for."""


def write_timm_info(described: Described) -> bytes:
    """UTF-8 JSON. Raises UsageError for a bake whose pictures timm does not read."""
    plan = described.bake.plan
    if plan.extension not in READABLE:
        raise UsageError(f"timm reads {', '.join(READABLE)}, and the pictures here are .{plan.extension}: bake others")
    splits: dict[str, list[tuple[Place, StoredFile]]] = {}
    for place, file in described.shards():
        view, number, _ = place
        whole, one = ("train", f"v{number:03d}") if view == "mix" else ("clean", f"clean_v{number:03d}")
        for name in (whole, one):
            splits.setdefault(name, []).append((place, file))
    document = {
        "splits": {name: _split(name, shards, described) for name, shards in splits.items()},
        "num_classes": len(plan.classes),
        "class_names": list(plan.classes),
        "bake_digest": described.bake.digest,
    }
    return (json.dumps(document, indent=1) + "\n").encode("ascii")


def _split(name: str, shards: Sequence[tuple[Place, StoredFile]], described: Described) -> dict[str, Any]:
    lengths = [described.samples(place) for place, _ in shards]
    return {
        "name": name,
        "num_samples": sum(lengths),
        "filenames": [file.name for _, file in shards],
        "shard_lengths": lengths,
        "alt_label": "",
    }
