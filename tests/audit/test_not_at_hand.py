"""Promises of audits and signals where source or mixing set are not at hand: what is told, and whom it blames."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small import bake, copied, flip_bit
from test_signals import found, save

from mixbake.audit.audited import Audited
from mixbake.audit.gallery import exhibit
from mixbake.audit.replay import Replayer
from mixbake.audit.report import Asked, audit
from mixbake.data.demo import draw_demo
from mixbake.errors import PlanDiffers

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


@pytest.mark.slow
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


def test_without_its_source_a_bake_has_no_likeness(tmp_path: Path, own_images: Path, picture_folder: Path) -> None:
    bake(own_images, tmp_path / "out", picture_folder, epochs_worth=2)
    with_source = found(tmp_path / "out")
    own_images.rename(tmp_path / "moved")
    without = found(tmp_path / "out")
    assert (without.crops, "images" in without.missing) == ("", True)
    assert all(
        (group.ssim, group.psnr, group.correlation, group.affinity) == (None,) * 4 and group.n
        for group in without.groups
    )
    assert without.groups[0].diversity == with_source.groups[0].diversity is not None
    assert {one.measure for one in without.worst} <= {"constant"}
    assert found(tmp_path / "out", source=str(tmp_path / "moved")) == with_source


def test_another_source_is_an_error_only_if_it_was_given(
    tmp_path: Path, own_images: Path, picture_folder: Path
) -> None:
    bake(own_images, tmp_path / "out", picture_folder)
    changed = sorted(own_images.rglob("*.png"))[7]
    save(255 - np.asarray(Image.open(changed)), changed)
    without = found(tmp_path / "out", against=own_images)
    assert (without.crops, without.groups[0].ssim, without.known) == ("", None, "mix")
    assert changed.relative_to(own_images).as_posix() in without.missing
    for wrong in (own_images, tmp_path / "nowhere"):
        with pytest.raises(PlanDiffers):
            found(tmp_path / "out", source=str(wrong))
    shutil.rmtree(changed.parent)
    assert found(tmp_path / "out").crops == ""


def test_only_the_images_that_were_measured_are_looked_at(
    tmp_path: Path, own_images: Path, picture_folder: Path
) -> None:
    bake(own_images, tmp_path / "out", picture_folder, limit=4)
    # The folder cannot be listed any more.
    (own_images / "ash" / "gone.png").symlink_to(tmp_path / "nowhere")
    everything = found(tmp_path / "out")
    assert (everything.crops, everything.missing) == ("source", "")


def test_what_could_not_be_done_is_told_in_plain_lines(tmp_path: Path, moved: Path) -> None:
    own = copied(moved, tmp_path / "own\x1b[2J")
    for path in (own / "index").iterdir():
        flip_bit(path, path.stat().st_size // 2)
    report = audit(own, Asked(sample=1))
    assert len(report.undone) > 2
    assert all(one.damage and one.reason.isprintable() for one in report.undone)
    assert all(line.isprintable() for line in (*report.failures, *report.lines()))
