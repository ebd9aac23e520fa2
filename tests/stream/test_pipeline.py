"""The webdataset pipeline: all samples, each once, in whatever worker; and what stock tools make of the same shards."""

import hashlib
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("webdataset", reason="the extra `train` is not installed")

import torch
import webdataset as wds
from forgeries import contents, cut_last, zero_half
from small import pixels, stored
from torch.utils.data import DataLoader

from mixbake import stream
from mixbake.errors import MissingExtra, UsageError
from mixbake.storage import tar
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf
from mixbake.stream import BakeDataset, webdataset

# Two workers are two, however few cores there are; they fork whatever threads torch has begun.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


def keys(path: Path) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in contents(path)))


def stored_keys(out: Path, number: int, view: str = "mix") -> list[str]:
    return [key for path in sorted((out / view / f"v{number:03d}").glob("*.tar")) for key in keys(path)]


def key(sample: Any) -> str:
    return str(sample[2]["__key__"])


def mark(image: Any) -> Any:
    """A transform that worker processes can be sent: one value a picture tells pictures apart."""
    return image.double().mul(torch.arange(1.0, image.numel() + 1).view(image.shape)).sum()


STOCK = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")  # it leaves files open
import numpy, webdataset
for shards in json.loads(sys.argv[1]):
    samples = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("__key__", "png", "cls")
    print(json.dumps([[key, hashlib.sha256(numpy.asarray(png)).hexdigest(), cls] for key, png, cls in samples]))
"""


def by_stock_webdataset(python: Callable[..., Any], *shards: list[Path]) -> list[list[list[Any]]]:
    """Key, SHA-256 of the pixels and label of all that webdataset's own reader makes of each list of shards."""
    done = python(STOCK, json.dumps([[str(path) for path in paths] for paths in shards]))
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def digest(image: Any) -> str:
    """SHA-256 of a C×H×W picture's pixels, row by row."""
    return hashlib.sha256(image.permute(1, 2, 0).contiguous().numpy()).hexdigest()


@pytest.mark.parametrize("codec", ["jpeg", "png", "webp", "raw"])
def test_samples_come_as_stored(encoded: Callable[[str], Path], codec: str) -> None:
    out = encoded(codec)
    for view, number in (("mix", 1), ("clean", 0)):
        members = {tar.key(i, n, v): m for (v, n, i), m in stored(out).items()}
        found = list(webdataset(out, number=number, view=view, metadata=True))
        assert [key(sample) for sample in found] == stored_keys(out, number, view)
        for image, label, info in found:
            own = members[info["__key__"]]
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pixels(own))
            assert (image.shape, image.dtype, label) == ((3, 80, 80), torch.uint8, int(own["cls"]))
            shard = f"{view}/v{number:03d}/"
            assert info["__url__"].startswith(shard)
            assert {k: v for k, v in info.items() if not k.startswith("__")} == json.loads(own["json"])


@pytest.mark.slow
def test_stock_webdataset_reads_the_same_but_hides_damage(
    wide_bake: Path, tmp_path: Path, python: Callable[..., Any]
) -> None:
    """Every sample is there for it; of damaged shards it gives fewer, without an error: why ours reads by itself."""
    shards = sorted((wide_bake / "mix" / "v001").iterdir())
    broken = [[tmp_path / "cut.tar"], [tmp_path / "zeroed.tar"]]
    for (path,), change in zip(broken, (cut_last, zero_half), strict=True):
        path.write_bytes(shards[0].read_bytes())
        change(path, contents(path))
    theirs, cut, zeroed = by_stock_webdataset(python, shards, *broken)
    ours = webdataset(wide_bake, number=1, metadata=True)
    assert theirs == [[info["__key__"], digest(image), label] for image, label, info in ours]
    assert len(theirs) == 450
    assert len(cut) == len(keys(shards[0])) - 1
    assert len(zeroed) < len(cut)


def test_it_has_a_length_until_stages_are_added(wide_bake: Path) -> None:
    pipeline = webdataset(wide_bake, shuffle=10)
    assert len(pipeline) == len(list(pipeline)) == 450
    assert pipeline.classes == ("ash", "birch", "cedar")
    batched = pipeline.batched(100)
    with pytest.raises(TypeError, match="with_length"):
        len(batched)
    assert [len(labels) for _, labels in batched] == [100, 100, 100, 100, 50]
    assert len(batched.with_length(5, silent=True)) == 5
    assert len(pipeline) == 450


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_workers_share_the_shards(wide_bake: Path, workers: int) -> None:
    wanted = {mark(image).item(): label for image, label in BakeDataset(wide_bake)}
    loader = DataLoader(webdataset(wide_bake, shuffle=50, transform=mark), batch_size=64, num_workers=workers)
    found = [pair for values, labels in loader for pair in zip(values.tolist(), labels.tolist(), strict=True)]
    assert len(found) == 450
    assert dict(found) == wanted
    told = wds.WebLoader(webdataset(wide_bake, metadata=True).batched(64), batch_size=None, num_workers=workers)
    assert sorted(info["__key__"] for *_, infos in told for info in infos) == sorted(stored_keys(wide_bake, 0))


def test_nodes_share_the_shards(wide_bake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        parts.append([key(sample) for sample in webdataset(wide_bake, metadata=True, shuffle=100, seed=4)])
    assert parts[0]
    assert parts[1]
    assert sorted(parts[0] + parts[1]) == sorted(stored_keys(wide_bake, 0))
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="2 shards a number, too few for 3 nodes"):
        next(iter(webdataset(wide_bake)))


