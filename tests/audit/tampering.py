"""Ways to tamper with a bake, by accident and by design, and what must be said of each; and bakes to do it to.

Rule: a tampering changes files alone. "Forged" ones sign what they changed, so that every hash is right again.
"""

import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small import bake, edit, flip_bit, sha256, sign

from mixbake.storage import tar

SHARD = "mix/v000/000001.tar"
OTHER = "mix/v001/000001.tar"
INDEX = "index/000001-v000-001.parquet"
RECEIPT = "receipts/000001-v000-001.json"
ROW = 3
Contents = dict[str, bytes]
Damaging = Callable[[Path], object]


@pytest.fixture(scope="session")
def bakes(
    tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., Path], picture_folder: Path
) -> Callable[[str], Path]:
    """bakes(kind): two blocks, two epochs' worth with clean crops; "fixed" PNGs at 16 px, or a codec at 80 px."""
    folder, made = tmp_path_factory.mktemp("tampered"), {}

    def of(kind: str) -> Path:
        if kind not in made:
            small = kind == "fixed"
            source = folder / ("small" if small else "large")
            if not source.exists():
                # As few as make two blocks.
                write_images(source, 400 if small else 96, size=16 if small else 80)
            made[kind] = folder / kind
            settings = {"epochs_worth": 2, "views": "clean", "codec": "auto" if small else kind}
            bake(source, made[kind], picture_folder, **settings)
        return made[kind]

    return of


def sources(out: Path) -> Path:
    """The source of one of `bakes`."""
    return Path(json.loads((out / "manifest.json").read_bytes())["given"]["source"])


def place(out: Path, row: int) -> tuple[str, int, int]:
    """Key, offset and size of a picture of SHARD."""
    table = pq.read_table(out / INDEX, columns=["key", "offset", "size", "shard"])
    found = [one for one in table.to_pylist() if one["shard"] == SHARD][row]
    return found["key"], found["offset"], found["size"]


def key(out: Path, row: int = ROW) -> str:
    return place(out, row)[0]


def contents(path: Path) -> Contents:
    """Members of a tar by name, in order."""
    with tarfile.open(path, "r:") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def rewritten(path: Path, members: Contents) -> None:
    path.write_bytes(b"".join(tar.member(name, data) for name, data in members.items()) + tar.END)


def member(out: Path, which: str, row: int = ROW) -> str:
    """Name of a sample's member: "picture", ".cls" or ".json"."""
    wanted = key(out, row)
    names = [name for name in contents(out / SHARD) if name.startswith(wanted)]
    return names[0] if which == "picture" else next(name for name in names if name.endswith(which))


def at(offset: int) -> Damaging:
    """Alter a byte of a record, that far behind the beginning of its picture."""
    return lambda out: flip_bit(out / SHARD, place(out, ROW)[1] + offset)


def forged(change: Damaging) -> Damaging:
    def damage(out: Path) -> None:
        change(out)
        sign(out)

    return damage


def members_forged(change: Callable[[Path, Contents], Contents]) -> Damaging:
    """Rewrite SHARD with other members, and sign."""

    def damage(out: Path) -> None:
        rewritten(out / SHARD, change(out, contents(out / SHARD)))
        sign(out)

    return damage


def json_forged(change: Callable[[dict[str, Any]], object]) -> Damaging:
    """Change the JSON of a sample, spelled as mixbake spells it, and sign."""

    def damage(out: Path, members: Contents) -> Contents:
        name = member(out, ".json")
        document = json.loads(members[name])
        change(document)
        text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return members | {name: text.ljust(len(members[name]))}

    return members_forged(damage)


def text_forged(text: bytes) -> Damaging:
    """Another JSON member of the same length."""

    def damage(out: Path, members: Contents) -> Contents:
        name = member(out, ".json")
        return members | {name: text[: len(members[name])].ljust(len(members[name]))}

    return members_forged(damage)


def swap_json(out: Path, members: Contents) -> Contents:
    one, two = member(out, ".json"), member(out, ".json", ROW + 1)
    return members | {one: members[two], two: members[one]}


def swap_pictures(out: Path, members: Contents) -> Contents:
    one, two = member(out, "picture"), member(out, "picture", ROW + 1)
    return members | {one: members[two], two: members[one]}


def other_label(out: Path, members: Contents) -> Contents:
    name = member(out, ".cls")
    return members | {name: tar.label_member(int(members[name]) + 1)}


