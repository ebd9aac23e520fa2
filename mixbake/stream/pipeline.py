"""A bake as a `webdataset` pipeline: shard by shard, sample by sample, with its stages and its fluid methods.

    shards of one number  ->  split by node and worker  ->  samples, counted  ->  buffer to shuffle  ->  decoded

webdataset's own reader takes a cut shard for a shorter one, unpacks whatever is compressed or sparse, and its
`decode()` unpickles what is named so. Here a shard has the promised size, and in it exactly the promised keys with
the promised members, each behind the header that was written; nothing else is opened. Rule: all of it, or Damage.
"""

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from mixbake.core import rng
from mixbake.errors import MissingExtra, UsageError
from mixbake.storage import tar
from mixbake.storage.decoders import DECODERS, UNREADABLE
from mixbake.storage.opened import Bake, StoredFile, describe_size
from mixbake.storage.plan import Plan
from mixbake.stream.dataset import SharedPass, open_bake
from mixbake.stream.maps import map_file
from mixbake.stream.reader import Fault, damage
from mixbake.stream.remote import open_shelf

try:
    import webdataset as wds
except ImportError as error:
    raise MissingExtra("webdataset", "train") from error

Bytes = NDArray[np.uint8]
Sample = dict[str, Any]
"""A sample between stages: __key__, __url__ (shard), position (in the bake), and its members' bytes by extension."""

SIZE_DIGITS = re.compile(rb"[0-7]{11}")
MOST_BYTES_A_PIXEL, MOST_BYTES_BESIDE = 24, 1 << 16
"""A picture's member is no longer than this; the worst noise stays far below."""


