"""Promises of the pixel signals: planted faults are found and named, honest pictures are left alone."""

import dataclasses
import itertools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tampering
from numpy.typing import NDArray
from PIL import Image
from small import bake, copied, flip_bit, pixels, stored
from test_likeness import ssim

import mixbake.audit
from mixbake.audit import hashing, measure, signals
from mixbake.audit.signals import SIGNALS, Alike, Group, Signals, find_signals
from mixbake.data.demo import draw_demo
from mixbake.errors import Damage

Bytes = NDArray[np.uint8]
PLAIN: dict[str, Any] = {"recipe": "plain", "crop": "fit"}
"""Variants that are their images."""


def found(out: Path, **settings: Any) -> Signals:
    return find_signals(mixbake.audit.open(out).catalog, **settings)


def save(picture: Bytes, path: Path, **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **settings)
    return path


def by_value(groups: tuple[Group, ...], by: str) -> dict[str, Group]:
    return {group.value: group for group in groups if group.by == by}


def numbers(out: Path) -> dict[str, int]:
    """Image numbers by path."""
    table = mixbake.audit.open(out).query(columns=["source", "image"]).to_pylist()
    return {row["source"]: row["image"] for row in table}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    """40 images, three epochs' worth and their clean crops: what a bake without these has, and its crops."""
    out = tmp_path_factory.mktemp("signals") / "clean"
    bake(image_folder, out, picture_folder, epochs_worth=3, views="clean")
    return out


# ── measures ──────────────────────────────────────────────────────────────────────────────────────


def test_measures_are_those_of_the_stored_pictures(clean: Path) -> None:
    everything, samples = found(clean), stored(clean)
    gray, values = {}, {}
    for (view, number, image), members in samples.items():
        picture = pixels(members)
        gray[view, number, image] = np.asarray(Image.fromarray(picture).convert("L"))
        if view == "mix":
            crop = pixels(samples["clean", number, image])
            values[f"{image:08d}-{number:04d}"] = float(np.sqrt(np.mean((picture.astype(float) - crop) ** 2)) / 255)
    likeness = {
        f"{image:08d}-{number:04d}": ssim(gray["mix", number, image], gray["clean", number, image])
        for view, number, image in samples
        if view == "mix"
    }
    whole = by_value(everything.groups, "all")["all"]
    assert (everything.measured, everything.variants, whole.n, everything.crops) == (120, 120, 120, "clean")
    assert whole.affinity == pytest.approx(np.mean(list(values.values())))
    assert whole.ssim is not None
    assert dataclasses.astuple(whole.ssim) == pytest.approx(np.quantile(list(likeness.values()), [0.05, 0.5, 0.95]))
    worst = [(one.key, one.value) for one in everything.worst if one.measure == "ssim"]
    expected = sorted(likeness.items(), key=lambda pair: pair[1])[: signals.MOST_WORST]
    assert [key for key, _ in worst] == [key for key, _ in expected]
    assert [value for _, value in worst] == pytest.approx([value for _, value in expected])


def test_groups_are_the_columns_of_the_index(clean: Path) -> None:
    everything = found(clean)
    rows = mixbake.audit.open(clean).query("view = 'mix'").to_pylist()
    for by, column in (("layer", "layer"), ("op", "op"), ("blend", "blend")):
        counts: dict[str, int] = {}
        for row in rows:
            value = "none" if row[column] is None else str(row[column])
            counts[value] = counts.get(value, 0) + 1
        assert {value: group.n for value, group in by_value(everything.groups, by).items()} == counts


@pytest.mark.parametrize("by", ["all", "layer"])
def test_diversity_is_the_distance_of_neighbours_within_a_group(clean: Path, by: str) -> None:
    mixes = {place[1:]: members for place, members in stored(clean).items() if place[0] == "mix"}
    apart: dict[str, list[float]] = {}
    for image in range(40):
        last: dict[str, NDArray[np.float64]] = {}
        for number in range(3):
            value = "all" if by == "all" else str(json.loads(mixes[number, image]["json"])["layer"])
            picture = pixels(mixes[number, image]).astype(np.float64)
            if value in last:
                apart.setdefault(value, []).append(float(np.sqrt(np.mean((picture - last[value]) ** 2)) / 255))
            last[value] = picture
    diversity = {value: group.diversity for value, group in by_value(found(clean).groups, by).items()}
    assert diversity == {value: pytest.approx(np.mean(distances)) for value, distances in apart.items()}


