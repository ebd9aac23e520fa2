"""A build's memory does not grow with the number of variants: nothing is held but a chunk of images."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOM = 48 << 20
"""Bytes that a process may grow by after it has written its first tenth; a leak of one picture in five is more."""


def watched(process: Any, out: Path) -> list[tuple[int, int]]:
    """(tars finished, bytes that belong to the busiest process alone), as often as it can be asked."""
    seen = []
    build = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            family = [build, *build.children(recursive=True)]
            uss = max(member.memory_full_info().uss for member in family)
        except psutil.Error:
            continue
        seen.append((len(list(out.glob("mix/*/[!.]*.tar"))), uss))
        time.sleep(0.1)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "joblib"])
def test_memory_stays_flat(
    tmp_path: Path, mixbake: Any, picture_folder: Path, write_images: Callable[..., Path], executor: str
) -> None:
    """96 numbers of 96 images at 128 px are 450 MB of pixels."""
    source = write_images(tmp_path / "images", 96, size=128)
    out = tmp_path / "out"
    options = ("--mixing-set", picture_folder, "-n", 96, "--executor", executor, "-j", 2, "--codec", "raw")
    process = mixbake.start("build", source, out, *options)
    seen = watched(process, out)
    _, err = process.communicate()
    assert process.returncode == 0, err
    tars = len(list(out.glob("mix/*/*.tar")))
    early = [uss for done, uss in seen if tars / 10 <= done < tars / 2]
    late = [uss for done, uss in seen if tars / 2 <= done < tars]
    assert len(early) >= 3 <= len(late), "too quick to be watched: bake more"
    assert max(late) - max(early) < ROOM
