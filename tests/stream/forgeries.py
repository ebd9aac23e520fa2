"""Ways to rewrite a shard, by accident and by design: tables for the tests of who must notice.

Rule: each takes the path of a tar of JPEGs at 80 px and its members, and changes that file alone.
"""

import gzip
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from small import flip_bit

from mixbake.storage import tar

Contents = dict[str, bytes]
Forging = Callable[[Path, Contents], None]


def contents(path: Path) -> Contents:
    """Members of a tar by name, in order."""
    with tarfile.open(path, "r:") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]  # files


def rewritten(path: Path, members: Contents) -> None:
    """The tar anew, with headers as mixbake writes them."""
    path.write_bytes(b"".join(tar.member(name, data) for name, data in members.items()) + tar.END)


def cut_last(path: Path, members: Contents) -> None:
    rewritten(path, dict(list(members.items())[:-3]))


def lose_first(path: Path, members: Contents) -> None:
    rewritten(path, dict(list(members.items())[3:]))


def cut_hard(path: Path, _: Contents) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero_half(path: Path, _: Contents) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def flip_name(path: Path, _: Contents) -> None:
    flip_bit(path, path.read_bytes().index(b".jpg\0", 30_000) - 1)


def flip_size(path: Path, _: Contents) -> None:
    flip_bit(path, path.read_bytes().index(b".cls\0", 30_000) - len("00000000-0000") + 134)


def add_one(path: Path, members: Contents) -> None:
    rewritten(path, members | {"99999999-0000.jpg": b"", "99999999-0000.cls": b"0", "99999999-0000.json": b"{}"})


def add_pickle(path: Path, members: Contents) -> None:
    first = next(iter(members))
    rewritten(path, {first: members[first], f"{first.partition('.')[0]}.pkl": BOMB} | members)


def pickle_for_label(path: Path, members: Contents) -> None:
    names = list(members)
    members[names[1]] = BOMB
    rewritten(
        path, {name if i != 1 else name.replace(".cls", ".pyd"): data for i, (name, data) in enumerate(members.items())}
    )


def other_label(path: Path, members: Contents) -> None:
    name = list(members)[1]
    rewritten(path, members | {name: tar.label_member(int(members[name]) + 1)})


def other_size(path: Path, members: Contents) -> None:
    name, buffer = next(iter(members)), io.BytesIO()
    Image.new("RGB", (81, 80)).save(buffer, "JPEG")
    rewritten(path, members | {name: buffer.getvalue()})


def no_picture(path: Path, members: Contents) -> None:
    rewritten(path, members | {next(iter(members)): b"\xff\xd8\xff no more"})


def huge_member(path: Path, members: Contents) -> None:
    rewritten(path, members | {next(iter(members)): bytes(10_000_000)})


def long_json(path: Path, members: Contents) -> None:
    name = list(members)[2]
    rewritten(path, members | {name: members[name] + b" "})


def no_json(path: Path, members: Contents) -> None:
    name = list(members)[2]
    rewritten(path, members | {name: b"[" * len(members[name])})


def list_json(path: Path, members: Contents) -> None:
    name = list(members)[2]
    rewritten(path, members | {name: b"[]".ljust(len(members[name]))})


def compressed(path: Path, _: Contents) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


def sparse(path: Path, _: Contents) -> None:
    """A GNU sparse file of 8 GB at the head, of which nothing is stored."""
    data = bytearray(path.read_bytes())
    head = bytearray(data[:512])
    head[124:136], head[156:157] = b"00000000000\0", b"S"
    head[257:265] = b"ustar  \0"
    head[386:410], head[483:495] = b"00000000000\0" * 2, b"77777777777\0"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path.write_bytes(bytes(head) + bytes(data))


def as_folder(path: Path, _: Contents) -> None:
    """The first picture marked as a folder, with a right checksum: readers would pass over it."""
    data = bytearray(path.read_bytes())
    data[156:157], data[148:156] = b"5", b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(bytes(data))


class Bomb:
    def __reduce__(self) -> Any:
        return os.system, ("echo unpickled >> exploded",)


BOMB = pickle.dumps(Bomb())
ACCIDENTS = [cut_hard, cut_last, zero_half, flip_name, flip_size, lose_first]
FORGERIES = [
    *ACCIDENTS, add_one, add_pickle, pickle_for_label, other_label, other_size, no_picture, huge_member, long_json,
    no_json, list_json, compressed, sparse, as_folder,
]  # fmt: skip
