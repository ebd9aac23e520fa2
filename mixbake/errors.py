"""Every error mixbake raises on purpose, and the exit code each one ends a command with.

    MixbakeError          1   a bug unless a subclass says otherwise
    ├── UsageError        2   the command or a value in it is wrong
    │   ├── MissingExtra  2   an optional dependency is not installed
    │   └── RecipeFailed  2   code of a recipe of one's own failed
    ├── TooManySkipped    3   more unreadable images than --max-skip allows
    ├── Locked            4   another process works in the same folder
    ├── PlanDiffers       5   the plan, the source or the environment is not the one that was baked
    │   └── MixingDiffers 5   the mixing pictures are not
    ├── Damage            6   stored bytes are not what was written
    ├── StorageError     74   reading or writing failed (disk full, read-only, ...)
    ├── Stopped     130, 143  a signal asked for an end, and everything was saved first
    └── DecodeError       1   one image cannot be decoded: recorded as a skip, never fatal by itself

Rule: a message says what happened, which value, and what to do next.
"""


class MixbakeError(Exception):
    """Root of the tree; `exit_code` is what the command line exits with."""

    exit_code = 1


class UsageError(MixbakeError):
    """The command, or a value in it, is wrong."""

    exit_code = 2


class MissingExtra(UsageError):
    """An optional dependency is missing; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: run  pip install '.[{extra}]'  in the checkout")
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str]]:
        return type(self), (self.package, self.extra)


class RecipeFailed(UsageError):
    """Code of a recipe of one's own raised something, or gave what cannot be used; the message names file and line."""


class TooManySkipped(MixbakeError):
    """More images were skipped than `--max-skip` allows."""

    exit_code = 3


class Locked(MixbakeError):
    """Another process holds the folder's lock."""

    exit_code = 4


class PlanDiffers(MixbakeError):
    """The plan, the source or the environment differs from what the folder was baked with."""

    exit_code = 5


class MixingDiffers(PlanDiffers):
    """The mixing pictures are absent, or not those that were baked with."""


class Damage(MixbakeError):
    """Stored bytes are not what was written."""

    exit_code = 6


class StorageError(MixbakeError):
    """Reading or writing failed for a reason outside mixbake."""

    exit_code = 74


class Stopped(MixbakeError):
    """A signal asked for an end, and everything was saved first; the message says what and how to go on.

    `exit_code` is the shell's for that signal: 130 or 143.
    """

    exit_code = 130

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal, self.exit_code = signal, 128 + signal

    def __reduce__(self) -> tuple[type["Stopped"], tuple[int, str]]:
        return type(self), (self.signal, str(self))


class DecodeError(MixbakeError):
    """One image cannot be turned into pixels; the message is the reason that the receipt records."""
