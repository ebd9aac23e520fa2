"""The JSON members of a block: one fixed length a plan, text made by a compiled writer.

Rule: the length depends on the plan alone (its longest path, class and program), never on a block, so
that every record of a bake can be found by arithmetic.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixbake.core.ops import OWN
from mixbake.core.programs import Most, Programs

UNIT = 512
PATH_LIMIT = 4096
"""Above this length of a member, paths are left to the index."""

# Upper bounds of what the writer emits: names of at most 20 letters, arguments of at most 12 characters and a comma.
# A weighted step's name and weights are so short that the registers they weigh fit in what is left.
# A box has four whole numbers below 10,000.
_FRAME, _ARGUMENT, _BOX = 350, 13, 20
_STEP, _OP, _BLEND = 46, 38, 13
# With steps of one's own, any name may have 20 letters, and a level be as long as -4294967294.999999.
_OWN_STEP, _OWN_OP, _OWN_BLEND = 54, 42, 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What the JSON of m images says besides their program: int64[m] labels, class names, paths (or None)."""

    labels: NDArray[np.int64]
    classes: Sequence[str]
    sources: Sequence[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """JSON texts of n variants: uint8[n, length], and int64[n, 2] where each steps array starts and ends."""

    text: NDArray[np.uint8]
    spans: NDArray[np.int64]

    def steps(self) -> list[str]:
        """The steps array of each row, as JSON."""
        return [bytes(row[a:b]).decode() for row, (a, b) in zip(self.text, self.spans.tolist(), strict=True)]


def member_length(most: Most, *, classes: Iterable[str], paths: Iterable[str], recipe: str) -> tuple[int, bool]:
    """Bytes of every JSON member of a plan, a multiple of 512, and whether paths are in it.

    most: of the recipe. recipe: its name, which tells whether it is one's own.
    """
    own = recipe.startswith(OWN)
    step, op, blend = (_OWN_STEP, _OWN_OP, _OWN_BLEND) if own else (_STEP, _OP, _BLEND)
    frame = _FRAME + len(recipe) + most.steps * step + most.arguments * _ARGUMENT
    frame += most.ops * op + most.blends * blend + most.boxes * _BOX
    frame -= most.either * min(op, blend + _BOX)
    frame += max((len(json.dumps(name)) for name in classes), default=0)
    whole = frame + max((len(json.dumps(path)) for path in paths), default=0)
    with_path = whole <= PATH_LIMIT
    bound = whole if with_path else frame
    return -(-bound // UNIT) * UNIT, with_path


def write_members(table: Programs, which: NDArray[np.int64], labels: Labels, length: int) -> Members:
    """JSON of every row; which: int64[n], the row's image in `labels`."""
    from mixbake.core.kernels import text  # noqa: PLC0415 - whoever only reads bakes need not wait for the compiler

    quoted = {name: json.dumps(name) for name in set(labels.classes)}
    pairs = zip(labels.classes, labels.sources, strict=True)
    parts = [part.encode() for name, source in pairs for part in (quoted[name], json.dumps(source))]
    sizes = np.array([len(part) for part in parts], np.int64)
    strings = (
        labels.labels,
        np.frombuffer(b"".join(parts), np.uint8),
        (np.cumsum(sizes) - sizes).reshape(-1, 2),
        sizes.reshape(-1, 2),
        np.frombuffer(json.dumps(table.recipe).encode(), np.uint8),
        np.frombuffer(json.dumps(table.view).encode(), np.uint8),
    )
    names = text.names_of(table.own)
    out = np.empty((len(table), length), np.uint8)
    spans = np.zeros((len(table), 2), np.int64)
    text.write_members(
        (table.images, table.numbers), table.columns, table.provenance, which, strings, names, out, spans
    )
    return Members(text=out, spans=spans)