def test_crops_cut_from_the_source_are_the_clean_ones(
    tmp_path: Path, image_folder: Path, picture_folder: Path, clean: Path
) -> None:
    bake(image_folder, tmp_path / "mix", picture_folder, epochs_worth=3)
    from_source, from_clean = found(tmp_path / "mix"), found(clean)
    assert (from_source.crops, from_clean.crops, from_source.missing) == ("source", "clean", "")
    assert from_source.groups == from_clean.groups
    assert from_source.worst == from_clean.worst


def test_crops_of_large_images_are_cut_and_mirrored_as_baked(tmp_path: Path, picture_folder: Path) -> None:
    for number in range(6):
        picture = draw_demo(number, size=120, split="train")[: 90 + number]
        save(picture, tmp_path / "images" / "ash" / f"{number}.png")
    settings = {"size": 80, "codec": "png", "flip": "baked", "epochs_worth": 4}
    bake(tmp_path / "images", tmp_path / "mix", picture_folder, **settings)
    bake(tmp_path / "images", tmp_path / "clean", picture_folder, views="clean", **settings)
    groups = found(tmp_path / "mix").groups
    assert groups == found(tmp_path / "clean").groups
    assert groups[0].ssim is not None


def test_a_pair_is_compared_with_the_crop_that_it_shares(jsd_bake: Path) -> None:
    samples = stored(jsd_bake)
    apart = [
        np.sqrt(np.mean((pixels(members).astype(float) - pixels(samples["clean", number // 2, image])) ** 2)) / 255
        for (view, number, image), members in samples.items()
        if view == "mix"
    ]
    assert found(jsd_bake).groups[0].affinity == pytest.approx(np.mean(apart))


def test_variants_that_are_their_images_could_not_be_more_alike(
    tmp_path: Path, image_folder: Path, picture_folder: Path
) -> None:
    bake(image_folder, tmp_path / "out", picture_folder, epochs_worth=2, **PLAIN)
    everything = found(tmp_path / "out")
    whole = everything.groups[0]
    assert whole.ssim is not None
    assert whole.psnr is not None
    assert (whole.ssim.low, whole.psnr.low, whole.affinity, whole.diversity) == (pytest.approx(1), 100, 0, 0)
    assert [group.value for group in everything.groups] == ["all", "none", "none", "none"]
    # Both variants of an image are equal, which is right.
    assert everything.named == {"constant": 0, "identical": 0, "conflicting": 0}
    assert all(one.same_image and one.exact and one.count == 2 for one in everything.alike)
    assert len(everything.alike) == 40


# ── what is measured ──────────────────────────────────────────────────────────────────────────────


def test_large_pictures_are_sampled_by_the_seed(bakes: Callable[[str], Path]) -> None:
    out = bakes("jpeg")
    first, again, other = (found(out, sample=20, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert (first.measured, first.variants, first.seed) == (20, 192, 1)
    assert first.groups != other.groups
    chosen = mixbake.audit.open(out).sample(20, where="view = 'mix'", seed=1)["key"].to_pylist()
    assert {one.key for one in first.worst} <= set(chosen)
    assert found(out, sample=1000).measured == 192


def test_too_many_small_ones_are_sampled(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "WHOLE", 119)
    assert found(clean, sample=30).measured == 30
    monkeypatch.setattr(signals, "WHOLE", 120)
    assert found(clean, sample=30).measured == 120


@pytest.mark.parametrize("most", [1, 2, 7, 1000])
def test_batches_change_nothing_but_pairs_between_them(clean: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    expected = found(clean)
    monkeypatch.setattr(measure, "MOST", most)
    other = found(clean)
    if most < 3:
        assert other.groups[0].diversity is None if most == 1 else other.groups[0].diversity > 0  # type: ignore[operator]  # no None then
        expected, other = (
            dataclasses.replace(one, groups=tuple(dataclasses.replace(group, diversity=None) for group in one.groups))
            for one in (expected, other)
        )
    for one, two in zip(expected.groups, other.groups, strict=True):
        assert one.diversity == pytest.approx(two.diversity)
        assert dataclasses.replace(one, diversity=None) == dataclasses.replace(two, diversity=None)
    assert dataclasses.replace(expected, groups=()) == dataclasses.replace(other, groups=())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_bake(
    tmp_path: Path, image_folder: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "MOST", 20)
    monkeypatch.setattr(hashing, "MOST_PAIRS", 1000)
    peaks = []
    for epochs in (2, 16):
        bake(image_folder, tmp_path / "out", picture_folder, epochs_worth=epochs)
        catalog = mixbake.audit.open(tmp_path / "out").catalog
        find_signals(catalog)
        tracemalloc.start()
        find_signals(catalog)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 560 variants more, of which pixels alone are 3072 bytes each, and records twice as much.
    assert peaks[1] - peaks[0] < 560 * 1500


# ── copies and constant pictures ──────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> tuple[Path, dict[str, int]]:
    """A bake of images as they are, with copies and constant ones among them, and image numbers by path."""
    folder = tmp_path_factory.mktemp("planted")
    images = folder / "images"
    for number in range(30):
        label = ("ash", "birch")[number % 2]
        save(draw_demo(number, size=32, split="train"), images / label / f"{number:02d}.png")
    save(draw_demo(4, size=32, split="train"), images / "ash" / "same.png")
    save(draw_demo(7, size=32, split="train"), images / "ash" / "other-label.png")
    save(draw_demo(8, size=32, split="train"), images / "ash" / "encoded.jpg", quality=90)
    for name, colour in (("black", (0, 0, 0)), ("red", (255, 0, 0))):
        save(np.full((32, 32, 3), colour, np.uint8), images / "birch" / f"{name}.png")
    dim = np.full((32, 32, 3), 100, np.uint8)
    dim[::2] = 103
    save(dim, images / "birch" / "dim.png")
    bake(images, folder / "out", picture_folder, **PLAIN)
    return folder / "out", numbers(folder / "out")


def test_copies_are_found_and_named(planted: tuple[Path, dict[str, int]]) -> None:
    out, at = planted
    everything = found(out)

    def alike(first: str, second: str, *, exact: bool, same_label: bool) -> Alike:
        keys = tuple(sorted(f"{at[name]:08d}-0000" for name in (first, second)))
        return Alike(exact=exact, keys=keys, count=2, same_label=same_label, same_image=False)

    listed = {dataclasses.replace(one, keys=tuple(sorted(one.keys))) for one in everything.alike}
    assert listed == {
        alike("ash/04.png", "ash/same.png", exact=True, same_label=True),
        alike("birch/07.png", "ash/other-label.png", exact=True, same_label=False),
        alike("ash/08.png", "ash/encoded.jpg", exact=False, same_label=True),
    }
    # What matters most comes first.
    assert [one.same_label for one in everything.alike] == [False, True, True]
    assert (everything.identical, everything.conflicting, everything.near, everything.unlooked) == (2, 1, 1, 0)
    assert everything.named == {"constant": pytest.approx(3 / 36), "identical": 2, "conflicting": 1}
    assert set(everything.named) < set(SIGNALS)


def test_constant_pictures_are_found_and_named(planted: tuple[Path, dict[str, int]]) -> None:
    out, at = planted
    everything = found(out)
    worst = {one.key: one.value for one in everything.worst if one.measure == "constant"}
    assert worst == {
        f"{at['birch/black.png']:08d}-0000": 0,
        f"{at['birch/red.png']:08d}-0000": 0,
        f"{at['birch/dim.png']:08d}-0000": 1.5,
    }


def test_many_copies_are_counted_and_some_are_listed(
    tmp_path: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, copy in itertools.product(range(8), range(12)):
        save(draw_demo(number, size=16, split="train"), tmp_path / "images" / "ash" / f"{number}-{copy:02d}.png")
    bake(tmp_path / "images", tmp_path / "out", picture_folder, **PLAIN)
    monkeypatch.setattr(signals, "MOST_GROUPS", 5)
    everything = found(tmp_path / "out")
    assert (everything.identical, everything.conflicting) == (8, 0)
    assert [(one.count, len(one.keys)) for one in everything.alike] == [(12, signals.MOST_KEYS)] * 5


# ── the rest ──────────────────────────────────────────────────────────────────────────────────────


def test_skipped_images_and_classes_are_counted(tmp_path: Path, own_images: Path, picture_folder: Path) -> None:
    (own_images / "ash" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    bake(own_images, tmp_path / "out", picture_folder, max_skip=0.5, overrides={"op_set": "layer16"})
    everything = found(tmp_path / "out")
    assert everything.per_class == (("ash", 14, 1), ("birch", 13, 0), ("cedar", 13, 0))
    assert everything.overlap == ("color", "contrast", "brightness", "sharpness")


def test_progress_is_told_to_its_end(tmp_path: Path, image_folder: Path, two_epochs: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found(two_epochs, against=image_folder, progress=lambda *step: told.append(step))
    ends = {what: (done, total) for what, done, total in told}
    assert ends == {
        "test pictures read": (40, 40),
        "variants measured": (80, 80),
        "source images read": (40, 40),
    }


# ── damage ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["fixed", "jpeg"])
def test_a_damaged_record_is_named(tmp_path: Path, bakes: Callable[[str], Path], kind: str) -> None:
    own = copied(bakes(kind), tmp_path / "own")
    key, offset, _ = tampering.place(own, tampering.ROW)
    flip_bit(own / tampering.SHARD, offset - 512 + 3)
    with pytest.raises(Damage, match=rf"{tampering.SHARD}, {key}"):
        found(own)


@pytest.mark.parametrize(
    "crop",
    [
        {"kind": "pad", "left": 10**9, "top": 0, "width": 16, "height": 16},
        {"kind": "resized", "left": 0, "top": 0, "width": 17, "height": 17},
        {"kind": "pad", "left": 10**30, "top": 0, "width": 16, "height": 16},
        {"kind": "none", "left": 0, "top": 0, "width": 16, "height": 16},
        {"left": 0},
        None,
        [1],
        {"kind": "pad", "left": "0", "top": None, "width": 16, "height": 16},
    ],
)
def test_a_forged_crop_is_named(
    tmp_path: Path, image_folder: Path, many_images: Path, picture_folder: Path, crop: Any
) -> None:
    bake(many_images, tmp_path / "own", picture_folder, epochs_worth=2)
    tampering.json_forged(lambda document: document.update(crop=crop))(tmp_path / "own")
    key = tampering.key(tmp_path / "own")
    with pytest.raises(Damage, match=rf"{tampering.SHARD}, {key}"):
        found(tmp_path / "own")


def test_forged_names_make_no_groups(tmp_path: Path, bakes: Callable[[str], Path]) -> None:
    own = copied(bakes("fixed"), tmp_path / "own")
    forged: dict[str, Any] = {"ops": ["<script>"], "levels": [0.0], "blends": ["\x1b[2J"], "layer": 77}
    tampering.json_forged(lambda document: document.update(forged))(own)
    for column, value in forged.items():
        tampering.rows_forged(tampering.with_value(column, lambda _old, value=value: value))(own)
    groups = found(own).groups
    assert by_value(groups, "op")["other"].n == by_value(groups, "blend")["other"].n == 1
    assert by_value(groups, "layer")["77"].n == 1
    assert not any("<" in group.value or "\x1b" in group.value for group in groups)


def test_images_that_are_not_whole_are_damage(tmp_path: Path, two_epochs: Path) -> None:
    own = copied(two_epochs, tmp_path / "own")
    catalog = mixbake.audit.open(own).catalog
    (own / "images.parquet").write_bytes(b"PAR1")
    with pytest.raises(Damage, match=r"images\.parquet"):
        find_signals(catalog)
