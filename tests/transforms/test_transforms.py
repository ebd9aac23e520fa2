"""A transform does what a bake does: one by one, in a batch, in another process; and who says which draw it is."""

import copy
import io
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import Bytes, Make
from PIL import Image
from scipy import stats
from small import bake, stored

from mixbake.core.own import OwnStep
from mixbake.core.render import render
from mixbake.core.variant import Variant, from_json, to_json
from mixbake.data.decode import decode
from mixbake.data.demo import draw_demo
from mixbake.data.pictures import prepared_side
from mixbake.data.sources import open_source
from mixbake.errors import UsageError
from mixbake.recipes.loaded import OwnRecipe
from mixbake.recipes.presets import BARE, find
from mixbake.transforms import LayerMix, PixMix, RecipeTransform

OWN = f"{Path(__file__).parents[2] / 'examples' / 'own_recipe.py'}:Corners"


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> tuple[str, str]:
    """Two of the six pictures, and the others."""
    folder = tmp_path_factory.mktemp("sets")
    for number, file in enumerate(sorted(picture_folder.glob("*.png"))):
        to = folder / ("one" if number < 2 else "two")
        to.mkdir(exist_ok=True)
        shutil.copy(file, to)
    return str(folder / "one"), str(folder / "two")


def replayed(transform: RecipeTransform, variant: Variant, image: Bytes, *, own: tuple[OwnStep, ...] = ()) -> Bytes:
    """The variant by the renderer, from its own JSON."""
    again, size = from_json(to_json(variant)), len(image)
    pictures = transform.pictures(size)
    picture = pictures.picture(again.picture.id) if pictures and again.picture else None
    return render(again, image, picture, size=size, own=own)


def are_baked(out: Path, source: str, transform: RecipeTransform, views: str = "mix") -> None:
    """A transform with a bake's seed, called on its images in order, gives what that bake holds."""
    samples, opened = stored(out), open_source(source)
    keys = [("mix", 0)] if views == "mix" else [("clean", 0), ("mix", 0), ("mix", 1)]
    listing = opened.scan()
    for image in range(len(listing)):
        made = transform(decode(opened.read(listing.entry(image))))
        for (view, number), pixels in zip(keys, [made] if views == "mix" else made, strict=True):
            png = samples[view, number, image]["png"]
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels), (image, view, number)
    assert len(listing) == 40


# ── the same as a bake ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("views", ["mix", "jsd"])
@pytest.mark.parametrize("family", BARE)
def test_with_a_bakes_seed_it_gives_the_bakes_pictures(
    family: str, views: str, make: Make, image_folder: Path, picture_folder: Path, tmp_path: Path
) -> None:
    bake(image_folder, tmp_path / "bake", picture_folder, recipe=family, views=views, crop="fit", flip="none", seed=3)
    are_baked(tmp_path / "bake", str(image_folder), make(family, seed=3, views=views), views)


@pytest.mark.parametrize("weights", [(), (3, 1), (0, 1)], ids=str)
def test_it_does_of_several_mixing_sets_too(
    weights: tuple[int, ...], image_folder: Path, two_sets: tuple[str, str], tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"mixing_set": two_sets, "mixing_weights": weights}
    bake(image_folder, tmp_path / "bake", Path(), recipe="pixmix", crop="fit", flip="none", seed=3, **asked)
    transform = PixMix(**asked, seed=3)
    are_baked(tmp_path / "bake", str(image_folder), sent(transform))
    opened = PixMix(transform.pictures(32), mixing_weights=list(weights), seed=3)
    are_baked(tmp_path / "bake", str(image_folder), opened)
    given = f"mixing_set={list(two_sets)!r}, " + (f"mixing_weights={weights!r}, " if weights else "")
    assert repr(transform) == f"PixMix(preset='pixmix', {given}views='mix', seed=3)"


def test_it_does_by_a_recipe_of_ones_own_too(
    image_folder: Path, picture_folder: Path, images: Bytes, tmp_path: Path
) -> None:
    bake(image_folder, tmp_path / "bake", picture_folder, recipe=OWN, crop="fit", flip="none", seed=3)
    transform = RecipeTransform(picture_folder, preset=OWN, seed=3, return_provenance=True)
    are_baked(tmp_path / "bake", str(image_folder), RecipeTransform(picture_folder, preset=OWN, seed=3))
    recipe = find(OWN)
    assert isinstance(recipe, OwnRecipe)
    batch, told = transform(images, rng=8)
    rng = np.random.default_rng(8)
    for image, made, variant in zip(images, batch, told, strict=True):
        assert np.array_equal(replayed(transform, variant, image, own=recipe.own_steps), made)
        single, same = sent(transform)(image, rng=rng)
        assert np.array_equal(single, made)
        assert same == variant
    assert {step.do for variant in told for step in variant.steps} >= {"own:vignette", "pixel"}
    strong = RecipeTransform(picture_folder, preset=OWN, rounds=np.int64(1), strength=1)
    assert strong(images).shape == images.shape
    with pytest.raises(UsageError, match=r"rounds 1\.5 is not a whole number"):
        RecipeTransform(picture_folder, preset=OWN, rounds=1.5)


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
