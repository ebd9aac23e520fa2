"""What would mix two bakes, lose a file or bake nothing is refused with the reason before a byte is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bakes import Heard, bake, leftovers, tars, tree
from PIL import Image

from mixbake.errors import MixbakeError, PlanDiffers, UsageError


@pytest.fixture
def out(tmp_path: Path, mix_bake: Path) -> Path:
    """A finished bake of three epochs' worth, to change."""
    return Path(shutil.copytree(mix_bake, tmp_path / "out"))


def bytes_of(out: Path) -> dict[str, str]:
    """Every file of a bake but its logs."""
    return {name: digest for name, digest in tree(out).items() if not name.startswith("logs/")}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 8}, ["seed: 7 -> 8"]),
        ({"overrides": {"severity": 3}}, ["recipe.severity: 8 -> 3"]),
        ({"recipe": "layermix-code"}, ["recipe.name", "recipe.severity", "recipe.quirks", "recipe.min_posterize_bits"]),
        ({"recipe": "plain"}, ["recipe.family", "mixing"]),
        ({"codec": "raw"}, ["codec", "png", "raw"]),
        ({"views": "jsd"}, ["views", "mix", "jsd"]),
        ({"flip": "baked"}, ["flip", "online", "baked"]),
        ({"limit": 20}, ["baked: 40 -> 20"]),
        ({"size": 24}, ["size: 32 -> 24"]),
        ({"crop": "fit"}, ["crop: "]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_another_plan_names_its_fields(
    out: Path, image_folder: Path, picture_folder: Path, changed: dict[str, Any], named: list[str]
) -> None:
    before = bytes_of(out)
    with pytest.raises(PlanDiffers) as refusal:
        bake(image_folder, out, picture_folder, epochs_worth=4, **changed)
    assert refusal.value.exit_code == 5
    for text in (*named, str(out)):
        assert text in str(refusal.value)
    assert bytes_of(out) == before


def test_another_source_or_mixing_set_is_named(
    tmp_path: Path, out: Path, image_folder: Path, picture_folder: Path, write_images: Callable[..., Path]
) -> None:
    before = bytes_of(out)
    other = write_images(tmp_path / "other", 41)
    with pytest.raises(PlanDiffers, match=r"source: .*\n.*images: 40 -> 41"):
        bake(other, out, picture_folder, epochs_worth=3)
    with pytest.raises(PlanDiffers, match="mixing: "):
        bake(image_folder, out, image_folder, epochs_worth=3)
    assert bytes_of(out) == before


@pytest.mark.slow
def test_the_command_exits_5_and_names_the_field(
    out: Path, mixbake: Any, image_folder: Path, picture_folder: Path
) -> None:
    done = mixbake("build", image_folder, out, "--mixing-set", picture_folder, "-n", 4, "--seed", 8)
    assert done.code == 5
    assert "seed: 7 -> 8" in done.err
    assert "Traceback" not in done.err


def test_a_smaller_n_changes_nothing_and_says_so(out: Path, image_folder: Path, picture_folder: Path) -> None:
    before, heard = bytes_of(out), Heard()
    built = bake(image_folder, out, picture_folder, heard, epochs_worth=2)
    assert bytes_of(out) == before
    assert built.baked == 0
    assert built.finished.epochs_worth == 3
    assert any("3 epochs' worth" in line and "2 changes nothing" in line for line in heard.messages)
    assert not leftovers(out)


def test_the_same_command_again_changes_nothing(out: Path, image_folder: Path, picture_folder: Path) -> None:
    before = bytes_of(out)
    assert bake(image_folder, out, picture_folder, epochs_worth=3).baked == 0
    assert bytes_of(out) == before


@pytest.mark.parametrize("change", ["same length", "longer"])
def test_a_source_file_that_changed_is_named(
    tmp_path: Path, own_images: Path, picture_folder: Path, change: str
) -> None:
    out = tmp_path / "out"
    bake(own_images, out, picture_folder)
    before = tars(out)
    path = own_images / "birch" / "004.png"
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data + (b"more" if change == "longer" else b""))
    with pytest.raises(PlanDiffers, match=r"birch/004\.png") as refusal:
        bake(own_images, out, picture_folder, epochs_worth=2)
    assert refusal.value.exit_code == 5
    assert before.items() <= tars(out).items()
    assert json.loads((out / "bake.json").read_bytes())["epochs_worth"] == 1