def lose(out: Path, members: Contents) -> Contents:
    wanted = key(out)
    return {name: data for name, data in members.items() if not name.startswith(wanted)}


def twice(out: Path, members: Contents) -> Contents:
    names = list(members)
    first = names.index(member(out, "picture"))
    parts = [(name, members[name]) for name in (*names[:first], *names[first : first + 3])]
    again = [(f"{names[first + 3][:14]}{name[14:]}", members[name]) for name in names[first : first + 3]]
    return dict([*parts, *again, *((name, members[name]) for name in names[first + 6 :])])


def hostile_name(out: Path, members: Contents) -> Contents:
    wanted = member(out, "picture")
    return {("../../escaped\x1b[31m" if name == wanted else name): data for name, data in members.items()}


def add_pickle(out: Path, members: Contents) -> Contents:
    return members | {"99999999-0000.pkl": BOMB}


def pickle_for_picture(out: Path, members: Contents) -> Contents:
    name = member(out, "picture")
    return members | {name: BOMB.ljust(len(members[name]), b"\0")}


def huge(out: Path, members: Contents) -> Contents:
    return members | {member(out, "picture"): bytes(5_000_000)}


def linked(out: Path) -> None:
    """The picture's header says that it is a link to a file elsewhere; its checksum is right."""
    data = bytearray((out / SHARD).read_bytes())
    start = place(out, ROW)[1] - 512
    data[start + 156 : start + 157], data[start + 157 : start + 168] = b"2", b"/etc/passwd"
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    (out / SHARD).write_bytes(bytes(data))


def rows_forged(change: Callable[[Any], Any]) -> Damaging:
    def damage(out: Path) -> None:
        pq.write_table(change(pq.read_table(out / INDEX)), out / INDEX)
        sign(out)

    return damage


def with_value(column: str, value: Any) -> Callable[[Any], Any]:
    """An index whose row ROW says something else."""

    def change(table: Any) -> Any:
        values = table[column].to_pylist()
        values[ROW] = value(values[ROW])
        number = table.schema.get_field_index(column)
        return table.set_column(number, column, pa.array(values, table.schema.field(column).type))

    return change


def images_forged(change: Callable[[Any], Any]) -> Damaging:
    def damage(out: Path) -> None:
        pq.write_table(change(pq.read_table(out / "images.parquet")), out / "images.parquet")
        sign(out)

    return damage


def labels_plus_one(table: Any) -> Any:
    labels = [(label + 1) % 3 for label in table["label"].to_pylist()]
    classes = pa.array([("ash", "birch", "cedar")[label] for label in labels]).dictionary_encode()
    return table.set_column(1, "label", pa.array(labels, pa.int32())).set_column(2, "class", classes)


def sizes_forged(out: Path) -> None:
    path = out / "sizes/mix-v000.npy"
    sizes = np.load(path)
    sizes[[0, 1]] = sizes[[0, 1]] + np.uint32(1)
    np.save(path, sizes)
    sign(out)


def receipt_forged(change: Callable[[dict[str, Any]], object]) -> Damaging:
    def damage(out: Path) -> None:
        edit(out / RECEIPT, change)
        edit(
            out / "bake.json", lambda document: document["receipts"].update({Path(RECEIPT).stem: sha256(out / RECEIPT)})
        )

    return damage


def mixing(out: Path) -> Path:
    return next((out / "mixing").iterdir())


