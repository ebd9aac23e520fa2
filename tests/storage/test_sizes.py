"""Where encoded pictures lie, told by their lengths alone; and the order of an index's rows."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import bake

from mixbake.errors import Damage
from mixbake.storage import tar
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf
from mixbake.storage.sizes import places, read_sizes, sizes_bytes


@given(st.lists(st.lists(st.integers(1, 2000), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(1, 1200))
@settings(max_examples=50, deadline=None)
def test_places_are_those_of_the_tars(blocks: list[list[int]], member_bytes: int) -> None:
    sizes = np.array([size for block in blocks for size in block], np.uint32)
    offsets, lengths = places(sizes, np.array([len(block) for block in blocks]), member_bytes)
    found = []
    for block, length in zip(blocks, lengths.tolist(), strict=True):
        parts = [
            tar.member(f"{row}.jpg", bytes(size))
            + tar.member(f"{row}.cls", tar.label_member(row))
            + tar.member(f"{row}.json", bytes(member_bytes))
            for row, size in enumerate(block)
        ]
        data = b"".join(parts) + tar.END
        assert len(data) == length
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            found += [(one.offset_data, one.size) for one in archive if one.name.endswith(".jpg")]
    assert found == list(zip(offsets.tolist(), sizes.tolist(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["jpeg", "webp", "raw"])
def test_files_of_lengths_are_those_of_the_tars(
    tmp_path: Path, many_images: Path, picture_folder: Path, codec: str
) -> None:
    out = tmp_path / "out"
    for epochs in (1, 3):
        bake(many_images, out, picture_folder, epochs_worth=epochs, views="jsd", codec=codec)
    there = Bake.open(LocalShelf(out))
    for view in ("mix", "clean"):
        for number in range(there.numbers(view)):
            stored: list[int] = []
            for path in sorted((out / view / f"v{number:03d}").iterdir()):
                with tarfile.open(path) as archive:
                    stored += [one.size for one in archive if one.name.endswith((".jpg", ".webp", ".npy"))]
            file = there.sizes(view, number)
            assert (out / file.name).stat().st_size == file.size == sizes_bytes(450)
            assert read_sizes(out / file.name, 450, file.sha256).tolist() == stored


def test_pictures_of_one_length_need_no_file(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    bake(image_folder, tmp_path / "out", picture_folder)
    there = Bake.open(LocalShelf(tmp_path / "out"))
    assert there.finished.sizes == {}
    with pytest.raises(Damage, match=r"sizes/mix-v000\.npy"):
        there.sizes("mix", 0)


@pytest.mark.parametrize("codec", ["png", "jpeg"])
@pytest.mark.parametrize("views", ["mix", "clean", "jsd"])
def test_index_rows_stand_shard_by_shard(
    tmp_path: Path, many_images: Path, picture_folder: Path, codec: str, views: str
) -> None:
    bake(many_images, tmp_path / "out", picture_folder, epochs_worth=2, views=views, codec=codec)
    for path in (tmp_path / "out" / "index").iterdir():
        table = pq.read_table(path)
        rows = list(
            zip(table["view"].to_pylist(), table["number"].to_pylist(), table["offset"].to_pylist(), strict=True)
        )
        # "mix" before "clean", numbers ascending, then as the tar has them.
        assert rows == sorted(rows, key=lambda row: (row[0] == "clean", row[1], row[2]))
        assert len(set(rows)) == len(rows)
        with_headers = pq.ParquetFile(path).metadata
        counts = {row[:2]: sum(other[:2] == row[:2] for other in rows) for row in rows[:: max(1, len(rows) // 500)]}
        samples = set(counts.values())
        assert len(samples) == 1
        for group in range(with_headers.num_row_groups):
            assert with_headers.row_group(group).num_rows % min(samples) == 0
