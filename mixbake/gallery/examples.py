"""Single operations and blends, with arguments that recipes' stated laws give them.

Rule: arguments come from the laws that bakes are audited by; what several recipes do alike is shown once, under all
their names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mixbake.audit.words import spell_anchor, spell_arguments, spell_number
from mixbake.core.blends import BLENDS
from mixbake.core.ops import OPS, STEPS
from mixbake.core.programs import units_of
from mixbake.core.variant import MICRO, Number, Step
from mixbake.gallery.exhibits import Exhibit, Row, by_hand
from mixbake.gallery.subject import Subject
from mixbake.recipes.laws import Laws, Numbers, Pair, Use
from mixbake.recipes.presets import RECIPES, NamedRecipe
from mixbake.recipes.stated import LAWS

EVERY_OPERATION = (
    NamedRecipe(name="LayerMix", recipe=replace(RECIPES["layermix-cifar"], op_set="layer16")),
    NamedRecipe(name="PixMix", recipe=RECIPES["pixmix-cifar"]),
    NamedRecipe(name="AugMix", recipe=replace(RECIPES["augmix-cifar"], op_set="all13")),
    NamedRecipe(name="IPMix", recipe=replace(RECIPES["ipmix-cifar"], op_set="ipmix15")),
    NamedRecipe(name="Composer", recipe=RECIPES["augmix-composer"]),
)
EVERY_BLEND = (
    NamedRecipe(name="LayerMix", recipe=RECIPES["layermix-cifar"]),
    NamedRecipe(name="PixMix", recipe=RECIPES["pixmix-cifar"]),
    NamedRecipe(name="IPMix", recipe=RECIPES["ipmix-cifar"]),
    NamedRecipe(name="LayerMix's article", recipe=RECIPES["layermix-article"]),
)
"""Under every law that there is for them; names as people know them."""
HEIGHTS = ("lowest", "middle", "highest")
STRENGTHS = {"weak": 0.1, "usual": 0.5, "strong": 0.9}
"""Of blends: how many of all draws are weaker."""
SHARES = (0.75, 0.5, 0.25)
"""Of the first register in masks."""
MASK_SEED = 1
BLEND_WORDS = {
    "arithmetic": "(a (2 x1 - 1) + b (2 x2 - 1) + 1) / 2 on [0, 1]: a sum about the middle gray.",
    "geometric": "(2 x1)^a (2 x2)^b / 2 on [0, 1]: a product; what is black stays black.",
    "pixel": "Every pixel is the one's or the other's, by chance.",
    "element": "Every channel of every pixel is the one's or the other's, by chance.",
}
PARTNERS = {"with a picture": (), "with itself, mirrored": (Step(do="mirror", src=(0,)),)}
"""What is blended into the crop, and the steps that make it."""
Arguments = tuple[Number, ...]


# ── operations ────────────────────────────────────────────────────────────────────────────────────


def of_operations(subject: Subject, recipes: Sequence[NamedRecipe]) -> Iterator[Row]:
    """A row an operation and law: at its lowest, middle and highest level, on either side where it has a sign."""
    uses: dict[tuple[str, tuple[Step, ...]], Use] = {}
    names: dict[tuple[str, tuple[Step, ...]], list[NamedRecipe]] = {}
    for one, laws in _stated(subject, recipes):
        for use in laws.uses:
            key = use.op, tuple(_step(use, level) for level, _ in _levels(use))
            uses.setdefault(key, use)
            names.setdefault(key, []).append(one)
    known = tuple(OPS)
    exhibits = []
    for op, steps in sorted(uses, key=lambda key: known.index(key[0])):
        if uses[op, steps].level is None:
            variant = by_hand(subject, ops=(op,), levels=(0,), steps=steps)
            exhibits.append(Exhibit(variant=variant, title=op))
        else:
            yield _operation(subject, uses[op, steps], steps, names[op, steps])
    if exhibits:
        yield Row(name=("without a level",), note="They do what they do in full.", exhibits=tuple(exhibits))


def _operation(subject: Subject, use: Use, steps: Sequence[Step], recipes: Sequence[NamedRecipe]) -> Row:
    exhibits = []
    for step, (level, height) in zip(steps, _levels(use), strict=True):
        variant = by_hand(subject, ops=(use.op,), levels=(level / MICRO,), steps=(step,))
        line = f"level {spell_number(level / MICRO)}, the {height}"
        exhibits.append(Exhibit(variant=variant, title=spell_arguments(step) or "nothing", lines=(line,)))
    least, most = (spell_number(level / MICRO) for level, _ in (_levels(use)[-len(HEIGHTS)], _levels(use)[-1]))
    held = f" The {spell_anchor(steps[0]).removesuffix(' held')} is held still." if spell_anchor(steps[0]) else ""
    note = f"Levels from {least} to {most}{', with either sign' if use.signed else ''}.{held}"
    return Row(name=(use.op, *_together(recipes)), note=note, exhibits=tuple(exhibits))


def _levels(use: Use) -> list[tuple[int, str]]:
    """Levels in 1e-6, ascending, and what they are in the law."""
    if use.level is None:
        return [(0, "")]
    low, high = use.level.low, use.level.high
    found = list(zip((low, (low + high) // 2, high), HEIGHTS, strict=True))
    return [(-level, height) for level, height in reversed(found)] + found if use.signed else found


def _step(use: Use, level: int) -> Step:
    arity = len(STEPS[use.step].args)
    whole = (int(use.arguments(np.array([level], np.int64))[0]), *use.rest)[:arity]
    units = units_of(use.step, arity)
    return Step(do=use.step, src=(0,), args=tuple(map(_in_unit, whole, units)))


def _in_unit(value: int, unit: str) -> Number:
    return value if unit == "int" else value / MICRO


# ── blends ────────────────────────────────────────────────────────────────────────────────────────


def of_blends(subject: Subject, recipes: Sequence[NamedRecipe]) -> Iterator[Row]:
    """A row a blend and law of its coefficients, with a picture and with the crop itself; and blends in a box."""
    found: dict[tuple[str, str, tuple[Arguments, ...]], list[str]] = {}
    boxed: dict[tuple[str, ...], list[str]] = {}
    for one, laws in _stated(subject, recipes):
        for blend in _blends(laws):
            for law, arguments in _coefficients(blend, laws):
                found.setdefault((blend, law, arguments), []).append(one.name)
        if laws.box:
            boxed.setdefault(_blends(laws), []).append(one.name)
    known = tuple(BLENDS)
    for (blend, law, arguments), names in sorted(found.items(), key=lambda item: known.index(item[0][0])):
        exhibits = [
            _blend(subject, blend, values, partner, strength)
            for partner in PARTNERS
            if subject.pictures or PARTNERS[partner]
            for values, strength in zip(arguments, STRENGTHS, strict=True)
        ]
        name = (blend, *([law] if law else []), ", ".join(names))
        yield Row(name=name, note=BLEND_WORDS.get(blend, ""), exhibits=tuple(exhibits))
    for blends, names in boxed.items():
        yield _in_a_box(subject, blends, names)


def _blends(laws: Laws) -> tuple[str, ...]:
    """Those that are drawn at all."""
    if laws.blend is None:
        return ()
    return tuple(name for name, weight in zip(laws.blend.values, laws.blend.weights, strict=True) if weight)


def _coefficients(blend: str, laws: Laws) -> Iterator[tuple[str, tuple[Arguments, ...]]]:
    """Of each law of coefficients its name and an example a strength."""
    if len(STEPS[blend].args) == 2 and STEPS[blend].args[1] == "int":
        yield "", tuple((share, MASK_SEED) for share in SHARES)
        return
    for pair in laws.pairs:
        yield pair.name, tuple(_of_pair(pair, share) for share in STRENGTHS.values())


def _of_pair(pair: Pair, share: float) -> Arguments:
    """(a, b) of which b is as far from 0 as `share` of all draws are not, and a as it goes with that."""
    if pair.b is None:
        a = quantile(pair.a, 1 - share)
        return a / MICRO, (MICRO - a) / MICRO
    negative = pair.b.low < 0
    a, b = quantile(pair.a, share if negative else 1 - share), quantile(pair.b, 1 - share if negative else share)
    return a / MICRO, b / MICRO


def quantile(law: Numbers, share: float) -> int:
    """The least number that at least `share` of all draws do not exceed, in the law's unit."""
    low, high = law.low, law.high
    while low < high:
        middle = (low + high) // 2
        if float(law.cdf(np.array([middle], np.int64))[0]) >= share:
            high = middle
        else:
            low = middle + 1
    return low


