"""Promises of `mixbake audit`: what passes, what fails and how, what is shown, and which files it may replace."""

import base64
import dataclasses
import html.parser
import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from small import bake, copied, edit, flip_bit, pixels, sign, stored

import mixbake.audit
from mixbake.audit import signals
from mixbake.audit.page import write_page
from mixbake.audit.plates import REDUCED, plate
from mixbake.audit.report import Asked, Report, audit
from mixbake.audit.signals import SIGNALS, Worst
from mixbake.bake.sheet import Cell
from mixbake.data.prepared import open_pictures

Command = Callable[..., Any]
Bytes = NDArray[np.uint8]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    """40 images, two epochs' worth, at 32 px."""
    out = tmp_path_factory.mktemp("audit") / "out"
    bake(image_folder, out, picture_folder, epochs_worth=2)
    return out


class Strips(html.parser.HTMLParser):
    """The gallery of a page: by key, captions and pictures of its strip; and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: dict[str, list[tuple[str, Bytes | None]]] = {}
        self.words = ""
        self._inside: list[tuple[str, str]] = []
        self._key, self._picture = "", None
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("img", "meta", "input", "br"):
            if tag == "img":
                self._picture = shown(str(given["src"]))
            return
        self._inside.append((tag, given.get("class") or ""))
        if tag == "figure":
            self._picture = None

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        tags = [tag for tag, _ in self._inside]
        if tags[-2:] == ["span", "b"] and ("span", "lines") in self._inside:
            self._key = data
            self.found[data] = []
        elif tags[-2:] == ["figcaption", "b"] and self._key:
            self.found[self._key].append((data, self._picture))


def shown(address: str) -> Bytes:
    kind, _, data = address.partition(",")
    assert kind in ("data:image/png;base64", "data:image/jpeg;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def key(place: tuple[str, int, int]) -> str:
    view, number, image = place
    return f"{image:08d}-{'c' if view == 'clean' else ''}{number:04d}"


# ── what passes, what fails ───────────────────────────────────────────────────────────────────────


def test_a_sound_bake_passes_and_the_page_says_what_was_looked_at(command: Command, tmp_path: Path, out: Path) -> None:
    done = command("audit", out, "-o", tmp_path / "a.html", "--sample", 20)
    assert done.code == 0, done.err
    assert "integrity: passed (quick, " in done.out
    page = Strips(tmp_path / "a.html")
    assert mixbake.audit.open(out).bake.digest in page.words
    assert "not done: --full does it" in page.words
    assert "not done: --against DIR does it" in page.words
    assert "80 of 80 variants" in page.words
    assert len(page.found) >= 20


def test_the_report_as_json(command: Command, tmp_path: Path, out: Path) -> None:
    done = command("audit", out, "-o", tmp_path / "a.html", "--sample", 5, "--full", "--json")
    found = json.loads(done.out, parse_constant=pytest.fail)
    assert (done.code, found["passed"], found["intact"], found["failures"]) == (0, True, True, [])
    assert found["verified"]["level"] == "full"
    assert found["contents"]["images"] == 40
    assert len(found["gallery"]) == 5
    assert found["replayed"] >= 5
    assert found["tests"]
    assert set(found["signals"]["named"]) <= set(SIGNALS)
    assert Path(found["page"]) == tmp_path / "a.html"


def test_json_knows_no_infinities(out: Path) -> None:
    report = audit(out, Asked(sample=0))
    assert report.signals
    endless = Worst(measure="psnr", key="00000000-0000", value=math.inf)
    found_signals = dataclasses.replace(report.signals, worst=(endless,))
    found = json.loads(json.dumps(dataclasses.replace(report, signals=found_signals).to_json(), allow_nan=False))
    assert found["signals"]["worst"][0]["value"] is None


def test_equal_asking_gives_equal_bytes(out: Path) -> None:
    first, second = (write_page(audit(out, Asked(sample=12, seed=3))) for _ in range(2))
    assert first == second
    other = audit(out, Asked(sample=12, seed=4))
    assert [one.key for one in other.gallery] != [one.key for one in audit(out, Asked(sample=12, seed=3)).gallery]


@pytest.mark.parametrize("damage", ["a shard is gone", "a picture", "an index", "images.parquet", "a forged picture"])
def test_damage_ends_with_6_and_a_page_that_names_it(command: Command, tmp_path: Path, out: Path, damage: str) -> None:
    own = copied(out, tmp_path / "own")
    shard, index = next(own.glob("mix/v001/*.tar")), next(own.glob("index/*"))
    if damage == "a shard is gone":
        shard.unlink()
    elif damage == "an index":
        flip_bit(index, index.stat().st_size // 2)
    elif damage == "images.parquet":
        flip_bit(own / "images.parquet", 100)
    elif damage == "a forged picture":
        swap_pictures(shard)
    else:
        # The fifth byte of a pixel line in every record: what a picture shows changes, and nothing else does.
        record = (shard.stat().st_size - 1024) // 40
        for row in range(40):
            flip_bit(shard, row * record + 560 + 5)
    if damage == "a forged picture":
        sign(own)
    done = command("audit", own, "-o", tmp_path / "a.html", "--sample", 80)
    assert done.code == 6, done.err
    assert "integrity: FAILED" in done.out
    assert "does not pass: integrity (" in done.err
    words = Strips(tmp_path / "a.html").words
    name = {"an index": index.name, "images.parquet": "images.parquet"}.get(damage, "-0001")
    assert (shard.name if damage == "a shard is gone" else name) in words
    assert "FAILED" in words


def swap_pictures(shard: Path) -> None:
    """Every record gets the picture of the one before or behind it; all bytes of the files are as they may be."""
    data = bytearray(shard.read_bytes())
    record, picture = (len(data) - 1024) // 40, slice(512, 512 + 4608)
    parts = [data[row * record : (row + 1) * record] for row in range(40)]
    for one, two in zip(parts[::2], parts[1::2], strict=True):
        one[picture], two[picture] = two[picture], one[picture]
    shard.write_bytes(b"".join(parts) + data[40 * record :])


def test_a_recipe_that_is_not_the_one_that_was_baked_fails(
    command: Command, tmp_path: Path, many_images: Path, picture_folder: Path
) -> None:
    own = tmp_path / "own"
    bake(many_images, own, picture_folder, overrides={"op_set": "safe9"})
    edit(own / "manifest.json", lambda document: document["plan"]["recipe"].update(op_set="layer12"))
    sign(own)
    done = command("audit", own, "-o", tmp_path / "a.html", "--sample", 3)
    assert done.code == 6, done.err
    assert "distribution: FAILED" in done.out
    assert re.search(r"does not pass: .*distribution \(.*\bop\b", done.err)


def test_there_must_be_a_bake(command: Command, tmp_path: Path) -> None:
    done = command("audit", tmp_path, "-o", tmp_path / "a.html")
    assert (done.code, list(tmp_path.iterdir())) == (2, [])


# ── signals ───────────────────────────────────────────────────────────────────────────────────────


def test_signals_fail_only_by_name(command: Command, tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    bake(image_folder, tmp_path / "own", picture_folder, epochs_worth=3, recipe="layermix-code")
    asked = ["audit", tmp_path / "own", "-o", tmp_path / "a.html", "--sample", 0]
    done = command(*asked)
    assert done.code == 0, done.err
    assert re.search(r"signals: constant 0\.\d", done.out)
    done = command(*asked, "--fail-on", "leakage", "--fail-on", "constant")
    assert done.code == 6
    assert "as --fail-on asked" in (tmp_path / "a.html").read_text("utf-8")
    assert re.search(r"does not pass: leakage \(not measured; allowed 0\); constant \(0\.\d+; allowed 0\)", done.err)
    done = command(*asked, "--fail-on", "leakage", "--against", image_folder)
    assert done.code == 6
    assert "leakage (40; allowed 0)" in done.err
    done = command(*asked, "--fail-on", "constant=1", "--fail-on", "leakage=40", "--against", image_folder)
    assert done.code == 0, done.err


@pytest.mark.parametrize("words", ["colour", "colour=1", "constant=", "constant=few", "constant=nan", "constant=-1"])
def test_what_is_no_signal_or_no_limit_is_refused(command: Command, tmp_path: Path, out: Path, words: str) -> None:
    done = command("audit", out, "-o", tmp_path / "a.html", "--fail-on", words)
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert f"--fail-on {words}" in done.err
    assert "constant=0.01" in done.err or all(name in done.err for name in SIGNALS)


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────


def test_every_picture_is_what_its_caption_says(
    command: Command, tmp_path: Path, image_folder: Path, picture_folder: Path
) -> None:
    bake(image_folder, tmp_path / "own", picture_folder, epochs_worth=2, views="clean")
    done = command("audit", tmp_path / "own", "-o", tmp_path / "a.html", "--sample", 24)
    assert done.code == 0, done.err
    samples = {key(place): members for place, members in stored(tmp_path / "own").items()}
    seen = 0
    for name, strip in Strips(tmp_path / "a.html").found.items():
        document = json.loads(samples[name]["json"])
        steps = [f"{i}: " for i in range(2, 2 + len(document["steps"]))]
        plates = [caption for caption, _ in strip if not caption.startswith("1: ")]
        assert [caption[:3] for caption in plates] == ["sou", "0: ", *steps, "res"]
        assert all(caption[3:] in (*document["ops"], *document["blends"]) for caption in plates[2:-1])
        pictures = dict(strip)
        assert np.array_equal(pictures["result"], pixels(samples[name]))
        image, _, number = name.partition("-")
        clean = samples[name if "c" in number else f"{image}-c{number}"]
        assert np.array_equal(pictures["0: crop"], pixels(clean))
        original = Image.open(image_folder / document["source"]).convert("RGB")
        assert original.format == "JPEG" or np.array_equal(pictures["source"], np.asarray(original))
        assert ("1: picture" in pictures) == (document["picture"] is not None)
        if window := document["picture"]:
            assert np.array_equal(pictures["1: picture"], mixed_with(tmp_path / "own", window))
        seen += len(strip)
    assert seen > 100


def mixed_with(out: Path, window: dict[str, Any]) -> Bytes:
    """Pixels of a variant's window of a mixing picture, uint8 32×32×3."""
    picture = open_pictures(next((out / "mixing").iterdir())).picture(window["id"])
    cut = picture[window["top"] :, window["left"] :][:32, :32]
    cut = cut[:, ::-1] if window["hflip"] else cut
    cut = cut[::-1] if window["vflip"] else cut
    return np.broadcast_to(cut, (32, 32, 3))


