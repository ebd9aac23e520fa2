"""How fast a bake is read here, beside the two other ways: webdataset's own reader, and augmenting on the fly.

Everything is measured on one core, in turns, so that the ratios hold on a busy machine too.
Rule: each way yields what a training loop takes next, decoded pictures in memory with their labels; nothing is
guessed, and what could not be measured is left out and says why.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixbake.core import render
from mixbake.core.render import Canvas
from mixbake.data.decode import decode
from mixbake.data.listing import Source
from mixbake.data.prepared import open_pictures
from mixbake.data.sources import open_source
from mixbake.errors import MissingExtra, MixbakeError, UsageError
from mixbake.recipes.recipe import Lot, draw
from mixbake.recipes.recorded import Unread, recorded
from mixbake.storage import codecs
from mixbake.storage.opened import Bake
from mixbake.storage.plan import spell_worth
from mixbake.storage.shelf import LocalShelf
from mixbake.storage.store import read_json

WAYS = ("mixbake", "webdataset", "on the fly")
AT_ONCE = 32
"""Images decoded together when augmenting on the fly."""
SAMPLE = 256
"""Source images that are used, over and over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Images a second on one core, medians of `rounds`; None and a reason where a way could not be measured.

    baked: variants a second of rendering and encoding, from memory. epochs_worth: N. pays_after: epochs of
    training after which N epochs' worth have cost less than augmenting on the fly, or None.
    """

    size: int
    batch_size: int
    rounds: int
    rates: dict[str, float | None]
    reasons: dict[str, str]
    baked: float | None
    epochs_worth: int
    pays_after: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(path: Path, *, source: str | None, batch_size: int, seconds: float, rounds: int) -> Measured:
    """Measure all ways for `seconds` each in every round. source: of the images; by default as the bake was given it.

    Raises UsageError and Damage as opening a bake does.
    """
    bake = Bake.open(LocalShelf(path))
    ways, reasons = _ways(path, bake, source, batch_size)
    with _one_core():
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, images in ways.items():
                rate = _rate(images, seconds)
                # The first round compiles, fills caches and maps files.
                rates[name] += [rate] if turn else []
    medians: dict[str, float | None] = {name: statistics.median(values) for name, values in rates.items()}
    baked = medians.pop("baked", None)
    return Measured(
        size=bake.plan.size,
        batch_size=batch_size,
        rounds=rounds,
        rates={name: medians.get(name) for name in WAYS},
        reasons=reasons,
        baked=baked,
        epochs_worth=bake.epochs_worth,
        pays_after=_pays_after(medians, baked, bake.plan.variants(bake.epochs_worth) / bake.plan.baked),
    )


def explain(measured: Measured) -> str:
    """The result as a small table."""
    lines = [f"{measured.size} px, batches of {measured.batch_size}, one core, median of {measured.rounds} rounds"]
    own = measured.rates["mixbake"]
    for name, rate in measured.rates.items():
        if rate is None:
            lines.append(f"  {name:12s} not measured: {measured.reasons[name]}")
        else:
            ratio = "" if name == "mixbake" or not own else f"   mixbake is {own / rate:,.1f} × as fast"
            lines.append(f"  {name:12s} {rate:12,.0f} images/s{ratio}")
    if measured.pays_after is not None:
        bake = spell_worth(measured.epochs_worth)
        lines.append(f"  baking {bake} has paid for itself after {measured.pays_after:.1f} epochs of training")
    return "\n".join(lines)


def _pays_after(rates: dict[str, float | None], baked: float | None, variants: float) -> float | None:
    """Epochs until so many variants of each image, clean crops included, have cost less than making one an epoch."""
    own, on_the_fly = rates.get("mixbake"), rates.get("on the fly")
    if not own or not on_the_fly or not baked or on_the_fly >= own:
        return None
    return variants / baked / (1 / on_the_fly - 1 / own)


def _ways(
    path: Path, bake: Bake, source: str | None, batch_size: int
) -> tuple[dict[str, Callable[[], Iterator[int]]], dict[str, str]]:
    """What can be measured, as functions that yield how many images they have just made ready."""
    ways: dict[str, Callable[[], Iterator[int]]] = {"mixbake": _loader(path, batch_size)}
    reasons = {}
    try:
        ways["webdataset"] = _webdataset(path, bake)
    except MissingExtra as missing:
        reasons["webdataset"] = str(missing)
    try:
        augment = _Augment(path, bake, source)
    except (MixbakeError, OSError) as error:
        reasons["on the fly"] = f"{error} (say where the source is with --source)"
    else:
        ways |= {"on the fly": augment.on_the_fly, "baked": augment.baked}
    return ways, reasons


def _rate(images: Callable[[], Iterator[int]], seconds: float) -> float:
    """Images a second of passes over a way, for about `seconds`."""
    done, begun = 0, time.perf_counter()
    while True:
        for count in images():
            done += count
            spent = time.perf_counter() - begun
            if spent >= seconds:
                return done / spent


@contextmanager
def _one_core() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _loader(path: Path, batch_size: int) -> Callable[[], Iterator[int]]:
    from mixbake.stream.loader import ShardLoader  # noqa: PLC0415 - needs torch, the rest does not

    loader = ShardLoader(path, batch_size=batch_size, views="mix", verify="sizes", threads=1, prefetch=0)

    def images() -> Iterator[int]:
        for batch in loader:
            yield len(batch)

    return images


def _webdataset(path: Path, bake: Bake) -> Callable[[], Iterator[int]]:
    try:
        import webdataset  # noqa: PLC0415 - imports torch
    except ImportError as error:
        raise MissingExtra("webdataset", "train") from error
    shards = [str(path / bake.shard("mix", 0, block).name) for block in range(bake.plan.blocks)]
    pictures = "npy" if bake.plan.codec == "raw" else "rgb8"

    def images() -> Iterator[int]:
        samples = webdataset.WebDataset(shards, shardshuffle=False).shuffle(1000)
        for _ in samples.decode(pictures).to_tuple(bake.plan.extension, "cls"):
            yield 1

    return images


class _Augment:
    """The bake's own recipe on the bake's own source, with the bake's own pictures."""

    def __init__(self, path: Path, bake: Bake, source: str | None) -> None:
        plan = bake.plan
        manifest = read_json(path / "manifest.json")
        self._plan = plan
        self._recipe = recorded(plan.recipe, size=plan.size)
        if isinstance(self._recipe.recipe, Unread):
            raise UsageError(f"{self._recipe.name} is not mixbake's recipe, and what a bake names is not run")
        self._source, self._entries = self._opened(source or manifest["given"]["source"], bake)
        mixing = bake.finished.mixing_files
        self._pictures = render.NO_PICTURES
        if mixing:
            found = open_pictures(path / mixing[0])
            self._pictures = render.flat_pictures(found.pixels, found.offsets, found.shapes, found.channels)
        self._canvas = Canvas(plan.size, registers=self._recipe.recipe.most.steps + 3)
        self._encode = codecs.CODECS[plan.codec].encode

    def _opened(self, spec: str, bake: Bake) -> tuple[Source, list[Any]]:
        source = open_source(spec)
        listing = source.scan()
        if len(listing) != bake.plan.images:
            raise UsageError(f"{spec} holds {len(listing)} images, the bake was made of {bake.plan.images}")
        chosen = bake.images[np.linspace(0, len(bake.images) - 1, min(SAMPLE, len(bake.images))).astype(int)]
        return source, [listing.entry(int(image)) for image in chosen]

    def on_the_fly(self) -> Iterator[int]:
        """Decode, crop, mix: what a data set class would do in every epoch."""
        for pixels, entries in self._decoded():
            for _ in self._rendered(pixels, entries, 0):
                yield 1

    def baked(self) -> Iterator[int]:
        """Decode once for all epochs' worth; crop, mix and encode each."""
        numbers = range(10)
        for pixels, entries in self._decoded():
            for number in numbers:
                for variant in self._rendered(pixels, entries, number):
                    self._encode(variant, self._plan.quality)
                    yield 1

    def _decoded(self) -> Iterator[tuple[list[Any], list[Any]]]:
        for first in range(0, len(self._entries), AT_ONCE):
            entries = self._entries[first : first + AT_ONCE]
            pixels = [decode(self._source.read(entry), background=self._plan.background) for entry in entries]
            yield pixels, entries

    def _rendered(self, pixels: list[Any], entries: list[Any], number: int) -> Iterator[Any]:
        plan, n = self._plan, len(entries)
        lot = Lot(
            seed=plan.seed,
            view="mix",
            images=np.array([entry.image for entry in entries], np.int64),
            numbers=np.full(n, number, np.int64),
            shapes=np.array([image.shape[:2] for image in pixels], np.int32),
            size=plan.size,
            crop=plan.crop,
            bake_flip=plan.flip == "baked",
            group=plan.group,
            pictures=self._pictures[2],
            mixing_sets=plan.mixing_sets,
        )
        table = draw(self._recipe.recipe, lot, name=self._recipe.name)
        yield from render.render_each(table, pixels, self._pictures, self._canvas)