def test_shuffling_is_a_function_of_seed_and_pass(wide_bake: Path) -> None:
    def order(seed: int, epoch: int, shuffle: int) -> list[str]:
        pipeline = webdataset(wide_bake, shuffle=shuffle, seed=seed, metadata=True)
        pipeline.set_epoch(epoch)
        found = [key(sample) for sample in pipeline]
        assert found == [key(sample) for sample in pipeline]
        assert sorted(found) == sorted(stored_keys(wide_bake, epoch % 2))
        return [name.partition("-")[0] for name in found]

    orders = [order(0, 0, 450), order(0, 2, 450), order(1, 0, 450), order(1, 1, 450)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert order(0, 0, 450) == orders[0]
    first_shard = {name.partition("-")[0] for name in keys(wide_bake / "mix" / "v000" / "000000.tar")}
    assert 30 < len(first_shard & set(orders[0][:100])) < 70
    # Even the smallest buffer comes with shards in random order.
    firsts = [next(iter(webdataset(wide_bake, shuffle=1, seed=seed, metadata=True))) for seed in range(8)]
    starts = {key(sample).partition("-")[0] in first_shard for sample in firsts}
    assert starts == {True, False}


def test_an_epoch_reaches_workers_that_persist(wide_bake: Path) -> None:
    pipeline = webdataset(wide_bake, shuffle=20, metadata=True)
    batches = pipeline.batched(50)
    loader = DataLoader(batches, batch_size=None, num_workers=2, persistent_workers=True)
    orders = []
    for epoch in (1, 2, 3):
        pipeline.set_epoch(epoch)
        found = [info["__key__"] for *_, infos in loader for info in infos]
        assert sorted(found) == sorted(stored_keys(wide_bake, epoch % 2))
        orders.append(found)
    assert orders[0] != orders[2]


@pytest.mark.slow
def test_spawned_workers_read_it(wide_bake: Path) -> None:
    pipeline = webdataset(wide_bake, shuffle=20, metadata=True)
    loader = DataLoader(pipeline.batched(50), batch_size=None, num_workers=2, multiprocessing_context="spawn")
    pipeline.set_epoch(1)
    assert sorted(info["__key__"] for *_, infos in loader for info in infos) == sorted(stored_keys(wide_bake, 1))


def test_a_pickled_pipeline_reads_the_same(jpeg_bake: Path) -> None:
    pipeline = webdataset(jpeg_bake, number=1, shuffle=30, transform=mark)
    again = pickle.loads(pickle.dumps(pipeline))  # noqa: S301 - made here
    assert len(again) == 100
    assert list(again) == list(pipeline)


def test_what_a_bake_has_not_is_refused(mix_bake: Path) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"number": 3}, "number is 0 to 2"),
        ({"view": "clean"}, "--views clean"),
        ({"shuffle": -1}, "0 for none, not -1"),
    ]
    for settings, message in refused:
        with pytest.raises(UsageError, match=message):
            webdataset(mix_bake, **settings)
    with pytest.raises(UsageError, match="0 or more"):
        webdataset(mix_bake).set_epoch(-2)


def test_without_webdataset_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    monkeypatch.delitem(sys.modules, "mixbake.stream.pipeline")
    with pytest.raises(MissingExtra, match=r"webdataset is not installed: .*\[train\]"):
        _ = stream.webdataset


TIMM = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")  # webdataset leaves files open
import numpy
from timm.data import create_dataset
for options in json.loads(sys.argv[1]):
    dataset = create_dataset("wds/bake", **options)
    pairs = [[hashlib.sha256(numpy.asarray(picture)).hexdigest(), label] for picture, label in dataset]
    print(json.dumps([len(dataset), pairs]))
"""


@pytest.mark.slow
def test_timm_reads_a_number(wide_bake: Path, tmp_path: Path, python: Callable[..., Any]) -> None:
    """By its pattern: root is the bake, split the shards in braces, and behind | how many images they hold.

    Or by an info.json in root, which names a split: its shards, and how many images each holds.
    """
    pytest.importorskip("timm", reason="the extra `timm` is not installed")
    samples = Bake.open(LocalShelf(wide_bake)).samples.tolist()
    names = [str(path) for path in sorted((wide_bake / "mix" / "v001").iterdir())]
    train = {"name": "train", "num_samples": sum(samples), "filenames": names, "shard_lengths": samples}
    (tmp_path / "info.json").write_text(json.dumps({"splits": {"train": train}}))
    pattern = {"root": str(wide_bake), "split": "mix/v001/{000000..000001}.tar|450"}
    info = {"root": str(tmp_path), "split": "train"}
    training = {"is_training": True, "batch_size": 64}
    done = python(TIMM, json.dumps([pattern, info, pattern | training]))
    assert done.code == 0, done.err
    by_pattern, by_info, trained = map(json.loads, done.out.splitlines())
    wanted = sorted([digest(image), label] for image, label in BakeDataset(wide_bake, number=1))
    for length, pairs in (by_pattern, by_info):
        assert (length, sorted(pairs)) == (450, wanted)
    # Training, it fills up the last batch by beginning anew.
    assert len(trained[1]) == 512
    assert {tuple(pair) for pair in trained[1]} == {tuple(pair) for pair in wanted}
