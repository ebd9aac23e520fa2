"""How many epochs' worth are enough? Networks trained on N of them at equal steps, on clean and corrupted pictures.

    python scripts/experiment_epochs_worth.py --source TRAIN --val TEST --mixing DIR --out FOLDER [--seeds 3]

Bakes N = 1, 2, 5, 10 epochs' worth and a fresh variant for every epoch, trains a network on each for the same number
of epochs, with several seeds, with and without the online flip, and measures clean accuracy and the mean accuracy under
the 15 corruptions of `mixbake.evaluate.corruptions` (our own stand-ins, never CIFAR-10-C) and all five severities.
`plain`, the crop alone, is trained beside them. Of one seed all cells share their crops, so differences are paired.

Every cell leaves result.json; the same command goes on where it was stopped. Writes table.md and plot.svg into FOLDER;
mean ± standard error over seeds. Needs the extras `train` and `plots`.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixbake.bake.build import build
from mixbake.bake.settings import BuildSettings
from mixbake.data.shown import LabelledPictures
from mixbake.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt_all
from mixbake.progress import watch, watch_training
from mixbake.storage.store import publish_bytes, read_json
from mixbake.train.asked import Asked, settle
from mixbake.train.checkpoint import open_network
from mixbake.train.run import train
from mixbake.train.validation import classify

BATCH = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training: a recipe's bake of so many epochs' worth, the flip, the seed of bake and training."""

    recipe: str
    worth: int
    flip: str
    seed: int

    @property
    def group(self) -> tuple[str, int, str]:
        """What cells have in common whose mean is of interest."""
        return self.recipe, self.worth, self.flip


def remember(options: argparse.Namespace) -> None:
    """Write what decides the results into FOLDER, or refuse a folder of other results."""
    asked = {name: str(value) for name, value in vars(options).items() if name not in ("out", "worth", "seeds")}
    path = options.out / "experiment.json"
    options.out.mkdir(parents=True, exist_ok=True)
    before = read_json(path) if path.exists() else asked
    if odd := [f"{name}: {before.get(name)} -> {asked[name]}" for name in asked if before.get(name) != asked[name]]:
        raise SystemExit(f"{options.out} holds another experiment ({'; '.join(odd)}): name another --out")
    publish_bytes(path, json.dumps(asked, indent=2).encode())


def cells(options: argparse.Namespace) -> list[Cell]:
    """All that is trained, seed by seed, so that an unfinished experiment has whole seeds."""
    worth = [*[n for n in options.worth if n < options.epochs], options.epochs]
    kinds = [("layermix", n, flip) for n in worth for flip in ("online", "none")]
    kinds.append(("plain", options.epochs, "online"))
    return [Cell(recipe=r, worth=n, flip=f, seed=seed) for seed in range(options.seeds) for r, n, f in kinds]


def bake(cell: Cell, options: argparse.Namespace) -> Path:
    """The cell's bake; one that is there already is left as it is."""
    out: Path = options.out / "bakes" / f"{cell.recipe}-{cell.worth}-seed{cell.seed}"
    settings = BuildSettings(
        source=options.source,
        out=out,
        recipe=cell.recipe,
        epochs_worth=cell.worth,
        mixing_set=options.mixing,
        seed=cell.seed,
        flip="online",
    )
    with watch(settings, quiet=True) as watcher:
        build(settings, watcher)
    return out


class Shown:
    """The pictures to measure on, clean and under every corruption; corrupted once, for all networks."""

    def __init__(self, source: str, *, classes: tuple[str, ...], size: int) -> None:
        pictures = LabelledPictures(source, classes=classes, size=size)
        self.labels = pictures.labels
        self.clean = pictures.read(range(len(pictures)))
        self.corrupted = {
            (name, severity): corrupt_all(self.clean, name, severity, seed=0)
            for name in CORRUPTIONS
            for severity in SEVERITIES
        }


def measure(run: Path, source: str, open_shown: Callable[..., Shown]) -> dict[str, float]:
    """Accuracies from 0 to 1: clean, the mean over corruptions and severities, that over each of these alone."""
    network, about = open_network(run / "last.safetensors")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    shown = open_shown(source, classes=tuple(about["classes"]), size=about["size"])

    def accuracy(images: Any) -> float:
        parts = np.array_split(images, math.ceil(len(images) / BATCH))
        found = [classify(network, part, mean=about["mean"], std=about["std"], device=device) for part in parts]
        return float((torch.cat(found).cpu().numpy() == shown.labels).mean())

    each = {kind: accuracy(images) for kind, images in shown.corrupted.items()}
    by_severity = {f"severity {s}": statistics.mean(each[name, s] for name in CORRUPTIONS) for s in SEVERITIES}
    by_name = {name: statistics.mean(each[name, s] for s in SEVERITIES) for name in CORRUPTIONS}
    return {"clean": accuracy(shown.clean), "corrupted": statistics.mean(each.values()), **by_severity, **by_name}


