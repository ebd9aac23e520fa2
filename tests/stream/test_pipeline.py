"""The webdataset pipeline: all samples, each once, or Damage; and what stock tools make of the same shards."""

import contextlib
import gzip
import io
import json
import os
import pickle
import re
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
wds = pytest.importorskip("webdataset", reason="the extra `train` is not installed")

import torch
from PIL import Image
from small import copied, flip_bit, pixels, sign, stored
from torch.utils.data import DataLoader

from mixbake.errors import Damage, UsageError
from mixbake.storage import tar
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf
from mixbake.stream import BakeDataset, webdataset

# Two workers are two, however few cores there are.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

Contents = dict[str, bytes]


def contents(path: Path) -> Contents:
    """Members of a tar by name, in order."""
    with tarfile.open(path, "r:") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def keys(path: Path) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in contents(path)))


def stored_keys(out: Path, number: int, view: str = "mix") -> list[str]:
    return [key for path in sorted((out / view / f"v{number:03d}").glob("*.tar")) for key in keys(path)]


def key(sample: Any) -> str:
    return str(sample[2]["__key__"])


def mark(image: Any) -> Any:
    """A transform that worker processes can be sent: one value a picture tells pictures apart."""
    return image.double().mul(torch.arange(1.0, image.numel() + 1).view(image.shape)).sum()


def stock(out: Path, number: int) -> list[str]:
    """URLs as webdataset's own reader takes them."""
    return [str(path) for path in sorted((out / "mix" / f"v{number:03d}").glob("*.tar"))]


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


def test_it_gives_what_stock_webdataset_gives(jpeg_bake: Path) -> None:
    theirs = wds.WebDataset(stock(jpeg_bake, 0), shardshuffle=False).decode("pil").to_tuple("__key__", "jpg", "cls")
    ours = list(webdataset(jpeg_bake, metadata=True))
    for (name, picture, label), (image, our_label, info) in zip(theirs, ours, strict=True):
        assert (name, label) == (info["__key__"], our_label)
        # Pillow and simplejpeg carry libjpeg-turbos of their own, which may round differently.
        assert np.abs(np.asarray(picture, np.int16) - image.permute(1, 2, 0).numpy()).max() <= 2


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
    starts = {order(seed, 0, 1)[0] in first_shard for seed in range(8)}
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


# ── damage, by accident and by design ─────────────────────────────────────────────────────────────


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
    flip_bit(path, path.read_bytes().index(b".jpg", 30_000) - 1)


def flip_size(path: Path, _: Contents) -> None:
    flip_bit(path, path.read_bytes().index(b".cls", 30_000) - 17 + 134)


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


class Bomb:
    def __reduce__(self) -> Any:
        return os.system, ("echo unpickled >> exploded",)


BOMB = pickle.dumps(Bomb())
ACCIDENTS = [cut_hard, cut_last, zero_half, flip_name, flip_size, lose_first]
FORGERIES = [
    *ACCIDENTS, add_one, add_pickle, pickle_for_label, other_label, other_size, no_picture, huge_member, long_json,
    no_json, list_json, compressed, sparse,
]  # fmt: skip


def damaged(jpeg_bake: Path, to: Path, change: Callable[[Path, Contents], None]) -> Path:
    out = copied(jpeg_bake, to)
    path = out / "mix" / "v000" / "000001.tar"
    change(path, contents(path))
    return out


@pytest.mark.parametrize("change", FORGERIES, ids=lambda change: change.__name__)
def test_a_forged_shard_is_damage(
    jpeg_bake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, Contents], None]
) -> None:
    """Also when every receipt has been made to fit what is there, so that sizes and hashes say nothing."""
    monkeypatch.chdir(tmp_path)
    out = damaged(jpeg_bake, tmp_path / "out", change)
    sign(out)
    with pytest.raises(Damage, match=r"mix/v000/000001\.tar"):
        list(webdataset(out, metadata=True))
    assert not (tmp_path / "exploded").exists()
    assert len(list(webdataset(out, number=1, metadata=True))) == 100


