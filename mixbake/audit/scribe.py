"""What every record of a bake must be, byte for byte, and what a record that is not that says instead.

The plan's recipe, seed and source draw every program again: so the JSON, label and headers of a sample, and its row
of the index, are known without the sample. Only the picture is not, and the crop's window where it depends on the
size of the source image: that is taken from the JSON, and a replay proves it. So are programs of a recipe of one's
own that is not at hand.
Rule: nothing a record says leads anywhere; it is compared, then described.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixbake.audit.alike import blank_headers, find_odd, find_odd_texts
from mixbake.audit.promises import Images
from mixbake.audit.schema import read_strictly, violations
from mixbake.core import programs, render
from mixbake.core.checks import check_steps
from mixbake.core.members import Labels, Members, member_length, write_members
from mixbake.core.own import MOST_LEVEL
from mixbake.core.programs import Programs, used_by
from mixbake.core.variant import CROP_CODES, SCHEMA_VERSION, Variant, from_json, schema
from mixbake.errors import Damage, UsageError
from mixbake.recipes.presets import NamedRecipe
from mixbake.recipes.recipe import Lot, draw
from mixbake.recipes.recorded import Unread, recorded
from mixbake.storage import tar
from mixbake.storage.index import Rows, index_rows
from mixbake.storage.plan import Plan

Bytes = NDArray[np.uint8]
_CROP = re.compile(
    rb'"crop":\{"height":([0-9]{1,5}),"kind":"[a-z]+","left":([0-9]{1,5}),"top":([0-9]{1,5}),"width":([0-9]{1,5})\}'
)
"""Five digits: a source image's side is at most 65,535, and the JSON's length is reckoned for that."""
_NO_PROGRAM = (UsageError, KeyError, TypeError, ValueError, OverflowError, IndexError, RecursionError)
"""What a JSON text raises that is no variant's."""
_KINDS = {b"1": "a hard link", b"2": "a link", b"3": "a device", b"4": "a device", b"5": "a folder", b"6": "a pipe"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """n samples as they lie in their tar, in two views of memory, which may be one.

    The header of picture i begins at byte i · head_step of heads, all that follows the picture at tail_start +
    i · tail_step of tails. sizes: int64[n], bytes of each picture; offsets: int64[n], where in its tar it begins.
    """

    heads: Bytes
    head_step: int
    tails: Bytes
    tail_start: int
    tail_step: int
    sizes: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)

    def head(self, i: int) -> bytes:
        """The header of picture i."""
        return self.heads[i * self.head_step : i * self.head_step + tar.UNIT].tobytes()

    def tail(self, i: int, length: int) -> bytes:
        """What follows picture i."""
        start = self.tail_start + i * self.tail_step
        return self.tails[start : start + length].tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some images of a block, and what every variant of them repeats."""

    images: NDArray[np.int64]
    texts: Labels
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """n samples as they must be: their names (uint8[n, length]), labels, JSON, and rows of the index but for steps."""

    names: Bytes
    labels: NDArray[np.int64]
    members: Members
    index: Any

    def key(self, i: int) -> str:
        """The key of sample i."""
        return str(self.names[i].tobytes(), "ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scribe:
    """Writes again what a plan's bake must hold. shapes: int32[m, 2], height and width of each mixing picture."""

    plan: Plan
    recipe: NamedRecipe
    images: Images
    shapes: NDArray[np.int32]

    def page(self, block: int, images: NDArray[np.int64]) -> Page:
        """Some images of a block."""
        labels, numbers = self.images.labels[images], images.tolist()
        paths = [self.images.paths[image] for image in numbers]
        sources = paths if self.plan.paths_in_members else [None] * len(paths)
        classes = [self.plan.classes[label] for label in labels.tolist()]
        sha256 = [self.images.sha256[image] for image in numbers]
        return Page(
            images=images,
            texts=Labels(labels=labels, classes=classes, sources=sources),
            rows=Rows(block=block, labels=labels, classes=self.plan.classes, sources=paths, sha256=sha256),
        )

    def write(self, view: str, numbers: Sequence[int], page: Page, there: Sequence[Lines]) -> Records:
        """The records of a page in the tars of some numbers, tar by tar.

        there: what stands in their place, as long as the page; sizes and offsets are taken from it.
        """
        of, which = np.divmod(np.arange(len(page.images) * len(numbers)), len(page.images))
        table = self._drawn(view, page.images[which], np.array(numbers, np.int64)[of])
        if self.plan.crop != "pad":
            _take_crops(table, there, self.plan.crop)
        if view == "mix" and isinstance(self.recipe.recipe, Unread):
            table = _take_programs(table, there, self.recipe.recipe, self.plan)
        members = write_members(table, which, page.texts, self.plan.member_bytes)
        index = index_rows(
            table,
            # The index's steps are compared with the text itself.
            Members(text=members.text[:, :0], spans=np.zeros((len(table), 2), np.int64)),
            page.rows,
            which,
            offsets=np.concatenate([lines.offsets for lines in there]),
            sizes=np.concatenate([lines.sizes for lines in there]).astype(np.int32),
        )
        names = tar.keys(table.images, table.numbers, view)
        return Records(names=names, labels=page.texts.labels[which], members=members, index=index)

    def _drawn(self, view: str, images: NDArray[np.int64], numbers: NDArray[np.int64]) -> Programs:
        plan, n = self.plan, len(images)
        lot = Lot(
            seed=plan.seed,
            view=view,
            images=images,
            numbers=numbers,
            # Of no consequence but for the window of the crop.
            shapes=np.full((n, 2), plan.size, np.int32),
            size=plan.size,
            crop=plan.crop,
            bake_flip=plan.flip == "baked",
            group=plan.group,
            pictures=self.shapes,
            mixing_sets=plan.mixing_sets,
        )
        return draw(self.recipe.recipe, lot, name=self.recipe.name)


