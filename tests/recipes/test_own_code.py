"""Promises to whoever writes a recipe: exact chance, programs as written, and errors that name file and line."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import Silent, bake

from mixbake.bake.build import build
from mixbake.bake.settings import BuildSettings
from mixbake.core import rng
from mixbake.core.kernels.words import CURSOR_WORDS, below, seek
from mixbake.core.variant import MICRO, Step, Variant
from mixbake.errors import MixbakeError, PlanDiffers, RecipeFailed, UsageError
from mixbake.recipes.loaded import load
from mixbake.recipes.own import Chance
from mixbake.recipes.presets import read_overrides, resolve
from mixbake.recipes.recipe import Lot, draw, draw_one

HEAD = """
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from mixbake.core.programs import Most
from mixbake.recipes.own import Blend, Chance, Op, Program
"""
CLASS = """
@dataclass(frozen=True, slots=True, kw_only=True)
class Mine:
    level: float = 0.5
    kinds: tuple[str, ...] = ("rotate",)
    bold: bool = False
    {stated}
    def draw(self, rng: Chance, program: Program) -> None:
"""


def write(folder: Path, draw: str = "pass", *, before: str = "", stated: str = "") -> str:
    """A file with the recipe Mine, whose draw is those lines; returns FILE.py:NAME."""
    path = folder / "mine.py"
    lines = "".join(f"        {line}\n" for line in draw.splitlines())
    path.write_text(HEAD + before + CLASS.format(stated=stated) + lines)
    return f"{path}:Mine"


def drawn(spec: str, *, image: int = 5, number: int = 2, size: int = 32) -> Variant:
    recipe = load(spec)
    return draw_one(
        recipe, name="own:Mine", image=image, number=number, image_hw=(size, size), seed=3, view="mix", size=size,
        crop="pad", bake_flip=False, group=1, pictures=np.full((4, 2), 40, np.int32),
    )  # fmt: skip


# ── what a recipe is given ────────────────────────────────────────────────────────────────────────


def test_chance_is_the_stream_that_kernels_have() -> None:
    key, cursor = rng.key(3, "own:Mine"), np.zeros(CURSOR_WORDS, np.uint64)
    chance = Chance(key, 123_456, 7)
    seek(cursor, key, 123_456, 7)
    bounds = [2, 3, 1000, MICRO + 1, 1 << 32] * 20
    assert [chance.below(n) for n in bounds] == [int(below(cursor, n)) for n in bounds]


def test_chance_keeps_to_its_bounds_and_to_six_places() -> None:
    chance = Chance(rng.key("bounds"), 0, 0)
    assert {chance.whole(-1, 1) for _ in range(200)} == {-1, 0, 1}
    assert {chance.sign() for _ in range(50)} == {-1, 1}
    assert {chance.choice("abc") for _ in range(200)} == set("abc")
    levels = [chance.uniform(-0.25, 0.5) for _ in range(1000)]
    assert -0.25 <= min(levels) < -0.2 < 0.45 < max(levels) <= 0.5
    assert all(round(level, 6) == level for level in levels)
    for _ in range(100):
        shares = chance.shares(3)
        assert min(shares) >= 0
        assert sum(round(share * MICRO) for share in shares) == MICRO


def test_a_program_is_stored_as_it_is_written(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        "x = program.op('shear_x', program.image, 0.1 + 0.2)\n"
        "y = program.op('tint', x, 3, 0.5)\n"
        "z = program.blend('pixel', y, program.picture, 0.25, 9, box=(1, 2, 3, 4))\n"
        "z = program.blend('lighter', x, z)\n"
        "return program.weighted((x, 0.25), (z, 0.75))",
        before="OPS = {'tint': Op(version=2, apply=lambda x, n, f: x, args=('int', 'micro'))}\n"
        "BLENDS = {'lighter': Blend(version=1, apply=np.maximum)}\n",
        stated="uses_pictures: ClassVar[bool] = True",
    )
    variant = drawn(spec)
    assert variant.steps == (
        Step(do="shear_x", src=(0,), args=(0.3, 1)),
        Step(do="own:tint", src=(2,), args=(3, 0.5)),
        Step(do="pixel", src=(3, 1), args=(0.25, 9, 1, 2, 3, 4)),
        Step(do="own:lighter", src=(2, 4), args=()),
        Step(do="weighted", src=(2, 5), args=(0.25, 0.75)),
    )
    assert (variant.ops, variant.levels) == (("shear_x", "own:tint"), (0.3, 3.0))
    assert variant.blends == ("pixel", "own:lighter")
    assert variant.picture is not None


def test_a_program_that_reads_no_picture_names_none(tmp_path: Path) -> None:
    assert drawn(write(tmp_path, stated="uses_pictures: ClassVar[bool] = True")).picture is None


def test_fields_are_set_and_recorded(tmp_path: Path) -> None:
    spec = write(tmp_path, "program.op('rotate', 0, self.level)")
    overrides = read_overrides(spec, ["level=2", "bold=on", "kinds=rotate,invert"])
    known = resolve(spec, size=32, overrides=overrides).parameters()
    assert (known["level"], known["bold"], known["kinds"]) == (2, True, ("rotate", "invert"))


def test_a_value_may_be_named_as_well_as_a_class(tmp_path: Path) -> None:
    spec = write(tmp_path, "program.op('rotate', 0, self.level)")
    with Path(spec[:-5]).open("a") as file:
        file.write("\nSTRONG = Mine(level=30)\n")
    strong = load(f"{spec[:-5]}:STRONG")
    assert (strong.parameters()["level"], strong.family) == (30, load(spec).family)


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("level=x", "no number"),
        ("colour=3", "has no parameter colour: it takes bold, kinds, level"),
        ("Levels=3", r"has no parameter Levels: did you mean level\? It takes bold, kinds, level"),
        ("bold=3", "choose on or off"),
    ],
)
def test_a_field_takes_values_of_its_own_kind(tmp_path: Path, text: str, message: str) -> None:
    spec = write(tmp_path)
    with pytest.raises(UsageError, match=message):
        resolve(spec, size=32, overrides=read_overrides(spec, [text]))


def test_a_list_of_one_is_a_list(tmp_path: Path) -> None:
    spec = write(tmp_path)
    assert resolve(spec, size=32, overrides=read_overrides(spec, ["kinds=3"])).parameters()["kinds"] == ("3",)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "Mime", "did you mean Mine"),
        ("", "MINE", "did you mean Mine"),
        ("", "Other", "it holds Mine"),
        ("", "HEAD", "it holds Mine"),
        ("VALUE = 3\n", "VALUE", "is no recipe"),
        ("def broken(:\n", "Mine", r"mine\.py, line \d+: "),
        ("raise ValueError('why')\n", "Mine", r"mine\.py, line \d+, in <module>: ValueError: why"),
        ("@dataclass\nclass Loose:\n    def draw(self, rng, program): ...\n", "Loose", r"frozen=True"),
        (
            "@dataclass(frozen=True)\nclass Bare:\n    level: float\n    def draw(self, rng, program): ...\n",
            "Bare",
            "every field needs a default",
        ),
        ("Mine.most = 7\n", "Mine", "most is 7"),
        ("OPS = {'rotate': Op(version=1, apply=len)}\n", "Mine", "rotate is mixbake's own"),
        ("OPS = {'Big name': Op(version=1, apply=len)}\n", "Mine", "a name has 1 to 16"),
        ("OPS = {'tint': len}\n", "Mine", r"OPS\['tint'\].* is no Op"),
        ("OPS = {'tint': Op(version=0, apply=len)}\n", "Mine", "version is a whole number from 1"),
        ("BLENDS = {'tint': Blend(version=1, apply=len, args=('deep',))}\n", "Mine", "each of int, micro"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, name: str, message: str) -> None:
    path = Path(write(tmp_path)[:-5])
    path.write_text(path.read_text() + text)
    with pytest.raises(UsageError, match=message):
        load(f"{path}:{name}")


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "(0.5, -float('inf'))"])
def test_a_field_is_a_finite_number(tmp_path: Path, value: str) -> None:
    path = Path(write(tmp_path)[:-5])
    path.write_text(path.read_text().replace("level: float = 0.5", f"level: object = {value}"))
    with pytest.raises(UsageError, match=r"field level = .* must be finite"):
        load(f"{path}:Mine")


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_a_field_is_set_to_a_finite_number(tmp_path: Path, value: str) -> None:
    spec = write(tmp_path)
    with pytest.raises(UsageError, match=f"level {value}: give a number that is finite"):
        resolve(spec, size=32, overrides=read_overrides(spec, [f"level={value}"]))


def test_an_error_of_syntax_is_told_of_the_file_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_by_mine.py").write_text("x = 1\ny = (\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RecipeFailed, match=r"imported_by_mine\.py, line 2: .* was never closed \(loading it\)"):
        load(write(tmp_path, before="import imported_by_mine\n"))
    with pytest.raises(RecipeFailed, match=r"mine\.py, line \d+, in <module>: SyntaxError: "):
        load(write(tmp_path, before="eval('1 +')\n"))


def test_a_file_that_is_not_there_and_a_name_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.py cannot be read"):
        load(f"{tmp_path / 'absent.py'}:Mine")
    with pytest.raises(UsageError, match="did you mean layermix"):
        resolve("layermux", size=32, overrides={})


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        ("1 / 0", r"mine\.py, line \d+, in draw: ZeroDivisionError: .* \(draw of variant 00000005-0002\)"),
        ("program.op('rotat', 0, 3)", r"no operation 'rotat': did you mean rotate\? Known are autocontrast, "),
        ("program.op('zzz', 0, 3)", "no operation 'zzz': known are autocontrast, "),
        ("program.blend('Pixle', 0, 0, 0.5, 1)", r"no blend 'Pixle': did you mean pixel\? Known are arithmetic, "),
        ("program.op('rotate', 7, 3)", "register 7 is not written yet"),
        ("program.op('rotate', 0)", "takes 1 arguments"),
        ("program.op('rotate', 0, float('nan'))", "nan is no argument"),
        ("program.op('posterize', 0, 2.5)", "TypeError"),
        ("program.blend('pixel', 0, program.picture, 0.5, 1)", "uses_pictures = True"),
        ("for _ in range(9): program.op('invert', 0)", "has 9 steps, and the recipe's `most` allows 8"),
        ("program.op('invert', 0)\nreturn 0", "the register written last is the result"),
        ("rng.below(0)", "nothing can be drawn"),
        ("program.op('posterize', 0, 1 << 32)", "whole numbers are below 2"),
    ],
)
def test_code_that_fails_is_named_with_its_line(tmp_path: Path, draw: str, message: str) -> None:
    with pytest.raises(RecipeFailed, match=message):
        drawn(write(tmp_path, draw))


OP = "OPS = {{'tint': Op(version=1, apply={}, args=())}}\n"
TINT = "program.op('tint', program.image)"


BLEND = "BLENDS = {'lighter': Blend(version=1, apply=np.maximum)}\n"


@pytest.mark.parametrize(
    ("draw", "before", "message"),
    [
        ("program.blend('lighter', 0, 0, box=(0, 0, 4, 4))", BLEND, "lighter takes no box"),
        ("program.blend('lighter', 0, 0, 1, 2)", BLEND, "lighter takes 0 arguments, not 2"),
        ("program.op('rotate', 0, 181)", "", r"step rotate is outside"),
        (TINT, OP.format("lambda x: x[0, 0, 0, 0]"), r"line \d+, in <lambda>: IndexError.*tint of variant 0000"),
        (TINT, OP.format("lambda x: x / 2"), r"mine\.py: tint of variant .* gave float64 \(16, 16, 3\), not uint8"),
        (TINT, OP.format("lambda x: x[1:]"), r"gave uint8 \(15, 16, 3\)"),
        (TINT, OP.format("lambda x: None"), "gave NoneType"),
        (TINT, OP.format("lambda x: x.fill(0)"), "read-only"),
        (
            "program.op('rotate', 0, next(TURNS))",
            "import itertools\nTURNS = itertools.count(1)\n",
            "other levels, steps",
        ),
        ("program.op('rotate', 0, TURN)", "import random\nTURN = random.uniform(0, 90)\n", "other levels, steps"),
        (TINT, "import random\n" + OP.format("lambda x: x ^ np.uint8(random.randrange(256))"), "gave other pixels"),
    ],
)
def test_a_rehearsal_refuses_before_anything_is_baked(
    tmp_path: Path, image_folder: Path, picture_folder: Path, draw: str, before: str, message: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=message):
        bake(image_folder, out, picture_folder, recipe=write(tmp_path, draw, before=before), size=16)
    assert not out.exists()


@pytest.mark.slow
def test_code_that_fails_in_a_worker_is_named_like_any(tmp_path: Path, many_images: Path, picture_folder: Path) -> None:
    # Other images than a rehearsal draws.
    number = "int(rng._philox.state['state']['counter'][2])"
    spec = write(tmp_path, f"if {number} > 100: raise LookupError('far')\nprogram.op('invert', 0)")
    with pytest.raises(RecipeFailed, match=r"mine\.py, line \d+, in draw: LookupError: far \(draw of variant 00000"):
        bake(many_images, tmp_path / "out", picture_folder, recipe=spec, executor="joblib", jobs=2)


class Editor(Silent):
    """Watches a bake, and rewrites a file, or deletes it, when the first block is whole."""

    def __init__(self, path: Path, text: str | None) -> None:
        self.path, self.text = path, text

    def event(self, name: str, **_fields: Any) -> None:
        if name == "block" and self.text is not None:
            self.path.write_text(self.text)
        elif name == "block":
            self.path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("# other bytes\n", "was changed during the bake: restore it", id="edited"),
        pytest.param("def half(:\n", "was changed during the bake: restore it", id="broken", marks=pytest.mark.slow),
        pytest.param(None, r"cannot be read any more .*: restore it", id="deleted", marks=pytest.mark.slow),
    ],
)
def test_code_that_changes_during_a_bake_is_refused(
    tmp_path: Path, many_images: Path, picture_folder: Path, text: str | None, message: str
) -> None:
    spec = write(tmp_path, "program.op('invert', 0)")
    path, out = Path(spec[:-5]), tmp_path / "out"
    written = path.read_text()
    told = {"source": str(many_images), "out": out, "mixing_set": str(picture_folder), "recipe": spec, "seed": 7}
    settings = BuildSettings(**told, epochs_worth=96, executor="joblib", jobs=1, codec="raw")
    with pytest.raises(PlanDiffers, match=rf"mine\.py {message}"):
        build(settings, Editor(path, None if text is None else written + text))
    assert list(out.rglob("*.tar"))
    assert not (out / "bake.json").exists()


def test_code_arrives_with_its_parameters(tmp_path: Path) -> None:
    travelling = pickle.dumps(load(write(tmp_path, "program.op('invert', 0)")).with_parameters({"level": 0.25}))
    assert pickle.loads(travelling).parameters()["level"] == 0.25  # noqa: S301 - our own


def test_the_compiled_form_is_a_recipe_too(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    path = tmp_path / "kin.py"
    path.write_text("from mixbake.recipes.layermix import LayerMix\nKin = LayerMix(severity=2)\n")
    built = bake(image_folder, tmp_path / "own", picture_folder, recipe=f"{path}:Kin", limit=8)
    bake(image_folder, tmp_path / "known", picture_folder, recipe="layermix", overrides={"severity": 2}, limit=8)
    assert built.finished.document["samples"] == 8
    from small import pixels, stored

    ours, theirs = stored(tmp_path / "own"), stored(tmp_path / "known")
    assert all((pixels(ours[key]) == pixels(theirs[key])).all() for key in theirs)


FILL = """
from mixbake.core.kernels import codes
from mixbake.core.ops import OPS as KNOWN

