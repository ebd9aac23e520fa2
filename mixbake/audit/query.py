"""Which rows an SQL condition holds for. The condition is a stranger's: it may come from a web page.

    text -> DuckDB's own parser -> tree: only what is listed here -> text again -> rows of the columns it names
Rule: one expression over the columns, made of comparisons, logic, arithmetic and `FUNCTIONS`; no subquery, no
table, no statement. So it ends soon and needs little memory whatever it says, for neither DuckDB's memory limit nor
its interrupt reaches into a function such as repeat(). Files, settings and extensions are locked besides.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixbake.audit.catalog import COLUMNS, Catalog
from mixbake.audit.faults import plain
from mixbake.errors import UsageError

SECONDS = 30.0
"""How long a query may take."""
LONGEST = 100_000
"""Characters of a condition."""
CLASSES = frozenset({"BETWEEN", "CASE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "OPERATOR"})
"""Kinds of expression, as DuckDB's parser calls them. Not among them: subqueries, windows, lambdas, parameters, *, and
casts, which may ask for an array of any length."""
_WORDS = (
    "+ - * / // % || ~~ !~~ ~~* !~~* ^@ abs round floor ceil greatest least lower upper length len strlen contains "
    "starts_with prefix ends_with suffix substring substr strpos instr regexp_matches regexp_full_match "
    "like_escape not_like_escape ilike_escape not_ilike_escape list_contains list_has array_contains array_has "
    "list_position list_indexof list_extract array_extract list_element list_has_any array_has_any list_has_all "
    "array_has_all && @> <@ list_min list_max list_sum list_avg list_distinct list_unique list_count array_length "
    "list_value json_extract json_extract_string json_array_length json_contains nullif"
)
FUNCTIONS = frozenset(_WORDS.split())
"""What may be called: everything whose result is about as large as what it is given."""
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": "1GB",
    "temp_directory": "",
}
_BUILT_IN = (None, "", "main")
_STATEMENT = "SELECT row, (\n{}\n) AS holds FROM variants"
_INTERRUPT_AGAIN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition that was found harmless. text: as given. columns: that it names.

    statement: SELECT of `row` and `holds`, spelled by DuckDB from what was looked at, and from nothing else.
    """

    text: str
    columns: tuple[str, ...]
    statement: str


def find_rows(catalog: Catalog, where: str, *, seconds: float = SECONDS) -> NDArray[np.int64]:
    """Rows for which the condition holds, ascending. Raises UsageError showing the columns, Damage."""
    condition = read_condition(where)
    table = pa.table({"row": np.arange(len(catalog), dtype=np.int64)})
    for name, column in zip(condition.columns, catalog.columns(condition.columns).columns, strict=True):
        table = table.append_column(name, column)
    return matching(table, condition, seconds=seconds)


def matching(table: Any, condition: Condition, *, seconds: float = SECONDS) -> NDArray[np.int64]:
    """`row` of the rows of a pyarrow Table for which the condition holds, ascending: int64[k].

    The table has `row` and the columns that are named. Raises UsageError when it is no condition, or takes too long.
    """
    with _connected() as connection:
        connection.register("variants", table)
        connection.execute("SET lock_configuration=true")
        with _limited(connection, condition.text, seconds):
            kind = connection.execute(f"DESCRIBE {condition.statement}").fetchall()[1][1]
            if kind != "BOOLEAN":
                raise UsageError(f"the condition {_quoted(condition.text)} is {plain(kind)}: compare it with something")
            found = connection.execute(condition.statement).fetchnumpy()
    # Rows for which it is null are masked.
    return np.sort(np.ma.getdata(found["row"])[np.ma.filled(found["holds"], False)]).astype(np.int64)


def read_condition(where: str) -> Condition:
    """Take a condition apart. Raises UsageError unless it is one expression made of what is allowed."""
    if len(where) > LONGEST or "\0" in where:
        raise UsageError(f"the condition has {len(where):,} characters: at most {LONGEST:,}, and none of them NUL")
    with _connected() as connection:
        parsed, blank = (_parsed(connection, text, where) for text in (where, "true"))
        spelled = connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(parsed)]).fetchall()[0][0]
    expression, frame = _taken_apart(parsed)
    if expression is None or frame != _taken_apart(blank)[1]:
        raise _refused(where, "is more than one expression")
    names: dict[str, None] = {}
    for part in _parts(expression):
        _check(part, where)
        if part.get("class") == "COLUMN_REF":
            names[_column(part["column_names"], where)] = None
    return Condition(text=where, columns=tuple(names), statement=spelled)


