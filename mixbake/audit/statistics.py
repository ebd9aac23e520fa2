"""Was a bake made by the recipe it claims? Tests of what its index holds against the recipe's exact probabilities.

Rule: a test compares independent draws; what several variants share (the crops and pictures of an aligned pair) counts
once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mixbake.audit.catalog import Catalog

ALPHA = 1e-3
"""Family-wise error: an honest bake fails any test at most this often (Holm 1979)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value, or one interval of values, of what was tested: how often it was seen and how often expected."""

    value: str
    seen: int
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One comparison with the recipe.

    name: "layer", "op", "blend", "level of rotate", "mask probability", "flip", "picture", ... kind: "chi-square" or
    "Kolmogorov-Smirnov". n: independent draws. value: the statistic. freedom: its degrees, of a chi-square.
    p: its p-value. passed: after Holm's correction over all tests of the bake.
    """

    name: str
    kind: str
    n: int
    value: float
    freedom: int | None
    p: float
    passed: bool
    cells: tuple[Cell, ...]


def run_tests(catalog: Catalog, *, progress: Callable[[str, int, int], None] | None = None) -> tuple[Test, ...]:
    """Every test that the bake's recipe allows, in the order of a report. Raises Damage naming an index."""
    raise NotImplementedError
