"""A transform does to an image what a bake does; every kind of image, alone or in a batch, keeps its kind."""

import copy
import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from small import bake, stored

from mixbake import transforms
from mixbake.core.render import render
from mixbake.core.variant import Variant, from_json, to_json
from mixbake.data.decode import decode
from mixbake.data.demo import draw_demo
from mixbake.data.pictures import open_pictures, prepared_side, resized
from mixbake.data.sources import open_source
from mixbake.errors import UsageError
from mixbake.recipes.presets import BARE, find
from mixbake.transforms import AugMix, IPMix, LayerMix, PixMix, RecipeTransform

Bytes = NDArray[np.uint8]
Make = Callable[..., RecipeTransform]
CLASSES = {"layermix": LayerMix, "pixmix": PixMix, "ipmix": IPMix, "augmix": AugMix}


@pytest.fixture(scope="module")
def images() -> Bytes:
    """Five drawings of 32 px."""
    return np.stack([draw_demo(number, size=32, split="train") for number in range(5)])


@pytest.fixture(scope="module")
def make(picture_folder: Path) -> Make:
    """make(family, ...): a transform with the six pictures to mix with, where it takes any."""

    def made(family: str, **options: Any) -> RecipeTransform:
        mixing = {} if family == "augmix" else {"mixing_set": picture_folder}
        return CLASSES[family](**mixing | options)

    return made


def replayed(transform: RecipeTransform, variant: Variant, image: Bytes) -> Bytes:
    """The variant by the renderer, from its own JSON."""
    again, size = from_json(to_json(variant)), len(image)
    pictures = transform.pictures(size)
    picture = pictures.picture(again.picture.id) if pictures and again.picture else None
    return render(again, image, picture, size=size)


# ── the same as a bake ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("views", ["mix", "jsd"])
@pytest.mark.parametrize("family", BARE)
def test_with_a_bakes_seed_it_gives_the_bakes_pictures(
    family: str, views: str, make: Make, image_folder: Path, picture_folder: Path, tmp_path: Path
) -> None:
    bake(image_folder, tmp_path / "bake", picture_folder, recipe=family, views=views, crop="fit", flip="none", seed=3)
    samples = stored(tmp_path / "bake")
    keys = [("mix", 0)] if views == "mix" else [("clean", 0), ("mix", 0), ("mix", 1)]
    source, transform = open_source(str(image_folder)), make(family, seed=3, views=views)
    listing = source.scan()
    for image in range(len(listing)):
        made = transform(decode(source.read(listing.entry(image))))
        for (view, number), pixels in zip(keys, [made] if views == "mix" else made, strict=True):
            png = samples[view, number, image]["png"]
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels), (image, view, number)
    assert len(listing) == 40


@pytest.mark.parametrize("views", ["mix", "jsd"])
@pytest.mark.parametrize("family", BARE)
def test_provenance_replays_to_the_same_pixels(family: str, views: str, make: Make, images: Bytes) -> None:
    transform = make(family, views=views, return_provenance=True)
    for image in images:
        made, told = transform(image, rng=int(image.sum()))
        for pixels, variant in [(made, told)] if views == "mix" else zip(made, told, strict=True):
            assert variant.recipe == f"{family}-cifar"
            assert np.array_equal(replayed(transform, variant, image), pixels)


@pytest.mark.parametrize("views", ["mix", "jsd"])
@pytest.mark.parametrize("family", BARE)
def test_a_batch_is_its_images_one_by_one(family: str, views: str, make: Make, images: Bytes) -> None:
    transform = make(family, views=views, return_provenance=True)
    batch, told = transform(images, rng=8)
    rng = np.random.default_rng(8)
    singles = [transform(image, rng=rng) for image in images]
    if views == "mix":
        assert np.array_equal(batch, [made for made, _ in singles])
        assert told == tuple(variant for _, variant in singles)
    else:
        assert np.array_equal(batch, np.stack([made for made, _ in singles], axis=1))
        assert told == tuple(zip(*(variants for _, variants in singles), strict=True))


