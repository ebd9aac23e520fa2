"""Fixtures that any test may use: compiled kernels for the session, small pictures, the command as a process.

Rule: kernels and prepared pictures go to the folder MIXBAKE_CACHE, and stay there between runs when it is set;
else to a folder that lasts as long as the session. Nothing outside it and pytest's own folders is written.
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from browser import browser  # noqa: F401 - a fixture, which tests ask for by name
from outcome import Outcome
from PIL import Image
from processes import PATIENCE

# Before mixbake is imported: a kernel learns where it is cached when it is defined.
_SESSION_CACHE = None if os.environ.get("MIXBAKE_CACHE") else tempfile.TemporaryDirectory(prefix="mixbake-tests-")
if _SESSION_CACHE:
    os.environ["MIXBAKE_CACHE"] = _SESSION_CACHE.name

# Processes that test at the same time share the cores: threads of PyTorch that find none free spin, and all are slower.
if _PROCESSES := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(_PROCESSES))))

from mixbake.data.demo import draw_demo  # noqa: E402 - the cache folder must be known first

CLASSES = ("ash", "birch", "cedar")


def _require_unique_names() -> None:
    """Two modules of one name could not both be imported, which would only be seen when all tests run."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py")
    if twice := [name for name, count in names.items() if count > 1]:
        raise pytest.UsageError(f"several files under tests/ are called {', '.join(twice)}: give each its own name")


def pytest_configure(config: pytest.Config) -> None:
    """Compile what the processes that run tests would each compile, once, in the one that starts them."""
    _require_unique_names()
    starts_others = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if _SESSION_CACHE and starts_others and not config.option.collectonly:
        from mixbake.bake.warmup import warm_up

        warm_up(lambda _: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: item.get_closest_marker("minutes") is None)


def pytest_unconfigure() -> None:
    """Delete the session's cache folder."""
    if _SESSION_CACHE:
        _SESSION_CACHE.cleanup()


def _write_images(folder: Path, count: int, *, size: int = 32) -> Path:
    """An image folder of three classes: square drawings, PNG and JPEG by turns."""
    for number in range(count):
        path = folder / CLASSES[number % len(CLASSES)] / f"{number:03d}.{'jpg' if number % 2 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_demo(number, size=size, split="train")).save(path)
    return folder


@dataclass(slots=True)
class Command:
    """The `mixbake` command as a process of its own."""

    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *arguments: object, **environment: str) -> Outcome:
        """Run it to its end."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=PATIENCE)
        return Outcome(code=process.returncode, out=out, err=err)

    def start(self, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
        """Start it in a process group of its own, as a terminal does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "mixbake", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def stop(self) -> None:
        """Kill what is still running."""
        for process in self.running:
            process.kill()
            process.communicate()


@pytest.fixture
def mixbake() -> Iterator[Command]:
    command = Command()
    yield command
    command.stop()


@pytest.fixture
def python() -> Callable[..., Outcome]:
    """Run Python code in a process of its own: python(code, *arguments, **environment)."""

    def run(code: str, *arguments: object, **environment: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=PATIENCE,
            check=False,
        )
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)

    return run


@pytest.fixture(scope="session")
def write_images() -> Callable[..., Path]:
    """write_images(folder, count, size=32): make an image folder of three classes."""
    return _write_images


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of 32 by 32 in three classes; read only."""
    return _write_images(tmp_path_factory.mktemp("source") / "images", 40)


@pytest.fixture(scope="session")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """450 pictures of 16 by 16, enough for several blocks in any codec; read only."""
    return _write_images(tmp_path_factory.mktemp("many") / "images", 450, size=16)


@pytest.fixture
def own_images(tmp_path: Path) -> Path:
    """The same pictures, for a test that changes them."""
    return _write_images(tmp_path / "images", 40)


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures to mix with, of different shapes; read only."""
    folder = tmp_path_factory.mktemp("mixing") / "pictures"
    folder.mkdir()
    for number in range(6):
        pixels = draw_demo(number, size=72, split="test")
        Image.fromarray(pixels[number:, : 72 - 3 * number]).save(folder / f"{number}.png")
    return folder