def scribe_of(
    plan: Plan, images: Images, shapes: NDArray[np.int32] | None, recipe: NamedRecipe | None = None
) -> Scribe:
    """shapes: of the bake's mixing pictures, or None. recipe: if it is one's own and at hand.

    Raises Damage when the plan is none that mixbake makes.
    """
    recipe = recipe or recorded(plan.recipe, size=plan.size)
    if plan.schema != SCHEMA_VERSION:
        raise Damage(f"its pixels are of schema {plan.schema}, this version's {SCHEMA_VERSION}: use that version")
    if plan.crop not in CROP_CODES:
        raise Damage(f"its crop {plan.crop!r:.40} is none of {', '.join(CROP_CODES)}")
    length = member_length(recipe.recipe.most, classes=plan.classes, paths=images.paths, recipe=recipe.name)
    # The compiled writer checks no bounds: the length must be the one that holds every text.
    if length != (plan.member_bytes, plan.paths_in_members):
        raise Damage(f"its JSON members have {plan.member_bytes} bytes and must have {length[0]}")
    if recipe.recipe.uses_pictures != (plan.mixing is not None):
        raise Damage("its recipe and its mixing set do not go together")
    if shapes is None:
        shapes = render.NO_PICTURES[2]
    elif len(shapes) != plan.pictures or shapes.min() < plan.size:
        raise Damage(f"it mixes with {plan.pictures} pictures of at least {plan.size} px, and the file holds others")
    return Scribe(plan=plan, recipe=recipe, images=images, shapes=shapes)


def _take_crops(table: Programs, there: Sequence[Lines], crop: str) -> None:
    """Put the windows that JSON texts state into a table; a text without one keeps what was drawn, and differs."""
    row = 0
    for lines in there:
        for i in range(len(lines)):
            if found := _CROP.search(lines.tail(i, lines.tail_step)[3 * tar.UNIT :]):
                height, left, top, width = map(int, found.groups())
                table.crops[row] = CROP_CODES[crop], left, top, width, height
            row += 1


