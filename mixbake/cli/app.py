"""The application that commands join, and the options that several of them have."""

from typing import Annotated

import typer

from mixbake import __version__

app = typer.Typer(
    name="mixbake",
    help="Bake robust-training augmentation ahead of time into WebDataset shards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Seed = Annotated[int, typer.Option("--seed", help="Fixes every random choice.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"mixbake {__version__}")
        raise typer.Exit
    del context
