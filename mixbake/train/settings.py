"""What a training run is asked for: the papers' recipes, and every field that a flag or a file may change.

    field's default  <-  recipe  <-  --config FILE.toml  <-  flag

Rule: a field is one thing everywhere: attribute, flag, TOML key, entry of config.json. Imports no torch.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from mixbake.core.nearest import find_nearest
from mixbake.errors import UsageError

LOSSES = ("cross_entropy", "jsd")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _field(default: Any, words: str, *, free: bool = False) -> Any:
    """A setting; free: it changes no weight, so a resumed run may have another."""
    return field(default=default, metadata={"help": words, "free": free})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """Everything that decides a run, and what only decides how it is carried out (`FREE`).

    Raises UsageError for a value that cannot be.
    """

    model: str = _field("wrn40_4", "Network: see --list; any torchvision classifier; timm:NAME.")
    dropout: float | None = _field(None, "Dropout probability; the network's usual if not given.")
    weights: Path | None = _field(None, "File of weights to start from (.safetensors, .pth).")  # noqa: RUF009 - makes a field, once
    new_head: bool = _field(False, "Start from weights with another number of classes: the last layer is made anew.")
    from_scratch: bool = _field(False, "Train a fine-tuning recipe without weights to start from.")
    epochs: int = _field(100, "Passes: one variant of every image each.")
    batch_size: int = _field(128, "Images a step, of all ranks together.")
    lr: float = _field(0.1, "Learning rate at its peak.")
    scale_lr: bool = _field(False, "Multiply the learning rate by batch size / 256.")
    momentum: float = _field(0.9, "SGD's momentum.")
    nesterov: bool = _field(True, "Nesterov's momentum.")
    weight_decay: float = _field(5e-4, "L2 penalty, of all parameters.")
    schedule: str = _field("cosine", "Learning rate: cosine (per step), steps (a tenth each third), constant.")
    final_lr: float = _field(1e-6, "Where the cosine ends.")
    warmup_epochs: int = _field(0, "Epochs in which the learning rate rises to its peak.")
    loss: str = _field("cross_entropy", "cross_entropy, or jsd (AugMix's consistency; a bake with --views jsd).")
    consistency: float = _field(12.0, "Weight of the Jensen-Shannon divergence.")
    label_smoothing: float = _field(0.0, "Share of the target spread over all classes.")
    class_weights: bool = _field(False, "Weigh classes by the inverse of their counts in the bake.")
    mix: str = _field("none", "On the device: none, mixup, cutmix, cutout, erasing.")
    mean: tuple[float, float, float] = _field((0.5, 0.5, 0.5), "Of each channel, on [0, 1].")
    std: tuple[float, float, float] = _field((0.5, 0.5, 0.5), "Of each channel, on [0, 1].")
    flip: str = _field("auto", "Mirror: auto (if the bake left that to the trainer), online, none.")
    clean_fraction: float = _field(0.0, "Share of clean crops, of a bake with --views clean or jsd.")
    seed: int = _field(0, "Fixes weights, order, flips, dropout.")
    precision: str = _field("auto", "auto (bfloat16 on a GPU, else float32), float32, bfloat16, float16.")
    channels_last: bool = _field(True, "Memory format of pictures and weights.")
    val: str | None = _field(None, "Labelled pictures to measure clean accuracy on, named as for build.", free=True)
    val_every: int = _field(0, "Measure every K epochs, too; 0: at the end.", free=True)
    val_batch_size: int = _field(256, "Pictures at once when measuring.", free=True)
    device: str = _field("auto", "auto, cpu, cuda, cuda:N.", free=True)
    compile: bool = _field(False, "torch.compile the network.", free=True)
    resident: str = _field(
        "auto", "Keep decoded pictures on the device: auto (if they fit a GPU), always, never.", free=True
    )
    threads: int | None = _field(None, "Threads that decode; the cores there are if not given.", free=True)
    follow: bool = _field(False, "Use a bake that still grows (build --publish-every).", free=True)
    max_uses: int = _field(3, "Warn when a variant is used more often.", free=True)
    log_every: int = _field(50, "Steps between two lines of metrics; the loss is fetched then.", free=True)
    save_seconds: float = _field(300.0, "Seconds between two checkpoints; one is written at the end, too.", free=True)
    tensorboard: bool = _field(False, "Write TensorBoard's events, too.", free=True)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} is {value:g}: it must be {_between(low, high)}")
        if self.loss == "jsd":
            self._require_jsd_alone()
        for name, needed in _NEEDS.items():
            if getattr(self, name) and not getattr(self, needed):
                raise UsageError(f"{name} does nothing without {needed}: give both, or neither")
        if self.nesterov and self.momentum == 0:
            raise UsageError("nesterov needs momentum above 0: add --no-nesterov")
        if self.warmup_epochs >= self.epochs:
            raise UsageError(f"{self.warmup_epochs} warm-up epochs leave nothing of {self.epochs} epochs")

    def _require_jsd_alone(self) -> None:
        if self.mix != "none":
            raise UsageError(f"mix {self.mix} cannot go with loss jsd: leave it out, or take --loss cross_entropy")
        if self.clean_fraction:
            raise UsageError("loss jsd takes the clean crop of every image: leave clean_fraction out")


_CHOICES = {
    "loss": LOSSES,
    "schedule": ("cosine", "steps", "constant"),
    "mix": ("none", "mixup", "cutmix", "cutout", "erasing"),
    "flip": ("auto", "online", "none"),
    "precision": PRECISIONS,
    "resident": ("auto", "always", "never"),
}
_NEEDS = {"val_every": "val", "new_head": "weights"}
_ABOVE_0 = 1e-12
_RANGES: Mapping[str, tuple[float, float]] = {
    "dropout": (0, 0.99),
    "epochs": (1, 10**6),
    "batch_size": (1, 10**6),
    "lr": (_ABOVE_0, 1e6),
    "momentum": (0, 0.999999),
    "weight_decay": (0, 1e3),
    "final_lr": (0, 1e6),
    "warmup_epochs": (0, 10**6),
    "consistency": (0, 1e6),
    "label_smoothing": (0, 0.99),
    "clean_fraction": (0, 1),
    "seed": (0, 2**63 - 1),
    "val_every": (0, 10**6),
    "val_batch_size": (1, 10**6),
    "max_uses": (1, 10**6),
    "log_every": (1, 10**9),
    "save_seconds": (0, 1e9),
    "threads": (0, 1024),
}


def _between(low: float, high: float) -> str:
    if low == _ABOVE_0:
        return f"above 0, at most {high:g}"
    return f"{low:g} to {high:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecipe:
    """A paper's settings. values: what the source states; fine_tunes: whether it starts from weights."""

    title: str
    source: str
    values: Mapping[str, Any]
    fine_tunes: bool = False