def _blend(subject: Subject, blend: str, arguments: Arguments, partner: str, strength: str) -> Exhibit:
    made = PARTNERS[partner]
    step = Step(do=blend, src=(0, 2 if made else 1), args=arguments)
    ops = tuple(one.do for one in made)
    variant = by_hand(subject, ops=ops, levels=(0,) * len(ops), blends=(blend,), steps=(*made, step))
    return Exhibit(variant=variant, title=spell_arguments(step), lines=(partner, strength))


def _in_a_box(subject: Subject, blends: Sequence[str], names: Sequence[str]) -> Row:
    half, edge = subject.size // 2, subject.size // 4
    usual = {"arithmetic": (0.5, 0.5), "geometric": (0.5, 0.5)}
    exhibits = []
    for blend in blends:
        step = Step(do=blend, src=(0, 1), args=(*usual.get(blend, (0.5, MASK_SEED)), edge, edge, half, half))
        variant = by_hand(subject, blends=(blend,), steps=(step,))
        exhibits.append(Exhibit(variant=variant, title=blend, lines=(spell_arguments(step),)))
    return Row(name=("in a box", ", ".join(names)), note="Limited to a box, as in patches.", exhibits=tuple(exhibits))


# ── both ──────────────────────────────────────────────────────────────────────────────────────────


def _stated(subject: Subject, recipes: Sequence[NamedRecipe]) -> Iterator[tuple[NamedRecipe, Laws]]:
    for one in recipes:
        if (state := LAWS.get(one.recipe.family)) is not None:
            yield one, state(one.recipe, subject.size)


def _together(recipes: Sequence[NamedRecipe]) -> Iterator[str]:
    """Names with their severities: those of one severity side by side."""
    by_severity: dict[str, list[str]] = {}
    for one in recipes:
        by_severity.setdefault(f"severity {one.parameters()['severity']}", []).append(one.name)
    for severity, names in by_severity.items():
        yield from (", ".join(names), severity)
