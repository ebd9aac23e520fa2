"""What a loader was asked for, against what the bake holds.

Rule: whatever does not fit is refused before the first batch, with what would.
"""

import os
from collections.abc import Sequence

from mixbake.errors import UsageError
from mixbake.storage.opened import Bake

FLIPS = ("auto", "online", "none")
VIEWS = ("auto", "mix", "jsd")
ON_DAMAGE = ("raise", "skip")


def require(name: str, value: object, known: Sequence[str]) -> None:
    """Raise UsageError unless `value` is one of those known."""
    if value not in known:
        raise UsageError(f"{name} is one of {', '.join(known)}, not {value!r}")


def require_least(name: str, value: int | None, least: int) -> None:
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


def usual_prefetch(device: str) -> int:
    """Batches to make ahead: none where the same core would make and use them."""
    return 0 if device == "cpu" and len(os.sched_getaffinity(0)) == 1 else 2


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
