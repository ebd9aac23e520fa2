"""Checkpoints: state.pt, everything a run needs to go on, and last.safetensors, the weights for everybody else.

Rule: each file is whole or absent. state.pt stands alone and comes last: what is resumed from it writes the other anew.
Nothing is unpickled: state.pt holds tensors and plain values, and is read with `weights_only=True`.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from mixbake.errors import Damage, UsageError
from mixbake.storage.store import publish_bytes, retrying
from mixbake.train.networks.catalog import build_network
from mixbake.train.networks.weights import load_weights, parse_torch

STATE, WEIGHTS = "state.pt", "last.safetensors"
ABOUT = "mixbake"
VERSION = 1


def save_checkpoint(run: Path, *, state: Mapping[str, Any], network: Mapping[str, torch.Tensor]) -> None:
    """Write both files. state: plain values and tensors, `about` among them, which goes with the weights too.

    Raises StorageError; the checkpoint before then still stands.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.items()}
    about = json.dumps({**state["about"], "step": state["progress"]["step"]}, sort_keys=True)
    # One entry: safetensors writes several in no order, and equal weights would be unequal files.
    publish_bytes(run / WEIGHTS, save(weights, metadata={ABOUT: about}))
    held = io.BytesIO()
    torch.save({"version": VERSION, "network": dict(network), **state}, held)
    publish_bytes(run / STATE, held.getbuffer())


def read_about(weights: Path) -> dict[str, Any]:
    """What goes with weights of ours: model, classes, size, mean, std, bake, step; {} for a file of others."""
    if weights.name == STATE:
        about = load_checkpoint(weights.parent)["about"]
        return about if isinstance(about, dict) else {}
    try:
        with safe_open(weights, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
    except (SafetensorError, ValueError, OSError):
        return {}
    return about if isinstance(about, dict) else {}


def open_network(weights: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network in a file that `save_checkpoint` wrote, in evaluation mode on the CPU, and what goes with it.

    Raises UsageError when the file is none of ours, Damage when it cannot be read.
    """
    about = read_about(weights)
    if not about:
        raise UsageError(f"{weights} is no {WEIGHTS} of a run: it does not say which network it is of")
    network = build_network(str(about["model"]), classes=len(about["classes"]))
    load_weights(network, weights)
    return network.eval(), about


def load_checkpoint(run: Path) -> dict[str, Any]:
    """The state of a run, on the CPU. Raises UsageError when there is none, Damage when it cannot be read."""
    path = run / STATE
    if not path.exists():
        raise UsageError(f"{run} holds no checkpoint ({STATE}): nothing to resume; check --out, or leave out --resume")
    data = retrying(path.read_bytes, path)
    try:
        state = parse_torch(data, path)
    except (Damage, UsageError) as error:
        raise Damage(f"{path} is damaged, or no checkpoint: restore it from a copy, or train anew") from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise UsageError(f"{path} was written by another version of mixbake: resume with that one")
    return state
