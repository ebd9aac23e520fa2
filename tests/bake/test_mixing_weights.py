"""Several mixing sets and their weights: asked for by flags, in the plan, told, replayed; refused before a byte is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from outcome import Outcome
from small import bake, edit

import mixbake.audit as mixbake_audit
from mixbake import cli
from mixbake.audit.contents import explain
from mixbake.bake.settings import BuildSettings
from mixbake.errors import Damage, PlanDiffers, UsageError
from mixbake.storage.plan import plan_of

Run = Callable[..., Outcome]
SOURCE = "demo:count=40,size=16"


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> tuple[str, str]:
    """The same six pictures, and two of them, under the same names."""
    folder = tmp_path_factory.mktemp("sets")
    shutil.copytree(picture_folder, folder / "one")
    (folder / "two").mkdir()
    for name in ("0.png", "1.png"):
        shutil.copy(picture_folder / name, folder / "two" / name)
    return str(folder / "one"), str(folder / "two")


@pytest.fixture(scope="module")
def weighted(tmp_path_factory: pytest.TempPathFactory, sets: tuple[str, str]) -> Path:
    out = tmp_path_factory.mktemp("weighted") / "out"
    bake(SOURCE, out, Path(), mixing_set=sets, mixing_weights=(1, 3), recipe="pixmix", epochs_worth=2)
    return out


REFUSED: list[tuple[tuple[Any, ...], str]] = [
    ((1,), "--mixing-weights 1 for 2 mixing sets .*one for each"),
    ((1, 2, 3), "--mixing-weights 1,2,3 for 2 mixing sets"),
    ((-1, 2), "--mixing-weights -1 is out of range: 0 to 1000"),
    ((1, 1001), "--mixing-weights 1001 is out of range: 0 to 1000"),
    ((0, 0), "--mixing-weights are all 0"),
    ((0.5, 1), "--mixing-weights 0.5: give whole numbers"),
]


@pytest.mark.parametrize(("weights", "message"), REFUSED, ids=str)
def test_weights_that_are_none_are_refused(weights: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BuildSettings(mixing_set=("a", "b"), mixing_weights=weights)


def test_no_set_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="--mixing-set"):
        BuildSettings(mixing_set=())


@pytest.mark.parametrize("recipe", ["pixmix", "layermix"])
def test_a_set_without_pictures_is_refused_before_anything_is_baked(
    tmp_path: Path, sets: tuple[str, str], recipe: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty' holds no picture"):
        bake(SOURCE, tmp_path / "out", Path(), mixing_set=(sets[0], str(tmp_path / "empty")), recipe=recipe)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_flags_make_a_bake_that_tells_its_sets_and_replays(mixbake: Run, tmp_path: Path, sets: tuple[str, str]) -> None:
    out, one, two = tmp_path / "out", *sets
    flags = ("--mixing", one, "--mixing-set", two, "--mixing-weights", "1,3", "--recipe", "pixmix")
    done = mixbake("build", SOURCE, out, *flags, "--executor", "inline")
    assert done.code == 0, done.err
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["plan"]["mixing_sets"] == [[6, 1], [2, 3]]
    assert manifest["given"]["mixing_set"] == [one, two]
    assert "by weight 1 : 3" in (out / "README.md").read_text()
    bake, key = mixbake_audit.open(out), next(key for key, picture in used_pictures(out) if picture is not None)
    told = explain(bake.info())
    assert "set 2 by weight 3: 2 pictures" in told
    assert f"{one}, {two}" in " ".join(told.split())
    shutil.rmtree(out / "mixing")
    again = mixbake("replay", out, key, "--mixing", one, "--mixing", two)
    assert (again.code, "equal to the last bit" in again.out) == (0, True), again.err
    assert bake.replay(key, mixing_set=[one, two]).equal
    with pytest.raises(PlanDiffers, match="is not the mixing set of the bake"):
        bake.replay(key, mixing_set=[two, one])


def used_pictures(out: Path) -> list[tuple[str, int | None]]:
    table = mixbake_audit.open(out).query(columns=["key", "picture"])
    return list(zip(table["key"].to_pylist(), table["picture"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mixing-weights", "3,x"], "--mixing-weights 3,x: write whole numbers"),
        (["--mixing-weights", "3,1"], "for 1 mixing sets"),
        (["--mixing", "a", "--mixing", "b", "--mixing-weights", "0,0"], "are all 0"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags: list[str], message: str) -> None:
    command = typer.main.get_command(cli.app).commands["build"]  # type: ignore[attr-defined]  # it is a group
    with pytest.raises(UsageError, match=message):
        cli.bake._settings(command.make_context("build", ["demo", *flags]).params)


def test_a_bake_of_weighted_sets_verifies(weighted: Path) -> None:
    found = mixbake_audit.open(weighted).verify(full=True, decode=True, replay=20)
    assert found.intact, found.faults


def test_weights_decide_the_plan_and_only_they_do(weighted: Path, tmp_path: Path, sets: tuple[str, str]) -> None:
    """A single set's weight says nothing, so it is not in the plan."""
    one, other = tmp_path / "one", tmp_path / "other"
    bake(SOURCE, one, Path(sets[0]), recipe="pixmix")
    bake(SOURCE, other, Path(), mixing_set=(sets[0],), mixing_weights=(3,), recipe="pixmix")
    assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes()
    assert (one / "bake.json").read_bytes() == (other / "bake.json").read_bytes()
    plan = json.loads((weighted / "manifest.json").read_bytes())["plan"]
    assert (plan["mixing_sets"], plan["pictures"]) == ([[6, 1], [2, 3]], 8)


@pytest.mark.parametrize(
    "forged",
    [[[6, 1], [3, 3]], [[6, 0], [2, 0]], [[8, -1]], [[0, 1], [8, 1]], [[6, 1, 2]], "8", [[6.0, 1], [2, 1]]],
    ids=str,
)
def test_a_manifest_of_impossible_sets_is_damage(weighted: Path, tmp_path: Path, forged: object) -> None:
    out = shutil.copytree(weighted, tmp_path / "out")
    edit(out / "manifest.json", lambda document: document["plan"].update(mixing_sets=forged))
    with pytest.raises(Damage, match="mixing_sets"):
        plan_of(json.loads((out / "manifest.json").read_bytes()))


def test_a_manifest_from_before_there_were_weights_is_read(tmp_path: Path, picture_folder: Path) -> None:
    bake(SOURCE, tmp_path / "out", picture_folder)
    document = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    del document["plan"]["mixing_sets"]
    assert plan_of(document).mixing_sets == ()


@pytest.mark.slow
def test_a_recipe_without_pictures_leaves_the_sets_alone(mixbake: Run, tmp_path: Path, sets: tuple[str, str]) -> None:
    flags = ("--mixing", sets[0], "--mixing", sets[1], "--mixing-weights", "3,1", "--recipe", "augmix")
    done = mixbake("build", SOURCE, tmp_path / "out", *flags, "--executor", "inline")
    assert done.code == 0, done.err
    assert f"mixes with no pictures: {sets[0]}, {sets[1]} is left alone" in done.err.replace("\n", "")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest["plan"]["mixing"], manifest["plan"]["mixing_sets"]) == (None, [])
