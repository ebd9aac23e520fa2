"""What is written for people beside results.json, and about several of them.

    EVAL/results.md  results.tex  radar.svg .png  calibration.svg .png
    OUT/comparison.md  comparison.tex  comparison.json  radar.svg .png  calibration.svg .png

Rule: results.json is the record; everything here can be made again from it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixbake.errors import MissingExtra, UsageError
from mixbake.evaluate.compare import Comparison, compare, comparison_json, comparison_tables, group_runs
from mixbake.evaluate.plots import Runs, draw_all
from mixbake.evaluate.results import C_BAR, C, Results
from mixbake.evaluate.stored import RESULTS, from_json
from mixbake.evaluate.tables import Table, corruption_table, latex, markdown, name_of, summary_table
from mixbake.storage.store import publish_bytes, read_json

COMPARISON = "comparison"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A comparison, and its tables as Markdown."""

    comparison: Comparison
    text: str


def write_report(results: Results, folder: Path, say: Callable[[str], None]) -> None:
    """Tables and plots of one evaluation, into its folder. say: told what is left out. Raises StorageError."""
    tables = [summary_table([results]), *(corruption_table([results], group) for group in (C, C_BAR))]
    _write_tables([table for table in tables if table is not None], folder, "results")
    _write_plots({name_of(results): [results]}, folder, say)


def write_comparison(paths: Sequence[Path], out: Path | None, say: Callable[[str], None]) -> Compared:
    """Compare evaluations; write tables, JSON and plots into a folder if there is one.

    paths: runs' folders, folders of evaluations, or files results.json. Raises UsageError for what cannot be found or
    compared, Damage, StorageError.
    """
    results = [read_results(path) for path in find_results(paths)]
    comparison = compare(results)
    corruptions = [table for group in (C, C_BAR) if (table := corruption_table(results, group))]
    tables = [*comparison_tables(comparison), *corruptions]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        content = json.dumps(comparison_json(comparison), indent=1, allow_nan=False) + "\n"
        publish_bytes(out / f"{COMPARISON}.json", content.encode())
        _write_tables(tables, out, COMPARISON)
        _write_plots(group_runs(results), out, say)
    return Compared(comparison=comparison, text=_spell_tables(tables))


def find_results(paths: Sequence[Path]) -> list[Path]:
    """The results.json of each path. Of a run that was evaluated in several ways, the way that all runs share.

    Raises UsageError when there is none, or more than one.
    """
    runs = {path: _evaluations(path) for path in paths if not _own_results(path)}
    shared = set.intersection(*(set(found) for found in runs.values())) if runs else set()
    chosen = []
    for path in paths:
        own = _own_results(path)
        if own:
            chosen.append(own)
            continue
        found = runs[path]
        names = sorted(found if len(found) == 1 else shared)
        if len(names) != 1:
            known = ", ".join(sorted(found)) or "none"
            raise UsageError(
                f"{path} does not say which evaluation to compare (it has: {known}): evaluate all runs with the same "
                f"settings, or name the folders that hold {RESULTS}"
            )
        chosen.append(found[names[0]])
    return chosen


def _own_results(path: Path) -> Path | None:
    if path.is_file():
        return path
    return path / RESULTS if (path / RESULTS).is_file() else None


def _evaluations(run: Path) -> Mapping[str, Path]:
    """Name -> results of every finished evaluation under a run's folder."""
    if not run.is_dir():
        raise UsageError(f"there is no {run}: give runs' folders, or folders that hold {RESULTS}")
    return {path.parent.name: path for path in sorted(run.glob(f"eval/*/{RESULTS}"))}


def read_results(path: Path) -> Results:
    """The results in a file. Raises Damage, StorageError, UsageError."""
    return from_json(read_json(path), str(path))


def _spell_tables(tables: Sequence[Table]) -> str:
    return "\n".join(map(markdown, tables))


def _write_tables(tables: Sequence[Table], folder: Path, name: str) -> None:
    publish_bytes(folder / f"{name}.md", _spell_tables(tables).encode())
    publish_bytes(folder / f"{name}.tex", "\n".join(map(latex, tables)).encode())


def _write_plots(runs: Runs, folder: Path, say: Callable[[str], None]) -> None:
    try:
        files = draw_all(runs)
    except MissingExtra as absent:
        say(f"plots are left out: {absent}")
        return
    for name, content in files.items():
        publish_bytes(folder / name, content)
