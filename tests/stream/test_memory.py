"""Memory and descriptors: passes leave nothing behind, and what is kept is never overwritten."""

import gc
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from small import bake

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.stream.loader import ShardLoader  # noqa: E402 - torch must be there

FEW_DESCRIPTORS = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from mixbake.stream import ShardLoader
loader = ShardLoader(Path(sys.argv[1]), batch_size=4, verify=sys.argv[2], threads=2)
tars = sum(1 for _ in loader.bake.shards())
seen = set()
for _ in range(loader.bake.epochs_worth):
    for batch in loader:
        seen |= {(int(number), int(image)) for row in batch.numbers for number, image in zip(row, batch.ids)}
print(tars, len(seen), len(list(Path("/proc/self/fd").iterdir())) < 100)
"""


def checksum(images: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(images.numpy()).tobytes())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mix_bake", {}),
        ("mix_bake", {"dtype": torch.float32, "prefetch": 4}),
        ("jsd_bake", {"prefetch": 0}),
        ("jpeg_bake", {"threads": 3}),
        ("mix_bake", {"resident": True}),
    ],
)
def test_a_batch_that_is_kept_is_never_overwritten(
    request: pytest.FixtureRequest, name: str, settings: dict[str, Any]
) -> None:
    loader = ShardLoader(request.getfixturevalue(name), **({"batch_size": 8} | settings))
    kept, sums = [], []
    for _ in range(3):
        for batch in loader:
            kept.append(batch)
            sums.append(checksum(batch.images))
    columns = [(batch.labels.clone(), batch.ids.clone(), batch.valid.clone()) for batch in kept]
    list(loader)
    loader.close()
    gc.collect()
    assert [checksum(batch.images) for batch in kept] == sums
    assert len({batch.images.data_ptr() for batch in kept}) == len(kept)
    for batch, (labels, ids, valid) in zip(kept, columns, strict=True):
        assert torch.equal(batch.labels, labels)
        assert torch.equal(batch.ids, ids)
        assert torch.equal(batch.valid, valid)


def test_a_kept_view_of_a_batch_is_enough(mix_bake: Path) -> None:
    loader = ShardLoader(mix_bake, batch_size=8)
    rows = [(batch.images[3], checksum(batch.images[3])) for batch in loader]
    list(loader)
    assert [checksum(row) for row, _ in rows] == [told for _, told in rows]


def test_what_is_changed_in_a_batch_changes_no_other(mix_bake: Path) -> None:
    loader, other = (ShardLoader(mix_bake, batch_size=8, order=0, flip="none", drop_last=False) for _ in range(2))
    for _ in range(2):
        for batch, expected in zip(loader, other, strict=True):
            assert torch.equal(batch.images, expected.images)
            assert torch.equal(batch.labels, expected.labels)
            for column in (batch.images, batch.labels, batch.ids, batch.numbers):
                column.zero_()
            batch.clean.fill_(value=True)
            batch.valid.fill_(value=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mix_bake", {}),
        ("mix_bake", {"dtype": torch.float32}),
        ("jpeg_bake", {"threads": 2}),
        ("jsd_bake", {"metadata": True}),
        ("mix_bake", {"resident": True}),
    ],
)
def test_passes_leave_nothing_behind(request: pytest.FixtureRequest, name: str, settings: dict[str, Any]) -> None:
    loader = ShardLoader(request.getfixturevalue(name), **({"batch_size": 8} | settings))
    for _ in range(6):
        for _batch in loader:
            pass
    gc.collect()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(2):
            for _ in range(12):
                for _batch in loader:
                    pass
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # How many buffers are lent at an instant is the threads' business: a few more or less, of 60 to 150 batches.
    assert sizes[1] - sizes[0] < 6 * next(iter(loader)).images.nbytes + 50_000
    loader.close()


@pytest.mark.slow
def test_memory_is_flat_while_training(jsd_bake: Path) -> None:
    loader = ShardLoader(jsd_bake, batch_size=40, dtype=torch.float32)
    process, sizes = psutil.Process(), []
    for p in range(240):
        for batch in loader:
            assert len(batch) == 40
        if p % 80 == 79:
            gc.collect()
            sizes.append(process.memory_info().rss)
    loader.close()
    # 3.8 MB of floats a batch: 160 of them would be 600 MB.
    assert max(sizes) - sizes[0] < 60 << 20


@pytest.fixture(scope="session")
def many_shards(
    tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., Path], picture_folder: Path
) -> Path:
    """Four images, 400 epochs' worth of triplets: 1,200 tars."""
    folder = tmp_path_factory.mktemp("shards")
    source = write_images(folder / "source", 4, size=8)
    bake(source, folder / "out", picture_folder, epochs_worth=400, views="jsd")
    return folder / "out"


@pytest.mark.slow
@pytest.mark.parametrize("verify", ["background", "full"])
def test_a_thousand_shards_need_few_descriptors(many_shards: Path, python: Callable[..., Any], verify: str) -> None:
    done = python(FEW_DESCRIPTORS, many_shards, verify)
    assert done.code == 0, done.err
    tars, seen, few = done.out.split()
    # Numbers of clean crops and of mixes overlap: 800 mixes of 4 images are told apart.
    assert (tars, seen, few) == ("1200", "3200", "True")
