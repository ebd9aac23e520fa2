"""The webdataset pipeline over shards that are not what was baked: Damage, whoever made them so and however well."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("webdataset", reason="the extra `train` is not installed")

import webdataset as wds
from damages import SHARD
from forgeries import ACCIDENTS, FORGERIES, Forging, contents, cut_last
from small import copied, flip_bit, sign
from torch.utils.data import DataLoader

from mixbake.errors import Damage
from mixbake.storage import tar
from mixbake.stream import BakeDataset, webdataset


def damaged(jpeg_bake: Path, to: Path, change: Forging) -> Path:
    out = copied(jpeg_bake, to)
    change(out / SHARD, contents(out / SHARD))
    return out


@pytest.mark.parametrize("change", FORGERIES, ids=lambda change: change.__name__)
def test_a_forged_shard_is_damage(
    jpeg_bake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Forging
) -> None:
    """Also when every receipt has been made to fit what is there, so that sizes and hashes say nothing."""
    monkeypatch.chdir(tmp_path)
    out = damaged(jpeg_bake, tmp_path / "out", change)
    sign(out)
    with pytest.raises(Damage, match=SHARD):
        list(webdataset(out, metadata=True))
    assert not (tmp_path / "exploded").exists()
    assert len(list(webdataset(out, number=1, metadata=True))) == 100


@pytest.mark.parametrize("change", ACCIDENTS, ids=lambda change: change.__name__)
def test_no_handler_swallows_it(jpeg_bake: Path, tmp_path: Path, change: Forging) -> None:
    out = copied(jpeg_bake, tmp_path / "out")
    pipeline = webdataset(out)  # open already when it happens
    path = out / SHARD
    size = path.stat().st_size
    change(path, contents(path))
    tolerant = pipeline.map(lambda sample: sample, handler=wds.ignore_and_continue).batched(7)
    reason = "not what stands at byte" if path.stat().st_size == size else f"bytes and should have {size:,}"
    with pytest.raises(Damage, match=rf"{SHARD}.*{reason}"):
        list(tolerant)


def test_a_picture_that_claims_to_be_huge_is_damage(encoded: Callable[[str], Path], tmp_path: Path) -> None:
    out = copied(encoded("png"), tmp_path / "out")
    path = out / "mix" / "v000" / "000000.tar"
    data = bytearray(path.read_bytes())
    header = struct.pack(">4sIIBBBBB", b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0)
    data[tar.UNIT + 12 : tar.UNIT + 33] = header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(bytes(data))
    sign(out)
    for pictures in (webdataset(out), BakeDataset(out)):
        with pytest.raises(Damage, match=r"mix/v000/000000\.tar, \d{8}-0000: the picture cannot be decoded"):
            list(pictures)


# The worker forks whatever threads torch has begun.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.slow  # torch waits 5 s for a worker that has raised
def test_damage_in_a_worker_ends_the_loop(jpeg_bake: Path, tmp_path: Path) -> None:
    out = damaged(jpeg_bake, tmp_path / "out", cut_last)
    sign(out)
    with pytest.raises(Damage, match=SHARD):
        list(DataLoader(webdataset(out), batch_size=10, num_workers=1))


def test_altered_pixels_are_found_by_their_hash(mix_bake: Path, tmp_path: Path) -> None:
    out = copied(mix_bake, tmp_path / "out")
    flip_bit(out / "mix" / "v000" / "000000.tar", 2 * tar.UNIT)
    with pytest.raises(Damage, match=r"mix/v000/000000\.tar.*altered"):
        webdataset(out, verify="full")
