"""Ways to tamper with a bake, by accident and by design, and what must be said of each; and bakes to do it to.

Rule: a tampering changes files alone. "Forged" ones sign what they changed, so that every hash is right again.
"""

import json
import os
import pickle
import tarfile
from collections.abc import Callable
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
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]  # all are files


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
