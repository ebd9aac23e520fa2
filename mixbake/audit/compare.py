"""Two bakes beside each other: their plans, what was drawn how often, and the variants that both have.

    plans -> fields that differ
    indexes -> layers, operations, blends and levels, counted and tested; variants of both, compared by key
    a sample -> crops, windows of mixing pictures and pixels, read from the shards
Rule: a variant counts once in every test, by its first operation, blend and level: those of one program depend on
each other. What was only looked at in a sample says how large that was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog, Rows, first_entries
from mixbake.audit.choice import choose
from mixbake.audit.faults import plain
from mixbake.audit.samples import Record, read_records
from mixbake.audit.schema import read_strictly
from mixbake.errors import Damage, UsageError
from mixbake.storage.finish import known_images
from mixbake.storage.opened import Bake
from mixbake.storage.plan import differing_fields, given_in

SAMPLE = 500
"""Variants whose crops and pixels are compared."""
LEVEL_BINS = 10
LEAST_EXPECTED = 5.0
"""Cells of a chi-square that expect less are taken together (Cochran 1954)."""
COUNTED = ("layer", "op", "blend")
NONE = "none"
"""What a variant without a layer, an operation or a blend is counted as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two bakes. given: source and mixing set as the user wrote them. variants: clean crops left out."""

    path: str
    digest: str
    recipe: str
    worth: int
    images: int
    variants: int
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field of the plan that differs, as in `recipe.severity`; a and b as JSON, long ones by their digest."""

    field: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """Pearson's chi-square of two samples. freedom: its degrees. p: as if the two were drawn independently."""

    chi_square: float
    freedom: int
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many variants of each bake have a value."""

    value: str
    a: int
    b: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Values of a column. name: layer, op or blend. test: None where all variants have one value."""

    name: str
    counts: tuple[Counts, ...]
    test: Test | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Levels of an operation. a, b: mean absolute ones. test: of LEVEL_BINS bins, alike full for both together."""

    op: str
    a: float
    b: float
    test: Test | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of how many variants of one image and number something is equal in both bakes.

    what: class, flip, layer, op, blend, of all that both have; picture, of those that mix with one in both;
    crop, window (of the mixing picture), pixels, of the sample.
    """

    what: str
    equal: int
    of: int

    @property
    def share(self) -> float | None:
        """0 to 1; None of nothing."""
        return self.equal / self.of if self.of else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two bakes compared.

    same_source: whether the lists of images are equal; other_images: baked in both with other bytes, though.
    same_environment: of all that baked. pairs: variants of one key in both, clean crops left out; sampled: of them.
    """

    a: Side
    b: Side
    differences: tuple[Difference, ...]
    same_source: bool
    other_images: int
    same_classes: bool
    same_mixing: bool
    same_environment: bool
    distributions: tuple[Distribution, ...]
    levels: tuple[Levels, ...]
    pairs: int
    sampled: int
    seed: int
    agreements: tuple[Agreement, ...]

    @property
    def paired(self) -> bool:
        """Whether the two bakes are of the same images, so that variants of one key belong together."""
        return self.same_source and not self.other_images

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shares = [asdict(one) | {"share": one.share} for one in self.agreements]
        return asdict(self) | {"agreements": shares, "paired": self.paired}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Variants that both bakes have: their rows in the one and in the other, int64[k], aligned."""

    a: Rows
    b: Rows

    def __len__(self) -> int:
        return len(self.a)


def compare(a: Catalog, b: Catalog, *, seed: int = 0, sample: int = SAMPLE) -> Comparison:
    """Compare two bakes. seed: of the sample.

    Raises UsageError for a sample of less than one variant, Damage naming what is not as its bake promises.
    """
    if sample < 1:
        raise UsageError(f"a sample has at least 1 variant, not {sample}")
    old, new = a.bake.plan, b.bake.plan
    columns = _drawn(a), _drawn(b)
    same_source = old.source == new.source
    other_images = _other_images(a.bake, b.bake) if same_source else 0
    pairs = find_pairs(a, b) if same_source and not other_images else Pairs(a=_NO_ROWS, b=_NO_ROWS)
    chosen = sample_pairs(a, pairs, sample, seed)
    agreements = [*_of_all(columns, a, b, pairs), *_of_sample(a, b, chosen)] if len(pairs) else []
    return Comparison(
        a=_side(a),
        b=_side(b),
        differences=tuple(
            Difference(field=field, a=before, b=after) for field, before, after in differing_fields(old, new)
        ),
        same_source=same_source,
        other_images=other_images,
        same_classes=old.classes == new.classes,
        same_mixing=old.mixing == new.mixing,
        same_environment=_environments(a.bake) == _environments(b.bake),
        distributions=tuple(_distribution(name, *(side[name] for side in columns)) for name in COUNTED),
        levels=tuple(_levels(*columns)),
        pairs=len(pairs),
        sampled=len(chosen),
        seed=seed,
        agreements=tuple(agreements),
    )


