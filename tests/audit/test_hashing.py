"""Promises of fingerprints: equal ones are equal pixels, near ones are found whatever way they are looked for."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mixbake.audit import hashing
from mixbake.audit.hashing import Fingerprints
from mixbake.data.demo import draw_demo

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
CLUSTERS = st.tuples(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 12))


def clustered(seed: int, n: int, flips: int) -> Hashes:
    """Hashes around a few centres, up to so many bits away from one."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**63, max(1, n // 6), dtype=np.uint64)
    hashes = rng.choice(centres, n)
    for _ in range(flips):
        hashes ^= (np.uint64(1) << rng.integers(0, 63, n, dtype=np.uint64)) * rng.integers(0, 2, n, dtype=np.uint64)
    return hashes


def prints(hashes: Hashes, reduced: Bytes | None = None) -> Fingerprints:
    """Of pictures that have these hashes; unless given, they are all the same picture otherwise."""
    n = len(hashes)
    noise = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.uint8)
    return Fingerprints(
        digests=np.arange(2 * n, dtype=np.uint64).reshape(n, 2),
        hashes=hashes,
        reduced=np.repeat(noise[None], n, axis=0) if reduced is None else reduced,
        flatness=np.full(n, 50.0),
    )


def brute_force(hashes: Hashes, distance: int) -> list[int]:
    """The first of each one's group, by spreading over all pairs until nothing changes."""
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= distance
    names = np.arange(len(hashes))
    while True:
        spread = np.where(near, names, len(hashes)).min(axis=1, initial=len(hashes))
        if (spread == names).all():
            return [int(name) for name in names]
        names = spread


@given(CLUSTERS, st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_the_search_finds_what_brute_force_finds(cluster: tuple[int, int, int], distance: int) -> None:
    hashes = clustered(*cluster)
    groups, unlooked = hashing.join_near(prints(hashes), distance)
    assert groups.tolist() == brute_force(hashes, distance)
    assert unlooked == 0


@given(CLUSTERS)
@settings(max_examples=40, deadline=None)
def test_the_nearest_is_the_first_of_the_nearest(cluster: tuple[int, int, int]) -> None:
    hashes, others = clustered(*cluster), clustered(cluster[0], 25, cluster[2])
    found, bits = hashing.find_near(prints(hashes), prints(others))
    apart = np.bitwise_count(hashes[:, None] ^ others).astype(np.int64)
    near = apart.min(axis=1, initial=64) <= hashing.DISTANCE
    assert bits.tolist() == np.where(near, apart.min(axis=1, initial=64), 64).tolist()
    assert found[near].tolist() == apart.argmin(axis=1)[near].tolist()


def test_near_hashes_of_unlike_pictures_are_not_near() -> None:
    hashes = np.zeros(20, np.uint64)
    unlike = np.random.default_rng(1).integers(0, 256, (20, 16, 16)).astype(np.uint8)
    assert hashing.join_near(prints(hashes, unlike))[0].tolist() == list(range(20))
    assert (hashing.find_near(prints(hashes[:10], unlike[:10]), prints(hashes[10:], unlike[10:]))[1] == 64).all()


def test_near_constant_pictures_are_near_nothing() -> None:
    telling = prints(np.zeros(3, np.uint64))
    flat = Fingerprints(
        digests=telling.digests, hashes=telling.hashes, reduced=telling.reduced, flatness=np.array([1.9, 2.0, 0.0])
    )
    assert hashing.find_near(flat, telling)[1].tolist() == [64, 0, 64]
    found, bits = hashing.find_near(telling, flat)
    assert (found.tolist(), bits.tolist()) == ([1, 1, 1], [0, 0, 0])


def test_crowds_are_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = prints(np.zeros(100, np.uint64))
    monkeypatch.setattr(hashing, "MOST_BESIDE", 10)
    groups, unlooked = hashing.join_near(crowd)
    # Neighbours are still compared, and joined in steps.
    assert groups.tolist() == [0] * 100
    assert unlooked == (hashing.DISTANCE + 1) * sum(max(0, 99 - i - 10) for i in range(100))
    monkeypatch.setattr(hashing, "MOST_PAIRS", 50)
    assert hashing.join_near(crowd)[1] > unlooked


def test_nothing_has_no_groups() -> None:
    groups, unlooked = hashing.join_near(hashing.NOTHING)
    assert (len(groups), unlooked) == (0, 0)
    assert hashing.find_near(prints(np.zeros(2, np.uint64)), hashing.NOTHING)[1].tolist() == [64, 64]


def encoded(picture: Bytes) -> Bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def resized(picture: Bytes) -> Bytes:
    side = len(picture)
    image = Image.fromarray(picture)
    return np.asarray(image.resize((2 * side, 2 * side), Image.Resampling.BICUBIC).resize((side, side)))


def brighter(picture: Bytes) -> Bytes:
    return (picture * 0.9 + 12).astype(np.uint8)


@pytest.mark.parametrize("change", [encoded, resized, brighter])
@pytest.mark.parametrize("side", [32, 80])
def test_a_picture_stays_near_itself_and_far_from_others(change: Callable[[Bytes], Bytes], side: int) -> None:
    pictures = np.stack([draw_demo(number, size=side, split="train") for number in range(30)])
    found, bits = hashing.find_near(
        hashing.fingerprints(np.stack([change(picture) for picture in pictures])), hashing.fingerprints(pictures)
    )
    assert (bits <= hashing.DISTANCE).mean() > 0.9
    assert (found == np.arange(30))[bits <= hashing.DISTANCE].all()
    others = hashing.fingerprints(np.stack([draw_demo(n, size=side, split="test") for n in range(30)]))
    assert (hashing.find_near(others, hashing.fingerprints(pictures))[1] == 64).all()


def test_equal_digests_are_equal_pixels() -> None:
    pictures = np.stack([draw_demo(number, size=16, split="train") for number in (1, 2, 1)])
    digests = hashing.fingerprints(pictures).digests.tolist()
    assert digests[0] == digests[2] != digests[1]
    pictures[2, 5, 5, 1] ^= 1
    assert hashing.fingerprints(pictures).digests.tolist()[2] != digests[2]


def test_constant_pictures_all_have_the_same_hash() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (50, 1, 1, 3)).astype(np.uint8)
    found = hashing.fingerprints(np.ascontiguousarray(np.broadcast_to(colours, (50, 31, 31, 3))))
    assert (found.hashes == 0).all()
    assert not found.telling.any()


def test_reduced_pictures_are_means_of_areas() -> None:
    pictures = np.stack([draw_demo(number, size=80, split="train") for number in range(4)])
    lumas = np.stack([np.asarray(Image.fromarray(picture).convert("L")) for picture in pictures])
    means = lumas.reshape(4, 16, 5, 16, 5).mean(axis=(2, 4))
    assert np.abs(hashing.fingerprints(pictures).reduced - means).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("side", [2, 3, 16, 17, 224])
def test_any_side_can_be_hashed(side: int) -> None:
    pictures = np.random.default_rng(side).integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    found = hashing.fingerprints(pictures)
    assert found.reduced.shape == (2, 16, 16)
    assert hashing.find_near(found, found)[1].tolist() == [0, 0]
