"""Pictures that a small network learns in seconds: stripes of four directions; and that network, as a run's folder."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from mixbake.evaluate.corruptions import SEVERITIES, corrupt_all
from mixbake.train.checkpoint import save_checkpoint
from mixbake.train.networks.catalog import build_network

CLASSES = ("across", "down", "falling", "rising")
SIDE = 16
MODEL = "wrn10_1"


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures uint8 n×16×16×3 and labels 0 to 3, by turns."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    rows, columns = np.indices((SIDE, SIDE))
    along = np.stack([rows, columns, rows + columns, rows - columns])
    phase, strength = rng.uniform(0, 6, count), rng.uniform(20, 60, count)
    waves = np.sin(along[labels] * 1.4 + phase[:, None, None]) * strength[:, None, None]
    noise = rng.normal(0, 8, (count, SIDE, SIDE, 3))
    colour = rng.uniform(70, 180, (count, 1, 1, 3))
    return np.clip(colour + waves[..., None] + noise, 0, 255).astype(np.uint8), labels


def write_folder(folder: Path, pictures: NDArray[np.uint8], labels: NDArray[np.int64]) -> Path:
    """An image folder: its order is not that of the arrays."""
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        path = folder / CLASSES[label] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return folder


def write_list(folder: Path, pictures: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """A source in the order of the arrays, as CIFAR's archive is for CIFAR-10-C."""
    folder.mkdir(parents=True)
    rows = [f"{number:03d}.png,{CLASSES[label]}" for number, label in enumerate(labels)]
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    (folder / "test.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return f"list:{folder / 'test.csv'}"


def write_c(folder: Path, pictures: NDArray[np.uint8], labels: NDArray[np.int64], *names: str) -> Path:
    """Some corruptions in the layout of CIFAR-10-C."""
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    for name in names:
        np.save(folder / f"{name}.npy", np.concatenate([corrupt_all(pictures, name, level, 9) for level in SEVERITIES]))
    return folder


@cache
def learn() -> dict[str, torch.Tensor]:
    """Weights that tell the directions apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(MODEL, classes=len(CLASSES), dropout=0.0)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        pictures, labels = draw(640, seed=1)
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        for step in range(40):
            some = slice(step * 24 % 640, step * 24 % 640 + 24)
            loss = functional.cross_entropy(network(images[some]), torch.from_numpy(labels[some]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.state_dict()


@cache
def guess() -> dict[str, torch.Tensor]:
    """Weights of a network that has learnt nothing, and answers all the same."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build_network(MODEL, classes=len(CLASSES), dropout=0.0)
        network.train()
        with torch.no_grad():
            for first in (0, 40, 80):
                network(torch.from_numpy(draw(120, seed=2)[0][first:]).permute(0, 3, 1, 2).float() / 127.5 - 1)
    return network.state_dict()


def write_run(folder: Path, weights: dict[str, torch.Tensor] | None = None, **about: object) -> Path:
    """A run's folder with the file of weights that says what it is of; of `guess` if not given."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"model": MODEL, "classes": list(CLASSES), "size": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3, "seed": 0}
    state = {"about": said | about, "progress": {"step": 60}}
    save_checkpoint(folder, state=state, network=guess() if weights is None else weights)
    return folder