def test_a_restored_source_file_lets_the_extension_go_on(
    tmp_path: Path, own_images: Path, picture_folder: Path
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    bake(own_images, whole, picture_folder, epochs_worth=2)
    bake(own_images, out, picture_folder)
    path = own_images / "birch" / "004.png"
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)))
    with pytest.raises(PlanDiffers):
        bake(own_images, out, picture_folder, epochs_worth=2)
    path.write_bytes(good)
    bake(own_images, out, picture_folder, epochs_worth=2)
    assert tars(out) == tars(whole)
    assert not leftovers(out)


def test_another_environment_is_refused_unless_accepted(out: Path, image_folder: Path, picture_folder: Path) -> None:
    """The manifest of a bake that was made with another numba."""
    path = out / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["plan"]["environment"]["numba"] = "0.1"
    path.write_text(json.dumps(manifest, sort_keys=True, separators=(",", ":")))
    (out / "bake.json").unlink()
    with pytest.raises(PlanDiffers, match=r"--accept-environment[^$]*environment\.numba: \"0\.1\" -> "):
        bake(image_folder, out, picture_folder, epochs_worth=3)


# ── what is no bake ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_bake_is_refused(
    tmp_path: Path, image_folder: Path, picture_folder: Path, overwrite: bool
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("do not lose")
    with pytest.raises(PlanDiffers, match="not empty and holds no bake") as refusal:
        bake(image_folder, tmp_path / "out", picture_folder, overwrite=overwrite)
    assert refusal.value.exit_code == 5
    assert list(tree(tmp_path / "out")) == ["thesis.txt"]


def test_a_file_is_refused(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="is a file"):
        bake(image_folder, tmp_path / "out", picture_folder)
    assert (tmp_path / "out").read_text() == "a file"


def test_overwrite_deletes_the_bakes_own_files_only(
    tmp_path: Path, out: Path, image_folder: Path, picture_folder: Path
) -> None:
    foreign = ["notes.txt", "mix/v000/mine.tar", "index/mine.parquet", "receipts/mine.txt", "logs/mine.txt", "own/a"]
    for name in foreign:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    bake(image_folder, out, picture_folder, overwrite=True, seed=8)
    bake(image_folder, tmp_path / "fresh", picture_folder, seed=8)
    kept = [name for name in foreign if (out / name).exists()]
    assert kept == foreign
    mine = {name: digest for name, digest in tars(out).items() if name not in foreign}
    assert mine == tars(tmp_path / "fresh")
    assert not (out / "mix" / "v001").exists()


def test_overwrite_of_an_unfinished_bake_is_refused(out: Path, image_folder: Path, picture_folder: Path) -> None:
    """Without bake.json nothing vouches for what belongs to the bake."""
    (out / "bake.json").unlink()
    before = bytes_of(out)
    with pytest.raises(PlanDiffers, match="no finished bake"):
        bake(image_folder, out, picture_folder, overwrite=True, seed=8)
    assert bytes_of(out) == before


# ── what is no source ─────────────────────────────────────────────────────────────────────────────


def empty(folder: Path, write_images: Callable[..., Path]) -> None:
    folder.mkdir()


def missing(folder: Path, write_images: Callable[..., Path]) -> None:
    """Leave it out."""


def split(folder: Path, write_images: Callable[..., Path]) -> None:
    write_images(folder / "train", 3)
    write_images(folder / "val", 3)


