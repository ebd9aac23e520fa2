"""Commands that bake, and what bakes are made of."""

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mixbake.cli.app import AsJson, Seed, app
from mixbake.errors import UsageError

F = TypeVar("F", bound=Callable[..., None])


def _read_path(text: str) -> Path:
    """A place to write to. A blank one, as of a variable that is not set, is not the current folder."""
    if not text.strip():
        raise typer.BadParameter("it is blank: name a place, or . for the current folder")
    return Path(text)


Source = Annotated[
    str,
    typer.Argument(
        help="Image folder, or demo[:count=,size=,split=], cifar10:DIR, cifar100:DIR, wds:TARS, list:FILE.",
    ),
]
Out = Annotated[
    Path | None, typer.Argument(parser=_read_path, help="Output folder; shards/<source>-<recipe> if not given.")
]
EpochsWorth = Annotated[int, typer.Option("--epochs-worth", "-n", help="Variants of every image (1 to 1000).")]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe", help="layermix, pixmix, augmix, ipmix, plain, a preset (`mixbake recipes`), or FILE.py:NAME."
    ),
]
MixingSet = Annotated[
    list[str] | None,
    typer.Option(
        "--mixing-set",
        "--mixing",
        help="Folder, or fractals (if not given), deadleaves, spectrum, ifs[:count=256]. Again for more.",
    ),
]
MixingWeights = Annotated[
    str, typer.Option("--mixing-weights", help="How often each mixing set is used: 3,1. By default as it has pictures.")
]
Classes = Annotated[Path | None, typer.Option("--classes", help="File with the class folders to use, one a line.")]
Size = Annotated[int, typer.Option("--size", help="Output side in pixels; the images' common size if not given.")]
Severity = Annotated[float | None, typer.Option("--severity", help="Of the recipe: m, strength of the operations.")]
Beta = Annotated[float | None, typer.Option("--beta", help="Of the recipe: of the blends' Beta laws.")]
OpSet = Annotated[
    str | None, typer.Option("--op-set", help="Of the recipe: safe9, all13, layer12, layer16, ipmix10, ...")
]
MinBits = Annotated[
    int | None, typer.Option("--min-posterize-bits", help="LayerMix: least bits that posterize keeps [default: 1].")
]
Quirks = Annotated[str | None, typer.Option("--quirks", help="LayerMix: none, or published for the code's slips.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any parameter of the recipe: k=3, partners=pictures. Again for more."),
]
Crop = Annotated[str, typer.Option("--crop", help="auto, pad (up to 64 px), resized (RandomResizedCrop), fit.")]
Flip = Annotated[str, typer.Option("--flip", help="auto, none (digits, signs, text), online (by the trainer), baked.")]
Views = Annotated[str, typer.Option("--views", help="mix, jsd (two aligned variants and their crop), clean.")]
Codec = Annotated[str, typer.Option("--codec", help="auto (png up to 64 px, else jpeg), png, jpeg, webp, raw.")]
Quality = Annotated[int, typer.Option("--quality", help="Of jpeg (4:4:4) and webp (100 is lossless).")]
Background = Annotated[str, typer.Option("--background", help="Colour behind transparent pixels, RRGGBB.")]
PublishEvery = Annotated[
    int, typer.Option("--publish-every", help="Finish the bake after every K epochs' worth: training can begin.")
]
Limit = Annotated[int, typer.Option("--limit", help="Bake only the first K images of the shuffled order; 0 for all.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Worker processes; 0 for every core.")]
ExecutorName = Annotated[str, typer.Option("--executor", help="joblib (worker processes), or inline (this process).")]
MaxSkip = Annotated[float, typer.Option("--max-skip", help="Share of images that may be unreadable.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete the finished bake in OUT first, and only that.")]
Repair = Annotated[
    bool, typer.Option("--repair", help="Verify every byte in OUT first; bake again just what is damaged or missing.")
]
AcceptEnvironment = Annotated[
    bool, typer.Option("--accept-environment", help="Extend with other library versions; recorded in the bake.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Same as `mixbake plan`: estimate, bake nothing.")]


