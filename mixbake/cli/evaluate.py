"""The command that measures what the papers measure."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mixbake.cli.app import AsJson, Seed, app
from mixbake.errors import UsageError

Networks = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="A run's folder, or a file of weights; with --compare evaluated runs."),
]
On = Annotated[str | None, typer.Option("--on", help="Clean test pictures, named as for build.")]
Compare = Annotated[
    bool, typer.Option("--compare", help="Measure nothing: compare runs that were evaluated with equal settings.")
]
Corrupt = Annotated[
    str | None,
    typer.Option(
        "--corrupt", help="Folder of CIFAR-10-C, CIFAR-100-C or ImageNet-C; generated: stand-ins, made of --on."
    ),
]
CorruptBar = Annotated[Path | None, typer.Option("--corrupt-bar", help="Folder of CIFAR-10-C-bar or ImageNet-C-bar.")]
Perturb = Annotated[Path | None, typer.Option("--perturb", help="Folder of CIFAR-10-P or CIFAR-100-P.")]
Attack = Annotated[
    str | None, typer.Option("--pgd", help="Attack: exact (as the papers say), published (as their code does).")
]
Anomalies = Annotated[
    list[Path] | None,
    typer.Option("--anomaly", help="Folder of pictures of no known class; may be given several times."),
]
Rendition = Annotated[
    Path | None, typer.Option("--rendition", help="Folder of ImageNet-R, or of others of some of the classes.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for the results; RUN/eval/NAME, for --compare none, if not given."),
]
Limit = Annotated[int | None, typer.Option("--limit", help="Look at so many pictures of each set only.")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Pictures at once.")]
Precision = Annotated[
    str, typer.Option("--precision", help="float32, or bfloat16: faster on a GPU; the attack is float32 always.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N.")]
Model = Annotated[
    str | None, typer.Option("--model", help="Network that the weights are of, if they do not say; see train --list")
]
Size = Annotated[int | None, typer.Option("--size", help="With --model: side of its pictures.")]
Mean = Annotated[
    tuple[float, float, float] | None,
    typer.Option("--mean", metavar="R G B", help="With --model: of each channel, on [0, 1]."),
]
Std = Annotated[
    tuple[float, float, float] | None,
    typer.Option("--std", metavar="R G B", help="With --model: of each channel, on [0, 1]."),
]


@app.command("eval")
def evaluate(
    networks: Networks,
    on: On = None,
    compare: Compare = False,
    corrupt: Corrupt = None,
    corrupt_bar: CorruptBar = None,
    perturb: Perturb = None,
    pgd: Attack = None,
    anomaly: Anomalies = None,
    rendition: Rendition = None,
    out: Out = None,
    limit: Limit = None,
    batch_size: BatchSize = 256,
    precision: Precision = "float32",
    device: Device = "auto",
    model: Model = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a trained network as the papers do: corruptions, perturbations, attacks, calibration, anomalies."""
    sets = {"corrupt": corrupt, "corrupt_bar": corrupt_bar, "perturb": perturb, "pgd": pgd, "rendition": rendition}
    weights = {"model": model, "size": size, "mean": mean, "std": std}
    if compare:
        measuring = (on, anomaly, limit, *sets.values(), *weights.values())
        if any(value is not None for value in measuring):
            raise UsageError("--compare measures nothing: evaluate each run first, then compare without these options")
        _compare(networks, out, as_json=as_json)
        return
    if len(networks) != 1:
        raise UsageError(f"{len(networks)} runs are given: evaluate one at a time; --compare is for evaluated ones")
    if on is None:
        raise UsageError("--on is missing: name the clean test pictures")
    _measure(
        as_json=as_json,
        network=networks[0],
        on=on,
        anomalies=tuple(anomaly or ()),
        out=out,
        limit=limit,
        batch_size=batch_size,
        precision=precision,
        device=device,
        seed=seed,
        **sets,
        **weights,
    )


def _measure(*, as_json: bool, **asked: Any) -> None:
    from mixbake.evaluate.asked import Evaluation, settle  # noqa: PLC0415 - quick --help
    from mixbake.evaluate.results import lines  # noqa: PLC0415 - quick --help
    from mixbake.evaluate.stored import RESULTS, to_json  # noqa: PLC0415 - quick --help
    from mixbake.progress import watch_evaluation  # noqa: PLC0415 - quick --help

    settled = settle(Evaluation(**asked))
    # torch comes with this, and takes seconds: what can be refused without it has been.
    from mixbake.evaluate.run import evaluate as run_evaluation  # noqa: PLC0415 - quick --help

    with watch_evaluation(quiet=as_json) as show:
        done = run_evaluation(settled, show)
    if as_json:
        typer.echo(json.dumps(to_json(done.results) | {"folder": str(done.folder)}))
        return
    for line in lines(done.results):
        typer.echo(line)
    typer.echo(f"{done.folder / RESULTS}")


def _compare(paths: list[Path], out: Path | None, *, as_json: bool) -> None:
    from mixbake.evaluate.compare import comparison_json  # noqa: PLC0415 - quick --help
    from mixbake.evaluate.reports import write_comparison  # noqa: PLC0415 - quick --help

    done = write_comparison(paths, out, lambda message: typer.echo(message, err=True))
    if as_json:
        typer.echo(json.dumps(comparison_json(done.comparison)))
        return
    typer.echo(done.text, nl=False)
    if out is not None:
        typer.echo(f"\n{out}")
