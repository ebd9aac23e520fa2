"""Where a command ends: exit codes, messages for errors and signals."""

import signal
from types import FrameType
from typing import NoReturn

import typer

from mixbake.cli.app import app
from mixbake.errors import MissingExtra, MixbakeError, StorageError, UsageError

INTERRUPTED, TERMINATED = 130, 143
EXTRA_OF = {"torch": "train", "torchvision": "train", "safetensors": "train"}
"""Which extra brings a package that a whole command is built on."""


def run(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code of `mixbake.errors`, 130 or 143 after a signal."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(args=arguments, standalone_mode=False)
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, _Terminated) as stop:
        return _stopped(TERMINATED if isinstance(stop, _Terminated) else INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the edge: what is not known here is raised again as a bug
        return _fail(*_explain(error))
    # Typer turns Ctrl-C into an Exit of its own and returns that exit's code.
    return _stopped(INTERRUPTED) if code == INTERRUPTED else 0


class _Terminated(BaseException):
    """SIGTERM arrived."""


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _fail(message: str, code: int) -> int:
    typer.echo(f"mixbake: {message}", err=True)
    return code


def _stopped(code: int) -> int:
    word = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}[code]
    return _fail(f"{word}; what is finished is kept: the same command resumes", code)


def _explain(error: Exception) -> tuple[str, int]:
    """Message and exit code of an error; raises it again when it is a bug."""
    if isinstance(error, MixbakeError):
        return str(error), error.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRA_OF:
        return _explain(MissingExtra(error.name, EXTRA_OF[error.name]))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        advice = "mend that, then run the same command again"
        return f"{where}{error.strerror or error}: {advice}", StorageError.exit_code
    # Typer carries its own copy of click: its usage errors are known by what they can do.
    if hasattr(error, "format_message"):
        return f"{error.format_message().rstrip('.')}; see --help", UsageError.exit_code
    raise error
