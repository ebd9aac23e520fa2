"""Promises of the tests of distributions of a stranger's bake: whatever it holds fails a test, or is damage by name."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small import bake, copied, sign
from verdicts import failed, run

import mixbake.audit
from mixbake.audit import statistics
from mixbake.data.pictures import prepare
from mixbake.errors import Damage


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> Path:
    """200 images, two epochs' worth, with clean crops; read only."""
    out = tmp_path_factory.mktemp("honest") / "out"
    bake("demo:count=200,size=16", out, picture_folder, epochs_worth=2, views="clean")
    return out


def forge(out: Path, column: str, change: Callable[[int, Any], Any]) -> None:
    """Change a column of every index, value by value, and make every promise true again."""
    for path in (out / "index").iterdir():
        table = pq.read_table(path)
        field = table.schema.field(column)
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_list(plain) and pa.types.is_dictionary(plain.value_type):
            plain = pa.list_(pa.string())
        values = [change(row, value) for row, value in enumerate(table[column].to_pylist())]
        written = pa.array(values, plain).cast(field.type)
        pq.write_table(table.set_column(table.schema.get_field_index(column), field, written), path)
    sign(out)


FORGED: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "layer": ("layer", lambda _: 99, "layer"),
    "no layer": ("layer", lambda _: None, "layer"),
    "op": ("ops", lambda ops: ["\x1b[31m<script>" * 50] * len(ops), "op"),
    "nulls": ("ops", lambda ops: [None] * len(ops), "op"),
    "too many ops": ("ops", lambda ops: ops * 40, "program"),
    "level": ("levels", lambda levels: [1e308] * len(levels), "level of rotate"),
    "no number": ("levels", lambda levels: [float("nan")] * len(levels), "level of rotate"),
    "too fine a level": ("levels", lambda levels: [level + 1e-9 for level in levels], "level of rotate"),
    "missing levels": ("levels", lambda _: None, "steps"),
    "blend": ("blends", lambda blends: ["mixup"] * len(blends), "first blend"),
    "picture": ("picture", lambda picture: None if picture is None else 2**31 - 1, "picture"),
    "no picture": ("picture", lambda _: -7, "program"),
    "hflip": ("picture_hflip", lambda _: None, "picture hflip"),
    "flip": ("flip", lambda _: True, "flip"),
    "no steps": ("steps", lambda _: "[]", "steps"),
    "unknown step": ("steps", lambda _: '[{"args":[1.5],"do":"os.system","src":[0]}]', "steps"),
    "steps without arguments": ("steps", lambda steps: re.sub(r'"args":\[[^]]*\]', '"args":[]', steps), "steps"),
    "arguments that are no numbers": (
        "steps",
        lambda steps: re.sub(r'"args":\[[^]]*\]', '"args":[NaN]', steps),
        "steps",
    ),
    "vast arguments": ("steps", lambda steps: re.sub(r'"args":\[[^]]*\]', '"args":[1e300,-1e300,7]', steps), "steps"),
}


@pytest.mark.parametrize("case", FORGED)
def test_what_no_recipe_draws_fails_however_rare(case: str, honest: Path, tmp_path: Path) -> None:
    out, (column, change, name) = copied(honest, tmp_path / "out"), FORGED[case]
    forge(out, column, lambda row, value: change(value) if row % 20 == 0 else value)
    tests = run(out)
    assert name in failed(tests)
    assert tests[name].p == 0
    assert tests[name].cells[-1].expected == 0 < tests[name].cells[-1].seen


MALFORMED = {
    "text": "rotate",
    "cut": '[{"args":[1.0],"do":"rotate"',
    "an object": "{}",
    "a number": "[1]",
    "a null": "[null]",
    "null": None,
    "a null argument": '[{"args":[null],"do":"rotate","src":[0]}]',
    "no name": '[{"args":[1.0],"src":[0]}]',
    "no arguments": '[{"do":"rotate","src":[0]}]',
    "a number as name": '[{"args":[],"do":7,"src":[0]}]',
    "text as argument": '[{"args":["1"],"do":"rotate","src":[0]}]',
    "another field": '[{"args":[],"code":"rm","do":"equalize","src":[0]}]',
    "two lines": '[]}\n{"s":[]',
    "two objects": '[]}{"s":[]',
    "another object": '[],"s":[]',
    "deep": "[" * 4000,
    "long": '[{"args":[' + ",".join(["1.0"] * 2000) + '],"do":"rotate","src":[0]}]',
}


@pytest.mark.parametrize("case", MALFORMED)
def test_steps_that_are_none_are_damage_of_their_index(case: str, honest: Path, tmp_path: Path) -> None:
    out = copied(honest, tmp_path / "out")
    forge(out, "steps", lambda row, value: MALFORMED[case] if row == 137 else value)
    key = pq.read_table(next((out / "index").iterdir()), columns=["key"])["key"][137].as_py()
    with pytest.raises(Damage, match=rf"index/000000-v000-001\.parquet in .*the steps of {key} are none.*restore"):
        run(out)


@pytest.mark.parametrize("text", ["nonsense", "[" * 900, '{"crop":7,"picture":null}', '{"crop":{"left":1e9,"top":0}}'])
def test_records_without_windows_are_damage_of_their_shard(text: str, honest: Path, tmp_path: Path) -> None:
    out = copied(honest, tmp_path / "out")
    path = out / "mix" / "v001" / "000000.tar"
    data = bytearray(path.read_bytes())
    start = data.index(b'{"blends"')
    end = data.index(b"\0", start)
    data[start:end] = text.encode().ljust(end - start)
    path.write_bytes(bytes(data))
    sign(out)
    with pytest.raises(Damage, match=r"mix/v001/000000\.tar, \d{8}-0001 in .*restore"):
        run(out)


@pytest.mark.parametrize("value", [-(2**40), 0, 2**40, None])
def test_records_that_lie_nowhere_are_damage_of_their_shard(value: int | None, honest: Path, tmp_path: Path) -> None:
    out = copied(honest, tmp_path / "out")
    forge(out, "offset", lambda row, offset: value if row == 3 else offset)
    with pytest.raises(Damage, match=r"mix/v000/000000\.tar, \d{8}-0000 in .*restore"):
        run(out)


def test_a_bake_without_its_pictures_is_tested_but_for_their_windows(honest: Path, tmp_path: Path) -> None:
    out = copied(honest, tmp_path / "out")
    for path in (out / "mixing").iterdir():
        path.unlink()
    assert run(honest).keys() - run(out).keys() == {"picture left", "picture top"}


def test_other_mixing_pictures_are_damage(honest: Path, tmp_path: Path, picture_folder: Path) -> None:
    out = copied(honest, tmp_path / "out")
    (path,) = (out / "mixing").iterdir()
    shutil.copyfile(prepare(str(picture_folder), tmp_path, size=24, gray=True).path, path)
    with pytest.raises(Damage, match=r"mixing/.* holds other pictures .*restore"):
        run(out)


def test_progress_is_told_to_the_end(honest: Path) -> None:
    told: list[tuple[str, int, int]] = []
    statistics.run_tests(mixbake.audit.open(honest).catalog, progress=lambda *said: told.append(said))
    assert {what: (done, total) for what, done, total in told} == {"index": (1, 1), "records": (400, 400)}
