"""Promises of groups of alike variants: which there are, and in what order they are told."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbake.audit.copies import Copies, equal_groups, near_groups
from mixbake.audit.hashing import NOTHING, Fingerprints

PICTURES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 1)), max_size=40)
"""Of each variant: which picture it is, image, label."""


def prints(pictures: list[int], flatness: float = 50) -> Fingerprints:
    """Pictures of the same hash: 0 and 1 look the same, the others like none."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 16, 16)).astype(np.uint8)
    noise[1] = np.clip(noise[0].astype(int) + 1, 0, 255)
    return Fingerprints(
        digests=np.array([[7, picture] for picture in pictures], np.uint64).reshape(-1, 2),
        hashes=np.zeros(len(pictures), np.uint64),
        reduced=noise[pictures],
        flatness=np.full(len(pictures), flatness),
    )


def spelled(copies: Copies) -> list[list[int]]:
    return [[int(i) for i in group] for group in copies.members]


@given(PICTURES)
@settings(max_examples=100, deadline=None)
def test_groups_are_told_by_what_they_mean_then_by_size(variants: list[tuple[int, int, int]]) -> None:
    pictures, images, labels = (
        (np.array(column, np.int64) for column in zip(*variants, strict=True))
        if variants
        else (np.zeros((3, 0), np.int64))
    )
    everything = [np.flatnonzero(pictures == picture).tolist() for picture in set(pictures.tolist())]
    groups = [group for group in everything if len(group) > 1]

    def rank(group: list[int]) -> tuple[bool, bool, int, int]:
        return len(set(images[group])) == 1, len(set(labels[group])) == 1, -len(group), group[0]

    copies = equal_groups(prints(pictures.tolist()), images, labels)
    assert spelled(copies) == sorted(groups, key=rank)
    assert copies.across == sum(not rank(group)[0] for group in groups)
    assert copies.conflicting == sum(not rank(group)[1] for group in groups)


def test_near_groups_hold_every_variant_of_near_pictures() -> None:
    numbers = np.arange(6)
    copies, _ = near_groups(prints([0, 2, 1, 0, 3, 3]), numbers, numbers % 2)
    assert (spelled(copies), copies.across, copies.conflicting) == ([[0, 2, 3]], 1, 1)


def test_equal_and_near_constant_pictures_are_not_near() -> None:
    numbers = np.arange(3)
    assert spelled(near_groups(prints([0, 0, 2]), numbers, numbers)[0]) == []
    assert spelled(near_groups(prints([0, 1, 1], flatness=1.9), numbers, numbers)[0]) == []
    assert spelled(near_groups(NOTHING, numbers[:0], numbers[:0])[0]) == []