def test_without_source_and_clean_crops_no_crop_is_shown(
    tmp_path: Path, out: Path, own_images: Path, picture_folder: Path
) -> None:
    bake(own_images, tmp_path / "own", picture_folder)
    shutil.rmtree(own_images)
    for one in audit(tmp_path / "own", Asked(sample=20)).exhibits:
        assert [plate.lines[0] for plate in one.strip if plate.data is not None] in (
            ["result"],
            ["1: picture", "result"],
        )


def test_without_its_source_a_strip_shows_what_is_stored_and_says_so(
    command: Command, tmp_path: Path, moved: Path
) -> None:
    done = command("audit", moved, "-o", tmp_path / "a.html", "--sample", 30)
    assert done.code == 0, done.err
    assert "0 variants made again" in done.out
    page, samples = Strips(tmp_path / "a.html"), {key(place): members for place, members in stored(moved).items()}
    assert "Not made again; shown is what the bake holds" in page.words
    assert "say with --source where it is" in page.words
    with_pictures = 0
    for name, strip in page.found.items():
        image, _, number = name.partition("-")
        for caption, picture in strip:
            if caption in ("result", "0: crop"):
                there = name if caption == "result" or "c" in number else f"{image}-c{number}"
                assert np.array_equal(picture, pixels(samples[there])), (name, caption)
            elif caption == "1: picture":
                with_pictures += 1
                assert picture is not None
                assert picture.shape == (32, 32, 3)
            else:
                assert picture is None, (name, caption)
    assert with_pictures
    done = command("audit", moved, "-o", tmp_path / "a.html", "--sample", 30, "--source", tmp_path / "elsewhere")
    assert done.code == 0, done.err
    again = Strips(tmp_path / "a.html")
    for name, strip in again.found.items():
        assert all(picture is not None for _, picture in strip)
        for (caption, picture), (_, before) in zip(strip, page.found.get(name, []), strict=False):
            # What was shown without the source was the right thing.
            assert before is None or np.array_equal(picture, before), (name, caption)


