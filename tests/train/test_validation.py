"""Clean accuracy: the right pictures, shown as the papers show them, under the right labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mixbake.data.shown import LabelledPictures, centre
from mixbake.errors import UsageError
from mixbake.train.ranks import Ranks
from mixbake.train.validation import Validation

CPU = Ranks(rank=0, size=1, device=torch.device("cpu"))
PLAIN = torch.autocast("cpu", enabled=False)


def of(spec: Path | str, classes: tuple[str, ...] = ("ash", "birch", "cedar"), **settings: Any) -> Validation:
    pictures = LabelledPictures(str(spec), classes=classes, size=16)
    return Validation(pictures, **({"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "batch_size": 7} | settings))


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


class Memory(torch.nn.Module):
    """Knows every picture of a folder by its pixels, and answers with the label it was told for its class."""

    def __init__(self, folder: Path, answers: dict[str, int], outputs: int) -> None:
        super().__init__()
        self._known = {
            np.asarray(Image.open(path).convert("RGB")).tobytes(): answers[path.parent.name]
            for path in folder.glob("*/*.png")
        }
        self._outputs = outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        pixels = ((images * 0.5 + 0.5) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        labels = torch.tensor([self._known[one.tobytes()] for one in pixels])
        return torch.nn.functional.one_hot(labels, self._outputs).float()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """19 different ones, in classes of unequal size."""
    folder = tmp_path / "val"
    for number in range(19):
        path = folder / ("ash" if number < 3 else "cedar") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(16, 16) ^ np.uint8(number)).save(path)
    return folder


@pytest.mark.parametrize("rounds", [1, 3])
def test_labels_are_those_of_the_bakes_classes(pictures: Path, rounds: int) -> None:
    """Of which the pictures have two, at other places than in their own folder."""
    classes = ("cedar", "birch", "ash")
    right = Memory(pictures, {"ash": 2, "cedar": 0}, 3)
    wrong = Memory(pictures, {"ash": 0, "cedar": 1}, 3)
    half = Memory(pictures, {"ash": 2, "cedar": 1}, 3)
    validation = of(pictures, classes)
    for _ in range(rounds):
        assert validation.measure(right, CPU, PLAIN).share == 1
        assert validation.measure(wrong, CPU, PLAIN).correct == 0
        assert validation.measure(half, CPU, PLAIN).correct == 3
    assert right.training


def test_ranks_share_the_pictures(pictures: Path) -> None:
    class Rank(Ranks):
        def sum(self, values: torch.Tensor) -> torch.Tensor:
            return values

    network = Memory(pictures, {"ash": 0, "cedar": 2}, 3)
    shares = [Rank(rank=rank, size=3, device=torch.device("cpu")) for rank in range(3)]
    correct = [of(pictures, batch_size=4).measure(network, ranks, PLAIN).correct for ranks in shares]
    assert sum(correct) == 19
    assert all(correct)


def test_unknown_classes_are_named(pictures: Path) -> None:
    with pytest.raises(UsageError, match="cedar"):
        of(pictures, ("ash", "birch"))


def test_a_picture_that_does_not_decode_is_named(pictures: Path) -> None:
    (pictures / "cedar" / "9.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3))
    with pytest.raises(UsageError, match=r"cedar/9\.png"):
        of(pictures).measure(network, CPU, PLAIN)


@pytest.mark.parametrize(("height", "width"), [(300, 500), (501, 333), (256, 256), (100, 90), (224, 224), (375, 1000)])
def test_large_pictures_are_shown_as_torchvision_does(height: int, width: int) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    image = picture(height, width)
    # What has the size already is shown as it is: cut from such a picture, resized again, nothing would be gained.
    steps = [] if (height, width) == (224, 224) else [transforms.Resize(256), transforms.CenterCrop(224)]
    expected = np.asarray(transforms.Compose(steps)(Image.fromarray(image)))
    assert np.array_equal(centre(image, 224), expected)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (33, 32), (20, 20)])
def test_small_pictures_fill_the_size(height: int, width: int) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    image = picture(height, width)
    expected = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(32)])(Image.fromarray(image))
    assert np.array_equal(centre(image, 32), np.asarray(expected))


def test_a_finished_run_that_is_resumed_with_pictures_is_measured(
    trained: Callable[..., Any], tiny_bake: Path, tiny_images: Path
) -> None:
    assert trained(tiny_bake).accuracy is None
    measured = trained(tiny_bake, resume=True, val=str(tiny_images)).accuracy
    assert measured == trained(tiny_bake, out="again", val=str(tiny_images)).accuracy


def test_accuracy_of_a_bakes_own_source(trained: Callable[..., Any], tiny_bake: Path, tiny_images: Path) -> None:
    done = trained(tiny_bake, epochs=1, val=str(tiny_images), val_batch_size=9)
    assert done.accuracy is not None
    assert (done.accuracy * 40).is_integer()
