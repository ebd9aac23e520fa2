"""How far our steps may be from the formulas in float64, from Pillow and from torchvision, where they define the same.

`scripts/parity_table.py` prints the differences on pictures of the user's choice, `test_peers` holds them to the bounds
that stand here. Rule: literal tables; what is defined differently says so in its note.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from formulas import FORMULAS, POSITIONS, Image, Values, rounded
from PIL import Image as Pillow
from PIL import ImageEnhance, ImageOps
from plain_programs import apart, blended

from mixbake.core.ops import STEPS
from mixbake.core.render import apply
from mixbake.core.variant import Step
from mixbake.data.pictures import prepared_side, resized
from mixbake.recipes.presets import RECIPES

Args = tuple[float, ...]
Bound = tuple[int | None, float]
"""The largest difference in grey levels, None where one level may become any, and the mean over some pictures."""
FLOAT64 = "float64 formula"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another statement of a step.

    cases: arguments of ours. run: theirs, (image, *arguments) -> uint8 H×W×3. bound: None where the definition is
    another one, which the note tells. inside: only pixels are compared whose neighbours all lie in the image.
    """

    do: str
    against: str
    cases: tuple[Args, ...]
    run: Callable[..., Image]
    bound: Bound | None
    inside: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table; largest and mean difference in grey levels over all pictures and cases.

    worst: the greatest mean of one of them; its bound, if there is one.
    """

    what: str
    against: str
    largest: int
    mean: float
    worst: float
    pictures: int
    bound: Bound | None
    worst_bound: float | None
    note: str = ""


# ── theirs ────────────────────────────────────────────────────────────────────────────────────────


def in_pillow(change: Callable[..., Pillow.Image]) -> Callable[..., Image]:
    """For bytes, what is defined on Pillow's images."""
    return lambda image, *args: np.asarray(change(Pillow.fromarray(image), *args))


def affine(image: Pillow.Image, *row: float) -> Pillow.Image:
    return image.transform(image.size, Pillow.Transform.AFFINE, row, Pillow.Resampling.BILINEAR)


def in_torchvision(name: str, *fixed: Any, **options: Any) -> Callable[..., Image]:
    """For bytes, a function of torchvision's on uint8 tensors."""

    def run(image: Image, *args: float) -> Image:
        import torch
        from torchvision.transforms.v2 import functional

        tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
        result = getattr(functional, name)(tensor, *fixed, *args, **options)
        return np.asarray(result.permute(1, 2, 0))

    return run


def moved_by_torchvision(*, angle: bool = False, shift: int | None = None, shear: int | None = None) -> Any:
    """torchvision's affine of one parameter: degrees, or pixels or slope along axis 0 (x) or 1 (y)."""

    def run(image: Image, value: float, *_anchor: float) -> Image:
        from torchvision.transforms import InterpolationMode

        if angle:
            return in_torchvision("rotate", interpolation=InterpolationMode.BILINEAR)(image, value)
        pixels, degrees = [0.0, 0.0], [0.0, 0.0]
        if shift is not None:
            pixels[shift] = value
        if shear is not None:
            degrees[shear] = math.degrees(math.atan(value))
        options = {"interpolation": InterpolationMode.BILINEAR}
        return in_torchvision("affine", 0.0, pixels, 1.0, degrees, **options)(image)

    return run


def posterized_floats(image: Image, bits: float) -> Image:
    """torchvision's posterize of a float tensor, back in bytes: what code on floats does."""
    import torch
    from torchvision.transforms.v2 import functional

    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
    result = functional.posterize(tensor, int(bits)) * 255
    return np.asarray(result.round().to(torch.uint8).permute(1, 2, 0))


PILLOW_ROUNDS = "Pillow cuts off fractions, we round"
PILLOW_SAMPLES = "inside: Pillow stretches the border by half a pixel, and cuts off fractions"
PILLOW_CORNER = "inside; as published, about the outer corner of the first pixel, we: about its centre"
TORCH_CUTS = "torchvision cuts off fractions, we round"
TORCH_GRAY = "torchvision weighs by 0.2989, 0.587, 0.114 and cuts off, Pillow and we by whole 65536ths"
TORCH_CONTRAST = "torchvision's gray mean is cut off, Pillow's and ours rounded; so are results"
TORCH_FLOAT_POSTERIZE = "a float keeps k / 2^bits, a byte k · 2^(8 - bits) / 255"

