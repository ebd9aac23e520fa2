"""The loader: pictures, labels and provenance of one pass, as the device wants them."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small import Key, all_seen, bake, pixels, stored

from mixbake.errors import UsageError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.stream.loader import ShardLoader  # noqa: E402 - torch must be there

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def pictures(out: Path) -> dict[Key, NDArray[np.uint8]]:
    return {key: pixels(members) for key, members in stored(out).items()}


def shown(images: Any) -> NDArray[np.uint8]:
    """uint8 B×C×H×W of a batch as B×H×W×C."""
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def sides(images: NDArray[np.uint8], expected: list[NDArray[np.uint8]]) -> list[bool]:
    """Which are mirrored; fails for what is neither the picture nor its mirror image."""
    mirrored = []
    for got, wanted in zip(images, expected, strict=True):
        assert np.array_equal(got, wanted) or np.array_equal(got, wanted[:, ::-1])
        mirrored.append(not np.array_equal(got, wanted))
    return mirrored


@pytest.fixture
def every_bake(
    mix_bake: Path, jsd_bake: Path, wide_bake: Path, encoded: Callable[[str], Path]
) -> Callable[[str], Path]:
    """A bake by a name: "mix", "jsd", "wide", or a codec's."""
    named = {"mix": mix_bake, "jsd": jsd_bake, "wide": wide_bake}
    return lambda name: named.get(name) or encoded(name)


class TestPictures:
    @pytest.mark.parametrize("name", ["mix", "wide", "png", "jpeg", "webp", "raw"])
    def test_they_are_what_the_tar_holds(self, every_bake: Callable[[str], Path], name: str) -> None:
        out = every_bake(name)
        expected, loader = pictures(out), ShardLoader(out, batch_size=10, flip="none", threads=2)
        for number in range(2):
            for batch in loader:
                wanted = [expected["mix", number, image] for image in batch.ids.tolist()]
                assert np.array_equal(shown(batch.images), np.stack(wanted))
                assert set(batch.numbers.tolist()) == {number}
                assert batch.valid.all()
                assert not batch.clean.any()

    @pytest.mark.parametrize("name", ["mix", "jpeg"])
    def test_each_use_shows_the_other_side(self, every_bake: Callable[[str], Path], name: str) -> None:
        out = every_bake(name)
        expected, loader = pictures(out), ShardLoader(out, batch_size=20, flip="online", seed=4)
        assert loader.bake.plan.flip == ("online" if name == "mix" else loader.bake.plan.flip)
        used: dict[tuple[int, int], list[bool]] = {}
        for _ in range(2 * loader.bake.epochs_worth):
            for batch in loader:
                pairs = list(zip(batch.ids.tolist(), batch.numbers.tolist(), strict=True))
                mirrored = sides(shown(batch.images), [expected["mix", number, image] for image, number in pairs])
                for pair, side in zip(pairs, mirrored, strict=True):
                    used.setdefault(pair, []).append(side)
        assert len(used) == len(loader.bake.images) * loader.bake.epochs_worth
        assert {sum(uses) for uses in used.values()} == {1}
        firsts = sum(uses[0] for uses in used.values())
        assert abs(firsts - len(used) / 2) < 4 * np.sqrt(len(used)) / 2

    def test_flips_do_not_depend_on_the_batches(self, mix_bake: Path) -> None:
        found = []
        for size in (5, 8, 40):
            loader = ShardLoader(mix_bake, batch_size=size)
            found.append(
                {
                    image: picture.tobytes()
                    for batch in loader
                    for image, picture in zip(batch.ids.tolist(), shown(batch.images), strict=True)
                }
            )
        assert found[0] == found[1] == found[2]
        assert len(found[0]) == 40

    def test_labels_and_classes_are_the_sources(self, wide_bake: Path) -> None:
        members, loader = stored(wide_bake), ShardLoader(wide_bake, batch_size=90)
        assert loader.classes == ("ash", "birch", "cedar")
        for batch in loader:
            wanted = [int(members["mix", 0, image]["cls"]) for image in batch.ids.tolist()]
            assert batch.labels.tolist() == wanted
            assert (batch.labels.dtype, batch.ids.dtype, batch.numbers.dtype) == (torch.int64,) * 3
            assert (batch.clean.dtype, batch.valid.dtype) == (torch.bool,) * 2

    def test_a_pass_has_every_image_once(self, wide_bake: Path) -> None:
        loader = ShardLoader(wide_bake, batch_size=64, drop_last=False)
        batches = list(loader)
        assert len(batches) == len(loader) == 8
        assert {len(batch) for batch in batches} == {64}
        ids = torch.cat([batch.ids[batch.valid] for batch in batches])
        assert sorted(ids.tolist()) == list(range(450))
        assert len(list(ShardLoader(wide_bake, batch_size=64))) == 7

    def test_one_number_for_ever(self, mix_bake: Path) -> None:
        loader = ShardLoader(mix_bake, batch_size=40, order=2)
        assert [batch.numbers.unique().tolist() for _ in range(4) for batch in loader] == [[2]] * 4

    def test_it_unpacks_into_images_and_labels(self, mix_bake: Path) -> None:
        batch = next(iter(ShardLoader(mix_bake, batch_size=8)))
        images, labels = batch
        assert images is batch.images
        assert labels is batch.labels
        assert len(batch) == 8


