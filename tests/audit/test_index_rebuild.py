"""Promises of `mixbake index`: what is damaged is named, and comes back from the tars with the same rows."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small import bake, copied, edit, flip_bit, sha256, sign
from tampering import INDEX, RECEIPT, SHARD, json_forged, key, mixing, sources

from mixbake.audit.rebuild import look, rebuild
from mixbake.audit.verify import Checks, verify
from mixbake.errors import Damage, Locked, PlanDiffers, UsageError
from mixbake.storage import index as storage_index
from mixbake.storage.lock import FolderLock

Bakes = Callable[[str], Path]
Change = Callable[[Path], object]
OTHER_INDEX = "index/000000-v000-001.parquet"


def hashes(out: Path) -> dict[str, str]:
    return {path.relative_to(out).as_posix(): sha256(path) for path in sorted(out.rglob("*")) if path.is_file()}


def both(out: Path) -> None:
    (out / INDEX).unlink()
    flip_bit(out / "images.parquet", 60)


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "a byte flipped": (lambda out: flip_bit(out / INDEX, 2000), {INDEX}),
    "lost": (lambda out: (out / INDEX).unlink(), {INDEX}),
    "empty": (lambda out: (out / INDEX).write_bytes(b""), {INDEX}),
    "another's": (lambda out: shutil.copy(out / OTHER_INDEX, out / INDEX), {INDEX}),
    "all lost": (lambda out: shutil.rmtree(out / "index"), {INDEX, OTHER_INDEX}),
    "images altered": (lambda out: flip_bit(out / "images.parquet", -9), {"images.parquet"}),
    "images lost": (lambda out: (out / "images.parquet").unlink(), {"images.parquet"}),
    "an index and images": (both, {INDEX, "images.parquet"}),
}


@pytest.mark.parametrize("kind", ["fixed", "jpeg"])
@pytest.mark.parametrize("name", list(CHANGES))
def test_the_same_bytes_come_back(bakes: Bakes, tmp_path: Path, kind: str, name: str) -> None:
    change, files = CHANGES[name]
    own = copied(bakes(kind), tmp_path / "own")
    change(own)
    assert {fault.shard for fault in look(own).faults} == files
    found = rebuild(own)
    assert (found.whole, set(found.rebuilt), found.changed) == (True, files, ())
    assert found.digest == found.before == sha256(bakes(kind) / "bake.json")
    assert hashes(own) == hashes(bakes(kind))
    assert look(own).whole


def test_lengths_come_back(bakes: Bakes, tmp_path: Path) -> None:
    own = copied(bakes("jpeg"), tmp_path / "own")
    flip_bit(own / "sizes/mix-v000.npy", -1)
    (own / "sizes/clean-v001.npy").unlink()
    (own / INDEX).unlink()
    assert set(rebuild(own).rebuilt) == {"sizes/mix-v000.npy", "sizes/clean-v001.npy", INDEX}
    assert hashes(own) == hashes(bakes("jpeg"))


@pytest.mark.parametrize(("views", "crop"), [("jsd", "resized"), ("mix", "fit")])
def test_several_ranges_and_skipped_images_come_back(
    tmp_path: Path, own_images: Path, picture_folder: Path, views: str, crop: str
) -> None:
    (own_images / "ash" / "000.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    for worth in (2, 3):
        bake(own_images, out, picture_folder, epochs_worth=worth, views=views, crop=crop, limit=30, max_skip=0.2)
    before, rows = hashes(out), pq.read_table(out / "images.parquet").to_pylist()
    assert len(list((out / "index").iterdir())) == 2
    shutil.rmtree(out / "index")
    (out / "images.parquet").unlink()
    assert rebuild(out).whole
    assert hashes(out) == before
    assert pq.read_table(out / "images.parquet").to_pylist() == rows


def test_a_bake_of_some_classes_needs_no_list_of_them(
    command: Any, tmp_path: Path, own_images: Path, picture_folder: Path
) -> None:
    (tmp_path / "classes.txt").write_text("cedar\nash\n")
    out = tmp_path / "out"
    bake(own_images, out, picture_folder, classes=tmp_path / "classes.txt")
    before = hashes(out)
    (out / "images.parquet").unlink()
    assert rebuild(out).whole
    assert hashes(out) == before
    assert command("verify", out, "--source", own_images, "--replay", 3).code == 0


@pytest.fixture
def other_writer(bakes: Bakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another version of pyarrow: the same rows in other bytes than those of `bakes`."""
    from mixbake.storage import finish

    for kind in ("fixed", "jpeg"):
        bakes(kind)

    def snappy(batches: list[Any], schema: Any, *, group: int = 50_000) -> bytes:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_batches(batches, schema=schema), sink, compression="snappy", row_group_size=group)
        return bytes(sink.getvalue())

    monkeypatch.setattr(storage_index, "parquet_bytes", snappy)
    monkeypatch.setattr(finish, "parquet_bytes", snappy)


