"""How far operations, blends and recipes are from their formulas in float64, from Pillow and from torchvision.

    python scripts/parity_table.py [demo | FOLDER] [--size 224] [--pictures 24]

Prints a Markdown table: what, against what, largest and mean difference in grey levels, on how many pictures. The same
functions and bounds hold in the tests (tests/core/peers.py). Needs the extra `train`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "core"))

from peers import Row, formula_rows, peer_rows, recipe_rows

from mixbake.core.render import fitted
from mixbake.data.decode import decode
from mixbake.data.demo import draw_demo

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
NOTES = """
Whole recipes: a difference of one level before posterize, solarize or equalize can become a large one. With blends
unrounded, a geometric blend of a dark partner with b < 0 enlarges what rounding a register to 8 bits loses.

torchvision's AugMix as a whole is not compared: its levels are the lowest of ten bins, zero among them, with colour
factors on both sides of 1 and translations of up to a third of the side. Its operations are those above."""


def load(source: str, size: int, count: int) -> list[NDArray[np.uint8]]:
    """Pictures of a folder, evenly spread, brought to the size; or drawings."""
    if source == "demo":
        return [draw_demo(number, size=size, split="train") for number in range(count)]
    files = sorted(path for path in Path(source).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        sys.exit(f"no picture below {source}")
    chosen = [files[i * len(files) // count] for i in range(min(count, len(files)))]
    return [fitted(decode(path.read_bytes()), crop_kind="pad", size=size) for path in chosen]


def line(row: Row) -> str:
    """One row in Markdown."""
    return f"| {row.what} | {row.against} | {row.largest} | {row.mean:.4f} | {row.pictures} | {row.note} |"


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", default="demo", help="folder of pictures, or demo")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pictures", type=int, default=24)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pictures = load(given.source, given.size, given.pictures)
    print(
        f"{len(pictures)} pictures of {given.source} at {given.size} px; "
        f"Pillow {PIL.__version__}, torch {torch.__version__}, torchvision {torchvision.__version__}\n"
    )
    print("| what | against | largest | mean | pictures | note |\n|---|---|---:|---:|---:|---|")
    for rows in (formula_rows(pictures), peer_rows(pictures), recipe_rows(pictures, 4 * len(pictures))):
        for row in rows:
            print(line(row), flush=True)
    print(NOTES)


if __name__ == "__main__":
    main()
