"""What pictures tell of labels: constant ones, likeness to the source, copies, leaks from a test set.

    variants (all, or a sample) -> measure -> groups, worst, alike
    test pictures, source images -> leakage -> leaks
Rule: signals inform, they prove nothing; each says on how many variants it stands.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixbake.audit import leakage, likeness
from mixbake.audit.catalog import Catalog, Variants
from mixbake.audit.choice import choose
from mixbake.audit.copies import Copies, equal_groups, near_groups
from mixbake.audit.faults import plain
from mixbake.audit.hashing import CONSTANT
from mixbake.audit.measure import VALUES, Measures, measure
from mixbake.audit.originals import Beside
from mixbake.audit.promises import open_table
from mixbake.core.ops import overlaps_imagenet_c
from mixbake.errors import Damage, PlanDiffers, StorageError
from mixbake.storage.index import IMAGES_SCHEMA
from mixbake.storage.opened import RESTORE

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
SAMPLE = 5000
"""Variants measured, drawn by chance, of pictures above WHOLE_SIDE px a side, and of more than WHOLE."""
WHOLE, WHOLE_SIDE = 200_000, 64
"""So many variants of so small pictures are all measured."""
MOST_WORST = 8
"""Variants listed by each measure."""
MOST_GROUPS, MOST_KEYS = 50, 8
"""Groups listed of equal variants, and of near ones; keys listed of each."""
MOST_LEAKS = 200
"""Leaks listed."""

SIGNALS: dict[str, str] = {
    "constant": f"share of near-constant pictures, whose levels vary by less than {CONSTANT:g} of 255",
    "identical": "groups of variants of several images that have equal pixels",
    "conflicting": "groups of variants of several labels that have equal pixels",
    "leakage": "pictures of the test set that are images of the bake, exactly or by perceptual hash",
}
"""What `--fail-on NAME` knows: numbers, of the variants measured, that grow with what may be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """5 %, 50 % and 95 % of a measure."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Measures of the variants that share a layer, an operation or a blend.

    by: "all", "layer", "op" or "blend" (the first of `blends`). constant: share of near-constant pictures.
    ssim, psnr (dB), correlation: of a variant with its source crop; None without a source. affinity: mean distance to
    the source crop; diversity: mean distance between each variant and the next one, by number, of its image and group
    that was measured, crops and all (None without such pairs); both root mean square, 0 to 1.
    value: besides names "none", "several" (operations) and "other" (a name unknown here); "all" for all.
    """

    by: str
    value: str
    n: int
    constant: float
    ssim: Quantiles | None
    psnr: Quantiles | None
    correlation: Quantiles | None
    affinity: float | None
    diversity: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """A variant that stands out. measure: "constant", "ssim", "psnr" or "correlation".

    value: of "constant" the standard deviation of its levels (`likeness.flatness`), below CONSTANT.
    """

    measure: str
    key: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Variants of the same, or nearly the same, pixels.

    exact: equal pixels, else a perceptual hash within `hashing.DISTANCE` bits, directly or from one to the next.
    keys: the first ones. same_label: whether all have one label. same_image: whether all come from one image, which
    may rightly be.
    """

    exact: bool
    keys: tuple[str, ...]
    count: int
    same_label: bool
    same_image: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A picture of the test set that is, exactly or by perceptual hash, an image the bake was made of.

    against: its path in the folder. image, source: number and path of the image.
    """

    exact: bool
    against: str
    image: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """All signals of a bake. measured: variants, of `variants`. overlap: operations that ImageNet-C tests, too.

    crops: what variants were compared with, "clean" crops of the bake or the "source", or "" when there was none;
    missing: why, in words. identical, conflicting: groups of equal pixels of several images, of several labels;
    near: groups of near hashes of several images; unlooked: pairs of hashes that were not compared, being too many.
    alike, leaks: the first ones. against: the folder that was looked for, with its pictures' count; unreadable:
    pictures there that cannot be decoded; leaked: how many leaks there are; known: what they were looked for in, the
    "source", or "clean" crops or "mix" variants that were measured, which hardly ever match; "" without a folder.
    per_class: class, images baked, images skipped.
    """

    variants: int
    measured: int
    seed: int
    crops: str
    missing: str
    groups: tuple[Group, ...]
    worst: tuple[Worst, ...]
    alike: tuple[Alike, ...]
    identical: int
    conflicting: int
    near: int
    unlooked: int
    against: str | None
    against_pictures: int
    unreadable: int
    known: str
    leaks: tuple[Leak, ...]
    leaked: int
    overlap: tuple[str, ...]
    per_class: tuple[tuple[str, int, int], ...]

    @property
    def named(self) -> dict[str, float]:
        """The signals that `--fail-on NAME` knows (SIGNALS), as numbers.

        "leakage" only where test pictures were compared with the source: variants and crops hardly ever match one.
        """
        found = {
            "constant": self.groups[0].constant,
            "identical": float(self.identical),
            "conflicting": float(self.conflicting),
        }
        return found if self.known != "source" else found | {"leakage": float(self.leaked)}


