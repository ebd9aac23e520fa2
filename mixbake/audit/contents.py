"""`mixbake info`: what is in a bake, on one screen.

Rule: counted from what is stored, the indexes and receipts; nothing is estimated, and no shard is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixbake.audit.catalog import Catalog
from mixbake.audit.faults import plain
from mixbake.core.ops import overlaps_imagenet_c, parameters_of
from mixbake.storage.opened import Bake, describe_size
from mixbake.storage.plan import FLIP_WORDS, given_in, spell_mixing, spell_worth

WIDTH = 100
MOST_MISSING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How often something occurs, and its share of all."""

    count: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Least, median and greatest of some counts."""

    least: int
    median: float
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a bake holds.

    given: source and mixing set as the user wrote them. images: baked; skipped: not. worth: epochs' worth.
    samples: clean crops included. bytes: of all tars; payload: of the pictures in them. per_class: images a class.
    layers: variants by layer. ops, blends: uses in all variants, by name. pictures: of the mixing set; used: of them
    at least once; uses: of each; sets: of each mixing set, where they are weighted. files: promised; missing: those
    that are absent or of another size, in words.
    """

    path: str
    digest: str
    plan_digest: str
    plan: dict[str, Any]
    given: dict[str, Any]
    worth: int
    images: int
    skipped: int
    samples: int
    bytes: int
    payload: int
    classes: int
    per_class: Spread
    layers: dict[str, Share]
    ops: dict[str, Share]
    blends: dict[str, Share]
    mixing: str | None
    pictures: int
    used: int
    uses: Spread
    sets: tuple[Share, ...]
    environments: list[dict[str, Any]]
    built_with: dict[str, Any]
    files: int
    missing: tuple[str, ...]

    @property
    def overhead(self) -> float:
        """Share of the tars that is no picture: headers, labels, JSON, padding."""
        return 1 - self.payload / self.bytes if self.bytes else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"overhead": self.overhead, "complete": not self.missing}


def look_into(bake: Bake) -> Contents:
    """Count what a bake holds. Raises Damage naming an index that cannot be used, StorageError."""
    plan, document = bake.plan, bake.finished.document
    table = Catalog(bake).columns(["size", "view", "layer", "ops", "blends", "picture"])
    mixes = table.filter(pc.equal(table["view"], "mix")) if plan.views != "mix" else table
    pictures = np.bincount(_codes(mixes["picture"]), minlength=plan.pictures)
    files = list(bake.files())
    return Contents(
        path=bake.shelf.name,
        digest=bake.digest,
        plan_digest=bake.plan_digest,
        plan=asdict(plan),
        given=given_in(bake.shelf.read("manifest.json")),
        worth=bake.epochs_worth,
        images=len(bake.images),
        skipped=plan.baked - len(bake.images),
        samples=len(table),
        bytes=sum(file.size for file in files if file.name.endswith(".tar")),
        payload=int(pc.sum(table["size"]).as_py() or 0),
        classes=len(plan.classes),
        per_class=_spread(np.bincount(bake.labels, minlength=len(plan.classes))),
        layers=_shares(mixes["layer"]),
        ops=_shares(pc.list_flatten(mixes["ops"])),
        blends=_shares(pc.list_flatten(mixes["blends"])),
        mixing=plan.mixing,
        pictures=plan.pictures,
        used=int((pictures > 0).sum()),
        uses=_spread(pictures),
        sets=_uses_by_set(pictures, plan.mixing_sets),
        environments=list(document.get("environments", [])),
        built_with=dict(document.get("built_with", {})),
        files=len(files),
        missing=tuple(describe_size(file, found) for file, found in bake.wrong_sizes()),
    )


def explain(contents: Contents) -> str:
    """The contents as lines for a terminal."""
    lines: list[str] = []
    for name, value in _facts(contents):
        first, *rest = packed([plain(item) for item in value], WIDTH - 13)
        lines += [f"{name:12} {first}", *(f"{'':13}{line}" for line in rest)]
    return "\n".join(lines)


def packed(items: Sequence[str], width: int) -> list[str]:
    """Items with commas between them, as many a line of that width as fit; none is cut."""
    lines = [items[0]]
    for item in items[1:]:
        if len(lines[-1]) + len(item) + 3 > width:
            lines[-1] += ","
            lines.append(item)
        else:
            lines[-1] += f", {item}"
    return lines


