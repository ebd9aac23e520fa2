"""Bakes a grid of ablations: a recipe, and the same with one thing changed, for several seeds.

    python scripts/bake_ablations.py SOURCE --out FOLDER --recipe layermix [--seeds 3] [--only base "no covariance"]

Of one seed all cells share crops, flips, and windows of mixing pictures; the flip is baked into each of them, though
some recipes could leave it to the trainer. So two cells differ in nothing but the ablation, and `mixbake compare` shows
them side by side. A cell that is the same recipe as one before it is left out: severity 8 is LayerMix's base.
A bake a cell and seed, in FOLDER/CELL/seed0; the same command goes on where it was stopped and keeps what is finished.
Prints a table and writes it to FOLDER, as ablations.md and ablations.csv.
"""

import argparse
import csv
import io
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mixbake.bake.build import build
from mixbake.bake.settings import SMALL, BuildSettings, common_size, open_listing
from mixbake.errors import MixbakeError
from mixbake.progress import watch
from mixbake.recipes.presets import BARE, find, read_overrides, resolve
from mixbake.recipes.recipe import Recipe
from mixbake.storage.store import publish_bytes

_BLENDS = {
    "arithmetic alone": ["blend_weights=1,0,0,0"],
    "geometric alone": ["blend_weights=0,1,0,0"],
    "pixel alone": ["blend_weights=0,0,1,0"],
    "element alone": ["blend_weights=0,0,0,1"],
}
_SEVERITIES = {f"severity {m}": [f"severity={m}"] for m in (1, 3, 5, 8, 10)}

ABLATIONS: dict[str, dict[str, list[str]]] = {
    "layermix": {
        "base": [],
        "no covariance": ["covariance=none"],
        "covariance of blends": ["covariance=blend"],
        "covariance of both": ["covariance=op_and_blend"],
        "pictures in colour": ["picture_colors=rgb"],
        "pictures not mirrored": ["picture_flips=off"],
        "layer 1 alone": ["layers=1"],
        "layer 2 alone": ["layers=2"],
        "layer 3 alone": ["layers=3"],
        "equal blends": ["blend_weights=1,1,1,1"],
        **_BLENDS,
        **_SEVERITIES,
    },
    "pixmix": {
        "base": [],
        "input alone": ["partners=input"],
        "pictures alone": ["partners=pictures"],
        "pictures in gray": ["picture_colors=gray"],
        "pictures mirrored": ["picture_flips=on"],
        **{f"k {k}": [f"k={k}"] for k in (1, 2, 3, 4, 5, 6)},
        **{f"beta {beta}": [f"beta={beta}"] for beta in (1, 2, 3, 4, 5)},
        "four blends": ["blend_weights=1,1,1,1"],
        **_BLENDS,
        **_SEVERITIES,
    },
    "ipmix": {
        "base": [],
        "both partners": ["partners=both"],
        "pictures in gray": ["picture_colors=gray"],
        "pictures mirrored": ["picture_flips=on"],
        **{f"t {t}": [f"t={t}"] for t in (1, 2, 3, 4, 5)},
        **{f"k {k}": [f"k={k}"] for k in (1, 2, 3)},
        **_BLENDS,
        **_SEVERITIES,
    },
    "augmix": {
        "base": [],
        **{f"width {width}": [f"width={width}"] for width in (1, 2, 3, 4)},
        **{f"depth {depth}": [f"depth={depth}"] for depth in (1, 2, 3)},
        **_SEVERITIES,
    },
    "plain": {"base": []},
}
"""Family of recipes -> cell -> what is set, as for `mixbake build --set`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A finished bake. set: what the cell changes. seconds: that it took when it was baked."""

    cell: str
    set: str
    seed: int
    digest: str
    samples: int
    bytes: int
    seconds: float


Rows = dict[tuple[str, int], Row]
"""By cell and seed."""


def bake(cell: str, seed: int, options: argparse.Namespace, before: Row | None) -> Row:
    """Bake one cell, or find it finished; before: its row in the table of an earlier run."""
    texts = options.cells[cell]
    settings = BuildSettings(
        source=options.source,
        out=options.out / cell.replace(" ", "-") / f"seed{seed}",
        recipe=options.recipe,
        overrides=read_overrides(options.recipe, texts),
        epochs_worth=options.epochs_worth,
        seed=seed,
        flip=options.flip,
        **options.given,
    )
    start = time.perf_counter()
    with watch(settings, quiet=True) as watcher:
        built = build(settings, watcher)
    digest, document = built.finished.digest, built.finished.document
    seconds = time.perf_counter() - start
    if not built.baked:
        seconds = before.seconds if before and before.digest == digest else math.nan
    return Row(
        cell=cell,
        set=" ".join(texts),
        seed=seed,
        digest=digest,
        samples=document["samples"],
        bytes=document["bytes"],
        seconds=round(seconds, 1),
    )


