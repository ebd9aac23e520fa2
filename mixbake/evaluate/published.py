"""Figures that papers published: what errors are normalised by, and rows to put beside one's own.

Rule: literal tables; every figure has its source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ALEXNET_ERRORS: Mapping[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""AlexNet's mean error over the five severities of each corruption of ImageNet-C.

Source: google-research/augmix, imagenet.py, ALEXNET_ERR, in the order of its CORRUPTIONS.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """What somebody measured of a method. metrics: by the names of `results.METRICS`, as shares.

    dataset: see `DATASETS`. network: or nothing, where the source does not say. epochs: of training, where known.
    op_set, mixing_set: what pictures were made with. jsd: trained with AugMix's consistency loss, or None where the
    source does not say. rerun: not by the method's authors. source: where the figures stand.
    """

    method: str
    dataset: str
    network: str
    source: str
    metrics: Mapping[str, float]
    epochs: int | None = None
    op_set: str = "none"
    mixing_set: str = "none"
    jsd: bool | None = False
    rerun: bool = True


DATASETS: Mapping[tuple[int, str, str], str] = {
    (10, "airplane", "truck"): "CIFAR-10",
    (100, "apple", "worm"): "CIFAR-100",
    (1000, "n01440764", "n15075141"): "ImageNet",
}
"""How many classes, the first and the last one in alphabetical order -> the set that published rows are of."""


def dataset_of(classes: Sequence[str]) -> str | None:
    """The published set that has these classes, in any order."""
    ordered = sorted(classes)
    return DATASETS.get((len(ordered), ordered[0], ordered[-1])) if ordered else None


_MINTUN = (
    "Mintun et al., arXiv 2102.11273, table of errors on C and C-bar (facebookresearch/augmentation-corruption, "
    "figs/table.png); networks and epochs from its experiments/conf"
)
_ROBUSTBENCH = "RobustBench, model_info/{}/corruptions/{}.json at 78fcc9e{}"
_WEIGHTS = ": the authors' weights, evaluated there"
_LEADERBOARD = "leaderboards of hendrycks/robustness, README.md"
_SAFE9 = "safe9 (withholds ImageNet-C's)"
_UNSAID = "not said"
_IPMIX_PLOT = (
    "IPMix, arXiv 2310.04780: hzlsaber/IPMix, images/performance.png at 050bcb6, its markers read to 0.1 points; no "
    "set is named there: accuracies of 80.6 to 82.6 % are taken for CIFAR-100's"
)


def _plotted(method: str, clean_error: float, mce: float, **made: Any) -> PublishedRow:
    """What the plot of IPMix's authors shows: a point of two errors on CIFAR-100."""
    return PublishedRow(
        method=method,
        dataset="CIFAR-100",
        network="",
        metrics={"clean_error": clean_error, "mce": mce},
        **{"source": _IPMIX_PLOT, **made},
    )


