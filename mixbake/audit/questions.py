"""What is compared with which law: the draws of a bake, laid out so that each is independent of the next.

Rule: nothing is judged here; whatever a recipe cannot draw becomes a code that its law does not know.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog
from mixbake.audit.draws import OFF, OTHER, Draws, Progress, Summed, Variety
from mixbake.audit.soundness import as_stated, is_bare
from mixbake.audit.windows import read_windows
from mixbake.core import rng
from mixbake.core.blends import BLENDS
from mixbake.core.ops import OPS, STEPS
from mixbake.core.variant import MICRO
from mixbake.data.prepared import open_pictures
from mixbake.errors import Damage
from mixbake.recipes.laws import (
    Box,
    Categorical,
    Law,
    Laws,
    Numbers,
    Pair,
    Sum,
    Use,
    by_set,
    equally,
    mapped,
    product,
    same_by_set,
    spell_program,
)
from mixbake.recipes.stated import HALF, MASK_SEED, NEVER, pad_offset, window_offset
from mixbake.storage.opened import RESTORE, Bake
from mixbake.storage.plan import Plan, mixing_path

MOST_WINDOWS = 10_000
"""Records whose windows are read."""
LEAST_SHARED = MICRO // 10
"""Weights are rounded to 1e-6: shares of less than this, in 1e-6, would not be known to 1e-5."""
NO_USE = OTHER - 1
"""Stands for the operation of a variant without any."""
_ALWAYS = equally(["as stated"])
"""The law of what must be so; code 0."""
_SIGNS = equally(["+", "-"])
_FORMS = (128, 256, 256, 2)
"""How many layers, ops, blends and pictures are told apart: more than any recipe has, and all that an int8 holds."""
_SUMMED = [BLENDS["arithmetic"], BLENDS["geometric"]]
_MASKED = [BLENDS["pixel"], BLENDS["element"]]

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Was this drawn by that law? seen: int64[n], independent: places among a Categorical's values, or Numbers."""

    name: str
    law: Law
    seen: Ints


def ask(
    catalog: Catalog, draws: Draws, laws: Laws | None, progress: Progress, *, mirrored_pictures: bool
) -> Iterator[Question]:
    """All questions about a bake, in the order of a report. Raises Damage, StorageError.

    laws: None asks nothing about programs. mirrored_pictures: see `Recipe`.
    """
    plan, variants = catalog.bake.plan, draws.variants
    mixes = _in_order(variants, ~variants.clean)
    if laws is not None:
        yield from _about_drawn(draws, mixes, laws)
    yield from _about_flips(variants, mixes, plan)
    if plan.pictures:
        yield from _about_pictures(variants, mixes, plan, HALF if mirrored_pictures else NEVER)
    if plan.views != "mix":
        yield Question(name="clean crops", law=_ALWAYS, seen=_coded(is_bare(draws)[variants.clean]))
    yield from _about_windows(catalog, variants.row[mixes[_firsts(variants, mixes)]], progress)


def _about_drawn(draws: Draws, mixes: Ints, laws: Laws) -> Iterator[Question]:
    """What the recipe draws itself."""
    variants = draws.variants
    yield from _about_programs(variants, mixes, laws)
    if laws.ops is not None:
        yield from _about_ops(draws, mixes, laws.ops, laws.layer)
    yield from _about_blends(draws, mixes, laws)
    if laws.box is not None:
        yield from _about_boxes(draws.blended.box, laws.box)
    if laws.sum is not None:
        yield from _about_sums(draws.summed, laws.sum)
    for use in laws.uses:
        yield from _about_levels(draws, use)
    if any(use.signed for use in laws.uses):
        yield _about_two_signs(draws, laws.uses)
    yield Question(name="steps", law=_ALWAYS, seen=_coded(as_stated(draws, laws)[mixes]))


# ── programs ──────────────────────────────────────────────────────────────────────────────────────


def _about_programs(variants: Variety, mixes: Ints, laws: Laws) -> Iterator[Question]:
    op = variants.op[mixes]
    if laws.layer is not None:
        layer = _places(variants.layer[mixes], [int(value) for value in laws.layer.values])
        yield Question(name="layer", law=laws.layer, seen=layer)
    if laws.op is not None:
        op = _places(op, [OPS[name] for name in laws.op.values])
        yield Question(name="op", law=laws.op, seen=op)
    if laws.layer is not None and laws.op is not None:
        yield _both("layer and op", laws.layer, layer, laws.op, op)
    yield Question(name="program", law=laws.programs, seen=_programs(variants, mixes, laws.programs))
    even = _neighbours(variants, mixes, variants.number[mixes])
    if laws.layer is not None:
        yield _both("layer of two numbers", laws.layer, layer[even], laws.layer, layer[even + 1])
    if laws.op is not None:
        yield _both("op of two numbers", laws.op, op[even], laws.op, op[even + 1])


