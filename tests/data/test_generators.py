"""Sets that are drawn: each is named, drawn alike everywhere, follows the law of its model, and bakes."""

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fixed_drawings
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from outcome import Outcome
from PIL import Image
from processes import PATIENCE
from small import bake

import mixbake.audit
from mixbake.core.rng import stream
from mixbake.data import attractors, deadleaves
from mixbake.data.colourings import Colouring, _find_axes, draw_colouring
from mixbake.data.generators import COUNT, GENERATORS, Drawn, cached, generate, parse_drawn
from mixbake.data.pictures import prepare
from mixbake.data.quantised import uniforms
from mixbake.data.richness import LIMITS, PREVIEW, has_range, measure
from mixbake.data.spectrum import TAILS, _quantiles, draw_field, draw_spectrum
from mixbake.errors import UsageError

Reals = NDArray[np.float64]

NEW = [name for name in GENERATORS if name != "fractals"]
KINDS = [(name, kind) for name in NEW for kind in GENERATORS[name].kinds]

DIGESTS = {
    "deadleaves squares": "06d098fed854360c",
    "deadleaves oriented": "4efd5cd8abd13259",
    "deadleaves circles": "6c2de5008846dbfd",
    "deadleaves mixed": "db128e1c9cf25443",
    "deadleaves textured": "efdafe1a45cc8880",
    "spectrum": "8653868a7ce0baa9",
    "ifs": "689915a94ec19212",
}
"""Of version 1 of each. A change that alters one raises the version of its generator: print the new table with
`python tests/data/fixed_drawings.py`."""


# ── The same picture everywhere ───────────────────────────────────────────────────────────────────


def test_pictures_change_only_with_the_version() -> None:
    assert [GENERATORS[name].version for name in NEW] == [1, 1, 1]
    assert fixed_drawings.digests() == DIGESTS


@pytest.mark.slow
def test_the_oldest_cpu_draws_the_same_pixels(tmp_path: Path) -> None:
    """A process of its own compiles for a CPU without AVX and runs numpy without its faster paths."""
    listing = "import numpy; c = numpy._core._multiarray_umath; "
    listing += "print(*(name for name in c.__cpu_dispatch__ if c.__cpu_features__[name]))"
    dispatched = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout
    environment = os.environ | {
        "MIXBAKE_CACHE": str(tmp_path),
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NPY_DISABLE_CPU_FEATURES": dispatched.strip(),
    }
    told = subprocess.run(
        [sys.executable, fixed_drawings.__file__], env=environment, capture_output=True, check=True, timeout=PATIENCE
    ).stdout
    assert json.loads(told) == DIGESTS
    assert any(tmp_path.rglob("*.nbc"))


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_numbers_and_seeds_differ_and_nothing_else_matters(name: str, kind: str) -> None:
    draw = GENERATORS[name].kinds[kind]
    drawn = {(number, seed): draw(number, seed=seed, side=48) for number in (0, 1) for seed in (0, 1)}
    assert len({picture.tobytes() for picture in drawn.values()}) == len(drawn)
    assert all(picture.shape == (48, 48, 3) and picture.dtype == np.uint8 for picture in drawn.values())
    np.testing.assert_array_equal(draw(1, seed=0, side=48), drawn[1, 0])


