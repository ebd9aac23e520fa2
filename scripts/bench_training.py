"""What augmentation costs a training: from a bake, made on the fly, and not at all.

    python scripts/bench_training.py --bake BAKE --source FOLDER --mixing FOLDER [--model wrn16_1]
        [--batch-size 128] [--steps 60] [--rounds 3] [--device auto] [--preloaded] [--json]

BAKE was made of the images of SOURCE, one folder a class, and of the pictures of MIXING. Mixbake's own loop trains the
same network from the same weights for the same number of steps, each way in turn in every round, so that ratios hold on
a busy machine too; where the load changes by the minute, with short turns and many rounds (--steps 20 --rounds 9).
The first half of a turn's steps warms up, the second is measured.
  ceiling                one batch of noise that lies ready on the device: the network alone
  baked                  the bake, pictures decoded for each batch, mirrored, normalised
  baked, resident        the same, decoded once and kept on the device; only with a GPU
  on the fly             torch's DataLoader, a worker a core: what one writes today with Pillow and torchvision. Open
                         and crop an image and a mixing picture, LayerMix (reference_layermix.py), mirror, normalise;
                         pinned memory for a GPU, channels_last
  on the fly, preloaded  the same, mixing pictures decoded and resized beforehand; only with --preloaded
  loader alone           the batches of `baked`, and no network
Rates are medians of the rounds, ratios medians of each round's ratio. waiting: the share of time in which the loop
waited for a batch. It is not what is lost: workers take cores from the network while nobody waits, and a GPU may have
work left while the loop waits; images/s are what counts.
Measured: whole steps, with all that competes for cores: torch's threads (as many in every way, OMP_NUM_THREADS says
how many), the bake's reading thread, the workers. Every way goes on over the ends of passes; those of a small bake are
short, so that beginning one counts for more than in a real run. Not measured: baking, starting workers, decoding
what is resident or preloaded, validation, checkpoints, disks slower than memory (rounds read the same files again).
Needs the extra `train`.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F  # noqa: N812  the name its own documentation uses

sys.path.insert(0, str(Path(__file__).parent))

from reference_layermix import image_crop, labelled, layermix, load, picture_crop, pictures_in

from mixbake.stream import ShardLoader
from mixbake.stream.batch import Batch
from mixbake.train.asked import Asked, settle
from mixbake.train.ranks import joined
from mixbake.train.rates import Rate, Repeated, made_up, train_rates
from mixbake.train.run import open_loader
from mixbake.train.settings import TrainSettings

CORES = len(os.sched_getaffinity(0))
LOADER = "loader alone"


class Endless(Repeated):
    """The first `steps` batches of what begins anew in every turn and would go on for ever: one long pass."""

    def __init__(self, begin: Callable[[], Generator[Batch, None, None]], *, like: Repeated) -> None:
        super().__init__(next(iter(like)), classes=like.classes, steps=len(like))
        self._begin = begin

    def __iter__(self) -> Iterator[Batch]:
        with closing(self._begin()) as batches:
            yield from islice(batches, len(self))


def passes(loader: ShardLoader) -> Generator[Batch, None, None]:
    """Pass after pass of a bake."""
    while True:
        with closing(iter(loader)) as batches:
            yield from batches


@dataclass(frozen=True, kw_only=True)
class Variants(Dataset[tuple[Tensor, int]]):
    """LayerMix variants of labelled files, by a running number: pass · images + image.

    mixing: files to mix with, or pictures in memory. crops: of the image and of the picture.
    """

    images: Sequence[tuple[Path, int]]
    mixing: Sequence[Path] | Sequence[Image.Image]
    crops: tuple[v2.Transform, v2.Transform]
    settings: TrainSettings

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        rng = np.random.default_rng((self.settings.seed, number))
        # torchvision draws from torch's own generator.
        torch.manual_seed(int(rng.integers(2**63)))
        path, label = self.images[number % len(self.images)]
        image, chosen = load(path, self.crops[0]), self.mixing[int(rng.integers(len(self.mixing)))]
        if isinstance(chosen, Path):
            picture = load(chosen, self.crops[1])
        else:
            picture = F.to_dtype(F.to_image(self.crops[1](chosen)), torch.float32, scale=True)
        mixed, _ = layermix(image, picture, rng)
        if rng.random() < 0.5:
            mixed = F.horizontal_flip(mixed)
        return F.normalize(mixed, list(self.settings.mean), list(self.settings.std)), label

    def order(self) -> Iterator[int]:
        """Numbers of every pass, shuffled."""
        rng = np.random.default_rng(self.settings.seed)
        for first in count(0, len(self.images)):
            yield from (first + rng.permutation(len(self.images))).tolist()


def resized(path: Path, size: int) -> Image.Image:
    """A mixing picture in memory, resized as `picture_crop` would each time."""
    with Image.open(path) as opened:
        picture: Image.Image = picture_crop(size).transforms[0](opened.convert("RGB"))
    return picture


def on_the_fly(variants: Variants, like: Batch, device: torch.device) -> Generator[Batch, None, None]:
    """Batches of a DataLoader, on the device."""
    loader = DataLoader(
        variants,
        batch_size=len(like),
        sampler=variants.order(),
        num_workers=CORES,
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )
    for images, labels in loader:
        there = images.to(device, non_blocking=True, memory_format=torch.channels_last)
        yield replace(like, images=there, labels=labels.to(device, non_blocking=True))


def alone(loader: ShardLoader, wait: Callable[[], None], *, warm: int, seconds: float = 1.0) -> Rate:
    """How fast a loader is without a network, after `warm` batches. wait: for what the device has still to do."""
    done = 0
    with closing(passes(loader)) as batches:
        next(islice(batches, warm - 1, None))
        wait()
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            done += len(next(batches))
        wait()
        return Rate(images_per_second=done / (time.perf_counter() - begun), waiting=1.0)


def other_ways(given: argparse.Namespace, settings: TrainSettings, like: Repeated, size: int) -> dict[str, Repeated]:
    """Augmenting on the fly, on the device of the batch in `like`."""
    images, mixing, batch = labelled(given.source), pictures_in(given.mixing), next(iter(like))
    if len({label for _, label in images}) != len(like.classes) or not mixing:
        raise SystemExit(f"{given.source} has other classes than {given.bake}, or {given.mixing} has no pictures")
    variants = Variants(images=images, mixing=mixing, crops=(image_crop(size), picture_crop(size)), settings=settings)
    found = {"on the fly": variants}
    if given.preloaded:
        found["on the fly, preloaded"] = replace(variants, mixing=[resized(path, size) for path in mixing])
    return {
        name: Endless(partial(on_the_fly, one, batch, batch.images.device), like=like) for name, one in found.items()
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All rounds, as plain values."""
    load = os.getloadavg()[0]
    asked = {"model": given.model, "batch_size": given.batch_size, "device": given.device}
    settled = settle(Asked(shards=given.bake, given={**asked, "from_scratch": True, "resident": "never"}))
    bake, settings = settled.bake, settled.settings
    with joined(settings.device, batch_size=settings.batch_size) as ranks, ExitStack() as held:
        device, size, classes = ranks.device, bake.plan.size, bake.plan.classes
        batch = made_up(settings, ranks, size=size, classes=len(classes))
        ceiling = Repeated(batch, classes=classes, steps=given.steps)
        loader = held.enter_context(closing(open_loader(given.bake, settings, ranks)))
        ways = {"ceiling": ceiling, "baked": Endless(partial(passes, loader), like=ceiling)}
        if device.type == "cuda":
            kept = held.enter_context(closing(open_loader(given.bake, replace(settings, resident="always"), ranks)))
            ways["baked, resident"] = Endless(partial(passes, kept), like=ceiling)
        wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
        ways |= other_ways(given, settings, ceiling, size)
        rates: dict[str, list[Rate]] = {name: [] for name in (*ways, LOADER)}
        for _ in range(given.rounds):
            for name, batches in ways.items():
                rates[name].append(train_rates(settings, ranks, batches, every=given.steps // 2)[-1])
            rates[LOADER].append(alone(loader, wait, warm=given.steps))
    pairs = [(name, "ceiling") for name in rates if name != "ceiling"]
    pairs += [("baked", name) for name in ways if name.startswith("on the fly")]
    return {
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
            "cores": CORES,
            "torch_threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "load": load,
        },
        **asked,
        "size": bake.plan.size,
        "images": len(bake.images),
        "steps_measured": given.steps // 2,
        "rounds": given.rounds,
        "rates": {name: [asdict(rate) for rate in turns] for name, turns in rates.items()},
        "ratios": {
            f"{over} ÷ {under}": statistics.median(
                a.images_per_second / b.images_per_second for a, b in zip(rates[over], rates[under], strict=True)
            )
            for over, under in pairs
        },
    }


def show(found: dict[str, Any]) -> None:
    """Print a table."""
    machine = "{device}, {cores} cores, {torch_threads} torch threads, torch {torch}, load {load:.1f}"
    print(machine.format(**found["machine"]))
    print("{model}, {size} px, {images:,} images, batches of {batch_size}; ".format(**found), end="")
    print("{steps_measured} steps measured a turn, medians of {rounds} rounds".format(**found))
    for name, turns in found["rates"].items():
        images = [turn["images_per_second"] for turn in turns]
        middle, waiting = statistics.median(images), statistics.median(turn["waiting"] for turn in turns)
        spread = f"({min(images):,.0f} to {max(images):,.0f})"
        steps = middle / found["batch_size"]
        print(f"  {name:22s} {steps:9,.2f} steps/s {middle:9,.0f} images/s  {spread:22s} waiting {waiting:6.1%}")
    for name, value in found["ratios"].items():
        print(f"  {name:32s} {value:8,.2f}")


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bake", required=True)
    parser.add_argument("--source", type=Path, required=True, help="the folder that was baked, one folder a class")
    parser.add_argument("--mixing", type=Path, required=True, help="folder of the pictures it was mixed with")
    parser.add_argument("--model", default="wrn16_1")
    parser.add_argument("--batch-size", type=int, default=128)
    # Workers finish a batch each at about the same time: fewer steps would hold too few of these bursts.
    steps = max(60, 20 * CORES)
    parser.add_argument("--steps", type=int, default=steps, help="a turn, an even number; 60, or 20 a core if more")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preloaded", action="store_true", help="also with all mixing pictures in memory")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    given = parser.parse_args()
    if given.steps < 2 or given.steps % 2 or given.rounds < 1:
        parser.error("--steps is an even number of 2 or more, --rounds 1 or more")
    found = measure(given)
    print(json.dumps(found, ensure_ascii=False)) if given.json else show(found)


if __name__ == "__main__":
    main()
