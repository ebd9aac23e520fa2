"""Loads recipes of one's own: from a file, or from what an installed distribution offers under `mixbake.recipes`.

    FILE.py:NAME, or an offered name -> code, by its SHA-256 -> NAME, OPS, BLENDS -> checked -> a `Recipe`

Rule: only what the user names is ever imported, and a bake is no user. A worker loads again what its task names, and
refuses code that is not the same to the byte.
"""

import hashlib
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core.checks import check_programs
from mixbake.core.nearest import find_nearest
from mixbake.core.ops import NOT_PARAMETERS, OPS, OWN, OWN_NAME, STEPS
from mixbake.core.own import MOST_OWN, OwnStep
from mixbake.core.programs import Most, Programs
from mixbake.core.variant import Number
from mixbake.errors import PlanDiffers, RecipeFailed, UsageError
from mixbake.recipes.foreign import ADVICE, Code, called, run_again, run_file
from mixbake.recipes.laws import Laws
from mixbake.recipes.own import MOST, Blend, Chance, Op, Program

GROUP = "mixbake.recipes"
"""Of entry points."""
LIMITS = Most(steps=32, ops=32, blends=32, arguments=128)
"""Of any recipe's `most`: who reads indexes takes longer programs for forged."""
STATED = ("steps", "ops", "blends", "arguments")
"""What a recipe of one's own bounds."""
STORED_NAME = re.compile(r"own:[A-Za-z0-9_.-]{1,64}")
"""What plans and metadata call a recipe of one's own."""
FLAGS = ("uses_pictures", "gray_pictures", "mirrored_pictures", "symmetric")
_PLAIN = (int, float, str, bool)

Bytes = NDArray[np.uint8]


def within_limits(most: Any) -> bool:
    """Whether these are bounds that records can be made for."""
    if not isinstance(most, Most):
        return False
    pairs = [(getattr(most, name), getattr(LIMITS, name)) for name in STATED]
    # The other bounds are for programs that state more of their form than one's own can.
    known = all(type(value) is int and 1 <= value <= limit for value, limit in pairs)
    return known and most == Most(**{name: getattr(most, name) for name in STATED})


@cache
def _module(code: Code, data: bytes) -> ModuleType:
    return run_file(code, data, f"mixbake_own_{code.sha256[:16]}")


# ── finding it ────────────────────────────────────────────────────────────────────────────────────


def is_file(spec: str) -> bool:
    """Whether a recipe is named by a file, not by a word."""
    return spec.rpartition(":")[0].endswith(".py") or spec.endswith(".py")


@cache
def offered() -> dict[str, metadata.EntryPoint]:
    """What installed distributions offer, by name; nothing is imported."""
    return {point.name: point for point in metadata.entry_points(group=GROUP)}


def load(spec: str, *, fresh: bool = False) -> "OwnRecipe":
    """The recipe that FILE.py:NAME or an offered name stands for. fresh: its file is executed once more.

    Raises UsageError when there is no such file, name or recipe in it, RecipeFailed when its code fails.
    """
    code, module = (_load_file if is_file(spec) else _load_offered)(spec, fresh=fresh)
    found = module.__dict__.get(code.name)
    if found is None:
        raise UsageError(_no_such(code, module))
    steps = _own_steps(code, module)
    drawing = _value(code, found)
    return OwnRecipe(code=code, drawing=drawing, own_steps=tuple(steps), versions=tuple(steps.values()))


def _again(code: Code, parameters: Mapping[str, Any]) -> "OwnRecipe":
    """In another process: the same recipe. Raises PlanDiffers when its code has changed meanwhile, or is gone."""
    try:
        sha256 = hashlib.sha256(Path(code.file).read_bytes()).hexdigest()
    except OSError as error:
        raise PlanDiffers(
            f"{code.file} cannot be read any more ({error.strerror}): restore it, then run the same command again"
        ) from error
    # Other code is not executed: half an edit would fail for a reason of its own.
    found = load(code.spec if code.distribution else f"{code.file}:{code.name}") if sha256 == code.sha256 else None
    if found is None or found.code.sha256 != code.sha256:
        raise PlanDiffers(f"{code.file} was changed during the bake: restore it, or bake into a new folder")
    return found.with_parameters(parameters)


