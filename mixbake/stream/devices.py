"""The last steps of a batch, on the device it is for: mirror, normalise, cast.

On a GPU pictures cross the bus as bytes, from pinned memory, on a side stream, so that they travel while the
last batch is trained on. On the CPU compiled loops do the same in memory that is used again.
Rule: both give (x / 255 - mean) / std of the same bytes; floats may differ in the last digit.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixbake.errors import UsageError
from mixbake.stream.batch import Batch
from mixbake.stream.buffers import Buffers
from mixbake.stream.gather import mirror, normalise

_cuda: Any = torch.cuda  # Stream and Event have no types


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Lent memory for n pictures, uint8 n×S×S×3, as an array and as a tensor of the same bytes."""

    array: NDArray[np.uint8]
    tensor: torch.Tensor


class Finisher:
    """Makes tensors of read pictures. size: S. ahead: batches in the making at a time."""

    def __init__(
        self,
        *,
        size: int,
        device: torch.device,
        dtype: torch.dtype,
        mean: Sequence[float],
        std: Sequence[float],
        channels_last: bool,
        pin_memory: bool,
        ahead: int,
    ) -> None:
        if dtype != torch.uint8 and not dtype.is_floating_point:
            raise UsageError(f"dtype is torch.uint8 or a float type, not {dtype}")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UsageError(f"mean and std are three numbers each, std above 0, not {mean} and {std}")
        if device.type not in ("cpu", "cuda"):
            raise UsageError(f"device is cpu or cuda, not {device}: take batches on the CPU and move them yourself")
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UsageError(f"no CUDA device for {device}: install a driver, or take device='cpu'")
        index: int | None = device.index
        if device.type == "cuda" and index is None:
            # Said once and for all: in a thread of its own, "cuda" would mean the first one again.
            device = torch.device("cuda", torch.cuda.current_device())
        self.size, self.device, self._dtype, self._channels_last = size, device, dtype, channels_last
        self._pinned = pin_memory or device.type == "cuda"
        scale = 1.0 / (255.0 * np.asarray(std, np.float64))
        shift = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
        self._scale = torch.tensor(scale, dtype=torch.float32, device=device)
        self._shift = torch.tensor(shift, dtype=torch.float32, device=device)
        # A line of the picture long, so that the compiled loop is a plain product and sum of vectors.
        self._line_scale, self._line_shift = (np.tile(v, size).astype(np.float32) for v in (scale, shift))
        self._ahead = ahead
        self._hosts: dict[tuple[int, ...], Buffers] = {}
        self._floats: dict[tuple[int, ...], Buffers] = {}
        self._stream = _cuda.Stream(device) if device.type == "cuda" else None
        self._travelling: deque[tuple[Any, Host]] = deque()

    @property
    def on_cpu(self) -> bool:
        """Whether batches stay on the CPU."""
        return self._stream is None

    def working(self) -> AbstractContextManager[Any]:
        """Where work on the device belongs: on the side stream, or wherever it is on the CPU."""
        return torch.cuda.stream(self._stream) if self._stream is not None else nullcontext()

    def forget(self) -> None:
        """Lend from new pools: after a fork, another thread may have held the lock of an old one."""
        self._hosts.clear()
        self._floats.clear()

    def host(self, pictures: int) -> Host:
        """Memory for so many pictures; lent until its last array and tensor are gone."""
        shape = (pictures, self.size, self.size, 3)
        if shape not in self._hosts:
            self._hosts[shape] = Buffers(shape, keep=self._ahead + 2, allocate=self._allocate)
        array = self._hosts[shape].lend()
        return Host(array=array, tensor=torch.from_numpy(array))

    def finish(self, host: Host, rows: int, mirrored: NDArray[np.bool_] | None) -> torch.Tensor:
        """Pictures that were read into `host`, as a batch's images; rows: 1, or 3 for triplets; mirrored: which."""
        if self._stream is None:
            return self._shaped(self._on_cpu(host, mirrored), rows)
        while self._travelling and self._travelling[0][0].query():
            self._travelling.popleft()
        with self.working():
            images = self.on_device(host.tensor.to(self.device, non_blocking=True), rows, mirrored)
            arrived = _cuda.Event()
            arrived.record(self._stream)
        self._travelling.append((arrived, host))
        return images

    def on_device(self, pictures: torch.Tensor, rows: int, mirrored: NDArray[np.bool_] | None) -> torch.Tensor:
        """uint8 n×S×S×3 on the device, as a batch's images, by torch's own operations."""
        if mirrored is not None:
            where = self.small(mirrored)[:, None, None, None]
            pictures = torch.where(where, pictures.flip(2), pictures)
        if self._dtype != torch.uint8:
            pictures = torch.addcmul(self._shift, pictures.float(), self._scale).to(self._dtype)
        return self._shaped(pictures, rows)

    def batch(self, *, images: torch.Tensor, metadata: Any, **columns: NDArray[Any]) -> Batch:
        """The batch, its columns beside its images; a GPU's `ready` event tells when all have arrived."""
        with self.working():
            small = {name: self.small(column) for name, column in columns.items()}
            ready = _cuda.Event() if self._stream else None
            if ready is not None:
                ready.record(self._stream)
        return Batch(images=images, metadata=metadata, ready=ready, **small)

    def hand_over(self, batch: Batch) -> Batch:
        """The batch for the caller's stream, which waits for its arrival without holding up the CPU."""
        if batch.ready is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(batch.ready)
            for tensor in (batch.images, batch.labels, batch.ids, batch.numbers, batch.clean, batch.valid):
                tensor.record_stream(current)
        return batch

    def _allocate(self, shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> NDArray[Any]:
        pinned = self._pinned and torch.cuda.is_available()
        array: NDArray[Any] = torch.empty(shape, dtype=dtype, pin_memory=pinned).numpy()
        return array

    def small(self, column: NDArray[Any]) -> torch.Tensor:
        """A column of a batch on the device, without waiting for its arrival."""
        tensor = torch.from_numpy(np.ascontiguousarray(column))
        if self._pinned and torch.cuda.is_available():
            tensor = tensor.pin_memory()
        return tensor if self._stream is None else tensor.to(self.device, non_blocking=True)

    def _on_cpu(self, host: Host, mirrored: NDArray[np.bool_] | None) -> torch.Tensor:
        if mirrored is not None:
            mirror(host.array, mirrored)
        if self._dtype == torch.uint8:
            return host.tensor
        shape = host.array.shape
        if shape not in self._floats:
            allocate = partial(self._allocate, dtype=torch.float32)
            self._floats[shape] = Buffers(shape, keep=self._ahead + 2, allocate=allocate)
        floats = self._floats[shape].lend()
        normalise(host.array, self._line_scale, self._line_shift, floats)
        return torch.from_numpy(floats).to(self._dtype)

    def _shaped(self, pictures: torch.Tensor, rows: int) -> torch.Tensor:
        if self._channels_last:
            pictures = pictures.permute(0, 3, 1, 2)
        return pictures if rows == 1 else pictures.view(rows, -1, *pictures.shape[1:])
