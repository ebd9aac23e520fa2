"""The built-in labelled source `demo`: ten shapes on textured ground, drawn on demand, no download.

Only the outline tells the class. Position, scale, angle, colours and ground are drawn from one stream
that never sees the label, and the shape is as often darker than its ground as lighter, so pixels have
no linear relation to the class.
Rule: + - * / sqrt and comparisons on arrays, nothing else, so pixels are the same on every CPU.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixbake.core.rng import stream
from mixbake.data.listing import Entry, Listing
from mixbake.data.spec import parse_options, whole_number
from mixbake.errors import UsageError

Field = NDArray[np.float64]

SPLITS = ("train", "test")
COUNTS = (1, 1_000_000)
SIZES = (16, 1024)


def _disc(x: Field, y: Field) -> Field:
    return np.sqrt(x * x + y * y) - 0.88


def _ring(x: Field, y: Field) -> Field:
    return np.abs(np.sqrt(x * x + y * y) - 0.74) - 0.2


def _triangle(x: Field, y: Field) -> Field:
    return np.maximum(-x, 0.5 * x + _SIN60 * np.abs(y)) - 0.5


def _square(x: Field, y: Field) -> Field:
    return np.maximum(np.abs(x), np.abs(y)) - 0.7


def _star(x: Field, y: Field) -> Field:
    # A pentagram is where at least four of its five half-planes overlap: the second largest distance decides.
    sides = np.sort(np.stack([nx * x + ny * y for nx, ny in _FIFTHS]), axis=0)
    return np.asarray(sides[-2] - 0.36)


def _cross(x: Field, y: Field) -> Field:
    x, y = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(x - 0.95, y - 0.27), np.maximum(y - 0.95, x - 0.27))


def _crescent(x: Field, y: Field) -> Field:
    cut = x - 0.5
    return np.maximum(np.sqrt(x * x + y * y) - 0.95, 0.8 - np.sqrt(cut * cut + y * y))


def _heart(x: Field, y: Field) -> Field:
    x, y = x + 0.16, y + 0.16
    right, upper = x - 0.56, y - 0.56
    lobes = np.minimum(np.sqrt(right * right + y * y), np.sqrt(x * x + upper * upper)) - 0.56
    return np.minimum(np.maximum(np.abs(x), np.abs(y)) - 0.56, lobes)


def _arrow(x: Field, y: Field) -> Field:
    y = np.abs(y)
    head = np.maximum(-0.05 - x, 0.64 * x + 0.768 * y - 0.62)
    return np.minimum(head, np.maximum(np.abs(x + 0.45) - 0.5, y - 0.2))


def _bar(x: Field, y: Field) -> Field:
    return np.maximum(np.abs(x) - 0.95, np.abs(y) - 0.27)


_SIN60 = 0.866025404
_FIFTHS = ((1.0, 0.0), (0.309016994, 0.951056516), (0.309016994, -0.951056516), (-0.809016994, 0.587785252),
           (-0.809016994, -0.587785252))  # fmt: skip

SHAPES: dict[str, Callable[[Field, Field], Field]] = {
    "disc": _disc,
    "ring": _ring,
    "triangle": _triangle,
    "square": _square,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "heart": _heart,
    "arrow": _arrow,
    "bar": _bar,
}
"""Class name -> signed distance to the outline (negative inside) of a shape that fills the unit disc."""

CLASSES = tuple(SHAPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSource:
    """`demo[:count=2000,size=32,split=train]` as a Source: image i shows `CLASSES[i % len(CLASSES)]`."""

    spec: str
    count: int = 2000
    size: int = 32
    split: str = "train"

    def scan(self) -> Listing:
        """All `count` images; a path is `split/number-class`, so sorted order is number order."""
        numbers = np.arange(self.count, dtype=np.int64)
        labels = numbers % len(CLASSES)
        return Listing(
            spec=self.spec,
            classes=CLASSES,
            paths=tuple(f"{self.split}/{number:06d}-{CLASSES[number % len(CLASSES)]}" for number in range(self.count)),
            sizes=np.full(self.count, self.size * self.size * 3, dtype=np.int64),
            offsets=np.zeros(self.count, dtype=np.int64),
            labels=labels,
        )

    def read(self, entry: Entry, limit: int = -1) -> NDArray[np.uint8]:  # noqa: ARG002 - pixels come whole
        """The drawn image of one row: uint8 size×size×3."""
        split, _, name = entry.path.partition("/")
        return draw_demo(int(name.partition("-")[0]), size=self.size, split=split)

    def files(self, listing: Listing) -> list[str]:  # noqa: ARG002 - they are drawn
        """None."""
        return []


def parse_demo(spec: str) -> DemoSource:
    """The source that `demo[:count=2000,size=32,split=train]` names; UsageError on anything else."""
    options = parse_options(spec, ("count", "size", "split"))
    split = options.get("split", "train")
    if spec.partition(":")[0] != "demo" or split not in SPLITS:
        raise UsageError(f"{spec!r} is not demo[:count=2000,size=32,split=train]: split is one of {', '.join(SPLITS)}")
    count = whole_number(spec, "count", options.get("count", "2000"), low=COUNTS[0], high=COUNTS[1])
    size = whole_number(spec, "size", options.get("size", "32"), low=SIZES[0], high=SIZES[1])
    return DemoSource(spec=spec, count=count, size=size, split=split)


def draw_demo(number: int, *, size: int, split: str) -> NDArray[np.uint8]:
    """Demo image `number` of a split, uint8 size×size×3; its label is `number % len(CLASSES)`."""
    rng = stream("demo", split, number)
    across = (np.arange(size) + 0.5) / size
    ground, shape = _colours(rng)
    texture = _texture(rng, across)
    cover = _cover(rng, across, SHAPES[CLASSES[number % len(CLASSES)]])
    # Channels are blended one at a time: contiguous planes, no H×W×3 temporaries.
    image = np.empty((size, size, 3), dtype=np.uint8)
    for channel in range(3):
        start, end = ground[0][channel], ground[1][channel]
        behind = start + (end - start) * texture
        front = shape[channel] + 0.12 * (texture - 0.5)
        level = behind + (front - behind) * cover
        image[:, :, channel] = np.minimum(np.maximum(level, 0.0), 1.0) * 255.0 + 0.5
    return image


def _colours(rng: np.random.Generator) -> tuple[tuple[list[float], list[float]], list[float]]:
    """Two ground colours and one shape colour, RGB in [0, 1]; either the ground or the shape is the dark one."""
    low, gap, spread, *chroma = rng.random(12).tolist()
    dark = 0.12 + 0.2 * low
    light = dark + 0.42 + 0.16 * gap
    front, behind = (dark, light) if rng.random() < 0.5 else (light, dark)
    half = 0.04 + 0.06 * spread
    return (_colour(behind - half, chroma[:3]), _colour(behind + half, chroma[3:6])), _colour(front, chroma[6:9])


def _colour(luminance: float, chroma: list[float]) -> list[float]:
    """An RGB colour of the given luminance whose hue and saturation come from three uniforms."""
    red, green, blue = chroma
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    return [luminance + 0.6 * (value - grey) for value in chroma]


def _texture(rng: np.random.Generator, across: Field) -> Field:
    """Ground pattern in [0, 1]: two octaves of value noise, mixed with stripes of any angle."""
    noise = 0.65 * _value_noise(rng, across, 4) + 0.35 * _value_noise(rng, across, 9)
    along, down, phase, share = rng.random(4).tolist()
    wave = (14.0 * along - 7.0) * across[None, :] + (14.0 * down - 7.0) * across[:, None] + phase
    stripes = np.abs(2.0 * (wave - np.floor(wave)) - 1.0)
    mixed: Field = noise + 0.7 * share * (stripes - noise)
    return mixed


def _value_noise(rng: np.random.Generator, across: Field, cells: int) -> Field:
    """Uniform values on a grid of cells+1 nodes a side, joined by smoothstep interpolation."""
    nodes = rng.random((cells + 1, cells + 1))
    place = across * cells
    cell = place.astype(np.intp)
    step = place - cell
    step = step * step * (3.0 - 2.0 * step)
    rows = nodes[cell] + (nodes[cell + 1] - nodes[cell]) * step[:, None]
    left = rows[:, cell]
    return left + (rows[:, cell + 1] - left) * step


def _cover(rng: np.random.Generator, across: Field, distance: Callable[[Field, Field], Field]) -> Field:
    """Share of each pixel that the shape covers, in [0, 1]: placed, scaled and turned at random."""
    scale, left, top, turn = rng.random(4).tolist()
    radius = 0.27 + 0.15 * scale
    angle = 2.0 * math.pi * turn
    # Rounded, so that the last bit of the C library's sine cannot reach a pixel.
    cosine, sine = round(math.cos(angle), 9), round(math.sin(angle), 9)
    x = (across - (radius + left * (1.0 - 2.0 * radius))) / radius
    y = (across - (radius + top * (1.0 - 2.0 * radius))) / radius
    u = cosine * x[None, :] + sine * y[:, None]
    v = cosine * y[:, None] - sine * x[None, :]
    inside = 0.5 - distance(u, v) * (radius * len(across))
    cover: Field = np.minimum(np.maximum(inside, 0.0), 1.0)
    return cover
