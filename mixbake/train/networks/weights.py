"""Weights from a file, into a network.

Rule: no file can run code: it is safetensors, or what torch reads with `weights_only=True`. What does not fit is
refused whole.
"""

import io
import pickle
import re
import struct
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mixbake.errors import Damage, UsageError
from mixbake.storage.store import retrying
from mixbake.train.networks.catalog import find_head
from mixbake.train.networks.published import translate

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Beginnings of names that published files of these two have and networks without auxiliary heads do not."""

_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""

_NESTED = ("state_dict", "model", "network")
"""Keys under which checkpoints keep weights; the last is mixbake's own."""

_UNREADABLE = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, EOFError, struct.error)
"""What torch's reader raises on bytes that are not what was written: it has no error of its own for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What came from a file of weights.

    tensors: how many. published: the network of the AugMix and PixMix code whose names it used, or None.
    fresh: names of the tensors that were left as they are, since a new head was asked for.
    """

    tensors: int
    published: str | None
    fresh: tuple[str, ...]


def load_weights(network: nn.Module, path: Path, *, new_head: bool = False) -> Loaded:
    """Copy the weights in the file `path` into `network`; with `new_head`, its head stays as it is.

    The file is .safetensors or a state dict saved by torch, alone or in a checkpoint under `state_dict`, `model` or
    `network`; names may be those of the AugMix and PixMix code. Raises UsageError when it is missing, holds code or
    anything else than weights, or does not fit; Damage when it cannot be read. Either leaves `network` unchanged.
    """
    wanted = network.state_dict()
    state = _state_dict(_read(path), path)
    published = translate(state.keys())
    if published is not None:
        state = {published[1][name]: tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if name in wanted or not name.startswith(_AUXILIARY)}
    head = tuple(name for name in wanted if name.startswith(find_head(network) + "."))
    fresh = head if new_head else ()
    state = {name: tensor for name, tensor in state.items() if name not in fresh}
    _refuse_misfits(state, {name: tensor for name, tensor in wanted.items() if name not in fresh}, head, path)
    network.load_state_dict(state, strict=False)
    return Loaded(tensors=len(state), published=published[0] if published else None, fresh=fresh)


def _read(path: Path) -> object:
    if not path.is_file():
        raise UsageError(f"there is no file of weights {path}: give a .safetensors file, or one saved by torch")
    data = retrying(path.read_bytes, path)
    return _parse_safetensors(data, path) if path.suffix == ".safetensors" else parse_torch(data, path)


def _parse_safetensors(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise Damage(f"{path} is cut short or no safetensors file ({str(error)[:80]!r}): get it anew") from error


def parse_torch(data: bytes, path: Path) -> object:
    """What torch has saved in the bytes of a file, on the CPU, without running anything.

    Raises UsageError when it holds anything else than tensors and plain values, Damage when it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # What torch warns of here, such as a program in place of weights, ends as one of the errors below.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as refusal:
        asked = re.search(r"GLOBAL ([\w.]+)", str(refusal))
        reason = f"it asks for {asked[1][:80]!r}" if asked else "it holds something else than weights"
        advice = "save the network's state_dict() alone, or as .safetensors"
        raise UsageError(f"{path} is refused, nothing in it was run: {reason}: {advice}") from refusal
    except _UNREADABLE as error:
        raise Damage(f"{path} is cut short or no file of weights that torch wrote: get it anew") from error


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """The state dict in what a file held, without wrappers' prefixes."""
    nested = [content[key] for key in _NESTED if key in content] if isinstance(content, dict) else []
    state = next((found for found in (content, *nested) if _is_state_dict(found)), None)
    if not isinstance(state, dict):
        raise UsageError(
            f"{path} holds no weights: it should be a state dict, or hold one under {' or '.join(_NESTED)}"
        )
    while wrapper := next((begin for begin in _WRAPPERS if all(name.startswith(begin) for name in state)), None):
        state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return state


def _is_state_dict(found: object) -> bool:
    if not isinstance(found, dict) or not found:
        return False
    return all(isinstance(name, str) and _is_plain(value) for name, value in found.items())


def _is_plain(value: object) -> bool:
    """Whether it is a tensor with a number for every place; sparse, nested and empty shells are tensors, too."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_nested or value.is_meta)


def _refuse_misfits(state: dict[str, Tensor], wanted: dict[str, Tensor], head: Collection[str], path: Path) -> None:
    """UsageError when names, shapes or kinds of numbers in a file are not the wanted ones."""
    # A counter that only some settings of normalisation read; files of old versions of torch have none.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in wanted]
    misshapen = [name for name in wanted if name in state and not _alike(state[name], wanted[name])]
    recut = [name for name in misshapen if name in head and _alike_but_rows(state[name], wanted[name])]
    if recut and recut == misshapen and not (missing or unexpected):
        theirs, ours = state[misshapen[0]].shape[0], wanted[misshapen[0]].shape[0]
        raise UsageError(
            f"the head in {path} tells {theirs} classes apart, this network's {ours}: "
            "take weights of these classes, or train with --new-head, which loads everything but the head"
        )
    if missing or unexpected or misshapen:
        found = [("missing", missing), ("unexpected", unexpected), ("of another shape or type", misshapen)]
        said = "; ".join(f"{len(names)} {what} ({_few(names)})" for what, names in found if names)
        raise UsageError(f"{path} does not fit this network: {said}: build the network that these weights are of")


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()


def _alike_but_rows(one: Tensor, other: Tensor) -> bool:
    return one.dim() > 0 and one.shape[1:] == other.shape[1:] and one.is_floating_point() == other.is_floating_point()


def _few(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