@pytest.mark.parametrize(("name", "kind"), [("deadleaves", "mixed"), ("ifs", "")])
def test_sides_show_the_same_picture(name: str, kind: str) -> None:
    draw = GENERATORS[name].kinds[kind]
    small, large = (
        np.stack([draw(number, seed=0, side=side).reshape(8, side // 8, 8, -1, 3).mean((1, 3)) for number in range(8)])
        for side in (64, 256)
    )
    apart = np.abs(small[:, None] - large[None]).mean(axis=(2, 3, 4))
    assert apart.argmin(axis=1).tolist() == list(range(8))


# ── Dead leaves ───────────────────────────────────────────────────────────────────────────────────


def test_radii_follow_their_law() -> None:
    count = 200_000
    radii = np.sort(deadleaves.draw_radii(stream("tests", "radii"), count))
    least = deadleaves.SMALLEST

    def below(r: Reals | float) -> Reals:
        """The integral of r^-3 − 1 from the least radius on."""
        return np.asarray((least**-2.0 - np.asarray(r) ** -2.0) / 2.0 - (np.asarray(r) - least))

    assert least <= radii[0]
    assert radii[-1] <= 1.0
    # Kolmogorov and Smirnov: beyond 1.95 / sqrt(n) lies one in a thousand.
    distance = np.abs(below(radii) / below(1.0) - (np.arange(count) + 0.5) / count).max()
    assert distance < 1.95 / math.sqrt(count)
    # 29 are expected beyond 0.8; without the "− 1" it would be 101.
    expected = count * float(1.0 - below(0.8) / below(1.0))
    assert abs((radii > 0.8).sum() - expected) < 4.0 * math.sqrt(expected)


def _laid(shape: int, angles: tuple[float, ...], radius: float = 50.3) -> int:
    """Pixels of a single leaf in the middle of 128."""
    out, covered = np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128), np.bool_)
    leaf = (np.array([radius]), np.array([[64.2, 63.7]]), np.array([shape]), np.array([angles]))
    fills, none = np.array([[9, 8, 7, 0]]), np.zeros((0, 1, 1, 3), np.uint8)
    pixels = deadleaves._lay(*leaf, fills, none, out, covered)
    assert (out[covered] == (9, 8, 7)).all()
    assert not out[~covered].any()
    assert covered.sum() == pixels
    return int(pixels)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-math.pi, math.pi), min_size=4, max_size=4, unique=True))
def test_shapes_have_their_areas(angles: list[float]) -> None:
    given = (angles[0], angles[1], angles[2], angles[3])
    square = 50.3**2
    slant = (angles[0] + math.pi) / 4.0
    turns = {shape: sorted(angles[:count]) for shape, count in ((4, 3), (5, 4))}
    # A polygon on a circle is a ring of triangles with the centre.
    rings = {
        shape: square
        / 2.0
        * sum(math.sin(b - a) for a, b in zip(ring, [*ring[1:], ring[0] + 2 * math.pi], strict=True))
        for shape, ring in turns.items()
    }
    areas = {0: math.pi * square, 1: 2 * square, 2: 2 * square, 3: 2 * square * math.sin(2 * slant)} | rings
    for shape, area in areas.items():
        # The edge is at most 2π·r long, and is off by less than half a pixel either way.
        assert abs(_laid(shape, given) - area) < 110.0, shape


def test_leaves_cover_everything_and_the_first_lies_on_top() -> None:
    assert set(deadleaves.SHAPES) == set(GENERATORS["deadleaves"].kinds)
    picture = GENERATORS["deadleaves"].kinds["squares"](3, seed=0, side=256)
    colours, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    assert 100 < len(colours) < 3000
    whole = 0
    for colour in colours[np.argsort(counts)[::-1][:40]]:
        rows, columns = np.nonzero((picture == colour).all(axis=2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        inside = rows.min() > 0 and columns.min() > 0 and rows.max() < 255 and columns.max() < 255
        whole += inside and abs(height - width) <= 1 and len(rows) == height * width
    assert whole > 0


# ── Spectrum ──────────────────────────────────────────────────────────────────────────────────────


def _slope(field: Reals) -> float:
    """The power of 1/f that amplitudes follow, by least squares over rings of three octaves."""
    side = len(field)
    power = np.abs(np.fft.fft2(field)) ** 2
    waves = np.fft.fftfreq(side) * side
    radius = np.hypot(waves[:, None], waves[None, :])
    edges = np.geomspace(4, side / 8, 9)
    rings = [(radius >= low) & (radius < high) for low, high in itertools.pairwise(edges)]
    places = [np.log(radius[ring]).mean() for ring in rings]
    return float(-np.polyfit(places, [np.log(power[ring].mean()) for ring in rings], 1)[0] / 2.0)


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0, 3.0, 3.5])
def test_amplitudes_fall_as_they_should(slope: float) -> None:
    seen = [_slope(draw_field(("tests", number), 256, slope=slope).astype(np.float64)) for number in range(6)]
    assert np.mean(seen) == pytest.approx(slope, abs=0.12)