def _parsed(connection: Any, where: str, shown: str) -> Any:
    import duckdb  # noqa: PLC0415 - only who filters waits for it

    try:
        found = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [_STATEMENT.format(where)]).fetchall()
        document = json.loads(found[0][0])
    except (duckdb.Error, RecursionError, ValueError) as error:
        raise _refused(shown, f"cannot be parsed ({_line(error)})") from error
    if document["error"]:
        raise _refused(shown, f"is no SQL ({plain(document['error_message'])})")
    return document


def _taken_apart(document: Any) -> tuple[Any, Any]:
    """The expression in `_STATEMENT`, or None, and everything around it."""
    frame = _without_places(document["statements"])
    chosen = frame[0]["node"].get("select_list", []) if len(frame) == 1 else []
    if len(chosen) != 2:
        return None, frame
    expression, chosen[1] = chosen[1], None
    return expression, frame


def _without_places(value: Any) -> Any:
    """The same without where in the text each part stands."""
    if isinstance(value, dict):
        return {name: _without_places(part) for name, part in value.items() if not name.startswith("query_location")}
    return [_without_places(part) for part in value] if isinstance(value, list) else value


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within a JSON value, itself included."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _check(part: dict[str, Any], where: str) -> None:
    kind, function = part.get("class"), part.get("function_name")
    if kind is not None and kind not in CLASSES and not _is_truth(part):
        raise _refused(where, f"holds a {plain(kind).lower()}, which is not allowed: it is one expression over columns")
    if function is not None and (function not in FUNCTIONS or part.get("schema") not in _BUILT_IN):
        raise _refused(where, f"calls {plain(function)}(), which is not allowed")


def _is_truth(part: dict[str, Any]) -> bool:
    """Whether this is a cast to BOOLEAN, as DuckDB before 2.0 has `true`."""
    target = part.get("cast_type")
    return isinstance(target, dict) and target.get("id") == "BOOLEAN" and not target.get("type_info")


def _column(path: list[str], where: str) -> str:
    name = path[-1].lower()
    if name not in COLUMNS or [part.lower() for part in path[:-1]] not in ([], ["variants"]):
        raise _refused(where, f"names the column {plain('.'.join(path))!r}, which there is not")
    return name


def _refused(where: str, what: str) -> UsageError:
    return UsageError(f"the condition {_quoted(where)} {what}; the columns are {', '.join(COLUMNS)}")


def _quoted(where: str) -> str:
    text = plain(where)
    return f"'{text}'" if len(text) <= 100 else f"'{text[:97]}...'"


def _line(error: BaseException) -> str:
    return plain(str(error).partition("\n")[0])


@contextmanager
def _connected() -> Iterator[Any]:
    import duckdb  # noqa: PLC0415 - only who filters waits for it

    threads = str(min(4, len(os.sched_getaffinity(0))))
    with duckdb.connect(":memory:", config=_SETTINGS | {"threads": threads}) as connection:
        yield connection


@contextmanager
def _limited(connection: Any, where: str, seconds: float) -> Iterator[None]:
    """Interrupt what still runs after so many seconds, and turn DuckDB's errors into UsageError."""
    import duckdb  # noqa: PLC0415 - as above

    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        late.set()
        # Again and again: an interrupt between two statements is forgotten.
        while not done.wait(_INTERRUPT_AGAIN):
            connection.interrupt()

    watchdog = threading.Thread(target=watch, name="mixbake-query", daemon=True)
    watchdog.start()
    try:
        yield
    except duckdb.Error as error:
        if late.is_set():
            raise UsageError(
                f"the condition {_quoted(where)} took longer than {seconds:g} s: make it simpler"
            ) from None
        raise _refused(where, f"cannot be used ({_line(error)})") from error
    finally:
        done.set()
        watchdog.join()
