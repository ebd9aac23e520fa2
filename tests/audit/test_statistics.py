"""Promises of the tests of distributions: honest bakes pass, a bias fails the tests of its name, nothing crashes.

Biased bakes are builds whose drawing was tampered with; their indexes, shards and receipts agree with each other.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from small import bake, stored
from verdicts import failed, run

import mixbake.audit
import mixbake.bake.block
from mixbake.audit import statistics
from mixbake.audit.questions import Question
from mixbake.core.blends import BLENDS
from mixbake.core.ops import OPS, STEPS
from mixbake.core.programs import Programs
from mixbake.recipes.laws import Categorical, Law, equally, greatest, uniform
from mixbake.recipes.recipe import Lot, Recipe, draw

SOURCE = "demo:count=400,size=16"
PROGRAM = ("layers", "ops", "levels", "op_counts", "blends", "blend_counts", "pictures")
PROGRAM += ("lengths", "do", "sources", "args", "arities")
Draw = Callable[..., Programs]


# ── honest bakes ──────────────────────────────────────────────────────────────────────────────────

KINDS: dict[str, dict[str, Any]] = {
    "layermix": {"flip": "baked"},
    "jsd": {"views": "jsd", "flip": "baked"},
    "clean": {"views": "clean", "recipe": "layermix-code"},
    "article": {"recipe": "layermix-article", "flip": "none"},
    "parameters": {"overrides": {"beta": 2.5, "op_set": "layer16", "severity": 2}},
    "resized": {"crop": "resized", "views": "jsd"},
    "plain": {"recipe": "plain", "flip": "baked"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_honest_bakes_pass(kind: str, tmp_path: Path, picture_folder: Path) -> None:
    bake(SOURCE, tmp_path / "out", picture_folder, epochs_worth=2, **KINDS[kind])
    tests = run(tmp_path / "out")
    assert failed(tests) == set()
    assert {test.kind for test in tests.values()} <= {"chi-square", "binomial", "Kolmogorov-Smirnov"}
    mixes = 400 * 2 * (2 if KINDS[kind].get("views") == "jsd" else 1)
    assert tests["program"].n == tests["steps"].n == mixes
    assert ("crop left" in tests) == (kind != "resized")
    assert ("picture left" in tests) == (kind != "plain")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_honest_bakes_pass_whatever_the_seed(seed: int, tmp_path: Path, picture_folder: Path) -> None:
    bake(SOURCE, tmp_path / "out", picture_folder, epochs_worth=4, seed=seed, views="jsd" if seed % 2 else "mix")
    assert failed(run(tmp_path / "out")) == set()


def test_what_a_pair_shares_counts_once(tmp_path: Path, picture_folder: Path) -> None:
    out = tmp_path / "out"
    bake(SOURCE, out, picture_folder, epochs_worth=2, views="jsd", flip="baked")
    tests, texts = run(out), [json.loads(members["json"]) for members in stored(out).values()]
    mixed = {(text["image"], text["number"] // 2) for text in texts if text["picture"]}
    assert tests["picture"].n == tests["picture hflip"].n == len(mixed)
    assert tests["flip"].n == tests["crop left"].n == 400 * 2
    assert tests["layer"].n == 400 * 2 * 2
    assert tests["layer of two numbers"].n == 400 * 2
    both = sum(text["picture"] is not None for text in texts) - len(mixed)
    assert tests["picture, shared"].n == both > 0


# ── biased bakes ──────────────────────────────────────────────────────────────────────────────────


def changed(*changes: Callable[[Programs], None]) -> Draw:
    """Drawing with slips after it."""

    def biased(recipe: Recipe, lot: Lot, *, name: str) -> Programs:
        table = draw(recipe, lot, name=name)
        for change in changes:
            change(table)
        return table

    return biased


def chosen(keep: Callable[[Programs, Any], Any], *, columns: tuple[str, ...] = PROGRAM) -> Draw:
    """Drawing some columns again and again until a row is kept. keep(programs, uniform numbers): bool[n]."""

    def biased(recipe: Recipe, lot: Lot, *, name: str) -> Programs:
        coins, table = np.random.default_rng(1), draw(recipe, lot, name=name)
        odd = ~keep(table, coins.random(len(table)))
        for seed in range(1000, 2000):
            if not odd.any():
                return table
            again = draw(recipe, replace(lot, seed=seed), name=name)
            for column in columns:
                getattr(table, column)[odd] = getattr(again, column)[odd]
            odd &= ~keep(table, coins.random(len(table)))
        raise AssertionError("nothing is kept")

    return biased


def of_severity(severity: float) -> Draw:
    return lambda recipe, lot, *, name: draw(replace(recipe, severity=severity), lot, name=name)


def as_number_zero(recipe: Recipe, lot: Lot, *, name: str) -> Programs:
    table = draw(recipe, replace(lot, numbers=np.zeros_like(lot.numbers)), name=name)
    table.numbers[:] = lot.numbers
    return table


def of_unequal_pairs(recipe: Recipe, lot: Lot, *, name: str) -> Programs:
    return draw(recipe, replace(lot, group=1), name=name)


def steps_of(table: Programs, *kinds: str) -> Any:
    used = np.arange(table.do.shape[1]) < table.lengths[:, None]
    return used & np.isin(table.do, [STEPS[kind].code for kind in kinds])


def keep_blend(table: Programs, coins: Any) -> Any:
    """All four equally often at the first stage, and layers as they are."""
    rate = np.where(table.blends[:, 0] >= BLENDS["pixel"], 1, 1 / 2)
    return coins < np.where(table.blend_counts == 0, 2 / 3, rate)


def keep_picture(table: Programs, _coins: Any) -> Any:
    return ((table.pictures[:, 0] >= 0) == (table.layers == 3)) & (table.pictures[:, 0] != 2)


def fix_masks(table: Programs) -> None:
    masks = steps_of(table, "pixel", "element")
    table.args[masks, 0], table.args[masks, 1] = 500_000, 7


def fix_windows(table: Programs) -> None:
    """One crop, one window of pictures; neither is ever mirrored."""
    table.crops[:, 1:3], table.flips[:] = 1, 0
    table.pictures[table.pictures[:, 0] >= 0, 1:5] = 0


def turn_one_way(table: Programs) -> None:
    rotated, of_op = steps_of(table, "rotate"), table.ops[:, 0] == OPS["rotate"]
    table.args[rotated, 0], table.levels[of_op] = np.abs(table.args[rotated, 0]), np.abs(table.levels[of_op])


def never_repel(table: Programs) -> None:
    a, b = table.args[:, :, 0], table.args[:, :, 1]
    repelling = steps_of(table, "arithmetic", "geometric") & (b < 0)
    a[repelling], b[repelling] = 2_000_000 - a[repelling], -b[repelling]


def keep_fewer_bits(table: Programs) -> None:
    posterized = steps_of(table, "posterize")
    table.args[posterized, 0] = np.maximum(table.args[posterized, 0] - 1, 1)


def draw_levels_once(table: Programs) -> None:
    two = table.layers > 1
    table.levels[two, 1], table.args[two, 1] = table.levels[two, 0], table.args[two, 0]


BIASES: dict[str, tuple[Draw, str]] = {
    "weights of blends": (chosen(keep_blend), "first blend|first and second blend"),
    "an op left out": (chosen(lambda table, _: table.ops[:, 0] != OPS["rotate"]), "op|layer and op|op of two numbers"),
    "a layer more often": (
        chosen(lambda table, coins: (table.layers == 3) | (coins < 0.6)),
        "layer|program|layer and op|layer of two numbers",
    ),
    "levels of another severity": (of_severity(5), "(level|argument) of .*"),
    "a picture left out": (chosen(keep_picture, columns=("pictures",)), "picture"),
    "one window": (changed(fix_windows), "crop left|crop top|flip|picture (left|top|hflip|vflip)"),
    "constants": (
        changed(fix_masks, turn_one_way, never_repel, keep_fewer_bits),
        "mask probability|mask seed|sign of rotate|signs of two levels|coefficients|argument of posterize.*|steps",
    ),
    "one level for all uses": (changed(draw_levels_once), "signs of two levels"),
    "every number the same": (as_number_zero, "(op|layer|picture) of two numbers"),
    "unequal pairs": (of_unequal_pairs, "(flip|picture), shared"),
}
"""How a bake is drawn wrongly, and which of its tests fail."""


@pytest.mark.parametrize("bias", BIASES)
def test_a_bias_fails_the_tests_of_its_name(
    bias: str, tmp_path: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    biased, named = BIASES[bias]
    views = "jsd" if bias == "unequal pairs" else "mix"
    of_view = {"mix": biased, "clean": draw}
    monkeypatch.setattr(mixbake.bake.block, "draw", lambda recipe, lot, name: of_view[lot.view](recipe, lot, name=name))
    bake(SOURCE, tmp_path / "out", picture_folder, epochs_worth=4, flip="baked", views=views)
    tests = run(tmp_path / "out")
    assert failed(tests) >= {name for name in tests if re.fullmatch(named, name)} != set()
    if bias not in ("every number the same", "one level for all uses"):
        # Where draws are as many as they seem, nothing else is blamed.
        assert {name for name in failed(tests) if not re.fullmatch(named, name)} == set()


# ── one test ──────────────────────────────────────────────────────────────────────────────────────


def compared(law: Law, seen: Any) -> statistics.Test:
    return statistics.compare(Question(name="x", law=law, seen=np.asarray(seen, np.int64)))


def test_categories_are_compared_as_scipy_does() -> None:
    law = Categorical(values=("a", "b", "c"), weights=(3, 2, 1))
    test = compared(law, np.repeat([0, 1, 2], [250, 220, 130]))
    known = scipy.stats.chisquare([250, 220, 130], [300, 200, 100])
    assert (test.value, test.p, test.freedom) == (pytest.approx(known.statistic), pytest.approx(known.pvalue), 2)
    assert [(cell.value, cell.seen, cell.expected) for cell in test.cells] == [
        ("a", 250, 300),
        ("b", 220, 200),
        ("c", 130, 100),
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_numbers_are_compared_as_scipy_does(count: int) -> None:
    seen = np.rint(np.random.default_rng(3).random((2000, count)).max(axis=1) ** 1.1 * 1e6)
    known = scipy.stats.kstest(seen / 1e6, scipy.stats.beta(count, 1).cdf)
    test = compared(greatest(count), seen)
    assert (test.kind, test.freedom) == ("Kolmogorov-Smirnov", None)
    assert test.value == pytest.approx(known.statistic, rel=1e-3)
    assert test.p == pytest.approx(known.pvalue, rel=0.02)
    assert test.cells[0].value == "0 to 0.099999"


def test_small_cells_are_merged_with_their_neighbours() -> None:
    few = compared(uniform(-4, 4), [0, 0, 3])
    assert [(cell.value, cell.seen) for cell in few.cells] == [("-4 to 4", 3)]
    assert (few.freedom, few.p) == (0, 1)
    some = compared(uniform(-4, 4), np.arange(135) % 9 - 4)
    assert [cell.value for cell in some.cells] == ["-4 to -3", "-2 to -1", "0 to 1", "2 to 4"]
    assert min(cell.expected for cell in some.cells) >= statistics.FEWEST
    assert some.p == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("seen", [0, 1, 40, 108, 150, 215])
def test_two_cells_are_compared_exactly(seen: int) -> None:
    test = compared(equally("ab"), [0] * seen + [1] * (215 - seen))
    ends = (scipy.stats.binomtest(seen, 215, alternative=side).pvalue for side in ("less", "greater"))
    assert (test.kind, test.value) == ("binomial", seen)
    assert test.p == pytest.approx(min(1, 2 * min(ends)), rel=1e-6)


@pytest.mark.parametrize("law", [equally("abc"), uniform(0, 2), uniform(0, 2**32)])
def test_one_impossible_value_among_many_fails(law: Law) -> None:
    possible = np.random.default_rng(0).integers(0, 3 if law != uniform(0, 2**32) else 2**32, 10_000)
    test = compared(law, [*possible, -1])
    assert test.p == 0
    assert test.cells[-1] == statistics.Cell(value=statistics.IMPOSSIBLE, seen=1, expected=0)


LAWS: dict[str, tuple[Law, Callable[[Any, int], Any]]] = {
    "two": (equally("ab"), lambda rng, n: rng.integers(0, 2, n)),
    "twelve": (equally("abcdefghijkl"), lambda rng, n: rng.integers(0, 12, n)),
    "weights": (
        Categorical(values=tuple("abcd"), weights=(2, 2, 1, 1)),
        lambda rng, n: rng.choice([0, 0, 1, 1, 2, 3], n),
    ),
    "offsets": (uniform(-4, 4), lambda rng, n: rng.integers(-4, 5, n)),
    "levels": (uniform(100_000, 24_000_000), lambda rng, n: rng.integers(100_000, 24_000_001, n)),
    "greatest": (greatest(3), lambda rng, n: rng.integers(0, 1_000_001, (n, 3)).max(axis=1)),
}


@pytest.mark.parametrize("name", LAWS)
def test_p_values_are_uniform_where_the_law_holds(name: str) -> None:
    law, drawn = LAWS[name]
    rng = np.random.default_rng(11)
    # So many draws that even p-values of two cells are nearly continuous.
    found = [compared(law, drawn(rng, 20_000)).p for _ in range(400)]
    assert scipy.stats.kstest(found, "uniform").pvalue > 1e-3


def holm(p: list[float]) -> list[bool]:
    """Adjusted p-values: the greatest of (m - j + 1) p(j) over all j up to i."""
    m, order = len(p), np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate([(m - j) * p[i] for j, i in enumerate(order)])
    return [bool(value > statistics.ALPHA) for value in adjusted[np.argsort(order, kind="stable")]]


@pytest.mark.parametrize("seed", range(30))
def test_the_correction_is_holms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = (10.0 ** rng.uniform(-6, 0, 12)).tolist() + [0.0] * (seed % 3)
    plain = compared(equally("ab"), [0, 1] * 10)
    tests = statistics.corrected([replace(plain, name=str(i), p=value) for i, value in enumerate(p)])
    assert [test.passed for test in tests] == holm(p)
    assert [(test.name, test.p) for test in tests] == [(str(i), value) for i, value in enumerate(p)]
