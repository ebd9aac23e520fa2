"""Conditions in SQL: what they find, and that nothing but one harmless expression is ever run."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small import bake, flip_bit, pixels, sign, stored

import mixbake.audit
from mixbake.audit.catalog import COLUMNS
from mixbake.audit.query import LONGEST, matching, read_condition
from mixbake.errors import Damage, UsageError

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    """40 images, extended from one to three epochs' worth of pairs and clean crops."""
    out = tmp_path_factory.mktemp("query") / "out"
    for epochs in (1, 3):
        bake(image_folder, out, picture_folder, epochs_worth=epochs, views="jsd")
    return out


@pytest.fixture(scope="module")
def rows(out: Path) -> Rows:
    """Every row of every index, read by pyarrow alone, in the order of the files' names."""
    return [row for path in sorted((out / "index").iterdir()) for row in pq.read_table(path).to_pylist()]


WANTED: dict[str, Callable[[dict[str, Any]], bool]] = {
    "layer = 3 AND op = 'rotate'": lambda row: row["layer"] == 3 and row["op"] == "rotate",
    "LAYER in (1, 2) or view = 'clean'": lambda row: row["layer"] in (1, 2) or row["view"] == "clean",
    "layer IS NULL": lambda row: row["layer"] is None,
    "NOT layer = 3": lambda row: row["layer"] is not None and row["layer"] != 3,
    "list_contains(blends, 'pixel')": lambda row: "pixel" in row["blends"],
    "blend = 'pixel'": lambda row: row["blends"][:1] == ["pixel"],
    "blend is null": lambda row: not row["blends"],
    "class LIKE '%c%' -- of trees": lambda row: "c" in row["class"],
    '"offset" > 9000 AND size % 2 = 0': lambda row: row["offset"] > 9000 and row["size"] % 2 == 0,
    "number BETWEEN 2 AND 4 AND flip = false": lambda row: 2 <= row["number"] <= 4 and not row["flip"],
    "levels[1] > 0.5": lambda row: row["levels"] != [] and row["levels"][0] > 0.5,
    "json_extract_string(steps, '$[0].do') = 'rotate'": lambda row: (
        (json.loads(row["steps"]) or [{}])[0].get("do") == "rotate"
    ),
    "starts_with(source, 'ash/') AND picture_hflip": lambda row: row["source"][:4] == "ash/" and row["picture_hflip"],
    "true": lambda _row: True,
    "1 = 0": lambda _row: False,
}


@pytest.mark.parametrize("where", WANTED)
def test_what_a_condition_holds_for_is_found(out: Path, rows: Rows, where: str) -> None:
    found = mixbake.audit.open(out).query(where, ["key", "op"])
    expected = [row for row in rows if WANTED[where](row)]
    assert found["key"].to_pylist() == [row["key"] for row in expected]
    assert found["op"].to_pylist() == [row["op"] for row in expected]
    assert expected or where == "1 = 0"


def test_without_a_condition_all_columns_of_all_rows_come(out: Path, rows: Rows) -> None:
    table = mixbake.audit.open(out).query()
    assert tuple(table.column_names) == COLUMNS
    assert table.drop_columns(["blend"]).to_pylist() == rows
    assert table["blend"].to_pylist() == [next(iter(row["blends"]), None) for row in rows]