def without_pictures(folder: Path, write_images: Callable[..., Path]) -> None:
    (folder / "ash").mkdir(parents=True)
    (folder / "ash" / "notes.txt").write_text("no picture")


def uneven(folder: Path, write_images: Callable[..., Path]) -> None:
    write_images(folder, 3, size=32)
    write_images(folder / "ash", 3, size=48)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (empty, "holds no folders"),
        (missing, "there is no folder"),
        (split, "/train"),
        (without_pictures, "without pictures"),
        (uneven, "--size"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_source_that_is_none_is_refused(
    tmp_path: Path,
    picture_folder: Path,
    write_images: Callable[..., Path],
    make: Callable[[Path, Callable[..., Path]], None],
    said: str,
) -> None:
    make(tmp_path / "images", write_images)
    with pytest.raises(UsageError, match=said) as refusal:
        bake(tmp_path / "images", tmp_path / "out", picture_folder)
    assert refusal.value.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"recipe": "layermxi"}, "did you mean layermix"),
        ({"codec": "gif"}, "png, jpeg, webp, raw"),
        ({"views": "both"}, "mix, jsd, clean"),
        ({"epochs_worth": 0}, "1 to 1000"),
        ({"max_skip": 1.5}, "0 to 1"),
        ({"size": 4}, "8 to 1024"),
        ({"overrides": {"severity": 11}}, "at most 10"),
        ({"overrides": {"serenity": 1}}, "severity"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(
    tmp_path: Path, image_folder: Path, picture_folder: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        bake(image_folder, tmp_path / "out", picture_folder, **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["build", "--no-such-flag"], ["biuld"], ["build", "nowhere"]], ids=str)
def test_a_wrong_command_exits_2(mixbake: Any, tmp_path: Path, arguments: list[str]) -> None:
    done = mixbake(*arguments)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("mixbake: ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "", "out"], "'' is no source"),
        (["build", "demo:count=20,size=16", "", "--recipe", "plain", "--executor", "inline"], "'out': it is blank"),
        (["build", "demo:count=20,size=16", "out", "--mixing-set", "", "--executor", "inline"], "'' is no folder"),
        (["preview", "demo:count=20,size=16", "--recipe", "plain", "--output", ""], "'--output' / '-o': it is blank"),
        (["fractals", " ", "--count", "1", "--side", "16"], "'out': it is blank"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_blank_name_is_not_the_current_folder(
    mixbake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """A variable of a shell that is not set gives one. Pictures to mix with would be there."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    done = mixbake(*arguments)
    assert (done.code, "Traceback" in done.err) == (2, False), done.err
    assert said in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_fractals_take_the_seeds_that_a_build_takes(mixbake: Any, tmp_path: Path, seed: int) -> None:
    done = mixbake("fractals", tmp_path / "out", "--kind", "spectrum", "--count", 1, "--side", 16, "--seed", seed)
    assert (done.code, (tmp_path / "out").exists()) == (2, False)
    assert f"seed is {seed}: give 0 to {2**63 - 1}" in done.err


def test_every_refusal_has_an_exit_code_of_its_own() -> None:
    codes = {kind.__name__: kind.exit_code for kind in MixbakeError.__subclasses__()}
    assert codes == {
        "UsageError": 2,
        "TooManySkipped": 3,
        "Locked": 4,
        "PlanDiffers": 5,
        "Damage": 6,
        "StorageError": 74,
        "Stopped": 130,
        "DecodeError": 1,
    }


def test_overwriting_a_strangers_bake_deletes_nothing_elsewhere(
    out: Path, image_folder: Path, picture_folder: Path
) -> None:
    victim = out.parent / "victim.txt"
    victim.write_text("mine")
    document = json.loads((out / "bake.json").read_bytes())
    document["mixing"]["path"] = "../victim.txt"
    (out / "bake.json").write_text(json.dumps(document))
    bake(image_folder, out, picture_folder, epochs_worth=1, overwrite=True)
    assert victim.read_text() == "mine"
