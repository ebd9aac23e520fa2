"""Commands that read bakes and train on them."""

import inspect
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from mixbake.cli.app import AsJson, app
from mixbake.errors import UsageError
from mixbake.train.settings import RECIPES, TrainSettings


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """For a command that ends in **given: an option for every field of TrainSettings; None where it was not given."""
    own = [one for one in inspect.signature(command).parameters.values() if one.kind is not one.VAR_KEYWORD]
    options = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(one))
        for one in fields(TrainSettings)
    ]
    # Typer reads both: order and defaults here, types there.
    command.__dict__["__signature__"] = inspect.Signature([*own, *options], return_annotation=None)
    command.__annotations__ = {one.name: one.annotation for one in (*own, *options)}
    return command


def _option(setting: Any) -> Any:
    flag = f"--{setting.name.replace('_', '-')}"
    if setting.type is bool:
        flag += f"/--no-{flag[2:]}"
    words = setting.metadata["help"]
    default = "" if setting.default in (None, False, True) else f" [{_spelled(setting.default)}]"
    return Annotated[setting.type | None, typer.Option(flag, help=words + default, show_default=False)]


def _spelled(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _list_recipes(wanted: bool) -> None:
    if not wanted:
        return
    from mixbake.train.networks.catalog import network_names  # noqa: PLC0415 - quick --help

    for name, recipe in RECIPES.items():
        typer.echo(f"{name}: {recipe.title}\n  source: {recipe.source}")
        typer.echo("  " + ", ".join(f"{key} {_spelled(value)}" for key, value in recipe.values.items()))
    typer.echo("\nnetworks, beside torchvision's classifiers and timm:NAME:")
    for family in network_names():
        typer.echo(f"  {family.name}: {family.line} ({family.source})")
    raise typer.Exit


@app.command()
@_with_settings
def train(
    shards: Annotated[str, typer.Argument(help="A bake: folder, or URL.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; runs/<bake>-<time> if not given.")
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", help="Settings of a paper; auto: cifar up to 64 px, imagenet above.")
    ] = "auto",
    config: Annotated[Path | None, typer.Option("--config", help="TOML file of settings; flags win.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    grow: Annotated[
        bool, typer.Option("--grow", help="With --resume: use what the bake has gained since, from the next pass on.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what a run would do and need; train nothing.")
    ] = False,
    _list: Annotated[
        bool, typer.Option("--list", help="Print recipes and networks.", is_eager=True, callback=_list_recipes)
    ] = False,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Train a network on a bake: one epoch is one variant of every image. Any setting overrides the recipe's."""
    from mixbake.progress import watch_training  # noqa: PLC0415 - quick --help
    from mixbake.train.asked import Asked, settle  # noqa: PLC0415 - quick --help

    if grow and not resume:
        raise UsageError("--grow goes with --resume: a new run uses all that the bake holds")
    settled = settle(
        Asked(
            shards=shards,
            out=out,
            recipe=recipe,
            config=config,
            resume=resume,
            grow=grow,
            given={name: value for name, value in given.items() if value is not None},
        )
    )
    # torch comes with these, and takes seconds: what can be refused without it has been.
    from mixbake.train.forecast import explain, forecast  # noqa: PLC0415 - quick --help
    from mixbake.train.run import train as run_training  # noqa: PLC0415 - quick --help

    if dry_run:
        found = forecast(settled)
        typer.echo(json.dumps(found.to_json()) if as_json else explain(found))
        return
    with watch_training(quiet=as_json) as show:
        trained = run_training(settled, show)
    if trained is None:
        return  # the first of several processes tells
    if as_json:
        typer.echo(json.dumps(trained.to_json()))
        return
    accuracy = "" if trained.accuracy is None else f", clean accuracy {trained.accuracy:.2%}"
    loss = "" if trained.loss is None else f", last epoch's loss {trained.loss:.4f}"
    typer.echo(f"{trained.steps:,} steps in {trained.run}{loss}{accuracy}")
    typer.echo(f"bake digest {trained.bake}")


@app.command()
def bench(
    shards: Annotated[Path, typer.Argument(help="The folder of a finished bake.")],
    source: Annotated[str | None, typer.Option("--source", help="The images it was made of, if they moved.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images a batch.")] = 256,
    seconds: Annotated[float, typer.Option("--seconds", help="How long each way runs in a round.")] = 2.0,
    rounds: Annotated[int, typer.Option("--rounds", help="How often; medians are shown.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Measure reading a bake, beside webdataset's reader and augmenting on the fly, on one core of this machine."""
    from mixbake.bench import explain, measure  # noqa: PLC0415 - quick --help

    measured = measure(shards, source=source, batch_size=batch_size, seconds=seconds, rounds=rounds)
    typer.echo(json.dumps(measured.to_json()) if as_json else explain(measured))
