"""Promises of recipes of one's own, kept by the example that the README shows: baked, extended, read, made again."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from outcome import Outcome
from small import bake, copied, edit, flip_bit, sha256, stored

import mixbake.audit
from mixbake.audit import rebuild, report, verify
from mixbake.audit.page import write_page
from mixbake.core.variant import from_json, to_json
from mixbake.errors import PlanDiffers, UsageError
from mixbake.recipes.recipe import draw_one
from mixbake.recipes.recorded import given_again
from mixbake.storage.store import read_json

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "own_recipe.py"
CORNERS = f"{EXAMPLE}:Corners"
Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory, many_images: Path, picture_folder: Path) -> Path:
    """One epoch's worth of several blocks, by two processes; read only."""
    out = tmp_path_factory.mktemp("own") / "bake"
    bake(many_images, out, picture_folder, recipe=CORNERS, executor="joblib", jobs=2)
    return out


def plan_of(out: Path) -> dict[str, object]:
    return dict(read_json(out / "manifest.json")["plan"])


def key_with(out: Path, condition: str) -> str:
    return str(mixbake.audit.open(out).sample(1, condition)["key"][0])


def test_the_readme_shows_the_example_as_it_is_and_it_is_short() -> None:
    text = EXAMPLE.read_text("utf-8")
    (shown,) = re.findall(r"^```py\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert shown == text
    assert len([line for line in text.splitlines() if line]) <= 30


@pytest.mark.slow
def test_workers_and_the_place_of_the_file_change_no_byte(
    baked: Path, tmp_path: Path, many_images: Path, picture_folder: Path
) -> None:
    moved = tmp_path / "elsewhere.py"
    moved.write_bytes(EXAMPLE.read_bytes())
    bake(many_images, tmp_path / "out", picture_folder, recipe=f"{moved}:Corners")
    names = [path.relative_to(baked) for path in baked.rglob("*.tar")]
    assert len(names) > 1
    assert all(sha256(baked / name) == sha256(tmp_path / "out" / name) for name in names)
    assert plan_of(baked) == plan_of(tmp_path / "out")


def test_the_plan_records_code_versions_and_fields_and_no_path(baked: Path) -> None:
    recipe = plan_of(baked)["recipe"]
    assert isinstance(recipe, dict)
    assert (recipe["name"], recipe["rounds"], recipe["strength"]) == ("own:Corners", 2, 0.9)
    assert recipe["own"]["sha256"] == sha256(EXAMPLE)
    assert recipe["own"]["ops"] == {"own:vignette": {"version": 1, "args": ["micro"]}}
    assert "own_recipe" not in json.dumps(recipe)
    assert read_json(baked / "manifest.json")["given"]["recipe"] == CORNERS


def test_metadata_name_steps_of_ones_own_and_are_exact(baked: Path) -> None:
    named = given_again(plan_of(baked)["recipe"], CORNERS, size=16)
    shapes = np.full((6, 2), 18, np.int32)
    texts = [members["json"] for members in stored(baked).values()]
    assert any(b'"do":"own:vignette"' in text for text in texts)
    for text in texts[:40]:
        variant = from_json(text)
        assert from_json(to_json(variant)) == variant
        drawn = draw_one(
            named.recipe, name=named.name, image=variant.image, number=variant.number, image_hw=(16, 16), seed=7,
            view="mix", size=16, crop="pad", bake_flip=True, group=1, pictures=shapes,
        )  # fmt: skip
        assert (drawn.ops, drawn.levels, drawn.blends, drawn.steps) == (
            variant.ops,
            variant.levels,
            variant.blends,
            variant.steps,
        )


def test_without_the_code_a_bake_is_read_verified_sampled_and_compared(baked: Path) -> None:
    assert verify.verify(baked, verify.Checks(full=True, decode=True)).intact
    opened = mixbake.audit.open(baked)
    assert opened.info().ops["own:vignette"].count > 0
    assert opened.query("op = 'own:vignette'").num_rows > 0
    assert opened.compare(opened).differences == ()


def test_without_the_code_damage_of_a_program_is_named(baked: Path, tmp_path: Path) -> None:
    out = copied(baked, tmp_path / "out")
    tar = out / "mix" / "v000" / "000000.tar"
    data = tar.read_bytes()
    at = data.index(b'"do":"own:vignette"') + len('"do":"own:v')
    flip_bit(tar, at)
    faults = verify.verify(out, verify.Checks(full=True)).faults
    assert any(fault.shard == "mix/v000/000000.tar" and fault.key for fault in faults)


def test_without_the_code_indexes_come_back(baked: Path, tmp_path: Path) -> None:
    out = copied(baked, tmp_path / "out")
    index = next((out / "index").iterdir())
    before = index.read_bytes()
    index.unlink()
    rebuild.rebuild(out)
    assert index.read_bytes() == before


def test_with_the_code_programs_are_drawn_and_rendered_again(baked: Path) -> None:
    found = verify.verify(baked, verify.Checks(full=True, replay=20, recipe=CORNERS))
    assert (found.intact, found.replayed) == (True, 20)
    done = mixbake.audit.open(baked).replay(key_with(baked, "op = 'own:vignette'"), recipe=CORNERS)
    assert done.equal


def test_replay_asks_for_the_code(baked: Path, tmp_path: Path) -> None:
    opened = mixbake.audit.open(baked)
    key = key_with(baked, "op = 'own:vignette'")
    with pytest.raises(UsageError, match=r"--recipe FILE\.py:NAME"):
        opened.replay(key)
    changed = tmp_path / "changed.py"
    changed.write_text(EXAMPLE.read_text().replace("1000 - (", "990 - ("))
    with pytest.raises(PlanDiffers, match="is not the code that the bake was made by"):
        opened.replay(key, recipe=f"{changed}:Corners")
    with pytest.raises(UsageError, match=r"nowhere\.py cannot be read"):
        opened.replay(key, recipe="nowhere.py:Corners")
    with pytest.raises(UsageError, match=r"--recipe FILE\.py:NAME"):
        verify.verify(baked, verify.Checks(replay=3))
    with pytest.raises(UsageError, match=r"--recipe FILE\.py:NAME"):
        report.audit(baked, report.Asked(sample=4))


@pytest.mark.slow
def test_a_bake_is_extended_by_the_same_code_alone(
    baked: Path, tmp_path: Path, many_images: Path, picture_folder: Path
) -> None:
    out = copied(baked, tmp_path / "out")
    changed = tmp_path / "changed.py"
    changed.write_text(EXAMPLE.read_text() + "\n")
    with pytest.raises(PlanDiffers, match=r"recipe\.own\.sha256"):
        bake(many_images, out, picture_folder, recipe=f"{changed}:Corners", epochs_worth=2)
    with pytest.raises(UsageError, match="give its code again"):
        bake(many_images, out, picture_folder, recipe="layermix", epochs_worth=2)
    bake(many_images, out, picture_folder, recipe=CORNERS, epochs_worth=2, executor="joblib", jobs=2)
    assert all(sha256(path) == sha256(out / path.relative_to(baked)) for path in baked.rglob("*.tar"))
    assert verify.verify(out, verify.Checks(full=True, replay=5, recipe=CORNERS)).intact


def test_an_audit_tests_what_mixbake_drew_and_says_so(baked: Path) -> None:
    found = report.audit(baked, report.Asked(sample=8, recipe=CORNERS))
    assert not found.failures
    assert found.replayed >= 8
    names = {test.name for test in found.tests or ()}
    assert {"flip", "picture", "crop left"} <= names
    assert not names & {"op", "program", "steps"}
    assert b"no laws are known" in write_page(found)


def test_a_recipe_of_mixbake_takes_no_code(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    bake(image_folder, tmp_path / "out", picture_folder, recipe="plain", limit=4)
    opened = mixbake.audit.open(tmp_path / "out")
    with pytest.raises(UsageError, match="leave it out"):
        opened.replay(str(opened.sample(1)["key"][0]), recipe=CORNERS)


@pytest.mark.slow
def test_the_commands_take_it(mixbake: Run, tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    given = ("--recipe", CORNERS, "--mixing-set", picture_folder, "--executor", "inline")
    out = tmp_path / "out"
    done = mixbake("build", image_folder, out, *given, "--set", "rounds=1", "--views", "jsd")
    assert done.code == 0, done.err
    assert plan_of(out)["recipe"]["rounds"] == 1  # type: ignore[index]  # a plan is JSON
    key = key_with(out, "op = 'own:vignette'")
    done = mixbake("replay", out, key, "--recipe", CORNERS, "-o", tmp_path / "strip.png")
    assert (done.code, (tmp_path / "strip.png").exists()) == (0, True), done.err
    assert mixbake("replay", out, key).code == 2
    shown = mixbake("recipes", "show", CORNERS).out
    assert "rounds = 2" in shown
    assert "operation own:vignette, version 1" in shown
    assert mixbake("preview", image_folder, *given[:4], "-o", tmp_path / "sheet.png").code == 0


@pytest.mark.slow
def test_a_network_is_trained_on_it(mixbake: Run, baked: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mixbake.stream import ShardLoader

    assert sum(len(batch) for batch in ShardLoader(baked, batch_size=50)) == 450
    done = mixbake(
        "train", baked, "--out", tmp_path / "run", "--epochs", "1", "--model", "wrn10_1", "--batch-size", "50"
    )
    assert done.code == 0, done.err


@pytest.mark.skipif("MIXBAKE_DATA" not in os.environ, reason="MIXBAKE_DATA names no folder of pictures")
def test_real_pictures_are_baked_and_made_again(tmp_path: Path) -> None:
    data = Path(os.environ["MIXBAKE_DATA"])
    out = tmp_path / "out"
    bake(data / "cifar10-small" / "train", out, data / "fractals", recipe=CORNERS, limit=200)
    assert verify.verify(out, verify.Checks(full=True, replay=20, recipe=CORNERS)).intact


def test_a_forged_bound_of_programs_is_damage(baked: Path, tmp_path: Path) -> None:
    """The writer of JSON checks no bounds: what a plan says of a recipe must be what a build can have recorded."""
    out = copied(baked, tmp_path / "out")
    edit(out / "manifest.json", lambda document: document["plan"]["recipe"]["own"]["most"].update(steps=10**6))
    assert any(fault.shard == "manifest.json" for fault in verify.verify(out, verify.Checks(full=True)).faults)