@pytest.mark.parametrize("tail", TAILS)
def test_coefficients_have_long_tails(tail: float) -> None:
    places = 9.0 ** (1.0 / tail) * np.linspace(0.0, 1.0, 400_001) ** 3
    density = np.exp(-(places**tail))
    below = np.concatenate(([0.0], np.cumsum(np.diff(places) * (density[1:] + density[:-1]) / 2.0)))
    expected = np.interp((np.arange(4096) + 0.5) / 4096, below / below[-1], places)
    expected /= np.sqrt((expected**2).mean())
    magnitudes = _quantiles(tail).astype(np.float64)
    np.testing.assert_allclose(magnitudes, expected, rtol=0.02, atol=1e-3)
    # A Gaussian has a kurtosis of 3.
    assert (magnitudes**4).mean() > 6.0


def test_fields_are_periodic_and_another_side_shows_the_same_one() -> None:
    field = draw_field(("tests", 0), 128, slope=2.0).astype(np.float64)
    seams = [np.abs(field[0] - field[-1]).mean(), np.abs(field[:, 0] - field[:, -1]).mean()]
    assert max(seams) < 2.5 * np.abs(np.diff(field, axis=0)).mean()
    # A wavelet that stands out on one side goes on at the other: the rim has as much of them as the middle.
    many = np.stack([draw_field(("tests", number), 64, slope=0.5) for number in range(40)]).astype(np.float64)
    rim = np.ones((64, 64), np.bool_)
    rim[2:-2, 2:-2] = False
    assert (many[:, rim] ** 2).mean() == pytest.approx((many[:, ~rim] ** 2).mean(), rel=0.12)
    half = draw_field(("tests", 0), 64, slope=2.0).astype(np.float64)
    assert np.corrcoef(field.reshape(64, 2, 64, 2).mean((1, 3)).ravel(), half.ravel())[0, 1] > 0.98


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**60))
def test_a_palette_is_taken_apart_along_its_principal_axes(seed: int) -> None:
    colouring = draw_colouring(stream("tests", seed))
    np.testing.assert_allclose(colouring.axes @ colouring.axes.T, np.eye(3), atol=1e-9)
    assert (np.diff(colouring.values, axis=1) >= 0).all()
    np.testing.assert_allclose(colouring.values.mean(axis=1), 0, atol=1e-6)


def test_colours_follow_ranks_alone() -> None:
    fields = np.stack([draw_field(("tests", channel), 64, slope=1.5) for channel in range(3)])
    # Two levels along the first axis, in shares of one and three quarters, none along the others.
    values = np.zeros((3, 512))
    values[0, 384:] = 100.0
    picture = Colouring(values=values, axes=np.eye(3)).paint(fields)
    np.testing.assert_array_equal(picture, Colouring(values=values, axes=np.eye(3)).paint(4 * fields))
    assert sorted(set(picture[..., 0].ravel().tolist())) == [0, 255]
    light = picture[..., 0] == 255
    assert light.mean() == pytest.approx(0.25, abs=0.02)
    assert fields[0][light].min() >= fields[0][~light].max()


def test_axes_of_a_palette_are_those_of_its_covariance() -> None:
    colours = uniforms(stream("tests", "palette"), 0.0, 255.0, 512, 3) @ np.array([[1, 0.5, 0], [0, 1, 0.2], [0, 0, 2]])
    axes, along = np.eye(3), np.empty((3, 512))
    _find_axes(colours, axes, along)
    np.testing.assert_allclose(along, axes @ (colours - colours.mean(axis=0)).T, atol=1e-9)
    covariance = np.cov(along)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-6 * covariance.max()