@pytest.mark.parametrize("change", ACCIDENTS, ids=lambda change: change.__name__)
def test_no_handler_swallows_it(jpeg_bake: Path, tmp_path: Path, change: Callable[[Path, Contents], None]) -> None:
    out = copied(jpeg_bake, tmp_path / "out")
    pipeline = webdataset(out)  # open already when it happens
    path = out / "mix" / "v000" / "000001.tar"
    change(path, contents(path))
    tolerant = pipeline.map(lambda sample: sample, handler=wds.ignore_and_continue).batched(7)
    for workers in (0, 1):
        with pytest.raises(Damage, match=r"mix/v000/000001\.tar"):
            list(DataLoader(tolerant, batch_size=None, num_workers=workers))


def test_stock_webdataset_hides_what_is_damage_here(jpeg_bake: Path, tmp_path: Path) -> None:
    """Why the pipeline reads tars by itself: no error, fewer samples."""
    for change in (cut_last, zero_half):
        out = damaged(jpeg_bake, tmp_path / change.__name__, change)
        with contextlib.suppress(tarfile.ReadError):
            assert len(list(wds.WebDataset(stock(out, 0), shardshuffle=False))) < 100


def test_altered_pixels_are_found_by_their_hash(mix_bake: Path, tmp_path: Path) -> None:
    out = copied(mix_bake, tmp_path / "out")
    flip_bit(out / "mix" / "v000" / "000000.tar", 2 * tar.UNIT)
    with pytest.raises(Damage, match=r"mix/v000/000000\.tar.*altered"):
        webdataset(out, verify="full")


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


def test_without_webdataset_the_extra_is_named(python: Callable[..., Any]) -> None:
    done = python("import sys; sys.modules['webdataset'] = None; from mixbake.stream import webdataset")
    assert done.code != 0
    assert re.search(r"MissingExtra: webdataset is not installed.*\[train\]", done.err)


# ── timm ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def timm_data() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("timm.data", reason="the extra `timm` is not installed")


def read_by_timm(dataset: Any, out: Path) -> None:
    """Each image once, with its label and its pixels."""
    wanted = {image.numpy().tobytes(): label for image, label in BakeDataset(out, number=1)}
    found = [(np.moveaxis(np.asarray(picture), 2, 0).tobytes(), label) for picture, label in dataset]
    assert len(found) == len(wanted)
    assert dict(found) == wanted


def test_timm_reads_a_number_by_its_pattern(wide_bake: Path, timm_data: Any) -> None:
    """root: the bake; split: the shards in braces, and behind | how many images they hold."""
    split = "mix/v001/{000000..000001}.tar|450"
    dataset = timm_data.create_dataset("wds/bake", root=str(wide_bake), split=split, is_training=False)
    assert len(dataset) == 450
    read_by_timm(dataset, wide_bake)


def test_timm_reads_a_number_by_an_info_file(wide_bake: Path, tmp_path: Path, timm_data: Any) -> None:
    """info.json in root names a split: its shards, and how many images each holds."""
    samples = Bake.open(LocalShelf(wide_bake)).samples.tolist()
    names = [str(path) for path in sorted((wide_bake / "mix" / "v001").glob("*.tar"))]
    split = {"name": "train", "num_samples": sum(samples), "filenames": names, "shard_lengths": samples}
    (tmp_path / "info.json").write_text(json.dumps({"splits": {"train": split}}))
    read_by_timm(timm_data.create_dataset("wds/bake", root=str(tmp_path), split="train", is_training=False), wide_bake)


def test_timm_trains_on_a_number(wide_bake: Path, timm_data: Any) -> None:
    dataset = timm_data.create_dataset(
        "wds/bake", root=str(wide_bake), split="mix/v000/{000000..000001}.tar|450", is_training=True, batch_size=64
    )
    wanted = {image.numpy().tobytes() for image, _ in BakeDataset(wide_bake)}
    found = [np.moveaxis(np.asarray(picture), 2, 0).tobytes() for picture, _ in dataset]
    # It fills up the last batch by beginning anew.
    assert len(found) == 512
    assert set(found) == wanted
