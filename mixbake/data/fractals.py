"""Mixing pictures drawn on the spot: `fractals[:count=256]`, for when no set of real ones is at hand.

`draw_fractal` is a pure function of (number, seed, side); `generate` writes many of them as PNG files and
`cached_fractals` keeps them for the next bake. What is drawn is in `families`, what is kept in `richness`.
Rule: a file's text says which drawing it is; one that says otherwise, or is damaged, is drawn again.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from mixbake.core.jit import cache_root
from mixbake.core.rng import stream
from mixbake.data.cache import adding, sweep
from mixbake.data.families import FAMILIES, draw_family
from mixbake.data.richness import PREVIEW, shortfalls
from mixbake.data.spec import parse_options, whole_number
from mixbake.errors import StorageError, UsageError

FRACTALS_VERSION = 1
"""Raised whenever any picture changes, so that cached ones are drawn again."""

COUNTS = (1, 100_000)
SIDES = (16, 2048)

TRIES = 24
"""Draws per number; about two in five are weak, so the last one is reached for no number in practice."""

_MARK = "mixbake"


def parse_fractals(spec: str) -> int:
    """The count of `fractals[:count=256]`; UsageError on anything else."""
    if spec.partition(":")[0] != "fractals":
        raise UsageError(f"{spec!r} is not fractals[:count=256]")
    options = parse_options(spec, ("count",))
    return whole_number(spec, "count", options.get("count", "256"), low=COUNTS[0], high=COUNTS[1])


def draw_fractal(number: int, *, seed: int, side: int) -> NDArray[np.uint8]:
    """Picture `number` of a seed, uint8 side×side×3: the first of its draws whose preview is rich enough.

    Draw k comes from the stream ("fractals", seed, number, k). Another side shows the same picture.
    """
    chosen = next((k for k in range(TRIES - 1) if not shortfalls(_draw(number, seed, k, PREVIEW))), TRIES - 1)
    return _draw(number, seed, chosen, side)


def _draw(number: int, seed: int, attempt: int, side: int) -> NDArray[np.uint8]:
    return draw_family(stream("fractals", seed, number, attempt), side)


def generate(
    out: Path,
    *,
    count: int,
    seed: int = 0,
    side: int = 512,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write pictures 0..count-1 as `fractal-000000.png`, ... into `out`; those already there are kept.

    jobs: processes. progress: called with the number of pictures that are ready, unless all are. A file appears
    whole or not at all. Raises UsageError on a bad count, side or jobs, StorageError when `out` cannot be written.
    """
    _check(count=count, side=side, jobs=jobs)
    try:
        out.mkdir(parents=True, exist_ok=True)
        missing = [number for number in range(count) if not _is_drawn(out, number, seed, side)]
        done = count - len(missing)
        report = progress or _silent
        if not missing:
            return
        sweep(out)
        report(done)
        for _ in _write_all(out, missing, seed, side, jobs):
            done += 1
            report(done)
    except OSError as error:
        raise StorageError(f"cannot write fractals to {out}: {error}: free space or choose another folder") from error


def cached_fractals(
    *, count: int, side: int, seed: int = 0, jobs: int = 1, progress: Callable[[int], None] | None = None
) -> Path:
    """The cache folder of this seed, side and FRACTALS_VERSION, holding at least `count` pictures.

    Picture i never depends on the count: take the first `count` files by name.
    """
    folder = cache_root() / "fractals" / f"v{FRACTALS_VERSION}-seed{seed}-side{side}"
    generate(folder, count=count, seed=seed, side=side, jobs=jobs, progress=progress)
    return folder


def _check(*, count: int, side: int, jobs: int) -> None:
    for name, value, (low, high) in (("count", count, COUNTS), ("side", side, SIDES), ("jobs", jobs, (1, 4096))):
        if not low <= value <= high:
            raise UsageError(f"fractals: {name} is {value}: give {low} to {high}")


def _silent(_done: int) -> None:
    return None


def _write_all(out: Path, numbers: list[int], seed: int, side: int, jobs: int) -> Iterator[int]:
    if jobs == 1 or len(numbers) < 2:
        yield from (_write(out, number, seed, side) for number in numbers)
        return
    # Compiled here once: otherwise every worker would compile the same kernels at the same time.
    for _, draw in FAMILIES.values():
        draw(stream("fractals", "warm"), PREVIEW)
    pool = Parallel(n_jobs=min(jobs, len(numbers)), backend="loky", return_as="generator_unordered")
    try:
        yield from pool(delayed(_write)(out, number, seed, side) for number in numbers)
    finally:
        # joblib would keep its workers, and their memory, for minutes.
        get_reusable_executor().shutdown(wait=True)


def _path(out: Path, number: int) -> Path:
    return out / f"fractal-{number:06d}.png"


def _mark(number: int, seed: int, side: int) -> str:
    return f"fractals v{FRACTALS_VERSION} seed {seed} number {number} side {side}"


def _is_drawn(out: Path, number: int, seed: int, side: int) -> bool:
    """Whether the file of a number holds this very drawing, undamaged (every chunk's CRC is checked)."""
    try:
        with Image.open(_path(out, number), formats=("PNG",)) as picture:
            matches = picture.info.get(_MARK) == _mark(number, seed, side) and picture.size == (side, side)
            picture.verify()
    except (OSError, SyntaxError, ValueError):  # what Pillow raises on damage, by kind of chunk
        return False
    return bool(matches)


def _write(out: Path, number: int, seed: int, side: int) -> int:
    """Draw one picture and publish it atomically; returns its number."""
    text = PngImagePlugin.PngInfo()
    text.add_text(_MARK, _mark(number, seed, side))
    picture = Image.fromarray(draw_fractal(number, seed=seed, side=side))
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG", compress_level=1, pnginfo=text)
    with adding(_path(out, number)) as writer:
        writer.write(encoded.getbuffer())
    return number
