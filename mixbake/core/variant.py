"""A variant: the program that makes one picture, and its exact JSON.

Numbers are integers or decimals with at most six places, so that text, floats and the integers (1e-6)
that kernels compute with say the same. Rule: `from_json(to_json(v)) == v`, and nothing that is needed
to render the variant again, given its source image and prepared picture, is missing.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from mixbake.core.kernels import codes
from mixbake.core.ops import OWN_NAME, STEPS
from mixbake.errors import UsageError

SCHEMA_VERSION = 1
"""Version of pixels and metadata: a change of either is breaking and raises it."""

CROP_CODES = {"pad": codes.CROP_PAD, "resized": codes.CROP_RESIZED, "fit": codes.CROP_FIT}
CROP_NAMES = tuple(CROP_CODES)

MICRO = 1_000_000
Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A window of the source image, in its pixels.

    kind: "pad" cuts size × size from the image, zeros outside (left and top may be negative);
    "resized" and "fit" resize the window to size × size (RandomResizedCrop; the central square).
    """

    kind: str
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A window of a prepared mixing picture: its number, corner in pixels, mirrorings, grayscale."""

    id: int
    left: int
    top: int
    hflip: bool
    vflip: bool
    gray: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instruction: register i + 2 <- do(registers src, args), for step i. See `core.ops.STEPS` and `core.own`."""

    do: str
    src: tuple[int, ...]
    args: tuple[Number, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One augmented version of one image. The last register is the result; without steps, the crop is.

    image, number: its key. view: "mix" or "clean". recipe: name. layer: LayerMix's sample 1..3, or None.
    ops and levels: one entry an application, in order; a level is 0 for operations without one.
    blends: in order. flip: mirrored after the crop. picture: None when no step reads register 1.
    """

    image: int
    number: int
    view: str
    recipe: str
    layer: int | None
    ops: tuple[str, ...]
    levels: tuple[Number, ...]
    blends: tuple[str, ...]
    crop: Crop
    flip: bool
    picture: Picture | None
    steps: tuple[Step, ...]

    @property
    def key(self) -> str:
        """`00000042-0003`, or `00000042-c0003` for a clean crop."""
        return f"{self.image:08d}-{'c' if self.view == 'clean' else ''}{self.number:04d}"


def to_json(variant: Variant) -> str:
    """Sorted, compact, ASCII JSON of a variant alone; numbers as `canonical_number` spells them."""
    return _spell(asdict(variant))


def from_json(text: str | bytes) -> Variant:
    """The variant of a JSON member; fields that are not the variant's (label, class, ...) are passed over.

    Raises UsageError when a field is missing or a step is neither in `STEPS` nor named as one's own.
    """
    try:
        document = json.loads(text)
        return _variant(document)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"not the JSON of a variant ({error!r}): {str(text)[:80]!r}") from error


def canonical_number(value: Number) -> str:
    """Shortest decimal of a number with at most six places, never in exponent notation: 0.5, 12, -0.000001."""
    if isinstance(value, int):
        return str(value)
    micro = round(value * MICRO)
    sign, whole, rest = "-" if micro < 0 else "", abs(micro) // MICRO, abs(micro) % MICRO
    decimals = f"{rest:06d}".rstrip("0") or "0"
    return f"{sign}{whole}.{decimals}"


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the JSON member of a sample."""
    integer, text, truth = {"type": "integer"}, {"type": "string"}, {"type": "boolean"}
    number = {"type": "number"}
    window = {"left": integer, "top": integer}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"mixbake variant, schema {SCHEMA_VERSION}",
        **_closed(
            {
                "schema": {"const": SCHEMA_VERSION},
                "image": {"type": "integer", "minimum": 0},
                "number": {"type": "integer", "minimum": 0},
                "view": {"enum": ["mix", "clean"]},
                "recipe": text,
                "layer": {"type": ["integer", "null"]},
                "ops": {"type": "array", "items": text},
                "levels": {"type": "array", "items": number},
                "blends": {"type": "array", "items": text},
                "crop": _closed({"kind": {"enum": list(CROP_NAMES)}, **window, "width": integer, "height": integer}),
                "flip": truth,
                "picture": {
                    "oneOf": [
                        {"type": "null"},
                        _closed({"id": integer, **window, "hflip": truth, "vflip": truth, "gray": truth}),
                    ]
                },
                "steps": {
                    "type": "array",
                    "items": _closed(
                        {
                            "do": {"oneOf": [{"enum": list(STEPS)}, {**text, "pattern": f"^{OWN_NAME.pattern}$"}]},
                            "src": {"type": "array", "items": integer, "minItems": 1},
                            "args": {"type": "array", "items": number},
                        }
                    ),
                },
                "label": {"type": "integer", "minimum": 0},
                "class": text,
                "source": {"type": ["string", "null"]},
            }
        ),
    }


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def _spell(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{_spell(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_spell, value)) + "]"
    if isinstance(value, float):
        return canonical_number(value)
    return json.dumps(value)


def _variant(document: dict[str, Any]) -> Variant:
    picture = document["picture"]
    return Variant(
        image=document["image"],
        number=document["number"],
        view=document["view"],
        recipe=document["recipe"],
        layer=document["layer"],
        ops=tuple(document["ops"]),
        levels=tuple(document["levels"]),
        blends=tuple(document["blends"]),
        crop=Crop(**document["crop"]),
        flip=document["flip"],
        picture=None if picture is None else Picture(**picture),
        steps=tuple(_step(step) for step in document["steps"]),
    )


def _step(document: dict[str, Any]) -> Step:
    do = document["do"]
    if do not in STEPS and not OWN_NAME.fullmatch(do):
        raise ValueError(f"unknown step {do!r}, known: {', '.join(STEPS)}")
    return Step(do=do, src=tuple(document["src"]), args=tuple(document["args"]))
