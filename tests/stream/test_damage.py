"""Damage: a loader names what is not as it was baked, or leaves it out and counts it; it never hands it out."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damages import (
    FORGED_SIZES,
    INDEX,
    INDEXES,
    OPENING,
    PIXEL,
    SAMPLES,
    SHARD,
    SIZES,
    Damaging,
    alter,
    index_garbled,
    index_gone,
    key,
    sizes_gone,
    sizes_short,
    swapped,
    truncate,
    unlink,
)
from processes import PATIENCE
from small import copied, flip_bit

from mixbake.errors import Damage
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.stream.loader import ShardLoader  # noqa: E402 - torch must be there

BATCH = 50


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
        _, own = copy("wide", lambda _out: None)
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
            told = other.metadata["image"].to_pylist()
            assert len(told) == BATCH
            assert all(mine in (None, image) for mine, image in zip(told, one.ids.tolist(), strict=True))


def read_on(*loaders: Any) -> None:
    """Pass after pass, until something is raised."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        for one in loaders:
            list(one)


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
        reading = loader(own, verify="background")
        with pytest.raises(Damage, match=rf"{SHARD}: its contents were altered"):
            read_on(reading)
        reading.close()

    def test_one_rank_or_another_tells(self, copy: Copies) -> None:
        _, own = copy("wide", PIXEL)
        ranks = [loader(own, verify="background", rank=rank, world_size=2) for rank in range(2)]
        with pytest.raises(Damage, match=SHARD):
            read_on(*ranks)
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


class TestMemory:
    """What was once found out is not forgotten, and reaches everybody."""

    def test_a_condemned_shard_stays_out_after_closing(self, copy: Copies) -> None:
        _, own = copy("wide", PIXEL)
        reading = loader(own, verify="background", on_damage="skip", order=0)
        list(reading)
        reading.close()
        gone = {image for batch in reading for image in batch.ids[~batch.valid].tolist()}
        reading.close()
        assert gone == lost_images(own)

    @pytest.mark.parametrize("resident", [False, True])
    def test_who_goes_on_after_the_error_gets_it_again(self, copy: Copies, resident: bool) -> None:
        _, own = copy("wide", PIXEL)
        reading = loader(own, verify="background", order=0, resident=resident)
        for _ in range(3):
            with pytest.raises(Damage, match=SHARD):
                list(reading)
        reading.close()

    def test_every_rank_finds_out_for_itself(self, copy: Copies) -> None:
        _, own = copy("wide", PIXEL)
        for rank in range(2):
            reading = loader(own, verify="background", on_damage="skip", order=0, rank=rank, world_size=2)
            list(reading)
            gone = {image for batch in reading for image in batch.ids[~batch.valid].tolist()}
            reading.close()
            assert gone
            assert gone <= lost_images(own)

    def test_padding_is_not_counted(self, copy: Copies) -> None:
        _, own = copy("wide", PIXEL)
        reading = loader(own, verify="full", on_damage="skip", order=0, drop_last=False, batch_size=400)
        list(reading)
        assert reading.damaged == len(lost_images(own))


def test_lengths_that_were_altered_are_named_themselves(copy: Copies) -> None:
    _, own = copy("jpeg", lambda _: None)
    path = own / SIZES
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(Damage, match=r"mix-v000\.npy was altered"):
        list(loader(own))


def test_an_index_with_other_labels_is_not_shown(copy: Copies) -> None:
    _, own = copy("wide", lambda _: None)
    path = own / INDEX
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(Damage, match=r"000001-v000-001\.parquet: its contents were altered"):
        list(loader(own, metadata=True))


def test_a_shard_that_leads_in_a_circle_is_missing(copy: Copies) -> None:
    _, own = copy("wide", lambda _: None)
    (own / SHARD).unlink()
    (own / SHARD).symlink_to(own / SHARD)
    with pytest.raises(Damage, match=rf"{SHARD} is missing"):
        loader(own)