@app.command()
def build(
    source: Source = "demo",
    out: Out = None,
    epochs_worth: EpochsWorth = 1,
    publish_every: PublishEvery = 0,
    recipe: RecipeName = "layermix",
    mixing_set: MixingSet = None,
    mixing_weights: MixingWeights = "",
    classes: Classes = None,
    size: Size = 0,
    severity: Severity = None,
    beta: Beta = None,
    op_set: OpSet = None,
    min_posterize_bits: MinBits = None,
    quirks: Quirks = None,
    set_: Set = None,
    crop: Crop = "auto",
    flip: Flip = "auto",
    views: Views = "mix",
    codec: Codec = "auto",
    quality: Quality = 95,
    background: Background = "ffffff",
    seed: Seed = 0,
    limit: Limit = 0,
    jobs: Jobs = 0,
    executor: ExecutorName = "joblib",
    max_skip: MaxSkip = 0.01,
    overwrite: Overwrite = False,
    repair: Repair = False,
    accept_environment: AcceptEnvironment = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bake SOURCE into OUT. The same command again resumes; a larger N extends."""
    arguments = dict(locals())
    if dry_run:
        _plan(arguments)
        return
    from mixbake.bake.build import build as run_build  # noqa: PLC0415 - quick --help
    from mixbake.progress import watch  # noqa: PLC0415 - quick --help
    from mixbake.storage.plan import spell_worth  # noqa: PLC0415 - quick --help

    settings = _settings(arguments)
    with watch(settings, quiet=as_json) as watcher:
        built = run_build(settings, watcher, inspect=_inspect(watcher) if repair else None)
    if as_json:
        typer.echo(json.dumps({"out": str(built.out), "digest": built.finished.digest, **built.finished.document}))
        return
    document = built.finished.document
    typer.echo(
        f"{document['samples']:,} samples, {document['bytes']:,} bytes, {spell_worth(document['epochs_worth'])} of "
        f"{document['images']:,} images ({document['skipped']:,} skipped) in {built.out}"
    )
    typer.echo(f"bake digest {built.finished.digest}")


_OF_WRITING = ("publish_every", "max_skip", "overwrite", "repair", "accept_environment", "dry_run")
_OF_LENGTH = ("epochs_worth", "limit", "jobs", "executor")
"""Parameters of `build` that commands which bake nothing, or a handful, do without."""


def _like_build(*, without: Sequence[str]) -> Callable[[F], F]:
    """For a command that ends in **arguments: it takes its own, then those of `build` but for some."""

    def decorate(command: F) -> F:
        own = [one for one in inspect.signature(command).parameters.values() if one.kind is not one.VAR_KEYWORD]
        left_out = {*without, *(one.name for one in own)}
        shared = [one for name, one in inspect.signature(build).parameters.items() if name not in left_out]
        # Typer reads both: order and defaults here, types there.
        command.__dict__["__signature__"] = inspect.Signature([*own, *shared], return_annotation=None)
        command.__annotations__ = {one.name: one.annotation for one in (*own, *shared)}
        return command

    return decorate


@app.command()
@_like_build(without=_OF_WRITING)
def plan(**arguments: Any) -> None:
    """Estimate bytes, time and free disk of a build from a trial; refuse a disk that is too small."""
    _plan(arguments)


@app.command()
@_like_build(without=(*_OF_WRITING, *_OF_LENGTH, "out", "views", "codec", "quality", "background", "as_json"))
def preview(
    source: Source = "demo",
    output: Annotated[
        Path, typer.Option("--output", "-o", parser=_read_path, help="Where to write the sheet (PNG).")
    ] = Path("preview.png"),
    **arguments: Any,
) -> None:
    """Draw a sheet of eight images under every layer, with captions: look at it before a long bake."""
    from mixbake.bake.preview import draw_preview  # noqa: PLC0415 - quick --help

    settings = _settings({"source": source, **arguments})
    typer.echo(draw_preview(settings, output, say=lambda message: typer.echo(message, err=True)))


@app.command()
def fractals(
    out: Annotated[Path, typer.Argument(parser=_read_path, help="Folder to draw into.")],
    count: Annotated[int, typer.Option("--count", help="How many pictures.")] = 256,
    side: Annotated[int, typer.Option("--side", help="In pixels.")] = 512,
    kind: Annotated[
        str, typer.Option("--kind", help="fractals, deadleaves[:shapes=squares], spectrum or ifs.")
    ] = "fractals",
    seed: Seed = 0,
    jobs: Jobs = 0,
) -> None:
    """Draw pictures to mix with, fractals or another kind; those that are there already are kept."""
    from dataclasses import replace  # noqa: PLC0415 - quick --help

    from mixbake.data.generators import generate, parse_drawn, require_no_other, suggest_name  # noqa: PLC0415 - quick --help
    from mixbake.progress import counting  # noqa: PLC0415 - quick --help

    drawn = parse_drawn(kind)
    if drawn is None:
        raise UsageError(f"--kind {kind!r}: {suggest_name(kind)}")
    if "count=" in kind:
        raise UsageError(f"--kind {kind!r}: say how many with --count")
    drawn = replace(drawn, count=count)
    require_no_other(out, drawn, seed=seed, side=side)
    with counting(drawn.name, count) as advance:
        generate(out, drawn, seed=seed, side=side, jobs=jobs or _cores(), progress=advance)
    typer.echo(f"{count:,} pictures of {side}×{side} in {out}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a sample's JSON member."""
    from mixbake.core.variant import schema as variant_schema  # noqa: PLC0415 - quick --help

    typer.echo(json.dumps(variant_schema(), indent=2))


_OVERRIDES = ("severity", "beta", "op_set", "min_posterize_bits", "quirks")


def _settings(arguments: dict[str, Any]) -> Any:
    """BuildSettings of a command's arguments; recipe fields that were given become overrides."""
    from mixbake.bake.settings import BuildSettings  # noqa: PLC0415 - quick --help
    from mixbake.recipes.presets import read_overrides  # noqa: PLC0415 - quick --help

    given = {name: value for name, value in arguments.items() if name not in ("as_json", "dry_run")}
    flags = {name: given.pop(name) for name in _OVERRIDES}
    overrides = {name: value for name, value in flags.items() if value is not None}
    named = read_overrides(given["recipe"], given.pop("set_") or ())
    if twice := sorted(overrides.keys() & named.keys()):
        raise UsageError(f"{', '.join(twice)}: given by --set and by a flag of its own: choose one")
    given["overrides"] = overrides | named
    given["mixing_weights"] = _whole_numbers("--mixing-weights", given["mixing_weights"])
    if sets := given.pop("mixing_set"):
        given["mixing_set"] = tuple(sets)
    if "background" in given:
        given["background"] = _colour(given["background"])
    return BuildSettings(**given)


def _whole_numbers(flag: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"{flag} {text}: write whole numbers with commas between them, for example 3,1") from None


def _colour(text: str) -> tuple[int, int, int]:
    digits = text.removeprefix("#")
    if len(digits) != 6 or any(letter not in "0123456789abcdefABCDEF" for letter in digits):
        raise UsageError(f"--background {text!r} is no colour: write six hexadecimal digits, for example ffffff")
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _plan(arguments: dict[str, Any]) -> None:
    from mixbake.bake.estimate import estimate, explain  # noqa: PLC0415 - quick --help
    from mixbake.progress import watch  # noqa: PLC0415 - quick --help

    settings = _settings(arguments)
    with watch(settings, quiet=arguments["as_json"], log=False) as watcher:
        found = estimate(settings, watcher)
    typer.echo(json.dumps(found.to_json()) if arguments["as_json"] else explain(found))
    found.require_room()


def _inspect(watcher: Any) -> Callable[[Path], Sequence[str]]:
    """What looks for damage in OUT, and shows how far it is."""
    from mixbake.audit.verify import damaged_files  # noqa: PLC0415 - quick --help

    return lambda out: damaged_files(out, progress=watcher.prepare)


def _cores() -> int:
    import os  # noqa: PLC0415 - only here

    return len(os.sched_getaffinity(0))