def _programs(variants: Variety, mixes: Ints, law: Categorical) -> Ints:
    """Place of each program's form among the law's values."""
    columns = np.maximum(variants.layer, 0), variants.ops, variants.blends, variants.picture != OTHER
    mixed = [column[mixes] for column in columns]
    forms, which = np.unique(np.ravel_multi_index(mixed, _FORMS, mode="clip"), return_inverse=True)
    known = {form: place for place, form in enumerate(law.values)}
    places = [
        known.get(spell_program(layer=layer, ops=ops, blends=blends, picture=bool(picture)), OTHER)
        for layer, ops, blends, picture in zip(
            *(part.tolist() for part in np.unravel_index(forms, _FORMS)), strict=True
        )
    ]
    return np.array(places, np.int64)[which]


def _about_ops(draws: Draws, mixes: Ints, law: Categorical, layers: Categorical | None) -> Iterator[Question]:
    """Operations that are drawn anew for each use."""
    uses, variants = draws.uses, draws.variants
    op = _places(uses.op, [OPS[name] for name in law.values])
    yield Question(name="op", law=law, seen=op)
    begins = np.append(True, uses.of[1:] != uses.of[:-1])[: len(uses.of)]
    two = np.flatnonzero(begins[:-1] & ~begins[1:])
    yield _both("op of two uses", law, op[two], law, op[two + 1])
    first = np.full(len(variants.row), NO_USE, np.int64)
    first[uses.of[begins]] = op[begins]
    if layers is not None:
        layer = _places(variants.layer[mixes], [int(value) for value in layers.values])
        yield _both("layer and op", layers, layer, law, first[mixes])
    even = _neighbours(variants, mixes, variants.number[mixes])
    one, other = first[mixes[even]], first[mixes[even + 1]]
    used = (one != NO_USE) & (other != NO_USE)
    yield _both("op of two numbers", law, one[used], law, other[used])


def _about_blends(draws: Draws, mixes: Ints, laws: Laws) -> Iterator[Question]:
    variants, blended = draws.variants, draws.blended
    if laws.blend is None:
        return
    first, second = (
        _places(column[mixes], [BLENDS[name] for name in laws.blend.values])
        for column in (variants.first_blend, variants.second_blend)
    )
    one, two = variants.blends[mixes] > 0, variants.blends[mixes] > 1
    yield Question(name="first blend", law=laws.blend, seen=first[one])
    yield Question(name="second blend", law=laws.blend, seen=second[two])
    if laws.one_blend:
        yield Question(name="one blend", law=_ALWAYS, seen=_coded(first[two] == second[two]))
    else:
        yield _both("first and second blend", laws.blend, first[two], laws.blend, second[two])
    if laws.pairs:
        summed = blended.args[np.isin(blended.blend, _SUMMED)]
        yield from _about_pairs(summed[:, 0], summed[:, 1], laws.pairs)
    if laws.mask is not None:
        masked = blended.args[np.isin(blended.blend, _MASKED)]
        yield Question(name="mask probability", law=laws.mask, seen=masked[:, 0])
        yield Question(name="mask seed", law=MASK_SEED, seen=masked[:, 1])


def _about_boxes(boxes: NDArray[np.int32], law: Box) -> Iterator[Question]:
    left, top, width, height = boxes.astype(np.int64).T
    yield Question(name="box left", law=law.offset, seen=left)
    yield Question(name="box top", law=law.offset, seen=top)
    yield Question(name="box width", law=law.side, seen=width)
    yield Question(name="box height", law=law.side, seen=height)
    yield Question(name="box shape", law=law.shape, seen=(width != height).astype(np.int64))


def _about_sums(summed: Summed, law: Sum) -> Iterator[Question]:
    """Weights of the crop; shares of the chains, where what the crop leaves is enough to tell them."""
    crop = summed.weights[:, 0]
    yield Question(name="weight of the crop", law=law.crop, seen=crop)
    if law.share is None:
        return
    left = MICRO - crop
    told = (left >= LEAST_SHARED) & (left <= MICRO) & (summed.arity == law.chains + 1)
    for chain in range(1, law.chains):
        weight = np.clip(summed.weights[told, chain], -1, MICRO)
        share = np.rint(weight * MICRO / left[told]).astype(np.int64)
        yield Question(name=f"share of chain {chain}", law=law.share, seen=share)