def find_signals(
    catalog: Catalog,
    *,
    source: str | None = None,
    against: Path | None = None,
    seed: int = 0,
    sample: int = SAMPLE,
    progress: Progress | None = None,
) -> Signals:
    """Measure a bake's `mix` pictures: all of them, or `sample` drawn with the seed (WHOLE, WHOLE_SIDE).

    source: the images it was made of, if they moved; then they must be those, else what needs them is left out.
    against: folder of test pictures, at any depth. progress: called with what, done, total.
    Raises UsageError, PlanDiffers when the given source is another, Damage naming a shard, StorageError.
    """
    bake, progress = catalog.bake, progress or (lambda _what, _done, _total: None)
    tests = None if against is None else leakage.read_tests(against, bake.plan, progress)
    images = _read_images(catalog)
    beside = Beside(catalog, source, images=tests is not None)
    mixes = np.flatnonzero(~catalog.variants(np.arange(len(catalog))).clean)
    whole = len(mixes) <= WHOLE and bake.plan.size <= WHOLE_SIDE
    rows = mixes if whole or not len(mixes) else choose(catalog, mixes, sample, seed=seed)
    found = measure(catalog, rows, beside.crops, progress, keep_crops=tests is not None and beside.kind == "clean")
    labels, positions = bake.labels[found.variants.positions], found.variants.positions
    equal, (near, unlooked) = (
        equal_groups(found.prints, positions, labels),
        near_groups(found.prints, positions, labels),
    )
    known, leaks = ("", []) if tests is None else _leaks(catalog, tests, beside, found, images, progress)
    return Signals(
        variants=len(mixes),
        measured=len(rows),
        seed=seed,
        crops="" if found.ssim is None else beside.kind,
        missing=beside.missing,
        groups=tuple(_groups(found)),
        worst=tuple(_worst(found)),
        alike=(*_listed(equal, found.variants, exact=True), *_listed(near, found.variants, exact=False)),
        identical=equal.across,
        conflicting=equal.conflicting,
        near=near.across,
        unlooked=unlooked,
        against=None if against is None else str(against),
        against_pictures=0 if tests is None else len(tests.paths) + tests.unreadable,
        unreadable=0 if tests is None else tests.unreadable,
        known=known,
        leaks=tuple(leaks[:MOST_LEAKS]),
        leaked=len(leaks),
        overlap=overlaps_imagenet_c(bake.plan.recipe),
        per_class=_per_class(catalog, images),
    )


