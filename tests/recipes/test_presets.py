"""Promises of recipes and their names: the papers' values, refused slips, and messages that say what would do."""

import re
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from mixbake.core.ops import OP_SETS, OPS, overlaps_imagenet_c
from mixbake.errors import UsageError
from mixbake.recipes.augmix import AugMix
from mixbake.recipes.ipmix import IPMix
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.origins import FAMILIES, PRESETS
from mixbake.recipes.pixmix import PixMix
from mixbake.recipes.plain import Plain
from mixbake.recipes.presets import BARE, RECIPES, NamedRecipe, read_overrides, resolve
from mixbake.recipes.recipe import spell_value
from mixbake.storage.store import canonical_json


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
    paper |= {"covariance": "op", "blend_weights": (2, 2, 1, 1), "picture_colors": "gray", "picture_flips": True}
    assert paper.items() <= resolve("layermix", size=32, overrides={}).parameters().items()
    article = {"op_set": "article10", "coefficients": "convex", "beta": 3}
    assert article.items() <= resolve("layermix-article", size=32, overrides={}).parameters().items()


def test_operation_sets_are_the_papers() -> None:
    sizes = {"safe9": 9, "all13": 13, "layer12": 12, "layer16": 16, "article10": 10, "ipmix10": 10, "ipmix15": 15}
    assert {name: len(set(ops)) for name, ops in OP_SETS.items()} == sizes
    assert {op for ops in OP_SETS.values() for op in ops} == set(OPS)
    assert not overlaps_imagenet_c({"op_set": "layer12"})
    assert overlaps_imagenet_c({"op_set": "article10"}) == ("brightness",)
    assert overlaps_imagenet_c({"op_set": "layer16"}) == ("color", "contrast", "brightness", "sharpness")
    assert not overlaps_imagenet_c({})
    assert not overlaps_imagenet_c({"op_set": ["layer16"]})


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("layermxi", "layermix"), ("layermix-cifr", "layermix-cifar"), ("plane", "plain"), ("LAYERMIX", "layermix")],
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


