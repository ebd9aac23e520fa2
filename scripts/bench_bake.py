"""How fast a bake is on one core, beside the codec floor and the script a user would write today.

    python scripts/bench_bake.py --small CIFAR_FOLDER --large PHOTO_FOLDER --mixing PICTURE_FOLDER

Each round runs, pinned to one core and in turn, so that a busy machine slows all alike:
  bake       mixbake.bake.build, inline executor, everything included: decoding, drawing, rendering,
             encoding, tars, index, receipts, fsync (kernels compiled and pictures prepared beforehand)
  floor      decode each image once per ten variants, encode one variant: no less is possible
  reference  scripts/reference_layermix.py (torchvision, Pillow, webdataset.ShardWriter)
Prints medians and the ratios of the medians. Needs the extra `train` for the reference.
"""

import argparse
import os
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import simplejpeg
from numpy.typing import NDArray

from mixbake.bake.build import build
from mixbake.bake.settings import BuildSettings
from mixbake.data.decode import decode
from mixbake.storage import codecs

sys.path.insert(0, str(Path(__file__).parent))


LEAST_IMAGES = 2000


class Silent:
    """A watcher that shows nothing."""

    def say(self, message: str) -> None:
        """Ignore."""

    def prepare(self, what: str, done: int, total: int) -> None:
        """Ignore."""

    @contextmanager
    def baking(self, *_: Any) -> Any:
        """Ignore."""
        yield

    def event(self, name: str, **fields: Any) -> None:
        """Ignore."""


def bake_rate(source: Path, mixing: Path, out: Path, size: int, *, jobs: int = 1, epochs: int = 10) -> float:
    """Variants a second of a whole build."""
    settings = BuildSettings(
        source=str(source),
        out=out,
        epochs_worth=epochs,
        size=size,
        mixing_set=str(mixing),
        jobs=jobs,
        executor="inline" if jobs == 1 else "joblib",
    )
    start = time.perf_counter()
    built = build(settings, Silent())
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return built.baked / seconds


def some_variants(source: Path, mixing: Path, out: Path, size: int, count: int) -> list[NDArray[np.uint8]]:
    """Pixels of real variants, evenly spread: what an encoder gets to see, masks and noise included."""
    settings = BuildSettings(
        source=str(source), out=out, size=size, mixing_set=str(mixing), executor="inline", codec="raw", limit=count
    )
    build(settings, Silent())
    members = []
    for shard in sorted(out.rglob("*.tar")):
        with tarfile.open(shard) as archive:
            members += [archive.extractfile(one).read() for one in archive if one.name.endswith(".npy")]  # type: ignore[union-attr]  # files
    shutil.rmtree(out)
    return [codecs.decode_stored(member, "raw") for member in members]


def floor_rate(files: list[Path], variants: list[NDArray[np.uint8]], size: int) -> float:
    """Variants a second of decoding a tenth of an image and encoding one variant: jpeg 4:4:4 at 95, or stored png."""
    codec = codecs.CODECS[codecs.choose_codec("auto", size)]
    encoded = 0
    start = time.perf_counter()
    for file in files:
        decode(file.read_bytes())
        for _ in range(10):
            codec.encode(variants[encoded % len(variants)], 95)
            encoded += 1
    return encoded / (time.perf_counter() - start)


def reference_rate(files: list[Path], mixing: list[Path], out: Path, size: int) -> float:
    """Variants a second of the reference script."""
    from reference_layermix import reference  # noqa: PLC0415 - needs torch, the rest does not

    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    written = reference([(file, 0) for file in files], mixing, out, size=size, seed=0)
    return written / (time.perf_counter() - start)


