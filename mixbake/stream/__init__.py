"""Reading a bake into training: the order, the shards, the batches.

    from mixbake.stream import ShardLoader
    for batch in ShardLoader("shards/demo-layermix", batch_size=128): ...

torch is imported with the first name that needs it.
"""

from importlib import import_module
from typing import Any

from mixbake.errors import MissingExtra

_HOMES = {"ShardLoader": "loader", "Batch": "batch", "BakeDataset": "dataset", "webdataset": "pipeline"}

__all__ = ["BakeDataset", "Batch", "ShardLoader", "webdataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"mixbake.stream has no {name!r}: it has {', '.join(__all__)}")
    try:
        module = import_module(f"mixbake.stream.{_HOMES[name]}")
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        raise MissingExtra("torch", "train") from missing
    return getattr(module, name)