class TestForms:
    @pytest.mark.parametrize("name", ["mix", "jsd", "jpeg"])
    @pytest.mark.parametrize("resident", [False, True])
    def test_floats_are_normalised(self, every_bake: Callable[[str], Path], name: str, resident: bool) -> None:
        settings: dict[str, Any] = {"batch_size": 20, "mean": MEAN, "std": STD, "resident": resident}
        mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (MEAN, STD))
        exact = ShardLoader(every_bake(name), **settings)
        floats = ShardLoader(every_bake(name), dtype=torch.float32, **settings)
        for one, other in zip(exact, floats, strict=True):
            expected = (one.images.double() / 255 - mean) / std
            assert other.images.dtype == torch.float32
            assert (other.images.double() - expected).abs().max() <= 1e-6

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_floats_are_the_nearest(self, mix_bake: Path, dtype: Any) -> None:
        given = {"batch_size": 20, "mean": MEAN, "std": STD}
        for one, other in zip(
            ShardLoader(mix_bake, dtype=torch.float32, **given),
            ShardLoader(mix_bake, dtype=dtype, **given),
            strict=True,
        ):
            assert other.images.dtype == dtype
            assert torch.equal(one.images.to(dtype), other.images)

    @pytest.mark.parametrize("name", ["mix", "jsd"])
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
    def test_both_memory_formats_hold_the_same(self, every_bake: Callable[[str], Path], name: str, dtype: Any) -> None:
        first = ShardLoader(every_bake(name), batch_size=8, dtype=dtype)
        last = ShardLoader(every_bake(name), batch_size=8, dtype=dtype, channels_last=False)
        for one, other in zip(first, last, strict=True):
            rows = one.images.reshape(-1, 3, 32, 32) if name == "jsd" else one.images
            assert rows.is_contiguous(memory_format=torch.channels_last)
            assert tuple(other.images.shape[-4:]) == (8, 32, 32, 3)
            assert torch.equal(one.images.movedim(-3, -1), other.images)

    @pytest.mark.parametrize("name", ["mix", "jsd", "wide", "jpeg"])
    @pytest.mark.parametrize("settings", [{}, {"dtype": "float32"}, {"drop_last": False}])
    def test_resident_batches_are_streamed_ones(
        self, every_bake: Callable[[str], Path], name: str, settings: dict[str, Any]
    ) -> None:
        settings = settings | ({"dtype": torch.float32} if "dtype" in settings else {})
        if name == "wide":
            settings |= {"clean_fraction": 0.4}
        loaders = [
            ShardLoader(every_bake(name), batch_size=16, resident=resident, **settings) for resident in (False, True)
        ]
        for _ in range(3):
            assert all_seen(loaders[0]) == all_seen(loaders[1])

    def test_auto_is_not_resident_without_a_gpu(self, mix_bake: Path) -> None:
        loaders = [ShardLoader(mix_bake, batch_size=16, resident=resident) for resident in ("auto", False)]
        assert all_seen(loaders[0]) == all_seen(loaders[1])


