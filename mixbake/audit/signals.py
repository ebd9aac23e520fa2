"""What pictures tell of labels: constant ones, likeness to the source, copies, leaks from a test set.

Rule: signals inform, they prove nothing; each says on how many variants it stands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mixbake.audit.catalog import Catalog

SAMPLE = 5000
"""Variants measured, drawn by chance, of pictures above 64 px a side."""


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
    the source crop; diversity: mean distance between two variants of one image; both root mean square, 0 to 1.
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
    """A variant that stands out. measure: "constant", "ssim", "psnr" or "correlation"."""

    measure: str
    key: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Variants of the same, or nearly the same, pixels.

    exact: equal pixels, else a perceptual hash within `distance` bits. keys: the first ones. same_label: whether all
    have one label. same_image: whether all come from one image.
    """

    exact: bool
    keys: tuple[str, ...]
    count: int
    same_label: bool
    same_image: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A picture of the test set that is, exactly or by perceptual hash, an image the bake was made of."""

    exact: bool
    against: str
    image: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """All signals of a bake. measured: variants, of `variants`. overlap: operations that ImageNet-C tests, too.

    per_class: class, images baked, images skipped. against: the folder that was looked for, with its pictures' count.
    """

    variants: int
    measured: int
    seed: int
    groups: tuple[Group, ...]
    worst: tuple[Worst, ...]
    alike: tuple[Alike, ...]
    against: str | None
    against_pictures: int
    leaks: tuple[Leak, ...]
    overlap: tuple[str, ...]
    per_class: tuple[tuple[str, int, int], ...]

    @property
    def named(self) -> dict[str, float]:
        """The signals that `--fail-on NAME` knows, as numbers that should be 0: "constant", "identical", "leakage"."""
        raise NotImplementedError


def find_signals(
    catalog: Catalog,
    *,
    source: str | None = None,
    against: Path | None = None,
    seed: int = 0,
    sample: int = SAMPLE,
    progress: Callable[[str, int, int], None] | None = None,
) -> Signals:
    """Measure a bake's pictures. source: the images it was made of, if they moved.

    Raises UsageError, PlanDiffers when the source is another, Damage naming a shard.
    """
    raise NotImplementedError
