"""What a command left behind, for the fixtures that run one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Its exit code and what it said."""

    code: int
    out: str
    err: str