def _load_file(spec: str, *, fresh: bool) -> tuple[Code, ModuleType]:
    path, _, name = (spec, "", "") if spec.endswith(".py") else spec.rpartition(":")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"--recipe {spec}: {path} cannot be read ({error.strerror}): name a file that is there"
        ) from error
    file, sha256 = str(Path(path).resolve()), hashlib.sha256(data).hexdigest()
    code = Code(spec=spec, file=file, sha256=sha256, name=name, distribution="")
    # One module for all recipes of a file.
    named = replace(code, spec="", name="")
    return code, run_file(named, data, "mixbake_own_again") if fresh else _module(named, data)


def _load_offered(spec: str, *, fresh: bool) -> tuple[Code, ModuleType]:
    if (point := offered().get(spec)) is None:
        raise UsageError(f"--recipe {spec}: no installed distribution offers that: install it, or name FILE.py:NAME")
    code = Code(spec=spec, file=point.module, sha256="", name=point.attr, distribution="")
    module = called(code, f"importing the recipe {spec}", lambda: sys.modules[point.module] if point.load() else None)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        raise UsageError(f"{spec}: {point.value} is no recipe in a file of its own")
    made_by = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
    sha256 = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    code = replace(code, file=str(file), sha256=sha256, distribution=made_by)
    return code, run_again(code, module) if fresh else module


def _no_such(code: Code, module: ModuleType) -> str:
    known = [name for name, value in module.__dict__.items() if _is_drawing(value) and _is_from(value, module)]
    if not known:
        return f"{code.file} holds no recipe: write a frozen dataclass with draw(self, rng, program)"
    nearest = find_nearest(code.name, known)
    hint = f"did you mean {nearest}?" if nearest else f"it holds {', '.join(known)}"
    return f"there is no recipe {code.name!r} in {code.file}: {hint} (FILE.py:NAME)"


def _is_from(value: Any, module: ModuleType) -> bool:
    return getattr(value if isinstance(value, type) else type(value), "__module__", None) == module.__name__


def _is_drawing(value: Any) -> bool:
    return is_dataclass(value) and (callable(getattr(value, "draw", None)) or callable(getattr(value, "fill", None)))


def _value(code: Code, found: Any) -> Any:
    """The recipe as a value with its defaults. Raises UsageError when it is none."""
    where = f"{code.name} in {code.file}"
    if not _is_drawing(found):
        raise UsageError(f"{where} is no recipe: write a frozen dataclass with draw(self, rng, program)")
    if not found.__dataclass_params__.frozen:
        raise UsageError(f"{where} can be changed: write @dataclass(frozen=True)")
    value = called(code, f"{code.name}(): every field needs a default", found) if isinstance(found, type) else found
    for field in fields(value):
        default = getattr(value, field.name)
        parts = default if isinstance(default, tuple) and default else (default,)
        if field.name in NOT_PARAMETERS or type(parts[0]) not in _PLAIN or len(set(map(type, parts))) > 1:
            raise UsageError(
                f"{where}: field {field.name} = {default!r:.40}: a parameter is a number, text, truth or a tuple of "
                f"such, and not called {', '.join(NOT_PARAMETERS)}"
            )
        if not all(map(_is_finite, parts)):
            raise UsageError(f"{where}: field {field.name} = {default!r:.40}: a number must be finite, to be recorded")
    return value


