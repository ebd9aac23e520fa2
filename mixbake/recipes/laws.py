"""What a law is: exact probabilities of something that recipes draw, as values without any drawing in them.

Rule: probabilities are whole weights, or a cumulative function over whole numbers; nothing is estimated, and nothing
is rounded before it is compared.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.variant import MICRO

Whole = NDArray[np.int64]
Cumulative = Callable[[Whole], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical:
    """One of a few values, with probabilities in proportion to whole weights."""

    values: tuple[str, ...]
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A whole number from low to high, in 1/unit.

    cdf: P(X <= x) for int64[n] within low - 1 to high.
    """

    low: int
    high: int
    cdf: Cumulative
    unit: int = 1


Law = Categorical | Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use of an operation: the step it becomes, and the law of its level.

    level: of its size, when it is `signed` (± with ½ each); None without a level. arguments: the step's first argument
    at int64[n] levels with their signs, in the argument's own unit; rest: what follows it, always the same.
    """

    op: str
    step: str
    level: Numbers | None
    signed: bool
    arguments: Callable[[Whole], Whole]
    rest: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One of the laws that coefficients (a, b) of a blend follow, with its weight; b is 1 − a where it is None."""

    name: str
    weight: int
    a: Numbers
    b: Numbers | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The box that every blend is limited to, in an image of `size`; left and top have one law, width and height one.

    shape: whether it is square.
    """

    size: int
    offset: Numbers
    side: Numbers
    shape: Categorical


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The weighted sum that a program ends in, of the crop and chains.

    crop: weight of the crop. share: of each chain in what the crop leaves, up to 1e-6; None of a single one.
    """

    chains: int
    crop: Numbers
    share: Numbers | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Laws:
    """What a recipe draws for a variant.

    programs: over `spell_program`. op: one for all uses of a variant; ops: of each use, drawn anew. blend: at every
    stage, drawn anew unless `one_blend`, when all of a variant are of one kind; box: of every blend. pairs: of
    arithmetic and geometric blends; mask: probability of a pixel or element blend. What is None or empty, the recipe
    does not draw.
    """

    programs: Categorical
    layer: Categorical | None = None
    op: Categorical | None = None
    ops: Categorical | None = None
    uses: tuple[Use, ...] = ()
    blend: Categorical | None = None
    one_blend: bool = False
    pairs: tuple[Pair, ...] = ()
    mask: Numbers | None = None
    box: Box | None = None
    sum: Sum | None = None


def spell_program(*, layer: int, ops: int, blends: int, picture: bool) -> str:
    """The form of a program in words; layer 0 is none."""
    parts = [f"layer {layer}"] if layer else []
    parts += [f"{ops} op"] * (ops > 0) + [f"{blends} blend"] * (blends > 0) + ["picture"] * picture
    return ", ".join(parts) or "bare crop"


def equally(values: Sequence[object]) -> Categorical:
    """Every value as likely as any other."""
    return Categorical(values=tuple(map(str, values)), weights=(1,) * len(values))


def weighted(values: Sequence[str], weights: Sequence[int]) -> Categorical:
    """Values by weight; those of weight 0 are left out."""
    drawn = [(value, weight) for value, weight in zip(values, weights, strict=True) if weight]
    return Categorical(values=tuple(value for value, _ in drawn), weights=tuple(weight for _, weight in drawn))


def product(one: Categorical, other: Categorical) -> Categorical:
    """Both at once, independent: value i of `one` and j of `other` is value i · len(other) + j."""
    return Categorical(
        values=tuple(f"{a}, {b}" for a in one.values for b in other.values),
        weights=tuple(a * b for a in one.weights for b in other.weights),
    )


def uniform(low: int, high: int, *, unit: int = 1) -> Numbers:
    """Every whole number from low to high, as `core.kernels.words.uniform` draws it."""
    count = high - low + 1
    return Numbers(low=low, high=high, cdf=lambda x: (x - low + 1) / count, unit=unit)


def by_set(sets: Sequence[tuple[int, int]]) -> Numbers:
    """A picture's number: a set by weight, then any picture of it. sets: (pictures, weight), numbered in this order."""
    ends, shares = np.cumsum([0, *(count for count, _ in sets)]), np.cumsum([0, *(weight for _, weight in sets)])
    return Numbers(low=0, high=int(ends[-1]) - 1, cdf=lambda x: np.interp(x + 1, ends, shares / shares[-1]))


