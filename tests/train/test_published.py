"""Weights of the AugMix and PixMix code: they load under our names, and compute what they computed there.

Names, shapes and arithmetic of that code are written out here a second time, as functions of a state dict.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

import torch.nn.functional as F  # noqa: E402, N812 - torch must be there; the name torch's documentation gives it

from mixbake.errors import UsageError  # noqa: E402 - torch must be there
from mixbake.train.networks.catalog import build_network  # noqa: E402 - torch must be there
from mixbake.train.networks.published import translate  # noqa: E402 - torch must be there
from mixbake.train.networks.weights import load_weights  # noqa: E402 - torch must be there

State = dict[str, Any]
Shapes = Iterator[tuple[str, tuple[int, ...]]]
CLASSES = 5


def norm_shapes(name: str, channels: int) -> Shapes:
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{tensor}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def linear_shapes(name: str, inputs: int) -> Shapes:
    yield f"{name}.weight", (CLASSES, inputs)
    yield f"{name}.bias", (CLASSES,)


def wrn16_1_shapes(shortcut: str = "conv_shortcut") -> Shapes:
    yield "conv1.weight", (16, 3, 3, 3)
    before = 16
    for block, channels in ((1, 16), (2, 32), (3, 64)):
        for i in range(2):
            layer = f"block{block}.layer.{i}"
            yield from norm_shapes(f"{layer}.bn1", before)
            yield f"{layer}.conv1.weight", (channels, before, 3, 3)
            yield from norm_shapes(f"{layer}.bn2", channels)
            yield f"{layer}.conv2.weight", (channels, channels, 3, 3)
            if before != channels:
                yield f"{layer}.{shortcut}.weight", (channels, before, 1, 1)
            before = channels
    yield from norm_shapes("bn1", 64)
    yield from linear_shapes("fc", 64)


def resnext29_shapes() -> Shapes:
    yield "conv_1_3x3.weight", (64, 3, 3, 3)
    yield from norm_shapes("bn_1", 64)
    before = 64
    for stage, inner, outputs in ((1, 128, 256), (2, 256, 512), (3, 512, 1024)):
        for i in range(3):
            layer = f"stage_{stage}.{i}"
            yield f"{layer}.conv_reduce.weight", (inner, before, 1, 1)
            yield from norm_shapes(f"{layer}.bn_reduce", inner)
            yield f"{layer}.conv_conv.weight", (inner, inner // 4, 3, 3)
            yield from norm_shapes(f"{layer}.bn", inner)
            yield f"{layer}.conv_expand.weight", (outputs, inner, 1, 1)
            yield from norm_shapes(f"{layer}.bn_expand", outputs)
            if i == 0:
                yield f"{layer}.downsample.0.weight", (outputs, before, 1, 1)
                yield from norm_shapes(f"{layer}.downsample.1", outputs)
            before = outputs
    yield from linear_shapes("classifier", 1024)


def densenet40_12_shapes() -> Shapes:
    yield "conv1.weight", (24, 3, 3, 3)
    channels = 24
    for dense in (1, 2, 3):
        for i in range(12):
            yield from norm_shapes(f"dense{dense}.{i}.bn1", channels)
            yield f"dense{dense}.{i}.conv1.weight", (12, channels, 3, 3)
            channels += 12
        if dense < 3:
            yield from norm_shapes(f"trans{dense}.bn1", channels)
            yield f"trans{dense}.conv1.weight", (channels, channels, 1, 1)
    yield from norm_shapes("bn1", channels)
    yield from linear_shapes("fc", channels)


def densenet_bc22_12_shapes() -> Shapes:
    yield "conv1.weight", (24, 3, 3, 3)
    channels = 24
    for dense in (1, 2, 3):
        for i in range(3):
            yield from norm_shapes(f"dense{dense}.{i}.bn1", channels)
            yield f"dense{dense}.{i}.conv1.weight", (48, channels, 1, 1)
            yield from norm_shapes(f"dense{dense}.{i}.bn2", 48)
            yield f"dense{dense}.{i}.conv2.weight", (12, 48, 3, 3)
            channels += 12
        if dense < 3:
            yield from norm_shapes(f"trans{dense}.bn1", channels)
            yield f"trans{dense}.conv1.weight", (channels // 2, channels, 1, 1)
            channels //= 2
    yield from norm_shapes("bn1", channels)
    yield from linear_shapes("fc", channels)


ALLCONV_LAYERS = (
    (0, 3, 96, 3),
    (3, 96, 96, 3),
    (6, 96, 96, 3),
    (11, 96, 192, 3),
    (14, 192, 192, 3),
    (17, 192, 192, 3),
    (22, 192, 192, 3),
    (25, 192, 192, 1),
    (28, 192, 192, 1),
)
"""Place of the convolution in the list, inputs, outputs, kernel; its normalisation stands behind it."""


def allconv_shapes() -> Shapes:
    for place, inputs, outputs, kernel in ALLCONV_LAYERS:
        yield f"features.{place}.weight", (outputs, inputs, kernel, kernel)
        yield f"features.{place}.bias", (outputs,)
        yield from norm_shapes(f"features.{place + 1}", outputs)
    yield from linear_shapes("classifier", 192)


def conv(state: State, name: str, x: Any, **settings: int) -> Any:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **settings)


def norm(state: State, name: str, x: Any) -> Any:
    mean, var, weight, bias = (state[f"{name}.{t}"] for t in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)


def classify(state: State, name: str, x: Any) -> Any:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def wrn16_1(state: State, x: Any) -> Any:
    x = conv(state, "conv1", x, padding=1)
    for block in (1, 2, 3):
        for i in range(2):
            layer, stride = f"block{block}.layer.{i}", 2 if block > 1 and i == 0 else 1
            activated = F.relu(norm(state, f"{layer}.bn1", x))
            out = conv(state, f"{layer}.conv1", activated, padding=1, stride=stride)
            out = conv(state, f"{layer}.conv2", F.relu(norm(state, f"{layer}.bn2", out)), padding=1)
            widens = f"{layer}.conv_shortcut.weight" in state
            x = out + (conv(state, f"{layer}.conv_shortcut", activated, stride=stride) if widens else x)
    return classify(state, "fc", F.avg_pool2d(F.relu(norm(state, "bn1", x)), 8).flatten(1))


def resnext29(state: State, x: Any) -> Any:
    x = F.relu(norm(state, "bn_1", conv(state, "conv_1_3x3", x, padding=1)))
    for stage in (1, 2, 3):
        for i in range(3):
            layer, stride = f"stage_{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            out = F.relu(norm(state, f"{layer}.bn_reduce", conv(state, f"{layer}.conv_reduce", x)))
            out = conv(state, f"{layer}.conv_conv", out, padding=1, stride=stride, groups=4)
            out = conv(state, f"{layer}.conv_expand", F.relu(norm(state, f"{layer}.bn", out)))
            if i == 0:
                x = norm(state, f"{layer}.downsample.1", conv(state, f"{layer}.downsample.0", x, stride=stride))
            x = F.relu(x + norm(state, f"{layer}.bn_expand", out))
    return classify(state, "classifier", F.avg_pool2d(x, 8).flatten(1))


def densenet(state: State, x: Any) -> Any:
    x = conv(state, "conv1", x, padding=1)
    for dense in (1, 2, 3):
        for i in range(sum(name.startswith(f"dense{dense}.") and name.endswith("bn1.bias") for name in state)):
            layer = f"dense{dense}.{i}"
            out = F.relu(norm(state, f"{layer}.bn1", x))
            if f"{layer}.bn2.weight" in state:
                out = conv(state, f"{layer}.conv1", out)
                out = conv(state, f"{layer}.conv2", F.relu(norm(state, f"{layer}.bn2", out)), padding=1)
            else:
                out = conv(state, f"{layer}.conv1", out, padding=1)
            x = torch.cat((x, out), 1)
        if dense < 3:
            x = F.avg_pool2d(conv(state, f"trans{dense}.conv1", F.relu(norm(state, f"trans{dense}.bn1", x))), 2)
    return classify(state, "fc", F.avg_pool2d(F.relu(norm(state, "bn1", x)), 8).flatten(1))


def allconv(state: State, x: Any) -> Any:
    for place, *_ in ALLCONV_LAYERS:
        padding = 0 if place == 22 else 1
        x = norm(state, f"features.{place + 1}", conv(state, f"features.{place}", x, padding=padding))
        x = torch.sigmoid(1.702 * x) * x
        if place in (6, 17):
            x = F.max_pool2d(x, 2)
    assert x.shape[2:] == (10, 10)
    return classify(state, "classifier", F.avg_pool2d(x, 8).flatten(1))


NETWORKS: dict[str, tuple[str, Callable[[], Shapes], Callable[[State, Any], Any]]] = {
    "wrn16_1": ("WideResNet", wrn16_1_shapes, wrn16_1),
    "resnext29": ("ResNeXt", resnext29_shapes, resnext29),
    "densenet40_12": ("DenseNet", densenet40_12_shapes, densenet),
    "densenet_bc22_12": ("DenseNet", densenet_bc22_12_shapes, densenet),
    "allconv": ("AllConvNet", allconv_shapes, allconv),
}
"""Our name -> the network's name there, its state dict, its arithmetic at 32 by 32."""


