"""Tables of evaluations in the papers' shape, as Markdown and as LaTeX.

    Results, ... -> Table (plain text in cells) -> markdown | latex

Rule: a cell is plain text until it is written, and escaped then; names in checkpoints are strangers'. What was not
measured as published has a column of its own that says so, and published figures never stand in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixbake.evaluate.published import PUBLISHED, PublishedRow, dataset_of
from mixbake.evaluate.results import METRICS, C, Results, measured, variant_of
from mixbake.storage.card import escape_markdown

NOTHING = "–"
NO_PERCENT = ("mt5d",)
"""Metrics that are no shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Plain text. head, and as many cells in each row. notes: lines below."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A metric, and in which way it differs from the published one: "" if in none."""

    metric: str
    variant: str

    @property
    def title(self) -> str:
        """Its head; the arrow points where better values are."""
        metric = METRICS[self.metric]
        return f"{metric.title}{f', {self.variant}' if self.variant else ''} {'↓' if metric.lower else '↑'}"


def name_of(results: Results) -> str:
    """What the rows of a run are called: recipe, network, what is mixed while training, the consistency loss."""
    training = _part_of(results, "training")
    mix = [] if training.get("mix", "none") == "none" else [str(training["mix"])]
    loss = ["JSD"] if training.get("loss") == "jsd" else []
    name, network = recipe_of(results).get("name", "weights of others"), results.model.get("model", "unknown network")
    return ", ".join([str(name), str(network), *mix, *loss])


def recipe_of(results: Results) -> Mapping[str, Any]:
    """The recipe of the bake that a run was trained on; {} of weights that do not say."""
    recipe = _part_of(results, "baking").get("recipe")
    return recipe if isinstance(recipe, Mapping) else {}


def _part_of(results: Results, name: str) -> Mapping[str, Any]:
    """A part of what a checkpoint says of itself; a stranger's may be anything."""
    part = results.model.get(name)
    return part if isinstance(part, Mapping) else {}


def spell(metric: str, value: float | None) -> str:
    """A value as tables have it: percent with one decimal, or a plain number."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if metric in NO_PERCENT else f"{100 * value:.1f}"


def title_of(results: Sequence[Results]) -> str:
    """What was looked at: sets as given, and how many pictures of each."""
    sources = dict.fromkeys(one.source for one in results)
    limits = dict.fromkeys(one.limit for one in results)
    limited = [f"at most {limit:,} pictures of each set" for limit in limits if limit is not None]
    return "; ".join([f"Evaluation on {', '.join(sources)}", *limited])


def summary_table(results: Sequence[Results]) -> Table:
    """One row a run, one column a metric, in percent; below them what was published of the same set, with sources."""
    datasets = {dataset_of([*map(str, one.model.get("classes", ()))]) for one in results}
    known = datasets.pop() if len(datasets) == 1 else None
    published = [row for row in PUBLISHED if row.dataset == known]
    own = [
        {Column(name, variant_of(one, name)): value for name, value in measured(one).items() if value is not None}
        for one in results
    ]
    theirs = [{Column(name, ""): value for name, value in row.metrics.items()} for row in published]
    order = list(METRICS)
    columns = sorted(
        {column for cells in (*own, *theirs) for column in cells},
        key=lambda column: (order.index(column.metric), column.variant),
    )
    sources = list(dict.fromkeys(row.source for row in published))
    rows = [
        (f"{name_of(one)}, seed {one.model.get('seed', NOTHING)}", cells)
        for one, cells in zip(results, own, strict=True)
    ]
    rows += [
        (_spell_row(row, sources.index(row.source) + 1), cells) for row, cells in zip(published, theirs, strict=True)
    ]
    return Table(
        title=title_of(results),
        head=("Method", *(column.title for column in columns)),
        rows=tuple((name, *(spell(column.metric, cells.get(column)) for column in columns)) for name, cells in rows),
        notes=(
            *_labels(results),
            *(["Published rows are of whole test sets."] if published else []),
            *_particulars(published),
            *(f"{_superscript(number)} {source}" for number, source in enumerate(sources, 1)),
        ),
    )


def corruption_table(results: Sequence[Results], group: str = C) -> Table | None:
    """Mean error over severities of each corruption, one row a run, in percent. None if nobody measured any."""
    found = [(one, one.corruptions[group]) for one in results if group in one.corruptions]
    if not found:
        return None
    names = list(dict.fromkeys(name for _, corrupted in found for name in corrupted.found))
    return Table(
        title=f"Errors by corruption, mean over severities. {title_of([one for one, _ in found])}",
        head=("Method", "Set", *(name.replace("_", " ") for name in names)),
        rows=tuple(
            (
                f"{name_of(one)}, seed {one.model.get('seed', NOTHING)}",
                "stand-in" if corrupted.stand_in else "as published",
                *(spell("mce", corrupted.found[name].error if name in corrupted.found else None) for name in names),
            )
            for one, corrupted in found
        ),
        notes=_labels(results),
    )


def _labels(results: Sequence[Results]) -> tuple[str, ...]:
    """What the groups of pictures are called, and what is missing, a line each."""
    lines = [f"{name}: {group.label}" for one in results for name, group in one.corruptions.items()]
    lines += [f"Videos: {one.perturbed.label}" for one in results if one.perturbed]
    lines += [f"Anomalies: {', '.join(one.anomalies)}" for one in results if one.anomalies]
    lines += [f"Missing: {line}" for one in results for line in one.missing]
    return tuple(dict.fromkeys(lines))


def _spell_row(row: PublishedRow, source: int) -> str:
    """A published row's name; its source as a superscript."""
    return f"{row.method}{f', {row.network}' if row.network else ''} {_superscript(source)}"


def _particulars(published: Sequence[PublishedRow]) -> list[str]:
    """How each published row was made, a line each."""
    return [
        f"{row.method}, {row.network or 'network not said'}, published"
        f"{', run by others than its authors' if row.rerun else ''}: {row.epochs or 'unknown'} epochs; "
        f"operations: {row.op_set}; mixing set: {row.mixing_set}; JSD: {_SAID[row.jsd]}; "
        f"{', '.join(METRICS[name].title for name in row.metrics)}"
        for row in published
    ]


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", _RAISED))


_SAID = {True: "yes", False: "no", None: "not said"}
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after a row's end it would be a length
    "]": "{]}",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{letter: f"\\textsuperscript{{{digit}}}" for digit, letter in enumerate(_RAISED)},
}


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands: no command, no cell or line of its own; what has no letter is a space."""
    return "".join(_LATEX.get(letter, letter) for letter in one_line(text))


def one_line(text: str) -> str:
    """Printable characters alone; others, which may hide text or turn it round, are spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def markdown(table: Table) -> str:
    """As GitHub reads it, with a title above and notes below; ends with a newline."""
    lines = [f"**{escape_markdown(one_line(table.title))}**", ""]
    lines += [_markdown_row(table.head), "|---|" + "---:|" * (len(table.head) - 1)]
    lines += [_markdown_row(row) for row in table.rows]
    notes = [f"- {escape_markdown(one_line(note))}" for note in table.notes]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escape_markdown(one_line(cell)) for cell in cells)} |"


def latex(table: Table) -> str:
    """A table that needs the package booktabs; ends with a newline."""
    lines = [
        r"\begin{table}",
        r"\caption{" + escape_latex(table.title) + "}",
        r"\begin{tabular}{l" + "r" * (len(table.head) - 1) + "}",
        r"\toprule",
        _latex_row(table.head),
        r"\midrule",
        *(_latex_row(row) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(r"\par\footnotesize " + escape_latex(note) for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"
