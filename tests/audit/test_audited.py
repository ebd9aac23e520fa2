"""A bake in Python: what `mixbake.audit.open` offers is in the README, and gives what the commands give."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small import copied, flip_bit
from tampering import SHARD, json_forged, key, sources

import mixbake.audit
from mixbake.audit.audited import Audited
from mixbake.errors import Damage, PlanDiffers, UsageError

Bakes = Callable[[str], Path]
README = Path(__file__).parents[2] / "README.md"


def test_the_readme_lists_every_method_with_its_arguments() -> None:
    text = README.read_text("utf-8")
    rows = text[text.index("| Method of `audit.open(path)` |") :].split("\n\n")[0].splitlines()[2:]
    shown = {name: said for row in rows for name, said in re.findall(r"`(\w+)\((.*?)\)`", row.split("|")[1])}
    methods = {name: one for name, one in inspect.getmembers(Audited, inspect.isfunction) if name[0] != "_"}
    assert set(shown) == set(methods)
    for name, said in shown.items():
        known = list(inspect.signature(methods[name]).parameters)[1:]
        if said != "…":
            assert [word for word in said.split(", ") if word] == [
                {"sql_where": "where"}.get(one, one) for one in known if one != "seconds"
            ], name


@pytest.mark.parametrize("kind", ["fixed", "jpeg"])
def test_replay_makes_a_variant_again(bakes: Bakes, kind: str) -> None:
    bake, wanted = mixbake.audit.open(bakes(kind)), key(bakes(kind))
    for one in (wanted, f"{wanted[:9]}c0001"):
        found = bake.replay(one)
        assert found.equal
        assert found.variant.key == one
        np.testing.assert_array_equal(found.stored, bake.picture(one))


def test_replay_refuses_what_is_not_the_bakes(bakes: Bakes, tmp_path: Path, picture_folder: Path) -> None:
    bake, wanted = mixbake.audit.open(bakes("fixed")), key(bakes("fixed"))
    with pytest.raises(UsageError, match="there is no variant"):
        bake.replay("00000000-0009")
    with pytest.raises(PlanDiffers, match="--source"):
        bake.replay(wanted, source=str(tmp_path / "gone"))
    moved = copied(sources(bakes("fixed")), tmp_path / "moved")
    assert bake.replay(wanted, source=str(moved), mixing_set=str(picture_folder)).equal


def test_a_difference_is_told_and_not_raised(bakes: Bakes, tmp_path: Path) -> None:
    own = copied(bakes("fixed"), tmp_path / "own")
    json_forged(lambda one: one["steps"].append({"do": "invert", "src": [0], "args": []}))(own)
    found = mixbake.audit.open(own).replay(key(own))
    assert not found.good
    with pytest.raises(Damage, match=SHARD):
        found.require_equal()


def test_verify_and_compare_are_those_of_the_commands(bakes: Bakes, tmp_path: Path) -> None:
    own = copied(bakes("fixed"), tmp_path / "own")
    bake = mixbake.audit.open(own)
    assert bake.verify(full=True, replay=2).intact
    found = bake.compare(mixbake.audit.open(bakes("fixed")), seed=3)
    assert (found.differences, found.pairs, found.seed) == ((), 800, 3)
    flip_bit(own / SHARD, 700)
    assert bake.verify().intact
    assert {fault.shard for fault in bake.verify(full=True).faults} == {SHARD}
