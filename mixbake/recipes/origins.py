"""What presets are for people: each parameter's meaning, where its value is from, what they do and do not reproduce.

Rule: literal tables; facts with their source, and no claim of accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_BLENDS = "exponent of the Beta laws of the blends' coefficients, 0.01 to 100"
_LEVELS = "m: levels are uniform between 0.1 and m, 0.1 to 10"
_SETS = "operations to draw from: safe9, all13, article10, ipmix10, ipmix15"
_SAME = (
    "crop and flip before the recipe; operations, levels and probabilities of the published code",
    "whole degrees and pixels",
)
_SHEARS = (
    "shears hold the centre of the top-left pixel, Pillow's and the published code's its outer corner: at slope s, s/2 "
    "pixels apart"
)
_ROUNDED_SUM = "the weighted sum of crop and chains is rounded to bytes; the published code trains on it as it is"
_ROUNDING = "every step is rounded to a byte, by integer kernels; the published code computes blends in floating point"
_ONE_PICTURE = (
    "one picture is mixed into a variant; unless told otherwise, it is drawn uniformly, keeps its colours and is never "
    "mirrored"
)
_BLENDING = "arithmetic, geometric, pixel, element: how often each is drawn, whole numbers from 0 (never) to 1000"
_PICTURES = {
    "picture_colors": "gray or rgb: mixing pictures without or with their colours",
    "picture_flips": "on or off: mixing pictures are mirrored left to right and upside down, each with probability 1/2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """An algorithm. paper: where it was published. fields: meaning and range of each parameter.

    same: what every preset of it has in common with the publication; other: what it has not.
    """

    paper: str
    fields: Mapping[str, str]
    same: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A preset. title: what it is. sources: of each parameter's value. note: what sets it apart, or nothing."""

    title: str
    sources: Mapping[str, str]
    note: str = ""


FAMILIES: dict[str, Family] = {
    "layermix": Family(
        paper="LayerMix, arXiv 2501.04861",
        fields={
            "severity": "m, strength of the operations, above 0, at most 10",
            "beta": _BLENDS,
            "op_set": "operations to draw from: any op set",
            "min_posterize_bits": "least bits that posterize keeps, 0 to 4",
            "quirks": "none, or published for the code's threshold of solarize_increasing",
            "layers": "which of the samples 1, 2, 3 are drawn, equally often",
            "coefficients": "published: pairs of Beta laws; convex: w ~ Beta(beta, beta) and 1 - w",
            "covariance": "what all stages of a variant share: op, blend (its kind), op_and_blend or none",
            "blend_weights": _BLENDING,
            **_PICTURES,
        },
        same=("three layers, one operation with a new level at each use, blends 1/3, 1/3, 1/6, 1/6",),
        other=(
            "every step is rounded to a byte; the flip is left to the trainer, as nothing depends on its side",
            "gray and mirrored pictures are what the published code gives with --gray-scale-fractals, and not without",
        ),
    ),
    "pixmix": Family(
        paper="PixMix, arXiv 2112.05135",
        fields={
            "severity": _LEVELS,
            "beta": _BLENDS,
            "op_set": _SETS,
            "k": "rounds at most, 1 to 8; their number is uniform on 0..k",
            "partners": "what is mixed in: input (an operation of the crop), pictures, or both equally often",
            "blend_weights": _BLENDING,
            **_PICTURES,
        },
        same=(*_SAME, _ONE_PICTURE),
        other=(
            _SHEARS,
            _ROUNDING,
            "fractals are drawn here, or are yours; the paper's set adds feature visualisations",
        ),
    ),
    "augmix": Family(
        paper="AugMix, arXiv 1912.02781",
        fields={
            "severity": _LEVELS + "; law composer: 1 to 10",
            "op_set": _SETS,
            "width": "chains, 1 to 7",
            "depth": "operations of a chain, 1 to 4; -1 is 1, 2 or 3 by chance",
            "alpha": "of the Dirichlet and Beta laws of the weights, a whole number from 1 to 10",
            "law": "pil: the published code's levels; composer: colour factors on both sides of 1",
        },
        same=(*_SAME, "no mixing set is used"),
        other=(
            _SHEARS,
            _ROUNDED_SUM,
            "the consistency loss belongs to the trainer: bake with --views jsd and train with --loss jsd",
        ),
    ),
    "ipmix": Family(
        paper="IPMix, NeurIPS 2023",
        fields={
            "severity": _LEVELS,
            "beta": _BLENDS,
            "op_set": _SETS,
            "k": "chains, 1 to 7, and k times t at most 16",
            "t": "rounds of a chain at most, 1 to 8; their number is uniform on 0..t",
            "patches": "sides of patches in pixels, 2 to 1024; larger ones are as large as the output",
            "partners": "what is blended into patches: pictures, or both, the other being an operation of the crop",
            "blend_weights": _BLENDING,
            **_PICTURES,
        },
        same=(*_SAME, _ONE_PICTURE),
        other=(
            _SHEARS,
            _ROUNDED_SUM,
            "blends are clipped and rounded; the published code lets values outside of 0 to 255 wrap around",
            "published results used the consistency loss: bake with --views jsd and train with --loss jsd",
        ),
    ),
    "plain": Family(paper="no paper", fields={}, same=(), other=()),
}

_ARTICLE = "arXiv 2501.04861"
_LAYERMIX = "ahmadmughees/LayerMix"
_PIXMIX = "andyzoujm/pixmix"
_AUGMIX = "google-research/augmix"
_COMPOSER = "mosaicml/composer, composer/algorithms"
_IPMIX = "hzlsaber/IPMix"
_OWN = "ours"
_BOTH_PIXMIX = {
    "op_set": f"{_PIXMIX}, README.md: --all-ops",
    "partners": "arXiv 2112.05135",
    "blend_weights": f"{_PIXMIX}, pixmix_utils.py: mixings",
}


