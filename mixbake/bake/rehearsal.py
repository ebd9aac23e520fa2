"""A recipe of one's own, tried before a bake: it must draw and render the same whenever it is asked.

    some variants drawn -> drawn again, backwards, by the same file executed anew -> rendered by both
Rule: nothing is written; what differs is refused before the first shard.
"""

from dataclasses import replace

import numpy as np

from mixbake.core import render, rng
from mixbake.core.ops import STEPS
from mixbake.core.variant import Variant
from mixbake.data.prepared import PictureSet
from mixbake.errors import RecipeFailed
from mixbake.recipes.loaded import OwnRecipe, load
from mixbake.recipes.presets import NamedRecipe
from mixbake.recipes.recipe import Lot, draw
from mixbake.storage.plan import Plan

DRAWN = 64
"""Variants that are drawn twice."""
RENDERED = {True: 32, False: 4}
"""Those of them, with steps of one's own, that are rendered twice, up to 64 px and above."""


def rehearse(plan: Plan, named: NamedRecipe, pictures: PictureSet | None) -> None:
    """Raise RecipeFailed when a recipe of one's own fails, or draws or renders anything else the second time."""
    recipe = named.recipe
    if not isinstance(recipe, OwnRecipe):
        return
    again = load(recipe.code.spec, fresh=True).with_parameters(recipe.parameters())
    lot = _lot(plan, pictures)
    first = draw(recipe, lot, name=named.name)
    backwards = draw(again, _backwards(lot), name=named.name)
    for row in range(DRAWN):
        one, other = first.variant(row), backwards.variant(DRAWN - 1 - row)
        if one != other:
            odd = _differing(one, other)
            raise RecipeFailed(
                f"{recipe.code.file}: {recipe.code.name} draws variant {one.key} with other {odd} the second time: it "
                "may depend on its fields and on rng alone, not on what was drawn before, the clock or other chance"
            )
    chosen = np.flatnonzero(render.has_own_steps(first))[: RENDERED[plan.size <= 64]].tolist()
    _compare(recipe, [first.variant(row) for row in chosen], again, plan.size, pictures)


def _lot(plan: Plan, pictures: PictureSet | None) -> Lot:
    places = np.arange(DRAWN, dtype=np.int64)
    return Lot(
        seed=plan.seed,
        view="mix",
        images=places // 4,
        numbers=places % 4,
        shapes=np.full((DRAWN, 2), plan.size, np.int32),
        size=plan.size,
        crop=plan.crop,
        bake_flip=plan.flip == "baked",
        group=plan.group,
        pictures=render.NO_PICTURES[2] if pictures is None else pictures.shapes,
    )


def _backwards(lot: Lot) -> Lot:
    return replace(lot, images=lot.images[::-1].copy(), numbers=lot.numbers[::-1].copy())


def _differing(one: Variant, other: Variant) -> str:
    names = [name for name in Variant.__slots__ if getattr(one, name) != getattr(other, name)]
    return ", ".join(names)


def _compare(
    recipe: OwnRecipe, variants: list[Variant], again: OwnRecipe, size: int, pictures: PictureSet | None
) -> None:
    """Render some programs, on noise, by both."""
    noise = rng.stream("rehearsal").integers(0, 256, (size, size, 3), np.uint8)
    for variant in variants:
        picture = pictures.picture(variant.picture.id) if variant.picture and pictures else None
        one, other = (render.render(variant, noise, picture, size=size, own=by.own_steps) for by in (recipe, again))
        if not np.array_equal(one, other):
            steps = ", ".join(dict.fromkeys(step.do for step in variant.steps if step.do not in STEPS))
            raise RecipeFailed(
                f"{recipe.code.file}: {steps} of variant {variant.key} gave other pixels the second time: a function "
                "of a step may depend on its image and arguments alone"
            )
