"""What a user asks of an evaluation, and the test sets that follow from it.

Rule: no torch here; what can be refused without it is refused at once.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixbake.data.sources import open_source
from mixbake.errors import UsageError
from mixbake.evaluate.anomalies import ANOMALIES
from mixbake.evaluate.layouts import Found, find_c_bar, find_corruptions, find_pictures, find_videos
from mixbake.storage.store import canonical_json

GENERATED = "generated"
MOST_SIZE = 2048
"""Greatest side of pictures that a network is shown, as of those that a bake holds."""
ATTACKS = ("exact", "published")
PRECISIONS = ("float32", "bfloat16")
WEIGHTS = "last.safetensors"
"""Of a run folder."""
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the user wants. network: a run folder, or a file of weights; on: the clean pictures, a source.

    corrupt: a folder, or "generated"; the others name folders. limit: pictures of each set. model, mean, std, size: of
    weights that do not say so themselves. Raises UsageError for a value that cannot be.
    """

    network: Path
    on: str
    corrupt: str | None = None
    corrupt_bar: Path | None = None
    perturb: Path | None = None
    pgd: str | None = None
    anomalies: tuple[Path, ...] = ()
    rendition: Path | None = None
    out: Path | None = None
    limit: int | None = None
    batch_size: int = 256
    precision: str = "float32"
    device: str = "auto"
    seed: int = 0
    model: str | None = None
    size: int | None = None
    mean: Triple | None = None
    std: Triple | None = None

    def __post_init__(self) -> None:
        for name, least in (("limit", 2), ("batch_size", 1), ("seed", 0), ("size", 8)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
        for name, value, choices in (("pgd", self.pgd, ATTACKS), ("precision", self.precision, PRECISIONS)):
            if value is not None and value not in choices:
                raise UsageError(f"--{name} is {' or '.join(choices)}, not {value!r}")
        if self.size is not None and self.size > MOST_SIZE:
            raise UsageError(f"--size must be at most {MOST_SIZE}, not {self.size}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not all(map(math.isfinite, values)):
                raise UsageError(f"--{name} {values}: three finite numbers are wanted, of pixels from 0 to 1")
        if self.std is not None and min(self.std) <= 0:
            raise UsageError(f"--std {self.std}: standard deviations are above 0")
        if self.model is None and (self.size, self.mean, self.std) != (None, None, None):
            raise UsageError("--size, --mean and --std go with --model: weights of a run say these themselves")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What will be measured. weights: the file; out: where results go; parts: where finished parts are kept.

    corrupt is None for generated corruptions, too. anomalies: a folder's name -> its pictures.
    """

    asked: Evaluation
    weights: Path
    out: Path
    parts: Path
    corrupt: Found | None
    corrupt_bar: Found | None
    perturb: Found | None
    anomalies: Mapping[str, list[Path]]

    @property
    def missing(self) -> tuple[str, ...]:
        """What was asked for and is not there, a line each."""
        return tuple(line for found in self._found() for line in found.missing)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left alone, a line each."""
        return tuple(line for found in self._found() for line in found.notes)

    def _found(self) -> list[Found]:
        return [found for found in (self.corrupt, self.corrupt_bar, self.perturb) if found is not None]


def settle(asked: Evaluation) -> Settled:
    """Look for the weights and for every set. Raises UsageError, Damage, StorageError for what cannot be used."""
    weights = find_weights(asked.network)
    open_source(asked.on)
    if asked.rendition is not None and not asked.rendition.is_dir():
        raise UsageError(f"there is no folder {asked.rendition}: check --rendition")
    folder = asked.corrupt if asked.corrupt != GENERATED else None
    out = asked.out or weights.parent / "eval" / default_name(asked, weights)
    return Settled(
        asked=asked,
        weights=weights,
        out=out,
        parts=(asked.out or out.parent) / "parts",
        corrupt=find_corruptions(Path(folder)) if folder is not None else None,
        corrupt_bar=find_c_bar(asked.corrupt_bar) if asked.corrupt_bar else None,
        perturb=find_videos(asked.perturb) if asked.perturb else None,
        anomalies=_find_anomalies(asked.anomalies),
    )


def find_weights(network: Path) -> Path:
    """The file of weights of a run folder, or the file itself. Raises UsageError when there is none."""
    if network.is_dir():
        if not (network / WEIGHTS).is_file():
            raise UsageError(f"{network} holds no {WEIGHTS}: give the folder of a run that has come to a checkpoint")
        return network / WEIGHTS
    if not network.is_file():
        raise UsageError(f"there is no {network}: give a run's folder, or a file of weights")
    return network


def default_name(asked: Evaluation, weights: Path) -> str:
    """Of a folder for results: equal settings have equal names."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", asked.on).strip("-")[-40:].strip("-")
    settings = {
        "weights": weights.name,
        "on": asked.on,
        "corrupt": asked.corrupt,
        "corrupt_bar": asked.corrupt_bar,
        "perturb": asked.perturb,
        "pgd": asked.pgd,
        "anomalies": asked.anomalies,
        "rendition": asked.rendition,
        "limit": asked.limit,
        "precision": asked.precision,
        "seed": asked.seed,
        "model": (asked.model, asked.size, asked.mean, asked.std),
    }
    plain = {name: str(value) for name, value in settings.items()}
    return f"{words or 'eval'}-{hashlib.sha256(canonical_json(plain)).hexdigest()[:8]}"


def _find_anomalies(folders: tuple[Path, ...]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in found or name in ANOMALIES:
            raise UsageError(f"--anomaly {folder}: another set is called {name}, too: rename it, tables tell by names")
        found[name] = find_pictures(folder)
    return found