@dataclass(frozen=True)
class Raw:
    column: str = ""
    value: int = 0
    most: ClassVar[Most] = Most(steps=2, ops=2, blends=2, arguments=2)
    family: ClassVar[str] = "own:Raw"

    def fill(self, table, *, key, size):
        table.lengths[:], table.op_counts[:], table.blend_counts[:] = 2, 1, 1
        table.do[:], table.ops[:, 0] = (codes.INVERT, codes.PIXEL), KNOWN["invert"]
        table.arities[:, 1], table.sources[:, 1, 1], table.blends[:, 0] = 2, 2, 2
        if self.column:
            column = getattr(table, self.column)
            column[(-1,) + (0,) * (column.ndim - 1)] = self.value
"""


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("sources", (2, 100, -1, 1)),
        ("lengths", (3, 127, -1)),
        ("arities", (1, 9, 127, -1)),
        ("do", (-1, 16, 25, 99)),
        ("ops", (-1, 100)),
        ("op_counts", (-1, 3, 127)),
        ("levels", (2**62, -(2**63))),
        ("blends", (-1, 4, 100)),
        ("blend_counts", (-1, 3, 127)),
        ("pictures", (0,)),
    ],
)
def test_what_a_compiled_fill_wrote_is_looked_at(tmp_path: Path, column: str, values: tuple[int, ...]) -> None:
    path = tmp_path / "raw.py"
    path.write_text(HEAD + FILL)
    raw = load(f"{path}:Raw")
    lot = Lot(
        seed=1, view="mix", images=np.arange(3), numbers=np.zeros(3, np.int64), shapes=np.full((3, 2), 16, np.int32),
        size=16, crop="pad", bake_flip=False, group=1, pictures=np.zeros((0, 2), np.int32),
    )  # fmt: skip
    assert draw(raw, lot, name="own:Raw").variant(2).blends == ("pixel",)
    for value in values:
        with pytest.raises(RecipeFailed, match=r"raw\.py: .* \(programs of Raw\)"):
            draw(raw.with_parameters({"column": column, "value": value}), lot, name="own:Raw")


def test_a_compiled_fill_keeps_to_its_bound_of_arguments(tmp_path: Path) -> None:
    """The text of a record is as long as the bound says, and its writer looks at nothing."""
    path = tmp_path / "raw.py"
    path.write_text(HEAD + FILL.replace("arguments=2", "arguments=1"))
    with pytest.raises(RecipeFailed, match="more arguments than the 1 of the recipe's `most`: 2"):
        drawn(f"{path}:Raw")


def test_failures_are_mixbakes_own_errors() -> None:
    assert issubclass(RecipeFailed, UsageError)
    assert issubclass(RecipeFailed, MixbakeError)
    assert RecipeFailed.exit_code == 2
