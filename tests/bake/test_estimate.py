"""Promises of `mixbake plan`: bytes near those of the build, OUT untouched, refusals those of the build."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixbake.bake.build import build
from mixbake.bake.estimate import Estimate, estimate, explain, spell_bytes, spell_seconds
from mixbake.bake.settings import BuildSettings
from mixbake.errors import PlanDiffers, StorageError, TooManySkipped, UsageError
from mixbake.progress import LineWatcher

KINDS = {"mix": "shards", "clean": "shards", "index": "index", "images.parquet": "images", "mixing": "mixing"}
UNIT = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def quiet() -> LineWatcher:
    return LineWatcher(StringIO())


@pytest.fixture
def settings(tmp_path: Path, picture_folder: Path) -> Callable[..., BuildSettings]:
    def make(**given: Any) -> BuildSettings:
        quick: dict[str, Any] = {"source": "demo:count=60", "out": tmp_path / "out", "mixing_set": str(picture_folder)}
        return BuildSettings(**(quick | {"executor": "inline"} | given))

    return make


def plan(settings: BuildSettings) -> Estimate:
    return estimate(settings, quiet())


def stored(out: Path) -> dict[str, int]:
    """Bytes of a bake's files by kind; logs are none of them."""
    sizes = dict.fromkeys(("shards", "index", "images", "mixing", "other"), 0)
    for path in out.rglob("*"):
        top = path.relative_to(out).parts[0]
        if path.is_file() and top != "logs":
            sizes[KINDS.get(top, "other")] += path.stat().st_size
    return sizes


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """What lies in a folder, and when it was changed."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {"source": "demo:count=700", "epochs_worth": 2},
        {"source": "demo:count=700", "epochs_worth": 2, "codec": "jpeg"},
        {"source": "demo:count=300,size=72", "epochs_worth": 2, "limit": 260},
        {"source": "demo:count=300", "views": "jsd", "codec": "webp"},
        {"recipe": "plain", "views": "clean", "codec": "raw"},
    ],
    ids=["png", "jpeg", "large jpeg", "jsd webp", "clean raw"],
)
def test_bytes_are_within_ten_percent_of_the_build(
    settings: Callable[..., BuildSettings], given: dict[str, Any]
) -> None:
    asked = settings(**given)
    expected = plan(asked)
    build(asked, quiet())
    real = stored(asked.out or Path())
    assert expected.whole == expected.left
    assert expected.whole.total == pytest.approx(sum(real.values()), rel=0.1)
    assert expected.whole.shards == pytest.approx(real["shards"], rel=0.1)
    assert expected.whole.index == pytest.approx(real["index"], rel=0.25)
    assert expected.whole.mixing == real["mixing"]


def test_fixed_records_are_counted_to_the_byte(settings: Callable[..., BuildSettings]) -> None:
    asked = settings(source="demo:count=300", epochs_worth=3)
    expected = plan(asked)
    build(asked, quiet())
    assert expected.whole.shards == stored(asked.out or Path())["shards"]


@pytest.mark.slow
def test_nothing_is_written_to_out_or_left_beside_it(settings: Callable[..., BuildSettings], tmp_path: Path) -> None:
    asked = settings(epochs_worth=2)
    plan(asked)
    assert not list(tmp_path.iterdir())
    build(asked, quiet())
    before = snapshot(tmp_path)
    plan(asked)
    plan(replace(asked, epochs_worth=3, overwrite=True))
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_the_command_leaves_a_bake_as_it_is(
    settings: Callable[..., BuildSettings], tmp_path: Path, picture_folder: Path, mixbake: Callable[..., Any]
) -> None:
    build(settings(), quiet())
    before = snapshot(tmp_path)
    asked = ("plan", "demo:count=60", tmp_path / "out", "-n", 2, "--mixing-set", picture_folder, "--json")
    outcome = mixbake(*asked)
    assert outcome.code == 0
    assert json.loads(outcome.out)["done"] == {"variants": 60, "epochs_worth": 1}
    assert snapshot(tmp_path) == before


def test_operations_that_are_corruptions_too_are_said_as_the_build_says_them(
    settings: Callable[..., BuildSettings],
) -> None:
    said = StringIO()
    estimate(settings(source="demo:count=20", recipe="layermix-article"), LineWatcher(said))
    messages = [json.loads(line).get("message") for line in said.getvalue().splitlines()]
    assert messages.count("brightness overlaps ImageNet-C's corruptions: say so with any result") == 1


def test_an_extension_counts_only_what_is_missing(settings: Callable[..., BuildSettings]) -> None:
    asked = settings(epochs_worth=2)
    build(asked, quiet())
    there = stored(asked.out or Path())
    more = replace(asked, epochs_worth=5)
    expected = plan(more)
    assert (expected.done, expected.done_epochs, expected.left.mixing) == (120, 2, 0)
    assert expected.left.shards * 2 == there["shards"] * 3
    build(more, quiet())
    real = stored(asked.out or Path())
    assert expected.whole.shards == real["shards"]
    assert expected.whole.total == pytest.approx(sum(real.values()), rel=0.1)


@pytest.mark.slow
def test_an_interrupted_build_counts_what_it_left(settings: Callable[..., BuildSettings]) -> None:
    """As after a kill: between the last receipt and images.parquet, then with one of the receipts missing."""
    asked = settings(source="demo:count=450", epochs_worth=2)
    build(asked, quiet())
    out, whole = asked.out or Path(), stored(asked.out or Path())
    for name in ("bake.json", "README.md", "images.parquet"):
        (out / name).unlink()
    ended = plan(asked).left
    assert (ended.shards, ended.index, ended.mixing) == (0, 0, 0)
    assert ended.images == pytest.approx(whole["images"], rel=0.25)
    assert ended.other > 0
    receipts = sorted((out / "receipts").iterdir())
    receipts[0].unlink()
    lost = plan(asked).left
    assert lost.shards * len(receipts) == pytest.approx(whole["shards"], rel=0.01)
    assert lost.mixing == 0


def test_a_finished_bake_that_lost_a_file_is_not_done(settings: Callable[..., BuildSettings]) -> None:
    asked = settings(epochs_worth=2)
    build(asked, quiet())
    lost = (asked.out or Path()) / "mix/v001/000000.tar"
    lost.unlink()
    left = plan(asked).left
    assert left.shards > 0
    assert (left.images, left.mixing) == (0, 0)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_finished_bake_leaves_nothing_to_do(settings: Callable[..., BuildSettings], epochs: int) -> None:
    asked = settings(epochs_worth=2)
    build(asked, quiet())
    expected = plan(replace(asked, epochs_worth=epochs))
    assert (expected.left.total, expected.seconds, expected.epochs_worth, expected.done) == (0, 0, 2, 120)
    assert expected.whole.total == pytest.approx(sum(stored(asked.out or Path()).values()), rel=0.1)


def test_what_a_build_refuses_is_refused(settings: Callable[..., BuildSettings], tmp_path: Path) -> None:
    build(settings(), quiet())
    with pytest.raises(PlanDiffers, match="seed: 0 -> 1"):
        plan(settings(seed=1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(PlanDiffers, match="holds no bake"):
        plan(settings(out=tmp_path / "mine"))
    with pytest.raises(UsageError, match="unknown recipe"):
        plan(settings(recipe="layermx"))


def test_a_changed_image_is_named(settings: Callable[..., BuildSettings], own_images: Path) -> None:
    asked = settings(source=str(own_images))
    build(asked, quiet())
    victim = sorted(own_images.rglob("*.png"))[3]
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    with pytest.raises(PlanDiffers, match=victim.name):
        plan(replace(asked, epochs_worth=2))


def test_skipped_images_are_counted(settings: Callable[..., BuildSettings], own_images: Path) -> None:
    files = sorted(path for path in own_images.rglob("*") if path.is_file())
    for path in files[::8]:
        path.write_bytes(b"no picture")
    asked = settings(source=str(own_images), max_skip=1.0, size=32)
    expected = plan(asked)
    build(asked, quiet())
    assert expected.skipped_share == 5 / 40
    assert expected.variants == 35
    assert expected.whole.shards == stored(asked.out or Path())["shards"]
    assert "--max-skip" in explain(replace(expected, max_skip=0.01))
    assert "--max-skip" not in explain(expected)
    for path in files:
        path.write_bytes(b"no picture")
    with pytest.raises(TooManySkipped, match="none of 40"):
        plan(replace(asked, out=own_images.parent / "another"))


def test_one_image_is_enough(settings: Callable[..., BuildSettings]) -> None:
    expected = plan(settings(limit=1, epochs_worth=3))
    assert (expected.images, expected.variants, expected.blocks) == (1, 3, 1)
    assert expected.seconds > 0


def test_json_says_what_the_text_says(settings: Callable[..., BuildSettings]) -> None:
    expected = plan(settings(epochs_worth=4))
    document = json.loads(json.dumps(expected.to_json(), allow_nan=False))
    kinds = dict(document["bytes"])
    assert kinds.pop("total") == sum(kinds.values()) == expected.whole.total
    assert (document["images"], document["variants"], document["epochs_worth"]) == (60, 240, 4)
    assert 0 < document["picture_bytes"] < kinds["shards"]
    text = explain(expected)
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 200
    assert "60 (1 epoch's worth)" in explain(replace(expected, variants=60, epochs_worth=1))
    for value in ("240 (4 epochs' worth)", spell_bytes(expected.whole.total), spell_seconds(expected.seconds)):
        assert value in text


def test_room_is_required_to_the_byte(settings: Callable[..., BuildSettings]) -> None:
    expected = plan(settings())
    enough = replace(expected, free=expected.left.total)
    enough.require_room()
    short = replace(expected, free=expected.left.total - 1)
    with pytest.raises(StorageError, match="free") as refusal:
        short.require_room()
    assert refusal.value.exit_code == 74
    assert enough.to_json()["fits"]
    assert not short.to_json()["fits"]


@pytest.mark.slow
def test_a_small_disk_is_refused(tmp_path: Path, picture_folder: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=1m tmpfs {small}"
    if not shutil.which("unshare") or subprocess.run([*mounted, mount], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    command = f"{sys.executable} -m mixbake plan demo:count=600 {small}/out --mixing-set {picture_folder}"
    script = f"{mount} && cd {tmp_path} && {command}; code=$?; ls -A {small}; exit $code"
    done = subprocess.run([*mounted, script], capture_output=True, text=True, check=False)
    assert done.returncode == 74, done.stderr
    assert "needs about" in done.stderr
    assert done.stdout.endswith("1 job\n") or done.stdout.endswith("jobs\n"), "something was left on the disk"
    assert not list(small.iterdir())


@given(count=st.integers(0, 10**14))
def test_bytes_are_spelled_to_three_digits(count: int) -> None:
    value, unit = spell_bytes(count).replace(",", "").split()
    assert math.isclose(float(value) * UNIT[unit], count, rel_tol=0.0051, abs_tol=0)
    assert len(value) <= 5


@given(seconds=st.floats(0, 1e8))
def test_times_are_spelled_in_the_fitting_unit(seconds: float) -> None:
    value, unit = spell_seconds(seconds).split()
    length = {"s": 1, "min": 60, "h": 3600, "days": 86_400}[unit]
    assert abs(float(value) * length - seconds) <= length / 2
    assert float(value) <= 90 or unit == "days"