def drawn(shapes: Shapes, seed: int = 1) -> State:
    """A state dict in which no two tensors are alike; convolutions keep the size of what passes."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes:
        if not shape:
            state[name] = torch.tensor(1000)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        elif len(shape) == 4:
            state[name] = torch.randn(shape, generator=generator) * (shape[1] * shape[2] * shape[3] / 2) ** -0.5
        else:
            state[name] = torch.randn(shape, generator=generator)
    return state


def images() -> Any:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def far(one: Any, other: Any) -> float:
    """The distance of two results, as a part of the second."""
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("name", NETWORKS)
def test_published_weights_compute_what_they_did(name: str, tmp_path: Path) -> None:
    there, shapes, compute = NETWORKS[name]
    state = drawn(shapes())
    # A checkpoint as that code writes it: DataParallel's names, and beside them what training needed.
    wrapped = {f"module.{at}": tensor for at, tensor in state.items()}
    checkpoint = {"epoch": 99, "dataset": "cifar10", "model": "wrn", "state_dict": wrapped, "best_acc": 0.9}
    torch.save(checkpoint, tmp_path / "model_best.pth.tar")
    network = build_network(name, classes=CLASSES).eval()
    loaded = load_weights(network, tmp_path / "model_best.pth.tar")
    assert (loaded.published, loaded.tensors, loaded.fresh) == (there, len(state), ())
    with torch.inference_mode():
        expected = compute(state, images())
        assert far(network(images()), expected) < 1e-5
        # The yardstick: one tensor more or less of any kind is seen at once.
        for kind in ("bias", "running_mean", "running_var"):
            at = next(at for at in state if at.endswith(f"1.{kind}"))
            assert far(compute(state | {at: state[at].roll(1)}, images()), expected) > 1e-3


def test_an_older_spelling_of_the_shortcut_is_known(tmp_path: Path) -> None:
    state = drawn(wrn16_1_shapes("convShortcut"))
    torch.save(state, tmp_path / "weights.pt")
    network = build_network("wrn16_1", classes=CLASSES).eval()
    assert load_weights(network, tmp_path / "weights.pt").published == "WideResNet"
    renamed = {at.replace("convShortcut", "conv_shortcut"): tensor for at, tensor in state.items()}
    with torch.inference_mode():
        assert far(network(images()), wrn16_1(renamed, images())) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_head_of_other_classes_is_told_under_any_names(name: str, tmp_path: Path) -> None:
    state = drawn(NETWORKS[name][1]())
    torch.save(state, tmp_path / "weights.pt")
    network = build_network(name, classes=3)
    with pytest.raises(UsageError, match=r"5 classes apart, this network's 3"):
        load_weights(network, tmp_path / "weights.pt")
    assert load_weights(network, tmp_path / "weights.pt", new_head=True).fresh == ("head.weight", "head.bias")


@pytest.mark.parametrize("name", NETWORKS)
def test_our_own_names_and_other_peoples_are_left_alone(name: str) -> None:
    own = build_network(name, classes=CLASSES).state_dict()
    assert translate(own.keys()) is None
    published = [at for at, _ in NETWORKS[name][1]()]
    assert translate([*published, "layer1.0.conv1.weight"]) is None
    found = translate(published)
    assert found is not None
    assert list(found[1]) == published
    assert set(found[1].values()) == set(own)


def test_two_names_for_one_tensor_are_no_published_network() -> None:
    both = {at for at, _ in wrn16_1_shapes()} | {at for at, _ in wrn16_1_shapes("convShortcut")}
    assert translate(both) is None
