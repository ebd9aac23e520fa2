"""Was a bake made by the recipe it claims? Tests of what its index holds against the recipe's exact probabilities.

    indexes -> draws (`audit.draws`) -> what is compared with which law (`audit.questions`) -> tests -> Holm

Rule: a test compares independent draws; what several variants share (the crops and pictures of an aligned pair) counts
once. A value that the recipe cannot draw is expected 0 times and fails its test, however rare it is.

A large bake is judged by up to two million of its variants, and windows by 10,000 records, drawn by chance. Not
tested: windows of the resized crop, whose law depends on the size of each source image, which a bake does not hold;
windows in mixing pictures of rare shapes; registers that steps read, which a replay proves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog
from mixbake.audit.draws import read_draws
from mixbake.audit.questions import Question, ask
from mixbake.recipes.laws import Categorical, Laws, Numbers
from mixbake.recipes.loaded import OwnRecipe
from mixbake.recipes.presets import NamedRecipe
from mixbake.recipes.recorded import Unread, recorded
from mixbake.recipes.stated import LAWS

ALPHA = 1e-3
"""Family-wise error: an honest bake fails any test about this often, at most (Holm 1979)."""
FEWEST = 25
"""Least expected count of a cell, neighbours with fewer are merged: at p-values of 1e-5, as Holm's correction asks for,
the chi-square of cells that expect 5 comes out too large too often."""
MOST_CELLS = 1 << 14
"""Numbers with more values than this are compared by Kolmogorov-Smirnov."""
INTERVALS = 10
"""Of a Kolmogorov-Smirnov test, to be shown."""
IMPOSSIBLE = "anything else"
"""The cell of values that the recipe does not draw."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value, or one interval of values, of what was tested: how often it was seen and how often expected."""

    value: str
    seen: int
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One comparison with the recipe.

    name: "layer", "op", "first blend", "level of rotate", "mask probability", "flip", "picture", ...
    n: independent draws. kind: "chi-square", "binomial" (exact, of two cells: value is the first one's count) or
    "Kolmogorov-Smirnov". value: the statistic. freedom: its degrees, of a chi-square.
    p: its p-value, 0 where anything impossible was seen. passed: after Holm's correction over all tests of the bake.
    """

    name: str
    kind: str
    n: int
    value: float
    freedom: int | None
    p: float
    passed: bool
    cells: tuple[Cell, ...]


def laws_of(named: NamedRecipe, size: int) -> Laws | None:
    """The laws of a recipe's draws in images of that size; None where one's own states none, or is not at hand."""
    recipe = named.recipe
    if isinstance(recipe, Unread):
        return None
    return recipe.laws(size) if isinstance(recipe, OwnRecipe) else LAWS[recipe.family](recipe, size)


def run_tests(
    catalog: Catalog,
    *,
    recipe: NamedRecipe | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Test, ...]:
    """Every test that the bake's recipe allows, in the order of a report.

    recipe: if it is one's own and at hand; without laws, crops, flips and pictures are tested, not programs.
    progress: called with what is being done, how much of it is done, and how much there is. Raises Damage naming an
    index, a shard or the mixing pictures, StorageError.
    """
    say = progress or (lambda _what, _done, _total: None)
    plan = catalog.bake.plan
    if not len(catalog):
        return ()
    named = recipe or recorded(plan.recipe, size=plan.size)
    laws, mirrored = laws_of(named, plan.size), named.recipe.mirrored_pictures
    questions = [*ask(catalog, read_draws(catalog, say), laws, say, mirrored_pictures=mirrored)]
    return corrected([compare(question) for question in questions if len(question.seen)])


def compare(question: Question) -> Test:
    """What was seen beside its law; `passed` is not decided yet."""
    law = question.law
    if isinstance(law, Categorical):
        inside = (question.seen >= 0) & (question.seen < len(law.values))
        counts = np.bincount(question.seen[inside], minlength=len(law.values))
        weights = np.array(law.weights, np.float64)
        return _chi_square(question, list(law.values), counts, weights / weights.sum())
    if law.high - law.low < MOST_CELLS:
        inside = (question.seen >= law.low) & (question.seen <= law.high)
        values = np.arange(law.low - 1, law.high + 1)
        counts = np.bincount(question.seen[inside] - law.low, minlength=len(values) - 1)
        labels = [_spell(value, law) for value in values[1:].tolist()]
        return _chi_square(question, labels, counts, np.diff(law.cdf(values)))
    return _kolmogorov_smirnov(question, law)


def corrected(tests: Sequence[Test]) -> tuple[Test, ...]:
    """The same tests, decided together: the family fails any of them with probability ALPHA at most.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    failed: set[int] = set()
    for rank, i in enumerate(sorted(range(len(tests)), key=lambda i: tests[i].p)):
        if tests[i].p > ALPHA / (len(tests) - rank):
            break
        failed.add(i)
    return tuple(replace(test, passed=i not in failed) for i, test in enumerate(tests))


def _chi_square(question: Question, labels: Sequence[str], counts: Ints, shares: NDArray[np.float64]) -> Test:
    """Pearson's test of counts, int64[k], against probabilities, float64[k]."""
    from scipy.special import bdtr, bdtrc, chdtrc  # noqa: PLC0415 - only who tests waits for it

    n = len(question.seen)
    possible = shares > 0
    labels = [label for label, good in zip(labels, possible.tolist(), strict=True) if good]
    starts = _merged(n * shares[possible])
    seen, expected = (np.add.reduceat(part, starts) for part in (counts[possible], n * shares[possible]))
    ends = [*(starts[1:] - 1).tolist(), len(labels) - 1]
    cells = [
        Cell(value=_interval(labels[start], labels[end]), seen=count, expected=share)
        for start, end, count, share in zip(starts.tolist(), ends, seen.tolist(), expected.tolist(), strict=True)
    ]
    value, freedom, impossible = float(((seen - expected) ** 2 / expected).sum()), len(cells) - 1, n - int(seen.sum())
    if freedom == 1 and not impossible:
        count, share = int(seen[0]), float(expected[0] / n)
        # As likely as this, or less, at either end.
        p = min(1.0, 2 * float(min(bdtr(count, n, share), bdtrc(count - 1, n, share) if count else 1.0)))
        return _test(question, "binomial", value=count, freedom=None, p=p, cells=cells, impossible=0)
    p = float(chdtrc(freedom, value)) if freedom else 1.0
    return _test(question, "chi-square", value=value, freedom=freedom, p=p, cells=cells, impossible=impossible)


def _merged(expected: NDArray[np.float64]) -> Ints:
    """Where cells begin, so that each expects FEWEST at least; the last one takes what is left over."""
    starts, held = [0], 0.0
    for i, share in enumerate(expected.tolist()):
        if held >= FEWEST:
            starts.append(i)
            held = 0.0
        held += share
    return np.array(starts[:-1] if held < FEWEST and len(starts) > 1 else starts, np.int64)


def _kolmogorov_smirnov(question: Question, law: Numbers) -> Test:
    """The greatest distance between both cumulative functions; ties and small n make p larger, never smaller.

    p by the correction of J. Vrbik, "Small-sample corrections to Kolmogorov-Smirnov test statistic", Pioneer Journal
    of Theoretical and Applied Statistics 15, 2018.
    """
    from scipy.special import kolmogorov  # noqa: PLC0415 - only who tests waits for it

    n = len(question.seen)
    inside = question.seen[(question.seen >= law.low) & (question.seen <= law.high)]
    values, counts = np.unique(inside, return_counts=True)
    reached = np.cumsum(counts) / n
    above, below = reached - law.cdf(values), law.cdf(values - 1) - (reached - counts / n)
    value = float(max(above.max(initial=0.0), below.max(initial=0.0)))
    edges = law.low + np.arange(INTERVALS + 1) * (law.high - law.low + 1) // INTERVALS
    seen, shares = np.diff(np.append(0, np.cumsum(counts))[np.searchsorted(values, edges)]), np.diff(law.cdf(edges - 1))
    cells = [
        Cell(value=_interval(_spell(start, law), _spell(end - 1, law)), seen=count, expected=n * share)
        for start, end, count, share in zip(
            edges[:-1].tolist(), edges[1:].tolist(), seen.tolist(), shares.tolist(), strict=True
        )
    ]
    scaled = value * n**0.5
    p = float(kolmogorov(scaled + 1 / (6 * n**0.5) + (scaled - 1) / (4 * n)))
    kind, impossible = "Kolmogorov-Smirnov", n - len(inside)
    return _test(question, kind, value=value, freedom=None, p=p, cells=cells, impossible=impossible)


def _test(
    question: Question, kind: str, *, value: float, freedom: int | None, p: float, cells: list[Cell], impossible: int
) -> Test:
    if impossible:
        cells.append(Cell(value=IMPOSSIBLE, seen=impossible, expected=0.0))
    return Test(
        name=question.name,
        kind=kind,
        n=len(question.seen),
        value=value,
        freedom=freedom,
        p=0.0 if impossible else p,
        passed=True,
        cells=tuple(cells),
    )


def _interval(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _spell(value: int, law: Numbers) -> str:
    return str(value) if law.unit == 1 else f"{value / law.unit:.6g}"