ANGLES: tuple[Args, ...] = ((7.123456,), (-29.5,), (9.0,), (-180.0,))
SHIFTS: tuple[Args, ...] = ((2.41,), (-5.75,), (3,), (-10,))
WHOLE: tuple[Args, ...] = ((1,), (3,), (-10,))
CORNERS: tuple[Args, ...] = ((0.03, 0), (-0.09, 0), (0.3, 0))
CENTRES: tuple[Args, ...] = ((0.03, 1), (-0.24, 1), (0.217, 1))
DARKER: tuple[Args, ...] = ((0.118,), (0.28,), (0.64,))
FACTORS: tuple[Args, ...] = (*DARKER, (1.3,), (1.72,), (2.25,))
BITS: tuple[Args, ...] = tuple((bits,) for bits in range(1, 9))
THRESHOLDS: tuple[Args, ...] = ((0,), (1,), (26,), (128,), (180,), (254,), (255,))
ONCE: tuple[Args, ...] = ((),)
EXACT = (0, 0.0)

PEERS: tuple[Peer, ...] = (
    Peer(
        do="autocontrast",
        against="Pillow ImageOps",
        cases=((0,), (7.25,), (9.9,)),
        run=in_pillow(ImageOps.autocontrast),
        bound=EXACT,
    ),
    Peer(
        do="autocontrast",
        against="torchvision",
        cases=((0,),),
        run=lambda image, _cutoff: in_torchvision("autocontrast")(image),
        bound=(1, 0.05),
        note="torchvision divides floats where Pillow has a table",
    ),
    Peer(do="equalize", against="Pillow ImageOps", cases=ONCE, run=in_pillow(ImageOps.equalize), bound=EXACT),
    Peer(do="equalize", against="torchvision", cases=ONCE, run=in_torchvision("equalize"), bound=EXACT),
    Peer(do="posterize", against="Pillow ImageOps", cases=BITS, run=in_pillow(ImageOps.posterize), bound=EXACT),
    Peer(do="posterize", against="torchvision", cases=((0,), *BITS), run=in_torchvision("posterize"), bound=EXACT),
    Peer(
        do="posterize",
        against="torchvision, floats",
        cases=BITS[:4],
        run=posterized_floats,
        bound=(1, 0.55),
        note=TORCH_FLOAT_POSTERIZE,
    ),
    Peer(
        do="solarize",
        against="Pillow ImageOps",
        cases=(*THRESHOLDS, (256,)),
        run=in_pillow(ImageOps.solarize),
        bound=EXACT,
    ),
    Peer(do="solarize", against="torchvision", cases=THRESHOLDS, run=in_torchvision("solarize"), bound=EXACT),
    Peer(do="invert", against="Pillow ImageOps", cases=ONCE, run=in_pillow(ImageOps.invert), bound=EXACT),
    Peer(do="invert", against="torchvision", cases=ONCE, run=in_torchvision("invert"), bound=EXACT),
    Peer(do="mirror", against="Pillow ImageOps", cases=ONCE, run=in_pillow(ImageOps.mirror), bound=EXACT),
    Peer(do="mirror", against="torchvision", cases=ONCE, run=in_torchvision("horizontal_flip"), bound=EXACT),
    Peer(
        do="grayscale",
        against="Pillow convert",
        cases=ONCE,
        run=in_pillow(lambda image: image.convert("L").convert("RGB")),
        bound=EXACT,
    ),
    Peer(
        do="grayscale",
        against="torchvision",
        cases=ONCE,
        run=in_torchvision("rgb_to_grayscale", num_output_channels=3),
        bound=(1, 0.7),
        note=TORCH_GRAY,
    ),
    Peer(
        do="rotate",
        against="Pillow rotate",
        cases=ANGLES[:3],
        run=in_pillow(lambda image, degrees: image.rotate(degrees, Pillow.Resampling.BILINEAR)),
        bound=(1, 0.55),
        inside=True,
        note=PILLOW_SAMPLES,
    ),
    Peer(do="rotate", against="torchvision", cases=ANGLES, run=moved_by_torchvision(angle=True), bound=(2, 0.06)),
    Peer(
        do="shear_x",
        against="Pillow transform",
        cases=CORNERS,
        run=in_pillow(lambda image, s, _anchor: affine(image, 1, s, 0, 0, 1, 0)),
        bound=None,
        inside=True,
        note=PILLOW_CORNER,
    ),
    Peer(
        do="shear_x",
        against="Pillow transform, moved by half a slope",
        cases=CORNERS,
        run=in_pillow(lambda image, s, _anchor: affine(image, 1, s, -s / 2, 0, 1, 0)),
        bound=(1, 0.55),
        inside=True,
        note=PILLOW_SAMPLES,
    ),
    Peer(do="shear_x", against="torchvision", cases=CENTRES, run=moved_by_torchvision(shear=0), bound=(2, 0.06)),
    Peer(
        do="shear_y",
        against="Pillow transform",
        cases=CORNERS,
        run=in_pillow(lambda image, s, _anchor: affine(image, 1, 0, 0, s, 1, 0)),
        bound=None,
        inside=True,
        note=PILLOW_CORNER,
    ),
    Peer(
        do="shear_y",
        against="Pillow transform, moved by half a slope",
        cases=CORNERS,
        run=in_pillow(lambda image, s, _anchor: affine(image, 1, 0, 0, s, 1, -s / 2)),
        bound=(1, 0.55),
        inside=True,
        note=PILLOW_SAMPLES,
    ),
    Peer(do="shear_y", against="torchvision", cases=CENTRES, run=moved_by_torchvision(shear=1), bound=(2, 0.06)),
    Peer(
        do="translate_x",
        against="Pillow transform",
        cases=WHOLE,
        run=in_pillow(lambda image, px: affine(image, 1, 0, -px, 0, 1, 0)),
        bound=EXACT,
    ),
    Peer(do="translate_x", against="torchvision", cases=SHIFTS, run=moved_by_torchvision(shift=0), bound=(2, 0.06)),
    Peer(
        do="translate_y",
        against="Pillow transform",
        cases=WHOLE,
        run=in_pillow(lambda image, px: affine(image, 1, 0, 0, 0, 1, -px)),
        bound=EXACT,
    ),
    Peer(do="translate_y", against="torchvision", cases=SHIFTS, run=moved_by_torchvision(shift=1), bound=(2, 0.06)),
    *(
        Peer(
            do=do,
            against="Pillow ImageEnhance",
            cases=FACTORS,
            run=in_pillow(lambda image, factor, enhance=enhance: enhance(image).enhance(factor)),
            bound=(1, 0.55),
            note=PILLOW_ROUNDS,
        )
        for do, enhance in (
            ("color", ImageEnhance.Color),
            ("contrast", ImageEnhance.Contrast),
            ("brightness", ImageEnhance.Brightness),
            ("sharpness", ImageEnhance.Sharpness),
        )
    ),
    *(
        Peer(do=do, against="torchvision", cases=FACTORS, run=in_torchvision(name), bound=bound, note=note)
        for do, name, bound, note in (
            ("color", "adjust_saturation", (3, 0.8), TORCH_GRAY),
            ("contrast", "adjust_contrast", (3, 0.7), TORCH_CONTRAST),
            ("brightness", "adjust_brightness", (1, 0.55), TORCH_CUTS),
            ("sharpness", "adjust_sharpness", (2, 0.55), TORCH_CUTS),
        )
    ),
)


