"""The JSON of a variant is exact: it gives the variant back, in one spelling, valid under the published schema."""

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from bakes import samples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from programs_at_random import variants

from mixbake.audit.draws import LONGEST_STEPS
from mixbake.core import programs
from mixbake.core.blends import BLENDS
from mixbake.core.members import Labels, member_length, write_members
from mixbake.core.ops import OP_SETS, TENSOR_LAW, tensor_range
from mixbake.core.render import render
from mixbake.core.variant import MICRO, SCHEMA_VERSION, Crop, Picture, Step, Variant, from_json, schema, to_json
from mixbake.recipes.augmix import AugMix
from mixbake.recipes.ipmix import IPMix
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.pixmix import PixMix
from mixbake.recipes.presets import RECIPES
from mixbake.recipes.recipe import Lot, Recipe, draw

VALIDATOR = jsonschema.Draft202012Validator(schema())
ROOM = 16_384
DECIMAL = re.compile(r"-?(0|[1-9]\d*)\.(0|\d{0,5}[1-9])")
MARK = "<decimal number>"


def spelt(variant: Variant, *, label: int, name: str, source: str | None) -> str:
    """The member's text in plain Python: the variant's own, and the four other fields at their places."""
    text = to_json(variant)
    text = text.replace('],"crop":', f'],"class":{json.dumps(name)},"crop":', 1)
    text = text.replace(',"layer":', f',"label":{label},"layer":', 1)
    head, steps, tail = text.rpartition(',"steps":')
    return f'{head},"schema":{SCHEMA_VERSION},"source":{json.dumps(source)}{steps}{tail}'


def compiled(variant: Variant, *, label: int, name: str, source: str | None, length: int = ROOM) -> str:
    """The member's text as a bake writes it."""
    table = programs.from_variants([variant])
    labels = Labels(labels=np.array([label]), classes=[name], sources=[source])
    members = write_members(table, np.zeros(1, np.int64), labels, length)
    text = members.text.tobytes().decode("ascii")
    assert members.steps() == [text[slice(*members.spans[0])]]
    return text


@given(variants())
@settings(deadline=None)
def test_json_gives_the_variant_back(variant: Variant) -> None:
    text = to_json(variant)
    assert from_json(text) == variant
    assert from_json(text.encode()) == variant
    assert to_json(from_json(text)) == text


@given(variants())
@settings(deadline=None)
def test_there_is_one_spelling(variant: Variant) -> None:
    """Sorted keys, no spaces, ASCII; decimals without exponent and idle zeros."""
    text = to_json(variant)
    decimals: list[str] = []
    # Decimals become strings between marks that no recipe holds, for json spells floats its own way.
    document = json.loads(text, parse_float=lambda number: decimals.append(number) or f"{MARK}{number}{MARK}")
    plain = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert plain.replace(f'"{MARK}', "").replace(f'{MARK}"', "") == text
    assert text.isascii()
    assert all(DECIMAL.fullmatch(number) for number in decimals), decimals


@given(variants())
@settings(deadline=None)
def test_tables_give_the_variant_back(variant: Variant) -> None:
    assert programs.from_variants([variant]).variant(0) == variant


@given(
    variant=variants(),
    label=st.integers(0, 999_999),
    name=st.text(max_size=20),
    source=st.one_of(st.none(), st.text(max_size=30)),
)
@settings(deadline=None)
def test_the_compiled_text_is_the_plain_one(variant: Variant, label: int, name: str, source: str | None) -> None:
    text = compiled(variant, label=label, name=name, source=source)
    assert len(text) == ROOM
    assert text.rstrip(" ") == spelt(variant, label=label, name=name, source=source)
    document = json.loads(text)
    VALIDATOR.validate(document)
    assert from_json(text) == variant
    assert (document["label"], document["class"], document["source"]) == (label, name, source)
    assert document["schema"] == SCHEMA_VERSION


@pytest.mark.parametrize("change", [{"layer": "3"}, {"extra": 1}, {"schema": -1}, {"steps": [{"do": "dream"}]}])
def test_the_schema_refuses_what_is_no_variant(mix_bake: Path, change: dict[str, Any]) -> None:
    document = json.loads(next(samples(mix_bake)).members["json"])
    VALIDATOR.validate(document)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document | change)


def test_every_stored_member_is_valid_and_padded_to_one_length(mix_bake: Path, jsd_bake: Path) -> None:
    for bake in (mix_bake, jsd_bake):
        lengths = set()
        for sample in samples(bake):
            text = sample.members["json"]
            lengths.add(len(text))
            VALIDATOR.validate(json.loads(text))
            assert text.isascii()
            assert text.rstrip(b" ").endswith(b"}")
        assert lengths == {json.loads((bake / "manifest.json").read_bytes())["plan"]["member_bytes"]}
        assert not lengths.pop() % 512


# ── the bound of a member's length ────────────────────────────────────────────────────────────────

