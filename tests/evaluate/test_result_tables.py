"""Tables: every figure where it belongs, published ones with their sources, hostile names without effect."""

import dataclasses
import re
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from invented import CIFAR10, invent, scores

from mixbake.evaluate.published import ALEXNET_ERRORS, DATASETS, PUBLISHED
from mixbake.evaluate.results import (
    C_BAR,
    METRICS,
    C,
    Corrupted,
    Flips,
    Perturbed,
    Results,
    Severities,
    lines,
    normalised_mce,
    summary,
)
from mixbake.evaluate.stored import to_json
from mixbake.evaluate.tables import (
    NOTHING,
    Table,
    corruption_table,
    escape_latex,
    latex,
    markdown,
    summary_table,
)

ONE_VIDEO = {"tilt": Flips(videos=5, frames=3, flip_probability=0.05, top5_distance=1.5)}


def column(table: Table, title: str) -> list[str]:
    """Cells of the column of that head, without its arrow."""
    return [row[[head[:-2] for head in table.head].index(title)] for row in table.rows]


# ── Published figures ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.method}-{row.dataset}-{row.network}")
def test_every_published_row_names_its_source_and_holds_shares_of_known_metrics(row) -> None:
    assert re.search(r"arXiv \d{4}\.\d{5}|RobustBench|hendrycks/robustness", row.source)
    assert row.dataset in DATASETS.values()
    assert set(row.metrics) <= set(METRICS)
    assert row.metrics
    assert all(0 < value < 1 for value in row.metrics.values())


def test_a_network_that_errs_as_alexnet_has_an_mce_of_one() -> None:
    def of(found: dict[str, Severities], *, imagenet: bool = True) -> Results:
        group = Corrupted(label="ImageNet-C", stand_in=False, imagenet=imagenet, pooled=False, found=found)
        return invent(corruptions={C: group})

    found = {
        name: Severities(scores={s: scores(error + (s - 3) / 100) for s in range(1, 6)}, rms=0.1)
        for name, error in ALEXNET_ERRORS.items()
    }
    assert len(found) == 15
    assert normalised_mce(of(found)) == pytest.approx(1)
    assert normalised_mce(of(found, imagenet=False)) is None
    assert normalised_mce(of({name: one for name, one in found.items() if name != "fog"})) is None


def test_calibration_under_corruption_is_pooled_where_it_is_published_so() -> None:
    group = invent().corruptions[C]
    assert METRICS["rms_corrupted"].value(invent()) == pytest.approx(0.05)
    each = invent(corruptions={C: dataclasses.replace(group, pooled=False)})
    assert METRICS["rms_corrupted"].value(each) == pytest.approx(0.06)


def test_published_rows_stand_below_ones_own_of_the_same_classes_alone() -> None:
    theirs = [row for row in PUBLISHED if row.dataset == "CIFAR-10"]
    table = summary_table([invent(), invent(seed=1)])
    assert len(table.rows) == 2 + len(theirs)
    assert table.rows[0][0] == "plain, wrn40_4, seed 0"
    assert column(table, "mCE")[2:] == [f"{100 * row.metrics['mce']:.1f}" for row in theirs]
    notes = "\n".join(table.notes)
    assert all(row.source in notes and row.op_set in notes and row.mixing_set in notes for row in theirs)
    for classes in (CIFAR10[:9], [*CIFAR10[:9], "zebra"], []):
        model = {**invent().model, "classes": classes}
        assert len(summary_table([invent(model=model)]).rows) == 1


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.method}-{row.dataset}-{row.network}")
def test_what_a_source_does_not_say_is_not_made_up(row) -> None:
    count, first, last = next(classes for classes, dataset in DATASETS.items() if dataset == row.dataset)
    model = {**invent().model, "classes": [first, *(f"{first}{number:04d}" for number in range(count - 2)), last]}
    notes = summary_table([invent(model=model)]).notes
    about = [note for note in notes if note.startswith(f"{row.method}, {row.network or 'network not said'}, published")]
    said = {True: "JSD: yes", False: "JSD: no;", None: "JSD: not said"}[row.jsd]
    assert any(said in note for note in about)


