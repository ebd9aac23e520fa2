"""An opened bake: it tells what the tars hold, and what was altered or forged is refused by its name."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small import bake, edit, flip_bit, promises, sha256, sign, stored

from mixbake.errors import Damage, StorageError, UsageError
from mixbake.storage.finish import FIELDS
from mixbake.storage.opened import Bake, StoredFile
from mixbake.storage.shelf import ABSENT, LocalShelf

RECEIPT = "receipts/000000-v000-001.json"
INDEX = "index/000000-v000-001.parquet"


@pytest.fixture(scope="module")
def pair_bake(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    """40 images in one block, two epochs' worth of pairs, and two more that were added one by one."""
    out = tmp_path_factory.mktemp("opened") / "pairs"
    for epochs in (2, 3, 4):
        bake(image_folder, out, picture_folder, epochs_worth=epochs, views="jsd")
    return out


@pytest.fixture(scope="module")
def jpeg_bake(tmp_path_factory: pytest.TempPathFactory, many_images: Path, picture_folder: Path) -> Path:
    """450 images in several blocks as JPEG, one epoch's worth, and another that was added."""
    out = tmp_path_factory.mktemp("opened") / "jpeg"
    for epochs in (1, 2):
        bake(many_images, out, picture_folder, epochs_worth=epochs, views="clean", codec="jpeg")
    return out


def opened(out: Path) -> Bake:
    return Bake.open(LocalShelf(out))


class TestWhole:
    def test_it_knows_every_file(self, clean_bake: Path, pair_bake: Path, jpeg_bake: Path) -> None:
        for out in (clean_bake, pair_bake, jpeg_bake):
            promised = {file.name: (file.size, file.sha256) for file in opened(out).files()}
            paths = [*out.rglob("*.tar"), *(out / "index").iterdir(), *(out / "sizes").iterdir()]
            assert promised == {path.relative_to(out).as_posix(): (path.stat().st_size, sha256(path)) for path in paths}

    def test_each_shard_is_found_by_view_number_and_block(self, clean_bake: Path, pair_bake: Path) -> None:
        for out in (clean_bake, pair_bake):
            there = opened(out)
            found = {
                ((view, number, block), there.shard(view, number, block))
                for view in ("mix", "clean")
                for number in range(there.numbers(view))
                for block in range(there.plan.blocks)
            }
            assert found == set(there.shards())

    def test_its_index_and_place_in_it(self, clean_bake: Path, pair_bake: Path) -> None:
        for out in (clean_bake, pair_bake):
            there = opened(out)
            for view in ("mix", "clean"):
                for number in range(there.numbers(view)):
                    for block in range(there.plan.blocks):
                        file, position = there.index(view, number, block)
                        rows = int(there.samples[block])
                        table = pq.read_table(out / file.name).slice(position * rows, rows)
                        assert table.num_rows == rows
                        assert set(table["shard"].to_pylist()) == {there.shard(view, number, block).name}

    def test_each_picture_lies_in_its_block_and_row(self, clean_bake: Path) -> None:
        there = opened(clean_bake)
        assert there.samples.sum() == len(there.images) == 450
        for block in range(there.plan.blocks):
            with tarfile.open(clean_bake / f"clean/v001/{block:06d}.tar") as archive:
                keys = [name.partition("-")[0] for name in archive.getnames() if name.endswith(".png")]
            here = there.blocks == block
            rows = dict(zip(there.rows[here].tolist(), there.images[here].tolist(), strict=True))
            assert [rows[row] for row in range(len(rows))] == [int(key) for key in keys]

    def test_labels_are_those_of_the_tars(self, clean_bake: Path) -> None:
        members, there = stored(clean_bake), opened(clean_bake)
        labels = dict(zip(there.images.tolist(), there.labels.tolist(), strict=True))
        assert all(int(sample["cls"]) == labels[image] for (_, _, image), sample in members.items())

    def test_digests(self, clean_bake: Path) -> None:
        there = opened(clean_bake)
        assert there.digest == sha256(clean_bake / "bake.json") == Bake.digest_on(LocalShelf(clean_bake))
        assert there.plan_digest == sha256(clean_bake / "manifest.json")
        assert (there.epochs_worth, there.numbers("mix"), there.numbers("clean")) == (3, 3, 3)

    def test_skipped_images_are_left_out(self, tmp_path: Path, own_images: Path, picture_folder: Path) -> None:
        bad = sorted(own_images.rglob("*.png"))[::5]
        for path in bad:
            path.write_bytes(b"no picture")
        bake(own_images, tmp_path / "out", picture_folder, size=32, max_skip=0.5)
        there = opened(tmp_path / "out")
        assert there.images.tolist() == sorted({image for _, _, image in stored(tmp_path / "out")})
        assert len(there.images) == 40 - len(bad)

    def test_a_signed_copy_is_a_bake(self, own: Path) -> None:
        sign(own)
        assert [file.name for file in opened(own).files()]
        assert opened(own).wrong_sizes() == []

    def test_wrong_sizes_are_told(self, own: Path) -> None:
        assert opened(own).wrong_sizes() == []
        (own / "mix/v001/000001.tar").unlink()
        (own / "clean/v000/000000.tar").write_bytes(b"short")
        (own / INDEX).write_bytes(b"")
        found = {file.name: size for file, size in opened(own).wrong_sizes()}
        assert found == {"mix/v001/000001.tar": ABSENT, "clean/v000/000000.tar": 5, INDEX: 0}
        assert all(isinstance(file, StoredFile) for file, _ in opened(own).wrong_sizes())


