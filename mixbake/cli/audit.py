"""The command that audits bakes: one page of everything that is known of one."""

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from mixbake.cli.app import AsJson, Seed, app
from mixbake.errors import Damage, PlanDiffers, UsageError


@app.command()
def audit(
    shards: Annotated[Path, typer.Argument(help="The folder of a finished bake.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page; NAME-audit.html of SHARDS' name if not given.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="The images it was made of, if they moved.")] = None,
    mixing_set: Annotated[
        str | None, typer.Option("--mixing-set", help="Prepare these pictures again instead of the bake's own file.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Folder of test pictures: are any of them in the source?")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", help="A signal that must be 0, or NAME=MOST at most; may be given several times."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Verify every byte, record and row of the index.")] = False,
    sample: Annotated[int, typer.Option("--sample", help="Variants in the gallery.")] = 96,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Audit a bake into one page: integrity, distribution, signals, a gallery; exit code 6 if it does not pass."""
    from mixbake.audit.page import write_page  # noqa: PLC0415 - quick --help
    from mixbake.audit.report import Asked  # noqa: PLC0415
    from mixbake.audit.report import audit as run_audit  # noqa: PLC0415
    from mixbake.audit.signals import SIGNALS  # noqa: PLC0415
    from mixbake.progress import counting_each  # noqa: PLC0415
    from mixbake.storage.store import publish_bytes  # noqa: PLC0415

    most = dict(_limit(words, SIGNALS) for words in fail_on or [])
    asked = Asked(source=source, mixing_set=mixing_set, against=against, full=full, sample=sample, seed=seed)
    page = output or Path(f"{shards.resolve().name}-audit.html")
    _check_place(page)
    with counting_each() as progress:
        report = run_audit(shards, asked, progress=progress)
    publish_bytes(page, write_page(report))
    if as_json:
        typer.echo(json.dumps(report.to_json() | {"page": str(page)}))
    else:
        for line in report.lines():
            typer.echo(line)
        typer.echo(f"page {page}")
    if failures := [*report.failures, *report.stands_out(most)]:
        raise Damage(f"{shards} does not pass: {'; '.join(failures)}: see {page}")
    if report.refused:
        raise PlanDiffers(report.refused[0])


def _limit(words: str, signals: Collection[str]) -> tuple[str, float]:
    """NAME or NAME=MOST of --fail-on."""
    name, given, value = words.partition("=")
    if name not in signals:
        raise UsageError(f"--fail-on {words}: there is no such signal: choose from {', '.join(signals)}")
    try:
        most = float(value) if given else 0.0
    except ValueError:
        most = math.nan
    if not 0 <= most < math.inf:
        raise UsageError(f"--fail-on {words}: {value!r} is no number from 0 on: write {name} or {name}=0.01")
    return name, most


def _check_place(page: Path) -> None:
    """Raise UsageError unless the page can be written where no other file is; known before the work is done."""
    from mixbake.audit.page import is_page  # noqa: PLC0415 - quick --help

    if page.is_symlink() or (page.exists() and not (page.is_file() and is_page(page))):
        raise UsageError(f"{page} is there and no page of an audit: name something new with -o, or delete it first")
    if not page.parent.is_dir():
        raise UsageError(f"{page}: there is no folder {page.parent}: make it first")
