"""Promises of what a plan records of a recipe of one's own: honest bakes are taken for that, forged ones told apart."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import bake, edit, sign

import mixbake.audit
from mixbake.audit import verify
from mixbake.errors import Damage, PlanDiffers, UsageError
from mixbake.recipes.recorded import given_again, recorded
from mixbake.storage.store import read_json

RECIPE = """
from dataclasses import dataclass
import numpy as np
from mixbake.core.programs import Most
from mixbake.recipes.own import Blend, Chance, Op, Program

def seeded(image, seed):
    return image ^ np.uint8(seed % 251)

OPS = {"seeded": Op(version=1, apply=seeded, args=("int",))}
BLENDS = {"lighter": Blend(version=1, apply=np.maximum)}

@dataclass(frozen=True)
class Seeds:
    rounds: int = 1
    coloured: bool = True

    @property
    def most(self) -> Most:
        return Most(steps=self.rounds + 1, ops=self.rounds, blends=1, arguments=self.rounds)

    @property
    def uses_pictures(self) -> bool:
        return self.rounds > 1

    @property
    def gray_pictures(self) -> bool:
        return not self.coloured

    def draw(self, rng: Chance, program: Program) -> None:
        x = program.image
        for seed in (5000, -(2**32) + 1, 2**32 - 1, 3_000_000)[: self.rounds]:
            x = program.op("seeded", x, seed)
        if self.uses_pictures:
            program.blend("lighter", x, program.picture)
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "seeds.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def baked(code: Path, image_folder: Path, picture_folder: Path) -> Path:
    """With other parameters than the defaults, on which bounds and the mixing set depend; read only."""
    overrides = {"rounds": 4, "coloured": False}
    out = code.parent / "bake"
    bake(image_folder, out, picture_folder, recipe=f"{code}:Seeds", overrides=overrides, limit=6)
    return out


@pytest.fixture
def stored(baked: Path) -> dict[str, Any]:
    """The plan's recipe, for a test that forges it."""
    found: dict[str, Any] = json.loads(json.dumps(read_json(baked / "manifest.json")["plan"]["recipe"]))
    return found


def test_whole_levels_of_any_size_are_exact_and_no_damage(baked: Path) -> None:
    levels = mixbake.audit.open(baked).sample(6)["levels"].to_pylist()
    assert set(map(tuple, levels)) == {(5000.0, -4294967295.0, 4294967295.0, 3_000_000.0)}
    found = verify.verify(baked, verify.Checks(full=True))
    assert found.intact, found.faults[:3]


def test_what_follows_from_parameters_is_the_same_again(baked: Path, code: Path) -> None:
    found = verify.verify(baked, verify.Checks(full=True, replay=6, recipe=f"{code}:Seeds"))
    assert (found.intact, found.replayed) == (True, 6), found.faults[:3]


@pytest.mark.parametrize(
    "values", [{"zzz": 3}, {"rounds": "x"}, {"rounds": 99}, {"rounds": 0}, {"coloured": None}, {"rounds": [1, 2]}]
)
def test_forged_parameters_are_damage(stored: dict[str, Any], code: Path, values: dict[str, Any]) -> None:
    with pytest.raises(Damage, match="the parameters of its recipe own:Seeds"):
        given_again(stored | values, f"{code}:Seeds", size=32)


def test_a_lacking_parameter_is_damage(stored: dict[str, Any], code: Path) -> None:
    del stored["rounds"]
    with pytest.raises(Damage, match="the parameters of its recipe own:Seeds"):
        given_again(stored, f"{code}:Seeds", size=32)


OP = {"version": 1, "args": []}
FORGED: dict[str, Callable[[Any], object]] = {
    "steps beyond all that a recipe may bring": lambda own: own.update(ops={f"own:s{i}": OP for i in range(65)}),
    "one name in both tables": lambda own: own.update(ops={"own:lighter": OP}),
    "no version": lambda own: own["ops"]["own:seeded"].pop("version"),
    "a version that is a truth": lambda own: own["ops"]["own:seeded"].update(version=True),
    "version 0": lambda own: own["ops"]["own:seeded"].update(version=0),
    "a version that is text": lambda own: own["blends"]["own:lighter"].update(version="1"),
    "something else": lambda own: own["ops"]["own:seeded"].update(note="x"),
    "arguments that are no list": lambda own: own["ops"]["own:seeded"].update(args="int"),
    "arguments by name": lambda own: own["ops"]["own:seeded"].update(args={"int": 1}),
    "a distribution that is a number": lambda own: own.update(distribution=3),
    "a flag that is a number": lambda own: own.update(symmetric=0),
}


@pytest.mark.parametrize("case", FORGED)
def test_what_no_build_records_is_damage(stored: dict[str, Any], code: Path, case: str) -> None:
    FORGED[case](stored["own"])
    for read in (lambda: recorded(stored, size=32), lambda: given_again(stored, f"{code}:Seeds", size=32)):
        with pytest.raises(Damage, match="what the plan says of its recipe of one's own cannot be"):
            read()


def test_what_differs_of_the_code_is_named(stored: dict[str, Any], code: Path, tmp_path: Path) -> None:
    stored["own"]["distribution"] = "seeds 1.0"
    with pytest.raises(PlanDiffers) as refused:
        given_again(stored, f"{code}:Seeds", size=32)
    assert "(distribution None, was 'seeds 1.0')" in str(refused.value)
    changed = tmp_path / "changed.py"
    changed.write_text(RECIPE.replace("251", "241"))
    with pytest.raises(PlanDiffers, match=r"the bake was made by \(sha256 [0-9a-f]{12}, was [0-9a-f]{12}\)"):
        given_again(stored, f"{changed}:Seeds", size=32)


def test_a_replay_asks_for_code_before_anything_is_read(baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_given: object, **_named: object) -> None:
        pytest.fail("the bake was read first")

    monkeypatch.setattr(verify, "look", look)
    with pytest.raises(UsageError, match=r"--recipe FILE\.py:NAME"):
        verify.verify(baked, verify.Checks(full=True, replay=3))


def test_a_recipe_that_cannot_be_is_a_fault_among_others(baked: Path, code: Path, tmp_path: Path) -> None:
    out = shutil.copytree(baked, tmp_path / "out")
    edit(out / "manifest.json", lambda document: document["plan"]["recipe"].update(zzz=3))
    sign(out)
    (out / "mix" / "v000" / "000000.tar").write_bytes(b"")
    found = verify.verify(out, verify.Checks(full=True, replay=3, recipe=f"{code}:Seeds"))
    assert {fault.shard for fault in found.faults} == {"manifest.json", "mix/v000/000000.tar"}
    assert any("the parameters of its recipe" in fault.fault for fault in found.faults)