HOSTILE = {
    "a second statement": "1=1; COPY variants TO 'FILE'",
    "a union": "1=1) UNION SELECT row, true FROM variants WHERE (true",
    "a second column": "true) AS holds, (false",
    "a FROM of its own": "true) AS holds FROM read_csv('/etc/passwd') --",
    "a count for ever": "(SELECT count(*) FROM range(1000000000000)) > 1",
    "a recursion": "(WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT a+1 FROM t) SELECT count(*) FROM t) > 1",
    "a file by function": "(SELECT content FROM read_text('FILE')) LIKE '%secret%'",
    "a file by name": "EXISTS (SELECT * FROM 'FILE')",
    "a listing": "(SELECT count(*) FROM glob('/*')) > 0",
    "an attached file": "true; ATTACH 'FILE'",
    "a setting": "true; PRAGMA enable_external_access",
    "the environment": "getenv('HOME') = 'x'",
    "a current setting": "current_setting('memory_limit') = 'x'",
    "a huge text": "len(repeat('x', 3000000000)) > 1",
    "a huge list": "len(range(10000000000)) > 1",
    "a huge array": "CAST(NULL AS INT[100000000]) IS NULL",
    "a lambda": "len(list_transform(levels, x -> x)) > 1",
    "a window": "row_number() OVER () < 3",
    "an aggregate": "count(*) > 3",
    "an unbalanced end": "true) --",
    "an unbalanced begin": "(true",
    "an open comment": "true /*",
    "a parameter": "layer = ?",
    "a star": "COLUMNS(*) = 1",
    "a row that is not a column": "row = 3",
    "a Python variable": "sys = 1",
    "nothing": "",
    "a NUL": "true\0",
    "too much": "true OR " * LONGEST + "true",
    "too deep": "(" * 30_000 + "true" + ")" * 30_000,
    "too deep without brackets": "NOT " * 20_000 + "true",
    "a wild pattern": "regexp_matches(source, '((a{1,100}){1,100}){1,100}')",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_conditions_are_refused_and_do_nothing(out: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    where = HOSTILE[name].replace("FILE", str(secret))
    if "read_text" in where:
        secret.write_text("secret")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError) as refused:
        mixbake.audit.open(out).rows(where)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(str(refused.value)) < 2000
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("layr = 3", "'layr', which there is not; the columns are key, image"),
        ("layer =", "no SQL"),
        ("layer", "TINYINT"),
        ("NULL", "compare it"),
        ("class = 3", "cannot be used"),
        ("foo(layer) = 3", "calls foo()"),
        ("layer = (SELECT 3)", "subquery"),
    ],
)
def test_a_message_says_what_is_wrong(out: Path, where: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        mixbake.audit.open(out).rows(where)
    assert words in str(refused.value)


def test_a_query_that_takes_too_long_is_ended() -> None:
    table = pa.table({"row": np.arange(3_000_000), "source": pa.repeat("a" * 60, 3_000_000)})
    where = " OR ".join(f"regexp_matches(source, '(a|aa)*{letter}$')" for letter in "bcdefghijklm")
    with pytest.raises(UsageError, match=r"longer than 0\.2 s"):
        matching(table, read_condition(where), seconds=0.2)


def test_an_unknown_column_is_refused(out: Path) -> None:
    with pytest.raises(UsageError, match="no column 'klass': choose from key, image"):
        mixbake.audit.open(out).query("true", ["klass"])


def test_any_picture_is_the_stored_one(out: Path) -> None:
    audited = mixbake.audit.open(out)
    for (view, number, image), members in list(stored(out).items())[::17]:
        key = f"{image:08d}-{'c' if view == 'clean' else ''}{number:04d}"
        assert np.array_equal(audited.picture(key), pixels(members)), key


@pytest.mark.parametrize("key", ["", "x", "00000000-0006", "00000000-c0003", "00000040-0000", "0-0", "00000000-٠٠٠٠"])
def test_a_key_of_no_variant_is_refused(out: Path, key: str) -> None:
    with pytest.raises(UsageError, match="no variant"):
        mixbake.audit.open(out).picture(key)


def test_an_altered_index_is_named(out: Path, tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    bake(image_folder, tmp_path / "own", picture_folder)
    index = next((tmp_path / "own" / "index").iterdir())
    flip_bit(index, 300)
    audited = mixbake.audit.open(tmp_path / "own")
    with pytest.raises(Damage, match=rf"index/{index.name} .* was altered"):
        audited.rows("layer = 3")


def _without_a_row(table: Any) -> Any:
    return table.slice(1)


def _with_long_lists(table: Any) -> Any:
    lists = pa.array([["rotate"] * 1000] * len(table), table.schema.field("ops").type)
    return table.set_column(table.column_names.index("ops"), "ops", lists)


def _with_one_long_list(table: Any) -> Any:
    place = table.column_names.index("ops")
    lists = table["ops"].to_pylist()
    lists[7] = ["rotate"] * 1000
    return table.set_column(place, "ops", pa.array(lists, table.schema.field("ops").type))


def _with(name: str, value: Any) -> Callable[[Any], Any]:
    """The same long text for all rows, which a file holds once."""
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array([value] * len(table)))


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (_without_a_row, "39 rows and should have 40"),
        (_with_long_lists, "lists of more than"),
        (_with_one_long_list, "more in ops than any recipe writes"),
        *[
            (_with(name, value), f"more in {name} than any recipe writes")
            for name, value in (("steps", "[]" * 50_000), ("class", "x" * 100_000), ("ops", ["x" * 100_000]))
        ],
        (_with("source", "x" * 16_000), "more in source than any recipe writes"),
    ],
)
def test_a_forged_index_is_named(
    tmp_path: Path, image_folder: Path, picture_folder: Path, forge: Callable[[Any], Any], words: str
) -> None:
    bake(image_folder, tmp_path / "own", picture_folder)
    index = next((tmp_path / "own" / "index").iterdir())
    pq.write_table(forge(pq.read_table(index)), index, store_schema=False)
    sign(tmp_path / "own")
    with pytest.raises(Damage, match=words):
        mixbake.audit.open(tmp_path / "own").query()


def test_rows_need_neither_duckdb_nor_torch_nor_a_compiler(python: Callable[..., Any], out: Path) -> None:
    code = "import sys, mixbake.audit; bake = mixbake.audit.open(sys.argv[1]); bake.info(); bake.sample(3)"
    done = python(f"{code}; print(*sys.modules)", out)
    assert done.code == 0, done.err
    assert not {"duckdb", "torch", "numba"} & set(done.out.split())
    assert "pyarrow" in done.out.split()
    assert sys.modules["duckdb"]