def same_by_set(sets: Sequence[tuple[int, int]]) -> Categorical:
    """Whether two pictures that follow `by_set` are the same."""
    total = sum(weight for _, weight in sets)
    same = sum((Fraction(weight * weight, total * total * count) for count, weight in sets), start=Fraction(0))
    return Categorical(values=("the same", "another"), weights=(same.numerator, same.denominator - same.numerator))


def greatest(count: int) -> Numbers:
    """Beta(count, 1) in 1e-6: the largest of `count` uniforms on 0..1e6."""
    return Numbers(low=0, high=MICRO, cdf=lambda x: ((x + 1) / (MICRO + 1)) ** count, unit=MICRO)


def median(count: int) -> Numbers:
    """Beta(count, count) in 1e-6: the middle one of 2 · count - 1 uniforms on 0..1e6."""
    return ordered(count, 2 * count - 1)


def ordered(rank: int, draws: int) -> Numbers:
    """Beta(rank, draws - rank + 1) in 1e-6: the one of that rank, from 1, among as many uniforms on 0..1e6."""

    def cdf(x: Whole) -> NDArray[np.float64]:
        below = (x + 1) / (MICRO + 1)
        # At least `rank` of the draws are that small.
        terms = (math.comb(draws, k) * below**k * (1 - below) ** (draws - k) for k in range(rank, draws + 1))
        return np.minimum(sum(terms, start=np.zeros(len(x))), 1.0)

    return Numbers(low=0, high=MICRO, cdf=cdf, unit=MICRO)


def root(beta: float) -> Numbers:
    """Beta(beta, 1) in 1e-6 for any beta: U^(1/beta), rounded, with U uniform on 1e-6..1."""

    def cdf(x: Whole) -> NDArray[np.float64]:
        bound = np.maximum(x + 0.5, 0.0) / MICRO
        reached: NDArray[np.float64] = np.clip(np.floor(bound**beta * MICRO) / MICRO, 0.0, 1.0)
        return reached

    return Numbers(low=0, high=MICRO, cdf=cdf, unit=MICRO)


def either(laws: Sequence[Numbers]) -> Numbers:
    """One of several laws, equally often."""
    return Numbers(
        low=min(law.low for law in laws),
        high=max(law.high for law in laws),
        # Outside its ends a law's own function is not defined.
        cdf=lambda x: (
            sum((law.cdf(np.clip(x, law.low - 1, law.high)) for law in laws), start=np.zeros(len(x))) / len(laws)
        ),
        unit=laws[0].unit,
    )


def published_pairs(beta: float) -> tuple[Pair, ...]:
    """(a, b) half of the time Beta(β, 1) and Beta(1, β), else 1 + Beta(1, β) and −Beta(1, β) (arXiv 2112.05135)."""
    upper = greatest(int(beta)) if float(beta).is_integer() else root(beta)
    lower = mirrored(upper, MICRO)
    return (
        Pair(name="b above 0", weight=1, a=upper, b=lower),
        Pair(name="b below 0", weight=1, a=shifted(lower, MICRO), b=mirrored(lower, 0)),
    )


def mirrored(law: Numbers, about: int) -> Numbers:
    """about − X."""
    return Numbers(low=about - law.high, high=about - law.low, cdf=lambda x: 1 - law.cdf(about - x - 1), unit=law.unit)


def shifted(law: Numbers, by: int) -> Numbers:
    """X + by."""
    return Numbers(low=law.low + by, high=law.high + by, cdf=lambda x: law.cdf(x - by), unit=law.unit)


def mapped(law: Numbers, function: Callable[[Whole], Whole]) -> tuple[Whole, Categorical]:
    """A function of a uniform number that takes few values: those, ascending, and how often each occurs."""
    found, counts = np.unique(function(np.arange(law.low, law.high + 1)), return_counts=True)
    named: tuple[Any, ...] = tuple(map(str, found.tolist()))
    return found, Categorical(values=named, weights=tuple(counts.tolist()))
