"""Promise: of code that a bake names nothing runs, whatever its plan says; what a user names does."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from outcome import Outcome
from small import bake, copied, edit, sign

from mixbake.errors import RecipeFailed
from mixbake.recipes.loaded import offered

Run = Callable[..., Outcome]
MODULE = """
from dataclasses import dataclass
from pathlib import Path
Path({mark!r}).touch()
from mixbake.recipes.own import Op
OPS = {{"same": Op(version=1, apply=lambda image: image, args=())}}
@dataclass(frozen=True)
class Marked:
    level: int = 1
    def draw(self, rng, program):
        program.op("same", program.image)
"""

APART = """
import random
from dataclasses import dataclass
from .turns import SLIGHT
TURN = random.uniform(0, 90)
@dataclass(frozen=True)
class Still:
    def draw(self, rng, program):
        program.op("rotate", program.image, SLIGHT)
@dataclass(frozen=True)
class Turning:
    def draw(self, rng, program):
        program.op("rotate", program.image, TURN)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with a distribution that offers a recipe, whose import leaves `mark` there."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "marked_recipes.py").write_text(MODULE.format(mark=str(folder / "mark")))
    (folder / "apart").mkdir()
    (folder / "apart" / "__init__.py").touch()
    (folder / "apart" / "turns.py").write_text("SLIGHT = 3\n")
    (folder / "apart" / "recipes.py").write_text(APART)
    info = folder / "marked_recipes-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: marked-recipes\nVersion: 1.2\n")
    points = "marked = marked_recipes:Marked\nplain = marked_recipes:Marked\nlayermix = marked_recipes:Marked\n"
    points += "still = apart.recipes:Still\nturning = apart.recipes:Turning\n"
    (info / "entry_points.txt").write_text(f"[mixbake.recipes]\n{points}")
    return folder


@pytest.fixture
def path(installed: Path) -> dict[str, str]:
    (installed / "mark").unlink(missing_ok=True)
    return {"PYTHONPATH": os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.fixture(scope="module")
def plain_bake(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    out = tmp_path_factory.mktemp("trust") / "bake"
    bake(image_folder, out, picture_folder, recipe="plain", limit=6)
    return out


CHECKS = """
import sys
from pathlib import Path
import mixbake.audit
from mixbake import bench
from mixbake.audit import rebuild, report, verify
from mixbake.errors import MixbakeError

out = Path(sys.argv[1])
opened = mixbake.audit.open(out)
key = opened.sample(1)["key"][0].as_py()
for look in (
    opened.info,
    lambda: opened.replay(key),
    lambda: verify.verify(out, verify.Checks(full=True, replay=2)),
    lambda: report.audit(out, report.Asked(sample=2)),
    lambda: rebuild.look(out),
    lambda: bench._ways(out, opened.bake, None, 2),
):
    try:
        look()
    except MixbakeError as error:
        print(type(error).__name__, error)
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("named", ["marked", "FILE", "own:marked", "own:FILE"])
def test_no_code_that_a_bake_names_is_run(
    python: Callable[..., Outcome], plain_bake: Path, installed: Path, path: dict[str, str], tmp_path: Path, named: str
) -> None:
    out = copied(plain_bake, tmp_path / "out")
    file = f"{installed / 'marked_recipes.py'}:Marked"
    own = {
        "sha256": "0" * 64, "distribution": "marked-recipes 1.2", "blends": {},
        "ops": {"own:same": {"version": 1, "args": []}}, "most": {"steps": 8, "ops": 8, "blends": 8, "arguments": 24},
        **dict.fromkeys(("uses_pictures", "gray_pictures", "mirrored_pictures", "symmetric"), False),
    }  # fmt: skip

    def forge(document: Any) -> None:
        name = named.replace("FILE", file)
        document["plan"]["recipe"] = {"name": name, "family": name} | ({"own": own} if ":" in named else {})
        document["given"]["recipe"] = file

    edit(out / "manifest.json", forge)
    sign(out)
    done = python(CHECKS, out, **path)
    assert done.out.splitlines()[-1:] == ["done"], done.err
    assert not (installed / "mark").exists()


@pytest.mark.slow
def test_an_offered_recipe_is_baked_and_replayed_where_the_user_names_it(
    mixbake: Run, image_folder: Path, installed: Path, path: dict[str, str], tmp_path: Path
) -> None:
    listed = mixbake("recipes", **path).out
    assert "marked_recipes:Marked, of marked-recipes" in listed
    assert not (installed / "mark").exists()
    out = tmp_path / "out"
    given = (image_folder, out, "--limit", "6", "--executor", "inline")
    done = mixbake("build", *given, "--recipe", "marked", **path)
    assert (done.code, (installed / "mark").exists()) == (0, True), done.err
    recipe = json.loads((out / "manifest.json").read_bytes())["plan"]["recipe"]
    assert (recipe["name"], recipe["own"]["distribution"]) == ("own:marked", "marked-recipes 1.2")
    key = next((line.split()[0] for line in mixbake("sample", out, "-n", "1").out.splitlines()[1:]), "")
    assert mixbake("replay", out, key, **path).code == 2
    done = mixbake("replay", out, key, "--recipe", "marked", **path)
    assert (done.code, "equal to the last bit" in done.out) == (0, True), done.err
    assert mixbake("replay", out, key, "--recipe", "marked").code == 2


@pytest.fixture
def offering(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is installed there is offered in this process."""
    monkeypatch.syspath_prepend(installed)
    offered.cache_clear()
    yield
    offered.cache_clear()


@pytest.mark.usefixtures("offering")
def test_an_offered_recipe_is_rehearsed_by_its_file_executed_anew(
    image_folder: Path, picture_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeFailed, match=r"recipes\.py: Turning draws variant .* with other levels, steps"):
        bake(image_folder, tmp_path / "turning", picture_folder, recipe="turning", limit=6)
    assert not (tmp_path / "turning").exists()
    before = sys.modules["apart.recipes"]
    assert bake(image_folder, tmp_path / "still", picture_folder, recipe="still", limit=6).baked == 6
    assert sys.modules["apart.recipes"] is before


def test_names_of_mixbake_win(python: Callable[..., Outcome], installed: Path, path: dict[str, str]) -> None:
    code = "from mixbake.recipes.presets import resolve; print([resolve(n, size=32, overrides={}).name for n in "
    done = python(f"{code} ('plain', 'layermix')])", **path)
    assert done.out.strip() == "['plain', 'layermix-cifar']", done.err
    assert not (installed / "mark").exists()


def test_an_offer_that_a_name_of_mixbake_hides_is_listed_as_hidden(
    mixbake: Run, installed: Path, path: dict[str, str]
) -> None:
    done = mixbake("recipes", **path)
    assert done.code == 0, done.err
    lines = [line.split(maxsplit=1) for line in done.out.splitlines()]
    for name in ("plain", "layermix"):
        first, second = (told for listed, told in lines if listed == name)
        assert "hidden" not in first
        assert second == f"marked_recipes:Marked, of marked-recipes: hidden by mixbake's own {name}; write FILE.py:NAME"
    assert [told for listed, told in lines if listed == "marked"] == ["marked_recipes:Marked, of marked-recipes"]
    assert not (installed / "mark").exists()