def _about_pairs(a: Ints, b: Ints, pairs: tuple[Pair, ...]) -> Iterator[Question]:
    """Which of the laws each (a, b) follows, by where it lies; then a and b of each law."""
    chosen = np.full(len(a), OTHER, np.int64)
    for place, pair in reversed(list(enumerate(pairs))):
        other = a + b == MICRO if pair.b is None else _within(b, pair.b)
        chosen[_within(a, pair.a) & other] = place
    law = Categorical(values=tuple(pair.name for pair in pairs), weights=tuple(pair.weight for pair in pairs))
    yield Question(name="coefficients", law=law, seen=chosen)
    for place, pair in enumerate(pairs):
        yield Question(name=f"a where {pair.name}", law=pair.a, seen=a[chosen == place])
        if pair.b is not None:
            yield Question(name=f"b where {pair.name}", law=pair.b, seen=b[chosen == place])


def _about_levels(draws: Draws, use: Use) -> Iterator[Question]:
    if use.level is None:
        return
    uses = draws.uses
    of_op = uses.op == OPS[use.op]
    levels = uses.level[of_op]
    yield Question(name=f"level of {use.op}", law=use.level, seen=np.abs(levels) if use.signed else levels)
    if use.signed:
        yield Question(name=f"sign of {use.op}", law=_SIGNS, seen=_signs(levels)[levels != 0])
    elif STEPS[use.step].args[0] == "int":
        values, law = mapped(use.level, use.arguments)
        yield Question(name=f"argument of {use.op}", law=law, seen=_places(uses.args[of_op, 0], values.tolist()))


def _about_two_signs(draws: Draws, laws: tuple[Use, ...]) -> Question:
    """Of a variant's first two levels: a level that is used twice instead of drawn twice has one sign."""
    uses = draws.uses
    signed = np.isin(uses.op, [OPS[use.op] for use in laws if use.signed]) & (uses.level != 0)
    begins = np.append(True, uses.of[1:] != uses.of[:-1])
    first = np.flatnonzero(begins[:-1] & ~begins[1:] & signed[:-1] & signed[1:])
    return _both("signs of two levels", _SIGNS, _signs(uses.level[first]), _SIGNS, _signs(uses.level[first + 1]))


def _signs(levels: Ints) -> Ints:
    return np.where(levels > 0, 0, np.where(levels == OFF, OTHER, 1))


# ── what a view group shares ──────────────────────────────────────────────────────────────────────


def _about_flips(variants: Variety, mixes: Ints, plan: Plan) -> Iterator[Question]:
    law = HALF if plan.flip == "baked" else NEVER
    yield Question(name="flip", law=law, seen=variants.flip[mixes[_firsts(variants, mixes)]])
    if plan.views != "mix":
        everyone = _in_order(variants, np.ones(len(variants.row), np.bool_))
        yield Question(name="flip, shared", law=_ALWAYS, seen=_alike(variants, everyone, variants.flip))


def _about_pictures(variants: Variety, mixes: Ints, plan: Plan, mirrored: Categorical) -> Iterator[Question]:
    mixed = mixes[variants.picture[mixes] != OTHER]
    first = mixed[_firsts(variants, mixed)]
    # Where no set has a weight of its own, all pictures are one set.
    sets = plan.mixing_sets or ((plan.pictures, 1),)
    yield Question(name="picture", law=by_set(sets), seen=variants.picture[first])
    yield Question(name="picture hflip", law=mirrored, seen=variants.hflip[first])
    yield Question(name="picture vflip", law=mirrored, seen=variants.vflip[first])
    even = _neighbours(variants, first, variants.group[first])
    same = variants.picture[first[even]] != variants.picture[first[even + 1]]
    yield Question(name="picture of two numbers", law=same_by_set(sets), seen=same.astype(np.int64))
    if plan.group > 1:
        turned = (variants.picture * 3 + variants.hflip) * 3 + variants.vflip
        yield Question(name="picture, shared", law=_ALWAYS, seen=_alike(variants, mixed, turned))


