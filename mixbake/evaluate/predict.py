"""A trained network and what it answers: logits of sets of pictures, batch by batch.

Rule: logits that are not finite are counted and end the evaluation; no measure is ever made of them.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mixbake.data.decode import image_size
from mixbake.data.sources import open_source
from mixbake.errors import Damage, DecodeError, UsageError
from mixbake.evaluate.asked import Evaluation, Triple
from mixbake.evaluate.metrics import count_not_finite
from mixbake.evaluate.sets import Pictures
from mixbake.storage.store import sha256_file
from mixbake.train.checkpoint import open_network, read_about
from mixbake.train.networks.catalog import build_network
from mixbake.train.networks.weights import load_weights
from mixbake.train.ranks import choose_device
from mixbake.train.settings import IMAGENET_MEAN, IMAGENET_STD
from mixbake.train.validation import normalised

Logits = NDArray[np.float32]
Tick = Callable[[int, NDArray[Any]], None]
"""Told how many more pictures are done, and what was shown: a batch of pictures, or the labels that they were given."""
HALF: Triple = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network under test, on its device, in evaluation mode. about: what goes into the results.

    classes: in label order. size: of the pictures it takes; mean, std: of the training. precision: float32 or bfloat16.
    """

    network: nn.Module
    about: dict[str, Any]
    classes: tuple[str, ...]
    size: int
    mean: Triple
    std: Triple
    device: torch.device
    precision: str
    batch_size: int

    @property
    def device_name(self) -> str:
        """For people."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return platform.processor() or platform.machine()


def open_subject(weights: Path, asked: Evaluation) -> Subject:
    """The network of a file of weights.

    Weights that do not say what they are of need `asked.model`; their classes then are those of the clean pictures.
    Raises UsageError when they do not fit, Damage when they cannot be read.
    """
    device = choose_device(asked.device)
    about = read_about(weights)
    if about and asked.model is not None:
        raise UsageError(f"{weights} says itself that it is of a {about.get('model')}: leave --model out")
    if not about and asked.model is None:
        raise UsageError(f"{weights} does not say which network it is of: name it, --model wrn40_4 for example")
    network, about = open_network(weights) if about else _open_other(weights, asked)
    try:
        mean, std = (_triple(about[name]) for name in ("mean", "std"))
        classes, size = tuple(map(str, about["classes"])), int(about["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise Damage(f"{weights} does not say of which pictures it is ({error}): take the file of a run") from error
    return Subject(
        network=network.to(device).to(memory_format=torch.channels_last).eval(),
        about={**about, "sha256": sha256_file(weights)[0], "weights": str(weights)},
        classes=classes,
        size=size,
        mean=mean,
        std=std,
        device=device,
        precision=asked.precision,
        batch_size=asked.batch_size,
    )


def _triple(value: Sequence[float]) -> Triple:
    red, green, blue = map(float, value)
    return red, green, blue


def _open_other(weights: Path, asked: Evaluation) -> tuple[nn.Module, dict[str, Any]]:
    """Weights of other people's: the size is 224 if the first clean picture is above 64 pixels, else its own."""
    source = open_source(asked.on)
    listing = source.scan()
    try:
        side = min(image_size(source.read(listing.entry(0))))
    except DecodeError as error:
        raise UsageError(f"{asked.on}: {listing.paths[0]} cannot be decoded ({error}): take it out") from error
    size = asked.size or (side if side <= 64 else 224)
    mean, std = (HALF, HALF) if size <= 64 else (IMAGENET_MEAN, IMAGENET_STD)
    network = build_network(str(asked.model), classes=len(listing.classes))
    try:
        load_weights(network, weights)
    except UsageError as error:
        raise UsageError(
            f"{weights} is not of a {asked.model} that tells the {len(listing.classes)} classes of {asked.on} "
            f"apart: {error}"
        ) from error
    about = {
        "model": asked.model,
        "classes": list(listing.classes),
        "size": size,
        "mean": list(asked.mean or mean),
        "std": list(asked.std or std),
    }
    return network.eval(), about


def predict(subject: Subject, name: str, pictures: Pictures, places: Sequence[int], tick: Tick) -> Logits:
    """Logits of those places of a set: float32 n×classes. Raises Damage when some are not finite.

    name: what the set is called. The next batch is read while the network has the last one.
    """
    found = []
    for batch in read_ahead(pictures, places, subject.batch_size):
        found.append(logits_of(subject, batch))
        tick(len(batch), batch)
    tick(0, pictures.labels[np.asarray(places, np.int64)])
    logits: Logits = torch.cat(found).cpu().numpy()
    require_finite(subject, name, logits)
    return logits


@torch.inference_mode()
def logits_of(subject: Subject, pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Logits of one batch uint8 n×S×S×3: float32 n×classes, on the device."""
    images = normalised(pictures, mean=subject.mean, std=subject.std, device=subject.device)
    with torch.autocast(subject.device.type, torch.bfloat16, enabled=subject.precision == "bfloat16"):
        logits: torch.Tensor = subject.network(images)
    return logits.float()


def require_finite(subject: Subject, name: str, logits: Logits) -> None:
    """Raise Damage, saying how many pictures of which set, when logits are NaN or infinite."""
    if broken := count_not_finite(logits):
        raise Damage(
            f"{subject.about['weights']}: logits of {broken:,} of {len(logits):,} pictures of {name} are not finite, "
            "so no results were written: the weights are damaged or their training diverged; take another checkpoint"
            + (", or --precision float32" if subject.precision != "float32" else "")
        )


def read_ahead(pictures: Pictures, places: Sequence[int], batch_size: int) -> Iterator[NDArray[np.uint8]]:
    """Batches of pictures, one of them read in advance."""
    chunks = [places[first : first + batch_size] for first in range(0, len(places), batch_size)]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(pictures.read, chunks[0]) if chunks else None
        for following in [*chunks[1:], None]:
            if coming is None:
                return
            batch = coming.result()
            coming = reader.submit(pictures.read, following) if following is not None else None
            yield batch
