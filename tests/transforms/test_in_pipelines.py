"""Transforms in torchvision's v2, image folders and DataLoader workers: samples keep their shape, no two are alike."""

from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from processes import PATIENCE

from mixbake.core.render import render
from mixbake.core.variant import from_json
from mixbake.data.demo import draw_demo
from mixbake.errors import UsageError
from mixbake.transforms import AugMix, LayerMix

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, Dataset  # noqa: E402 - only with torch
from torchvision import tv_tensors  # noqa: E402 - comes with it
from torchvision.datasets import ImageFolder  # noqa: E402 - as well
from torchvision.transforms import v2  # noqa: E402 - as well


class Sample(NamedTuple):
    image: Any
    label: int


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(draw_demo(1, size=32, split="train"))


@pytest.fixture
def tensor(image: Image.Image) -> Any:
    return v2.functional.pil_to_tensor(image)


def test_compose_takes_it_among_its_own(picture_folder: Path, image: Image.Image) -> None:
    mix = LayerMix(picture_folder, size=32)
    crop = v2.RandomCrop(32, padding=4)
    end = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    made, label = v2.Compose([crop, mix, *end])(image, 3)
    assert (made.shape, made.dtype, label) == ((3, 32, 32), torch.float32, 3)
    assert isinstance(made, tv_tensors.Image)
    triplet, label = v2.Compose([LayerMix(picture_folder, views="jsd"), *end])(image, 3)
    assert [view.shape for view in triplet] == [(3, 32, 32)] * 3
    assert v2.Compose([v2.ToImage(), v2.RandomApply([mix], p=1.0)])(image).dtype == torch.uint8


def test_samples_keep_their_shape_and_their_labels(image: Image.Image, tensor: Any) -> None:
    mix = AugMix()
    numbers = torch.zeros(4, 5, 6)
    sample = {
        "label": 3,
        "inside": OrderedDict(image=image, more=[numbers, "name"]),
        "second": tv_tensors.Image(tensor),
    }
    made = mix(sample)
    assert list(made) == list(sample)
    assert isinstance(made["inside"], OrderedDict)
    assert made["inside"]["more"][0] is numbers
    assert made["inside"]["more"][1] == "name"
    assert made["label"] == 3
    assert made["inside"]["image"] is not image
    assert sample["inside"]["image"] is image
    assert not np.array_equal(np.asarray(made["inside"]["image"]), made["second"].permute(1, 2, 0).numpy())
    named = mix(Sample(image, 7))
    assert isinstance(named, Sample)
    assert (named.image.size, named.label) == ((32, 32), 7)


def test_without_a_declared_image_the_first_array_is_it(tensor: Any) -> None:
    label, made, other = AugMix()(torch.tensor(4), tensor, tensor)
    assert label == 4
    assert other is tensor
    assert made is not tensor
    pixels = tensor.permute(1, 2, 0).numpy()
    assert AugMix()((pixels, 2))[1] == 2
    with pytest.raises(UsageError, match="no image among Tensor, int"):
        AugMix()(torch.tensor(4), 2)


def test_a_list_is_a_batch_of_samples(image: Image.Image, tensor: Any) -> None:
    mix = AugMix(return_provenance=True)
    made = mix([tensor, image, (tensor, 5)])
    assert isinstance(made, list)
    (first, one), (second, two), ((third, three), label) = made
    assert isinstance(second, Image.Image)
    assert (first.shape, third.shape, label) == (tensor.shape, tensor.shape, 5)
    assert len({one.image, two.image, three.image}) == 3


def test_an_image_folder_takes_it(image_folder: Path, picture_folder: Path) -> None:
    transform = v2.Compose([LayerMix(picture_folder, views="jsd"), v2.ToImage()])
    views, labels = next(iter(DataLoader(ImageFolder(str(image_folder), transform=transform), batch_size=8)))
    assert [view.shape for view in views] == [(8, 3, 32, 32)] * 3
    assert labels.shape == (8,)


class Programs(Dataset[Any]):
    """Each image's variants, with their programs as JSON."""

    def __init__(self, transform: Any, images: Any) -> None:
        self.transform, self.images = transform, images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.images[index])


def test_a_loader_puts_programs_together(picture_folder: Path) -> None:
    """As they come, without a collate function of one's own; each makes its picture again."""
    images = np.stack([draw_demo(number, size=32, split="train") for number in range(4)])
    for views in ("mix", "jsd"):
        mix = LayerMix(picture_folder, views=views, return_provenance="json")
        loader = DataLoader(Programs(mix, images), batch_size=4, num_workers=1, timeout=PATIENCE)
        batches, told = next(iter(loader))
        for batch, texts in [(batches, told)] if views == "mix" else zip(batches, told, strict=True):
            for image, pixels, variant in zip(images, batch.numpy(), map(from_json, texts), strict=True):
                picture = mix.pictures(32).picture(variant.picture.id) if variant.picture else None
                assert np.array_equal(render(variant, image, picture, size=32), pixels)
    batch, texts = mix(images, rng=3)
    assert (batch.shape[:2], [len(one) for one in texts]) == ((3, 4), [4, 4, 4])


# ── worker processes ──────────────────────────────────────────────────────────────────────────────


class Words(Dataset[int]):
    """The word of each call on one and the same image, and who made it."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform
        self.image = draw_demo(0, size=8, split="train")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[int, int]:
        made, variant = self.transform(self.image)
        assert made.shape == self.image.shape
        return variant.image, torch.utils.data.get_worker_info().id


def as_it_is(batch: list[Any]) -> list[Any]:
    return batch


def passes(transform: Any, *, seed: int, method: str = "fork", persistent: bool = True, count: int = 2) -> list[Any]:
    """Words of some passes of a DataLoader with two workers, in its order."""
    loader = DataLoader(
        Words(transform),
        batch_size=3,
        num_workers=2,
        collate_fn=as_it_is,
        persistent_workers=persistent,
        multiprocessing_context=method,
        generator=torch.Generator().manual_seed(seed),
        timeout=PATIENCE,
    )
    drawn = [[one for batch in loader for one in batch] for _ in range(count)]
    assert {worker for _, worker in drawn[0]} == {0, 1}
    return [[word for word, _ in one] for one in drawn]


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("seed", [None, 4])
def test_no_two_workers_and_no_two_epochs_are_alike(seed: int | None, persistent: bool) -> None:
    transform = AugMix(return_provenance=True, seed=seed, size=8)
    first, second = passes(transform, seed=1, persistent=persistent)
    assert len({*first, *second}) == 24
    assert passes(transform, seed=1, persistent=persistent) == [first, second]
    assert not {*first, *second} & {word for one in passes(transform, seed=2, persistent=persistent) for word in one}


@pytest.mark.slow
def test_spawned_workers_do_the_same(picture_folder: Path) -> None:
    transform = LayerMix(picture_folder, return_provenance=True, size=8)
    forked = passes(transform, seed=1)
    assert passes(transform, seed=1, method="spawn") == forked
