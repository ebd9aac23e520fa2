"""Commands that tell what recipes there are, and what they are made of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mixbake.cli.app import Seed, app

recipes = typer.Typer(no_args_is_help=False, rich_markup_mode=None)
app.add_typer(recipes, name="recipes")


@recipes.callback(invoke_without_command=True)
def show_all(context: typer.Context) -> None:
    """List the recipes; `recipes show NAME` prints one with its sources."""
    if context.invoked_subcommand:
        return
    from mixbake.recipes.loaded import offered  # noqa: PLC0415 - quick --help
    from mixbake.recipes.origins import FAMILIES, PRESETS  # noqa: PLC0415 - quick --help
    from mixbake.recipes.presets import BARE, RECIPES  # noqa: PLC0415 - quick --help

    width = max(map(len, RECIPES))
    for name, recipe in RECIPES.items():
        typer.echo(f"{name:<{width}}  {PRESETS[name].title} ({FAMILIES[recipe.family].paper})")
    for name, (small, large) in BARE.items():
        typer.echo(f"{name:<{width}}  {small} up to 64 px, {large} above")
    for name, point in offered().items():
        made_by = point.dist.name if point.dist else "an unknown distribution"
        hidden = f": hidden by mixbake's own {name}; write FILE.py:NAME" if name in RECIPES or name in BARE else ""
        typer.echo(f"{name:<{width}}  {point.value}, of {made_by}{hidden}")


@recipes.command()
def show(name: Annotated[str, typer.Argument(help="A recipe: see `mixbake recipes`; or FILE.py:NAME.")]) -> None:
    """Print a recipe: every parameter, its value and where that is from, what it does and does not reproduce."""
    from mixbake.recipes.loaded import OwnRecipe  # noqa: PLC0415 - quick --help
    from mixbake.recipes.presets import BARE, find  # noqa: PLC0415 - quick --help

    for preset in BARE.get(name, (name,)):
        found = find(preset)
        typer.echo("\n".join(_told_own(found) if isinstance(found, OwnRecipe) else _told(preset, found)))


def _told_own(recipe: Any) -> Iterator[str]:
    """A recipe of one's own, as its code and its docstring tell it."""
    from mixbake.recipes.recipe import spell_value  # noqa: PLC0415 - quick --help

    yield f"{recipe.stored_name}: {recipe.code.distribution or recipe.code.file}, sha256 {recipe.code.sha256}"
    yield from (f"  {line.strip()}" for line in (recipe.drawing.__doc__ or "").strip().splitlines())
    for field, value in recipe.parameters().items():
        yield f"  {field} = {spell_value(value)}"
    for step, version in zip(recipe.own_steps, recipe.versions, strict=True):
        arguments = f", arguments {', '.join(step.args)}" if step.args else ""
        yield f"  {'operation' if step.sources == 1 else 'blend'} {step.name}, version {version}{arguments}"


@recipes.command()
def gallery(
    out: Annotated[Path, typer.Argument(help="A new page, OUT.html, or sheet, OUT.png.")],
    image: Annotated[str | None, typer.Option("--image", help="A picture, or demo:number=47 (if not given).")] = None,
    mixing_set: Annotated[
        list[str] | None,
        typer.Option("--mixing-set", "--mixing", help="Folder, or fractals:count=24 (if not given). Again for more."),
    ] = None,
    size: Annotated[int, typer.Option("--size", help="Side of the pictures, 16 to 512.")] = 32,
    seed: Seed = 0,
    recipe: Annotated[
        list[str] | None, typer.Option("--recipe", help="Only this one, and what it draws from; again for more.")
    ] = None,
) -> None:
    """Show one image through every recipe, layer, operation and blend: on a page, or on one sheet."""
    from mixbake.gallery.subject import IMAGE, MIXING  # noqa: PLC0415 - quick --help
    from mixbake.gallery.write import GallerySettings, write_gallery  # noqa: PLC0415 - quick --help
    from mixbake.progress import counting_each  # noqa: PLC0415 - quick --help

    sets = tuple(mixing_set or (MIXING,))
    chosen = IMAGE if image is None else image
    settings = GallerySettings(image=chosen, mixing_set=sets, size=size, seed=seed, recipes=tuple(recipe or ()))
    with counting_each() as progress:
        parts = write_gallery(out, settings, progress=progress)
    counts = (f"{sum(len(row.exhibits) for row in part.rows)} of {part.topic}" for part in parts)
    typer.echo(f"{out}: {', '.join(counts)}")


def _told(name: str, recipe: Any) -> Iterator[str]:
    from mixbake.recipes.origins import FAMILIES, PRESETS  # noqa: PLC0415 - quick --help
    from mixbake.recipes.presets import NamedRecipe  # noqa: PLC0415 - quick --help
    from mixbake.recipes.recipe import spell_value  # noqa: PLC0415 - quick --help

    family, preset = FAMILIES[recipe.family], PRESETS[name]
    yield f"{name}: {preset.title}"
    yield f"  paper: {family.paper}"
    values = NamedRecipe(name=name, recipe=recipe).parameters()
    for field, meaning in family.fields.items():
        yield f"  {field} = {spell_value(values[field])}"
        yield f"      {meaning}"
        yield f"      from {preset.sources[field]}"
    yield from (f"  the same: {line}" for line in family.same)
    yield from (f"  not the same: {line}" for line in family.other)
    if preset.note:
        yield f"  note: {preset.note}"
