"""LayerMix, AugMix, PixMix and IPMix as their papers state them, in plain float64 numpy, against what is rendered.

What was drawn is read from ops, levels, blends and the arguments of blends and sums; everything else (what a level
becomes, which register is read, how often) follows from the statements here. Rule: nothing is taken from the recipes.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import formulas
import numpy as np
import pytest
from formulas import Image, Values, rounded
from plain_programs import blended, drawn, registers

from mixbake.core.ops import STEPS
from mixbake.core.variant import Variant
from mixbake.data.demo import draw_demo
from mixbake.recipes.presets import RECIPES

NAMES = [name for name in RECIPES if name != "plain"]
VARIANTS = 60
STEP_BOUND = 1
"""Grey levels by which a register may differ from the formula on the registers that it was made from."""
WHOLE_BOUNDS = 0.25, 0.02
"""Of the whole algorithm, whose operations may widen a difference of one level: mean of a picture, and of all."""


def rendered(name: str, size: int) -> Iterator[tuple[Variant, list[Image]]]:
    """Variants with all their registers: crop, picture, and what each step writes."""
    images = [draw_demo(number, size=size, split="train") for number in range(6)]
    prepared = [draw_demo(number, size=size + 5, split="test") for number in range(4)]
    for variant in drawn(RECIPES[name], name, images, prepared, VARIANTS):
        picture = None if variant.picture is None else prepared[variant.picture.id]
        yield variant, registers(variant, images[variant.image], picture)


# ── what an operation does at a level ─────────────────────────────────────────────────────────────


def operation(op: str, v: float, x: Image, law: str) -> Values:
    """An operation at a level v, signed."""
    return at_tensor_level(op, v, x, int(law[-1])) if law.startswith("tensor") else at_pil_level(op, v, x, law)


def at_tensor_level(op: str, u: float, x: Image, least: int) -> Values:
    """LayerMix's operations (arXiv 2501.04861 and its code); least: bits that posterize keeps."""
    if op.startswith("posterize"):
        return formulas.posterize(x, max(int(u) if op == "posterize" else 4 - int(u), least))
    if op.startswith("solarize"):
        threshold = u if op == "solarize" else 1 - u
        # In millionths, as levels are drawn: u · 255 in floats may miss a whole number.
        return np.where(x.astype(int) * 1_000_000 >= round(threshold * 1_000_000) * 255, 255.0 - x, x)
    arguments = {
        **{moved: [u] for moved in ("rotate", "translate_x", "translate_y")},
        **{sheared: [u, 1] for sheared in ("shear_x", "shear_y")},
        **{colour: [1 + u] for colour in ("color", "contrast", "brightness", "sharpness")},
        "autocontrast": [0],
    }
    return np.asarray(formulas.FORMULAS[op](x, *arguments.get(op, [])), np.float64)


