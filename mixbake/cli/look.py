"""Commands that look into bakes: what is in them, what in one is not in another, and for others to know."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixbake.cli.app import AsJson, Seed, app
from mixbake.errors import Damage, UsageError

Shards = Annotated[Path, typer.Argument(help="The folder of a finished bake.")]


@app.command()
def info(shards: Shards, as_json: AsJson = False) -> None:
    """What is in a bake: recipe, counts, bytes, classes, layers, operations, blends, pictures, completeness."""
    from mixbake import audit  # noqa: PLC0415 - quick --help
    from mixbake.audit.contents import explain  # noqa: PLC0415 - quick --help

    found = audit.open(shards).info()
    typer.echo(json.dumps(found.to_json()) if as_json else explain(found))
    if found.missing:
        raise Damage(f"{shards} is not complete: `mixbake build --repair` with its own build command mends it")


@app.command()
def sample(
    shards: Shards,
    count: Annotated[int, typer.Option("--count", "-n", help="How many variants.")] = 64,
    where: Annotated[
        str | None, typer.Option("--where", help="Only these, in SQL: \"layer = 3 AND op = 'rotate'\".")
    ] = None,
    stratify: Annotated[
        str, typer.Option("--stratify", help="Equally many of each: class,layer,op,blend (the first), or some.")
    ] = "",
    seed: Seed = 0,
    source: Annotated[
        str | None, typer.Option("--source", help="The images it was made of: sheets then show crops, too.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new folder, grid.png, sheet.html or sample.tar; else a table is shown."),
    ] = None,
) -> None:
    """Pick variants by SQL and chance, and look at them: the same seed picks the same ones."""
    from mixbake import audit  # noqa: PLC0415 - quick --help
    from mixbake.audit.sample import spell_table, write_sample  # noqa: PLC0415 - quick --help

    if source is not None and output is None:
        raise UsageError("--source is for the crops on a sheet: name one with -o, as in -o sheet.html")
    bake = audit.open(shards)
    rows = bake.choose(count, where, [name.strip() for name in stratify.split(",") if name.strip()], seed)
    if output is None:
        typer.echo(spell_table(bake.catalog, rows))
    else:
        asked = "" if where is None else f", where {where}"
        spread = f", by {stratify}" if stratify else ""
        title = f"{shards}: {bake.bake.plan.recipe['name']}", f"{len(rows):,} variants, seed {seed}{spread}{asked}"
        write_sample(bake.catalog, rows, output, title=title, source=source)
        typer.echo(f"{len(rows):,} variants in {output}")
    if len(rows) < count:
        typer.echo(f"only {len(rows):,} variants were found", err=True)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="The folder of a finished bake.")],
    b: Annotated[Path, typer.Argument(help="The folder of another one.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw variants of both side by side: a new .png or .html.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many variants the sheet shows.")] = 8,
    seed: Seed = 0,
    source: Annotated[
        str | None, typer.Option("--source", help="The images that both were made of, if they moved.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two bakes: plans, what was drawn how often, variants of the same image and number."""
    from mixbake import audit  # noqa: PLC0415 - quick --help
    from mixbake.audit.beside import check_output, explain, write_strips  # noqa: PLC0415 - quick --help
    from mixbake.audit.compare import compare as run_compare  # noqa: PLC0415 - quick --help

    if source is not None and output is None:
        raise UsageError("--source is for the crops on a sheet: name one with -o, as in -o sheet.html")
    if output is not None:
        check_output(output)
    ours, theirs = audit.open(a).catalog, audit.open(b).catalog
    found = run_compare(ours, theirs, seed=seed)
    typer.echo(json.dumps(found.to_json()) if as_json else explain(found))
    if output is not None:
        shown = write_strips(ours, theirs, found, output, count=count, source=source)
        typer.echo(f"{shown:,} variants of both in {output}", err=True)


@app.command()
def export(
    shards: Shards,
    croissant: Annotated[bool, typer.Option("--croissant", help="Croissant 1.1, JSON-LD: croissant.json.")] = False,
    hf_card: Annotated[
        bool, typer.Option("--hf-card", help="A dataset card for the Hugging Face hub: README.md.")
    ] = False,
    timm: Annotated[bool, typer.Option("--timm", help="The splits of timm's wds/ data sets: _info.json.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write, instead of the usual one in SHARDS.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the pictures, as you know it: CC-BY-4.0; left out if not given.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Describe a bake to other people's tools, from its plan and receipts."""
    from mixbake.export.formats import export as run_export  # noqa: PLC0415 - quick --help

    chosen = [name for name, so in (("croissant", croissant), ("hf-card", hf_card), ("timm", timm)) if so]
    if len(chosen) != 1:
        raise UsageError("say one of --croissant, --hf-card and --timm")
    found = run_export(shards, chosen[0], output, licence=licence, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps({"path": str(found.path), "unknown": found.unknown}))
        return
    typer.echo(str(found.path))
    if found.unknown:
        typer.echo(f"unknown, and left out: {', '.join(found.unknown)}", err=True)