def find_pairs(a: Catalog, b: Catalog) -> Pairs:
    """Rows of the `mix` variants of one image and number, by image and number. The sources must be the same."""
    rows = [_mixes(one) for one in (a, b)]
    codes = []
    for catalog, chosen in zip((a, b), rows, strict=True):
        variants = catalog.variants(chosen)
        codes.append(variants.images << 32 | variants.numbers)
    _, ours, theirs = np.intersect1d(codes[0], codes[1], assume_unique=True, return_indices=True)
    return Pairs(a=rows[0][ours], b=rows[1][theirs])


def sample_pairs(a: Catalog, pairs: Pairs, n: int, seed: int) -> Pairs:
    """At most n of them by chance, the same for the same seed, by image and number."""
    if not len(pairs):
        return pairs
    order = np.argsort(pairs.a)
    rows = choose(a, pairs.a[order], n, seed=seed)
    return Pairs(a=rows, b=pairs.b[order[np.searchsorted(pairs.a, rows, sorter=order)]])


_NO_ROWS: Rows = np.zeros(0, np.int64)


def _side(catalog: Catalog) -> Side:
    bake = catalog.bake
    return Side(
        path=bake.shelf.name,
        digest=bake.digest,
        recipe=str(bake.plan.recipe["name"]),
        worth=bake.epochs_worth,
        images=len(bake.images),
        variants=len(_mixes(catalog)),
        given=given_in(bake.shelf.read("manifest.json")),
    )


def _mixes(catalog: Catalog) -> Rows:
    rows = np.arange(len(catalog), dtype=np.int64)
    return rows if catalog.bake.plan.views == "mix" else rows[~catalog.variants(rows).clean]


def _environments(bake: Bake) -> list[Any]:
    """Library versions of all that took part, in no order."""
    return sorted(bake.finished.document.get("environments", []), key=str)


def _other_images(a: Bake, b: Bake) -> int:
    """Images baked in both whose bytes differ, in sources that list the same."""
    ours, theirs = (known_images(Path(bake.shelf.name)) for bake in (a, b))
    return sum(theirs.get(image, sha256) != sha256 for image, sha256 in ours.items())


# ── what was drawn ────────────────────────────────────────────────────────────────────────────────

_WHOLE = ("layer", "picture", "picture_hflip", "picture_vflip", "flip", "blend", "class")


def _drawn(catalog: Catalog) -> dict[str, Any]:
    """Columns of all `mix` variants, of the lists their first entries."""
    table = catalog.columns([*_WHOLE, "ops", "levels"])
    if catalog.bake.plan.views != "mix":
        table = table.take(pa.array(_mixes(catalog)))
    first = {"op": first_entries(table["ops"]), "level": first_entries(table["levels"])}
    return {name: table[name] for name in _WHOLE} | first


def _distribution(name: str, a: Any, b: Any) -> Distribution:
    ours, theirs = _counted(a), _counted(b)
    values = sorted({*ours, *theirs}, key=lambda value: (value == NONE, value))
    counts = tuple(Counts(value=value, a=ours.get(value, 0), b=theirs.get(value, 0)) for value in values)
    return Distribution(
        name=name, counts=counts, test=two_samples([one.a for one in counts], [one.b for one in counts])
    )


def _counted(column: Any) -> dict[str, int]:
    pairs = pc.value_counts(column).to_pylist()
    return {NONE if pair["values"] is None else str(pair["values"]): int(pair["counts"]) for pair in pairs}


def _levels(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Levels]:
    """Of the operations that both bakes use with levels."""
    (names_a, of_a), (names_b, of_b) = (_named_levels(side) for side in (a, b))
    found = []
    for op in sorted({*names_a} & {*names_b}):
        ours, theirs = of_a[op], of_b[op]
        if not (ours.any() or theirs.any()):
            continue
        edges = np.unique(np.quantile(np.concatenate([ours, theirs]), np.linspace(0, 1, LEVEL_BINS + 1)[1:-1]))
        binned = [
            np.bincount(np.searchsorted(edges, side, side="right"), minlength=len(edges) + 1).tolist()
            for side in (ours, theirs)
        ]
        means = (float(np.abs(side).mean()) for side in (ours, theirs))
        found.append(Levels(op=op, a=next(means), b=next(means), test=two_samples(*binned)))
    return found


