"""The order: every image once a pass, every number in its turn, whatever the batches and the ranks are."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixbake.errors import UsageError
from mixbake.stream.order import Era, Order, era_tuples, eras_from, flips

stats = pytest.importorskip("scipy.stats", reason="the extra `test` is not installed")

N = 1000


def order(images: int = N, batch_size: int = 40, epochs: int = 3, seed: int = 5, **settings: Any) -> Order:
    eras = (Era(first_pass=0, epochs=epochs),)
    return Order(seed=seed, images=images, batch_size=batch_size, **({"eras": eras} | settings))


def of_pass(wanted: Order, number: int) -> NDArray[np.int64]:
    """Images of a whole pass, in order."""
    return np.concatenate([wanted.places(number, step).images for step in range(wanted.steps)])


orders = st.builds(
    order,
    images=st.integers(1, 200),
    batch_size=st.integers(1, 60),
    epochs=st.integers(1, 5),
    seed=st.integers(0, 2**63),
    drop_last=st.just(value=False),
    clean_fraction=st.sampled_from([0.0, 0.3, 1.0]),
)


class TestPass:
    @given(orders, st.integers(0, 50))
    def test_each_image_stands_once_and_padding_is_marked(self, wanted: Order, number: int) -> None:
        batches = [wanted.places(number, step) for step in range(wanted.steps)]
        assert {len(batch) for batch in batches} == {wanted.batch_size}
        valid = np.concatenate([batch.valid for batch in batches])
        images = np.concatenate([batch.images for batch in batches])
        assert sorted(images[valid].tolist()) == list(range(wanted.images))
        assert valid.tolist() == [True] * wanted.images + [False] * (len(valid) - wanted.images)
        assert len(valid) - wanted.images < wanted.batch_size
        assert set(images.tolist()) <= set(range(wanted.images))

    @given(orders, st.integers(0, 50))
    def test_drop_last_leaves_out_only_what_fills_no_batch(self, padded: Order, number: int) -> None:
        if padded.batch_size > padded.images:
            return
        whole = order(images=padded.images, batch_size=padded.batch_size, seed=padded.seed)
        images = of_pass(whole, number)
        assert len(images) == padded.images - padded.images % padded.batch_size
        assert len(set(images.tolist())) == len(images)
        assert np.array_equal(images, of_pass(padded, number)[: len(images)])

    @given(st.integers(0, 2**63), st.integers(0, 10**6))
    def test_it_is_a_function_of_its_arguments(self, seed: int, number: int) -> None:
        one, other = (order(images=50, batch_size=10, seed=seed) for _ in range(2))
        assert np.array_equal(of_pass(one, number), of_pass(other, number))
        # Others in between, so that nothing is left of the first in a cache.
        for p in range(number + 1, number + 8):
            of_pass(other, p)
        assert np.array_equal(of_pass(one, number), of_pass(other, number))

    def test_passes_seeds_and_nothing_else_permute_anew(self) -> None:
        passes = [of_pass(order(), p).tolist() for p in range(6)] + [of_pass(order(seed=6), 0).tolist()]
        assert len({tuple(images) for images in passes}) == len(passes)
        for one, other in pairwise(passes):
            same = np.count_nonzero(np.array(one) == np.array(other))
            assert same < 10  # one in the mean, Poisson: 10 has a chance of 1e-7

    @given(st.integers(1, 60), st.integers(1, 60))
    def test_it_does_not_depend_on_the_batch_size(self, one: int, other: int) -> None:
        passes = [of_pass(order(images=100, batch_size=size, drop_last=False), 4)[:100] for size in (one, other)]
        assert np.array_equal(*passes)

    def test_every_place_is_as_likely_for_every_image(self) -> None:
        firsts = [int(order(images=20, batch_size=20).places(p, 0).images[0]) for p in range(2000)]
        counts = np.bincount(firsts, minlength=20)
        assert stats.chisquare(counts).pvalue > 1e-4

    @given(st.integers(0, 3))
    def test_there_is_nothing_beyond_the_end(self, beyond: int) -> None:
        wanted = order()
        for step in (wanted.steps + beyond, -1 - beyond):
            with pytest.raises(UsageError, match="there is no batch"):
                wanted.places(0, step)
            with pytest.raises(UsageError, match="there is no batch"):
                wanted.share(0, step, rank=0, world_size=1)

    def test_what_was_given_may_be_changed(self) -> None:
        wanted = order(images=10, batch_size=7, drop_last=False)
        wanted.places(0, 1).valid[:] = False
        assert wanted.places(0, 1).valid.tolist() == [True] * 3 + [False] * 4


class TestRanks:
    @given(orders, st.integers(0, 20), st.sampled_from([1, 2, 4, 8]))
    def test_shares_make_up_the_batch(self, padded: Order, number: int, world: int) -> None:
        wanted = order(images=padded.images, batch_size=8 * padded.batch_size, drop_last=False, clean_fraction=0.3)
        for step in range(wanted.steps):
            whole = wanted.places(number, step)
            shares = [wanted.share(number, step, rank=rank, world_size=world) for rank in range(world)]
            assert {len(share) for share in shares} == {len(whole) // world}
            for column in ("images", "clean", "valid"):
                parts = np.concatenate([getattr(share, column) for share in shares])
                assert np.array_equal(parts, getattr(whole, column))
            assert {(share.epoch, share.use) for share in shares} == {(whole.epoch, whole.use)}

    @pytest.mark.parametrize(("rank", "world"), [(0, 3), (2, 2), (-1, 2), (0, 0), (0, -2), (1, 1)])
    def test_shares_that_are_none_are_refused(self, rank: int, world: int) -> None:
        with pytest.raises(UsageError, match="world_size"):
            order(batch_size=40).share(0, 0, rank=rank, world_size=world)


class TestNumbers:
    def test_they_are_used_in_turn(self) -> None:
        batches = [order(epochs=3).places(p, 0) for p in range(8)]
        assert [batch.epoch for batch in batches] == [0, 1, 2, 0, 1, 2, 0, 1]
        assert [batch.use for batch in batches] == [0, 0, 0, 1, 1, 1, 2, 2]

    def test_one_number_is_kept(self) -> None:
        batches = [order(order=2).places(p, 0) for p in range(5)]
        assert [batch.epoch for batch in batches] == [2] * 5
        assert [batch.use for batch in batches] == [0, 1, 2, 3, 4]

    @given(
        st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=5),
        st.integers(1, 5),
        st.integers(0, 60),
    )
    def test_uses_are_counted_when_a_bake_grows(self, growth: list[tuple[int, int]], first: int, last: int) -> None:
        wanted, start, epochs = order(epochs=first), 0, first
        for later, more in growth:
            start, epochs = start + later, epochs + more
            wanted = wanted.grown(start, epochs)
        used: Counter[int] = Counter()
        for p in range(last + 1):
            epoch = wanted.epoch(p)
            assert wanted.use(p) == used[epoch]
            used[epoch] += 1

    def test_what_is_added_is_used_from_that_pass_on(self) -> None:
        wanted = order(epochs=2).grown(5, 4)
        assert [wanted.epoch(p) for p in range(5)] == [0, 1, 0, 1, 0]
        assert {wanted.epoch(p) for p in range(5, 9)} == {0, 1, 2, 3}

    def test_growing_again_in_the_same_pass_replaces_what_was_not_used(self) -> None:
        assert era_tuples(order(epochs=1).grown(3, 2).grown(3, 5).eras) == [[0, 1], [3, 5]]

    @given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 9)), max_size=6))
    def test_eras_are_read_as_they_were_kept(self, growth: list[tuple[int, int]]) -> None:
        eras = [Era(first_pass=0, epochs=1)]
        for later, more in growth:
            eras.append(Era(first_pass=eras[-1].first_pass + later, epochs=eras[-1].epochs + more))
        assert eras_from(era_tuples(tuple(eras))) == tuple(eras)

    @pytest.mark.parametrize("pairs", [None, 3, [1], [[1]], [["a", 2]], [[None, 1]]])
    def test_what_are_no_eras_are_refused(self, pairs: Any) -> None:
        with pytest.raises(UsageError, match="state_dict"):
            eras_from(pairs)


class TestClean:
    @pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
    def test_a_share_of_the_places_is_clean(self, fraction: float) -> None:
        wanted = order(clean_fraction=fraction)
        passes = np.stack(
            [np.concatenate([wanted.places(p, s).clean for s in range(wanted.steps)]) for p in range(100)]
        )
        assert stats.binomtest(int(passes.sum()), passes.size, fraction).pvalue > 1e-4
        assert not np.array_equal(passes[0], passes[1])

    @pytest.mark.parametrize(("fraction", "value"), [(0.0, False), (1.0, True)])
    def test_none_and_all(self, fraction: float, value: bool) -> None:
        assert (order(clean_fraction=fraction).places(3, 1).clean == value).all()

    def test_whether_a_place_is_clean_says_nothing_of_its_image(self) -> None:
        wanted = order(images=10, batch_size=10, clean_fraction=0.5)
        clean = np.zeros(10, np.int64)
        for p in range(2000):
            places = wanted.places(p, 0)
            clean[places.images[places.clean]] += 1
        assert stats.chisquare(clean).pvalue > 1e-4


class TestFlips:
    IMAGES = np.arange(100_000)
    NUMBERS = np.full(100_000, 3)

    def test_half_of_them_begin_mirrored(self) -> None:
        for number in range(4):
            mirrored = flips(11, self.IMAGES, np.full(100_000, number), 0)
            assert stats.binomtest(int(mirrored.sum()), len(mirrored), 0.5).pvalue > 1e-4

    @given(st.integers(0, 2**63), st.integers(0, 40))
    def test_each_use_shows_the_other_side(self, seed: int, use: int) -> None:
        images, numbers = self.IMAGES[:200], self.NUMBERS[:200]
        assert np.array_equal(flips(seed, images, numbers, use), ~flips(seed, images, numbers, use + 1))
        assert np.array_equal(flips(seed, images, numbers, use), flips(seed, images, numbers, use + 2))

    @given(st.lists(st.integers(0, 10**8), min_size=1, max_size=30), st.integers(0, 999), st.integers(0, 9))
    def test_a_picture_is_mirrored_whatever_stands_beside_it(self, images: list[int], number: int, use: int) -> None:
        ids, numbers = np.array(images), np.full(len(images), number)
        together = flips(3, ids, numbers, use)
        alone = [flips(3, ids[i : i + 1], numbers[:1], np.array([use]))[0] for i in range(len(ids))]
        assert together.tolist() == alone

    def test_images_numbers_and_seeds_do_not_hang_together(self) -> None:
        sides = np.stack(
            [flips(seed, self.IMAGES, np.full(100_000, number), 0) for seed in (1, 2) for number in (0, 1, 2, 3)]
        ).astype(np.int64)
        sides = np.concatenate([sides, np.roll(sides[:1], 1, axis=1), np.roll(sides[:1], 64, axis=1)])
        agreed = 1 - np.abs(sides[:, None] - sides[None]).mean(axis=2)
        others = agreed[~np.eye(len(sides), dtype=bool)]
        assert np.abs(others - 0.5).max() < 0.01  # six standard deviations


class TestClasses:
    def test_batches_of_a_sorted_source_have_classes_as_if_drawn(self) -> None:
        classes, batch = 10, 50
        labels = np.repeat(np.arange(classes), 500)
        wanted = order(images=5000, batch_size=batch, seed=1)
        counts = np.stack(
            [
                np.bincount(labels[wanted.places(p, step).images], minlength=classes)
                for p in range(3)
                for step in range(wanted.steps)
            ]
        )
        # Without replacement from 5,000: chi-square's law, shrunk by the finite set.
        chi = ((counts - batch / classes) ** 2 / (batch / classes)).sum(axis=1) * (4999 / (5000 - batch))
        assert stats.kstest(chi, stats.chi2(classes - 1).cdf).pvalue > 1e-3
        assert abs(chi.mean() - (classes - 1)) < 4 * np.sqrt(2 * (classes - 1) / len(chi))


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"images": 0}, "no image"),
            ({"batch_size": 0}, "batch_size"),
            ({"batch_size": N + 1}, "drop_last"),
            ({"clean_fraction": 1.1}, "clean_fraction"),
            ({"clean_fraction": -0.1}, "clean_fraction"),
            ({"clean_fraction": float("nan")}, "clean_fraction"),
            ({"order": 3}, "0 to 2"),
            ({"order": -1}, "0 to 2"),
            ({"order": True}, "cyclic"),
            ({"order": "random"}, "cyclic"),
            ({"eras": ()}, "epochs' worth"),
            ({"eras": (Era(first_pass=1, epochs=1),)}, "epochs' worth"),
            ({"eras": (Era(first_pass=0, epochs=0),)}, "epochs' worth"),
            ({"eras": (Era(first_pass=0, epochs=3), Era(first_pass=4, epochs=2))}, "epochs' worth"),
            ({"eras": (Era(first_pass=0, epochs=1), Era(first_pass=0, epochs=2))}, "epochs' worth"),
        ],
    )
    def test_what_makes_no_order_is_refused(self, settings: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            order(**settings)

    def test_a_batch_larger_than_the_set_is_padded_when_asked(self) -> None:
        wanted = order(images=3, batch_size=10, drop_last=False)
        assert wanted.steps == 1
        assert sorted(np.bincount(wanted.places(0, 0).images).tolist()) == [3, 3, 4]
