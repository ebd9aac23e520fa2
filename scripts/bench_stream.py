"""How fast bakes are read on one core, beside the readers that users have.

    python scripts/bench_stream.py --small BAKE_32 --large BAKE_224 [--rounds 5] [--huge FOLDER]

Pinned to one core, everything in turns: ratios hold on a busy machine too. Prints medians.
  uint8        ShardLoader, shuffled batches of 512 with labels, as stored
  float        the same, mirrored, normalised, float32, channels_last
  decoding     bare simplejpeg, every picture of the bake from memory into one reused buffer (224 px)
  webdataset   its own pipeline on the same shards: shuffle, decode, batch; also in a process of its own with
               settings that keep glibc from giving memory back (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_)
--huge makes (once) and opens a bake of 25,000 shards and 1,000,000 images. Needs the extra `train`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import simplejpeg
import torch
import webdataset

sys.path.insert(0, str(Path(__file__).parent))

from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf
from mixbake.storage.sizes import places, read_sizes
from mixbake.stream import ShardLoader
from mixbake.stream.maps import map_file

BATCH = 512
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "17179869184"}
Way = Callable[[], Iterator[int]]


def loader(path: Path, **options: Any) -> Way:
    """Batches of our loader."""
    ours = ShardLoader(path, batch_size=min(BATCH, len(Bake.open(LocalShelf(path)).images)), **options)
    return lambda: (len(batch) for batch in ours)


def bare_decoding(path: Path) -> Way:
    """No less is possible: every picture of one epoch's worth, at its known place, into the same buffer."""
    bake = Bake.open(LocalShelf(path))
    file = bake.sizes("mix", 0)
    lengths = read_sizes(path / file.name, len(bake.images), file.sha256)
    offsets, _ = places(lengths, bake.samples, bake.plan.member_bytes)
    maps = [map_file(path / bake.shard("mix", 0, block).name) for block in range(bake.plan.blocks)]
    blocks = np.repeat(np.arange(bake.plan.blocks), bake.samples)
    out = np.empty((bake.plan.size, bake.plan.size, 3), np.uint8)

    def images() -> Iterator[int]:
        for block, offset, size in zip(blocks.tolist(), offsets.tolist(), lengths.tolist(), strict=True):
            data = maps[block][offset : offset + size]
            simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=False, fastupsample=False, buffer=out)
            yield 1

    return images


def stock_webdataset(path: Path) -> Way:
    """What webdataset's documentation shows, on the shards of one epoch's worth."""
    bake = Bake.open(LocalShelf(path))
    shards = [str(path / bake.shard("mix", 0, block).name) for block in range(bake.plan.blocks)]

    def images() -> Iterator[int]:
        samples = webdataset.WebDataset(shards, shardshuffle=False).shuffle(1000).decode("rgb8")
        for pictures, _ in samples.to_tuple(bake.plan.extension, "cls").batched(256):
            yield len(pictures)

    return images


def rate(way: Way, seconds: float) -> float:
    """Images a second over about `seconds`."""
    done, begun = 0, time.perf_counter()
    while True:
        for count in way():
            done += count
            if (spent := time.perf_counter() - begun) >= seconds:
                return done / spent


def webdataset_in_a_process(path: Path, seconds: float) -> float:
    """The same in a process that keeps its memory."""
    command = [sys.executable, __file__, "--webdataset", str(path), "--seconds", str(seconds)]
    environment = {**os.environ, **KEEP_MEMORY}
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def compare(title: str, ways: dict[str, Way], path: Path, rounds: int, seconds: float) -> None:
    """Run all ways in turns and print a table; ratios are of the first to the others."""
    rates: dict[str, list[float]] = {name: [] for name in (*ways, "webdataset, memory kept")}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            value = rate(way, seconds)
            rates[name] += [value] if turn else []
        if turn:
            rates["webdataset, memory kept"].append(webdataset_in_a_process(path, seconds))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    first = next(iter(medians.values()))
    print(f"\n{title}; median of {rounds} rounds, one core")
    for name, values in rates.items():
        spread = f"({min(values):,.0f} to {max(values):,.0f})"
        print(f"  {name:26s} {medians[name]:12,.0f} images/s  {spread:26s} ratio {first / medians[name]:,.2f}")


