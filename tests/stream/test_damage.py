"""Damage: a loader names what is not as it was baked, or leaves it out and counts it; it never hands it out."""

import logging
import shutil
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from small import copied, flip_bit, sign

from mixbake.errors import Damage
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.stream.loader import ShardLoader  # noqa: E402 - torch must be there

PATIENCE = 60  # seconds: a limit against hanging, never a measure
BATCH = 50
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Bakes to damage, by name: copy(name)."""

    of: Callable[[str], Path]
    folder: Path

    def __call__(self, name: str, damage: Damaging) -> tuple[Path, Path]:
        """The whole bake, and a copy that was damaged."""
        whole = self.of(name)
        own = copied(whole, self.folder / "own")
        damage(own)
        return whole, own


@pytest.fixture
def copy(wide_bake: Path, encoded: Callable[[str], Path], tmp_path: Path) -> Copies:
    return Copies(of=lambda name: wide_bake if name == "wide" else encoded(name), folder=tmp_path)


def loader(out: Path, **settings: Any) -> Any:
    return ShardLoader(out, **({"batch_size": BATCH, "threads": 2, "verify": "sizes"} | settings))


def lost_images(out: Path, *, rows: list[int] | None = None) -> set[int]:
    """Images of SHARD's block, or of some rows of it."""
    bake = Bake.open(LocalShelf(out))
    here = bake.blocks == 1
    if rows is not None:
        here &= np.isin(bake.rows, rows)
    return set(bake.images[here].tolist())


def compare(whole: Path, own: Path, lost: set[int], **settings: Any) -> None:
    """Read two passes: what is lost is marked and black, everything else is as if nothing had happened."""
    damaged, counted = loader(own, on_damage="skip", **settings), 0
    reference = loader(whole, **settings)
    for p in range(2):
        for one, other in zip(reference, damaged, strict=True):
            gone = np.isin(one.ids.numpy(), list(lost)) & (p == 0)
            assert len(other) == len(other.images) == BATCH
            assert other.ids.tolist() == one.ids.tolist()
            assert other.labels.tolist() == one.labels.tolist()
            assert other.valid.tolist() == (~gone).tolist()
            assert torch.equal(other.images[~gone], one.images[~gone])
            assert not other.images[gone].any()
            counted += int(gone.sum())
    assert damaged.damaged == counted > 0
    damaged.close()


class TestOpening:
    @pytest.mark.parametrize("name", ["wide", "jpeg"])
    @pytest.mark.parametrize("kind", OPENING)
    @pytest.mark.parametrize("verify", ["sizes", "background", "full"])
    def test_it_is_named(self, copy: Copies, name: str, kind: str, verify: str) -> None:
        damage, said = OPENING[kind]
        _, own = copy(name, damage)
        with pytest.raises(Damage, match=said) as caught:
            loader(own, verify=verify)
        assert str(own) in str(caught.value)
        assert "restore it" in str(caught.value)
        assert "on_damage='skip'" in str(caught.value)

    @pytest.mark.parametrize("name", ["wide", "jpeg"])
    @pytest.mark.parametrize("kind", ["missing", "truncated", "empty", "enlarged", "a folder"])
    def test_it_is_left_out(self, copy: Copies, caplog: pytest.LogCaptureFixture, name: str, kind: str) -> None:
        whole, own = copy(name, OPENING[kind][0])
        with caplog.at_level(logging.WARNING, "mixbake.stream"):
            compare(whole, own, lost_images(whole))
        assert any(SHARD in message for message in caplog.messages)

    def test_small_pictures_are_read_without_an_index(self, copy: Copies, caplog: pytest.LogCaptureFixture) -> None:
        whole, own = copy("wide", index_gone)
        batches = zip(loader(whole), loader(own, on_damage="skip"), strict=True)
        assert all(torch.equal(one.images, other.images) and other.valid.all() for one, other in batches)
        assert any(INDEX in message for message in caplog.messages)

    def test_it_happens_while_the_bake_is_open(self, copy: Copies) -> None:
        _, own = copy("wide", lambda out: None)
        opened = loader(own)
        truncate(own)
        with pytest.raises(Damage, match=SHARD):
            list(opened)


