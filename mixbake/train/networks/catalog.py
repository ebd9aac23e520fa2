"""Networks by name.

    wrn40_4, resnet18_cifar, ...    mixbake's own, for pictures of about 32 pixels
    resnet50, vit_b_16, ...         every classifier of torchvision
    timm:NAME                       every classifier of timm

Rule: a literal table of own families, looked at first. Nothing is downloaded.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from mixbake.errors import MissingExtra, UsageError
from mixbake.train.networks.all_convolutional import AllConvolutional
from mixbake.train.networks.densenet import DenseNet
from mixbake.train.networks.resnet import ResNet18
from mixbake.train.networks.resnext import ResNeXt29
from mixbake.train.networks.wide_resnet import WideResNet


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Networks of one kind. name: as people read it; pattern: of whole names, its groups are `build`'s numbers.

    dropout: the usual probability, None where there is no dropout. examples: names to suggest.
    """

    name: str
    pattern: str
    build: Callable[..., nn.Module]
    dropout: float | None
    examples: tuple[str, ...]
    line: str
    source: str


FAMILIES: tuple[Family, ...] = (
    Family(
        name="wrn<depth>_<width>",
        pattern=r"wrn([1-9][0-9]{1,2})_([1-9][0-9]?)",
        build=WideResNet,
        dropout=0.3,
        examples=("wrn40_4", "wrn40_2", "wrn28_10", "wrn16_4"),
        line="wide residual network; depth 6n + 4; wrn40_4 is PixMix's",
        source="Zagoruyko & Komodakis, arXiv 1605.07146",
    ),
    Family(
        name="resnet18_cifar",
        pattern=r"resnet18_cifar",
        build=ResNet18,
        dropout=None,
        examples=("resnet18_cifar",),
        line="ResNet-18 with a 3×3 stem and no pooling after it",
        source="He et al., arXiv 1512.03385",
    ),
    Family(
        name="resnext29",
        pattern=r"resnext29",
        build=ResNeXt29,
        dropout=None,
        examples=("resnext29",),
        line="ResNeXt-29, 4×32d, as in AugMix",
        source="Xie et al., arXiv 1611.05431",
    ),
    Family(
        name="allconv",
        pattern=r"allconv",
        build=AllConvolutional,
        dropout=0.5,
        examples=("allconv",),
        line="All-Convolutional network, as in AugMix",
        source="Springenberg et al., arXiv 1412.6806",
    ),
    Family(
        name="densenet_bc<depth>_<growth>",
        pattern=r"densenet_bc([1-9][0-9]{1,2})_([1-9][0-9]?)",
        build=partial(DenseNet, compressed=True),
        dropout=None,
        examples=("densenet_bc100_12",),
        line="DenseNet with bottlenecks and compression; depth 6n + 4",
        source="Huang et al., arXiv 1608.06993",
    ),
    Family(
        name="densenet<depth>_<growth>",
        pattern=r"densenet([1-9][0-9]{0,2})_([1-9][0-9]?)",
        build=partial(DenseNet, compressed=False),
        dropout=None,
        examples=("densenet40_12",),
        line="DenseNet without either; depth 3n + 4; densenet40_12 is AugMix's",
        source="Huang et al., arXiv 1608.06993",
    ),
)

_TORCHVISION_ASKS: dict[str, dict[str, Any]] = {
    # Auxiliary heads answer with something else than logits in training.
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""What some of torchvision's builders must be told besides."""


def network_names() -> tuple[Family, ...]:
    """Own families, each with its name, a line and its source. torchvision's and timm's classifiers come on top."""
    return FAMILIES


def build_network(name: str, *, classes: int, dropout: float | None = None) -> nn.Module:
    """A freshly initialised network from images B×3×H×W to logits B×classes, float32, on the CPU.

    dropout: probability, None for the family's usual. Raises UsageError on an unknown name (naming the nearest), on
    numbers out of range, and on a dropout where there is none to set; MissingExtra without the library named.
    """
    if classes < 1:
        raise UsageError(f"a classifier needs at least one class, not {classes}")
    if dropout is not None and not 0 <= dropout < 1:
        raise UsageError(f"dropout is a probability of 0 to below 1, not {dropout}")
    for family in FAMILIES:
        if found := re.fullmatch(family.pattern, name):
            return _build_own(family, *map(int, found.groups()), classes=classes, dropout=dropout)
    library, colon, inner = name.partition(":")
    build = _find_in_timm(inner) if colon and library == "timm" else _find_in_torchvision(name)
    if dropout is not None:
        raise UsageError(f"{name} has no dropout to set: leave it out; {_with_dropout()} have one")
    network = build(num_classes=classes)
    if _outputs(network.get_submodule(find_head(network))) != classes:
        raise UsageError(f"{name} is no classifier: its last layer does not give {classes} classes; take another")
    return network


def find_head(network: nn.Module) -> str:
    """Name of the module that makes the logits: the last linear layer or convolution. UsageError without any."""
    layers: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers:
        raise UsageError(f"{type(network).__name__} has no layer that could be its head")
    return layers[-1]


def _build_own(family: Family, *numbers: int, classes: int, dropout: float | None) -> nn.Module:
    if family.dropout is None:
        if dropout is not None:
            raise UsageError(f"{family.name} has no dropout: leave it out; {_with_dropout()} have one")
        network = family.build(*numbers, classes=classes)
    else:
        network = family.build(*numbers, classes=classes, dropout=family.dropout if dropout is None else dropout)
    _initialise(network)
    return network


def _initialise(network: nn.Module) -> None:
    """He's initialisation by what a convolution gives, N(0, 2 / (k·k·outputs)) (He et al., arXiv 1502.01852, eq. 14).

    Linear biases are 0; normalisation starts as torch makes it, scale 1 and shift 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def _find_in_torchvision(name: str) -> Callable[..., nn.Module]:
    models = _import("torchvision.models", extra="train")
    known = models.list_models(module=models)
    if name not in known:
        own = [example for family in FAMILIES for example in family.examples]
        nearest = difflib.get_close_matches(name, [*own, *known], n=3)
        hint = f"did you mean {' or '.join(nearest)}? It is" if nearest else "it is"
        names = ", ".join(family.name for family in FAMILIES)
        raise UsageError(f"unknown network {name!r}: {hint} one of {names}, a classifier of torchvision, or timm:NAME")
    return partial(models.get_model, name, weights=None, **_TORCHVISION_ASKS.get(name, {}))


def _find_in_timm(name: str) -> Callable[..., nn.Module]:
    timm = _import("timm", extra="timm")
    known = timm.list_models()
    # timm itself would take more: names of files, and of places to download from.
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=3)
        hint = (
            f"did you mean {' or '.join(f'timm:{near}' for near in nearest)}?" if nearest else "look into timm's list"
        )
        raise UsageError(f"timm has no network {name!r}: {hint}")
    return partial(timm.create_model, name, pretrained=False)


def _import(module: str, *, extra: str) -> Any:
    """A module of an optional package. Raises MissingExtra when the package is not there."""
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtra(package, extra) from error


def _with_dropout() -> str:
    return " and ".join(family.name for family in FAMILIES if family.dropout is not None)


def _outputs(layer: nn.Module) -> int:
    return int(layer.weight.shape[0]) if isinstance(layer.weight, Tensor) else 0