def _leaks(
    catalog: Catalog, tests: leakage.Tests, beside: Beside, found: Measures, images: Any, progress: Progress
) -> tuple[str, list[Leak]]:
    """What was looked in (`Signals.known`): all images of the source, else what was measured; and what was found."""
    bake = catalog.bake
    kind, search, positions = "source", leakage.Search(tests), np.arange(len(bake.images))
    if beside.originals is not None:
        baked = images.take(pa.array(bake.images))
        named = list(zip(baked["source"].to_pylist(), baked["source_sha256"].to_pylist(), strict=True))
        try:
            leakage.search_images(search, beside.originals, bake.plan, named, progress)
        except (PlanDiffers, StorageError) as error:
            beside.lose(error)
    if beside.originals is None:
        kind, prints = ("mix", found.prints) if found.crops is None else ("clean", found.crops)
        search, positions = leakage.Search(tests), found.variants.positions
        search.add(prints)
    leaks = []
    for exact, test, which in search.found():
        image = int(bake.images[positions[which]])
        leaks.append(Leak(exact=exact, against=tests.paths[test], image=image, source=str(images["source"][image])))
    return kind, leaks


def _read_images(catalog: Catalog) -> Any:
    """images.parquet as a pyarrow Table. Raises Damage."""
    bake, name = catalog.bake, "images.parquet"
    size, sha256 = len(bake.shelf.read(name)), str(bake.finished.document["images_sha256"])
    try:
        return open_table(bake.shelf.local(name, size=size, sha256=sha256), IMAGES_SCHEMA, bake.plan.images).read(
            columns=["label", "source", "source_sha256", "skipped"], use_threads=False
        )
    except (Damage, pa.ArrowException, OSError) as error:
        raise Damage(f"{name} in {bake.shelf.name} cannot be used ({plain(error)}): {RESTORE}") from error


def _per_class(catalog: Catalog, images: Any) -> tuple[tuple[str, int, int], ...]:
    classes = catalog.bake.plan.classes
    skipped = images["label"].filter(pc.is_valid(images["skipped"])).to_numpy()
    counts = (np.bincount(labels, minlength=len(classes)).tolist() for labels in (catalog.bake.labels, skipped))
    return tuple(zip(classes, *counts, strict=True))


def _quantiles(values: Floats | None) -> Quantiles | None:
    if values is None or not len(values):
        return None
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
    return Quantiles(low=low, median=median, high=high)


def _groups(found: Measures) -> Iterator[Group]:
    """All variants, even if there are none; then every value that occurs."""
    constant = ~found.prints.telling
    for by, values in VALUES.items():
        for code in [0] if by == "all" else np.unique(found.codes[by]).tolist():
            here = found.codes[by] == code
            some = {name: None if values is None else values[here] for name, values in _measured(found).items()}
            distances, apart = found.distances, float(found.apart[by][code])
            yield Group(
                by=by,
                value=values[code],
                n=int(here.sum()),
                constant=float(constant[here].mean()) if here.any() else 0.0,
                ssim=_quantiles(some["ssim"]),
                psnr=_quantiles(some["psnr"]),
                correlation=_quantiles(some["correlation"]),
                affinity=None if distances is None else float(distances[here].mean()),
                diversity=None if np.isnan(apart) else apart,
            )


def _measured(found: Measures) -> dict[str, Floats | None]:
    """Likeness to the crop by its name in Group: the smaller, the less alike."""
    decibels = None if found.distances is None else likeness.psnr(found.distances)
    return {"ssim": found.ssim, "psnr": decibels, "correlation": found.correlation}


def _worst(found: Measures) -> Iterator[Worst]:
    flat = np.where(found.prints.telling, np.inf, found.prints.flatness)
    for measure_name, values in {"constant": flat, **_measured(found)}.items():
        if values is not None:
            for i in np.argsort(values, kind="stable")[:MOST_WORST].tolist():
                if np.isfinite(values[i]):
                    yield Worst(measure=measure_name, key=found.variants.key(i), value=float(values[i]))


def _listed(copies: Copies, variants: Variants, *, exact: bool) -> Iterator[Alike]:
    several = zip(copies.members, copies.same_label.tolist(), copies.same_image.tolist(), strict=True)
    for members, same_label, same_image in islice(several, MOST_GROUPS):
        yield Alike(
            exact=exact,
            keys=tuple(variants.key(i) for i in members[:MOST_KEYS].tolist()),
            count=len(members),
            same_label=same_label,
            same_image=same_image,
        )
