"""Baking imports no torch, in no process; `mixbake --help` imports neither numpy nor numba; no import compiles."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bakes import leftovers, tars

# Stands in for the real package, and remembers that somebody wanted it.
POISON = """
import os, pathlib
pathlib.Path(os.environ["MIXBAKE_TEST_MARK"]).touch()
raise ImportError("a bake wanted {name}")
"""

BUILD = """
import json, sys
from mixbake.cli import run
code = run(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.fixture
def poisoned(tmp_path: Path) -> dict[str, str]:
    """Environment in which importing torch, in any process, fails and leaves a mark."""
    for name in ("torch", "torchvision"):
        package = tmp_path / "poison" / name / "__init__.py"
        package.parent.mkdir(parents=True)
        package.write_text(POISON.format(name=name))
    return {"PYTHONPATH": _first_on_path(tmp_path / "poison"), "MIXBAKE_TEST_MARK": str(tmp_path / "wanted")}


def _first_on_path(folder: Path) -> str:
    import os

    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_the_poison_works(python: Callable[..., Any], poisoned: dict[str, str], tmp_path: Path) -> None:
    assert python("import torch", **poisoned).code != 0
    assert (tmp_path / "wanted").exists()


def test_baking_imports_no_torch(
    python: Callable[..., Any], poisoned: dict[str, str], tmp_path: Path, image_folder: Path, picture_folder: Path
) -> None:
    arguments = ["build", image_folder, tmp_path / "out", "--mixing-set", picture_folder, "--codec", "raw", "-j", 2]
    done = python(BUILD, *arguments, **poisoned)
    code, modules = json.loads(done.out.splitlines()[-1])
    assert code == 0, done.err
    assert not {"torch", "torchvision", "webdataset"} & set(modules)
    assert not (tmp_path / "wanted").exists()
    assert tars(tmp_path / "out")
    assert not leftovers(tmp_path / "out")


@pytest.mark.slow
def test_transforming_imports_no_torch(python: Callable[..., Any], poisoned: dict[str, str], tmp_path: Path) -> None:
    code = "import sys, numpy, mixbake.transforms as t; print(t.augmix(numpy.zeros((8, 8, 3), 'uint8'), 1).shape)"
    done = python(f"{code}; print('torch' in sys.modules)", **poisoned)
    assert done.out.split("\n")[:2] == ["(8, 8, 3)", "False"], done.err
    assert not (tmp_path / "wanted").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"], ["--version"], []], ids=str)
def test_help_imports_nothing_heavy(python: Callable[..., Any], arguments: list[str]) -> None:
    done = python(BUILD, *arguments)
    code, modules = json.loads(done.out.splitlines()[-1])
    assert code in (0, 2), done.err
    assert not {"numpy", "numba", "llvmlite", "pyarrow", "joblib", "PIL"} & set(modules)
    assert "mixbake" in modules


def test_the_package_itself_imports_nothing_heavy(python: Callable[..., Any]) -> None:
    done = python("import sys, mixbake, mixbake.errors; print('numpy' in sys.modules, 'numba' in sys.modules)")
    assert done.out.split() == ["False", "False"], done.err


IMPORTS = """
import importlib, pkgutil
from numba.core import event
import mixbake
PARTS = ("core", "data", "recipes", "storage", "bake", "audit", "transforms", "cli")
with event.install_recorder("numba:compile") as compiled:
    for part in PARTS:
        package = importlib.import_module(f"mixbake.{part}")
        for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"mixbake.{part}."):
            importlib.import_module(module.name)
    seen = len(compiled.buffer)
    from mixbake.core.kernels.lanes import sine
    sine(0.5)
print(seen, len(compiled.buffer) > seen)
"""


def test_no_import_compiles(python: Callable[..., Any]) -> None:
    """Every process of a bake would: a second that is lost before the first image."""
    done = python(IMPORTS)
    assert done.out.split() == ["0", "True"], done.err


def test_streaming_without_torch_names_the_extra(
    poisoned: dict[str, str], tmp_path: Path, python: Callable[..., Any]
) -> None:
    # As if it had never been installed.
    (tmp_path / "poison" / "torch" / "__init__.py").write_text("raise ModuleNotFoundError(name='torch')")
    done = python("from mixbake.stream import ShardLoader", **poisoned)
    assert "MissingExtra" in done.err
    assert "pip install '.[train]'" in done.err
