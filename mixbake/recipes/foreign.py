"""Code that is not mixbake's: how it is named, run and called, and how its failures are told.

Rule: whatever it raises becomes `RecipeFailed`, with the file and line that whoever wrote it must look at.
"""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec
from types import ModuleType
from typing import TypeVar

from mixbake.errors import MixbakeError, RecipeFailed

ADVICE = "mend that, and run it again; a bake that was begun goes on with the same file alone: name another OUT then"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Where a recipe is from. spec: as the user gave it; file: of the code; sha256 (hex): of its bytes.

    name: of the recipe in it. distribution: name and version, of an offered recipe; else "".
    """

    spec: str
    file: str
    sha256: str
    name: str
    distribution: str


def called(code: Code, what: str, call: Callable[[], T]) -> T:
    """What a call of somebody's own code returns. Raises RecipeFailed with its file and line for what that raises."""
    try:
        return call()
    except RecipeFailed:
        raise
    except (Exception, SystemExit) as error:  # whatever it is: it is told with its file and line, and raised again
        raise RecipeFailed(_told(code, what, error)) from error


def _told(code: Code, what: str, error: BaseException) -> str:
    kind = "" if isinstance(error, MixbakeError) else type(error).__name__
    said = ": ".join(part for part in (kind, str(error)) if part)
    # It may be in a file that this one imports; "<string>" and its like are none.
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        return f"{error.filename}, line {error.lineno}: {error.msg} ({what}): {ADVICE}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == code.file]
    place = f"{code.file}, line {own[-1].lineno}, in {own[-1].name}" if own else code.file
    return f"{place}: {said} ({what}): {ADVICE}"


def run_file(code: Code, data: bytes, module: str) -> ModuleType:
    """Execute a file's bytes as a module of that name; nothing is written beside it. Raises RecipeFailed."""
    made = ModuleType(module)
    made.__file__ = code.file
    # Dataclasses, pickles and string annotations look for their module there.
    sys.modules[module] = made
    try:
        # The file was named by the user, for this.
        called(code, "loading it", lambda: exec(compile(data, code.file, "exec"), made.__dict__))  # noqa: S102 - see above
    except RecipeFailed:
        del sys.modules[module]
        raise
    return made


def run_again(code: Code, module: ModuleType) -> ModuleType:
    """Execute the file of an imported module once more, as another process that imports it does. Raises RecipeFailed.

    Everybody else keeps the module that they have.
    """

    def run() -> ModuleType:
        spec = module.__spec__
        if spec is None or spec.loader is None:
            raise ImportError(f"{module.__name__} cannot be imported once more")
        made = module_from_spec(spec)
        # Under its own name, for what the file imports from beside it, and for its dataclasses.
        sys.modules[module.__name__] = made
        try:
            spec.loader.exec_module(made)
        finally:
            sys.modules[module.__name__] = module
        return made

    return called(code, "loading it once more", run)
