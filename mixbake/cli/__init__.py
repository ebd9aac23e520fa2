"""The command line: reads arguments, prints, exits. Everything else is called, late, from the library.

Rule: only this package prints and decides exit codes; heavy imports happen inside commands, so that
`--help` is quick.
"""

from mixbake.cli import bake, check, evaluate, look, recipes, train
from mixbake.cli.app import app
from mixbake.cli.edge import run

__all__ = ["app", "bake", "check", "evaluate", "look", "recipes", "run", "train"]
