"""Weights that come from files nobody vouches for."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("torchvision", reason="the extra `train` is not installed")
safetensors = pytest.importorskip("safetensors.torch", reason="the extra `train` is not installed")

from torch import nn  # noqa: E402 - torch must be there

from mixbake.errors import Damage, UsageError  # noqa: E402 - torch must be there
from mixbake.train.networks.catalog import build_network, find_head  # noqa: E402 - torch must be there
from mixbake.train.networks.weights import Loaded, load_weights  # noqa: E402 - torch must be there

SMALL = ("wrn10_1", "wrn16_2", "resnet18_cifar", "resnext29", "allconv", "densenet_bc16_6", "densenet7_6")
LIGHT = ("mobilenet_v3_small", "squeezenet1_0", "wrn10_1", "allconv")


def tensors(network: nn.Module) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Hostile:
    """Pickled, it asks the reader to make a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def written(network: nn.Module, kind: str) -> bytes:
    """The bytes of a file of its weights."""
    if kind == "safetensors":
        data: bytes = safetensors.save(network.state_dict())
        return data
    held = io.BytesIO()
    torch.save(network.state_dict(), held, _use_new_zipfile_serialization=kind == "zip")
    return held.getvalue()


class TestFiles:
    NAME = "wrn10_1"

    @pytest.mark.parametrize("name", SMALL)
    def test_weights_come_back_from_safetensors(self, name: str, tmp_path: Path) -> None:
        one, other = build_network(name, classes=5), build_network(name, classes=5)
        safetensors.save_file(one.state_dict(), tmp_path / "weights.safetensors")
        loaded = load_weights(other, tmp_path / "weights.safetensors")
        assert loaded == Loaded(tensors=len(one.state_dict()), published=None, fresh=())
        assert equal(one.state_dict(), other.state_dict())

    @pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
    @pytest.mark.parametrize("key", [None, "state_dict", "model", "network"])
    @pytest.mark.parametrize("legacy", [False, True])
    def test_checkpoints_of_torch_are_read(self, prefix: str, key: str | None, legacy: bool, tmp_path: Path) -> None:
        one, other = (build_network(self.NAME, classes=5) for _ in range(2))
        state: dict[str, Any] = {prefix + name: tensor for name, tensor in one.state_dict().items()}
        if key:
            # As the AugMix code keeps them: "model" is the network's name there.
            state = {"epoch": 3, "model": "wrn", "optimizer": {"lr": 0.1}} | {key: state}
        torch.save(state, tmp_path / "weights.pt", _use_new_zipfile_serialization=not legacy)
        assert load_weights(other, tmp_path / "weights.pt").fresh == ()
        assert equal(one.state_dict(), other.state_dict())

    @pytest.mark.parametrize("name", LIGHT)
    def test_another_number_of_classes_needs_a_new_head(self, name: str, tmp_path: Path) -> None:
        one, other = build_network(name, classes=5), build_network(name, classes=3)
        before = tensors(other)
        path = tmp_path / "weights.safetensors"
        safetensors.save_file(one.state_dict(), path)
        with pytest.raises(UsageError, match=r"5 classes.*3: .*train with --new-head"):
            load_weights(other, path)
        assert equal(before, other.state_dict())
        head = find_head(other)
        loaded = load_weights(other, path, new_head=True)
        assert loaded.fresh == (f"{head}.weight", f"{head}.bias")
        for at, tensor in other.state_dict().items():
            assert torch.equal(tensor, (before if at in loaded.fresh else one.state_dict())[at])

    def test_a_new_head_is_new_for_the_same_classes_too(self, tmp_path: Path) -> None:
        one, other = (build_network(self.NAME, classes=5) for _ in range(2))
        before = tensors(other)
        torch.save(one.state_dict(), tmp_path / "weights.pt")
        load_weights(other, tmp_path / "weights.pt", new_head=True)
        assert torch.equal(other.state_dict()["head.weight"], before["head.weight"])
        assert torch.equal(other.state_dict()["stem.weight"], one.state_dict()["stem.weight"])

    @pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
    def test_auxiliary_heads_in_a_file_are_left_there(self, name: str, tmp_path: Path) -> None:
        from torchvision import models

        with torch.device("meta"):
            full = models.get_model(name, weights=None, num_classes=5, init_weights=False)
            network = build_network(name, classes=5)
        state = {at: torch.zeros(tensor.shape, dtype=tensor.dtype) for at, tensor in full.state_dict().items()}
        assert len(state) > len(network.state_dict())
        torch.save(state, tmp_path / "weights.pt")
        loaded = load_weights(network.to_empty(device="cpu"), tmp_path / "weights.pt")
        assert loaded.tensors == len(network.state_dict())

    def test_counters_of_batches_may_be_missing(self, tmp_path: Path) -> None:
        one, other = (build_network(self.NAME, classes=5) for _ in range(2))
        state = {at: tensor for at, tensor in one.state_dict().items() if not at.endswith("num_batches_tracked")}
        torch.save(state, tmp_path / "weights.pt")
        load_weights(other, tmp_path / "weights.pt")
        assert equal(one.state_dict(), other.state_dict())

    def test_weights_of_another_network_are_refused(self, tmp_path: Path) -> None:
        torch.save(build_network("wrn16_1", classes=5).state_dict(), tmp_path / "weights.pt")
        network = build_network("wrn10_1", classes=5)
        before = tensors(network)
        with pytest.raises(
            UsageError, match=r"weights\.pt does not fit.*36 unexpected \('stage1\.1\.norm1\.weight'.*\.\.\."
        ):
            load_weights(network, tmp_path / "weights.pt")
        assert equal(before, network.state_dict())
        torch.save(build_network("wrn10_1", classes=5).state_dict(), tmp_path / "weights.pt")
        with pytest.raises(UsageError, match=r"30 missing \('stage1\.1\.norm1\.weight'.*\.\.\."):
            load_weights(build_network("wrn16_1", classes=5), tmp_path / "weights.pt")
        with pytest.raises(UsageError, match=r"of another shape or type \('stage1\.0\.conv1\.weight'"):
            load_weights(build_network("wrn10_2", classes=3), tmp_path / "weights.pt", new_head=True)

    @pytest.mark.parametrize("at", ["stem.weight", "head.weight"])
    @pytest.mark.parametrize(
        "change",
        [
            lambda tensor: tensor.to(torch.int8),
            lambda tensor: tensor.to_sparse(),
            lambda tensor: tensor.to("meta"),
            lambda tensor: tensor[None],
            lambda tensor: tensor.sum(),
            lambda tensor: tensor.tolist(),
        ],
    )
    def test_tensors_of_another_kind_are_refused(self, change: Any, at: str, tmp_path: Path) -> None:
        network = build_network(self.NAME, classes=5)
        before = tensors(network)
        torch.save(
            tensors(build_network(self.NAME, classes=5)) | {at: change(before[at])},
            tmp_path / "w.pt",
        )
        with pytest.raises(UsageError, match=r"w\.pt (does not fit|holds no weights)"):
            load_weights(network, tmp_path / "w.pt")
        assert equal(before, network.state_dict())

    def test_half_precision_is_taken(self, tmp_path: Path) -> None:
        one, other = (build_network(self.NAME, classes=5) for _ in range(2))
        torch.save(one.half().state_dict(), tmp_path / "weights.pt")
        load_weights(other, tmp_path / "weights.pt")
        assert equal(one.float().state_dict(), other.state_dict())

    @pytest.mark.parametrize(
        "content", [{}, [], 3, {"epoch": 1}, {"state_dict": {}}, {"model": "wrn"}, {1: torch.ones(1)}]
    )
    def test_a_file_without_weights_is_refused(self, content: Any, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "weights.pt")
        with pytest.raises(UsageError, match=r"holds no weights.*state_dict or model"):
            load_weights(build_network(self.NAME, classes=5), tmp_path / "weights.pt")

    @pytest.mark.parametrize("wrapped", ["zip", "legacy", "pickle", "module"])
    def test_code_in_a_file_is_refused_and_not_run(self, wrapped: str, tmp_path: Path) -> None:
        path, marker = tmp_path / "weights.pth.tar", tmp_path / "was-here"
        network = build_network(self.NAME, classes=5)
        content = network if wrapped == "module" else {"state_dict": network.state_dict(), "extra": Hostile(marker)}
        if wrapped == "pickle":
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=wrapped == "zip")
        with pytest.raises(UsageError, match=r"nothing in it was run: (it asks for '[\w.]+'|it holds something else)"):
            load_weights(network, path)
        assert not marker.exists()
        if wrapped != "module":
            torch.load(path, weights_only=False) if wrapped != "pickle" else pickle.loads(path.read_bytes())  # noqa: S301 - our own
            assert marker.exists()  # it would have run

    @pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
    def test_a_file_that_is_cut_short_is_refused(self, kind: str, tmp_path: Path) -> None:
        network = nn.Linear(3, 2)
        data, path = written(network, kind), tmp_path / f"cut.{kind}"
        before = tensors(network)
        for contents in (*(data[:cut] for cut in range(len(data))), b"not weights at all", b"\xff" * 99):
            path.write_bytes(contents)
            with pytest.raises((UsageError, Damage), match=rf"cut\.{kind} "):
                load_weights(network, path)
        assert equal(before, network.state_dict())

    @pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
    def test_damage_is_refused_or_changes_numbers_alone(self, kind: str, tmp_path: Path) -> None:
        network = nn.Linear(3, 2)
        data, path = written(network, kind), tmp_path / f"damaged.{kind}"
        draw, refused = np.random.default_rng(5), 0
        for _ in range(800):
            damaged = bytearray(data)
            for _ in range(draw.integers(1, 4)):
                damaged[draw.integers(len(data))] = draw.integers(256)
            path.write_bytes(damaged)
            try:
                load_weights(network, path)
            except (UsageError, Damage):
                refused += 1
        assert refused > 100

    def test_what_is_not_there_is_refused(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.pt", tmp_path / "none.safetensors", tmp_path):
            with pytest.raises(UsageError, match="no file of weights"):
                load_weights(build_network(self.NAME, classes=5), path)