class TestTriplets:
    def test_three_views_of_one_crop_with_one_flip(self, jsd_bake: Path) -> None:
        expected, loader = pictures(jsd_bake), ShardLoader(jsd_bake, batch_size=8, flip="online")
        assert loader.views == "jsd"
        numbers = []
        for _ in range(4):
            for batch in loader:
                assert tuple(batch.images.shape) == (3, 8, 3, 32, 32)
                clean, first, second = batch.numbers[:, 0].tolist()
                assert batch.numbers.tolist() == [[clean] * 8, [first] * 8, [second] * 8]
                keys = [("clean", clean), ("mix", first), ("mix", second)]
                found = [
                    sides(shown(batch.images[row]), [expected[*key, image] for image in batch.ids.tolist()])
                    for row, key in enumerate(keys)
                ]
                assert found[0] == found[1] == found[2]
            numbers.append((clean, first, second))
        assert numbers == [(0, 0, 1), (1, 2, 3), (0, 0, 1), (1, 2, 3)]

    def test_provenance_says_so(self, jsd_bake: Path) -> None:
        members = stored(jsd_bake)
        for batch in ShardLoader(jsd_bake, batch_size=8, metadata=True):
            for row, table, view in zip(range(3), batch.metadata, ["clean", "mix", "mix"], strict=True):
                assert table["image"].to_pylist() == batch.ids.tolist()
                assert table["number"].to_pylist() == batch.numbers[row].tolist()
                assert table["label"].to_pylist() == batch.labels.tolist()
                assert set(table["view"].to_pylist()) == {view}
            crops = [
                [json.loads(members[view, number, image]["json"])["crop"] for image in batch.ids.tolist()]
                for view, number in zip(["clean", "mix", "mix"], batch.numbers[:, 0].tolist(), strict=True)
            ]
            assert crops[0] == crops[1] == crops[2]
            assert len({json.dumps(crop) for crop in crops[0]}) > 1

    def test_a_bake_of_triplets_gives_its_mixes_one_by_one(self, jsd_bake: Path) -> None:
        loader = ShardLoader(jsd_bake, batch_size=40, views="mix")
        assert [batch.numbers.unique().item() for _ in range(5) for batch in loader] == [0, 1, 2, 3, 0]


