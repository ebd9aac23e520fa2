"""Networks by name: their sizes, what they compute with, where they come from."""

import math
import re
import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("torchvision", reason="the extra `train` is not installed")
safetensors = pytest.importorskip("safetensors.torch", reason="the extra `train` is not installed")

from torch import nn  # noqa: E402 - torch must be there

from mixbake.errors import MissingExtra, UsageError  # noqa: E402 - torch must be there
from mixbake.train.networks.catalog import (  # noqa: E402 - torch must be there
    FAMILIES,
    build_network,
    find_head,
    network_names,
)

SMALL = ("wrn10_1", "wrn16_2", "resnet18_cifar", "resnext29", "allconv", "densenet_bc16_6", "densenet7_6")
"""A small network of every own family."""

TORCHVISION = ("resnet18", "vgg11", "mobilenet_v3_small", "squeezenet1_0")
LIGHT = ("mobilenet_v3_small", "squeezenet1_0", "wrn10_1", "allconv")


def shape_only(name: str, **settings: Any) -> nn.Module:
    """The network without memory behind its weights."""
    with torch.device("meta"):
        return build_network(name, **({"classes": 10} | settings))


def images(count: int = 2, size: int = 32, seed: int = 0) -> Any:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("wrn40_4", 100, 8_972_340),
        ("wrn40_2", 10, 2_243_546),
        ("wrn28_10", 10, 36_479_194),
        ("resnet18_cifar", 10, 11_173_962),
        ("densenet_bc100_12", 10, 769_162),
    ],
)
def test_they_have_the_published_number_of_parameters(name: str, classes: int, parameters: int) -> None:
    network = shape_only(name, classes=classes)
    assert sum(weights.numel() for weights in network.parameters()) == parameters


@pytest.mark.parametrize("name", SMALL)
class TestOwn:
    @pytest.mark.parametrize("size", [32, 64, 20])
    def test_pictures_of_any_size_become_logits(self, name: str, size: int) -> None:
        network = build_network(name, classes=7).eval()
        with torch.inference_mode():
            assert network(images(2, size)).shape == (2, 7)

    def test_every_parameter_learns(self, name: str) -> None:
        network = build_network(name, classes=3)
        nn.functional.cross_entropy(network(images(4)), torch.tensor([0, 1, 2, 0])).backward()
        # What a normalisation takes off again moves by rounding alone: a bias before it learns nothing.
        idle = [at for at, weights in network.named_parameters() if weights.grad is None or not weights.grad.any()]
        assert idle == []

    def test_dropout_is_for_training_alone(self, name: str) -> None:
        network = build_network(name, classes=3)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0  # so that only dropout could tell one call from the next
        once, again = network(images()), network(images())
        drops = next(family.dropout for family in FAMILIES if re.fullmatch(family.pattern, name)) is not None
        assert torch.equal(once, again) != drops
        assert torch.equal(network.eval()(images()), network(images()))

    def test_pictures_do_not_touch_each_other_in_evaluation(self, name: str) -> None:
        network = build_network(name, classes=3).eval()
        with torch.inference_mode():
            together, alone = network(images(3)), network(images(3)[1:2])
        assert torch.allclose(together[1:2], alone, rtol=1e-4, atol=1e-5)

    def test_channels_stay_last(self, name: str) -> None:
        network = build_network(name, classes=3).to(memory_format=torch.channels_last).eval()
        seen = []
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                module.register_forward_hook(lambda *called: seen.append(called[2]))
        with torch.inference_mode():
            network(images().to(memory_format=torch.channels_last))
        assert seen
        assert all(out.is_contiguous(memory_format=torch.channels_last) for out in seen)

    def test_it_starts_as_he_and_others_say(self, name: str) -> None:
        for module in build_network(name, classes=3).modules():
            if isinstance(module, nn.Conv2d):
                expected = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
                deviation = module.weight.std().item() / expected - 1
                assert abs(deviation) < 5 / math.sqrt(2 * module.weight.numel())  # five standard errors
            elif isinstance(module, nn.BatchNorm2d):
                assert (module.weight == 1).all()
                assert (module.bias == 0).all()
            elif isinstance(module, nn.Linear):
                assert (module.bias == 0).all()
                assert module.weight.any()

    @pytest.mark.slow
    def test_one_graph_holds_it_all(self, name: str) -> None:
        network = build_network(name, classes=3, dropout=None).eval()
        compiled = torch.compile(network, backend="eager", fullgraph=True)
        with torch.inference_mode():
            assert torch.equal(compiled(images()), network(images()))
        torch.compiler.reset()


def test_names_of_weights_are_fixed() -> None:
    names = {name: sorted(shape_only(name).state_dict()) for name in SMALL}
    kept = {name.rpartition(".")[0] for found in names.values() for name in found}
    assert {re.sub(r"\d", "#", name) for name in kept} == {
        "stem",
        "norm",
        "head",
        "stage#.#.norm#",
        "stage#.#.conv#",
        "stage#.#.shortcut",
        "stage#.#.shortcut.conv",
        "stage#.#.shortcut.norm",
        "stage#.#.conv",
        "stage#.#.norm",
        "dense#.#.norm#",
        "dense#.#.conv#",
        "transition#.norm",
        "transition#.conv",
    }