# ── ours, beside float64 ──────────────────────────────────────────────────────────────────────────

MASKS = "with the mask that the kernel draws"
GEOMETRY_BOUND, COLOUR_BOUND, BLEND_BOUND = (1, 0.06), (1, 0.012), (1, 0.004)
FORMULA_BOUNDS: dict[str, tuple[tuple[Args, ...], Bound]] = {
    "autocontrast": (((0,), (7.25,), (9.9,)), EXACT),
    "equalize": (ONCE, EXACT),
    "posterize": (((0,), *BITS), EXACT),
    "solarize": ((*THRESHOLDS, (256,)), EXACT),
    "invert": (ONCE, EXACT),
    "mirror": (ONCE, EXACT),
    "grayscale": (ONCE, EXACT),
    "rotate": (ANGLES, GEOMETRY_BOUND),
    "shear_x": ((*CORNERS, *CENTRES), GEOMETRY_BOUND),
    "shear_y": ((*CORNERS, *CENTRES), GEOMETRY_BOUND),
    "translate_x": (SHIFTS, GEOMETRY_BOUND),
    "translate_y": (SHIFTS, GEOMETRY_BOUND),
    "color": (FACTORS, COLOUR_BOUND),
    "contrast": (FACTORS, COLOUR_BOUND),
    "brightness": (FACTORS, COLOUR_BOUND),
    "sharpness": (FACTORS, COLOUR_BOUND),
    "arithmetic": (((0.793701, 0.206299), (0.5, 0.5), (1.206299, -0.206299), (1.02, -0.3)), BLEND_BOUND),
    "geometric": (((0.793701, 0.206299), (0.5, 0.5), (1.206299, -0.206299), (1.02, -0.3)), BLEND_BOUND),
    "pixel": (((0.4, 11), (0.9, 12345)), EXACT),
    "element": (((0.4, 11), (0.9, 12345)), EXACT),
    "weighted": (((0.25, 0.75), (0.617283, 0.382717)), BLEND_BOUND),
}
"""Step -> arguments, and the bound."""