def _named_levels(side: Mapping[str, Any]) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    ops = side["op"].combine_chunks()
    ops = ops if pa.types.is_dictionary(ops.type) else ops.dictionary_encode()
    codes = ops.indices.fill_null(-1).to_numpy()
    levels = side["level"].to_numpy()
    named = {name: levels[codes == code] for code, name in enumerate(ops.dictionary.to_pylist())}
    used = {name: found[np.isfinite(found)] for name, found in named.items()}
    return [name for name, found in used.items() if len(found)], used


def two_samples(a: Sequence[int], b: Sequence[int]) -> Test | None:
    """Whether counts of the same cells come from one distribution (Pearson 1900); None where there is one cell."""
    from scipy.stats import chi2  # noqa: PLC0415 - slow to import, and only tests need it

    counts = np.array([a, b], np.float64)
    totals = counts.sum(axis=1)
    if not totals.all():
        return None
    expected = totals[:, None] * counts.sum(axis=0) / totals.sum()
    rare = expected.min(axis=0) < LEAST_EXPECTED
    counts = np.concatenate([counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)], axis=1)
    counts = counts[:, counts.any(axis=0)]
    if counts.shape[1] < 2:
        return None
    expected = totals[:, None] * counts.sum(axis=0) / totals.sum()
    value, freedom = float(((counts - expected) ** 2 / expected).sum()), counts.shape[1] - 1
    return Test(chi_square=value, freedom=freedom, p=float(chi2.sf(value, freedom)))


# ── variants of one key ───────────────────────────────────────────────────────────────────────────


def _of_all(columns: tuple[dict[str, Any], dict[str, Any]], a: Catalog, b: Catalog, pairs: Pairs) -> list[Agreement]:
    """What the indexes say of all pairs."""
    sides = []
    for catalog, side, rows in zip((a, b), columns, (pairs.a, pairs.b), strict=True):
        # `side` has no clean crops: rows there are numbered among the rest.
        places = pa.array(np.searchsorted(_mixes(catalog), rows))
        sides.append({name: _texts(column.take(places)) for name, column in side.items() if name != "level"})
    equal = {name: _truths(pc.equal(sides[0][name], sides[1][name])) for name in sides[0]}
    found = [
        Agreement(what=name, equal=int(equal[name].sum()), of=len(pairs))
        for name in ("class", "flip", "layer", "op", "blend")
    ]
    if a.bake.plan.mixing is None or a.bake.plan.mixing != b.bake.plan.mixing:
        return found
    both = _truths(pc.not_equal(sides[0]["picture"], _NOTHING)) & _truths(pc.not_equal(sides[1]["picture"], _NOTHING))
    same = both & equal["picture"] & equal["picture_hflip"] & equal["picture_vflip"]
    return [*found, Agreement(what="picture", equal=int(same.sum()), of=int(both.sum()))]


_NOTHING = "-"


def _texts(column: Any) -> Any:
    """The column's values as texts, in pyarrow; nulls are a value like any other."""
    return column.cast(pa.string()).fill_null(_NOTHING)


def _truths(column: Any) -> NDArray[np.bool_]:
    truths: NDArray[np.bool_] = column.to_numpy()
    return truths


def _of_sample(a: Catalog, b: Catalog, chosen: Pairs) -> list[Agreement]:
    """What only the records tell."""
    same = {"crop": 0, "window": 0, "pixels": 0}
    mixed = 0
    for ours, theirs in zip(read_records(a, chosen.a), read_records(b, chosen.b), strict=True):
        one, other = document_of(ours), document_of(theirs)
        same["crop"] += has_same_crop(one, other)
        same["pixels"] += np.array_equal(ours.pixels, theirs.pixels)
        if one.get("picture") and other.get("picture"):
            mixed += 1
            same["window"] += one["picture"] == other["picture"]
    of = {"crop": len(chosen), "window": mixed, "pixels": len(chosen)}
    if a.bake.plan.mixing is None or a.bake.plan.mixing != b.bake.plan.mixing:
        del same["window"]
    return [Agreement(what=name, equal=count, of=of[name]) for name, count in same.items()]


def has_same_crop(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two variants, as their JSON says, begin with the same window of their image, mirrored alike."""
    return all(one.get(name) == other.get(name) for name in ("crop", "flip"))


def document_of(record: Record) -> Mapping[str, Any]:
    """The JSON of a record, an object. Raises Damage naming the key."""
    try:
        return dict(read_strictly(record.text))
    except ValueError as error:
        raise Damage(f"{record.row['shard']}, {record.key}: its JSON cannot be read ({plain(error)})") from error
