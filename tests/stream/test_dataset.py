"""BakeDataset: every image once, whoever fetches it, by whatever sampler, in whatever process."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

import torch
from numpy.typing import NDArray
from small import bake, copied, flip_bit, pixels, sign, stored
from torch.utils.data import DataLoader, RandomSampler, Subset, WeightedRandomSampler

from mixbake.errors import Damage, UsageError
from mixbake.storage import tar
from mixbake.stream import BakeDataset, ShardLoader

# Two workers are two, however few cores there are; they fork whatever threads torch has begun.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


def expected(out: Path, view: str, number: int) -> dict[int, tuple[NDArray[np.uint8], int]]:
    """Picture (H×W×3) and label of every image, as the standard library and Pillow find them."""
    return {
        image: (pixels(members), int(members["cls"]))
        for (its_view, its_number, image), members in stored(out).items()
        if (its_view, its_number) == (view, number)
    }


def same(dataset: BakeDataset, wanted: dict[int, tuple[NDArray[np.uint8], int]]) -> bool:
    """Whether item i is picture and label of image ids[i], for all of them."""
    items = {int(image): dataset[i] for i, image in enumerate(dataset.ids)}
    return items.keys() == wanted.keys() and all(
        image.shape == (3, *wanted[key][0].shape[:2])
        and image.dtype == torch.uint8
        and np.array_equal(image.permute(1, 2, 0).numpy(), wanted[key][0])
        and (label, type(label)) == (wanted[key][1], int)
        for key, (image, label) in items.items()
    )


def marked(image: Any) -> Any:
    """A transform that worker processes can be sent: one value a picture tells pictures apart."""
    return image.double().mul(torch.arange(1.0, image.numel() + 1).view(image.shape)).sum()


def by_label(loader: Any) -> list[tuple[float, int]]:
    """What a loader of `marked` items gives, sorted."""
    return sorted(zip(*(torch.cat(column).tolist() for column in zip(*loader, strict=True)), strict=True))


def marks(out: Path, number: int) -> list[tuple[float, int]]:
    wanted = expected(out, "mix", number)
    return sorted((float(marked(torch.tensor(p).permute(2, 0, 1))), label) for p, label in wanted.values())


@pytest.mark.parametrize("codec", ["jpeg", "png", "webp", "raw"])
def test_items_are_what_pillow_reads_from_the_tars(encoded: Callable[[str], Path], codec: str) -> None:
    out = encoded(codec)
    assert same(BakeDataset(out, number=1), expected(out, "mix", 1))
    assert same(BakeDataset(out, view="clean"), expected(out, "clean", 0))


def test_numbers_follow_the_epoch_in_turn(jsd_bake: Path) -> None:
    mixes, clean = BakeDataset(jsd_bake), BakeDataset(jsd_bake, view="clean")
    for epoch in (0, 1, 3, 4, 9):
        mixes.set_epoch(epoch)
        clean.set_epoch(epoch)
        assert (mixes.number, clean.number) == (epoch % 4, epoch % 2)
        assert same(mixes, expected(jsd_bake, "mix", epoch % 4))
        assert same(clean, expected(jsd_bake, "clean", epoch % 2))


def test_pixels_and_labels_are_those_of_the_shard_loader(wide_bake: Path) -> None:
    dataset = BakeDataset(wide_bake)
    place = {int(image): i for i, image in enumerate(dataset.ids)}
    loader = ShardLoader(wide_bake, batch_size=100, drop_last=False, flip="none")
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for batch in loader:
            items = dataset.__getitems__([place[int(image)] for image in batch.ids])
            assert torch.equal(torch.stack([image for image, _ in items]), batch.images)
            assert [label for _, label in items] == batch.labels.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_every_sampler_gets_what_it_asks_for(wide_bake: Path, workers: int) -> None:
    dataset = BakeDataset(wide_bake, number=1, transform=marked)
    dataset[0]  # a forked worker must not go on with its parent's reader
    loader = DataLoader(dataset, batch_size=64, sampler=RandomSampler(dataset), num_workers=workers)
    assert by_label(loader) == marks(wide_bake, 1)
    some = Subset(dataset, range(0, 450, 7))
    (values, labels), *rest = DataLoader(some, batch_size=100, num_workers=workers)
    assert rest == []
    assert [(value, label) for value, label in zip(values.tolist(), labels.tolist(), strict=True)] == [
        dataset[i] for i in range(0, 450, 7)
    ]
    rare = WeightedRandomSampler((dataset.targets == 2).astype(float).tolist(), 50)
    assert {int(label) for _, label in DataLoader(dataset, sampler=rare, num_workers=workers)} == {2}


def test_forked_workers_do_not_wait_for_threads_of_their_parent(jpeg_bake: Path) -> None:
    dataset = BakeDataset(jpeg_bake, transform=marked, threads=2)
    dataset.__getitems__(range(40))
    loader = DataLoader(dataset, batch_size=50, num_workers=1, multiprocessing_context="fork", timeout=30)
    assert by_label(loader) == marks(jpeg_bake, 0)


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_an_epoch_reaches_workers_that_persist(mix_bake: Path, context: str) -> None:
    dataset = BakeDataset(mix_bake, transform=marked)
    loader = DataLoader(dataset, batch_size=16, num_workers=2, persistent_workers=True, multiprocessing_context=context)
    for epoch in (0, 1, 2, 3, 1):
        dataset.set_epoch(epoch)
        assert by_label(loader) == marks(mix_bake, epoch % 3)
        next(iter(loader))  # leaving a pass early leaves nothing behind for the next


def test_copies_and_pickles_read_the_same_and_go_their_own_ways(mix_bake: Path) -> None:
    dataset = BakeDataset(mix_bake, number=2, transform=marked)
    dataset[0]
    pickled = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - made here
    for other in (pickled, copy.deepcopy(dataset)):
        assert [other[i] for i in range(len(other))] == [dataset[i] for i in range(len(dataset))]
        other.set_epoch(1)
        assert (other.number, dataset.number) == (1, 2)
        loader = DataLoader(other, batch_size=16, num_workers=1, persistent_workers=True)
        assert by_label(loader) == marks(mix_bake, 1)
        other.set_epoch(0)
        assert by_label(loader) == marks(mix_bake, 0)


def test_transforms_of_torchvision_take_the_items(mix_bake: Path) -> None:
    v2 = pytest.importorskip("torchvision.transforms.v2")
    steps = [
        v2.RandomHorizontalFlip(p=1.0),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.2, 0.1]),
    ]
    images, labels = next(iter(DataLoader(BakeDataset(mix_bake, transform=v2.Compose(steps)), batch_size=40)))
    plain = torch.stack([image for image, _ in BakeDataset(mix_bake)]).flip(3).double() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.2, 0.1]))
    torch.testing.assert_close(images.double(), (plain - mean) / std, rtol=1e-5, atol=1e-5)
    assert labels.tolist() == BakeDataset(mix_bake).targets.tolist()


def test_it_is_a_sequence(mix_bake: Path) -> None:
    dataset = BakeDataset(mix_bake, transform=marked)
    assert len(dataset) == len(list(dataset)) == 40
    assert dataset.classes == ("ash", "birch", "cedar")
    assert dataset[-1] == dataset[39] == dataset[np.int64(39)] == dataset[torch.tensor(39)]
    assert dataset.__getitems__([]) == []
    for index in (40, -41):
        with pytest.raises(IndexError, match=f"no image {index}"):
            dataset[index]
    with pytest.raises(TypeError):
        dataset[0.5]


def test_targets_may_be_changed(mix_bake: Path) -> None:
    dataset = BakeDataset(mix_bake)
    assert [label for _, label in dataset] == dataset.targets.tolist()
    dataset.targets[:] = 7
    assert {label for _, label in dataset} == {7}
    assert {label for _, label in BakeDataset(mix_bake)} == {0, 1, 2}


def test_only_images_that_were_baked_count(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    bake(image_folder, tmp_path / "out", picture_folder, limit=7)
    dataset = BakeDataset(tmp_path / "out")
    assert len(dataset) == len(dataset.ids) == len(dataset.targets) == 7
    assert same(dataset, expected(tmp_path / "out", "mix", 0))


def test_items_that_are_kept_keep_their_pixels(wide_bake: Path) -> None:
    dataset = BakeDataset(wide_bake)
    wanted = expected(wide_bake, "mix", 0)
    kept = [dataset.__getitems__(range(first, first + 50)) for first in range(0, 450, 50)]
    found = [image.permute(1, 2, 0).numpy() for items in kept for image, _ in items]
    for image, picture in zip(dataset.ids.tolist(), found, strict=True):
        np.testing.assert_array_equal(picture, wanted[image][0])


def test_threads_may_share_a_data_set(jpeg_bake: Path) -> None:
    dataset = BakeDataset(jpeg_bake, transform=marked, threads=2)
    wanted = [BakeDataset(jpeg_bake, transform=marked)[i] for i in range(100)]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(dataset.__getitems__, [range(100)] * 8):
            assert found == wanted


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_names_shard_and_key(wide_bake: Path, tmp_path: Path, workers: int) -> None:
    out = copied(wide_bake, tmp_path / "out")
    path = out / "mix" / "v001" / "000001.tar"
    victim = path.read_bytes().index(b"-0001.png", 30_000)
    key = path.read_bytes()[victim - 8 : victim + 5].decode()
    flip_bit(path, victim - 1)
    dataset = BakeDataset(out)
    assert by_label(DataLoader(Marked(dataset), batch_size=64, num_workers=workers)) == marks(wide_bake, 0)
    dataset.set_epoch(1)
    with pytest.raises(Damage, match=rf"v001/000001\.tar, {key}"):
        list(DataLoader(dataset, batch_size=64, num_workers=workers))


class Marked(torch.utils.data.Dataset[Any]):
    """Somebody's own data set around ours, without `__getitems__`."""

    def __init__(self, dataset: BakeDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        image, label = self.dataset[index]
        return marked(image), label


def test_damage_is_found_at_opening(mix_bake: Path, tmp_path: Path) -> None:
    out = copied(mix_bake, tmp_path / "out")
    path = out / "mix" / "v002" / "000000.tar"
    whole = path.read_bytes()
    flip_bit(path, tar.UNIT + 2000)
    BakeDataset(out)
    with pytest.raises(Damage, match=r"mix/v002/000000\.tar.*altered"):
        BakeDataset(out, verify="full")
    path.write_bytes(whole[:-5120])
    with pytest.raises(Damage, match=r"mix/v002/000000\.tar.*bytes"):
        BakeDataset(out)
    path.unlink()
    with pytest.raises(Damage, match=r"mix/v002/000000\.tar is missing"):
        BakeDataset(out)


def test_forged_pictures_are_damage_not_crashes(jpeg_bake: Path, tmp_path: Path) -> None:
    out = copied(jpeg_bake, tmp_path / "out")
    path = out / "mix" / "v000" / "000000.tar"
    path.write_bytes(path.read_bytes().replace(b"\xff\xd8\xff", b"\xff\xd9\xff"))
    sign(out)
    with pytest.raises(Damage, match=r"mix/v000/000000\.tar, \d{8}-0000: the picture cannot be decoded"):
        list(BakeDataset(out))


def test_what_a_bake_has_not_is_refused(mix_bake: Path, jsd_bake: Path, tmp_path: Path) -> None:
    refused: list[tuple[Path, dict[str, Any], str]] = [
        (mix_bake, {"number": 3}, "number is 0 to 2 .*3 epochs' worth"),
        (mix_bake, {"number": -1}, "number is 0 to 2"),
        (mix_bake, {"number": True}, "number is 0 to 2"),
        (mix_bake, {"view": "clean"}, "--views clean"),
        (mix_bake, {"view": "jsd"}, "view is one of mix, clean"),
        (jsd_bake, {"view": "clean", "number": 2}, "number is 0 to 1"),
        (mix_bake, {"verify": "background"}, "verify is one of sizes, full"),
        (tmp_path, {}, "no finished bake"),
    ]
    for out, settings, message in refused:
        with pytest.raises(UsageError, match=message):
            BakeDataset(out, **settings)
    with pytest.raises(UsageError, match="0 or more, not -1"):
        BakeDataset(mix_bake).set_epoch(-1)


@pytest.mark.slow
def test_it_reads_over_the_network_too(mix_bake: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(mix_bake), "/bakes/mix", recursive=True)
    dataset = BakeDataset("memory://bakes/mix", number=1, cache=tmp_path / "cache")
    assert same(dataset, expected(mix_bake, "mix", 1))