@pytest.mark.usefixtures("other_writer")
class TestOtherBytes:
    @pytest.mark.parametrize("kind", ["fixed", "jpeg"])
    def test_of_the_same_rows_are_signed_anew(self, command: Any, bakes: Bakes, tmp_path: Path, kind: str) -> None:
        own, whole = copied(bakes(kind), tmp_path / "own"), bakes(kind)
        for name in ("images.parquet", INDEX):
            before = sha256(own / "bake.json")
            (own / name).unlink()
            done = command("index", own, "--rebuild", "--json")
            assert done.code == 0, done.err
            found = json.loads(done.out)
            assert (found["changed"], found["before"]) == ([name], before)
            assert found["digest"] == sha256(own / "bake.json") != before
        for name in (INDEX, "images.parquet"):
            assert pq.read_table(own / name).to_pylist() == pq.read_table(whole / name).to_pylist()
        changed = {name for name, digest in hashes(own).items() if hashes(whole)[name] != digest}
        assert changed == {INDEX, "images.parquet", "bake.json", RECEIPT}
        checked = verify(own, Checks(full=True))
        assert checked.intact, checked.faults

    def test_are_told_with_both_digests(self, command: Any, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        (own / INDEX).unlink()
        done = command("index", own, "--rebuild")
        assert done.code == 0
        assert f"bake digest was {sha256(bakes('fixed') / 'bake.json')}" in done.out
        assert f"bake digest {sha256(own / 'bake.json')}" in done.out

    def test_that_nothing_proves_are_refused(self, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        shutil.rmtree(own / "index")
        (own / "images.parquet").unlink()
        before = hashes(own)
        with pytest.raises(Damage, match="would prove"):
            rebuild(own)
        assert hashes(own) == before


class TestRefusals:
    def test_a_damaged_tar_is_never_read_for_rows(self, bakes: Bakes, tmp_path: Path) -> None:
        for damage in (lambda out: flip_bit(out / SHARD, 700), lambda out: (out / SHARD).unlink()):
            own = copied(bakes("fixed"), tmp_path / damage.__code__.co_name / str(id(damage)))
            both(own)
            damage(own)
            before = hashes(own)
            with pytest.raises(Damage, match=f"{SHARD} is missing or altered"):
                rebuild(own)
            assert hashes(own) == before

    @pytest.mark.parametrize("kind", ["fixed", "jpeg"])
    def test_a_forged_record_gets_no_row(self, bakes: Bakes, tmp_path: Path, kind: str) -> None:
        own = copied(bakes(kind), tmp_path / "own")
        wanted = key(own)
        json_forged(lambda one: one.update(layer=2 if one["layer"] != 2 else 1))(own)
        sign(own)
        (own / INDEX).unlink()
        with pytest.raises(Damage, match=f"{SHARD}, {wanted}: its JSON says layer"):
            rebuild(own)
        assert not (own / INDEX).exists()

    @pytest.mark.parametrize("name", ["manifest.json", RECEIPT, "bake.json", "mixing"])
    def test_what_the_rows_rest_on_must_be_whole(self, bakes: Bakes, tmp_path: Path, name: str) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        (own / INDEX).unlink()
        path = mixing(own) if name == "mixing" else own / name
        flip_bit(path, 3)
        with pytest.raises(Damage, match=f"{name}.*--repair"):
            rebuild(own)
        assert not (own / INDEX).exists()

    def test_another_source_is_not_taken_for_images(
        self, command: Any, bakes: Bakes, tmp_path: Path, write_images: Callable[..., Path]
    ) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        (own / "images.parquet").unlink()
        other = write_images(tmp_path / "other", 30)
        for source in (other, tmp_path / "nowhere"):
            done = command("index", own, "--rebuild", "--source", source)
            assert done.code == 5
            assert "--source" in done.err
        moved = copied(sources(own), tmp_path / "moved")
        assert command("index", own, "--rebuild", "--source", moved).code == 0
        assert hashes(own) == hashes(bakes("fixed"))

    def test_a_locked_bake_waits_for_nobody(self, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        (own / INDEX).unlink()
        with FolderLock(own), pytest.raises(Locked):
            rebuild(own)

    def test_a_link_out_of_the_bake_is_not_followed(self, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        (own / "index").rename(tmp_path / "elsewhere")
        (own / "index").symlink_to(tmp_path / "elsewhere")
        flip_bit(own / INDEX, 900)
        before = sha256(own / INDEX)
        with pytest.raises(PlanDiffers, match="link"):
            rebuild(own)
        assert sha256(own / INDEX) == before

    def test_an_unfinished_bake_is_refused(self, command: Any, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        (own / "bake.json").unlink()
        for path in (own, tmp_path / "nowhere", own / "manifest.json"):
            for flags in ([], ["--rebuild"]):
                assert command("index", path, *flags).code == 2
        with pytest.raises(UsageError, match="no finished bake"):
            look(own)


class TestCommand:
    def test_names_what_is_damaged(self, command: Any, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        assert command("index", own).code == 0
        flip_bit(own / INDEX, 900)
        (own / "images.parquet").unlink()
        before = hashes(own)
        done = command("index", own)
        assert done.code == 6
        assert f"{INDEX}: its contents were altered" in done.out
        assert "images.parquet: it is missing" in done.out
        assert hashes(own) == before
        assert json.loads(command("index", own, "--json").out)["whole"] is False

    def test_rebuilds(self, command: Any, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        (own / INDEX).unlink()
        done = command("index", own, "--rebuild")
        assert done.code == 0, done.err
        assert f"rebuilt {INDEX}" in done.out
        assert command("verify", own, "--full").code == 0
        assert command("index", own, "--rebuild").code == 0
        assert command("index", own, "--source", tmp_path).code == 2

    def test_hostile_names_do_not_reach_the_terminal_raw(self, command: Any, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own\x1b[2J")
        done = command("index", own)
        assert done.out.replace("\n", "").isprintable()
        edit(own / "bake.json", lambda document: document["receipts"].update({"\x1b[2J../x": "0" * 64}))
        done = command("index", own)
        assert done.code == 6
        assert done.err.replace("\n", "").replace(str(own), "").isprintable()