def tabulate(rows: Iterable[Row]) -> Iterator[str]:
    """Markdown, a row a bake."""
    yield "| Cell | --set | Seed | Bake digest | Samples | Bytes | Seconds |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        changed = f"`{row.set}`" if row.set else ""
        counts = f"{row.samples:,} | {row.bytes:,} | {row.seconds:g}"
        yield f"| {row.cell} | {changed} | {row.seed} | {row.digest[:16]} | {counts} |"


def write(rows: Rows, folder: Path) -> None:
    """The table as Markdown, and as CSV with whole digests."""
    publish_bytes(folder / "ablations.md", ("\n".join(tabulate(rows.values())) + "\n").encode())
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows.values())
    publish_bytes(folder / "ablations.csv", text.getvalue().encode())


def read(folder: Path) -> Rows:
    """The table of an earlier run, if there is one."""
    path = folder / "ablations.csv"
    if not path.exists():
        return {}
    kinds = {"seed": int, "samples": int, "bytes": int, "seconds": float}
    with path.open(newline="") as file:
        found = [{name: kinds.get(name, str)(text) for name, text in row.items()} for row in csv.DictReader(file)]
    return {(row["cell"], row["seed"]): Row(**row) for row in found}


def cells_of(preset: str) -> dict[str, list[str]]:
    """What is baked of a preset, by its full name: of cells that are one recipe the first alone."""
    found: dict[Recipe, tuple[str, list[str]]] = {}
    for cell, texts in ABLATIONS[find(preset).family].items():
        recipe = resolve(preset, size=SMALL, overrides=read_overrides(preset, texts)).recipe
        found.setdefault(recipe, (cell, texts))
    return dict(found.values())


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them, as `mixbake build` takes them."""
    return tuple(int(part) for part in text.split(","))


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """What is asked for, the recipe by its full name; `cells` and `given`, more settings of a build, are added."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="as for `mixbake build`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the grid")
    parser.add_argument("--recipe", default="layermix", help="what is ablated: see `mixbake recipes`")
    parser.add_argument("--only", nargs="*", default=[], help="cells by name; all if not given")
    parser.add_argument("--list", action="store_true", help="print the cells and bake nothing")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 0")
    parser.add_argument("--epochs-worth", type=int, default=1)
    parser.add_argument("--mixing", action="append", help="mixing set; again for more")
    parser.add_argument("--mixing-weights", type=whole_numbers, help="how often each of them is used, such as 3,1")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--executor", choices=("joblib", "inline"))
    parser.add_argument("--flip", default="baked", choices=("baked", "none", "online"), help="of every cell alike")
    options = parser.parse_args(arguments)
    if find(BARE.get(options.recipe, (options.recipe,))[0]).family not in ABLATIONS:
        parser.error(f"--recipe {options.recipe}: there are cells for {', '.join(ABLATIONS)} alone")
    if options.recipe in BARE:
        # By the size a bare name stands for a preset, and so for the cells that are its base.
        if not options.size:
            options.size = common_size(*open_listing(BuildSettings(source=options.source)), lambda _said: None)
        options.recipe = resolve(options.recipe, size=options.size, overrides={}).name
    options.cells = cells_of(options.recipe)
    if unknown := [cell for cell in options.only if cell not in options.cells]:
        parser.error(f"--only {unknown[0]!r}: choose from {', '.join(options.cells)}")
    asked: dict[str, Any] = {name: getattr(options, name) for name in ("size", "limit", "jobs", "executor")}
    asked |= {"mixing_set": options.mixing and tuple(options.mixing), "mixing_weights": options.mixing_weights}
    options.given = {name: value for name, value in asked.items() if value is not None}
    return options


def main(arguments: list[str] | None = None) -> None:
    """Bake what is missing, seed by seed, so that an unfinished grid has whole seeds; then print all of it."""
    options = read_options(arguments)
    cells = options.only or list(options.cells)
    if options.list:
        print("\n".join(f"{cell:24} {' '.join(options.cells[cell])}".rstrip() for cell in cells))
        return
    rows = read(options.out)
    for seed in range(options.seeds):
        for cell in cells:
            rows[cell, seed] = bake(cell, seed, options, rows.get((cell, seed)))
            write(rows, options.out)
    print("\n".join(tabulate(rows.values())))


if __name__ == "__main__":
    try:
        main()
    except MixbakeError as error:
        raise SystemExit(f"{error}") from None