def cut(out: Path) -> None:
    data = (out / SHARD).read_bytes()
    (out / SHARD).write_bytes(data[: len(data) // 2])


class Bomb:
    def __reduce__(self) -> Any:
        return os.system, ("echo unpickled >> exploded",)


BOMB = pickle.dumps(Bomb())


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A tampering: of which bakes, what is done, in which file it must be named, whether with ROW's key, and how.

    quick: whether sizes and promises alone tell.
    """

    change: Damaging
    file: str
    says: str
    keyed: bool = False
    quick: bool = False
    kinds: tuple[str, ...] = ("fixed", "jpeg")


def copy_over(one: str, two: str) -> Damaging:
    return lambda out: shutil.copyfile(out / one, out / two)


FIXED, ENCODED = ("fixed",), ("jpeg",)
CASES: dict[str, Case] = {
    "a pixel": Case(change=at(100), file=SHARD, says="broken", keyed=True, kinds=FIXED),
    "a byte of a JPEG": Case(change=at(500), file=SHARD, says="SHA-256", kinds=ENCODED),
    "a name": Case(change=at(-512 + 11), file=SHARD, says="names '", keyed=True),
    "a header's size": Case(change=at(-512 + 133), file=SHARD, says="bytes|not the one", keyed=True),
    "a header's mode": Case(change=at(-512 + 102), file=SHARD, says="not the one that mixbake writes", keyed=True),
    "a header's checksum": Case(change=at(-512 + 150), file=SHARD, says="not the one", keyed=True),
    "an index": Case(change=lambda out: flip_bit(out / INDEX, 900), file=INDEX, says="SHA-256"),
    "a receipt": Case(change=lambda out: flip_bit(out / RECEIPT, 40), file=RECEIPT, says="SHA-256", quick=True),
    "bake.json": Case(change=lambda out: flip_bit(out / "bake.json", 5), file="bake.json", says="field", quick=True),
    "a digest in bake.json": Case(
        change=lambda out: edit(out / "bake.json", lambda one: one["receipts"].update({Path(RECEIPT).stem: "0" * 64})),
        file=RECEIPT, says="SHA-256", quick=True,
    ),
    "a count in bake.json": Case(
        change=lambda out: edit(out / "bake.json", lambda one: one.update(samples=7)),
        file="bake.json", says="samples 7", quick=True,
    ),
    "deep bake.json": Case(
        change=lambda out: (out / "bake.json").write_bytes(b"[" * 100_000), file="bake.json", says="", quick=True
    ),
    "the manifest": Case(
        change=lambda out: flip_bit(out / "manifest.json", 90), file="manifest.json", says="SHA-256", quick=True
    ),
    "images.parquet": Case(
        change=lambda out: flip_bit(out / "images.parquet", 90), file="images.parquet", says="SHA-256", quick=True
    ),
    "a mixing picture": Case(change=lambda out: flip_bit(mixing(out), -9), file="mixing/", says="pixels"),
    "the mixing file's header": Case(
        change=lambda out: flip_bit(mixing(out), 90), file="mixing/", says="header", quick=True
    ),
    "no mixing file": Case(change=lambda out: mixing(out).unlink(), file="mixing/", says="missing", quick=True),
    "lengths": Case(
        change=lambda out: flip_bit(out / "sizes/mix-v000.npy", 140), file="sizes/", says="altered", kinds=ENCODED
    ),
    "a shard lost": Case(change=lambda out: (out / SHARD).unlink(), file=SHARD, says="missing", quick=True),
    "a shard cut": Case(change=cut, file=SHARD, says="bytes and should have", quick=True),
    "a shard doubled": Case(change=copy_over(OTHER, SHARD), file=SHARD, says="names '"),
    "a shard a folder": Case(
        change=lambda out: ((out / SHARD).unlink(), (out / SHARD).mkdir()), file=SHARD, says="no file", quick=True
    ),
    "an index lost": Case(change=lambda out: (out / INDEX).unlink(), file=INDEX, says="missing", quick=True),
    "a receipt lost": Case(change=lambda out: (out / RECEIPT).unlink(), file=RECEIPT, says="missing", quick=True),
    "forged: a shard doubled": Case(change=forged(copy_over(OTHER, SHARD)), file=SHARD, says="names '"),
    "forged: JSON swapped": Case(change=members_forged(swap_json), file=SHARD, says="JSON is that of", keyed=True),
    "forged: label": Case(change=members_forged(other_label), file=SHARD, says=".cls says", keyed=True),
    "forged: label in JSON": Case(
        change=json_forged(lambda one: one.update(label=one["label"] + 1)), file=SHARD, says="JSON says label",
        keyed=True
    ),
    "forged: level": Case(
        change=json_forged(lambda one: one["levels"].append(0.5)), file=SHARD, says="JSON says levels", keyed=True
    ),
    "forged: steps": Case(
        change=json_forged(lambda one: one["steps"].clear()), file=SHARD, says="JSON says steps", keyed=True
    ),
    "forged: source": Case(
        change=json_forged(lambda one: one.update(source="ash/../../x")), file=SHARD, says="JSON says source",
        keyed=True
    ),
    "forged: JSON lacks a field": Case(
        change=json_forged(lambda one: one.pop("flip")), file=SHARD, says="schema: it lacks 'flip'", keyed=True
    ),
    "forged: JSON has a field": Case(
        change=json_forged(lambda one: one.update(run="rm -rf /")), file=SHARD, says="schema: it has 'run'", keyed=True
    ),
    "forged: true for a number": Case(
        change=json_forged(lambda one: one.update(label=True)), file=SHARD, says="schema: it.label", keyed=True
    ),
    "forged: deep JSON": Case(change=text_forged(b"[" * 4096), file=SHARD, says="cannot be read", keyed=True),
    "forged: list": Case(change=text_forged(b"[]"), file=SHARD, says="schema: it is no object", keyed=True),
    "forged: NaN": Case(change=text_forged(b'{"image":NaN}'), file=SHARD, says="cannot be read", keyed=True),
    "forged: a huge number": Case(change=text_forged(b"9" * 4096), file=SHARD, says="JSON", keyed=True),
    "forged: a sample lost": Case(change=members_forged(lose), file=SHARD, says="names '", keyed=True),
    "forged: a sample twice": Case(change=members_forged(twice), file=SHARD, says="JSON is that of"),
    "forged: hostile name": Case(change=members_forged(hostile_name), file=SHARD, says=r"escaped", keyed=True),
    "forged: a link": Case(change=forged(linked), file=SHARD, says="is a link", keyed=True),
    "forged: a pickle added": Case(change=members_forged(add_pickle), file=SHARD, says="does not end where"),
    "forged: huge member": Case(change=members_forged(huge), file=SHARD, says="", keyed=True),
    "forged: row's label": Case(
        change=rows_forged(with_value("label", lambda label: label + 1)), file=INDEX, says="row says label", keyed=True
    ),
    "forged: row's level": Case(
        change=rows_forged(with_value("levels", lambda levels: [*levels, 0.25])), file=INDEX, says="row says levels",
        keyed=True,
    ),
    "forged: row's steps": Case(
        change=rows_forged(with_value("steps", lambda steps: steps.replace("src", "sRc"))), file=INDEX,
        says="row says steps", keyed=True,
    ),
    "forged: row's offset": Case(
        change=rows_forged(with_value("offset", lambda offset: offset + 512)), file=INDEX, says="row says offset",
        keyed=True,
    ),
    "forged: row's key": Case(
        change=rows_forged(with_value("key", lambda _key: "00000000-0000")), file=INDEX, says="row says key", keyed=True
    ),
    "forged: a row less": Case(change=rows_forged(lambda table: table.slice(1)), file=INDEX, says="rows"),
    "forged: columns": Case(change=rows_forged(lambda table: table.drop_columns(["op"])), file=INDEX, says="columns"),
    "forged: lengths": Case(change=sizes_forged, file="sizes/", says="lengths of block 0", kinds=ENCODED),
    "forged: labels of all": Case(
        change=images_forged(labels_plus_one), file="images.parquet", says="source digest", quick=True
    ),
    "forged: an image less": Case(
        change=images_forged(lambda table: table.slice(1)), file="images.parquet", says="rows", quick=True
    ),
    "forged: receipt's range": Case(
        change=receipt_forged(lambda one: one.update(last=10**15)), file=RECEIPT, says="another", quick=True
    ),
    "forged: receipt's samples": Case(
        change=receipt_forged(lambda one: one["shards"][0].update(samples=7)), file=RECEIPT, says="sample", quick=True
    ),
    "forged: member length": Case(
        change=forged(
            lambda out: edit(out / "manifest.json", lambda one: one["plan"].update(member_bytes=16))
        ),
        file="manifest.json", says="JSON members have 16",
    ),
    "forged: a recipe of code": Case(
        change=forged(
            lambda out: edit(out / "manifest.json", lambda one: one["plan"]["recipe"].update(name="os.system"))
        ),
        file="manifest.json", says="recipe",
    ),
    "forged: severity": Case(
        change=forged(lambda out: edit(out / "manifest.json", lambda one: one["plan"]["recipe"].update(severity=3))),
        file=SHARD, says="JSON says",
    ),
}  # fmt: skip
"""What anybody may find in a bake that lay around, and what anybody may have made of one."""

DECODED: dict[str, Case] = {
    "forged: a pickle for a picture": Case(change=members_forged(pickle_for_picture), file=SHARD, says="", keyed=True),
    "forged: a pixel": Case(change=forged(at(100)), file=SHARD, says="broken", keyed=True, kinds=FIXED),
    "forged: another size": Case(
        change=members_forged(
            lambda out, members: members | {member(out, "picture"): _jpeg(81)}
        ),
        file=SHARD, says="decoded", keyed=True, kinds=ENCODED,
    ),
}  # fmt: skip
"""What only `--decode` finds."""


def _jpeg(side: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "JPEG")
    return buffer.getvalue()