# ── What is labelled ──────────────────────────────────────────────────────────────────────────────


def test_what_was_not_measured_as_published_never_stands_in_a_published_column() -> None:
    table = summary_table([invent(stand_in=True)])
    assert column(table, "mCE, stand-in")[0] == "16.0"
    assert set(column(table, "mCE, stand-in")[1:]) == {NOTHING}
    assert column(table, "mCE")[0] == NOTHING
    assert column(table, "RMS, corrupted, stand-in")[0] == "5.0"


def cut_short() -> Corrupted:
    """All sets, one of which has lost a picture."""
    group = invent().corruptions[C]
    fog = group.found["fog"].scores
    lost = dataclasses.replace(fog[5], images=fog[5].images - 1)
    found = {**group.found, "fog": dataclasses.replace(group.found["fog"], scores={**fog, 5: lost})}
    return dataclasses.replace(group, found=found)


@pytest.mark.parametrize(
    ("changed", "title"),
    [
        ({"corruptions": 3}, "mCE, 15 of 75 sets"),
        ({"attacked": dataclasses.replace(invent().attacked, kind="exact")}, "PGD error, exact"),
        ({"anomalies": {"set0": invent().anomalies["set0"]}}, "AUROC, 1 set"),
        ({"clean": dataclasses.replace(invent().clean, images=300)}, "AUPR, smaller sets"),
        ({"corruptions": {C: cut_short()}}, "mCE, some sets cut short"),
        ({"limit": 50}, "Clean error, at most 50 pictures"),
        ({"limit": 50, "stand_in": True}, "mCE, stand-in, at most 50 pictures"),
        (
            {"perturbed": Perturbed(label="P", flips=ONE_VIDEO)},
            "mFP, 1 of 10 perturbations",
        ),
    ],
)
def test_what_is_incomplete_or_different_says_so(changed, title: str) -> None:
    assert column(summary_table([invent(**changed)]), title)[0] != NOTHING


@pytest.mark.parametrize(
    ("changed", "metric", "variant"),
    [
        ({"corruptions": 3}, "mce", "15 of 75 sets"),
        ({"stand_in": True}, "rms_corrupted", "stand-in"),
        ({"perturbed": Perturbed(label="P", flips=ONE_VIDEO)}, "mfp", "1 of 10 perturbations"),
    ],
)
def test_the_summary_has_what_was_measured_as_published_alone(changed, metric: str, variant: str) -> None:
    """The rest stands beside it, and says in which way it is another figure."""
    assert summary(invent())[metric] is not None
    assert to_json(invent())["measured_otherwise"] == {}
    told = to_json(invent(**changed))
    assert told["summary"][metric] is None
    assert told["measured_otherwise"][metric] == {
        "value": METRICS[metric].value(invent(**changed)),
        "variant": variant,
    }
    assert [line for line in lines(invent(**changed)) if METRICS[metric].title in line and f"({variant})" in line]
    assert not [line for line in lines(invent()) if f"({variant})" in line]


def test_both_sets_have_a_mean_only_when_both_are_whole() -> None:
    def both(*counts: int, stand_in: bool = False) -> float | None:
        groups = {
            name: Corrupted(
                label=name,
                stand_in=stand_in and name == C,
                imagenet=False,
                pooled=True,
                found={
                    f"c{n}": Severities(scores=dict.fromkeys(range(1, 6), scores(error)), rms=0) for n in range(count)
                },
            )
            for name, count, error in zip((C, C_BAR), counts, (0.1, 0.2), strict=True)
        }
        return METRICS["c_and_c_bar_error"].value(dataclasses.replace(invent(), corruptions=groups))

    assert both(15, 10) == pytest.approx(0.14)
    assert both(14, 10) is None
    assert both(15, 9) is None
    assert both(15, 10, stand_in=True) is None


