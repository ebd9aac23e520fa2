"""Promises of `mixbake audit` where source or mixing set are not at hand: what is told, and whom it blames."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import bake, copied, flip_bit
from test_signals import save

from mixbake.audit.audited import Audited
from mixbake.audit.gallery import exhibit
from mixbake.audit.replay import Replayer
from mixbake.audit.report import Asked, audit
from mixbake.data.demo import draw_demo

Command = Callable[..., Any]


def test_a_mixing_set_that_is_not_there_is_no_damage(moved: Path) -> None:
    audited = Audited(moved)
    replayer = Replayer(audited.bake, moved, mixing_set=str(moved / "nowhere"))
    for one in exhibit(audited, replayer, audited.rows()):
        assert (one.sound, one.replayed) == (True, False), one.verdict
        assert "picture" not in {plate.lines[0] for plate in one.strip if plate.data is not None}


@pytest.mark.parametrize("name", ["nowhere", "other"])
def test_a_mixing_set_that_is_named_must_be_the_right_one_before_anything_is_done(
    command: Command, tmp_path: Path, two_epochs: Path, write_images: Callable[..., Path], name: str
) -> None:
    write_images(tmp_path / "other", 6, size=72)
    done = command("audit", two_epochs, "-o", tmp_path / "a.html", "--mixing-set", tmp_path / name)
    assert done.code == 5, done.err
    assert name in done.err
    assert not (tmp_path / "a.html").exists()
    assert "measured" not in done.err


def test_only_what_was_named_is_blamed(command: Command, tmp_path: Path, moved: Path, picture_folder: Path) -> None:
    asked = ["audit", moved, "-o", tmp_path / "a.html", "--sample", 30]
    done = command(*asked, "--mixing-set", picture_folder)
    assert done.code == 0, done.err
    pictures = next((moved / "mixing").iterdir())
    data = bytearray(pictures.read_bytes())
    data[-1] ^= 1
    pictures.write_bytes(data)
    done = command(*asked, "--source", tmp_path / "elsewhere")
    assert done.code == 0, done.err
    assert "mixing pictures" in (tmp_path / "a.html").read_text("utf-8")
    done = command(*asked, "--source", tmp_path / "nowhere")
    assert done.code == 5
    assert "nowhere" in done.err


@pytest.mark.parametrize("views", ["mix", "clean"])
def test_leaks_that_were_not_looked_for_in_the_source_are_not_none(
    command: Command, tmp_path: Path, own_images: Path, picture_folder: Path, views: str
) -> None:
    bake(own_images, tmp_path / "out", picture_folder, views=views)
    own_images.rename(tmp_path / "elsewhere")
    save(draw_demo(0, size=32, split="test"), tmp_path / "test" / "honest.png")
    page = tmp_path / "a.html"
    asked = ["audit", tmp_path / "out", "-o", page, "--sample", 0, "--against", tmp_path / "test"]
    done = command(*asked, "--fail-on", "leakage=40")
    assert done.code == 6, done.err
    assert "leakage (not measured; allowed 40)" in done.err
    assert "leaks: 0 found in what was measured, the source was not at hand" in done.out
    leaks = page.read_text("utf-8").split("Leaks from a test set</h3>")[1].split("<h3>")[0]
    assert "Reason: the source" in leaks
    assert "None of them is an image that the bake was made of" not in leaks
    done = command(*asked, "--fail-on", "leakage", "--source", tmp_path / "elsewhere")
    assert done.code == 0, done.err
    assert "leaks:" not in done.out


def test_what_could_not_be_done_is_told_in_plain_lines(tmp_path: Path, moved: Path) -> None:
    own = copied(moved, tmp_path / "own\x1b[2J")
    for path in (own / "index").iterdir():
        flip_bit(path, path.stat().st_size // 2)
    report = audit(own, Asked(sample=1))
    assert len(report.undone) > 2
    assert all(one.damage and one.reason.isprintable() for one in report.undone)
    assert all(line.isprintable() for line in (*report.failures, *report.lines()))