def pictures_below(folder: Path) -> list[Path]:
    """Every picture file below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def enlarged(source: Path, folder: Path) -> Path:
    """The image folder with its pictures several times over, at least `LEAST_IMAGES`.

    A bake takes a tenth of a second to begin and to finish: of a small set that would be part of the rate.
    """
    files = pictures_below(source)
    if len(files) >= LEAST_IMAGES:
        return source
    for turn in range(-(-LEAST_IMAGES // len(files))):
        for file in files:
            copy = folder / file.parent.relative_to(source) / f"{turn}-{file.name}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    return folder


def compare(name: str, source: Path, mixing: Path, size: int, rounds: int, sample: int) -> None:
    """Run the rounds for one size and print a table."""
    with tempfile.TemporaryDirectory(prefix="mixbake-bench-") as temporary:
        out = Path(temporary)
        source = enlarged(source, out / "images")
        files, pictures = pictures_below(source), pictures_below(mixing)
        variants = some_variants(source, mixing, out / "some", size, 300)
        runs: dict[str, Callable[[], float]] = {
            "bake": lambda: bake_rate(source, mixing, out / "bake", size),
            "floor": lambda: floor_rate(files[:: max(1, len(files) // 300)], variants, size),
            "reference": lambda: reference_rate(files[:: max(1, len(files) // sample)], pictures, out / "ref", size),
        }
        rates = measure(runs, rounds)
    report(f"{name}: {size} px, {len(files)} images, {len(pictures)} mixing pictures", rates)


def measure(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """One warm-up of each, then `rounds` rounds in turn."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            rate = run()
            if turn:
                rates[name].append(rate)
    return rates


def report(title: str, rates: dict[str, list[float]]) -> None:
    """Print medians, spread, and bake's ratio to the others."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"\n{title}; median of {len(next(iter(rates.values())))} rounds, one core")
    for name, values in rates.items():
        ratio = "" if name == "bake" else f"   bake / {name} = {medians['bake'] / medians[name]:.2f}"
        print(f"  {name:10s} {medians[name]:10,.0f} variants/s  ({min(values):,.0f} to {max(values):,.0f}){ratio}")


def two_workers(source: Path, mixing: Path, size: int, rounds: int, epochs: int) -> None:
    """Two worker processes against one, both through the pool, in turns."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="mixbake-bench-") as temporary:
        for _ in range(rounds):
            for jobs, found in rates.items():
                found.append(pool_rate(source, mixing, Path(temporary) / "bake", size, jobs, epochs))
    one, two = (statistics.median(found) for found in rates.values())
    print(f"\ntwo workers, {size} px: {two:,.0f} against {one:,.0f} variants/s = {two / one:.2f} x (n = {rounds})")


def pool_rate(source: Path, mixing: Path, out: Path, size: int, jobs: int, epochs: int) -> float:
    """Variants a second of the baking phase with worker processes, their start included."""

    class Timed(Silent):
        """Takes the time of the baking phase."""

        seconds = 0.0

        @contextmanager
        def baking(self, *_: Any) -> Any:
            start = time.perf_counter()
            yield
            self.seconds = time.perf_counter() - start

    shutil.rmtree(out, ignore_errors=True)
    watcher = Timed()
    built = build(
        BuildSettings(source=str(source), out=out, epochs_worth=epochs, size=size, mixing_set=str(mixing), jobs=jobs),
        watcher,
    )
    return built.baked / watcher.seconds


def main() -> None:
    """Parse arguments, pin to one core, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=Path, help="image folder of 32-px pictures")
    parser.add_argument("--large", type=Path, help="image folder of photographs")
    parser.add_argument("--mixing", type=Path, required=True, help="folder of mixing pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", action="store_true", help="also two workers against one (not pinned)")
    given = parser.parse_args()
    print(f"{psutil.cpu_count()} cores, simplejpeg {simplejpeg.__version__}, load {os.getloadavg()[0]:.1f}")
    everywhere = os.sched_getaffinity(0)
    for name, folder, size, sample in (("small", given.small, 32, 400), ("large", given.large, 224, 100)):
        if folder is None:
            continue
        os.sched_setaffinity(0, {min(everywhere)})
        compare(name, folder, given.mixing, size, given.rounds, sample)
        os.sched_setaffinity(0, everywhere)
        if given.workers:
            two_workers(folder, given.mixing, size, 3, 200 if size == 32 else 60)


if __name__ == "__main__":
    main()
