"""Transforms that hold a recipe and its mixing set: LayerMix, PixMix, IPMix, AugMix, and any preset by its name.

    sample  ->  images in it  ->  a word each  ->  Mixer  ->  the sample with variants in their places

A word names a draw as an image's number does in a bake. Rule: a transform holds no pixels and no generator: it pickles
to names and paths, works in any process, and threads may share it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import numpy as np

from mixbake.core import render
from mixbake.core.kernels.program import Pictures
from mixbake.core.variant import Variant, to_json
from mixbake.data.prepared import PictureSet
from mixbake.errors import UsageError
from mixbake.recipes import presets
from mixbake.recipes.loaded import like
from mixbake.recipes.presets import BARE, NamedRecipe
from mixbake.recipes.weights import weighted
from mixbake.transforms.kinds import LEAST, MOST, Taken, is_array, is_image, take
from mixbake.transforms.mixer import Mixer, Word
from mixbake.transforms.mixing import Mixing, MixingSet, understood
from mixbake.transforms.samples import chosen, leaves, rebuilt
from mixbake.transforms.words import Rng, Words, generator

SIZES_KEPT = 4
"""For so many sizes of images, what was made ready is kept."""
SMALL = 32
"""Size at which a recipe's parameters are looked at before any image has come."""
SEEDS = 2**63
"""How many seeds there are, from 0 on."""


