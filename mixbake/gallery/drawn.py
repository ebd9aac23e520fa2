"""Rows of variants that recipes draw: a row a recipe, a row a layer.

Rule: column by column all rows have the same crop and the same window of the same mixing picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mixbake.audit.steps import step_names
from mixbake.audit.words import spell_arguments
from mixbake.core.own import sources_of
from mixbake.core.variant import Step, Variant
from mixbake.gallery.exhibits import Exhibit, Row, by_hand
from mixbake.gallery.subject import Subject
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.origins import FAMILIES, PRESETS
from mixbake.recipes.presets import RECIPES, NamedRecipe, resolve

DRAWS = 12
"""Variants of each recipe and layer."""
LAYERS = {
    1: "One operation on the crop.",
    2: "The same operation twice, with a new level each, and a blend of the two.",
    3: "What layer 2 gives, blended with the mixing picture, and the operation once more.",
}


def choose(names: Sequence[str], *, size: int) -> tuple[NamedRecipe, ...]:
    """Recipes by name, bare or full, or all presets. Raises UsageError on an unknown name, naming the nearest."""
    found = [resolve(name, size=size, overrides={}) for name in names or RECIPES]
    # Two recipes of one's own may have one name; a name and its preset are one recipe.
    return tuple(one for i, one in enumerate(found) if one not in found[:i])


def of_recipes(subject: Subject, chosen: Sequence[NamedRecipe]) -> Iterator[Row]:
    """The crop, the pictures, and a row a recipe; presets of the same values stand together."""
    named: list[tuple[NamedRecipe, list[str]]] = []
    for one in chosen:
        same = next((names for other, names in named if other.recipe == one.recipe), None)
        if same is None:
            named.append((one, [one.name]))
        else:
            same.append(one.name)
    rows = [_recipe(subject, one, names) for one, names in named]
    bare = [row for row in rows if not any(one.variant.steps for one in row.exhibits)]
    yield from bare
    if subject.pictures:
        yield _pictures(subject)
    yield from (row for row in rows if row not in bare)


def _recipe(subject: Subject, one: NamedRecipe, names: Sequence[str]) -> Row:
    told = PRESETS.get(one.name)
    family = FAMILIES.get(one.recipe.family)
    paper = family.paper if family and family.fields else ""
    words = [told.title if told else "", paper, told.note if told else ""]
    note = " ".join(f"{part[0].upper()}{part[1:]}." for part in words if part)
    return Row(name=tuple(names), note=note, exhibits=_drawn(subject, one))


def _drawn(subject: Subject, one: NamedRecipe) -> tuple[Exhibit, ...]:
    """The first variants; only one where nothing is drawn."""
    variants = subject.draw(one.recipe, one.name, DRAWS)
    return tuple(map(tell, variants if any(variant.steps for variant in variants) else variants[:1]))


def _pictures(subject: Subject) -> Row:
    """Windows of the mixing set that all recipes find, number by number."""
    # Keeping all eight bits changes nothing: the one step that shows a register as it is.
    show = (Step(do="posterize", src=(1,), args=(8,)),)
    exhibits = []
    # A recipe that always mixes with a picture: which, and where in it, is the same in every recipe.
    for variant in subject.draw(LayerMix(layers=(3,)), "layermix", DRAWS):
        chosen = variant.picture and replace(variant.picture, hflip=False, vflip=False, gray=False)
        alone = by_hand(subject, steps=show, picture=chosen)
        name = subject.picture_name(alone).rpartition("/")[2]
        exhibits.append(Exhibit(variant=alone, title=f"number {variant.number}", lines=(name,)))
    note = "The windows that numbers 0, 1, 2 of every recipe mix with; LayerMix makes them gray and mirrors them."
    return Row(name=("mixing pictures",), note=note, exhibits=tuple(exhibits))


def of_layers(subject: Subject, chosen: Sequence[NamedRecipe]) -> Iterator[Row]:
    """A row a layer, of the first LayerMix there is."""
    for one in chosen:
        if isinstance(one.recipe, LayerMix):
            for layer in one.recipe.layers:
                alone = NamedRecipe(name=one.name, recipe=replace(one.recipe, layers=(layer,)))
                yield Row(name=(f"layer {layer}",), note=LAYERS[layer], exhibits=_drawn(subject, alone))
            return


def tell(variant: Variant) -> Exhibit:
    """A drawn variant with its operations, their arguments and its blends in words."""
    done: dict[str, list[str]] = {}
    for step, (name, _) in zip(variant.steps, step_names(variant), strict=True):
        if sources_of(step) == 1:
            done.setdefault(name, []).append(spell_arguments(step))
    told = {op: ", ".join(filter(None, words)) for op, words in done.items()}
    counts = {blend: variant.blends.count(blend) for blend in variant.blends}
    blends = ", ".join(blend if count == 1 else f"{count} {blend}" for blend, count in counts.items())
    layer = f"layer {variant.layer}: " if variant.layer else ""
    if len(told) == 1:
        ((op, words),) = told.items()
        return Exhibit(variant=variant, title=layer + op, lines=tuple(filter(None, (words, blends))))
    ops = "; ".join(f"{op} {words}".strip() for op, words in told.items())
    title = f"{len(variant.ops)} operations" if told else "blends alone" if blends else "the crop"
    return Exhibit(variant=variant, title=layer + title, lines=tuple(filter(None, (ops, blends))))
