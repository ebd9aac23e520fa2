"""Commands that check bakes: whether they are intact, and how a variant was made."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixbake.cli.app import AsJson, app
from mixbake.errors import Damage, PlanDiffers, UsageError

Shards = Annotated[Path, typer.Argument(help="The folder of a finished bake.")]
Moved = Annotated[str | None, typer.Option("--source", help="The images it was made of, if they moved.")]


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
    digest: Annotated[str, typer.Option("--digest", help="The bake digest that it must have.")] = "",
    as_json: AsJson = False,
) -> None:
    """Is a bake intact? Names every shard, sample and fault; exit code 6 when there is damage."""
    from mixbake.audit.faults import explain  # noqa: PLC0415 - quick --help
    from mixbake.audit.verify import Checks  # noqa: PLC0415
    from mixbake.audit.verify import verify as run_verify  # noqa: PLC0415
    from mixbake.progress import counting_each  # noqa: PLC0415

    if quick and (full or decode):
        raise UsageError("--quick looks at no contents: leave it out, or leave out --full and --decode")
    checks = Checks(full=full, decode=decode, replay=replay, source=source, digest=digest.lower())
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
    mixing_set: Annotated[
        str | None, typer.Option("--mixing-set", help="Prepare these pictures again instead of the bake's own file.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw the strip here (PNG): source, crop, steps, result.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a variant again from its metadata and compare it with what is stored."""
    from mixbake.audit.replay import Replayer  # noqa: PLC0415 - quick --help
    from mixbake.audit.strip import draw_strip  # noqa: PLC0415
    from mixbake.storage.opened import Bake  # noqa: PLC0415
    from mixbake.storage.shelf import LocalShelf  # noqa: PLC0415
    from mixbake.storage.store import publish_bytes  # noqa: PLC0415

    replayer = Replayer(Bake.open(LocalShelf(shards)), shards, source=source, mixing_set=mixing_set)
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
    from mixbake.audit.rebuild import rebuild as run_rebuild  # noqa: PLC0415
    from mixbake.progress import counting_each  # noqa: PLC0415

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