class RecipeTransform:
    """A recipe as a transform, for torchvision's v2.Compose, ImageFolder(transform=...), DataLoader, or by itself.

    `transform(image)` is the recipe's variant of a square image: what a bake does to it after the crop. Crop and flip
    before (PixMix, AugMix and IPMix want the flip before them, LayerMix does not mind), convert to float after.

    Images: PIL RGB, numpy uint8 H×W×3 or B×H×W×3, torch uint8 C×H×W or B×C×H×W on the CPU, tv_tensors.Image too; the
    result is of the same kind. Each picture of a batch has its own draw. In a sample (tuples, dicts, several arguments)
    images are found as torchvision's v2 does, and the rest passes through; a list is a batch, each element a sample.

    preset: a name of `mixbake recipes`, or FILE.py:NAME; without one that of the family which fits the size.
    parameters: fields of the recipe, as `--set` takes them. mixing_set: a folder, a drawn set as in
    "fractals:count=256", several of such in a list, pictures in a list, or a PictureSet; where the recipe mixes with
    none, it is left alone, with a warning. mixing_weights: how often each of several sets is mixed with, as a build
    takes them. size: of the images: makes all ready now, once, and not at the first image in each worker process;
    images of other sizes work, too. views: "mix", or "jsd" for (clean, mix, mix) of one mixing picture: a tuple of
    three, of a batch 3×B×....

    return_provenance: True for (result, Variant), of a batch a tuple of Variants, with "jsd" three of those; "json" for
    their JSON in place of Variants, which torch's DataLoader puts together. The same pixels again are those of
    `core.render.render(variant, image, picture, size=size, own=own)`, where picture is None if variant.picture is, else
    `transform.pictures(size).picture(variant.picture.id)`, and own is `presets.find(preset).own_steps` of a recipe of
    one's own, else ().

    Random numbers: `transform(image, rng=...)` takes a numpy Generator or a seed. Else torch's generator decides, if
    torch is imported: so torch.manual_seed makes a run reproducible, a DataLoader seeds each worker and each epoch
    (persistent workers go on), and no two are alike. seed: calls draw numbers 0, 1, 2, ... of the streams of a
    bake of that seed, with or without torch; in DataLoader workers, which would otherwise all do the same, torch's
    generator says which numbers. Other processes that you fork yourself need rng. Without torch, seed and rng it is
    the operating system's randomness.

    Raises UsageError for unknown names, parameters out of range, and images that do not fit, saying what does.
    """

    family: ClassVar[str] = ""
    """The bare name of the recipe, where a class stands for one."""

    def __init__(
        self,
        mixing_set: MixingSet | None = None,
        *,
        mixing_weights: Sequence[int] = (),
        preset: str | None = None,
        size: int | None = None,
        views: str = "mix",
        seed: int | None = None,
        return_provenance: bool | str = False,
        **parameters: Any,
    ) -> None:
        self.preset = preset_of(self.family, preset)
        self._parameters = plain_values(self.preset, parameters)
        require_ways(views, return_provenance)
        if seed is not None and (type(seed) is not int or not 0 <= seed < SEEDS):
            raise UsageError(f"seed is {seed!r}: give a whole number from 0 to 2^63 - 1, as a bake takes them")
        named = self._named(SMALL)
        self._mixing: Mixing | None = None
        if named.recipe.uses_pictures:
            if mixing_set is None:
                raise UsageError(
                    f"{named.name} mixes with pictures: give mixing_set, a folder, 'fractals', or a list of pictures"
                )
            self._mixing = understood(mixing_set, mixing_weights)
        elif mixing_set is not None:
            warnings.warn(f"{named.name} mixes with no pictures: mixing_set is left alone", stacklevel=2)
        self.size, self.views, self.seed, self.return_provenance = size, views, seed, return_provenance
        self._words = Words(seeded=seed is not None)
        self._prepared = dict[int, PictureSet]()
        self._ready = dict[int, tuple[Mixer, Pictures]]()
        if size is not None:
            self._make_ready_now(size)

    def __call__(self, *inputs: Any, rng: Rng = None) -> Any:
        """The sample with variants in the places of its images; several inputs are a tuple."""
        if not inputs:
            raise UsageError("give an image, or a sample with one")
        sample, given = inputs if len(inputs) > 1 else inputs[0], generator(rng)
        if is_image(sample) or is_array(sample):
            return self._variant(sample, given)
        if isinstance(sample, list):
            return [self._in_sample(part, given) for part in sample]
        return self._in_sample(sample, given)

    def pictures(self, size: int) -> PictureSet | None:
        """The mixing pictures for images of that size, which ids in Variants refer to; None if the recipe uses none."""
        if self._mixing is None:
            return None
        if (found := self._prepared.get(size)) is None:
            gray = self._named(size).recipe.gray_pictures
            # Two threads may both prepare it, and find the same; a lock could be held while a process forks.
            found = self._prepared[size] = self._mixing.prepared(size=size, gray=gray)
        return found

    def __repr__(self) -> str:
        said = {"preset": self.preset} | (self._mixing.said() if self._mixing else {})
        said |= {"size": self.size, "views": self.views, "seed": self.seed, **self._parameters}
        spelled = ", ".join(f"{name}={value!r}" for name, value in said.items() if value is not None)
        return f"{type(self).__name__}({spelled})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ready": {}}

    def _named(self, size: int) -> NamedRecipe:
        return presets.resolve(self.preset, size=size, overrides=self._parameters)

    def _in_sample(self, sample: Any, given: np.random.Generator | None) -> Any:
        places = set(chosen(sample))
        parts = enumerate(leaves(sample))
        return rebuilt(sample, (self._variant(part, given) if place in places else part for place, part in parts))

    def _variant(self, image: Any, given: np.random.Generator | None) -> Any:
        taken = take(image)
        word = self._words.draw(given, len(taken.pixels) if taken.batched else None)
        mixer, pictures = self._ready.get(taken.pixels.shape[1]) or self._make_ready(taken.pixels.shape[1])
        return mixed(taken, word, mixer, pictures, views=self.views, provenance=self.return_provenance)

    def _make_ready(self, size: int) -> tuple[Mixer, Pictures]:
        found = self.pictures(size)
        flat, weights = render.NO_PICTURES, self._mixing.weights if self._mixing else ()
        if found is not None:
            flat = render.flat_pictures(found.pixels, found.offsets, found.shapes, found.channels)
        sets = weighted(found.counts, weights) if found else ()
        mixer = Mixer(self._named(size), size=size, seed=self.seed or 0, pair=self.views == "jsd", mixing_sets=sets)
        for old in list(self._ready)[: -SIZES_KEPT + 1]:
            self._ready.pop(old, None)
        self._ready[size] = ready = mixer, flat
        return ready

    def _make_ready_now(self, size: int) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or not LEAST <= size <= MOST:
            raise UsageError(f"size {size} is out of range: {LEAST} to {MOST}, whole")
        mixer, pictures = self._make_ready(size)
        # Compiles the kernels, or loads them: forked workers then have them.
        mixer.mix(np.zeros((1, size, size, 3), np.uint8), 0, pictures)


