"""What a loader was asked for, against what the bake holds.

Rule: whatever does not fit is refused before the first batch, with what would.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mixbake.errors import UsageError
from mixbake.storage.opened import Bake
from mixbake.stream.verify import VERIFY

CHOICES = {
    "views": ("auto", "mix", "jsd"),
    "flip": ("auto", "online", "none"),
    "verify": VERIFY,
    "on_damage": ("raise", "skip"),
}
LEAST = {"batch_size": 1, "seed": 0, "threads": 0, "prefetch": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSettings:
    """The parameters of `ShardLoader`, which explains them, as they were given: a copy elsewhere resolves them anew.

    Raises UsageError for a value that no bake could make sense of.
    """

    path: str | Path
    batch_size: int
    seed: int
    order: str | int
    drop_last: bool
    clean_fraction: float
    views: str
    flip: str
    rank: int | None
    world_size: int | None
    device: str | torch.device
    dtype: torch.dtype
    mean: Sequence[float]
    std: Sequence[float]
    channels_last: bool
    pin_memory: bool
    threads: int | None
    prefetch: int | None
    resident: bool | str
    metadata: bool
    verify: str
    on_damage: str
    follow: bool
    follow_seconds: float
    cache: str | Path | None
    cache_bytes: int
    storage_options: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            require(name, getattr(self, name), known)
        for name, least in LEAST.items():
            _require_least(name, getattr(self, name), least)


def require(name: str, value: object, known: Sequence[str]) -> None:
    """Raise UsageError unless `value` is one of those known."""
    if value not in known:
        raise UsageError(f"{name} is one of {', '.join(known)}, not {value!r}")


def _require_least(name: str, value: int | None, least: int) -> None:
    """Raise UsageError for a whole number below `least`; None means the usual."""
    if value is not None and (type(value) is not int or value < least):
        raise UsageError(f"{name} is a whole number of {least} or more, not {value!r}")


def world(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size: as given, else as torchrun sets them, else one process alone."""
    if (rank is None) != (world_size is None):
        raise UsageError("give both rank and world_size, or neither (then they come from RANK and WORLD_SIZE)")
    if rank is not None and world_size is not None:
        return rank, world_size
    return _number_in("RANK", 0), _number_in("WORLD_SIZE", 1)


def _number_in(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, str(otherwise))
    if not text.isascii() or not text.isdigit():
        raise UsageError(
            f"the environment says {variable}={text!r}, which is no number: unset it, or give rank and world_size"
        )
    return int(text)


def usual_prefetch(device: torch.device) -> int:
    """Batches to make ahead: none where the same core would make and use them."""
    return 0 if device.type == "cpu" and len(os.sched_getaffinity(0)) == 1 else 2


def usual_threads() -> int:
    """Threads to decode with: the cores this process may use, shared with the other ranks of this machine."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, _number_in("LOCAL_WORLD_SIZE", 1)))


def resolved_views(bake: Bake, views: str, clean_fraction: float) -> str:
    """What an image stands for: "jsd" or "mix". Raises UsageError when the bake has not what is asked for."""
    baked = bake.plan.views
    if views == "jsd" and baked != "jsd":
        raise UsageError(f'views="jsd" needs a bake with --views jsd: this one has {baked}')
    if clean_fraction > 0 and baked == "mix":
        raise UsageError("clean_fraction needs clean crops: bake with --views clean or jsd")
    if views == "jsd" and clean_fraction > 0:
        raise UsageError('views="jsd" gives the clean crop of every image: clean_fraction goes with views="mix"')
    if views == "auto":
        return "jsd" if baked == "jsd" and clean_fraction == 0 else "mix"
    return views


def resolved_flip(bake: Bake, flip: str) -> bool:
    """Whether to mirror online. A bake that mirrored by itself, or must not be mirrored, says so."""
    return bake.plan.flip == "online" if flip == "auto" else flip == "online"