def train_cell(cell: Cell, options: argparse.Namespace, open_shown: Callable[..., Shown]) -> dict[str, float]:
    """Accuracies of the cell's network, from its result.json if there is one."""
    run: Path = options.out / "runs" / f"{cell.recipe}-{cell.worth}-{cell.flip}-seed{cell.seed}"
    stored = run / "result.json"
    if not stored.exists():
        given = {"model": options.model, "epochs": options.epochs, "batch_size": options.batch_size, "lr": options.lr}
        given |= {"dropout": options.dropout, "seed": cell.seed, "flip": cell.flip, "max_uses": options.epochs}
        resume = (run / "state.pt").exists()
        shards = str(bake(cell, options))
        with watch_training() as show:
            train(settle(Asked(shards=shards, out=run, given={} if resume else given, resume=resume)), show)
        publish_bytes(stored, json.dumps(measure(run, options.val, open_shown), indent=2).encode())
    result: dict[str, float] = json.loads(stored.read_text())
    return result


def spell(values: Sequence[float]) -> str:
    """Mean ± standard error, in per cent."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{100 * statistics.mean(values):.1f} ± {100 * error:.1f}"


def tabulate(results: dict[Cell, dict[str, float]], options: argparse.Namespace) -> str:
    """Markdown: a row a group, and its difference from the fresh one of the same flip, paired by seed."""
    setting = f"{options.model}, {options.epochs} epochs, batch {options.batch_size}"
    lines = [
        f"{setting}; accuracy in %, mean ± standard error; 15 corruptions of our own, severities 1 to 5\n",
        "| Recipe | Epochs' worth | Uses | Flip | n | Clean | Corrupted | Corrupted, minus fresh of this flip |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in dict.fromkeys(cell.group for cell in results):
        recipe, worth, flip = group
        own = [cell for cell in results if cell.group == group]
        fresh = [Cell(recipe="layermix", worth=options.epochs, flip=flip, seed=cell.seed) for cell in own]
        gaps = [
            results[a]["corrupted"] - results[b]["corrupted"] for a, b in zip(own, fresh, strict=True) if b in results
        ]
        columns = [spell([results[cell][name] for cell in own]) for name in ("clean", "corrupted")]
        gap = spell(gaps) if gaps and own != fresh else ""
        name = f"{worth} (fresh)" if worth == options.epochs else str(worth)
        uses = math.ceil(options.epochs / worth)
        lines.append(f"| {recipe} | {name} | {uses} | {flip} | {len(own)} | {' | '.join(columns)} | {gap} |")
    return "\n".join(lines) + "\n"


def plot(results: dict[Cell, dict[str, float]], path: Path) -> None:
    """Accuracy against epochs' worth, a line a flip, with standard errors."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    mpl.rcParams["svg.hashsalt"] = "mixbake"
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, measured in zip(figure.subplots(1, 2), ("clean", "corrupted"), strict=True):
        for recipe, flip in dict.fromkeys((cell.recipe, cell.flip) for cell in results):
            own = [cell for cell in results if (cell.recipe, cell.flip) == (recipe, flip)]
            worth = sorted({cell.worth for cell in own})
            groups = [[100 * results[cell][measured] for cell in own if cell.worth == n] for n in worth]
            errors = [statistics.stdev(group) / math.sqrt(len(group)) if len(group) > 1 else 0 for group in groups]
            means = [statistics.mean(group) for group in groups]
            axes.errorbar(worth, means, errors, marker="o", capsize=3, label=f"{recipe}, flip {flip}")
        axes.set(xscale="log", xlabel="epochs' worth", ylabel=f"{measured} accuracy, %")
        axes.set_xticks(ticks := sorted({cell.worth for cell in results}), [str(n) for n in ticks])
        axes.minorticks_off()
        axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Train what is missing, then write table and plot of what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="training images, as for `mixbake build`")
    parser.add_argument("--val", required=True, help="pictures to measure on")
    parser.add_argument("--mixing", default="fractals", help="mixing set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the experiment")
    parser.add_argument("--worth", type=int, nargs="*", default=[1, 2, 5, 10], help="epochs' worth, beside fresh")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="wrn16_1")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    options = parser.parse_args()
    remember(options)
    open_shown = cache(Shown)
    results: dict[Cell, dict[str, float]] = {}
    for cell in cells(options):
        results[cell] = train_cell(cell, options, open_shown)
        (options.out / "table.md").write_text(tabulate(results, options))
    plot(results, options.out / "plot.svg")
    print((options.out / "table.md").read_text())


if __name__ == "__main__":
    main()