class TestSamples:
    @pytest.mark.parametrize("kind", SAMPLES)
    @pytest.mark.parametrize("settings", [{}, {"prefetch": 0}, {"resident": True}])
    def test_they_are_named(self, copy: Copies, kind: str, settings: dict[str, Any]) -> None:
        name, row, damage = SAMPLES[kind]
        whole, own = copy(name, damage)
        with pytest.raises(Damage) as caught:
            list(loader(own, **settings))
        assert f"{SHARD}, {key(whole, row)}: " in str(caught.value)

    @pytest.mark.parametrize("kind", SAMPLES)
    def test_they_are_left_out(self, copy: Copies, caplog: pytest.LogCaptureFixture, kind: str) -> None:
        name, row, damage = SAMPLES[kind]
        whole, own = copy(name, damage)
        compare(whole, own, lost_images(whole, rows=[row]))
        assert any(f"{SHARD}, {key(whole, row)}: " in message for message in caplog.messages)

    def test_each_loss_is_logged_once_and_counted_each_time(
        self, copy: Copies, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, own = copy("wide", alter(3, 2))
        damaged = loader(own, on_damage="skip", order=0)
        for _ in range(4):
            list(damaged)
        assert damaged.damaged == 4
        assert len(caplog.messages) == 1

    @pytest.mark.parametrize("resident", [False, True])
    def test_a_triplet_without_one_of_its_views_is_lost(self, jsd_bake: Path, tmp_path: Path, resident: bool) -> None:
        own = copied(jsd_bake, tmp_path / "own")
        flip_bit(own / "mix/v001/000000.tar", 2)
        batches = list(loader(own, on_damage="skip", batch_size=8, resident=resident, drop_last=False))
        lost = [batch.ids[~batch.valid].tolist() for batch in batches]
        assert sum(map(len, lost)) == 1
        gone = next(batch for batch in batches if not batch.valid.all())
        assert not gone.images[2][~gone.valid].any()
        assert gone.images[0][~gone.valid].any()

    def test_the_ranks_of_a_damaged_bake_have_equal_batches(self, copy: Copies) -> None:
        _, own = copy("wide", unlink)
        shares = [list(loader(own, on_damage="skip", rank=rank, world_size=2)) for rank in range(2)]
        assert [len(batch) for batch in shares[0]] == [len(batch) for batch in shares[1]] == [BATCH // 2] * 9


class TestLengths:
    @pytest.mark.parametrize("damage", [sizes_gone, sizes_short])
    def test_their_loss_is_told_at_opening(self, copy: Copies, damage: Damaging) -> None:
        _, own = copy("jpeg", damage)
        with pytest.raises(Damage, match=SIZES):
            loader(own)

    @pytest.mark.parametrize("kind", FORGED_SIZES)
    def test_pictures_that_cannot_be_found_are_named(self, copy: Copies, kind: str) -> None:
        _, own = copy("jpeg", FORGED_SIZES[kind])
        with pytest.raises(Damage, match=r"mix-v000\.npy|mix/v000"):
            list(loader(own))

    @pytest.mark.parametrize("kind", ["garbled", "huge", "too few", "objects"])
    def test_pictures_that_cannot_be_found_are_left_out(self, copy: Copies, kind: str) -> None:
        _, own = copy("jpeg", FORGED_SIZES[kind])
        reading = loader(own, on_damage="skip")
        assert [batch.valid.any().item() for batch in reading] == [False, False]
        assert all(batch.valid.all() for batch in reading)
        assert reading.damaged == 100

    @pytest.mark.parametrize("damage", [sizes_gone, sizes_short])
    def test_lost_lengths_are_lost_pictures(self, copy: Copies, damage: Damaging) -> None:
        _, own = copy("jpeg", damage)
        reading = loader(own, on_damage="skip")
        assert [batch.valid.any().item() for batch in reading] == [False, False]
        assert all(batch.valid.all() for batch in reading)


INDEXES: dict[str, Damaging] = {
    "garbled": index_garbled,
    "a page garbled": index_page_garbled,
    "empty": index_forged(lambda table: table.slice(0, 0)),
    "too short": index_forged(lambda table: table.slice(0, 20)),
    "reversed": index_forged(lambda table: table.take(pa.array(np.arange(table.num_rows)[::-1]))),
    "another table": index_forged(lambda table: table.select(["offset"])),
}


class TestProvenance:
    @pytest.mark.parametrize("kind", INDEXES)
    def test_what_cannot_be_read_is_named(self, copy: Copies, kind: str) -> None:
        _, own = copy("wide", INDEXES[kind])
        with pytest.raises(Damage, match=INDEX):
            list(loader(own, metadata=True))

    @pytest.mark.parametrize("kind", INDEXES)
    def test_batches_without_some_provenance_are_whole(self, copy: Copies, kind: str) -> None:
        whole, own = copy("wide", INDEXES[kind])
        for one, other in zip(loader(whole), loader(own, metadata=True, on_damage="skip"), strict=True):
            assert torch.equal(one.images, other.images)
            assert other.metadata.num_rows == BATCH


PIXEL = alter(2, 512 + 48 + 7 * 49 + 20)
"""A pixel of a stored PNG: only the SHA-256 of the shard tells."""


class TestContents:
    @pytest.mark.parametrize("damage", [PIXEL, swapped, index_garbled, alter(3, 2)])
    def test_full_tells_at_opening(self, copy: Copies, damage: Damaging) -> None:
        _, own = copy("wide", damage)
        with pytest.raises(Damage, match=rf"({SHARD}|{INDEX}): its contents were altered"):
            loader(own, verify="full")

    def test_sizes_does_not_look(self, copy: Copies) -> None:
        _, own = copy("wide", PIXEL)
        assert len(list(loader(own))) == 9

    def test_background_tells_in_time(self, copy: Copies) -> None:
        _, own = copy("wide", PIXEL)
        reading, limit = loader(own, verify="background"), time.monotonic() + PATIENCE
        with pytest.raises(Damage, match=rf"{SHARD}: its contents were altered"):
            while time.monotonic() < limit:
                list(reading)
        reading.close()

    def test_one_rank_or_another_tells(self, copy: Copies) -> None:
        _, own = copy("wide", PIXEL)
        ranks = [loader(own, verify="background", rank=rank, world_size=2) for rank in range(2)]
        limit = time.monotonic() + PATIENCE
        with pytest.raises(Damage, match=SHARD):
            while time.monotonic() < limit:
                for rank in ranks:
                    list(rank)
        for rank in ranks:
            rank.close()

    def test_full_leaves_the_shard_out(self, copy: Copies, caplog: pytest.LogCaptureFixture) -> None:
        whole, own = copy("wide", PIXEL)
        compare(whole, own, lost_images(whole), verify="full")
        assert any(SHARD in message for message in caplog.messages)

    def test_background_leaves_the_shard_out_once_it_knows(
        self, copy: Copies, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, own = copy("wide", PIXEL)
        reading, limit = loader(own, verify="background", on_damage="skip", order=0), time.monotonic() + PATIENCE
        while not caplog.messages and time.monotonic() < limit:
            list(reading)
        # What is made from then on must be without it.
        gone = [image for batch in reading for image in batch.ids[~batch.valid].tolist()]
        reading.close()
        assert set(gone) == lost_images(own)

    @pytest.mark.parametrize("verify", ["background", "full"])
    def test_a_whole_bake_is_left_alone(self, wide_bake: Path, verify: str) -> None:
        reading = loader(wide_bake, verify=verify, on_damage="skip")
        for _ in range(3):
            assert all(batch.valid.all() for batch in reading)
        reading.close()
        assert reading.damaged == 0