# ── operations and blends ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Applied:
    """Calls a function of one's own, and looks at what it returns."""

    code: Code
    name: str
    function: Callable[..., Bytes]

    def __call__(self, registers: Sequence[Bytes], args: Sequence[Number], key: str) -> Bytes:
        """See `core.own.Apply`."""
        what = f"{self.name} of variant {key}"
        found = called(self.code, what, lambda: self.function(*registers, *args))
        shape = registers[0].shape
        if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.shape != shape:
            given = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
            raise RecipeFailed(f"{self.code.file}: {what} gave {given}, not uint8 {shape}: {ADVICE}")
        return found


def _own_steps(code: Code, module: ModuleType) -> dict[OwnStep, int]:
    """Operations, then blends, with their versions."""
    found: dict[OwnStep, int] = {}
    # Recipes of one file bring the same steps.
    file = replace(code, spec="", name="")
    for table, kind, sources in (("OPS", Op, 1), ("BLENDS", Blend, 2)):
        entries = module.__dict__.get(table, {})
        if not isinstance(entries, Mapping):
            raise UsageError(f"{table} in {code.file} is no table: write {table} = {{'name': {kind.__name__}(...)}}")
        for name, entry in entries.items():
            _check_step(f"{table}[{name!r}] in {code.file}", name, entry, kind)
            applied = _Applied(code=file, name=name, function=entry.apply)
            step = OwnStep(name=OWN + name, sources=sources, args=tuple(entry.args), apply=applied)
            found[step] = entry.version
    names = [one.name for one in found]
    if len(set(names)) < len(names) or len(names) > MOST_OWN:
        raise UsageError(f"{code.file}: OPS and BLENDS together have at most {MOST_OWN} names, each once")
    return found


def _check_step(where: str, name: Any, entry: Any, kind: type[Op | Blend]) -> None:
    if not isinstance(entry, kind):
        raise UsageError(f"{where} is no {kind.__name__}: write {kind.__name__}(version=1, apply=function)")
    if type(name) is not str or not OWN_NAME.fullmatch(OWN + name):
        raise UsageError(f"{where}: a name has 1 to 16 of a-z, 0-9 and _, a letter first")
    if name in STEPS or name in OPS:
        raise UsageError(f"{where}: {name} is mixbake's own: choose another name")
    if type(entry.version) is not int or entry.version < 1 or not callable(entry.apply):
        raise UsageError(f"{where}: version is a whole number from 1, apply a function")