def rename_receipt(name: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        document["receipts"][name] = document["receipts"].pop("000000-v000-001")

    return change


class TestBakeJson:
    def test_an_unfinished_bake_is_no_damage(self, own: Path) -> None:
        (own / "bake.json").unlink()
        with pytest.raises(UsageError, match=r"no finished bake.*same build command"):
            opened(own)

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'"bake"'])
    def test_what_is_no_json_object(self, own: Path, text: bytes) -> None:
        (own / "bake.json").write_bytes(text)
        with pytest.raises(Damage, match=r"bake\.json in .*own") as caught:
            opened(own)
        assert "restore it" in str(caught.value)

    @pytest.mark.parametrize("field", [*FIELDS, "mixing", "built_with"])
    @pytest.mark.parametrize("value", [1.5, True, ["x"], "gone", {"x": []}])
    def test_fields_of_another_type(self, own: Path, field: str, value: Any) -> None:
        if type(value) is (FIELDS | {"built_with": dict}).get(field) and field not in ("format", "manifest_sha256"):
            pytest.skip("that is its type")
        edit(own / "bake.json", lambda document: document.update({field: value}))
        with pytest.raises(Damage, match=f"{field}|is not a mixbake|manifest.json|images.parquet"):
            opened(own)

    @pytest.mark.parametrize("field", FIELDS)
    def test_fields_that_are_missing(self, own: Path, field: str) -> None:
        edit(own / "bake.json", lambda document: document.pop(field))
        with pytest.raises(Damage, match=r"bake\.json"):
            opened(own)

    @pytest.mark.parametrize("epochs", [-1, 0, 1, 2, 4, 10**12])
    def test_epochs_that_the_receipts_do_not_make_up(self, own: Path, epochs: int) -> None:
        edit(own / "bake.json", lambda document: document.update(epochs_worth=epochs))
        with pytest.raises(Damage, match=r"bake\.json"):
            opened(own)

    @pytest.mark.parametrize(
        "name",
        [
            "../x",
            "../../etc/passwd",
            "/etc/passwd",
            "000000-v000-001/../x",
            "000000-v000-001\n",
            "000000-v000-001.json",
            "",
            "x" * 5000,
            "000000-v000-001\0",
        ],
    )
    def test_names_that_lead_elsewhere(self, own: Path, name: str) -> None:
        edit(own / "bake.json", rename_receipt(name))
        (own / "x.json").write_bytes((own / RECEIPT).read_bytes())
        with pytest.raises(Damage, match="no block range"):
            opened(own)

    @pytest.mark.parametrize("value", [None, 7, [], {}, "ab"])
    def test_hashes_that_are_none(self, own: Path, value: Any) -> None:
        edit(own / "bake.json", lambda document: document["receipts"].update({"000000-v000-001": value}))
        with pytest.raises(Damage, match="000000-v000-001"):
            opened(own)

    def test_a_receipt_too_few_and_one_too_many(self, own: Path) -> None:
        text = (own / "bake.json").read_bytes()
        edit(own / "bake.json", lambda document: document["receipts"].pop("000001-v000-001"))
        with pytest.raises(Damage, match="block 1"):
            opened(own)
        (own / "bake.json").write_bytes(text)
        edit(own / "bake.json", lambda document: document["receipts"].pop("000001-v002-002"))
        with pytest.raises(Damage, match="block 1"):
            opened(own)


class TestNamedFiles:
    @pytest.mark.parametrize("name", ["manifest.json", "images.parquet", RECEIPT])
    def test_altered(self, own: Path, name: str) -> None:
        for offset in (0, 100, -1):
            before = (own / name).read_bytes()
            flip_bit(own / name, offset)
            with pytest.raises(Damage, match=rf"{name} in .*own is not the one"):
                opened(own)
            (own / name).write_bytes(before)
        opened(own)

    @pytest.mark.parametrize("name", ["manifest.json", "images.parquet", RECEIPT])
    def test_missing(self, own: Path, name: str) -> None:
        (own / name).unlink()
        with pytest.raises(Damage, match=rf"{name} is missing"):
            opened(own)

    @pytest.mark.parametrize("name", ["bake.json", "manifest.json", "images.parquet", RECEIPT])
    def test_a_folder_in_their_place(self, own: Path, name: str) -> None:
        (own / name).unlink()
        (own / name).mkdir()
        with pytest.raises((Damage, StorageError, UsageError), match=Path(name).name):
            opened(own)

    def test_a_receipt_of_another_bake(
        self, own: Path, many_images: Path, picture_folder: Path, tmp_path: Path
    ) -> None:
        bake(many_images, tmp_path / "other", picture_folder, epochs_worth=2, views="clean", seed=8)
        text = (tmp_path / "other" / RECEIPT).read_bytes()
        assert text != (own / RECEIPT).read_bytes()
        (own / RECEIPT).write_bytes(text)
        with pytest.raises(Damage, match=RECEIPT):
            opened(own)
        edit(own / "bake.json", lambda document: document.update(promises(own)))
        with pytest.raises(Damage, match=rf"{RECEIPT} .*does not belong"):
            opened(own)