def preset_of(family: str, preset: str | None) -> str:
    """The name to resolve: the preset, else the family. Raises UsageError if there is none, or it is of another."""
    if preset is None and not family:
        raise UsageError("give preset: a name of `mixbake recipes`")
    if preset is None or preset == family:
        return family
    if not isinstance(preset, str):
        raise UsageError(f"preset is {preset!r}: give a name of `mixbake recipes`")
    if family and presets.find(BARE.get(preset, (preset,))[0]).family != family:
        raise UsageError(f"preset {preset!r} is no {family}: `mixbake recipes` lists them")
    return preset


def plain_values(preset: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as the recipe of that name wants them: see `recipes.loaded.like`.

    Raises UsageError for an unknown name or parameter, and for a value of another kind than the preset's.
    """
    preset = BARE.get(preset, (preset,))[0]
    recipe = presets.find(preset)
    presets.require_fields(preset, recipe, parameters)
    usual = presets.fields_of(recipe)
    # A preset may say 3 where any decimal will do.
    usual |= {field.name: float(usual[field.name]) for field in fields(recipe) if field.type is float}
    return {name: like(name, value, usual[name]) for name, value in parameters.items()}


def require_ways(views: str, provenance: bool | str) -> None:
    """Raise UsageError unless what a transform gives is known."""
    if views not in ("mix", "jsd"):
        raise UsageError(f"unknown views {views!r}: choose mix or jsd")
    if type(provenance) is not bool and provenance != "json":
        raise UsageError(f"return_provenance is {provenance!r}: choose True, False or 'json'")


def mixed(taken: Taken, word: Word, mixer: Mixer, pictures: Pictures, *, views: str, provenance: bool | str) -> Any:
    """The variant, or views, of an image or batch, as the kind that it was; see `RecipeTransform`."""
    table, pixels = mixer.mix(taken.pixels, word, pictures)
    if views == "jsd":
        # The clean view is a copy: whoever changes a view in place must not change what came in.
        stack = np.concatenate([taken.pixels, pixels]).reshape(3, *taken.pixels.shape)
        result = taken.give(stack) if taken.batched else tuple(taken.give(one) for one in stack[:, 0])
    else:
        result = taken.give(pixels if taken.batched else pixels[0])
    if not provenance:
        return result
    drawn = tuple(table.variant(row) for row in range(len(table)))
    rows = len(taken.pixels)
    sets = (drawn,) if views == "mix" else (tuple(map(_clean, drawn[:rows])), drawn[:rows], drawn[rows:])
    spelled: Any = [tuple(map(to_json, variants)) for variants in sets] if provenance == "json" else sets
    told = [variants if taken.batched else variants[0] for variants in spelled]
    return result, told[0] if views == "mix" else tuple(told)


def _clean(variant: Variant) -> Variant:
    """The clean crop that a pair shares."""
    return replace(variant, view="clean", layer=None, ops=(), levels=(), blends=(), picture=None, steps=())


class LayerMix(RecipeTransform):
    """LayerMix (arXiv 2501.04861) on the fly: see `RecipeTransform`; parameters: `mixbake recipes show layermix`."""

    family = "layermix"


class PixMix(RecipeTransform):
    """PixMix (arXiv 2112.05135) on the fly: see `RecipeTransform`; parameters: `mixbake recipes show pixmix`."""

    family = "pixmix"


class IPMix(RecipeTransform):
    """IPMix (NeurIPS 2023) on the fly: see `RecipeTransform`; parameters: `mixbake recipes show ipmix`."""

    family = "ipmix"


class AugMix(RecipeTransform):
    """AugMix (arXiv 1912.02781) on the fly, which needs no mixing set: see `RecipeTransform`.

    parameters: `mixbake recipes show augmix`. The paper's consistency loss wants views="jsd".
    """

    family = "augmix"