def at_pil_level(op: str, v: float, x: Image, law: str) -> Values:
    """AugMix's operations (arXiv 1912.02781 and its code; Composer's and IPMix's variants)."""
    sign, size, side = np.sign(v), round(abs(v) * 1_000_000), len(x)
    whole = {
        "rotate": size * 3 // 1_000_000,
        "translate_x": size * side // 30_000_000,
        "translate_y": size * side // 30_000_000,
    }
    if op in whole:
        return formulas.moved(op)(x, sign * whole[op])
    if op.startswith("shear"):
        return formulas.moved(op)(x, 0.03 * v, 0)
    factor = 0.18 * v + 0.1
    if law == "composer":
        factor = 0.75 * v if op == "brightness" and v > 1 else v
    arguments = {
        "posterize": [4 - size * 4 // 10_000_000],
        "solarize": [256 - size * 256 // 10_000_000],
        "autocontrast": [10 - v if law == "cutoff" else 0],
        **{colour: [factor] for colour in ("color", "contrast", "brightness", "sharpness")},
    }
    values: Values = getattr(formulas, op)(x, *arguments.get(op, [])).astype(np.float64)
    return values


# ── the algorithms ────────────────────────────────────────────────────────────────────────────────


class Story:
    """A variant's draws in their order: what is read is gone. Registers of its own, made by formulas alone."""

    def __init__(self, variant: Variant, crop: Image, picture: Image, law: str) -> None:
        self.uses = list(zip(variant.ops, variant.levels, strict=True))
        self.blends = list(variant.blends)
        self.steps = list(variant.steps)
        self.law, self.layer = law, variant.layer
        self.made: list[Image] = [crop, picture]

    def next_is_op(self) -> bool:
        return bool(self.steps) and STEPS[self.steps[0].do].sources == 1

    def op(self, register: int) -> int:
        """op(register), with the operation and level that come next."""
        (name, level), step = self.uses.pop(0), self.steps.pop(0)
        assert step.src == (register,)
        return self._write(rounded(operation(name, level, self.made[register], self.law)))

    def blend(self, register: int, partner: int, *, boxed: bool) -> int:
        name, step = self.blends.pop(0), self.steps.pop(0)
        assert (step.do, step.src, len(step.args)) == (name, (register, partner), 6 if boxed else 2)
        return self._write(rounded(blended(step, self.made[register], self.made[partner])))

    def sum(self, chains: list[int]) -> int:
        """(1 - t) x + t Σ w_i chain_i."""
        step = self.steps.pop(0)
        assert (step.do, step.src) == ("weighted", (0, *chains))
        weights = np.array(step.args)
        assert weights.min() >= 0
        assert round(weights.sum() * 1_000_000) == 1_000_000
        t = 1 - weights[0]
        shares = weights[1:] / t if t else weights[1:]
        mixed = sum(share * self.made[chain].astype(np.float64) for share, chain in zip(shares, chains, strict=True))
        return self._write(rounded((1 - t) * self.made[0] + t * mixed))

    def _write(self, image: Image) -> int:
        self.made.append(image)
        return len(self.made) - 1


def layermix(story: Story) -> None:
    """One operation for all uses: of x; blended with itself; and of that, blended with the picture."""
    assert len({name for name, _ in story.uses}) == 1
    assert story.layer in (1, 2, 3)
    x = story.op(0)
    if story.layer >= 2:
        x = story.blend(x, story.op(0), boxed=False)
    if story.layer == 3:
        story.op(story.blend(x, 1, boxed=False))


def augmix(story: Story) -> None:
    """Chains of 1 to 3 operations of the image, and their sum with it."""
    chains = []
    for wanted in story.steps[-1].src[1:]:
        chain, depth = 0, 0
        while chain != wanted:
            chain, depth = story.op(chain), depth + 1
        assert 1 <= depth <= 3
        chains.append(chain)
    assert len(chains) == 3
    story.sum(chains)


def pixmix(story: Story) -> None:
    """x or op(x); then up to 4 times a blend with the picture or op(x)."""
    x, rounds = 0, len(story.blends)
    # With as many operations before the first blend as it reads, the first one is not a partner.
    operations = next((i for i, step in enumerate(story.steps) if len(step.src) == 2), len(story.steps))
    reads = story.steps[operations].src if rounds else (2,) * operations
    if operations and reads[0] != 0:
        x = story.op(0)
    for _ in range(rounds):
        partner = story.op(0) if story.next_is_op() else 1
        x = story.blend(x, partner, boxed=False)
    assert rounds <= 4


def ipmix(story: Story) -> None:
    """Chains of up to 3 operations, or of up to 3 blends in patches, and their sum with the image."""
    chains = []
    for wanted in story.steps[-1].src[1:]:
        chain, rounds = 0, 0
        while chain != wanted:
            rounds += 1
            step = story.steps[0]
            if len(step.src) == 2:
                chain = story.blend(chain, 1, boxed=True)
            elif len(story.steps) > 1 and story.steps[1].src == (chain, len(story.made)):
                chain = story.blend(chain, story.op(0), boxed=True)
            else:
                chain = story.op(chain)
        assert rounds <= 3
        chains.append(chain)
    assert len(chains) == 3
    story.sum(chains)


ALGORITHMS: dict[str, Callable[[Story], None]] = {
    "layermix": layermix,
    "augmix": augmix,
    "pixmix": pixmix,
    "ipmix": ipmix,
}
LAWS = {
    "layermix-cifar": "tensor 1",
    "layermix-imagenet": "tensor 1",
    "layermix-code": "tensor 0",
    "layermix-article": "tensor 1",
    "augmix-composer": "composer",
    "ipmix-cifar": "cutoff",
    "ipmix-imagenet": "cutoff",
}


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("name", NAMES)
def test_a_variant_is_what_the_paper_states(name: str, size: int) -> None:
    means = []
    for variant, found in rendered(name, size):
        story = Story(variant, found[0], found[1], LAWS.get(name, "pil"))
        ALGORITHMS[RECIPES[name].family](story)
        assert [story.steps, story.uses, story.blends] == [[], [], []], variant
        assert len(story.made) == len(found)
        means.append(float(np.abs(story.made[-1].astype(int) - found[-1].astype(int)).mean()))
    assert max(means) <= WHOLE_BOUNDS[0]
    assert float(np.mean(means)) <= WHOLE_BOUNDS[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_register_is_the_formula_of_those_before_it(name: str) -> None:
    law = LAWS.get(name, "pil")
    for variant, found in rendered(name, 32):
        uses = iter(zip(variant.ops, variant.levels, strict=True))
        for i, step in enumerate(variant.steps):
            read = [found[source] for source in step.src]
            if len(read) == 1:
                wanted = rounded(operation(*next(uses), read[0], law))
            elif step.do == "weighted":
                wanted = rounded(sum(w * r.astype(np.float64) for w, r in zip(step.args, read, strict=True)))
            else:
                wanted = rounded(blended(step, *read))
            apart = np.abs(wanted.astype(int) - found[i + 2].astype(int)).max()
            assert apart <= STEP_BOUND, (variant, i)


def test_a_slip_in_the_statement_is_noticed() -> None:
    """Else the laws above could not fail: another level, and another order of partners."""
    for variant, found in rendered("augmix-cifar", 32):
        moved = [v + 1.5 if op == "solarize" else v for op, v in zip(variant.ops, variant.levels, strict=True)]
        if moved == list(variant.levels):
            continue
        any_weight = variant.steps[-1].args[0] < 0.5
        story = Story(_with_levels(variant, moved), found[0], found[1], "pil")
        augmix(story)
        difference = np.abs(story.made[-1].astype(int) - found[-1].astype(int)).mean()
        if any_weight and difference > WHOLE_BOUNDS[0]:
            return
    raise AssertionError("no variant with solarize was drawn")


def _with_levels(variant: Variant, levels: list[Any]) -> Variant:
    return replace(variant, levels=tuple(levels))