PUBLISHED: tuple[PublishedRow, ...] = (
    PublishedRow(
        method="baseline",
        dataset="CIFAR-10",
        network="WRN-40-2",
        epochs=100,
        source=_MINTUN,
        metrics={"mce": 0.27, "c_bar_error": 0.271},
    ),
    PublishedRow(
        method="baseline",
        dataset="CIFAR-10",
        network="WRN-28-10",
        source=_ROBUSTBENCH.format("cifar10", "Standard", ""),
        metrics={"clean_error": 0.0522, "mce": 0.2654},
    ),
    PublishedRow(
        method="AutoAugment",
        dataset="CIFAR-10",
        network="WRN-40-2",
        epochs=100,
        op_set="AutoAugment's policy, without Cutout",
        source=_MINTUN,
        metrics={"mce": 0.194, "c_bar_error": 0.21},
    ),
    PublishedRow(
        method="AugMix",
        dataset="CIFAR-10",
        network="WRN-40-2",
        epochs=100,
        op_set=_SAFE9,
        jsd=True,
        source=_MINTUN,
        metrics={"mce": 0.111, "c_bar_error": 0.16},
    ),
    PublishedRow(
        method="AugMix",
        dataset="CIFAR-10",
        network="WRN-40-2",
        op_set=_SAFE9,
        jsd=True,
        rerun=False,
        source=_ROBUSTBENCH.format("cifar10", "Hendrycks2020AugMix_WRN", _WEIGHTS),
        metrics={"clean_error": 0.0492, "mce": 0.1118},
    ),
    PublishedRow(
        method="AugMix",
        dataset="CIFAR-10",
        network="ResNeXt-29 32x4d",
        op_set=_SAFE9,
        jsd=True,
        rerun=False,
        source=_ROBUSTBENCH.format("cifar10", "Hendrycks2020AugMix_ResNeXt", _WEIGHTS),
        metrics={"clean_error": 0.0417, "mce": 0.1091},
    ),
    PublishedRow(
        method="IPMix",
        dataset="CIFAR-10",
        network="",
        op_set="ipmix10",
        mixing_set="IPMix's own set",
        jsd=True,
        rerun=False,
        source="IPMix, arXiv 2310.04780, table 4, as quoted in hzlsaber/IPMix, issue 2; loss: README.md there",
        metrics={"mce": 0.086},
    ),
    _plotted("baseline", 0.19, 0.485),
    _plotted("Cutout", 0.182, 0.482),
    _plotted("Mixup", 0.184, 0.442),
    _plotted("CutMix", 0.18, 0.486),
    _plotted("AutoAugment", 0.177, 0.384, op_set="AutoAugment's policy"),
    _plotted("AugMix", 0.194, 0.315, op_set=_UNSAID, jsd=None),
    PublishedRow(
        method="AugMix",
        dataset="CIFAR-100",
        network="WRN-40-2",
        op_set=_SAFE9,
        jsd=True,
        rerun=False,
        source=_ROBUSTBENCH.format("cifar100", "Hendrycks2020AugMix_WRN", _WEIGHTS),
        metrics={"clean_error": 0.2372, "mce": 0.3589},
    ),
    PublishedRow(
        method="AugMix",
        dataset="CIFAR-100",
        network="ResNeXt-29 32x4d",
        op_set=_SAFE9,
        jsd=True,
        rerun=False,
        source=_ROBUSTBENCH.format("cifar100", "Hendrycks2020AugMix_ResNeXt", _WEIGHTS),
        metrics={"clean_error": 0.211, "mce": 0.3486},
    ),
    PublishedRow(
        method="PixMix",
        dataset="CIFAR-100",
        network="WRN-40-4",
        epochs=100,
        op_set="all13 (overlaps ImageNet-C)",
        mixing_set="fractals and feature visualisations",
        rerun=False,
        source=(
            "PixMix, arXiv 2112.05135, as listed by wizwand.com, which files the mCE under ImageNet-C: check it with "
            "the article; the rest: andyzoujm/pixmix, README.md"
        ),
        metrics={"mce": 0.305, "auroc": 0.893},
    ),
    _plotted("PixMix", 0.183, 0.283, op_set=_UNSAID, mixing_set=_UNSAID, jsd=None),
    _plotted(
        "IPMix",
        0.174,
        0.266,
        op_set="ipmix10",
        mixing_set="IPMix's own set",
        jsd=True,
        rerun=False,
        source=f"{_IPMIX_PLOT}; loss: README.md there",
    ),
    PublishedRow(
        method="baseline",
        dataset="ImageNet",
        network="ResNet-50",
        rerun=False,
        source=_LEADERBOARD,
        metrics={"clean_error": 0.2385, "mce_normalised": 0.767, "mfr": 0.58},
    ),
    PublishedRow(
        method="baseline",
        dataset="ImageNet",
        network="ResNet-50",
        epochs=100,
        source=_MINTUN,
        metrics={"mce": 0.581, "c_bar_error": 0.577},
    ),
    PublishedRow(
        method="AutoAugment",
        dataset="ImageNet",
        network="ResNet-50",
        epochs=100,
        op_set="AutoAugment's policy",
        source=_MINTUN,
        metrics={"mce": 0.55, "c_bar_error": 0.557},
    ),
    PublishedRow(
        method="AugMix",
        dataset="ImageNet",
        network="ResNet-50",
        epochs=180,
        op_set=_SAFE9,
        jsd=True,
        rerun=False,
        source=f"{_LEADERBOARD}; epochs: google-research/augmix, README.md",
        metrics={"clean_error": 0.2247, "mce_normalised": 0.653, "mfr": 0.374},
    ),
    PublishedRow(
        method="AugMix",
        dataset="ImageNet",
        network="ResNet-50",
        epochs=100,
        op_set=_SAFE9,
        jsd=True,
        source=_MINTUN,
        metrics={"mce": 0.492, "c_bar_error": 0.524},
    ),
)
"""Only what its source was seen to say. In the order of tables: by set, then by method."""
