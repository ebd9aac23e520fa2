"""What a run leaves behind: its settings, its environment, its metrics.

    config.json     the settings, every one          env.json       versions, device, bake: one entry a start
    metrics.jsonl   a line an interval and an epoch  metrics.csv    a line an epoch

Rule: metrics are of steps that the checkpoint knows: whoever resumes drops the lines that came after it.
"""

import csv
import io
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mixbake import __version__
from mixbake.errors import MissingExtra, UsageError
from mixbake.storage.opened import Bake
from mixbake.storage.store import publish_bytes, read_json
from mixbake.train.asked import CONFIG
from mixbake.train.checkpoint import STATE
from mixbake.train.ranks import Ranks
from mixbake.train.settings import TrainSettings, plain

ENVIRONMENT, LINES, TABLE = "env.json", "metrics.jsonl", "metrics.csv"
COLUMNS = (
    "epoch",
    "step",
    "epochs_worth",
    "use",
    "lr",
    "loss",
    "accuracy",
    "images_per_second",
    "waiting",
    "seconds",
)
"""Of metrics.csv. accuracy: on --val, empty where it was not measured; waiting: share of the time, for data."""


def begin_run(run: Path, settings: TrainSettings, recipe: str) -> None:
    """Make the run folder; one that never came to a checkpoint is begun again.

    Raises UsageError when something else is there, MissingExtra when TensorBoard is wanted and not installed.
    """
    if settings.tensorboard:
        _summary_writer()
    begun_in_vain = (run / CONFIG).exists() and not (run / STATE).exists()
    if run.exists() and not begun_in_vain and (not run.is_dir() or any(run.iterdir())):
        raise UsageError(f"{run} is not empty: add --resume to go on with it, or name another --out")
    run.mkdir(parents=True, exist_ok=True)
    _write_json(run / CONFIG, {"recipe": recipe, "settings": plain(settings)})
    _write_json(run / ENVIRONMENT, [])


def note_start(run: Path, bake: Bake, *, shards: str, ranks: Ranks, step: int) -> None:
    """Add an entry to env.json."""
    path = run / ENVIRONMENT
    plan, device = bake.plan, ranks.device
    entry = {
        "step": step,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {
            "mixbake": __version__,
            "torch": torch.__version__,
            **_versions("torchvision", "numpy", "numba", "simplejpeg", "timm"),
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "ranks": ranks.size,
        "torch_threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)),
        "command": sys.argv,
        "bake": {
            "path": shards,
            "digest": bake.digest,
            "plan": bake.plan_digest,
            "epochs_worth": bake.epochs_worth,
            "recipe": dict(plan.recipe),
            "mixing": plan.mixing,
            "pictures": plan.pictures,
            "seed": plan.seed,
            "size": plan.size,
            "views": plan.views,
            "flip": plan.flip,
        },
    }
    _write_json(path, [*(read_json(path) if path.exists() else []), entry])


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _write_json(path: Path, value: Any) -> None:
    publish_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


class Metrics:
    """The metrics of a run from `step` on; what was written of later steps is dropped."""

    def __init__(self, run: Path, *, step: int, tensorboard: bool) -> None:
        self._run = run
        self._epochs: list[Mapping[str, Any]] = []
        kept = [line for line in _read_lines(run / LINES) if line["step"] <= step]
        self._epochs += [line for line in kept if line["kind"] == "epoch"]
        publish_bytes(run / LINES, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._write_table()
        self._file = (run / LINES).open("a", encoding="utf-8")
        self._board = _board(run / "tensorboard", step) if tensorboard else None

    def add(self, kind: str, record: Mapping[str, Any]) -> None:
        """Write a record of `kind` "interval" or "epoch"; it has a `step`."""
        line = {"kind": kind, **record}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if kind == "epoch":
            self._epochs.append(line)
            self._write_table()
        if self._board is not None:
            for name, value in record.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{kind}/{name}", value, record["step"])

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _write_table(self) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(self._epochs)
        publish_bytes(self._run / TABLE, text.getvalue().encode())


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines; the last one may have been cut short by a kill."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def _board(folder: Path, step: int) -> Any:
    return _summary_writer()(str(folder), purge_step=step + 1)


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("tensorboard", "tensorboard") from error
    return SummaryWriter
