"""Ways to damage a bake: tables of what is done to it, for the tests of who must notice.

Rule: damage is done to one shard, one index or one file of lengths, and to the files alone.
"""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from small import flip_bit, sign

SHARD = "mix/v000/000001.tar"
INDEX = "index/000001-v000-001.parquet"
Damaging = Callable[[Path], None]
"""Damages a bake; returns nothing."""


def record(out: Path, row: int) -> tuple[int, int]:
    """Image number, and offset of the header, of a sample of SHARD."""
    table = pq.read_table(out / INDEX, columns=["image", "offset", "shard"])
    rows = [found for found in table.to_pylist() if found["shard"] == SHARD]
    return rows[row]["image"], rows[row]["offset"] - 512


def key(out: Path, row: int) -> str:
    return f"{record(out, row)[0]:08d}-0000"


def unlink(out: Path) -> None:
    (out / SHARD).unlink()


def folder(out: Path) -> None:
    (out / SHARD).unlink()
    (out / SHARD).mkdir()


def file_for_folder(out: Path) -> None:
    shutil.rmtree(out / "mix/v000")
    (out / "mix/v000").write_bytes(b"")


def truncate(out: Path) -> None:
    data = (out / SHARD).read_bytes()
    (out / SHARD).write_bytes(data[: len(data) // 2])


def empty(out: Path) -> None:
    (out / SHARD).write_bytes(b"")


def enlarge(out: Path) -> None:
    with (out / SHARD).open("ab") as file:
        file.write(bytes(512))


def alter(row: int, offset: int) -> Damaging:
    """Alter a byte of a sample's record, `offset` after the beginning of its header."""

    def damage(out: Path) -> None:
        flip_bit(out / SHARD, record(out, row)[1] + offset)

    return damage


def overwrite(row: int, offset: int, data: bytes) -> Damaging:
    def damage(out: Path) -> None:
        start = record(out, row)[1] + offset
        contents = bytearray((out / SHARD).read_bytes())
        contents[start : start + len(data)] = data
        (out / SHARD).write_bytes(bytes(contents))

    return damage


def swapped(out: Path) -> None:
    """Another shard of the same size in its place."""
    (out / SHARD).write_bytes((out / "mix/v001/000001.tar").read_bytes())


def index_gone(out: Path) -> None:
    (out / INDEX).unlink()


def index_short(out: Path) -> None:
    (out / INDEX).write_bytes((out / INDEX).read_bytes()[:-100])


def index_garbled(out: Path) -> None:
    (out / INDEX).write_bytes(b"\xa5" * (out / INDEX).stat().st_size)


def index_page_garbled(out: Path) -> None:
    data = bytearray((out / INDEX).read_bytes())
    data[4 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4)
    (out / INDEX).write_bytes(bytes(data))


def index_forged(change: Callable[[Any], Any]) -> Damaging:
    def damage(out: Path) -> None:
        pq.write_table(change(pq.read_table(out / INDEX)), out / INDEX)
        sign(out)

    return damage


OPENING: dict[str, tuple[Damaging, str]] = {
    "missing": (unlink, rf"{SHARD} is missing"),
    "a folder": (folder, SHARD),
    "a file for a folder": (file_for_folder, SHARD),
    "truncated": (truncate, rf"{SHARD} has [\d,]+ bytes and should have"),
    "empty": (empty, rf"{SHARD} has 0 bytes"),
    "enlarged": (enlarge, rf"{SHARD} has [\d,]+ bytes and should have"),
    "index missing": (index_gone, rf"{INDEX} is missing"),
    "index truncated": (index_short, rf"{INDEX} has [\d,]+ bytes and should have"),
}
"""What is noticed when a bake is opened, and what is said."""

SAMPLES: dict[str, tuple[str, int, Damaging]] = {
    "name": ("wide", 3, alter(3, 2)),
    "number": ("wide", 7, alter(7, 12)),
    "extension's dot": ("wide", 7, alter(7, 13)),
    "PNG signature": ("wide", 0, alter(0, 512)),
    "PNG width": ("wide", 5, alter(5, 512 + 19)),
    "PNG bit depth": ("wide", 5, alter(5, 512 + 24)),
    "deflate block": ("wide", 9, alter(9, 512 + 43)),
    "record of zeros": ("wide", 11, overwrite(11, 0, bytes(2048))),
    "JPEG's name": ("jpeg", 3, alter(3, 2)),
    "JPEG's start": ("jpeg", 4, overwrite(4, 512, bytes(4))),
    "JPEG of another size": ("jpeg", 4, overwrite(4, 512 + 163, struct.pack(">HH", 65500, 65500))),
    "JPEG of zeros": ("jpeg", 6, overwrite(6, 512, bytes(1500))),
    "PNG of zeros": ("png", 6, overwrite(6, 512, bytes(1500))),
    "PNG's checksum": ("png", 6, alter(6, 512 + 29)),
    "WebP of zeros": ("webp", 6, overwrite(6, 512, bytes(600))),
    "array of objects": ("raw", 6, overwrite(6, 512 + 10, b"{'descr': '|O', ")),
    "huge array": (
        "raw",
        2,
        overwrite(2, 512 + 10, b"{'descr': '|u1', 'fortran_order': False, 'shape': (80000000, 8000, 3)}"),
    ),
    "pickle": ("raw", 2, overwrite(2, 512, b"\x80\x04cos\nsystem\n.")),
}
"""What is noticed when a sample is read: bake, the row of SHARD, the damage."""

SIZES = "sizes/mix-v000.npy"


def sizes_forged(data: bytes | Callable[[Any], Any]) -> Damaging:
    """Other lengths of pictures, with promises that fit."""

    def damage(out: Path) -> None:
        if callable(data):
            np.save(out / SIZES, data(np.load(out / SIZES)), allow_pickle=True)
        else:
            (out / SIZES).write_bytes(data)
        sign(out)

    return damage


def swap_two(sizes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The shortest and the longest of the first block change places."""
    low, high = int(sizes[:50].argmin()), int(sizes[:50].argmax())
    sizes[[low, high]] = sizes[[high, low]]
    return sizes


FORGED_SIZES: dict[str, Damaging] = {
    "garbled": sizes_forged(b"\xa5" * 528),
    "no header": sizes_forged(b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 118 + bytes(400)),
    "a pickle": sizes_forged(b"\x80\x04cos\nsystem\n." + bytes(500)),
    "an archive": sizes_forged(b"PK\x03\x04" + bytes(524)),
    "an empty archive": sizes_forged(b"PK\x05\x06" + bytes(18)),
    "empty": sizes_forged(b""),
    "zeros": sizes_forged(np.zeros_like),
    "huge": sizes_forged(lambda sizes: np.full_like(sizes, 2**32 - 1)),
    "a unit more": sizes_forged(lambda sizes: sizes + np.uint32(512)),
    "swapped": sizes_forged(swap_two),
    "too few": sizes_forged(lambda sizes: sizes[:-1]),
    "signed": sizes_forged(lambda sizes: sizes.astype(np.int32)),
    "floats": sizes_forged(lambda sizes: sizes.astype(np.float32)),
    "objects": sizes_forged(lambda sizes: sizes.astype(object)),
    "a table": sizes_forged(lambda sizes: sizes[None]),
}
"""Lengths of encoded pictures: they lead to every picture of a number."""


def sizes_gone(out: Path) -> None:
    (out / SIZES).unlink()


def sizes_short(out: Path) -> None:
    (out / SIZES).write_bytes((out / SIZES).read_bytes()[:-4])


INDEXES: dict[str, Damaging] = {
    "garbled": index_garbled,
    "a page garbled": index_page_garbled,
    "empty": index_forged(lambda table: table.slice(0, 0)),
    "too short": index_forged(lambda table: table.slice(0, 20)),
    "reversed": index_forged(lambda table: table.take(pa.array(np.arange(table.num_rows)[::-1]))),
    "another table": index_forged(lambda table: table.select(["offset"])),
}


PIXEL = alter(2, 512 + 48 + 7 * 49 + 20)
"""A pixel of a stored PNG: only the SHA-256 of the shard tells."""