LONGEST_CROP = Crop(kind="resized", left=-32_767, top=-32_767, width=65_535, height=65_535)
LONGEST_PICTURE = Picture(id=2**31 - 1, left=262_143, top=262_143, hflip=False, vflip=False, gray=False)
LONGEST_ARGS: dict[str, tuple[int | float, ...]] = {
    "rotate": (-29.999999,),
    "shear_x": (-0.299999, 1),
    "shear_y": (-0.299999, 1),
    "translate_x": (-336.999999,),
    "translate_y": (-336.999999,),
    "posterize": (4,),
    "solarize": (255,),
    "equalize": (),
    "autocontrast": (0.0,),
    "grayscale": (),
    "mirror": (),
    "invert": (),
    "color": (1.899999,),
    "contrast": (1.899999,),
    "brightness": (1.899999,),
    "sharpness": (1.899999,),
    "arithmetic": (1.999999, -0.999999),
    "geometric": (1.999999, -0.999999),
    "pixel": (0.999999, 2**32 - 1),
    "element": (0.999999, 2**32 - 1),
}
"""The longest spelling of what LayerMix draws at severity 10 and size 1024."""
LEVELS = {
    "posterize": 3.999999,
    "posterize_increasing": 3.999999,
    "solarize": 0.999999,
    "solarize_increasing": 9.999999,
}


def longest(op: str, blends: tuple[str, str], recipe: str) -> Variant:
    """The longest program of layer 3 with an operation and two blends."""
    do = op.removesuffix("_increasing")
    uses = Step(do=do, src=(0,), args=LONGEST_ARGS[do])
    mixes = [Step(do=blend, src=(3 + i, 3), args=LONGEST_ARGS[blend]) for i, blend in enumerate(blends)]
    level = LEVELS.get(op, LONGEST_ARGS[do][0] if LONGEST_ARGS[do] else 0.0)
    return Variant(
        image=99_999_999,
        number=1_999,
        view="clean",
        recipe=recipe,
        layer=3,
        ops=(op,) * 3,
        levels=(level,) * 3,
        blends=blends,
        crop=LONGEST_CROP,
        flip=False,
        picture=LONGEST_PICTURE,
        steps=(uses, Step(do=do, src=(0,), args=uses.args), *mixes, Step(do=do, src=(5,), args=uses.args)),
    )


@pytest.mark.parametrize("recipe", [name for name, recipe in RECIPES.items() if isinstance(recipe, LayerMix)])
@pytest.mark.parametrize("name", ["", "ash", "\N{SNOWMAN}" * 40, '"\\' * 30])
def test_no_program_outgrows_its_member(recipe: str, name: str) -> None:
    path = f"{name}/00001.png"
    length, with_paths = member_length(RECIPES[recipe].most, classes=["a", name], paths=["a", path], recipe=recipe)
    assert with_paths
    for op, first, second in product(TENSOR_LAW, BLENDS, BLENDS):
        text = spelt(longest(op, (first, second), recipe), label=999_999, name=name, source=path)
        assert len(text) <= length, (len(text), length, text)


CHAINS: dict[str, Recipe] = {
    **{name: recipe for name, recipe in RECIPES.items() if recipe.family in ("augmix", "pixmix", "ipmix")},
    "augmix, largest": AugMix(severity=10, op_set="all13", width=7, depth=4, alpha=10),
    "pixmix, largest": PixMix(severity=10, k=8, blend_weights=(1, 1, 1, 1)),
    "ipmix, largest": IPMix(severity=10, op_set="ipmix15", k=2, t=8, patches=(1023,), partners="both"),
    "ipmix, widest": IPMix(severity=10, op_set="ipmix15", k=7, t=2, patches=(1023,), partners="both"),
    "ipmix, pictures": IPMix(severity=10, op_set="ipmix15", k=2, t=8, patches=(1023,)),
}
BOX = (1000, 1000, 1023, 1023)
COARSE: dict[str, tuple[int | float, ...]] = {
    "autocontrast": (9.899999,),
    "translate_x": (-341.0,),
    "shear_y": (-0.299999, 0),
    "sharpness": (1.899999,),
}
"""Operations with long names or arguments under the laws of AugMix, PixMix and IPMix, at severity 10 and size 1024."""


def longest_chain(recipe: Recipe, op: str, blend: str, name: str, *, blends: int) -> Variant:
    """With so many blends, as many operations and weights as the recipe says, with registers of two digits."""
    most, boxed = recipe.most, recipe.family == "ipmix"
    ops = most.ops - (blends if most.either else 0)
    args = (*LONGEST_ARGS[blend], *(BOX if boxed else ()))
    steps = [Step(do=blend, src=(0, 1), args=args)] * blends + [Step(do=op, src=(0,), args=COARSE[op])] * ops
    steps = [replace(step, src=(min(i, 99),) * len(step.src)) for i, step in enumerate(steps, 1)]
    if recipe.family != "pixmix":
        chains = getattr(recipe, "width", None) or recipe.k  # type: ignore[attr-defined]  # IPMix has k
        weights = (0.111111,) * (chains + 1)
        steps.append(Step(do="weighted", src=(len(steps),) * len(weights), args=weights))
    return Variant(
        image=99_999_999,
        number=1_999,
        view="clean",
        recipe=name,
        layer=None,
        ops=(op,) * ops,
        levels=(-9.999999,) * ops,
        blends=(blend,) * blends,
        crop=LONGEST_CROP,
        flip=False,
        picture=LONGEST_PICTURE,
        steps=tuple(steps),
    )


