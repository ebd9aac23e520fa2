"""Every random number is a function of the seed and of what it is drawn for, and kernels draw numpy's Philox."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixbake.core import rng
from mixbake.core.jit import jit
from mixbake.core.kernels.words import CURSOR_WORDS, below, greatest, high_product, median, next_word, seek, uniform

word = st.integers(0, 2**64 - 1)


@jit
def _words(key: NDArray[np.uint64], image: int, number: int, out: NDArray[np.uint64]) -> None:
    cursor = np.zeros(CURSOR_WORDS, dtype=np.uint64)
    seek(cursor, key, image, number)
    for i in range(len(out)):
        out[i] = next_word(cursor)


@jit
def _draws(key: NDArray[np.uint64], low: int, high: int, count: int, out: NDArray[np.int64]) -> None:
    cursor = np.zeros(CURSOR_WORDS, dtype=np.uint64)
    seek(cursor, key, 1, 2)
    out[0] = below(cursor, high - low + 1)
    out[1] = uniform(cursor, low, high)
    out[2] = greatest(cursor, count)
    out[3] = median(cursor, count)


@jit
def _high(a: np.uint64, b: np.uint64) -> np.uint64:
    return high_product(a, b)


@given(
    path=st.lists(st.one_of(st.text(max_size=5), st.integers(-(2**70), 2**70)), min_size=1, max_size=4),
    image=st.integers(0, 2**62),
    number=st.integers(0, 2**62),
)
@settings(deadline=None, max_examples=50)
def test_kernels_draw_the_words_of_numpys_philox(path: list[str | int], image: int, number: int) -> None:
    out = np.zeros(41, np.uint64)
    _words(rng.key(*path), image, number, out)
    expected = rng.stream(*path, at=(image, number)).bit_generator.random_raw(41)
    np.testing.assert_array_equal(out, expected)


@given(a=word, b=word)
@settings(deadline=None)
def test_high_product_is_the_upper_half(a: int, b: int) -> None:
    assert int(_high(np.uint64(a), np.uint64(b))) == a * b >> 64


@given(low=st.integers(-(10**12), 10**12), width=st.integers(0, 10**12), count=st.integers(1, 9), seed=word)
@settings(deadline=None, max_examples=50)
def test_derived_draws_are_what_their_words_say(low: int, width: int, count: int, seed: int) -> None:
    out = np.zeros(4, np.int64)
    _draws(rng.key(seed), low, low + width, count, out)
    words = [int(w) for w in rng.stream(seed, at=(1, 2)).bit_generator.random_raw(1 + 1 + count + 2 * count - 1)]
    shares = [w * 1_000_001 >> 64 for w in words[2:]]
    assert out.tolist() == [
        words[0] * (width + 1) >> 64,
        low + (words[1] * (width + 1) >> 64),
        max(shares[:count]),
        sorted(shares[count:])[count - 1],
    ]


@given(
    first=st.lists(st.one_of(st.text(max_size=3), st.integers(0, 20)), max_size=3),
    second=st.lists(st.one_of(st.text(max_size=3), st.integers(0, 20)), max_size=3),
)
def test_paths_never_collide(first: list[str | int], second: list[str | int]) -> None:
    assert (first == second) == (rng.key(*first).tolist() == rng.key(*second).tolist())


@pytest.mark.parametrize("other", [("a", 1), ("a1",), ("a", "1"), ("a1", ""), (1, "a")])
def test_look_alike_paths_differ(other: tuple[str | int, ...]) -> None:
    alike = [("a", 1), ("a1",), ("a", "1"), ("a1", ""), (1, "a")]
    assert sum(rng.key(*path).tolist() == rng.key(*other).tolist() for path in alike) == 1