@pytest.mark.parametrize(
    ("recipe", "text", "nearest"),
    [
        ("pixmix", "kk=2", "k"),
        ("ipmix", "Patch=4", "patches"),
        ("layermix", "op_set=Layer_12", "layer12"),
        ("pixmix", "op_set=all12", "all13"),
        ("layermix", "covariance=op_blend", "op_and_blend"),
        ("layermix", "quirks=Published", "published"),
        ("layermix", "coefficients=convx", "convex"),
        ("layermix", "picture_colors=grey", "gray"),
        ("augmix", "law=PIL", "pil"),
        ("ipmix", "partners=picture", "pictures"),
    ],
)
def test_a_slip_in_a_parameter_or_its_value_is_answered_with_the_nearest(recipe: str, text: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {nearest}\\?"):
        resolve(recipe, size=32, overrides=read_overrides(recipe, [text]))


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
    {"severity": 1e-9},
    {"beta": 0},
    {"beta": -3},
    {"beta": 100.5},
    {"beta": float("nan")},
    {"op_set": "layer13"},
    {"min_posterize_bits": -1},
    {"min_posterize_bits": 5},
    {"min_posterize_bits": 2.5},
    {"quirks": "all"},
    {"layers": ()},
    {"layers": (0,)},
    {"layers": (1, 4)},
    {"layers": (1, 1)},
    {"layers": (1.0, 2.0)},
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


def test_only_what_tells_left_from_right_bakes_the_flip() -> None:
    """LayerMix is symmetric whatever is shared or drawn anew, unless it mixes with pictures that are never mirrored."""
    for covariance in ("op", "blend", "op_and_blend", "none"):
        assert LayerMix(covariance=covariance).symmetric  # type: ignore[arg-type]  # a plain string
    assert LayerMix(picture_colors="rgb", blend_weights=(1, 0, 0, 0)).symmetric
    assert not LayerMix(picture_flips=False).symmetric
    assert LayerMix(picture_flips=False, layers=(1, 2)).symmetric
    assert not PixMix(picture_flips=True).symmetric
    assert not IPMix(picture_flips=True).symmetric


def test_a_presets_own_value_is_no_change() -> None:
    plain = resolve("layermix-cifar", size=32, overrides={})
    same = resolve("layermix-cifar", size=32, overrides={"severity": 8.0, "beta": 3.0})
    assert canonical_json(same.parameters()) == canonical_json(plain.parameters())


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
    assert not Plain().gray_pictures
    assert not LayerMix(layers=(1, 2)).uses_pictures
    assert LayerMix().uses_pictures


PUBLISHED: dict[str, dict[str, Any]] = {
    "pixmix-cifar": {
        "severity": 3,
        "beta": 3,
        "k": 4,
        "op_set": "all13",
        "partners": "both",
        "blend_weights": (1, 1, 0, 0),
        "picture_colors": "rgb",
    },
    "pixmix-imagenet": {"severity": 1, "beta": 4, "k": 4, "op_set": "all13", "partners": "both"},
    "augmix-cifar": {"severity": 3, "width": 3, "depth": -1, "alpha": 1, "op_set": "safe9", "law": "pil"},
    "augmix-imagenet": {"severity": 1, "width": 3, "depth": -1, "alpha": 1, "op_set": "safe9", "law": "pil"},
    "augmix-composer": {"severity": 3, "width": 3, "depth": -1, "alpha": 1, "op_set": "all13", "law": "composer"},
    "ipmix-cifar": {
        "severity": 3,
        "beta": 3,
        "k": 3,
        "t": 3,
        "op_set": "ipmix10",
        "patches": (4, 8, 16, 32),
        "blend_weights": (1, 1, 1, 1),
        "picture_colors": "rgb",
    },
    "ipmix-imagenet": {
        "severity": 1,
        "beta": 4,
        "k": 3,
        "t": 3,
        "op_set": "ipmix10",
        "patches": (4, 8, 16, 32, 64, 224),
        "partners": "both",
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_other_presets_have_the_published_values(name: str) -> None:
    recipe = RECIPES[name]
    assert PUBLISHED[name].items() <= resolve(name, size=32, overrides={}).parameters().items()
    assert not recipe.symmetric
    assert not recipe.mirrored_pictures
    assert not recipe.gray_pictures
    assert recipe.uses_pictures == (recipe.family != "augmix")


@pytest.mark.parametrize("kind", [LayerMix, PixMix, IPMix])
def test_pictures_are_mirrored_as_asked(kind: Any) -> None:
    assert [kind(picture_flips=flips).mirrored_pictures for flips in (True, False)] == [True, False]


REFUSED: list[tuple[type[Any], dict[str, Any]]] = [
    (PixMix, {"k": 0}),
    (PixMix, {"k": 9}),
    (PixMix, {"k": 2.0}),
    (PixMix, {"beta": 0}),
    (PixMix, {"beta": 2.1234567}),
    (PixMix, {"severity": 0.05}),
    (PixMix, {"severity": 2.0000001}),
    (PixMix, {"severity": 10.5}),
    (PixMix, {"severity": float("nan")}),
    (PixMix, {"op_set": "layer12"}),
    (PixMix, {"partners": "none"}),
    *((kind, {"blend_weights": ()}) for kind in (LayerMix, PixMix, IPMix)),
    *((kind, {"blend_weights": (0, 0, 0, 0)}) for kind in (LayerMix, PixMix, IPMix)),
    (PixMix, {"blend_weights": (1, 1)}),
    (PixMix, {"blend_weights": (1, 1, -1, 0)}),
    (PixMix, {"blend_weights": (1, 1, 0, 1001)}),
    (PixMix, {"blend_weights": (1, 0.5, 0, 0)}),
    (PixMix, {"blend_weights": (1, True, 0, 0)}),
    *((kind, {"picture_colors": "grey"}) for kind in (LayerMix, PixMix, IPMix)),
    *((kind, {"picture_flips": 1}) for kind in (LayerMix, PixMix, IPMix)),
    (LayerMix, {"covariance": "ops"}),
    (AugMix, {"width": 0}),
    (AugMix, {"width": 8}),
    (AugMix, {"depth": 0}),
    (AugMix, {"depth": 5}),
    (AugMix, {"alpha": 0.5}),
    (AugMix, {"alpha": 11}),
    (AugMix, {"law": "tensor"}),
    (AugMix, {"severity": 0.5, "law": "composer"}),
    (IPMix, {"k": 8}),
    (IPMix, {"t": 0}),
    (IPMix, {"k": 4, "t": 5}),
    (IPMix, {"patches": ()}),
    (IPMix, {"patches": (1, 4)}),
    (IPMix, {"patches": (8, 4)}),
    (IPMix, {"patches": (4, 2000)}),
    (IPMix, {"partners": "input"}),
    (IPMix, {"severity": 0}),
]


@pytest.mark.parametrize(("kind", "values"), REFUSED, ids=str)
def test_other_recipes_refuse_values_out_of_range_and_name_the_field(kind: type[Any], values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(values)).replace("_", ".")):
        kind(**values)


def test_texts_become_values_of_the_fields_kind() -> None:
    texts = ["k=2", "severity=2.5", "partners=both", "patches=4, 8"]
    assert read_overrides("ipmix", texts) == {"k": 2, "severity": 2.5, "partners": "both", "patches": (4, 8)}
    assert read_overrides("augmix-cifar", ["depth=-1"]) == {"depth": -1}
    assert read_overrides("pixmix", ["blend_weights=0,0,1,2"]) == {"blend_weights": (0, 0, 1, 2)}
    assert read_overrides("layermix", ["picture_flips=off"]) == {"picture_flips": False}
    assert read_overrides("ipmix", ["picture_flips=on", "picture_colors=gray"])["picture_flips"] is True
    assert read_overrides("plain", []) == {}
    assert [spell_value(value) for value in (True, False, (2, 1), 3, "op")] == ["on", "off", "2,1", "3", "op"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["k"], "write field=value"),
        (["k=1", "k=2"], "set twice"),
        (["q=1"], "has no parameter q: it takes"),
        (["k=many"], "'many' is no number"),
        (["patches=4,x"], "'x' is no number"),
        (["picture_flips=1"], "picture_flips=1: choose on or off"),
    ],
)
def test_texts_that_are_no_values_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_overrides("ipmix", texts)


