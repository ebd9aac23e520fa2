"""Sets of mixing pictures that are drawn on the spot, for when none of real ones is at hand: `NAME[:count=256]`.

`generate` writes many pictures of a generator as PNG files and `cached` keeps them for the next bake.
Rule: a picture is a pure function of (generator, kind, seed, number, side). A file's text says which drawing it is;
one that says otherwise, or is damaged, is drawn again.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from mixbake.core.jit import cache_root
from mixbake.core.nearest import find_nearest
from mixbake.data.attractors import IFS_VERSION, draw_attractor
from mixbake.data.cache import adding, sweep
from mixbake.data.deadleaves import DEADLEAVES_VERSION, SHAPES, draw_dead_leaves
from mixbake.data.fractals import FRACTALS_VERSION, compile_families, draw_fractal
from mixbake.data.richness import PREVIEW
from mixbake.data.spec import parse_options, whole_number
from mixbake.data.spectrum import SPECTRUM_VERSION, draw_spectrum
from mixbake.errors import StorageError, UsageError

COUNT = 256
COUNTS = (1, 100_000)
SIDES = (16, 2048)
BOUNDS = {"count": COUNTS, "side": SIDES, "jobs": (1, 4096), "seed": (0, 2**63 - 1)}

_MARK = "mixbake"


class Draw(Protocol):
    """A function that draws one picture."""

    def __call__(self, number: int, *, seed: int, side: int) -> NDArray[np.uint8]:
        """Picture `number` of a seed: uint8 side×side×3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """How pictures of a name are drawn.

    stem: how their files' names begin. kinds: what can be chosen by `option`, the first one by default; a generator
    that has no choice has one kind without a name. compile: draws enough for all kernels to be there.
    """

    version: int
    stem: str
    kinds: Mapping[str, Draw]
    compile: Callable[[], object]
    option: str = ""


GENERATORS: dict[str, Generator] = {
    "fractals": Generator(version=FRACTALS_VERSION, stem="fractal", kinds={"": draw_fractal}, compile=compile_families),
    "deadleaves": Generator(
        version=DEADLEAVES_VERSION,
        stem="deadleaves",
        option="shapes",
        kinds={shapes: partial(draw_dead_leaves, shapes=shapes) for shapes in SHAPES},
        compile=partial(draw_dead_leaves, 0, seed=0, side=PREVIEW, shapes="textured"),
    ),
    "spectrum": Generator(
        version=SPECTRUM_VERSION,
        stem="spectrum",
        kinds={"": draw_spectrum},
        compile=partial(draw_spectrum, 0, seed=0, side=PREVIEW),
    ),
    "ifs": Generator(
        version=IFS_VERSION,
        stem="ifs",
        kinds={"": draw_attractor},
        compile=partial(draw_attractor, 0, seed=0, side=PREVIEW),
    ),
}
"""Name -> generator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A set of drawn pictures: numbers 0..count-1 of one kind of a generator."""

    name: str
    kind: str
    count: int = COUNT

    @property
    def generator(self) -> Generator:
        """How its pictures are drawn."""
        return GENERATORS[self.name]

    def file_name(self, number: int) -> str:
        """Name of a picture's file: `fractal-000000.png`."""
        return f"{self.generator.stem}-{number:06d}.png"

    def spell(self) -> str:
        """The spec of this very set."""
        kind = f"{self.generator.option}={self.kind}," if self.kind else ""
        return f"{self.name}:{kind}count={self.count}"


def parse_drawn(spec: str) -> Drawn | None:
    """What `NAME[:count=256]` of GENERATORS asks for; None if it begins with no such name.

    Raises UsageError on anything else behind the name.
    """
    name = spec.partition(":")[0]
    if name not in GENERATORS:
        return None
    generator = GENERATORS[name]
    keys = [key for key in (generator.option, "count") if key]
    options = parse_options(spec, keys)
    count = whole_number(spec, "count", options.get("count", str(COUNT)), low=COUNTS[0], high=COUNTS[1])
    kind = options.get(generator.option, next(iter(generator.kinds)))
    if kind not in generator.kinds:
        near = find_nearest(kind, generator.kinds)
        advice = f"did you mean {near}?" if near else f"choose from {', '.join(generator.kinds)}"
        raise UsageError(f"{spec!r}: there are no {generator.option} {kind!r}: {advice}")
    return Drawn(name=name, kind=kind, count=count)


def suggest_name(spec: str) -> str:
    """What to write instead of a spec that is neither a folder nor a generator's: `did you mean ifs?`, or all names."""
    near = find_nearest(spec.partition(":")[0], GENERATORS)
    return f"did you mean {near}?" if near else f"give a folder of pictures, or {', '.join(GENERATORS)}"


