"""One process or several: which device is whose, and what they tell each other.

torchrun says by its environment how many there are. Rule: ranks speak only where the loss is fetched anyway,
and all of them at the same steps; one process alone never waits for anybody.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from mixbake.errors import MixbakeError, UsageError
from mixbake.stream.settings import world


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Which process is this, among all. rank: 0 to size - 1; size: how many; device: this one's."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, with gradients averaged over all ranks."""
        if self.size == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """`values` summed over all ranks; every rank must ask."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def share_buffers(self, network: nn.Module) -> None:
        """Give every rank the first one's running statistics, which are the ones that are saved."""
        if self.size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """What the first rank does while the others wait. Where it raises, all raise: it the error, they UsageError."""
        refused: MixbakeError | OSError | None = None
        try:
            yield
        except (MixbakeError, OSError) as error:
            refused = error
        failed = self.sum(torch.tensor(float(refused is not None), device=self.device)).item()
        if refused is not None:
            raise refused
        if failed:
            raise UsageError("the first process could not begin: its own message says why")

    def wait_for_all(self) -> None:
        """Return when every rank has come here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: str, *, batch_size: int) -> Iterator[Ranks]:
    """Make this process one of those that torchrun has started, or alone.

    Raises UsageError when there is no such device, or `batch_size` cannot be shared out equally.
    """
    rank, size = world(None, None)
    if batch_size % size:
        raise UsageError(
            f"a batch of {batch_size} cannot be shared equally by {size} processes: "
            f"take --batch-size {-(-batch_size // size) * size}, or another --nproc-per-node"
        )
    if size > 1 and device.startswith("cuda:"):
        raise UsageError(f"--device {device} would be that of all {size} processes: take --device cuda, one each")
    ranks = Ranks(rank=rank, size=size, device=choose_device(device, local=int(os.environ.get("LOCAL_RANK", "0"))))
    if ranks.device.type == "cuda":
        torch.cuda.set_device(ranks.device)
    if size == 1:
        yield ranks
        return
    dist.init_process_group("nccl" if ranks.device.type == "cuda" else "gloo")
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def choose_device(name: str, *, local: int = 0) -> torch.device:
    """The device of a name; auto: the GPU of this process if there is one. local: which process of this machine."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device {name!r}: it is auto, cpu, cuda or cuda:N") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UsageError(f"device is auto, cpu, cuda or cuda:N, not {name!r}")
    if not torch.cuda.is_available():
        raise UsageError(
            f"no GPU for --device {name}: torch sees none; install a driver and a CUDA build of torch, "
            "or take --device cpu"
        )
    chosen = local if device.index is None else device.index
    if chosen >= torch.cuda.device_count():
        raise UsageError(
            f"no GPU {chosen}: torch sees {torch.cuda.device_count()}; start fewer processes, "
            "or name another with --device"
        )
    return torch.device("cuda", chosen)