def test_the_limit_is_in_the_title_and_what_is_missing_below() -> None:
    table = summary_table([invent(limit=1234, missing=("fog.npy",))])
    assert "at most 1,234 pictures of each set" in table.title
    assert "Missing: fog.npy" in table.notes
    assert "at most" not in summary_table([invent()]).title


# ── Small tables, letter by letter ────────────────────────────────────────────────────────────────

SMALL = Table(
    title="Runs of a_b",
    head=("Method", "mCE ↓"),
    rows=(("x & y ¹", "12.3 ± 0.4"), ("50%|", "–")),
    notes=("¹ see <there>",),
)


def test_markdown_of_a_small_table() -> None:
    assert markdown(SMALL) == (
        "**Runs of a\\_b**\n\n| Method | mCE ↓ |\n|---|---:|\n| x & y ¹ | 12.3 ± 0.4 |\n| 50%\\| | – |\n\n"
        "- ¹ see \\<there\\>\n"
    )


def test_latex_of_a_small_table() -> None:
    assert latex(SMALL).splitlines() == [
        r"\begin{table}",
        r"\caption{Runs of a\_b}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"Method & mCE $\downarrow$ \\",
        r"\midrule",
        r"x \& y \textsuperscript{1} & 12.3 $\pm$ 0.4 \\",
        r"50\%\textbar{} & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\footnotesize \textsuperscript{1} see \textless{}there\textgreater{}",
        r"\end{table}",
    ]


def test_corruptions_are_means_over_severities_of_each_run() -> None:
    table = corruption_table([invent(), invent(recipe="layermix-cifar", error=0.0, stand_in=True)])
    assert table is not None
    assert table.head[2:4] == ("gaussian noise", "shot noise")
    assert [row[:3] for row in table.rows] == [
        ("plain, wrn40_4, seed 0", "as published", "16.0"),
        ("layermix-cifar, wrn40_4, seed 0", "stand-in", "6.0"),
    ]
    assert corruption_table([invent(corruptions=0)]) is None


# ── Hostile names ─────────────────────────────────────────────────────────────────────────────────

HOSTILE = r"a|b\\c{d}$e$#%&_^~<script>[x](http://y)`z`" + "\n\r\u2028\u202e\x1b[31m| injected |"


def test_a_hostile_name_stays_one_cell() -> None:
    model = {**invent().model, "baking": {"recipe": {"name": HOSTILE}}, "model": HOSTILE, "classes": []}
    table = summary_table([invent(model=model, source=HOSTILE, missing=(HOSTILE,))])
    plain = summary_table([invent(model={**invent().model, "classes": []}, source="x", missing=("x",))])
    for written, usual in ((markdown(table), markdown(plain)), (latex(table), latex(plain))):
        assert len(written.splitlines()) == len(usual.splitlines())
        assert not re.search("[\x00-\x09\x0b-\x1f\u2028\u202e]", written)
    row = next(line for line in markdown(table).splitlines() if "script" in line and line.startswith("|"))
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == len(table.head) + 1


@settings(max_examples=200, deadline=None)
@given(text=st.text())
@example(text=string.printable)
def test_no_text_is_a_command_of_latex(text: str) -> None:
    escaped = escape_latex(text)
    words = "backslash|asciitilde|asciicircum|less|greater|bar|quotedbl|asciigrave"
    known = (
        rf"\\text(?:{words})\{{\}}|\$\\(?:downarrow|uparrow|pm)\$|\$-\$|"
        r"\\textsuperscript\{\d\}|\{[\[\]]\}|\\[&%$#_{}]"
    )
    assert not re.search(r"[\\&%$#_{}~^\"`\[\]\n]", re.sub(known, "", escaped))