class TestClean:
    @pytest.mark.parametrize("name", ["jsd", "wide", "jpeg"])
    def test_clean_places_hold_the_clean_crop_of_the_same_turn(
        self, every_bake: Callable[[str], Path], name: str
    ) -> None:
        out = every_bake(name)
        expected = pictures(out)
        loader = ShardLoader(out, batch_size=20, clean_fraction=0.5, flip="none", metadata=True)
        group, total, clean = loader.bake.plan.group, 0, 0
        for p in range(loader.bake.epochs_worth * group):
            for batch in loader:
                views = ["clean" if place else "mix" for place in batch.clean.tolist()]
                numbers = [p // group if place else p for place in batch.clean.tolist()]
                keys = zip(views, numbers, batch.ids.tolist(), strict=True)
                assert np.array_equal(shown(batch.images), np.stack([expected[key] for key in keys]))
                assert batch.numbers.tolist() == numbers == batch.metadata["number"].to_pylist()
                assert batch.metadata["view"].to_pylist() == views
                assert batch.metadata["image"].to_pylist() == batch.ids.tolist()
                total, clean = total + 20, clean + int(batch.clean.sum())
        assert abs(clean - total / 2) < 5 * np.sqrt(total) / 2

    def test_all_of_them(self, wide_bake: Path) -> None:
        expected = pictures(wide_bake)
        for batch in ShardLoader(wide_bake, batch_size=90, clean_fraction=1.0, flip="none"):
            assert batch.clean.all()
            wanted = [expected["clean", 0, image] for image in batch.ids.tolist()]
            assert np.array_equal(shown(batch.images), np.stack(wanted))


class TestProvenance:
    @pytest.mark.parametrize("name", ["mix", "wide", "jpeg"])
    @pytest.mark.parametrize("prefetch", [0, 2])
    def test_rows_stand_beside_their_pictures(
        self, every_bake: Callable[[str], Path], name: str, prefetch: int
    ) -> None:
        out = every_bake(name)
        members = stored(out)
        for batch in ShardLoader(out, batch_size=30, metadata=True, prefetch=prefetch, drop_last=False):
            rows = batch.metadata.to_pylist()
            assert [row["image"] for row in rows] == batch.ids.tolist()
            assert [row["number"] for row in rows] == batch.numbers.tolist()
            assert [row["label"] for row in rows] == batch.labels.tolist()
            for row in rows:
                shard = (out / row["shard"]).read_bytes()
                picture = shard[row["offset"] : row["offset"] + row["size"]]
                assert picture in members["mix", row["number"], row["image"]].values()

    def test_none_unless_asked_for(self, mix_bake: Path) -> None:
        assert next(iter(ShardLoader(mix_bake, batch_size=8))).metadata is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"batch_size": 0}, "batch_size"),
            ({"batch_size": 41}, "drop_last"),
            ({"views": "both"}, "views"),
            ({"flip": "yes"}, "flip"),
            ({"verify": "maybe"}, "verify"),
            ({"on_damage": "ignore"}, "on_damage"),
            ({"order": 3}, "0 to 2"),
            ({"views": "jsd"}, "--views jsd"),
            ({"clean_fraction": 0.5}, "--views clean"),
            ({"dtype": torch.int32}, "dtype"),
            ({"std": (0.1, 0.0, 0.1)}, "std"),
            ({"mean": (0.1, 0.2)}, "mean"),
            ({"resident": "yes"}, "resident"),
            ({"rank": 0}, "world_size"),
            ({"rank": 0, "world_size": 3}, "world_size"),
            ({"rank": 2, "world_size": 2}, "world_size"),
            ({"rank": 0, "world_size": 0}, "world_size"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, mix_bake: Path, settings: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            ShardLoader(mix_bake, **({"batch_size": 8} | settings))

    def test_triplets_have_their_clean_crops_already(self, jsd_bake: Path) -> None:
        with pytest.raises(UsageError, match="clean_fraction"):
            ShardLoader(jsd_bake, batch_size=8, views="jsd", clean_fraction=0.5)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_gpu_that_is_not_there(self, mix_bake: Path) -> None:
        with pytest.raises(UsageError, match="CUDA"):
            ShardLoader(mix_bake, batch_size=8, device="cuda")

    def test_a_folder_without_a_bake(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"no bake\.json"):
            ShardLoader(tmp_path, batch_size=8)
        with pytest.raises(UsageError, match=r"no bake\.json"):
            ShardLoader(tmp_path / "nowhere", batch_size=8)


def test_the_log_says_which_use_it_is(mix_bake: Path, caplog: pytest.LogCaptureFixture) -> None:
    loader = ShardLoader(mix_bake, batch_size=40)
    with caplog.at_level(logging.INFO, "mixbake.stream"):
        for _ in range(4):
            list(loader)
    assert [message for message in caplog.messages if message.startswith("pass")] == [
        "pass 0: use 1 of epoch's worth 0",
        "pass 1: use 1 of epoch's worth 1",
        "pass 2: use 1 of epoch's worth 2",
        "pass 3: use 2 of epoch's worth 0",
    ]


def test_a_limited_bake_keeps_its_image_numbers(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    bake(image_folder, tmp_path / "out", picture_folder, limit=10)
    members = stored(tmp_path / "out")
    batch = next(iter(ShardLoader(tmp_path / "out", batch_size=10)))
    assert sorted(("mix", 0, image) for image in batch.ids.tolist()) == sorted(members)
    assert max(batch.ids.tolist()) > 9