# ── the recipe ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRecipe:
    """A `Recipe` made of what a file brings. drawing: the user's value.

    own_steps: operations, then blends; versions: of each.
    """

    code: Code
    drawing: Any
    own_steps: tuple[OwnStep, ...]
    versions: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse bounds that no record holds."""
        where = f"{self.code.name} in {self.code.file}"
        if not within_limits(self.most):
            raise UsageError(f"{where}: most is {self.most}: at least 1 of each, at most {LIMITS}")
        if not STORED_NAME.fullmatch(self.stored_name):
            raise UsageError(f"{where}: a recipe's name has up to 64 letters of A-Z, a-z, 0-9, _, . and -")

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.code, self.parameters())

    @property
    def stored_name(self) -> str:
        """As metadata and plans name it."""
        return OWN + (self.code.spec if self.code.distribution else self.code.name)

    def parameters(self) -> dict[str, Any]:
        """Fields and their values."""
        return {field.name: getattr(self.drawing, field.name) for field in fields(self.drawing)}

    def with_parameters(self, values: Mapping[str, Any]) -> "OwnRecipe":
        """The same with some fields replaced. Raises UsageError for another kind of value, RecipeFailed."""
        values = {name: like(name, value, getattr(self.drawing, name)) for name, value in values.items()}
        given = ", ".join(f"{name}={value!r}" for name, value in values.items())
        return replace(
            self, drawing=called(self.code, given or "its defaults", partial(replace, self.drawing, **values))
        )

    @property
    def most(self) -> Most:
        """Upper bounds of a program."""
        found: Most = getattr(self.drawing, "most", MOST)
        return found

    @property
    def family(self) -> str:
        """Of the random stream."""
        return str(getattr(self.drawing, "family", OWN + type(self.drawing).__name__))

    @property
    def symmetric(self) -> bool:
        """As the class states."""
        return bool(getattr(self.drawing, "symmetric", False))

    @property
    def mirrored_pictures(self) -> bool:
        """As the class states."""
        return bool(getattr(self.drawing, "mirrored_pictures", False))

    @property
    def uses_pictures(self) -> bool:
        """As the class states."""
        return bool(getattr(self.drawing, "uses_pictures", False))

    @property
    def gray_pictures(self) -> bool:
        """As the class states."""
        return bool(getattr(self.drawing, "gray_pictures", False))

    @property
    def record(self) -> dict[str, Any]:
        """What the manifest says of it besides its parameters; no path."""
        steps = [
            (one, {"version": version, "args": list(one.args)})
            for one, version in zip(self.own_steps, self.versions, strict=True)
        ]
        return {
            "sha256": self.code.sha256,
            "distribution": self.code.distribution or None,
            "ops": {one.name: told for one, told in steps if one.sources == 1},
            "blends": {one.name: told for one, told in steps if one.sources == 2},
            "most": asdict(self.most),
            **{flag: getattr(self, flag) for flag in FLAGS},
        }

    def laws(self, size: int) -> Laws | None:
        """Laws of its draws, if it states some; none with steps of its own, which no law can speak of."""
        stated = getattr(self.drawing, "laws", None)
        if stated is None or self.own_steps:
            return None
        found = called(self.code, "its laws", lambda: stated(size))
        if not isinstance(found, Laws | None):
            raise RecipeFailed(f"{self.code.file}: laws of {self.code.name} gave no mixbake.recipes.laws.Laws")
        return found

    def fill(self, table: Programs, *, key: NDArray[np.uint64], size: int) -> None:
        """Write every row's program: see `mixbake.recipes.recipe.Recipe`."""
        if callable(getattr(self.drawing, "draw", None)):
            self._draw(table, key, size)
        else:
            called(self.code, "fill", lambda: self.drawing.fill(table, key=key, size=size))
        called(self.code, f"programs of {self.code.name}", partial(check_programs, table, self.most, size))

    def _draw(self, table: Programs, key: NDArray[np.uint64], size: int) -> None:
        numbered = {one.name.removeprefix(OWN): (i, one) for i, one in enumerate(self.own_steps)}
        for row, place in enumerate(zip(table.images.tolist(), table.numbers.tolist(), strict=True)):
            program, rng = Program(size, numbered), Chance(key, *place)
            what = f"draw of variant {place[0]:08d}-{place[1]:04d}"
            called(self.code, what, partial(self._write, program, rng, table, row))

    def _write(self, program: Program, rng: Chance, table: Programs, row: int) -> None:
        returned = self.drawing.draw(rng, program)
        program.write(table, row, self.most, pictures=self.uses_pictures, returned=returned)


def _is_finite(value: Any) -> bool:
    return type(value) is not float or math.isfinite(value)


def like(name: str, value: Any, default: Any) -> Any:
    """A value of the kind of its default: numbers of numpy become Python's, lists tuples, 3.0 a 3.

    Raises UsageError for any other.
    """
    value = value.item() if isinstance(value, np.generic) else tuple(value) if isinstance(value, list) else value
    if isinstance(value, tuple) and isinstance(default, tuple) and value:
        return tuple(like(name, one, default[0]) for one in value)
    if not _is_finite(value):
        raise UsageError(f"{name} {value!r}: give a number that is finite")
    # Flags of the command line give 3.0 where 3 is meant.
    exact = int(value) if type(value) is float and type(default) is int and value.is_integer() else value
    if type(exact) is type(default) or (type(default) is float and type(exact) is int):
        return exact
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text", tuple: "a list"}
    raise UsageError(f"{name} {value!r} is not {kinds[type(default)]}, as its default {default!r} is")