class BakePipeline(wds.DataPipeline, wds.FluidInterface):  # type: ignore[misc]  # webdataset has no types
    """What `webdataset` returns. Stages can be added, as in `.batched(64)`; all that grow from it share the pass."""

    def __init__(self, bake: Bake, passes: SharedPass, *stages: Callable[..., Iterable[Any]]) -> None:
        super().__init__(*stages)
        self.bake, self._pass, self._stages = bake, passes, len(stages)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.bake.plan.classes

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the pass that the next iterations read: number `epoch` mod N, in an order of its own.

        Call it before each pass, in the process that trains: workers, persistent ones too, see it when they begin.
        """
        self._pass.set(epoch)

    def __len__(self) -> int:
        """Samples in a pass, of all nodes and workers together. TypeError once stages were added."""
        if len(self.pipeline) != self._stages:
            raise TypeError("stages were added, so the length is not known: state it by .with_length(n)")
        return len(self.bake.images)


def webdataset(
    path: str | Path,
    *,
    number: int = 0,
    view: str = "mix",
    shuffle: int = 0,
    seed: int = 0,
    transform: Callable[[torch.Tensor], Any] | None = None,
    metadata: bool = False,
    verify: str = "sizes",
    cache: str | Path | None = None,
    cache_bytes: int = 0,
    storage_options: Mapping[str, Any] | None = None,
) -> BakePipeline:
    """A pipeline of (image, label): uint8 C×H×W, or what transform makes of it, and int. One pass an iteration.

    path: the bake's folder or any fsspec URL of it. view: "mix" or "clean". number: which of the N variants;
    `set_epoch(p)` goes on to number p mod N. shuffle: samples in a buffer they are drawn from; shards come in
    random order then. 0: as stored. seed: fixes both; the order depends on the number of nodes and workers too.
    metadata: give (image, label, info): the sample's JSON with `__key__` and `__url__`, the shard. Collate those
    with `.batched(n)`, which makes a list of them. verify, cache, cache_bytes, storage_options: as for BakeDataset.

    Nodes (RANK and WORLD_SIZE, or torch.distributed) and DataLoader workers get whole shards, so not quite equal
    shares of them: for equal batches on every rank use ShardLoader. Like BakeDataset it mirrors nothing.
    Raises MissingExtra without webdataset, UsageError for what the bake does not have, Damage naming shard and key.
    """
    if shuffle < 0:
        raise UsageError(f"shuffle is a number of samples, 0 for none, not {shuffle}")
    shelf = open_shelf(path, cache=cache, limit_bytes=cache_bytes, storage_options=storage_options)
    bake, passes = open_bake(shelf, view=view, number=number, verify=verify), SharedPass(number)
    order = _Order(bake=bake, view=view, passes=passes, shuffle=shuffle, seed=seed)
    read = _ReadShards(bake=bake, view=view)
    decode = _Decode(bake=bake, transform=transform, metadata=metadata)
    return BakePipeline(
        bake, passes, order.shards, wds.split_by_node, wds.split_by_worker, read, order.buffered, decode
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """The order of shards, the same on all nodes and workers, and that of the samples of one of them."""

    bake: Bake
    view: str
    passes: SharedPass
    shuffle: int
    seed: int

    def shards(self) -> Iterator[tuple[int, int]]:
        """(number, block) of every shard of the pass."""
        nodes, blocks = wds.utils.pytorch_worker_info()[1], self.bake.plan.blocks
        if nodes > blocks:
            raise UsageError(
                f"{self.bake.shelf.name} has {blocks} shards a number, too few for {nodes} nodes: use ShardLoader, "
                "which shares out images"
            )
        of_pass = self.passes.value
        number = of_pass % self.bake.numbers(self.view)
        if not self.shuffle:
            return iter([(number, block) for block in range(blocks)])
        order = rng.stream(self.seed, "shards", of_pass).permutation(blocks)
        return iter([(number, block) for block in order.tolist()])

    def buffered(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        if not self.shuffle:
            return samples
        node, _, worker, _ = wds.utils.pytorch_worker_info()
        words = f"{self.seed} {self.passes.value} {node} {worker}"
        drawn: Iterator[Sample] = wds.shuffle(
            self.shuffle,
            initial=self.shuffle,
            rng=random.Random(words),  # noqa: S311 - no secret; webdataset draws from this class
        )(samples)
        return drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadShards:
    """From shards to samples, in stored order. Raises Damage for a shard that is not what the bake promises."""

    bake: Bake
    view: str

    def __call__(self, shards: Iterable[tuple[int, int]]) -> Iterator[Sample]:
        by_block = np.lexsort((self.bake.rows, self.bake.blocks))
        ends = np.cumsum(self.bake.samples).tolist()
        for number, block in shards:
            positions = by_block[ends[block] - int(self.bake.samples[block]) : ends[block]]
            yield from self._samples(number, self.bake.shard(self.view, number, block), positions.tolist())

    def _samples(self, number: int, file: StoredFile, positions: list[int]) -> Iterator[Sample]:
        mapped = map_file(self.bake.shelf.local(file.name, size=file.size, sha256=file.sha256))
        if mapped.size != file.size:
            self._refuse(file, None, describe_size(file, mapped.size))
        limits, place = _member_limits(self.bake.plan), 0
        for position in positions:
            key = tar.key(int(self.bake.images[position]), number, self.view)
            sample: Sample = {"__key__": key, "__url__": file.name, "position": position}
            for extension, limit in limits.items():
                size = _member_size(mapped, place, f"{key}.{extension}")
                if size is None or size > limit:
                    self._refuse(file, key, f"{key}.{extension} is not what stands at byte {place}")
                start = place + tar.UNIT
                sample[extension] = mapped[start : start + size]
                place = start + tar.padded(size)
            yield sample
        if mapped[place:].tobytes() != tar.END:
            self._refuse(file, None, f"more follows its {len(positions)} samples")

    def _refuse(self, file: StoredFile, key: str | None, reason: str) -> NoReturn:
        raise damage([Fault(shard=file.name, key=key, reason=reason)], self.bake)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decode:
    """From members to what a pipeline gives. Raises Damage for members that are not what the plan says."""

    bake: Bake
    transform: Callable[[torch.Tensor], Any] | None
    metadata: bool

    def __call__(self, samples: Iterable[Sample]) -> Iterator[tuple[Any, ...]]:
        for sample in samples:
            image, label = self._image(sample), self._label(sample)
            transformed = image if self.transform is None else self.transform(image)
            yield (transformed, label, self._info(sample)) if self.metadata else (transformed, label)

    def _image(self, sample: Sample) -> torch.Tensor:
        plan = self.bake.plan
        pixels = np.empty((plan.size, plan.size, 3), np.uint8)
        try:
            DECODERS[plan.codec](sample[plan.extension], pixels)
        except UNREADABLE as error:
            self._refuse(sample, f"the picture cannot be decoded ({error})", error)
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _label(self, sample: Sample) -> int:
        label = int(self.bake.labels[sample["position"]])
        if sample["cls"].tobytes() != tar.label_member(label):
            self._refuse(sample, f"its label is not {label}, as images.parquet has it")
        return label

    def _info(self, sample: Sample) -> dict[str, Any]:
        try:
            document = json.loads(sample["json"].tobytes())
        except (ValueError, RecursionError) as error:
            self._refuse(sample, f"its JSON cannot be read ({error})", error)
        if not isinstance(document, dict):
            self._refuse(sample, "its JSON is no object")
        return document | {"__key__": sample["__key__"], "__url__": sample["__url__"]}

    def _refuse(self, sample: Sample, reason: str, cause: Exception | None = None) -> NoReturn:
        fault = Fault(shard=sample["__url__"], key=sample["__key__"], reason=reason)
        raise damage([fault], self.bake) from cause


def _member_limits(plan: Plan) -> dict[str, int]:
    """The members of a sample, in order, and the most bytes of each. No others are read."""
    picture = MOST_BYTES_A_PIXEL * plan.size**2 + MOST_BYTES_BESIDE
    return {plan.extension: picture, "cls": tar.LABEL_WIDTH, "json": plan.member_bytes}


def _member_size(mapped: Bytes, place: int, name: str) -> int | None:
    """Bytes of the member `name`, if its header stands at `place` as it was written and the member is whole."""
    found = mapped[place : place + tar.UNIT].tobytes()
    digits = SIZE_DIGITS.fullmatch(found, 124, 135)
    if not digits:
        return None
    size = int(digits[0], 8)
    whole = place + tar.UNIT + tar.padded(size) <= mapped.size
    return size if whole and tar.header(name, size) == found else None