def _about_windows(catalog: Catalog, rows: Ints, progress: Progress) -> Iterator[Question]:
    """Where windows lie. rows: one variant of each view group."""
    plan = catalog.bake.plan
    if plan.crop != "pad" and not plan.pictures:
        return
    if len(rows) > MOST_WINDOWS:
        rows = np.sort(rng.stream("audit", len(rows)).choice(rows, MOST_WINDOWS, replace=False))
    progress("records", 0, len(rows))
    windows = read_windows(catalog, rows)
    progress("records", len(rows), len(rows))
    if plan.crop == "pad":
        yield Question(name="crop left", law=pad_offset(plan.size), seen=windows.crops[:, 0])
        yield Question(name="crop top", law=pad_offset(plan.size), seen=windows.crops[:, 1])
    mixed = windows.pictures[windows.pictures[:, 0] >= 0]
    if (shapes := _shapes(catalog.bake)) is not None and len(mixed):
        yield _about_offsets("picture left", mixed[:, 0], mixed[:, 1], shapes[:, 1], plan.size)
        yield _about_offsets("picture top", mixed[:, 0], mixed[:, 2], shapes[:, 0], plan.size)


def _about_offsets(name: str, pictures: Ints, offsets: Ints, sides: Ints, size: int) -> Question:
    """Offsets in the pictures of the most frequent side; those in pictures that there are not are impossible."""
    known = pictures < len(sides)
    side = sides[np.where(known, pictures, 0)]
    most = int(np.bincount(side).argmax())
    return Question(name=name, law=window_offset(most, size), seen=np.where(known, offsets, OFF)[side == most])


def _shapes(bake: Bake) -> Ints | None:
    """Height and width of the mixing pictures, int64[m, 2]; None where the bake was parted from them."""
    if bake.plan.mixing is None or not bake.shelf.exists(name := mixing_path(bake.plan.mixing)):
        return None
    opened = open_pictures(Path(bake.shelf.name) / name)
    if opened.digest != bake.plan.mixing or int(opened.shapes.min(initial=bake.plan.size)) < bake.plan.size:
        raise Damage(f"{name} in {bake.shelf.name} holds other pictures than the bake mixed with: {RESTORE}")
    return opened.shapes.astype(np.int64)


# ── places and neighbours ─────────────────────────────────────────────────────────────────────────


def _both(name: str, law: Categorical, seen: Ints, other_law: Categorical, other: Ints) -> Question:
    """Two draws at once: they must be independent of each other, too."""
    known = (seen >= 0) & (other >= 0)
    return Question(
        name=name, law=product(law, other_law), seen=np.where(known, seen * len(other_law.values) + other, OTHER)
    )


def _places(codes: Ints, known: list[int]) -> Ints:
    """Place of each code among the known ones, OTHER where it is none of them."""
    values = np.array(known, np.int64)
    order = np.argsort(values)
    found = order[np.minimum(np.searchsorted(values, codes, sorter=order), len(values) - 1)]
    return np.where(values[found] == codes, found, OTHER)


def _coded(good: Flags) -> Ints:
    return np.where(good, 0, OTHER)


def _within(values: Ints, law: Numbers) -> Flags:
    return (values >= law.low) & (values <= law.high)


def _in_order(variants: Variety, which: Flags) -> Ints:
    """Some variants by image, view group and number."""
    some = np.flatnonzero(which)
    return some[np.lexsort((variants.number[some], variants.group[some], variants.owner[some]))]


def _firsts(variants: Variety, ordered: Ints) -> Ints:
    """Where in `ordered` each view group begins."""
    owner, group = variants.owner[ordered], variants.group[ordered]
    return np.flatnonzero(np.append(True, (owner[1:] != owner[:-1]) | (group[1:] != group[:-1]))[: len(ordered)])


def _alike(variants: Variety, ordered: Ints, values: Ints) -> Ints:
    """Whether all of a view group have one value: 0, or OTHER, for each group of two and more."""
    starts = _firsts(variants, ordered)
    counts = np.diff(np.append(starts, len(ordered)))
    of = np.repeat(np.arange(len(starts)), counts)
    odd = np.bincount(of[values[ordered] != values[ordered[starts]][of]], minlength=len(starts))
    return _coded(odd == 0)[counts > 1]


def _neighbours(variants: Variety, ordered: Ints, counted: Ints) -> Ints:
    """Where in `ordered` an even number stands whose successor, of the same image, is next: pairs that share none."""
    owner = variants.owner[ordered]
    follows = (owner[1:] == owner[:-1]) & (counted[1:] == counted[:-1] + 1) & (counted[:-1] % 2 == 0)
    return np.flatnonzero(follows)