RECIPES: Mapping[str, TrainRecipe] = {
    "cifar": TrainRecipe(
        title="CIFAR-10 and CIFAR-100 from scratch (wide residual networks with their usual dropout, 0.3)",
        source="PixMix (arXiv 2112.05135, section 4; cifar.py of its code), kept by LayerMix (arXiv 2501.04861)",
        values={
            "model": "wrn40_4",
            "epochs": 100,
            "batch_size": 128,
            "lr": 0.1,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 5e-4,
            "schedule": "cosine",
            "final_lr": 1e-6,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        },
    ),
    "imagenet": TrainRecipe(
        title="ImageNet, a pretrained ResNet-50 fine-tuned",
        source="PixMix (arXiv 2112.05135, section 4; imagenet.py of its code), kept by LayerMix (arXiv 2501.04861)",
        values={
            "model": "resnet50",
            "epochs": 90,
            "batch_size": 512,
            "lr": 0.01,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 5e-4,
            "schedule": "cosine",
            "final_lr": 1e-6,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        },
        fine_tunes=True,
    ),
    "augmix-imagenet": TrainRecipe(
        title="ImageNet, a ResNet-50 from scratch with the consistency loss",
        source="AugMix (arXiv 1912.02781, section 4; imagenet.py of its code)",
        values={
            "model": "resnet50",
            "epochs": 90,
            "batch_size": 256,
            "lr": 0.1,
            "scale_lr": True,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 1e-4,
            "schedule": "steps",
            "loss": "jsd",
            "consistency": 12.0,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        },
    ),
}