class TestNames:
    def test_every_example_is_of_its_family(self) -> None:
        assert network_names() == FAMILIES
        for family in network_names():
            assert family.examples
            for example in family.examples:
                fitting = [other.name for other in FAMILIES if re.fullmatch(other.pattern, example)]
                assert fitting == [family.name]
                assert find_head(shape_only(example)) == "head"

    @pytest.mark.parametrize("dropout", [0.0, 0.2])
    @pytest.mark.parametrize("name", ["wrn16_1", "allconv"])
    def test_a_dropout_is_taken(self, name: str, dropout: float) -> None:
        found = [m.p for m in shape_only(name, dropout=dropout).modules() if isinstance(m, nn.Dropout)]
        assert set(found) == {dropout}

    @pytest.mark.parametrize(("name", "usual"), [("wrn16_1", 0.3), ("allconv", 0.5)])
    def test_the_usual_dropout_is_the_papers(self, name: str, usual: float) -> None:
        assert {m.p for m in shape_only(name).modules() if isinstance(m, nn.Dropout)} == {usual}

    @pytest.mark.parametrize("name", ["resnet18_cifar", "resnext29", "densenet40_12", "densenet_bc100_12", "resnet18"])
    def test_a_dropout_that_is_not_there_is_refused(self, name: str) -> None:
        with pytest.raises(UsageError, match="no dropout"):
            shape_only(name, dropout=0.0)

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("wrn41_4", "10, 16, 22"),
            ("densenet_bc101_12", "6n"),
            ("densenet41_12", "3n"),
            ("wrn40_3x", "did you mean wrn40"),
            ("resnet_18", "did you mean resnet18"),
            ("wide_resnet_cifar", r"wrn<depth>_<width>.*timm:NAME"),
            ("fcn_resnet50", "unknown network"),
            ("raft_small", "unknown network"),
            ("qqqqqqqq", r"wrn<depth>_<width>.*allconv.*timm:NAME"),
            ("", "unknown network"),
        ],
    )
    def test_what_is_no_network_is_refused(self, name: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            shape_only(name)

    @pytest.mark.parametrize("settings", [{"classes": 0}, {"dropout": 1.0}, {"dropout": -0.1}, {"dropout": math.nan}])
    def test_numbers_that_make_no_network_are_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=str(*settings.values())):
            shape_only("wrn10_1", **settings)

    @pytest.mark.parametrize(
        ("name", "package", "extra"), [("timm:resnet18", "timm", "timm"), ("resnet18", "torchvision", "train")]
    )
    def test_a_library_that_is_missing_is_named(
        self, name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in [module for module in sys.modules if module.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(sys, "meta_path", [Without(package), *sys.meta_path])
        assert shape_only("wrn10_1")
        with pytest.raises(MissingExtra, match=rf"{package} is not installed.*\[{extra}\]"):
            shape_only(name)

    def test_a_library_that_is_broken_is_not_called_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in [module for module in sys.modules if module.startswith("torchvision.models")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(sys, "meta_path", [Without("torchvision.models.resnet"), *sys.meta_path])
        with pytest.raises(ModuleNotFoundError, match=r"torchvision\.models\.resnet"):
            shape_only("resnet18")

    @pytest.mark.parametrize("name", TORCHVISION)
    def test_the_head_is_found(self, name: str) -> None:
        check_head(name)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
    def test_there_are_logits_alone_in_training(self, name: str) -> None:
        network = build_network(name, classes=3)
        assert network(images(2, 96)).shape == (2, 3)

    @pytest.mark.slow
    def test_the_head_is_found_in_all_of_torchvision(self) -> None:
        from torchvision import models

        # regnet asks tensors for their values while it is built.
        names = [name for name in models.list_models(module=models) if not name.startswith("regnet")]
        assert "vit_b_16" in names
        for name in names:
            check_head(name)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")  # of timm's own
    def test_timm_is_at_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        timm = pytest.importorskip("timm", reason="the extra `timm` is not installed")
        for name in ("resnet18", "vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0"):
            check_head(f"timm:{name}")
        for name in ("resnet81", "hf-hub:timm/resnet18.a1_in1k", "local-dir:.", "resnet18.a1_in1k", ""):
            with pytest.raises(UsageError, match="timm has no network"):
                shape_only(f"timm:{name}")
        with pytest.raises(UsageError, match="no dropout"):
            shape_only("timm:resnet18", dropout=0.1)
        monkeypatch.setattr(timm, "create_model", lambda *_, **__: nn.Linear(3, 5))  # its encoders know no classes
        with pytest.raises(UsageError, match="no classifier"):
            shape_only("timm:resnet18")


class Without:
    """Goes before the places that modules are looked for in: one of them is not there."""

    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(self, name: str, *_: object) -> None:
        if name == self.module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def check_head(name: str) -> None:
    """The head is what has one row a class, and nothing else changes with the number of classes."""
    network = shape_only(name, classes=7)
    one, other = network.state_dict(), shape_only(name, classes=11).state_dict()
    head = find_head(network)
    assert {at.rpartition(".")[0] for at in one if one[at].shape != other[at].shape} == {head}, name
    assert one[f"{head}.weight"].shape[0] == 7