def _layermix(file: str) -> dict[str, str]:
    return {
        "severity": _ARTICLE,
        "beta": f"{_LAYERMIX}, {file}: --blending_ratio",
        "op_set": f"{_LAYERMIX}, transforms.py: augs_image, augs_spatial",
        "min_posterize_bits": _OWN,
        "quirks": _OWN,
        "layers": f"{_LAYERMIX}, data.py: laddermix",
        "coefficients": f"{_LAYERMIX}, transforms.py: get_ab",
        "covariance": f"{_LAYERMIX}, data.py: laddermix",
        "blend_weights": f"{_LAYERMIX}, {file}: blending_fns",
        **dict.fromkeys(_PICTURES, f"{_LAYERMIX}, {file}: --gray-scale-fractals"),
    }


def _augmix(file: str) -> dict[str, str]:
    return {
        "severity": f"{_AUGMIX}, {file}: --aug-severity",
        "op_set": f"{_AUGMIX}, augmentations.py: augmentations",
        "width": f"{_AUGMIX}, {file}: --mixture-width",
        "depth": f"{_AUGMIX}, {file}: --mixture-depth",
        "alpha": f"{_AUGMIX}, augment_and_mix.py",
        "law": f"{_AUGMIX}, augmentations.py",
    }


_MIXING_TRANSFORM = {
    "cifar.py": "mixing_set_transform",
    "imagenet.py": "transform of datasets.ImageFolder(args.mixing_set)",
}
"""What PixMix's and IPMix's files, which agree in that, do to mixing pictures."""


def _pixmix(file: str) -> dict[str, str]:
    return {
        "severity": f"{_PIXMIX}, {file}: --aug-severity",
        "beta": f"{_PIXMIX}, {file}: --beta",
        "k": f"{_PIXMIX}, {file}: --k",
        **dict.fromkeys(_PICTURES, f"{_PIXMIX}, {file}: {_MIXING_TRANSFORM[file]}"),
        **_BOTH_PIXMIX,
    }


def _ipmix(file: str) -> dict[str, str]:
    return {
        "severity": f"{_IPMIX}, {file}: --aug-severity",
        "beta": f"{_IPMIX}, {file}: --beta",
        "op_set": f"{_IPMIX}, IPMix_utils.py: augmentations",
        "k": f"{_IPMIX}, {file}: --k",
        "t": f"{_IPMIX}, {file}: --t",
        "patches": f"{_IPMIX}, {file}: ipmix",
        "partners": f"{_IPMIX}, {file}: ipmix",
        "blend_weights": f"{_IPMIX}, IPMix_utils.py: mixings",
        **dict.fromkeys(_PICTURES, f"{_IPMIX}, {file}: {_MIXING_TRANSFORM[file]}"),
    }


PRESETS: dict[str, Preset] = {
    "layermix-cifar": Preset(title="LayerMix for CIFAR", sources=_layermix("cifar.py")),
    "layermix-imagenet": Preset(
        title="LayerMix for ImageNet",
        sources=_layermix("imagenet.py"),
        note="today the same values as layermix-cifar",
    ),
    "layermix-code": Preset(
        title="LayerMix as its repository runs it",
        sources={
            **_layermix("cifar.py"),
            "severity": f"{_LAYERMIX}, cifar.py: --magnitude",
            "min_posterize_bits": f"{_LAYERMIX}, transforms.py: posterize, posterize_increasing",
            "quirks": f"{_LAYERMIX}, transforms.py: solarize_increasing",
        },
        note="repeats the code's slips: posterize may keep no bit, solarize_increasing mostly inverts everything",
    ),
    "layermix-article": Preset(
        title="LayerMix as the article's own code has it",
        sources={
            **_layermix("cifar.py"),
            **dict.fromkeys(("beta", "op_set", "coefficients"), f"{_ARTICLE}: its own code"),
        },
        note="ten operations with brightness, convex blends w ~ Beta(3, 3)",
    ),
    "pixmix-cifar": Preset(title="PixMix for CIFAR", sources=_pixmix("cifar.py")),
    "pixmix-imagenet": Preset(title="PixMix for ImageNet", sources=_pixmix("imagenet.py")),
    "augmix-cifar": Preset(title="AugMix for CIFAR", sources=_augmix("cifar.py")),
    "augmix-imagenet": Preset(title="AugMix for ImageNet", sources=_augmix("imagenet.py")),
    "augmix-composer": Preset(
        title="AugMix as MosaicML's Composer has it",
        sources={
            **dict.fromkeys(("severity", "width", "depth", "alpha"), f"{_COMPOSER}/augmix/augmix.py: augmix_image"),
            "op_set": f"{_COMPOSER}/utils/augmentation_primitives.py: augmentation_sets",
            "law": f"{_COMPOSER}/utils/augmentation_primitives.py: _symmetric_sample",
        },
        note="all operations, and colour factors that make pictures brighter and richer as often as darker and duller; "
        "Composer cuts fractions off the sum where it is rounded here",
    ),
    "ipmix-cifar": Preset(title="IPMix for CIFAR", sources=_ipmix("cifar.py")),
    "ipmix-imagenet": Preset(title="IPMix for ImageNet", sources=_ipmix("imagenet.py")),
    "plain": Preset(title="the crop alone, for a baseline", sources={}),
}