PROGRAM_BOUNDS: dict[str, tuple[bool, Bound, float]] = {
    "float64, 8 bits a register": (True, (None, 0.02), 0.25),
    "float64, blends unrounded": (False, (None, 1.0), 15.0),
}
"""Whole programs: in_bytes of `plain_programs.run`, the bound of every recipe, and the mean of its worst variant."""


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────


def formula_rows(pictures: Sequence[Image]) -> Iterator[Row]:
    """Every step, on pictures of one size; blends and sums of each picture with the one before."""
    for do, (cases, bound) in FORMULA_BOUNDS.items():
        two = STEPS[do].sources != 1
        pairs = [(image, pictures[i - 1]) if two else (image,) for i, image in enumerate(pictures)]
        found = [
            np.abs(apply(do, registers, args).astype(int) - rounded(stated(do, registers, args)))
            for registers in pairs
            for args in cases
        ]
        yield row(do, FLOAT64, found, len(pictures), bound=bound, note="" if do in FORMULAS else MASKS)


def stated(do: str, registers: Sequence[Image], args: Args) -> Values:
    if do in FORMULAS:
        return FORMULAS[do](*registers, *args)
    return blended(Step(do=do, src=(0, 1), args=args), *registers)


def peer_rows(pictures: Sequence[Image], peers: Sequence[Peer] = PEERS) -> Iterator[Row]:
    """Every step that Pillow or torchvision have, too."""
    for peer in peers:
        found = [difference(peer, image, args) for image in pictures for args in peer.cases]
        yield row(peer.do, peer.against, found, len(pictures), note=peer.note, bound=peer.bound)


def difference(peer: Peer, image: Image, args: Args) -> Image:
    apart = np.abs(apply(peer.do, [image], args).astype(int) - peer.run(image, *args))
    if not peer.inside:
        return apart
    x_in, y_in = POSITIONS[peer.do](image, *args)
    within = (np.minimum(x_in, y_in) >= 1) & (x_in <= image.shape[1] - 2) & (y_in <= image.shape[0] - 2)
    return apart[within]


def recipe_rows(pictures: Sequence[Image], count: int) -> Iterator[Row]:
    """Every preset's whole programs, `count` variants of each."""
    side = prepared_side(len(pictures[0]))
    mixing = [resized(picture, side=side, gray=False) for picture in pictures]
    # A preset that differs in nothing but its name would be the same rows again.
    for recipe, name in {recipe: name for name, recipe in reversed(RECIPES.items())}.items():
        for against, (in_bytes, bound, worst) in PROGRAM_BOUNDS.items():
            found = list(apart(recipe, name, pictures, mixing, count, in_bytes=in_bytes))
            yield row(name, against, found, count, bound=bound, worst=worst)


def row(
    what: str,
    against: str,
    found: Sequence[Image],
    count: int,
    *,
    bound: Bound | None,
    worst: float | None = None,
    note: str = "",
) -> Row:
    total = np.concatenate([one.reshape(-1) for one in found])
    return Row(
        what=what,
        against=against,
        largest=int(total.max()),
        mean=float(total.mean()),
        worst=max(float(one.mean()) for one in found if one.size),
        pictures=count,
        note=note,
        bound=bound,
        worst_bound=worst,
    )