def two_cores(path: Path, rounds: int, seconds: float) -> None:
    """Two decoding threads on two cores against one on one."""
    everywhere = os.sched_getaffinity(0)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds + 1):
        for cores in rates:
            os.sched_setaffinity(0, set(sorted(everywhere)[:cores]))
            value = rate(loader(path, verify="sizes", threads=cores), seconds)
            rates[cores] += [value] if turn else []
    os.sched_setaffinity(0, everywhere)
    one, two = (statistics.median(values) for values in rates.values())
    print(f"\ntwo cores: {two:,.0f} against {one:,.0f} images/s = {two / one:.2f} x (n = {rounds})")


def opening(folder: Path, rounds: int) -> None:
    """Seconds from nothing to the first batch of a huge bake, and of resuming at the last step."""
    from synthetic_bake import make  # noqa: PLC0415 - beside this script

    for codec in ("png", "jpeg"):
        out = folder / codec
        if not (out / "bake.json").exists():
            make(out, images=1_000_000, block_images=4000, epochs=100, codec=codec, seed=0, batch_size=BATCH)
        seconds = []
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            with closing(iter(ShardLoader(out, batch_size=BATCH, verify="sizes"))) as batches:
                batch = next(batches)
                seconds.append(time.perf_counter() - begun)
            assert batch.valid.all()
        print(f"\n25,000 shards, 1,000,000 images, {codec}: first batch after {statistics.median(seconds[1:]):.2f} s")


def resuming(path: Path, rounds: int) -> None:
    """Seconds to the next batch after load_state_dict, at the first and at the last step of a pass."""
    ours = ShardLoader(path, batch_size=BATCH, verify="sizes")
    state, last = ours.state_dict(), len(ours) - 1
    found = {}
    for step in (1, last):
        times = []
        for _ in range(rounds):
            ours.load_state_dict({**state, "step": step})
            begun = time.perf_counter()
            next(iter(ours))
            times.append(time.perf_counter() - begun)
        found[step] = statistics.median(times)
    print(f"\nresuming at step 1: {found[1] * 1e3:.1f} ms, at the last ({last}): {found[last] * 1e3:.1f} ms")


def memory(path: Path, passes: int) -> None:
    """Private memory after the first pass over all numbers and after more."""
    ours, used = ShardLoader(path, batch_size=BATCH, verify="sizes"), []
    for _ in range(passes):
        for _ in range(ours.bake.epochs_worth):
            for _ in ours:
                pass
        used.append(psutil.Process().memory_full_info().uss // 1_000_000)
    print(f"private memory after each {ours.bake.epochs_worth} passes: {', '.join(map(str, used))} MB")


def main() -> None:
    """Parse arguments, pin to one core, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=Path, help="bake of 32-px pictures, at least 20,000 images")
    parser.add_argument("--large", type=Path, help="bake of 224-px JPEGs")
    parser.add_argument("--huge", type=Path, help="folder for the bakes that are only opened")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--webdataset", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.webdataset:
        way = stock_webdataset(given.webdataset)
        rate(way, 0.5)
        print(rate(way, given.seconds))
        return
    print(f"{psutil.cpu_count()} cores, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    if given.small:
        ways = {
            "uint8": loader(given.small, flip="none", verify="sizes"),
            "uint8, flipped": loader(given.small, flip="online", verify="sizes"),
            "float": loader(given.small, flip="online", verify="sizes", dtype=torch.float32),
            "webdataset": stock_webdataset(given.small),
        }
        compare("32 px", ways, given.small, given.rounds, given.seconds)
        resuming(given.small, given.rounds)
        memory(given.small, 4)
    if given.large:
        ways = {
            "uint8": loader(given.large, flip="none", verify="sizes", threads=1),
            "decoding": bare_decoding(given.large),
            "webdataset": stock_webdataset(given.large),
        }
        compare("224 px", ways, given.large, given.rounds, given.seconds)
        os.sched_setaffinity(0, everywhere)
        two_cores(given.large, given.rounds, given.seconds)
    os.sched_setaffinity(0, everywhere)
    if given.huge:
        opening(given.huge, given.rounds)


if __name__ == "__main__":
    main()
