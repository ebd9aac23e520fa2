"""The recipes as functions of an image and a mixing picture, for those who choose the picture themselves.

Rule: a function is its class for one call. The picture is prepared at each call as a mixing set is once: who has a set
is better served by the class.
"""

from functools import lru_cache
from typing import Any

from mixbake.core import render
from mixbake.core.kernels.program import Pictures
from mixbake.data.pictures import prepared_side, resized
from mixbake.errors import UsageError
from mixbake.recipes import presets
from mixbake.recipes.presets import NamedRecipe
from mixbake.transforms.kinds import pixels_of, take
from mixbake.transforms.mixer import Mixer
from mixbake.transforms.transform import mixed, plain_values, preset_of, require_ways
from mixbake.transforms.words import Rng, Words, generator

_WORDS = Words(seeded=False)


def layermix(image: Any, picture: Any, rng: Rng = None, **options: Any) -> Any:
    """LayerMix of an image, or of each of a batch, with one mixing picture.

    image: as `RecipeTransform` takes it, no sample. picture: PIL, uint8 H×W×3 or C×H×W of any shape: a window of it
    is used, after the resize of `mixbake.data.pictures.resized`. rng: a numpy Generator, a seed, or None for torch's
    generator. options: preset, views, return_provenance and parameters of the recipe, as the class takes them.
    Raises UsageError as the class does.
    """
    return _apply("layermix", image, picture, rng, **options)


def pixmix(image: Any, picture: Any, rng: Rng = None, **options: Any) -> Any:
    """PixMix of an image, or of each of a batch, with one mixing picture; arguments as of `layermix`."""
    return _apply("pixmix", image, picture, rng, **options)


def ipmix(image: Any, picture: Any, rng: Rng = None, **options: Any) -> Any:
    """IPMix of an image, or of each of a batch, with one mixing picture; arguments as of `layermix`."""
    return _apply("ipmix", image, picture, rng, **options)


def augmix(image: Any, rng: Rng = None, **options: Any) -> Any:
    """AugMix of an image, or of each of a batch; arguments as of `layermix`, without a picture."""
    return _apply("augmix", image, None, rng, **options)


def _apply(
    family: str,
    image: Any,
    picture: Any,
    rng: Rng,
    *,
    preset: str | None = None,
    views: str = "mix",
    return_provenance: bool | str = False,
    **parameters: Any,
) -> Any:
    require_ways(views, return_provenance)
    taken, name = take(image), preset_of(family, preset)
    mixer = _mixer(name, taken.pixels.shape[1], views == "jsd", tuple(sorted(plain_values(name, parameters).items())))
    word = _WORDS.draw(generator(rng), len(taken.pixels) if taken.batched else None)
    pictures = _flat(mixer.named, picture, mixer.size)
    return mixed(taken, word, mixer, pictures, views=views, provenance=return_provenance)


@lru_cache(maxsize=8)
def _mixer(name: str, size: int, pair: bool, parameters: tuple[tuple[str, Any], ...]) -> Mixer:
    named = presets.resolve(name, size=size, overrides=dict(parameters))
    return Mixer(named, size=size, seed=0, pair=pair)


def _flat(named: NamedRecipe, picture: Any, size: int) -> Pictures:
    if not named.recipe.uses_pictures:
        return render.NO_PICTURES
    if picture is None:
        raise UsageError(f"{named.name} mixes with a picture: give one")
    gray = named.recipe.gray_pictures
    return render.as_pictures([resized(pixels_of(picture), side=prepared_side(size), gray=gray)])