def _take_programs(table: Programs, there: Sequence[Lines], recipe: Unread, plan: Plan) -> Programs:
    """A table with the programs that JSON texts state; where a text states none that can be, it has no steps."""
    found: list[Variant] = []
    for lines in there:
        for i in range(len(lines)):
            drawn = table.variant(len(found))
            text = lines.tail(i, 3 * tar.UNIT + plan.member_bytes)[3 * tar.UNIT :]
            found.append(_stated_program(drawn, text, recipe, plan.size))
    return programs.from_variants(found, own=recipe.own_steps)


def _stated_program(drawn: Variant, text: bytes, recipe: Unread, size: int) -> Variant:
    """`drawn` with the program of a JSON text, within the bounds for which texts are long enough."""
    try:
        said = from_json(text)
        told = {name: getattr(said, name) for name in ("layer", "ops", "levels", "blends", "steps")}
        reads = any(1 in step.src for step in said.steps)
        stated = replace(drawn, picture=drawn.picture if reads else None, **told)
        row = programs.from_variants([stated], own=recipe.own_steps)
        check_steps(row, size)
        good = len(row.own) == len(recipe.own_steps) and len(said.ops) == len(said.levels)
        good &= bool(np.abs(row.levels).max() <= MOST_LEVEL)
        if good and recipe.most.holds(used_by(said)):
            return stated
    except _NO_PROGRAM:
        pass
    return replace(drawn, picture=None)


# ── what is there instead ─────────────────────────────────────────────────────────────────────────


def differences(found: Lines, wanted: Records, first: int, extension: str) -> Iterator[tuple[int, str]]:
    """(row, what is wrong) of samples whose headers, label or JSON are not those from row `first` of `wanted` on."""
    rows = slice(first, first + len(found))
    names, labels, texts = wanted.names[rows], wanted.labels[rows], wanted.members.text[rows]
    key, length = wanted.key(first), texts.shape[1]
    headers = [tar.header(f"{key}.{ending}", 0) for ending in (extension, "cls", "json")]
    blanks, totals = blank_headers(headers, names.shape[1])
    spelled = np.frombuffer(b"".join(map(tar.label_member, labels.tolist())), np.uint8).reshape(-1, tar.LABEL_WIDTH)
    where = found.heads, found.head_step, found.tails, found.tail_start, found.tail_step
    odd = np.zeros(len(found), np.bool_)
    if not find_odd(*where, names, found.sizes, spelled, texts, blanks, totals, odd):
        return
    for i in np.flatnonzero(odd).tolist():
        key, size = wanted.key(first + i), int(found.sizes[i])
        header = tar.header(f"{key}.{extension}", size)
        if found.head(i) != header:
            yield i, describe_header(found.head(i), header, "picture")
        members = ((".cls", tar.label_member(int(labels[i]))), (".json", texts[i].tobytes()))
        tail = b"".join(tar.member(key + ending, data) for ending, data in members)
        for fault in _describe_tail(found.tail(i, len(tail)), tail, length):
            yield i, fault


def stated_size(header: bytes) -> int | None:
    """The size in a tar header, or None when it is not written as mixbake writes it."""
    digits = header[124:135]
    return int(digits, 8) if re.fullmatch(rb"[0-7]{11}", digits) and header[135:136] == b"\0" else None


def describe_header(found: bytes, wanted: bytes, what: str) -> str:
    """What is wrong with a tar header."""
    if len(found) < tar.UNIT:
        return f"the archive is cut off in the header of its {what}"
    if not any(found):
        return f"the archive ends where the header of its {what} should be"
    name, kind = found[:100].partition(b"\0")[0], found[156:157]
    if kind != b"0":
        return f"the member in place of its {what} is {_KINDS.get(kind, 'no regular file')} (type {kind!r})"
    if found[:100] != wanted[:100]:
        return f"the header of its {what} names {name.decode('ascii', 'backslashreplace')!r}"
    if found[124:136] != wanted[124:136]:
        size = stated_size(found)
        return f"the header of its {what} says {'no number' if size is None else f'{size:,}'} bytes"
    return f"the header of its {what} is not the one that mixbake writes"


