"""Promises of `mixbake info`: counts are those of the tars, and nothing in a bake speaks to the terminal."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import bake, edit, promises, sha256, stored

import mixbake.audit
from mixbake.audit.contents import explain

Texts = list[dict[str, Any]]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    """40 images, three epochs' worth with clean crops."""
    out = tmp_path_factory.mktemp("info") / "out"
    bake(image_folder, out, picture_folder, epochs_worth=3, views="clean")
    return out


@pytest.fixture(scope="module")
def texts(out: Path) -> Texts:
    """The JSON of every variant, clean crops left out."""
    return [json.loads(members["json"]) for (view, _, _), members in stored(out).items() if view == "mix"]


def test_counts_are_those_of_the_tars(out: Path, texts: Texts) -> None:
    found, samples = mixbake.audit.open(out).info(), stored(out)
    assert (found.images, found.skipped, found.worth, found.samples) == (40, 0, 3, len(samples))
    assert found.bytes == sum(path.stat().st_size for path in out.rglob("*.tar"))
    assert found.payload == sum(len(members["png"]) for members in samples.values())
    assert found.overhead == pytest.approx(1 - found.payload / found.bytes)
    assert found.digest == sha256(out / "bake.json")
    per_class = Counter(text["class"] for text in texts if text["number"] == 0).values()
    assert (found.classes, found.per_class.least, found.per_class.most) == (3, min(per_class), max(per_class))


def test_distributions_are_those_of_the_tars(out: Path, texts: Texts) -> None:
    found = mixbake.audit.open(out).info()
    for shares, counted in (
        (found.layers, Counter(str(text["layer"]) for text in texts)),
        (found.ops, Counter(op for text in texts for op in text["ops"])),
        (found.blends, Counter(blend for text in texts for blend in text["blends"])),
    ):
        assert {name: one.count for name, one in shares.items()} == counted
        assert sum(one.share for one in shares.values()) == pytest.approx(1)
        assert len(counted) > 2
    used = Counter(text["picture"]["id"] for text in texts if text["picture"])
    assert (found.pictures, found.used, found.uses.most) == (6, len(used), max(used.values()))


def test_it_is_one_screen_and_one_document(command: Any, mixbake: Any, out: Path) -> None:
    shown, document = mixbake("info", out), command("info", out, "--json")
    assert shown.code == document.code == 0, shown.err + document.err
    assert len(shown.out.splitlines()) <= 40
    assert max(map(len, shown.out.splitlines())) <= 100
    for words in ("layermix", sha256(out / "bake.json"), "seed 7", "40 baked", "6 pictures", "are there"):
        assert words in shown.out
    found = json.loads(document.out)
    assert found["complete"] is True
    assert found["layers"]["3"]["count"] > 0
    assert found["plan"]["recipe"]["name"] == "layermix-cifar"


def test_what_is_missing_is_said_and_is_damage(
    command: Any, tmp_path: Path, image_folder: Path, picture_folder: Path
) -> None:
    bake(image_folder, tmp_path / "own", picture_folder, epochs_worth=2)
    (tmp_path / "own" / "mix" / "v001" / "000000.tar").unlink()
    done = command("info", tmp_path / "own")
    assert done.code == 6
    assert "INCOMPLETE: 1 of 3" in done.out
    assert "mix/v001/000000.tar is missing" in done.out


@pytest.mark.parametrize("recipe", ["plain", "layermix"])
def test_a_bake_without_pictures_or_layers_is_told_too(
    tmp_path: Path, image_folder: Path, picture_folder: Path, recipe: str
) -> None:
    bake(image_folder, tmp_path / "own", picture_folder, recipe=recipe)
    found = mixbake.audit.open(tmp_path / "own").info()
    assert bool(found.layers) == bool(found.mixing) == (recipe == "layermix")
    assert ("mixing set   none" in explain(found)) == (recipe == "plain")


def test_a_bake_without_bake_json_is_refused(command: Any, tmp_path: Path, out: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", out / "manifest.json"):
        done = command("info", path)
        assert done.code == 2
        assert "holds no finished bake" in done.err


def test_names_do_not_reach_the_terminal_raw(
    command: Any, tmp_path: Path, image_folder: Path, picture_folder: Path, say: Callable[[Any], None]
) -> None:
    bake(image_folder, tmp_path / "own", picture_folder)
    edit(tmp_path / "own" / "manifest.json", say)
    for path in (tmp_path / "own" / "receipts").iterdir():
        edit(path, lambda receipt: receipt.update(plan=sha256(tmp_path / "own" / "manifest.json")))
    edit(tmp_path / "own" / "bake.json", lambda document: document.update(promises(tmp_path / "own")))
    for flags in ([], ["--json"]):
        done = command("info", tmp_path / "own", *flags)
        assert done.code == 0, done.err
        assert done.out.replace("\n", "").isprintable()
        assert "clear" in done.out


@pytest.fixture
def say() -> Callable[[Any], None]:
    """Put an escape sequence into what a manifest says freely."""

    def change(document: Any) -> None:
        document["given"]["source"] = "clear\x1b[2J\x07\u202e"
        document["plan"]["recipe"]["name"] = "\x1b]0;title\x07"

    return change
