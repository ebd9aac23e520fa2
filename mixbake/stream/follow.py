"""A bake that grows while it is used: wait for its first epoch's worth, then look again at each pass.

Rule: only bake.json says what there is, and it is replaced at once; ranks use what the first of them saw.
"""

import time

import torch.distributed as dist

from mixbake.errors import PlanDiffers, UsageError
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import Shelf

POLL_SECONDS, AGREE_SECONDS = 0.5, 60.0


def first_bake(shelf: Shelf, patience: float) -> Bake:
    """The bake on the shelf, as soon as it has a bake.json. Raises UsageError after `patience` seconds without."""
    limit = time.monotonic() + patience
    while not shelf.exists("bake.json"):
        if time.monotonic() > limit:
            raise UsageError(
                f"{shelf.name} still has no bake.json after {patience:g} s: is a build with --publish-every running?"
            )
        time.sleep(POLL_SECONDS)
    return Bake.open(shelf)


def grown_bake(bake: Bake, world_size: int) -> tuple[Bake, int]:
    """The bake as it is now, or the same object when nothing was added, and the epochs' worth that all ranks see.

    Raises PlanDiffers when another bake has taken its place, UsageError when ranks cannot agree.
    """
    now = Bake.open(bake.shelf) if Bake.digest_on(bake.shelf) != bake.digest else bake
    if now.plan_digest != bake.plan_digest:
        raise PlanDiffers(f"{bake.shelf.name} holds another bake than when it was opened: open it anew")
    return (now, now.epochs_worth) if world_size == 1 else _agreed(now)


def _agreed(now: Bake) -> tuple[Bake, int]:
    """What rank 0 sees. Another may see more already, or not yet as much."""
    if not (dist.is_available() and dist.is_initialized()):
        raise UsageError("follow=True with several ranks needs torch.distributed: call init_process_group first")
    said: list[int] = [now.epochs_worth]
    dist.broadcast_object_list(said, src=0)
    limit = time.monotonic() + AGREE_SECONDS
    while now.epochs_worth < said[0] and time.monotonic() < limit:
        time.sleep(POLL_SECONDS)
        now = Bake.open(now.shelf)
    if now.epochs_worth < said[0]:
        raise UsageError(f"rank 0 sees {said[0]} epochs' worth in {now.shelf.name}, this rank {now.epochs_worth}")
    return now, said[0]