def _describe_tail(found: bytes, wanted: bytes, length: int) -> Iterator[str]:
    """What is wrong with what follows a picture: label and JSON of that length, and their headers."""
    unit = tar.UNIT
    for what, at in ((".cls", 0), (".json", 2 * unit)):
        if found[at : at + unit] != wanted[at : at + unit]:
            yield describe_header(found[at : at + unit], wanted[at : at + unit], what)
    label, rightly = (text[unit : unit + tar.LABEL_WIDTH] for text in (found, wanted))
    if label != rightly:
        said = label.decode("ascii", "backslashreplace").strip()
        yield f"its .cls says {said!r}, not {rightly.decode().strip()!r}"
    if found[3 * unit : 3 * unit + length] != wanted[3 * unit : 3 * unit + length]:
        yield _describe_json(found[3 * unit : 3 * unit + length], wanted[3 * unit : 3 * unit + length])
    if any(found[unit + tar.LABEL_WIDTH : 2 * unit]) or any(found[3 * unit + length :]):
        yield "there is something in the padding between its members"


def _describe_json(found: bytes, wanted: bytes) -> str:
    try:
        document = read_strictly(found)
    except ValueError as error:
        return f"its JSON cannot be read ({error})"
    if problem := next(violations(document, schema()), None):
        return f"its JSON does not follow the schema: {problem}"
    rightly = read_strictly(wanted)
    own, other = (tar.key(one["image"], one["number"], one["view"]) for one in (rightly, document))
    if own != other:
        return f"its JSON is that of {other}"
    odd = [name for name in rightly if document[name] != rightly[name]]
    if not odd:
        return "its JSON is spelled otherwise than mixbake spells it"
    said = (f"{name} {_short(document[name])}, not {_short(rightly[name])}" for name in odd[:4])
    return f"its JSON says {'; '.join(said)}"


def compare_rows(found: Any, wanted: Records) -> Iterator[tuple[int, str]]:
    """(row, what is wrong) of index rows, a pyarrow Table, against those they must be."""
    for name in wanted.index.schema.names:
        ours, theirs = _plain(wanted.index.column(name)), _plain(_whole(found.column(name)))
        if name == "steps":
            ours = _steps(wanted.members) if _has_odd_steps(theirs, wanted.members) else theirs
        if theirs is ours or _same(theirs, ours):
            continue
        for row, (value, rightly) in enumerate(zip(theirs.to_pylist(), ours.to_pylist(), strict=True)):
            if value != rightly:
                yield row, f"its row says {name} {_short(value)}, not {_short(rightly)}"


def _has_odd_steps(column: Any, members: Members) -> bool:
    if column.null_count:
        return True
    _, starts, letters = column.buffers()
    begins = np.frombuffer(starts, np.int32)[column.offset : column.offset + len(column) + 1]
    flat = np.frombuffer(letters, np.uint8) if letters is not None and letters.size else np.zeros(1, np.uint8)
    odd = np.zeros(len(column), np.bool_)
    return bool(find_odd_texts(begins, flat, members.text, members.spans, odd))


def _steps(members: Members) -> Any:
    return pa.array(members.steps(), pa.string())


def _whole(column: Any) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _plain(column: Any) -> Any:
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


def _same(found: Any, wanted: Any) -> bool:
    """Whether two columns say the same, whatever dictionaries they use."""
    if not hasattr(wanted, "value_lengths"):
        return bool(found.equals(wanted))
    alike = found.value_lengths().equals(wanted.value_lengths())
    return alike and _same(_plain(found.flatten()), _plain(wanted.flatten()))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