def test_triplets_are_the_image_and_two_variants_with_one_picture(make: Make, images: Bytes) -> None:
    transform = make("layermix", views="jsd", return_provenance=True, layers=[3])
    (clean, first, second), (bare, *told) = transform(images[0])
    assert np.array_equal(clean, images[0])
    assert not np.shares_memory(clean, images)
    assert not np.array_equal(first, second)
    assert told[0].picture == told[1].picture
    assert [variant.number for variant in told] == [0, 1]
    assert (bare.view, bare.steps, bare.picture) == ("clean", (), None)


@pytest.mark.parametrize("side", [8, 45, 64, 65, 224])
def test_images_of_any_size_take_the_preset_that_fits(side: int, make: Make) -> None:
    image = draw_demo(1, size=side, split="train")
    transform = make("pixmix", return_provenance=True)
    made, variant = transform(image, rng=4)
    assert made.shape == image.shape
    assert variant.recipe == BARE["pixmix"][side > 64]
    assert np.array_equal(replayed(transform, variant, image), made)
    assert transform.pictures(side).side == prepared_side(side)


def test_programs_that_the_quick_check_does_not_pass_are_checked_with_messages(
    make: Make, images: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = make("layermix")(images[0], rng=1)
    monkeypatch.setattr("mixbake.core.kernels.bounds.all_fit", lambda *_: False)
    assert np.array_equal(make("layermix")(images[0], rng=1), wanted)
    transform = make("layermix", return_provenance=True, layers=(3,))
    mixer, _ = transform._make_ready(32)
    with pytest.raises(UsageError, match="outside its file"):
        mixer.mix(images[:1], 0, open_flat(draw_demo(0, size=20, split="test")))


def sent(transform: RecipeTransform) -> RecipeTransform:
    """What another process gets."""
    again: RecipeTransform = pickle.loads(pickle.dumps(transform))  # noqa: S301 - made here
    return again


def open_flat(pixels: Bytes) -> Any:
    from mixbake.core.render import as_pictures, frozen

    flat = as_pictures([pixels])
    return (*flat[:2], frozen(np.array([[36, 36]], np.int32)), flat[3])


# ── kinds of images ───────────────────────────────────────────────────────────────────────────────


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


@pytest.mark.parametrize(
    ("image", "message"),
    [
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
        ("an image", "no image among str"),
        (np.zeros((32, 32), np.uint8), "no image among ndarray"),
        (None, "no image among NoneType"),
        ([], "^$"),
    ],
)
def test_what_is_no_image_is_refused_with_advice(image: Any, message: str, make: Make) -> None:
    if isinstance(image, list):
        assert make("augmix")(image) == []
        return
    with pytest.raises(UsageError, match=message):
        make("augmix")(image)
    if not isinstance(image, str | None) and getattr(image, "ndim", 3) > 2:
        with pytest.raises(UsageError, match=message):
            transforms.augmix(image)


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


# ── arguments ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "layermixx"}, "did you mean layermix"),
        ({"preset": "pixmix-cifar"}, "is no layermix"),
        ({"severity": 11}, "severity 11 is out of range"),
        ({"no_such": 1}, "has no parameter no_such"),
        ({"views": "all"}, "choose mix or jsd"),
        ({"severity": "8"}, "severity is '8': give a value of the kind of 8"),
        ({"severity": None}, "severity is None"),
        ({"severity": True}, "severity is True"),
        ({"severity": [8]}, "severity is"),
        ({"beta": "x"}, "beta is 'x'"),
        ({"layers": 3}, "layers is 3"),
        ({"layers": ["1"]}, "layers is"),
        ({"op_set": {}}, "op_set is"),
        ({"picture_flips": 1}, "picture_flips is 1"),
        ({"no_such": {}}, "has no parameter no_such"),
        ({"preset": 3}, "preset is 3"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": True}, "seed is True"),
        ({"seed": -1}, "seed is -1: give a whole number from 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"size": 7}, "8 to 2048"),
        ({"mixing_set": None}, "give mixing_set, a folder"),
        ({"mixing_set": "no/such/folder"}, "mixing_set 'no/such/folder' is no folder"),
        ({"mixing_set": []}, "mixing_set is empty"),
        ({"mixing_set": 5}, "mixing_set is a int"),
        ({"mixing_set": [np.zeros((4, 4), np.uint8)]}, "give H×W×3"),
        ({"mixing_set": [np.zeros((0, 4, 3), np.uint8)]}, "4×0 pixels holds nothing"),
        ({"mixing_set": [Image.new("RGB", (0, 4))]}, "0×4 pixels holds nothing"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options: dict[str, Any], message: str, make: Make) -> None:
    with pytest.raises(UsageError, match=message):
        make("layermix", **options)


@pytest.mark.parametrize("options", [{"severity": "8"}, {"op_set": {}}, {"no_such": {}}, {"preset": 3}], ids=str)
def test_functions_refuse_them_too(options: dict[str, Any], images: Bytes) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        transforms.layermix(images[0], images[1], 0, **options)


def test_numbers_of_numpy_and_the_largest_seed_are_good(make: Make, images: Bytes) -> None:
    assert np.array_equal(make("layermix", severity=np.int64(8))(images, rng=1), make("layermix")(images, rng=1))
    assert make("layermix", seed=2**63 - 1)(images[0]).shape == images[0].shape


def test_only_recipes_that_mix_with_pictures_want_some(picture_folder: Path, images: Bytes) -> None:
    assert PixMix(partners="input")(images[0]).shape == (32, 32, 3)
    assert PixMix(partners="input").pictures(32) is None
    with pytest.raises(UsageError, match="leave mixing_set out"):
        AugMix(mixing_set=picture_folder)
    with pytest.raises(UsageError, match="give preset"):
        RecipeTransform(picture_folder)
    any_recipe = RecipeTransform(picture_folder, preset="layermix-article")
    assert np.array_equal(
        any_recipe(images[0], rng=1), LayerMix(picture_folder, preset="layermix-article")(images[0], rng=1)
    )


def test_a_mixing_set_may_be_a_folder_its_name_its_pictures_or_opened(picture_folder: Path, images: Bytes) -> None:
    files = sorted(picture_folder.glob("*.png"))
    wanted = LayerMix(picture_folder, layers=(3,))(images, rng=1)
    opened = LayerMix(picture_folder, size=32).pictures(32)
    held = [Image.open(file).convert("RGB") for file in files]
    arrays = [np.asarray(one) for one in held]
    for mixing_set in (str(picture_folder), opened, held, arrays, arrays):
        assert np.array_equal(LayerMix(mixing_set, layers=(3,))(images, rng=1), wanted)
    with pytest.raises(UsageError, match="too small for 224"):
        LayerMix(opened)(draw_demo(0, size=224, split="train"))
    with pytest.raises(UsageError, match="gray and the recipe mixes colours"):
        PixMix(opened)(images)
    coloured = open_pictures(PixMix(picture_folder, size=32).pictures(32).path)
    assert np.array_equal(LayerMix(coloured, layers=(3,))(images, rng=1), wanted)


@pytest.mark.parametrize("family", BARE)
def test_functions_are_classes_for_one_picture(family: str, make: Make, images: Bytes) -> None:
    picture = draw_demo(3, size=90, split="test")[:, 5:]
    function, pictures = getattr(transforms, family), [] if family == "augmix" else [picture]
    transform = CLASSES[family](**{"mixing_set": pictures} if pictures else {})
    assert np.array_equal(function(images, *pictures, 5), transform(images, rng=5))
    made, variant = function(images[0], *pictures, rng=5, severity=2, return_provenance=True)
    gray = find(variant.recipe).gray_pictures
    prepared = resized(np.ascontiguousarray(picture), side=prepared_side(32), gray=gray)
    assert np.array_equal(render(variant, images[0], prepared, size=32), made)
    assert len(function(Image.fromarray(images[0]), *map(Image.fromarray, pictures), views="jsd")) == 3
    if pictures:
        with pytest.raises(UsageError, match="mixes with a picture: give one"):
            function(images[0], None)
        with pytest.raises(UsageError, match="no picture"):
            function(images[0], "picture.png")
        with pytest.raises(UsageError, match="4×0 pixels holds nothing"):
            function(images[0], np.zeros((0, 4, 3), np.uint8), 0)


def test_it_says_what_it_is(make: Make, picture_folder: Path) -> None:
    told = repr(make("layermix", severity=3, size=32))
    assert told == f"LayerMix(preset='layermix', mixing_set={str(picture_folder)!r}, size=32, views='mix', severity=3)"


# ── random numbers ────────────────────────────────────────────────────────────────────────────────


def words(transform: RecipeTransform, image: Any, calls: int = 3, **options: Any) -> list[int]:
    """What names the draws of some calls."""
    return [transform(image, **options)[1].image for _ in range(calls)]


def test_rng_and_seed_decide(make: Make, images: Bytes) -> None:
    transform = make("augmix", return_provenance=True)
    assert words(transform, images[0], rng=1) == words(transform, images[0], rng=np.int64(1))
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    assert words(transform, images[0], rng=one) == words(transform, images[0], rng=other)
    assert len(set(words(transform, images[0]) + words(transform, images[0], rng=one))) == 6
    seeded = make("augmix", return_provenance=True, seed=9)
    assert words(seeded, images[0]) == [0, 1, 2]
    assert [variant.image for variant in seeded(images)[1]] == [3, 4, 5, 6, 7]
    assert words(sent(seeded), images[0]) == [8, 9, 10]
    for wrong in (-1, True, 0.5, "1"):
        with pytest.raises(UsageError, match="numpy Generator"):
            transform(images[0], rng=wrong)


def test_without_torch_the_operating_system_decides(make: Make, images: Bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixbake.transforms.words.torch_if_imported", lambda: None)
    transform = make("augmix", return_provenance=True)
    drawn = words(transform, images[0]) + [variant.image for variant in transform(images)[1]]
    assert len(set(drawn)) == 8
    assert all(0 <= word < 2**63 for word in drawn)


def test_torch_manual_seed_makes_it_reproducible(make: Make, images: Bytes) -> None:
    torch = pytest.importorskip("torch")
    transform = make("augmix", return_provenance=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        first = words(transform, images[0], len(images))
        torch.manual_seed(5)
        assert [variant.image for variant in transform(images)[1]] == first
        assert words(transform, images[0], len(images)) != first


def test_layers_are_drawn_equally_often(make: Make) -> None:
    many = np.zeros((3000, 8, 8, 3), np.uint8)
    transform = make("layermix", return_provenance=True)
    layers = [variant.layer for variant in transform(many, rng=0)[1]]
    assert stats.chisquare(np.bincount(layers)[1:]).pvalue > 1e-3


def test_threads_share_a_transform(make: Make, images: Bytes) -> None:
    transform = make("pixmix")
    wanted = [transform(images[i % 5], rng=i) for i in range(80)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda i: transform(images[i % 5], rng=i), range(80)))
    assert np.array_equal(made, wanted)


# ── on its way to other processes ─────────────────────────────────────────────────────────────────


def test_it_pickles_to_names_and_paths(make: Make, images: Bytes) -> None:
    held = LayerMix([draw_demo(number, size=200, split="test") for number in range(4)], size=32)
    for transform in (held, make("layermix"), make("augmix", size=32)):
        transform(images[0])
        assert len(pickle.dumps(transform)) < 2000
        for again in (sent(transform), copy.deepcopy(transform)):
            assert repr(again) == repr(transform)
            assert np.array_equal(again(images, rng=1), transform(images, rng=1))


def test_sizes_come_and_go(make: Make) -> None:
    transform = make("augmix")
    sides = list(range(8, 20)) * 2
    made = [transform(draw_demo(0, size=side, split="train"), rng=1) for side in sides]
    assert all(np.array_equal(one, again) for one, again in zip(made[:12], made[12:], strict=True))
    assert len(transform._ready) <= 4
