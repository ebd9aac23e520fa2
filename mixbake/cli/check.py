"""Commands that check bakes: whether they are intact, how a variant was made, and all of that on one page."""

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from mixbake.cli.app import AsJson, Seed, app
from mixbake.errors import Damage, PlanDiffers, UsageError

Shards = Annotated[Path, typer.Argument(help="The folder of a finished bake.")]
OwnRecipe = Annotated[
    str | None, typer.Option("--recipe", help="The bake's recipe, if it is one's own: FILE.py:NAME; else not needed.")
]
Moved = Annotated[str | None, typer.Option("--source", help="The images it was made of, if they moved.")]
MixingSet = Annotated[
    list[str] | None,
    typer.Option(
        "--mixing-set", "--mixing", help="Prepare these pictures again instead of the bake's own file. Again for more."
    ),
]


@app.command()
def verify(
    shards: Shards,
    quick: Annotated[bool, typer.Option("--quick", help="Promises, and sizes of all files: the default.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Every byte, record and row of the index.")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every picture; implies --full.")] = False,
    replay: Annotated[int, typer.Option("--replay", help="Render so many variants again, chosen by chance.")] = 0,
    source: Annotated[
        str | None, typer.Option("--source", help="Compare the hashes of these images; also used by --replay.")
    ] = None,
    recipe: OwnRecipe = None,
    digest: Annotated[str, typer.Option("--digest", help="The bake digest that it must have.")] = "",
    as_json: AsJson = False,
) -> None:
    """Is a bake intact? Names every shard, sample and fault; exit code 6 when there is damage."""
    from mixbake.audit.faults import explain  # noqa: PLC0415 - quick --help
    from mixbake.audit.verify import Checks  # noqa: PLC0415 - quick --help
    from mixbake.audit.verify import verify as run_verify  # noqa: PLC0415 - quick --help
    from mixbake.progress import counting_each  # noqa: PLC0415 - quick --help

    if quick and (full or decode):
        raise UsageError("--quick looks at no contents: leave it out, or leave out --full and --decode")
    checks = Checks(full=full, decode=decode, replay=replay, source=source, recipe=recipe, digest=digest.lower())
    with counting_each() as progress:
        found = run_verify(shards, checks, progress=progress)
    typer.echo(json.dumps(found.to_json()) if as_json else explain(found))
    if not found.intact:
        raise Damage(f"{shards} is damaged: `mixbake build --repair` with the command that baked it makes it whole")
    if found.differing:
        raise PlanDiffers(f"the source is not the one that was baked into {shards}: {found.differing[0]}")


@app.command()
def replay(
    shards: Shards,
    key: Annotated[str, typer.Argument(help="Of the variant, as in 00000042-0003.")],
    source: Moved = None,
    mixing_set: MixingSet = None,
    recipe: OwnRecipe = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw the strip here (PNG): source, crop, steps, result.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a variant again from its metadata and compare it with what is stored."""
    from mixbake.audit.replay import Replayer  # noqa: PLC0415 - quick --help
    from mixbake.audit.strip import draw_strip  # noqa: PLC0415 - quick --help
    from mixbake.storage.opened import Bake  # noqa: PLC0415 - quick --help
    from mixbake.storage.shelf import LocalShelf  # noqa: PLC0415 - quick --help
    from mixbake.storage.store import publish_bytes  # noqa: PLC0415 - quick --help

    if output is not None and output.suffix.lower() != ".png":
        raise UsageError(f"--output {output}: a strip is a PNG: name it .png")
    replayer = Replayer(
        Bake.open(LocalShelf(shards)), shards, source=source, mixing_set=mixing_set or (), recipe=recipe
    )
    found = replayer.replay(*replayer.find(key))
    if output is not None:
        publish_bytes(output, draw_strip(found))
    typer.echo(json.dumps(found.to_json()) if as_json else f"{found.shard}, {found.variant.key}: {found.verdict}")
    found.require_equal()


@app.command()
def index(
    shards: Shards,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make damaged or missing ones again, from the tars and receipts.")
    ] = False,
    source: Annotated[
        str | None, typer.Option("--source", help="The images it was made of, if they moved; for images.parquet.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Are indexes, images.parquet and lengths whole? Exit code 6 when not; --rebuild makes them again."""
    from mixbake.audit.rebuild import explain, look  # noqa: PLC0415 - quick --help
    from mixbake.audit.rebuild import rebuild as run_rebuild  # noqa: PLC0415 - quick --help
    from mixbake.progress import counting_each  # noqa: PLC0415 - quick --help

    if source is not None and not rebuild:
        raise UsageError("--source goes with --rebuild: looking needs no source")
    if rebuild:
        with counting_each() as progress:
            found = run_rebuild(shards, source=source, progress=progress)
    else:
        found = look(shards)
    typer.echo(json.dumps(found.to_json()) if as_json else explain(found))
    if not found.whole:
        raise Damage(f"{shards} has damaged indexes: `mixbake index --rebuild` makes them again from its tars")


@app.command()
def audit(
    shards: Annotated[Path, typer.Argument(help="The folder of a finished bake.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page; NAME-audit.html of SHARDS' name if not given.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="The images it was made of, if they moved.")] = None,
    mixing_set: MixingSet = None,
    recipe: OwnRecipe = None,
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
    from mixbake.audit.report import Asked  # noqa: PLC0415 - quick --help
    from mixbake.audit.report import audit as run_audit  # noqa: PLC0415 - quick --help
    from mixbake.audit.signals import SIGNALS  # noqa: PLC0415 - quick --help
    from mixbake.progress import counting_each  # noqa: PLC0415 - quick --help
    from mixbake.storage.store import publish_bytes  # noqa: PLC0415 - quick --help

    most = dict(_limit(words, SIGNALS) for words in fail_on or [])
    asked = Asked(
        source=source,
        mixing_set=tuple(mixing_set or ()),
        recipe=recipe,
        against=against,
        full=full,
        sample=sample,
        seed=seed,
        most=most,
    )
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
    if report.failures:
        raise Damage(f"{shards} does not pass: {'; '.join(report.failures)}: see {page}")
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