def test_weak_draws_are_passed_over() -> None:
    for number in range(8):
        assert has_range(draw_spectrum(number, seed=0, side=PREVIEW))
        assert has_range(deadleaves.draw_dead_leaves(number, seed=0, side=PREVIEW, shapes="circles"))


@pytest.mark.parametrize(
    ("low", "high", "good"), [(0, 90, False), (0, 255, True), (100, 140, False), (220, 255, False)]
)
def test_light_and_dark_are_judged_by_the_limits(low: int, high: int, good: bool) -> None:
    preview = np.random.default_rng(0).choice((low, high), (PREVIEW, PREVIEW, 1)).astype(np.uint8).repeat(3, axis=2)
    seen = measure(preview)
    assert has_range(preview) is good
    assert good == all(LIMITS[name][0] <= seen[name] <= LIMITS[name][1] for name in ("brightness", "contrast"))


# ── Affine systems ────────────────────────────────────────────────────────────────────────────────


def test_attractors_are_white_on_black_and_fill_their_frames() -> None:
    for number in range(3):
        picture = attractors.draw_attractor(number, seed=0, side=512)
        assert np.unique(picture).tolist() == [0, 255]
        assert (picture == picture[..., :1]).all()
        assert (picture[..., 0] > 0).mean() >= attractors.FILLING
        rows, columns = np.nonzero(picture[..., 0])
        assert {rows.min(), columns.min()} == {6}
        assert {rows.max(), columns.max()} <= {505, 506}


def test_a_system_is_the_first_one_that_fills_its_frame() -> None:
    """The game, played in plain floats: which systems are taken, and where their points fall."""
    number, taken = 2, attractors.draw_attractor(2, seed=0, side=512)[..., 0]
    chosen = next(k for k in range(attractors.TRIES) if attractors._is_filling(number, 0, k))
    rng = stream("ifs", 0, number, chosen)
    count = int(rng.integers(2, 8))
    maps = (-1.0 + 2.0 * (rng.integers(1_000_001, size=(count, 6)) / 1_000_000)).tolist()
    words = rng.bit_generator.random_raw(50_000).view(np.uint32) / 2.0**32
    area = np.cumsum([abs(a * d - b * c) for a, b, c, d, _, _ in maps])
    picks = np.minimum(np.searchsorted(area, words * area[-1], side="right"), count - 1)
    x = y = 0.0
    points = []
    for a, b, c, d, e, f in map(maps.__getitem__, picks.tolist()):
        x, y = a * x + b * y + e, c * x + d * y + f
        points.append((x, y))
    seen = np.array(points)
    low, high = seen.min(axis=0), seen.max(axis=0)
    columns, rows = ((seen - low) / (high - low) * 500 + 6).astype(int).T
    plain = np.zeros((512, 512), np.uint8)
    plain[rows, columns] = 255
    assert (plain != taken).mean() < 1e-4
    assert (plain > 0).mean() >= 0.2


# ── By name ───────────────────────────────────────────────────────────────────────────────────────


def test_a_set_is_asked_for_by_name() -> None:
    assert parse_drawn("deadleaves") == Drawn(name="deadleaves", kind="squares", count=COUNT)
    assert parse_drawn("deadleaves:count=3,shapes=textured") == Drawn(name="deadleaves", kind="textured", count=3)
    assert parse_drawn("ifs:count=9") == Drawn(name="ifs", kind="", count=9)
    assert parse_drawn("./ifs") is None
    assert parse_drawn("pictures") is None


@given(
    st.sampled_from([(name, kind) for name in GENERATORS for kind in GENERATORS[name].kinds]), st.integers(1, 100_000)
)
def test_what_is_spelt_is_read(named: tuple[str, str], count: int) -> None:
    drawn = Drawn(name=named[0], kind=named[1], count=count)
    assert parse_drawn(drawn.spell()) == drawn


