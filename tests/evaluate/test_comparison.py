"""Comparisons: paired differences against plain arithmetic, what is refused, and what is written."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented import invent, scores

from mixbake.cli import run as command
from mixbake.errors import Damage, MissingExtra, UsageError
from mixbake.evaluate import plots
from mixbake.evaluate.compare import Measure, compare, comparison_json, comparison_tables
from mixbake.evaluate.plots import draw_all, draw_radar, rms_by_severity
from mixbake.evaluate.reports import find_results, read_results, write_comparison, write_report
from mixbake.evaluate.results import Results, summary
from mixbake.evaluate.stored import to_json

PLAIN, LAYERMIX = (0.30, 0.34, 0.29), (0.21, 0.26, 0.20)


def trials(*seeds: int) -> list[Results]:
    """Both recipes, with those seeds."""
    return [invent("layermix-cifar", seed, LAYERMIX[seed]) for seed in seeds] + [
        invent("plain", seed, PLAIN[seed]) for seed in seeds
    ]


def told(message: str) -> None:
    raise AssertionError(message)


def save(folder: Path, results: Results) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(to_json(results)))
    return folder


# ── What is computed ──────────────────────────────────────────────────────────────────────────────


def test_means_and_paired_differences_are_those_of_plain_arithmetic() -> None:
    found = compare(trials(0, 1, 2))
    layermix, plain = found.groups
    assert found.baseline == plain.name == "plain, wrn40_4"
    assert plain.differences == {}
    clean = layermix.means["clean_error"]
    assert (clean.mean, clean.n) == (pytest.approx(np.mean(LAYERMIX)), 3)
    assert clean.error == pytest.approx(np.std(LAYERMIX, ddof=1) / np.sqrt(3))
    gaps = np.subtract(LAYERMIX, PLAIN)
    for metric in ("clean_error", "mce"):
        difference = layermix.differences[metric]
        assert difference.mean == pytest.approx(gaps.mean())
        assert difference.error == pytest.approx(gaps.std(ddof=1) / np.sqrt(3))
    # Far from what unpaired runs would tell: seeds differ more than recipes do.
    assert layermix.differences["mce"].error < clean.error / 3  # type: ignore[operator]  # three runs have errors


def test_only_equal_seeds_are_paired_and_one_run_has_no_error() -> None:
    runs = [*trials(0), invent("layermix-cifar", 2, LAYERMIX[2])]
    (layermix, _) = compare(runs).groups
    assert layermix.seeds == (0, 2)
    assert layermix.differences["clean_error"] == Measure(mean=pytest.approx(-0.09), error=None, n=1)
    assert layermix.means["clean_error"].n == 2
    means, differences = comparison_tables(compare(runs))
    assert means.rows[1][:3] == ("plain, wrn40_4", "1", "30.0")
    assert differences.rows[0][:3] == ("layermix-cifar, wrn40_4", "1", "−9.0")
    assert "±" in means.rows[0][2]


def test_runs_that_differ_in_more_than_the_seed_are_two_groups() -> None:
    weak = invent("layermix-cifar", 0)
    strong = {**weak.model, "baking": {"recipe": {**weak.model["baking"]["recipe"], "severity": 3}}}
    found = compare([weak, invent("layermix-cifar", 0, model=strong), invent("plain")])
    assert [group.name for group in found.groups] == [
        "layermix-cifar, wrn40_4",
        "layermix-cifar, wrn40_4, settings 2",
        "plain, wrn40_4",
    ]
    assert "layermix-cifar, wrn40_4, settings 2: baking.recipe.severity 3, not None" in found.notes


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("setting", "name"), [({"mix": "cutmix"}, ", cutmix"), ({"lr": 0.2}, ", settings 2")])
def test_runs_trained_otherwise_are_no_seeds_of_one_group(setting: dict[str, Any], name: str, seed: int) -> None:
    usual = invent("plain")
    model = {**usual.model, "seed": seed, "training": {**usual.model["training"], **setting}}
    assert [one.name for one in compare([usual, invent("plain", model=model)]).groups] == [
        "plain, wrn40_4",
        f"plain, wrn40_4{name}",
    ]


def test_a_cell_says_of_how_many_runs_it_is_when_they_are_not_all() -> None:
    runs = [*trials(0, 1)[:-1], dataclasses.replace(trials(1)[1], attacked=None)]
    means, differences = comparison_tables(compare(runs))
    pgd = [head.startswith("PGD") for head in means.head].index(True)
    assert [row[pgd] for row in means.rows] == ["90.0 ± 0.0", "90.0 (n=1)"]
    assert differences.rows[0][1] == "2"
    assert differences.rows[0][pgd] == "0.0 (n=1)"


def test_what_only_some_have_measured_is_not_compared() -> None:
    found = compare([invent("layermix-cifar", attacked=None), invent("plain")])
    assert "pgd_error" not in found.groups[0].means
    assert "pgd_error" not in found.groups[0].differences
    assert "pgd_error" in found.groups[1].means


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seen": {"clean": "b"}}, "pictures of clean"),
        ({"seen": {"C-bar-perlin_noise": "b"}}, "pictures of C-bar-perlin_noise"),
        ({"seen": {"anomaly-set3": "b"}}, "pictures of anomaly-set3"),
        ({"limit": 10}, "limit"),
        ({"seed_of_choice": 1}, "seed of the evaluation"),
        ({"stand_in": True}, "stand-ins, generated here"),
        ({"corruptions": 3}, "corruptions"),
        ({"attacked": dataclasses.replace(invent().attacked, kind="exact")}, "attack"),  # type: ignore[type-var]  # there
        ({"anomalies": {}, "clean": dataclasses.replace(scores(0.1), images=7)}, "clean pictures"),
    ],
)
def test_what_was_not_measured_alike_is_refused(other: dict[str, Any], words: str) -> None:
    choice = other.pop("seed_of_choice", 0)
    different = dataclasses.replace(invent("layermix-cifar", **other), seed=choice)
    with pytest.raises(UsageError, match=words):
        compare([invent(), different])


def test_pictures_are_the_same_wherever_they_lie_and_whoever_made_stand_ins_of_them() -> None:
    seen = {**invent().seen, "C-fog": "b", "anomaly-set0": "b"}
    runs = [invent(stand_in=True), invent("layermix-cifar", stand_in=True, source="elsewhere", seen=seen)]
    assert len(compare(runs).groups) == 2


def test_what_only_one_has_measured_is_named() -> None:
    with pytest.raises(UsageError, match=r"only in the first: jpeg_compression 1, .*and 2 more: evaluate both"):
        compare([invent(), invent("layermix-cifar", corruptions=14)])


def test_another_precision_is_told_and_two_of_one_seed_are_refused() -> None:
    assert any("float32, bfloat16" in note for note in compare([invent(), invent("x", precision="bfloat16")]).notes)
    twice = [invent(model={**invent().model, "weights": f"{run}.safetensors"}) for run in ("one", "other")]
    with pytest.raises(
        UsageError, match=r"more than one evaluation of seed 0 \(one\.safetensors, other\.safetensors\)"
    ):
        compare(twice)
    with pytest.raises(UsageError, match="at least two"):
        compare([invent()])


# ── Plots ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_radar_says_what_was_not_measured() -> None:
    pytest.importorskip("matplotlib")
    whole, part = (draw_radar({"plain": [one]}) for one in (invent(), invent(perturbed=None)))
    assert "not measured" not in whole.axes[0].get_title()  # type: ignore[union-attr]  # enough was
    assert "not measured: Consistency" in part.axes[0].get_title()  # type: ignore[union-attr]  # enough was


def test_plots_of_equal_results_are_equal_bytes_without_a_clock() -> None:
    pytest.importorskip("matplotlib")
    runs = {"plain": [invent()], "_$\\frac$ <b>\n\u6f22": [invent("layermix-cifar", error=0.05)]}
    first, second = draw_all(runs), draw_all(runs)
    assert first == second
    assert set(first) == {"radar.svg", "radar.png", "calibration.svg", "calibration.png"}
    for name in ("radar.svg", "calibration.svg"):
        assert not re.search(rb"<b>|dc:date|\d{4}-\d\d-\d\d", first[name])
    assert draw_all({"plain": [invent(error=0.11)], "b": [invent()]}) != first


def test_calibration_is_the_mean_over_corruptions_at_each_severity() -> None:
    wanted = {0: 0.02} | {severity: severity / 50 for severity in range(1, 6)}
    assert rms_by_severity([invent(), invent(seed=1)]) == pytest.approx(wanted)
    assert rms_by_severity([invent(corruptions=0)]) == {}


def test_too_little_to_draw_is_not_drawn() -> None:
    pytest.importorskip("matplotlib")
    assert draw_all({"plain": [invent(corruptions=0, attacked=None)]}) == {}


# ── What is written ───────────────────────────────────────────────────────────────────────────────


def test_a_report_stands_beside_the_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_report(invent(), tmp_path, told)
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.md",
        "results.tex",
        *(f"{name}.{kind}" for name in ("radar", "calibration") for kind in ("svg", "png")),
    }
    text = (tmp_path / "results.md").read_text()
    assert "| plain, wrn40\\_4, seed 0 |" in text
    assert "gaussian noise" in text
    assert r"\toprule" in (tmp_path / "results.tex").read_text()


def test_tables_are_written_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise MissingExtra("matplotlib", "plots")

    monkeypatch.setattr(plots, "_require_matplotlib", absent)
    said: list[str] = []
    write_report(invent(), tmp_path, said.append)
    assert {path.name for path in tmp_path.iterdir()} == {"results.md", "results.tex"}
    assert "plots are left out" in said[0]
    assert ".[plots]" in said[0]


def test_a_comparison_comes_from_files_and_goes_to_files(tmp_path: Path) -> None:
    runs = trials(0, 1)
    folders = [save(tmp_path / f"run{number}/eval/same", one) for number, one in enumerate(runs)]
    assert [summary(read_results(path)) for path in find_results(folders)] == [summary(one) for one in runs]
    save(tmp_path / "run0/eval/another", runs[0])
    given = [folder.parent.parent for folder in folders]
    assert find_results(given) == [folder / "results.json" for folder in folders]
    done = write_comparison(given, tmp_path / "out", told)
    assert done.comparison == compare(runs)
    assert (tmp_path / "out/comparison.md").read_text() == done.text
    assert json.loads((tmp_path / "out/comparison.json").read_text()) == json.loads(
        json.dumps(comparison_json(compare(runs)))
    )
    save(tmp_path / "run1/eval/another", runs[1])
    with pytest.raises(UsageError, match="does not say which evaluation"):
        find_results(given[:2])
    with pytest.raises(UsageError, match="there is no"):
        find_results([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("group", "spoilt"),
    [
        ("clean", {"error": "x"}),
        ("clean", {"images": 1.5}),
        ("clean", {"rms": None}),
        ("attacked", {"kind": 3}),
        ("anomalies", {"set0": {"images": 50, "drawn": "yes", "auroc": 0.9, "aupr": 0.6}}),
        ("seen", {"clean": 3}),
        ("", {"seen": []}),
        ("", {"source": None}),
        ("", {"limit": "10"}),
        ("", {"missing": [1]}),
        ("perturbed", {"label": 1}),
    ],
)
def test_values_of_another_type_are_damage(group: str, spoilt: dict[str, Any], tmp_path: Path) -> None:
    told = json.loads(json.dumps(to_json(invent())))
    (told[group] if group else told).update(spoilt)
    (tmp_path / "results.json").write_text(json.dumps(told))
    with pytest.raises(Damage, match=r"results\.json is damaged .*evaluate again"):
        read_results(tmp_path / "results.json")


def test_results_of_no_network_are_damage(tmp_path: Path) -> None:
    save(tmp_path / "x", dataclasses.replace(invent(), model=[]))  # type: ignore[arg-type]  # the fault
    with pytest.raises(Damage, match=r"damaged \(model is \[\]\)"):
        read_results(tmp_path / "x/results.json")


def test_the_command_compares(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [str(save(tmp_path / f"{number}", one)) for number, one in enumerate(trials(0))]
    assert command(["eval", "--compare", *folders]) == 0
    assert "| layermix-cifar, wrn40\\_4 | 1 | −9.0 |" in capfd.readouterr().out
    assert command(["eval", "--compare", *folders, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["baseline"] == "plain, wrn40_4"
    for wrong in (["--compare", *folders, "--on", "demo"], [*folders, "--on", "demo"], folders[:1]):
        assert command(["eval", *wrong]) == 2
    assert "--on is missing" in capfd.readouterr().err
