"""Does a JSON value follow a JSON Schema? The keywords that `core.variant.schema` uses, and no others.

Rule: types are exact, as JSON's are: true is no integer.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: type(value) is dict,
    "array": lambda value: type(value) is list,
    "string": lambda value: type(value) is str,
    "boolean": lambda value: type(value) is bool,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "null": lambda value: value is None,
}


def read_strictly(text: bytes) -> Any:
    """The value that a JSON text holds. Raises ValueError, for NaN, bad UTF-8 and too deep nesting as well."""
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def violations(value: Any, schema: Mapping[str, Any], place: str = "it") -> Iterator[str]:
    """What is wrong with `value`, the outermost first; nothing when it follows the schema."""
    if "oneOf" in schema:
        if all(any(violations(value, one, place)) for one in schema["oneOf"]):
            yield f"{place} follows none of the forms allowed"
        return
    if "const" in schema and (type(value), value) != (type(schema["const"]), schema["const"]):
        yield f"{place} is not {schema['const']!r}"
    if "pattern" in schema and type(value) is str and not re.search(schema["pattern"].removesuffix("$") + r"\Z", value):
        yield f"{place} is not written as {schema['pattern']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} is none of {', '.join(map(str, schema['enum']))}"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_TYPES[kind](value) for kind in kinds):
        yield f"{place} is no {' or '.join(kinds)}"
    elif "minimum" in schema and value < schema["minimum"]:
        yield f"{place} is less than {schema['minimum']}"
    elif type(value) is dict:
        yield from _of_object(value, schema, place)
    elif type(value) is list:
        yield from _of_array(value, schema, place)


def _of_array(value: list[Any], schema: Mapping[str, Any], place: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{place} has {len(value)} items"
    for number, item in enumerate(value):
        yield from violations(item, schema.get("items", {}), f"{place}[{number}]")


def _of_object(value: dict[str, Any], schema: Mapping[str, Any], place: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{place} lacks {name!r}"
    for name, item in value.items():
        if name in properties:
            yield from violations(item, properties[name], f"{place}.{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{place} has {name!r:.60}, which does not belong there"


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")
