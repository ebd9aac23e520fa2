"""How fast recipes mix on one core, beside torchvision's AugMix and plain renditions of the same algorithms.

    python scripts/bench_recipes.py --size 224 --images PHOTO_FOLDER --mixing PICTURE_FOLDER [--json FILE]

Mixing alone: crops and windows of mixing pictures are in memory, nothing is decoded or encoded. Pinned to one core,
everything in turns, so that a busy machine slows all alike:
  bake         draws and renders a lot of variants, as a bake does (small sizes: one compiled call)
  transforms   `mixbake.transforms`, one picture a call, as a DataLoader would call it
  reference    reference_recipes.py (Pillow, numpy, torch), reference_layermix.py (torchvision, float)
  v2.AugMix    torchvision's, severity and op set as they come, on a uint8 tensor
Prints medians and the ratios of the medians, and how long each mixing set takes that is drawn. Needs the extra `train`.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F  # noqa: N812  the name its own documentation uses

sys.path.insert(0, str(Path(__file__).parent))

from reference_layermix import layermix
from reference_recipes import RECIPES as REFERENCES
from reference_recipes import tensor

from mixbake.core.render import Canvas, fitted, flat_pictures, render_each, render_stack
from mixbake.data.decode import decode
from mixbake.data.demo import draw_demo
from mixbake.data.generators import GENERATORS
from mixbake.data.pictures import prepare
from mixbake.data.prepared import PictureSet
from mixbake.recipes.presets import resolve
from mixbake.recipes.recipe import Lot, draw
from mixbake.transforms import AugMix, IPMix, LayerMix, PixMix, RecipeTransform

RECIPES = ("layermix", "pixmix", "augmix", "ipmix")
TRANSFORMS: dict[str, type[RecipeTransform]] = {
    "layermix": LayerMix,
    "pixmix": PixMix,
    "augmix": AugMix,
    "ipmix": IPMix,
}
IMAGES = 64
DRAWN_SIDE = 512
"""Side of the mixing pictures that are drawn."""
LOT = {True: 1024, False: 64}
"""Variants drawn at once: small ones, large ones."""
AUGMIX = "v2.AugMix"
Bytes = NDArray[np.uint8]
Way = Callable[[], int]
"""Mixes some variants, and says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is mixed: uint8[n, size, size, 3], and the mixing set in colour and in gray."""

    images: Bytes
    colour: PictureSet
    gray: PictureSet

    @property
    def size(self) -> int:
        """Side in pixels."""
        return int(self.images.shape[1])

    def windows(self, *, gray: bool) -> list[Bytes]:
        """A window of each mixing picture, uint8[size, size, 3]."""
        pictures, side = self.gray if gray else self.colour, self.size
        return [
            np.broadcast_to(pictures.picture(i)[:side, :side], (side, side, 3)).copy() for i in range(len(pictures))
        ]


def load(images: str, mixing: str, size: int) -> Material:
    """Up to IMAGES images brought to the size, evenly spread over a folder, or drawn ones; and the mixing set."""
    if images == "demo":
        found = [draw_demo(number, size=size, split="train") for number in range(IMAGES)]
    else:
        files = sorted(path for path in Path(images).rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
        chosen = files[:: max(1, len(files) // IMAGES)][:IMAGES]
        found = [fitted(decode(path.read_bytes()), crop_kind="pad", size=size) for path in chosen]
    with tempfile.TemporaryDirectory(prefix="mixbake-bench-") as folder:
        # Mapped files outlive their names.
        colour, gray = (prepare(mixing, Path(folder), size=size, gray=gray) for gray in (False, True))
        return Material(images=np.stack(found), colour=colour, gray=gray)


# ── what is compared ──────────────────────────────────────────────────────────────────────────────


def baked(name: str, material: Material) -> Way:
    """A lot of variants drawn and rendered; the next call has other numbers."""
    size = material.size
    named, batched = resolve(name, size=size, overrides={}), size <= 64
    prepared = material.gray if named.recipe.gray_pictures else material.colour
    pictures = flat_pictures(prepared.pixels, prepared.offsets, prepared.shapes, prepared.channels)
    lot, count = LOT[batched], len(material.images)
    which, turns = np.arange(lot) % count, iter(range(1 << 40))
    canvas = Canvas(size, registers=named.recipe.most.steps + 3)

    def mix() -> int:
        numbers = np.arange(lot) // count + next(turns) * lot
        drawn = draw(
            named.recipe,
            Lot(
                seed=0,
                view="mix",
                images=which,
                numbers=numbers,
                shapes=np.full((lot, 2), size, np.int32),
                size=size,
                crop="pad",
                bake_flip=False,
                group=1,
                pictures=pictures[2],
            ),
            name=named.name,
        )
        drawn.crops[:, 1:3] = 0  # the crop is in memory: the image itself
        if batched:
            return len(render_stack(drawn, material.images, which, pictures, canvas))
        return sum(1 for _ in render_each(drawn, [material.images[i] for i in which.tolist()], pictures, canvas))

    return mix


def transformed(name: str, material: Material, *, pil: bool) -> Way:
    """`mixbake.transforms`, one picture a call."""
    pictures = {} if name == "augmix" else {"mixing_set": material.windows(gray=False)}
    transform = TRANSFORMS[name](**pictures, size=material.size)
    images: list[Any] = [Image.fromarray(image) if pil else image for image in material.images]

    def mix() -> int:
        for image in images:
            transform(image)
        return len(images)

    return mix


def referenced(name: str, material: Material) -> Way:
    """The plain rendition of a recipe."""
    rng = np.random.default_rng(0)
    inputs: tuple[list[Any], list[Any]] = (
        [Image.fromarray(image) for image in material.images],
        [Image.fromarray(window) for window in material.windows(gray=name == "layermix")],
    )
    run: Callable[..., Any] = REFERENCES.get(name, layermix)
    if name == "layermix":
        inputs = [tensor(image) for image in inputs[0]], [tensor(picture) for picture in inputs[1]]

    def mix() -> int:
        for image in inputs[0]:
            run(image, inputs[1][rng.integers(len(inputs[1]))], rng)
        return len(inputs[0])

    return mix


def torchvisions_augmix(material: Material) -> Way:
    """What a user of torchvision writes."""
    transform, images = v2.AugMix(), [F.pil_to_tensor(Image.fromarray(image)) for image in material.images]

    def mix() -> int:
        for image in images:
            transform(image)
        return len(images)

    return mix


def ways(recipes: list[str], material: Material) -> dict[str, Way]:
    """Everything that is measured, by name."""
    found: dict[str, Way] = {AUGMIX: torchvisions_augmix(material)}
    for name in recipes:
        found[f"{name}, bake"] = baked(name, material)
        found[f"{name}, transform of PIL"] = transformed(name, material, pil=True)
        found[f"{name}, transform of numpy"] = transformed(name, material, pil=False)
        found[f"{name}, reference"] = referenced(name, material)
    return found


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────


def rate(way: Way, seconds: float) -> float:
    """Variants a second over at least that long."""
    done, begun = 0, time.perf_counter()
    while True:
        done += way()
        if (spent := time.perf_counter() - begun) >= seconds:
            return done / spent


def measure(found: dict[str, Way], rounds: int, seconds: float) -> dict[str, list[float]]:
    """One warm-up of each, then `rounds` rounds in turn."""
    rates: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(rounds + 1):
        for name, way in found.items():
            value = rate(way, seconds if turn else 0)
            rates[name] += [value] if turn else []
    return rates


def table(sizes: dict[int, dict[str, list[float]]]) -> str:
    """Markdown, a row each way: medians, spread, and ratios to the plain rendition, of all sizes beside each other."""
    titles = [f"{size} px, variants/s | least to most | × its reference" for size in sizes]
    lines = [f"| | {' | '.join(titles)} |", "|---" * (1 + 3 * len(sizes)) + "|"]
    for name in next(iter(sizes.values())):
        cells = [cell for rates in sizes.values() for cell in _cells(name, rates)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(name: str, rates: dict[str, list[float]]) -> tuple[str, str, str]:
    median = statistics.median(rates[name])
    reference = rates.get(f"{name.partition(',')[0]}, reference")
    ratio = f"{median / statistics.median(reference):.1f}" if reference else ""
    return f"{median:,.0f}", f"{min(rates[name]):,.0f} to {max(rates[name]):,.0f}", ratio


def time_drawn(count: int) -> dict[str, float]:
    """Milliseconds that one picture of each kind of drawn mixing set takes, the mean of the first `count`."""
    times = {}
    for name, generator in GENERATORS.items():
        generator.compile()
        for kind, draw_picture in generator.kinds.items():
            begun = time.perf_counter()
            for number in range(count):
                draw_picture(number, seed=0, side=DRAWN_SIDE)
            spent = (time.perf_counter() - begun) * 1000 / count
            times[f"{name}:{generator.option}={kind}" if kind else name] = spent
    return times


def machine() -> str:
    """The processor and the versions that decide."""
    models = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}"
    return f"{(models or [platform.processor()])[0]}, one core, {torch.get_num_threads()} thread; {versions}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    """Parse arguments, pin to one core, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="demo", help="folder of images, of any size; or demo")
    parser.add_argument("--mixing", default="fractals:count=16", help="folder of mixing pictures, or fractals")
    parser.add_argument("--size", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="of each measurement, at least")
    parser.add_argument("--drawn", type=int, default=24, help="pictures of each drawn mixing set; 0: none")
    parser.add_argument("--json", type=Path, help="file to write every rate to")
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    document: dict[str, Any] = {"machine": machine(), "rounds": given.rounds, "sizes": {}}
    print(f"{document['machine']}; median of {given.rounds} rounds in turns")
    for size in given.size:
        rates = measure(ways(given.recipes, load(given.images, given.mixing, size)), given.rounds, given.seconds)
        document["sizes"][size] = rates
    print("\n" + table(document["sizes"]))
    if given.drawn:
        document["drawn"] = time_drawn(given.drawn)
        print(f"\n| Mixing set, {DRAWN_SIDE} px | ms a picture, mean of {given.drawn} |\n|---|---|")
        print("\n".join(f"| {name} | {spent:.0f} |" for name, spent in document["drawn"].items()))
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
