"""Reading a bake into training: the order, the shards, the batches.

    from mixbake.stream import ShardLoader
    for batch in ShardLoader("shards/demo-layermix", batch_size=128): ...

torch is imported with the first name that needs it.
"""

from importlib import import_module
from typing import Any

_HOMES = {"ShardLoader": "loader", "Batch": "batch", "BakeDataset": "dataset", "webdataset": "pipeline"}

__all__ = ["BakeDataset", "Batch", "ShardLoader", "webdataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"mixbake.stream has no {name!r}: it has {', '.join(__all__)}")
    return getattr(import_module(f"mixbake.stream.{_HOMES[name]}"), name)