def test_a_source_that_is_named_must_be_the_right_one(command: Command, tmp_path: Path, moved: Path) -> None:
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "other")
    for path in (tmp_path / "other").rglob("*.png"):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    done = command("audit", moved, "-o", tmp_path / "a.html", "--sample", 30, "--source", tmp_path / "other")
    assert done.code == 5, done.err
    assert "is not the image that was baked" in Strips(tmp_path / "a.html").words


@pytest.mark.parametrize("side", [16, 32, 48, 64, 65, 224, 500])
def test_plates_are_exact_when_small_and_light_when_large(side: int) -> None:
    noise = np.random.default_rng(side).integers(0, 256, (side, side * 2 // 3 + 1, 3), np.uint8)
    made = plate(Cell(pixels=noise, box=(2, 4, side // 4, side // 2)))
    assert made.data is not None
    picture = np.asarray(Image.open(io.BytesIO(made.data)))
    if side <= 64:
        assert np.array_equal(picture, noise)
        assert made.width % noise.shape[1] == made.height % side == 0
    else:
        # Noise is the worst that there is: 96 strips of nine such pictures must stay below 15 MB as text.
        assert max(picture.shape) <= REDUCED
        assert len(made.data) < 35_000
    scale = made.height / side
    assert made.box == pytest.approx((2 * scale, 4 * scale, side // 4 * scale, side // 2 * scale), abs=0.7)


def test_an_empty_place_is_as_wide_as_a_picture_would_be() -> None:
    small, nothing = (
        plate(Cell(pixels=pixels), enlarged=REDUCED) for pixels in (np.zeros((32, 32, 3), np.uint8), None)
    )
    assert (nothing.width, nothing.height) == (small.width, small.height) == (REDUCED, REDUCED)


def test_all_that_signals_list_is_shown(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "MOST_WORST", 11)
    report = audit(out, Asked(sample=0))
    assert report.signals
    worst = [one.key for one in report.signals.worst if one.measure == "ssim"]
    assert len(worst) == 11
    assert set(worst) <= set(report.close_ups)
    shown = write_page(report).decode().split("Least like their source crop, by SSIM")[1].split("<h4>")[0]
    assert all(f">{name}<" in shown for name in worst)


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


def test_a_page_replaces_a_page_and_nothing_else(command: Command, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "a.html"
    for seed in (0, 1):
        assert command("audit", out, "-o", path, "--sample", 4, "--seed", seed).code == 0
    assert "seed 1" in Strips(path).words
    page = path.read_bytes()
    (tmp_path / "mine.html").write_text('<!doctype html><meta name="generator" content="by hand">')
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.html").symlink_to(path)
    for name in ("mine.html", "folder", "link.html"):
        done = command("audit", out, "-o", tmp_path / name)
        assert done.code == 2
        assert "no page of an audit" in done.err
    assert (tmp_path / "mine.html").read_text().endswith('"by hand">')
    assert path.read_bytes() == page
    assert command("audit", out, "-o", tmp_path / "none" / "a.html").code == 2
    assert {one.name for one in tmp_path.iterdir()} == {"a.html", "mine.html", "folder", "link.html"}


def test_without_a_name_the_page_is_called_after_the_bake(
    command: Command, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("audit", out, "--sample", 0)
    assert done.code == 0, done.err
    assert os.listdir(tmp_path) == ["out-audit.html"]  # noqa: PTH208 - names are what is compared


@pytest.mark.parametrize("flags", [["--sample", "-1"], ["--sample", "1001"], ["--against", "nowhere"]])
def test_nonsense_is_refused_at_once(command: Command, tmp_path: Path, out: Path, flags: list[str]) -> None:
    done = command("audit", out, "-o", tmp_path / "a.html", *flags)
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert flags[0] in done.err


def parts() -> Iterator[Asked]:
    yield Asked(sample=0)
    yield Asked(sample=1, full=True)


@pytest.mark.parametrize("asked", list(parts()))
def test_a_bake_of_plain_crops_has_little_to_test(
    tmp_path: Path, image_folder: Path, picture_folder: Path, asked: Asked
) -> None:
    bake(image_folder, tmp_path / "own", picture_folder, recipe="plain")
    report: Report = audit(tmp_path / "own", asked)
    assert report.failures == ()
    assert b"Mixing set" in write_page(report)