@pytest.mark.parametrize("name", CHAINS)
def test_no_program_of_chains_outgrows_its_member(name: str) -> None:
    recipe, path = CHAINS[name], "a/00001.png"
    length, _ = member_length(recipe.most, classes=["a"], paths=[path], recipe=name)
    most = recipe.most
    # Where a round is one or the other, lengths are linear in how many are blends: the ends are the longest.
    counts = (0, most.blends) if most.either else (0,) if recipe.family == "augmix" else (most.blends,)
    for op, blend, blends in product(COARSE, BLENDS, counts):
        variant = longest_chain(recipe, op, blend, name, blends=blends)
        assert len(variant.steps) == most.steps
        text = spelt(variant, label=999_999, name="a", source=path)
        assert len(text) <= length, (len(text), length, text)
        assert programs.from_variants([variant]).variant(0) == variant
    assert length <= 8192
    steps = to_json(variant).partition('"steps":')[2]
    # What `mixbake audit` reads at most: a longer one would be damage to it.
    assert len(steps) <= LONGEST_STEPS


@pytest.mark.parametrize("name", CHAINS)
def test_drawn_programs_of_chains_fit_in_their_members(name: str) -> None:
    recipe, rows = CHAINS[name], np.arange(2000)
    lot = Lot(
        seed=0,
        view="mix",
        images=rows + 99_990_000,
        numbers=rows % 2000,
        shapes=np.full((2000, 2), 65_535, np.int32),
        size=1024,
        crop="resized",
        bake_flip=True,
        group=1,
        pictures=np.full((3, 2), 9000, np.int32),
    )
    table = draw(recipe, lot, name=name)
    length, _ = member_length(recipe.most, classes=["a"], paths=["a"], recipe=name)
    labels = Labels(labels=np.zeros(1, np.int64), classes=["a"], sources=["a"])
    # With room to spare, for the writer checks no bounds.
    members = write_members(table, np.zeros(2000, np.int64), labels, length + 4096)
    assert (members.text[:, length:] == ord(" ")).all()
    for row in rows[:200].tolist():
        assert from_json(members.text[row].tobytes()) == table.variant(row)


@pytest.mark.parametrize("kind", ["op", "blend", "both"])
def test_no_program_of_ones_own_outgrows_its_member(kind: str) -> None:
    """The longest names, levels and arguments, in registers of two digits, within every bound that can be stated."""
    op, blend, count = "own:a_long_operation", "own:a_longer_mixture", 0 if kind == "blend" else 16
    ops, blends = 32 if kind == "op" else count, {"op": 0, "blend": 32, "both": 16}[kind]
    steps = [Step(do=op, src=(30,), args=(-(2**32) + 1,))] * ops + [Step(do=blend, src=(30, 31))] * blends
    variant = replace(
        longest_chain(CHAINS["augmix-cifar"], "sharpness", "arithmetic", "own:" + "x" * 64, blends=0),
        ops=(op,) * ops,
        levels=(-4294967294.999999,) * ops,
        blends=(blend,) * blends,
        steps=tuple(steps),
    )
    most = programs.Most(steps=32, ops=max(ops, 1), blends=max(blends, 1), arguments=max(ops, 1))
    length, _ = member_length(most, classes=["a"], paths=["a"], recipe=variant.recipe)
    text = spelt(variant, label=999_999, name="a", source="a")
    assert len(text) <= length, (len(text), length, text)


def test_the_longest_programs_are_programs() -> None:
    """Else the law above would hold of nothing: the renderer takes them, on a picture and image of its size."""
    image = np.zeros((48, 48, 3), np.uint8)
    crop, picture = replace(LONGEST_CROP, left=0, top=0, width=48, height=48), replace(LONGEST_PICTURE, left=0, top=0)
    for op, blend in product(OP_SETS["layer16"], BLENDS):
        variant = replace(longest(op, (blend, "geometric"), "layermix-cifar"), crop=crop, picture=picture)
        assert render(variant, image, image, size=48).shape == image.shape


def test_drawn_levels_are_no_longer_than_the_longest() -> None:
    for op in OP_SETS["layer16"]:
        low, high = tensor_range(op, severity=10, size=1024)
        do = op.removesuffix("_increasing")
        level = LEVELS.get(op, LONGEST_ARGS[do][0] if LONGEST_ARGS[do] else 0.0)
        assert len(f"{max(low, high) / MICRO:.6f}") <= len(f"{abs(level):.6f}") + 1, op


@given(variants(steps=12))
@example(longest("posterize_increasing", ("arithmetic", "element"), "layermix-cifar"))
@settings(deadline=None, max_examples=30)
def test_long_paths_are_left_to_the_index(variant: Variant) -> None:
    path = "a/" + "p" * 5_000
    length, with_paths = member_length(LayerMix().most, classes=["a"], paths=[path], recipe="layermix-cifar")
    assert not with_paths
    assert length <= 4096
    assert '"source":null' in compiled(variant, label=0, name="a", source=None)