FREE = frozenset(one.name for one in fields(TrainSettings) if one.metadata["free"])
"""Settings that a resumed run may change."""


def resolve(recipe: str, *, config: Path | None = None, given: Mapping[str, Any]) -> TrainSettings:
    """The settings of a run: a recipe's, changed by a TOML file, changed by what was `given` (flags).

    Raises UsageError for an unknown recipe or key, a value of another type, and what TrainSettings refuses.
    """
    if recipe not in RECIPES:
        near = find_nearest(recipe, RECIPES)
        hint = f"did you mean {near}?" if near else f"it is one of {', '.join(RECIPES)}"
        raise UsageError(f"no training recipe {recipe!r}: {hint}")
    chosen = RECIPES[recipe]
    values = {**chosen.values, **(read_toml(config) if config else {}), **given}
    settings = settings_of(values, origin=str(config) if config else "the settings")
    if settings.from_scratch and not chosen.fine_tunes:
        raise UsageError(f"the recipe {recipe} starts from scratch anyway: leave from_scratch out")
    if chosen.fine_tunes and settings.weights is None and not settings.from_scratch:
        raise UsageError(
            f"the recipe {recipe} fine-tunes a pretrained network: give its weights (--weights FILE), "
            "or add --from-scratch"
        )
    return settings


def settings_of(values: Mapping[str, Any], *, origin: str) -> TrainSettings:
    """TrainSettings of plain values (lists for tuples, strings for paths). Raises UsageError naming `origin`."""
    known = {one.name: one for one in fields(TrainSettings)}
    for name in values:
        if name not in known:
            near = find_nearest(name, known)
            raise UsageError(f"{origin}: no setting {name!r}" + (f": did you mean {near}?" if near else ""))
    return TrainSettings(**{name: _typed(name, value, origin) for name, value in values.items()})


def plain(settings: TrainSettings) -> dict[str, Any]:
    """The settings as JSON has them; `settings_of` makes them again."""
    return {one.name: _plain(getattr(settings, one.name)) for one in fields(TrainSettings)}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file. Raises UsageError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no file {path}: check --config") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no TOML that can be read ({error}): mend it, or check --config") from error


def _typed(name: str, value: Any, origin: str) -> Any:
    """`value` as the field's type, if it is of it: True is no number, 1 is a float, "1" is no number."""
    kind = next(one.type for one in fields(TrainSettings) if one.name == name)
    kinds = get_args(kind) if type(None) in get_args(kind) else (kind,)
    if value is None and type(None) in kinds:
        return None
    for one in kinds:
        accept, make = _TYPES.get(one, _TYPES[tuple])
        if accept(value):
            return make(value)
    raise UsageError(f"{origin}: {name} is {value!r}: {_TYPE_WORDS.get(kinds[0], 'three numbers')} is wanted")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_TYPES: Mapping[Any, Any] = {
    bool: (lambda value: type(value) is bool, bool),
    int: (lambda value: type(value) is int, int),
    float: (_is_number, float),
    str: (lambda value: type(value) is str, str),
    Path: (lambda value: isinstance(value, str | Path), Path),
    tuple: (lambda v: isinstance(v, list | tuple) and len(v) == 3 and all(map(_is_number, v)), tuple),
}
_TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
