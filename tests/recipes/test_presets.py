"""Promises of recipes and their names: the papers' values, refused slips, and messages that say what would do."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from mixbake.core.ops import OP_SETS, OPS, overlaps_imagenet_c
from mixbake.errors import UsageError
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.plain import Plain
from mixbake.recipes.presets import BARE, RECIPES, NamedRecipe, resolve


@pytest.mark.parametrize(
    ("size", "preset"),
    [(16, "layermix-cifar"), (64, "layermix-cifar"), (65, "layermix-imagenet"), (224, "layermix-imagenet")],
)
def test_a_bare_name_takes_the_preset_of_its_size(size: int, preset: str) -> None:
    assert resolve("layermix", size=size, overrides={}) == NamedRecipe(name=preset, recipe=RECIPES[preset])


@pytest.mark.parametrize("name", RECIPES)
def test_a_full_name_is_itself_at_any_size(name: str) -> None:
    for size in (32, 224):
        assert resolve(name, size=size, overrides={}).name == name


def test_bare_names_lead_to_presets() -> None:
    assert {preset for pair in BARE.values() for preset in pair} <= RECIPES.keys()
    assert not BARE.keys() & RECIPES.keys()


def test_presets_have_the_published_values() -> None:
    paper = {"severity": 8, "beta": 3, "op_set": "layer12", "min_posterize_bits": 1, "quirks": "none"}
    for name in ("layermix-cifar", "layermix-imagenet"):
        assert paper.items() <= resolve(name, size=32, overrides={}).parameters().items()
    code = {"severity": 3, "min_posterize_bits": 0, "quirks": "published"}
    assert code.items() <= resolve("layermix-code", size=32, overrides={}).parameters().items()
    article = {"op_set": "article10", "coefficients": "convex", "beta": 3}
    assert article.items() <= resolve("layermix-article", size=32, overrides={}).parameters().items()


def test_operation_sets_are_the_papers() -> None:
    sizes = {"safe9": 9, "all13": 13, "layer12": 12, "layer16": 16, "article10": 10, "ipmix10": 10, "ipmix15": 15}
    assert {name: len(set(ops)) for name, ops in OP_SETS.items()} == sizes
    assert {op for ops in OP_SETS.values() for op in ops} == set(OPS)
    assert not overlaps_imagenet_c("layer12")
    assert overlaps_imagenet_c("article10") == ("brightness",)
    assert overlaps_imagenet_c("layer16") == ("color", "contrast", "brightness", "sharpness")


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("layermxi", "layermix"), ("layermix-cifr", "layermix-cifar"), ("plane", "plain")]
)
def test_a_slip_is_answered_with_the_nearest_name(wrong: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"{wrong}.*did you mean {nearest}\\?"):
        resolve(wrong, size=32, overrides={})


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(UsageError) as refusal:
        resolve("zzz", size=32, overrides={})
    assert all(name in str(refusal.value) for name in (*BARE, *RECIPES))


@pytest.mark.parametrize("name", RECIPES)
def test_an_unknown_parameter_is_answered_with_those_it_takes(name: str) -> None:
    with pytest.raises(UsageError, match="has no parameter serenity") as refusal:
        resolve(name, size=32, overrides={"serenity": 1})
    for field in fields(RECIPES[name]):  # type: ignore[arg-type]  # every recipe is a dataclass
        assert field.name in str(refusal.value)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if isinstance(recipe, LayerMix)])
def test_overrides_change_what_they_name_and_nothing_else(name: str) -> None:
    preset = resolve(name, size=32, overrides={}).parameters()
    changed = resolve(name, size=32, overrides={"severity": 5, "layers": (1, 2)}).parameters()
    assert changed == preset | {"severity": 5, "layers": (1, 2)}


OUT_OF_RANGE: list[dict[str, Any]] = [
    {"severity": 0},
    {"severity": -1},
    {"severity": 10.001},
    {"severity": float("nan")},
    {"severity": float("inf")},
    {"beta": 0},
    {"beta": -3},
    {"beta": 100.5},
    {"beta": float("nan")},
    {"op_set": "layer13"},
    {"min_posterize_bits": -1},
    {"min_posterize_bits": 5},
    {"quirks": "all"},
    {"layers": ()},
    {"layers": (0,)},
    {"layers": (1, 4)},
    {"layers": (1, 1)},
    {"coefficients": "concave"},
    {"coefficients": "convex", "beta": 2.5},
]


@pytest.mark.parametrize("values", OUT_OF_RANGE, ids=str)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refusal:
        LayerMix(**values)
    name, value = next(iter(values.items()))
    assert str(value) in str(refusal.value) or name in str(refusal.value)


@pytest.mark.parametrize(
    "values",
    [{"severity": 10}, {"severity": 0.01}, {"beta": 100}, {"beta": 0.5}, {"min_posterize_bits": 4}, {"layers": (3,)}],
    ids=str,
)
def test_values_at_the_edge_are_taken(values: dict[str, Any]) -> None:
    recipe = LayerMix(**values)
    for name, value in values.items():
        assert getattr(recipe, name) == value


def test_recipes_are_values() -> None:
    assert LayerMix() == LayerMix()
    assert hash(LayerMix()) == hash(LayerMix())
    assert Plain() == Plain()
    with pytest.raises(FrozenInstanceError):
        LayerMix().severity = 3  # type: ignore[misc]  # that it is refused is the point
    with pytest.raises((UsageError, TypeError)):
        Plain(severity=3)  # type: ignore[call-arg]  # that it is refused is the point
    with pytest.raises(UsageError, match="no parameter"):
        resolve("plain", size=32, overrides={"severity": 3})
    assert not Plain().uses_pictures
    assert not LayerMix(layers=(1, 2)).uses_pictures
    assert LayerMix().uses_pictures
