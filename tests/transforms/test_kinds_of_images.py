"""Every kind of image, alone or in a batch, keeps its kind; what is none is refused with advice."""

from typing import Any

import numpy as np
import pytest
from families import Bytes, Make
from PIL import Image

from mixbake import transforms
from mixbake.errors import UsageError


def test_every_kind_of_image_gives_the_same_pixels_of_its_kind(make: Make, images: Bytes) -> None:
    torch = pytest.importorskip("torch")
    from torchvision import tv_tensors

    transform = make("ipmix")
    wanted = transform(images[0], rng=2)
    assert type(wanted) is np.ndarray
    assert wanted.flags.writeable
    as_pil = transform(Image.fromarray(images[0]), rng=2)
    assert isinstance(as_pil, Image.Image)
    assert np.array_equal(as_pil, wanted)
    tensor = torch.from_numpy(images[0]).permute(2, 0, 1)
    for image in (tensor, tensor.contiguous(), tv_tensors.Image(tensor), tv_tensors.Image(tensor.contiguous())):
        made = transform(image, rng=2)
        assert type(made) is type(image)
        assert made.is_contiguous() == image.is_contiguous()
        assert np.array_equal(made.permute(1, 2, 0).numpy(), wanted)
    odd = np.asfortranarray(images[0])
    assert np.array_equal(transform(odd, rng=2), wanted)


@pytest.mark.parametrize("views", ["mix", "jsd"])
def test_batches_of_tensors_keep_their_kind_and_layout(views: str, make: Make, images: Bytes) -> None:
    torch = pytest.importorskip("torch")
    from torchvision import tv_tensors

    transform = make("pixmix", views=views)
    wanted = transform(images, rng=2)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    for batch in (tensor, tensor.contiguous(), tv_tensors.Image(tensor.contiguous())):
        made = transform(batch, rng=2)
        assert type(made) is type(batch)
        assert made.is_contiguous() == batch.is_contiguous()
        assert made.shape == ((3,) if views == "jsd" else ()) + batch.shape
        assert np.array_equal(made.movedim(-3, -1).numpy(), wanted)
    assert transform(tensor[:0]).shape[-4:] == (0, 3, 32, 32)


@pytest.mark.parametrize("views", ["mix", "jsd"])
def test_what_comes_in_is_never_written_to_nor_given_out(views: str, make: Make, images: Bytes) -> None:
    torch = pytest.importorskip("torch")
    transform, batch = make("layermix", views=views), images.copy()
    channels_last = torch.from_numpy(batch).permute(0, 3, 1, 2)
    for given in (batch, batch[0], channels_last, channels_last[0]):
        results = transform(given)
        for made in results if isinstance(results, tuple) else (results,):
            made[...] = 7
    assert np.array_equal(batch, images)
    frozen = images[0].view()
    frozen.flags.writeable = False
    transform(frozen)


NO_IMAGES = [
    (np.zeros((32, 32, 3), np.float32), "float32 is not uint8: put the recipe before ToTensor"),
    (np.zeros((32, 32, 1), np.uint8), r"\(32, 32, 1\).*RGB"),
    (np.zeros((3, 32, 32), np.uint8), "give H×W×3"),
    (np.zeros((1, 1, 32, 32, 3), np.uint8), "or a batch"),
    (np.zeros((32, 24, 3), np.uint8), "24×32 pixels is not square: crop it before"),
    (np.zeros((7, 7, 3), np.uint8), "must be 8 to 2048"),
    (np.zeros((2, 2049, 2049, 3), np.uint8), "must be 8 to 2048"),
    (Image.new("L", (32, 32)), r"mode L is not RGB: use image.convert\('RGB'\)"),
    (Image.new("RGBA", (32, 32)), "mode RGBA"),
    (Image.new("RGB", (32, 24)), "not square"),
]
NO_SAMPLES = [
    ("an image", "no image among str"),
    (np.zeros((32, 32), np.uint8), "no image among ndarray"),
    (None, "no image among NoneType"),
]


@pytest.mark.parametrize(("image", "message"), [*NO_IMAGES, *NO_SAMPLES])
def test_what_is_no_image_is_refused_with_advice(image: Any, message: str, make: Make) -> None:
    with pytest.raises(UsageError, match=message):
        make("augmix")(image)


@pytest.mark.parametrize(("image", "message"), NO_IMAGES)
def test_functions_refuse_what_is_no_image_too(image: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        transforms.augmix(image)


def test_an_empty_batch_stays_empty(make: Make, images: Bytes) -> None:
    assert make("augmix")([]) == []
    assert make("augmix")(images[:0]).shape == (0, 32, 32, 3)


def test_tensors_that_are_no_images_are_refused_with_advice(make: Make) -> None:
    torch = pytest.importorskip("torch")
    from torchvision import tv_tensors

    transform = make("augmix")
    with pytest.raises(UsageError, match=r"torch.float32 is not uint8"):
        transform(torch.zeros(3, 32, 32))
    with pytest.raises(UsageError, match="C×H×W, C = 3"):
        transform(torch.zeros(1, 32, 32, dtype=torch.uint8))
    with pytest.raises(UsageError, match=r"before \.to\(device\)"):
        transform(torch.zeros(3, 32, 32, dtype=torch.uint8, device="meta"))
    for other in (tv_tensors.Mask(torch.zeros(3, 32, 32)), tv_tensors.Video(torch.zeros(1, 3, 32, 32))):
        with pytest.raises(UsageError, match=f"a {type(other).__name__} cannot go through"):
            transform((torch.zeros(3, 32, 32, dtype=torch.uint8), other))
    with pytest.raises(UsageError, match="give an image"):
        transform()
    with pytest.raises(UsageError, match="a dict is no image"):
        transforms.augmix({})