def drawn_side(size: int) -> int:
    """Side at which pictures are drawn for a `size`-pixel bake."""
    return 128 if size <= 64 else 512


def generate(
    out: Path,
    drawn: Drawn,
    *,
    seed: int = 0,
    side: int = 512,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the pictures of a set as `fractal-000000.png`, ... into `out`; those very pictures, if there, are kept.

    jobs: processes. progress: called with the number of pictures that are ready, unless all are. A file appears
    whole or not at all. Raises UsageError on a bad count, side, seed or jobs, StorageError when `out` cannot be
    written.
    """
    _require_bounds(drawn, count=drawn.count, side=side, jobs=jobs, seed=seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        missing = [number for number in range(drawn.count) if not _is_drawn(out, drawn, number, seed, side)]
        done = drawn.count - len(missing)
        report = progress or _silent
        if not missing:
            return
        sweep(out)
        report(done)
        for _ in _write_all(out, drawn, missing, seed, side, jobs):
            done += 1
            report(done)
    except OSError as error:
        raise StorageError(
            f"cannot write {drawn.name} to {out}: {error}: free space or choose another folder"
        ) from error


def cached(
    drawn: Drawn, *, side: int, seed: int = 0, jobs: int = 1, progress: Callable[[int], None] | None = None
) -> Path:
    """The cache folder of this generator, kind, version, seed and side, holding at least the pictures of the set.

    Picture i never depends on the count: take the first `count` files by name.
    """
    kind = f"-{drawn.kind}" if drawn.kind else ""
    folder = cache_root() / drawn.name / f"v{drawn.generator.version}{kind}-seed{seed}-side{side}"
    generate(folder, drawn, seed=seed, side=side, jobs=jobs, progress=progress)
    return folder


def _silent(_done: int) -> None:
    return None


def _write_all(out: Path, drawn: Drawn, numbers: list[int], seed: int, side: int, jobs: int) -> Iterator[int]:
    if jobs == 1 or len(numbers) < 2:
        yield from (_write(out, drawn, number, seed, side) for number in numbers)
        return
    # Compiled here once: otherwise every worker would compile the same kernels at the same time.
    drawn.generator.compile()
    pool = Parallel(n_jobs=min(jobs, len(numbers)), backend="loky", return_as="generator_unordered")
    try:
        yield from pool(delayed(_write)(out, drawn, number, seed, side) for number in numbers)
    finally:
        # joblib would keep its workers, and their memory, for minutes.
        get_reusable_executor().shutdown(wait=True)


def _mark(drawn: Drawn, number: int, seed: int, side: int) -> str:
    kind = f" {drawn.kind}" if drawn.kind else ""
    return f"{drawn.name} v{drawn.generator.version}{kind} seed {seed} number {number} side {side}"


def _require_bounds(drawn: Drawn, **given: int) -> None:
    for what, value in given.items():
        low, high = BOUNDS[what]
        if not low <= value <= high:
            raise UsageError(f"{drawn.name}: {what} is {value}: give {low} to {high}")


def require_no_other(out: Path, drawn: Drawn, *, seed: int, side: int) -> None:
    """Raise UsageError if a picture that `generate` would write there is one already, of another seed, side or kind."""
    _require_bounds(drawn, count=drawn.count, side=side, seed=seed)
    for number in range(drawn.count):
        path = out / drawn.file_name(number)
        if path.exists() and not _is_drawn(out, drawn, number, seed, side):
            raise UsageError(
                f"{path} is of another seed, side, kind or version, or damaged: name another folder, or delete it"
            )


def _is_drawn(out: Path, drawn: Drawn, number: int, seed: int, side: int) -> bool:
    """Whether the file of a number holds this very drawing, undamaged (every chunk's CRC is checked)."""
    try:
        with Image.open(out / drawn.file_name(number), formats=("PNG",)) as picture:
            matches = picture.info.get(_MARK) == _mark(drawn, number, seed, side) and picture.size == (side, side)
            picture.verify()
    except (OSError, SyntaxError, ValueError):  # what Pillow raises on damage, by kind of chunk
        return False
    return bool(matches)


def _write(out: Path, drawn: Drawn, number: int, seed: int, side: int) -> int:
    """Draw one picture and publish it atomically; returns its number."""
    text = PngImagePlugin.PngInfo()
    text.add_text(_MARK, _mark(drawn, number, seed, side))
    picture = Image.fromarray(drawn.generator.kinds[drawn.kind](number, seed=seed, side=side))
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG", compress_level=1, pnginfo=text)
    with adding(out / drawn.file_name(number)) as writer:
        writer.write(encoded.getbuffer())
    return number