@pytest.mark.parametrize(
    ("spec", "advice"),
    [
        ("deadleaves:shapes=cirkles", "did you mean circles?"),
        ("deadleaves:shapes=7", "squares, oriented, circles, mixed, textured"),
        ("deadleaves:form=circles", "shapes=...,count=..."),
        ("spectrum:shapes=circles", "count=..."),
        ("ifs:count=0", "1 to 100000"),
        ("deadleafs:count=3", "did you mean deadleaves?"),
        ("Spectrum", "did you mean spectrum?"),
        ("nowhere/at/all", "fractals, deadleaves, spectrum, ifs"),
    ],
)
def test_anything_else_is_refused_with_what_was_meant(spec: str, advice: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        prepare(spec, tmp_path / "out", size=32, gray=False)
    assert advice in str(refused.value)
    assert repr(spec) in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_kinds_lie_apart_in_the_cache_and_say_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXBAKE_CACHE", str(tmp_path))
    sets = [Drawn(name=name, kind=kind, count=1) for name, kind in (("deadleaves", "squares"), ("deadleaves", "mixed"))]
    folders = [cached(drawn, side=32) for drawn in sets]
    assert [folder.relative_to(tmp_path).as_posix() for folder in folders] == [
        "deadleaves/v1-squares-seed0-side32",
        "deadleaves/v1-mixed-seed0-side32",
    ]
    with Image.open(folders[1] / "deadleaves-000000.png") as picture:
        assert picture.info["mixbake"] == "deadleaves v1 mixed seed 0 number 0 side 32"
    before = (folders[1] / "deadleaves-000000.png").read_bytes()
    generate(folders[1], sets[0], side=32)
    assert (folders[1] / "deadleaves-000000.png").read_bytes() != before


def test_a_folder_of_that_name_is_written_with_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ifs").mkdir()
    Image.new("RGB", (40, 40), (1, 2, 3)).save(tmp_path / "ifs" / "mine.png")
    assert prepare("./ifs", tmp_path / "out", size=32, gray=False).names == ("mine.png",)
    assert prepare("ifs:count=1", tmp_path / "out", size=32, gray=False).names == ("ifs-000000.png",)


@pytest.mark.parametrize("spec", ["deadleaves:shapes=mixed,count=3", "spectrum:count=3", "ifs:count=3"])
@pytest.mark.slow
def test_a_set_bakes_verifies_and_replays(spec: str, image_folder: Path, tmp_path: Path) -> None:
    bake(image_folder, tmp_path / "out", Path(spec), recipe="pixmix")
    opened = mixbake.audit.open(tmp_path / "out")
    assert opened.verify(full=True, replay=3).intact
    replayed = [opened.replay(f"{image:08d}-0000", mixing_set=spec) for image in range(4)]
    assert all(one.equal for one in replayed)
    assert any(one.variant.picture for one in replayed)


@pytest.mark.slow
def test_the_command_draws_any_kind(mixbake: Callable[..., Outcome], tmp_path: Path) -> None:
    done = mixbake(
        "fractals", tmp_path / "out", "--kind", "deadleaves:shapes=circles", "--count", 2, "--side", 32, "-j", 1
    )
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "deadleaves-000000.png",
        "deadleaves-000001.png",
    ]
    refused = mixbake("fractals", tmp_path / "no", "--kind", "ifs:count=3")
    assert refused.code == 2
    assert "--count" in refused.err
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_pictures_of_another_seed_or_side_are_not_replaced_unasked(
    tmp_path: Path, mixbake: Callable[..., Outcome]
) -> None:
    assert mixbake("fractals", tmp_path, "--kind", "deadleaves", "--count", 2, "--side", 32).code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for others in (("--seed", 5), ("--side", 48)):
        refused = mixbake("fractals", tmp_path, "--kind", "deadleaves", "--count", 2, "--side", 32, *others)
        assert (refused.code, "is of another seed" in refused.err) == (2, True)
    assert mixbake("fractals", tmp_path, "--kind", "deadleaves", "--count", 3, "--side", 32).code == 0
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