def _facts(contents: Contents) -> Iterator[tuple[str, list[str]]]:
    """What each line is about, and its items."""
    plan, one, recipe = contents.plan, contents.per_class, contents.plan["recipe"]
    yield "bake", [contents.path]
    yield "recipe", [str(recipe["name"]), *_pairs(parameters_of(recipe))]
    if code := spell_code(recipe):
        yield "code", code
    yield "source", [str(contents.given.get("source", "not recorded"))]
    quality = f" {plan['quality']}" if plan["quality"] else ""
    shape = [f"{plan['size']} px", f"{plan['codec']}{quality}", f"crop {plan['crop']}", f"views {plan['views']}"]
    yield "pictures", [*shape, f"flip {FLIP_WORDS[plan['flip']]}", f"seed {plan['seed']}"]
    images = [f"{contents.images:,} baked", f"{contents.skipped:,} skipped", spell_worth(contents.worth)]
    yield "images", [*images, f"{contents.samples:,} samples"]
    yield "classes", [f"{contents.classes:,}", f"with {one.least:,} to {one.most:,} images", f"median {one.median:,g}"]
    overhead = f"{contents.payload:,} of pictures and {contents.overhead:.1%} around them"
    yield "bytes", [f"{contents.bytes:,} in tars: {overhead}"]
    for name, shares in (("layers", contents.layers), ("operations", contents.ops), ("blends", contents.blends)):
        yield name, [f"{key}: {one.count:,} ({one.share:.1%})" for key, one in shares.items()] or ["none"]
    if overlap := overlaps_imagenet_c(recipe):
        yield "", [f"of these {' '.join(overlap)}: also in ImageNet-C"]
    yield "mixing set", _mixing(contents)
    for environment in contents.environments:
        yield "environment", _pairs(environment)
    yield "made with", _pairs(contents.built_with, without=("libraries",)) or ["not recorded"]
    yield "files", _completeness(contents)
    yield "bake digest", [contents.digest]


def spell_code(recipe: Mapping[str, Any]) -> list[str]:
    """What a plan records of the code of a recipe of one's own; nothing for mixbake's recipes."""
    if not isinstance(own := recipe.get("own"), Mapping):
        return []
    steps = {**_entries(own.get("ops")), **_entries(own.get("blends"))}
    versions = [f"{name} version {_entries(told).get('version')}" for name, told in steps.items()]
    return [f"{own.get('distribution') or 'a file'}, sha256 {own.get('sha256')}", *versions]


def _entries(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _pairs(values: Mapping[str, Any], *, without: Sequence[str] = ()) -> list[str]:
    return [f"{name} {value}" for name, value in values.items() if name not in without]


def _mixing(contents: Contents) -> list[str]:
    if not contents.mixing:
        return ["none"]
    given, uses, told = spell_mixing(contents.given), contents.uses, contents.plan["mixing_sets"]
    used = f"{contents.used:,} used, each {uses.least:,} to {uses.most:,} times"
    digest = f"digest {contents.mixing[:16]}"
    sets = [
        f"set {number} by weight {weight}: {count:,} pictures, {one.count:,} uses ({one.share:.1%})"
        for number, ((count, weight), one) in enumerate(zip(told, contents.sets, strict=True), 1)
    ]
    return [given, f"{contents.pictures:,} pictures", used, f"median {uses.median:,g}", digest, *sets]


def _completeness(contents: Contents) -> list[str]:
    if not contents.missing:
        return [f"all {contents.files:,} are there with their sizes"]
    more = len(contents.missing) - MOST_MISSING
    listed = [*contents.missing[:MOST_MISSING], *([f"and {more:,} more"] if more > 0 else [])]
    return [f"INCOMPLETE: {len(contents.missing):,} of {contents.files:,}", *listed]


def _uses_by_set(pictures: NDArray[np.int64], sets: Sequence[tuple[int, int]]) -> tuple[Share, ...]:
    """Of uses of each picture, those of each set; none where sets have no weights."""
    if not sets:
        return ()
    starts = np.cumsum([0, *(count for count, _ in sets[:-1])])
    total = max(1, int(pictures.sum()))
    return tuple(Share(count=count, share=count / total) for count in np.add.reduceat(pictures, starts).tolist())


def _codes(column: Any) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = column.drop_null().to_numpy().astype(np.int64)
    return codes[codes >= 0]


def _shares(column: Any) -> dict[str, Share]:
    """Occurrences of each value that is not null, in the order of their names."""
    counted = {str(pair["values"]): int(pair["counts"]) for pair in pc.value_counts(column.drop_null()).to_pylist()}
    total = sum(counted.values())
    return {name: Share(count=counted[name], share=counted[name] / total) for name in sorted(counted)}


def _spread(counts: Sequence[int] | NDArray[Any]) -> Spread:
    if not len(counts):
        return Spread(least=0, median=0.0, most=0)
    return Spread(least=int(np.min(counts)), median=float(np.median(counts)), most=int(np.max(counts)))
