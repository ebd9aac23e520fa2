"""What is shown while a build runs: images are counted once, however many ranges their block is baked in."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mixbake.bake.build import build
from mixbake.bake.settings import BuildSettings
from mixbake.progress import LineWatcher, TerminalWatcher

EPOCHS = 40
"""More than one task bakes: three ranges a block."""


@pytest.fixture
def asked(own_images: Path, tmp_path: Path) -> BuildSettings:
    """Forty images, one of them unreadable."""
    next(own_images.rglob("*.png")).write_bytes(b"no picture")
    given: dict[str, Any] = {"recipe": "plain", "size": 16, "executor": "inline", "max_skip": 0.5}
    return BuildSettings(source=str(own_images), out=tmp_path / "out", epochs_worth=EPOCHS, **given)


def test_lines_count_images_once(asked: BuildSettings) -> None:
    stream = io.StringIO()
    build(asked, LineWatcher(stream))
    last = [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == "progress"][-1]
    assert len(list((asked.out or Path()).glob("receipts/*.json"))) == 3
    assert {name: last[name] for name in ("images", "of_images", "skipped", "variants", "of_variants")} == {
        "images": 39,
        "of_images": 40,
        "skipped": 1,
        "variants": 39 * EPOCHS,
        "of_variants": 40 * EPOCHS,
    }


def test_the_bar_counts_images_once(asked: BuildSettings) -> None:
    stream = io.StringIO()
    build(asked, TerminalWatcher(Console(file=stream, width=200, force_terminal=True, color_system=None)))
    assert "39/40 images whole, 1 skipped" in stream.getvalue()
    assert "117" not in stream.getvalue().replace(f"{39 * EPOCHS}", "")
