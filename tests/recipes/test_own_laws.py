"""Promise: an audit tests what a recipe of one's own draws against the laws that it states, and says when it cannot."""

from pathlib import Path

import pytest
from small import bake

from mixbake.audit import report
from mixbake.audit.page import write_page
from mixbake.errors import RecipeFailed
from mixbake.recipes.loaded import load

KIN = """
from mixbake.recipes.layermix import LayerMix
from mixbake.recipes.own import Op
from mixbake.recipes.stated import LAWS


class Kin(LayerMix):
    def laws(self, size):
        return LAWS["layermix"](self, size)
"""
BIASED = """
    def fill(self, table, *, key, size):
        LayerMix(op_set="safe9").fill(table, key=key, size=size)
"""
STEPS = """
OPS = {"same": Op(version=1, apply=lambda image: image, args=())}
"""
UNKNOWN = b"no laws are known"


def audited(tmp_path: Path, many_images: Path, picture_folder: Path, text: str) -> report.Report:
    file = tmp_path / "kin.py"
    file.write_text(text)
    bake(many_images, tmp_path / "out", picture_folder, recipe=f"{file}:Kin")
    return report.audit(tmp_path / "out", report.Asked(sample=2, recipe=f"{file}:Kin"))


def test_draws_are_tested_against_the_laws_that_are_stated(
    tmp_path: Path, many_images: Path, picture_folder: Path
) -> None:
    found = audited(tmp_path, many_images, picture_folder, KIN)
    assert found.tests
    assert {"op", "layer", "steps"} <= {test.name for test in found.tests}
    assert not found.failures
    assert UNKNOWN not in write_page(found)


def test_draws_that_do_not_follow_them_fail(tmp_path: Path, many_images: Path, picture_folder: Path) -> None:
    found = audited(tmp_path, many_images, picture_folder, KIN + BIASED)
    assert "op" in {test.name for test in found.failed_tests}


def test_no_law_speaks_of_a_file_that_brings_steps(tmp_path: Path, many_images: Path, picture_folder: Path) -> None:
    found = audited(tmp_path, many_images, picture_folder, KIN + STEPS)
    assert found.tests
    assert not {"op", "layer", "steps"} & {test.name for test in found.tests}
    assert UNKNOWN in write_page(found)


def test_laws_are_laws_or_none(tmp_path: Path) -> None:
    file = tmp_path / "kin.py"
    file.write_text(KIN.replace('LAWS["layermix"](self, size)', "None"))
    assert load(f"{file}:Kin").laws(32) is None
    file.write_text(KIN.replace('LAWS["layermix"](self, size)', "LAWS"))
    with pytest.raises(RecipeFailed, match=r"laws of Kin gave no mixbake\.recipes\.laws\.Laws"):
        load(f"{file}:Kin").laws(32)
