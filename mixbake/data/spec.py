"""Short descriptions of built-in pictures: `name` or `name:key=value,key=value`.

Rule: nothing is guessed. A key that is unknown, repeated or empty is refused, and the message lists
what is allowed.
"""

from collections.abc import Collection

from mixbake.errors import UsageError


def parse_options(spec: str, allowed: Collection[str]) -> dict[str, str]:
    """The options of `spec` as written: `demo:count=5,size=32` gives {"count": "5", "size": "32"}.

    The name before the colon is the caller's business. Raises UsageError, naming the `allowed` keys,
    on an unknown or repeated key and on anything that is not `key=value`.
    """
    name, colon, written = spec.partition(":")
    options: dict[str, str] = {}
    for item in written.split(",") if colon else ():
        key, equals, value = item.partition("=")
        if not equals or not value or key not in allowed or key in options:
            raise UsageError(_refusal(spec, name, item, allowed, repeated=key in options))
        options[key] = value
    return options


def whole_number(spec: str, key: str, value: str, *, low: int, high: int) -> int:
    """`value` of option `key` as an integer in [low, high], else UsageError."""
    if not (value.isascii() and value.isdigit() and len(value) <= 18 and low <= int(value) <= high):
        raise UsageError(f"{spec!r}: {key} is {value!r}: give a whole number from {low} to {high}")
    return int(value)


def _refusal(spec: str, name: str, item: str, allowed: Collection[str], *, repeated: bool) -> str:
    wrong = f"{item!r} repeats an option" if repeated else f"{item!r} is not one of its options"
    shape = ",".join(f"{key}=..." for key in allowed)
    return f"{spec!r}: {wrong}: write {name} or {name}:{shape} (each may be left out)"