def test_every_preset_tells_where_its_values_are_from() -> None:
    assert PRESETS.keys() == RECIPES.keys()
    for name, recipe in RECIPES.items():
        own = [field.name for field in fields(recipe)]  # type: ignore[arg-type]  # every recipe is a dataclass
        assert list(FAMILIES[recipe.family].fields) == own
        assert sorted(PRESETS[name].sources) == sorted(own)
    assert FAMILIES.keys() == {recipe.family for recipe in RECIPES.values()}


def test_a_source_is_a_paper_or_a_file_of_published_code_or_ours() -> None:
    place = re.compile(r"ours|arXiv \d{4}\.\d{5}(: .+)?|[\w-]+/[\w-]+, [\w/]+\.(py|md)(: .+)?")
    for name, preset in PRESETS.items():
        for field, source in preset.sources.items():
            assert place.fullmatch(source), (name, field, source)


@pytest.mark.parametrize("size", ["cifar", "imagenet"])
@pytest.mark.parametrize("family", BARE)
def test_a_preset_of_a_size_is_from_the_file_for_that_size(family: str, size: str) -> None:
    other = {"cifar": "imagenet", "imagenet": "cifar"}[size]
    sources = PRESETS[f"{family}-{size}"].sources.values()
    assert any(f" {size}.py: " in source for source in sources)
    assert not any(f"{other}.py" in source for source in sources)


@pytest.mark.parametrize("family", ["pixmix", "augmix", "ipmix"])
def test_what_differs_from_published_code_is_not_said_to_be_the_same(family: str) -> None:
    told = FAMILIES[family]
    assert not any("shear" in line or "rounded" in line for line in told.same)
    assert sum("shears" in line for line in told.other) == 1
    assert any("rounded" in line for line in told.other)


def test_values_are_spelt_as_they_are_set() -> None:
    for name in ("layers=1,3", "severity=2.5", "quirks=published"):
        field, _, text = name.partition("=")
        assert spell_value(read_overrides("layermix", [name])[field]) == text
