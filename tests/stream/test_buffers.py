"""Buffers: memory comes back when nobody looks at it any more, and never before."""

import gc
import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mixbake.stream.buffers import Buffers


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def test_memory_is_used_again() -> None:
    buffers = Buffers((3, 4), np.float32)
    first = address(buffers.lend())
    for _ in range(10):
        lent = buffers.lend()
        assert (lent.shape, lent.dtype, address(lent)) == ((3, 4), np.float32, first)
        lent[:] = 1
        del lent
    assert buffers.made == 1


def test_what_is_lent_is_lent_once() -> None:
    buffers = Buffers((100,), keep=2)
    lent = [buffers.lend() for _ in range(5)]
    for number, array in enumerate(lent):
        array[:] = number
    assert [np.unique(array).tolist() for array in lent] == [[0], [1], [2], [3], [4]]
    assert buffers.made == 5


def test_any_view_keeps_it() -> None:
    buffers = Buffers((8, 8))
    lent = buffers.lend()
    lent[:] = 7
    part = lent[2:4].reshape(-1).view(np.uint16)
    del lent
    other = buffers.lend()
    other[:] = 9
    assert set(part.view(np.uint8).tolist()) == {7}
    del part
    assert buffers.made == 2
    third = buffers.lend()
    assert buffers.made == 2
    assert not np.shares_memory(third, other)


def test_no_more_than_asked_for_are_kept_idle() -> None:
    buffers = Buffers((4,), keep=2)
    lent = [buffers.lend() for _ in range(6)]
    lent.clear()
    again = [buffers.lend() for _ in range(6)]
    assert buffers.made == 6 + 4
    assert len({address(array) for array in again}) == 6


def test_memory_may_be_of_another_kind() -> None:
    made: list[np.ndarray] = []

    def allocate(shape: tuple[int, ...]) -> np.ndarray:
        made.append(np.zeros(shape, np.uint8))
        return made[-1]

    lent = Buffers((2, 5), allocate=allocate).lend()
    lent[:] = 3
    assert (made[0] == 3).all()


def test_a_cycle_gives_it_back_to_a_thread_that_is_lending() -> None:
    buffers = Buffers((16,), keep=100)
    for _ in range(50):
        ring: list[object] = [buffers.lend()]
        ring.append(ring)
    del ring
    gc.collect()
    for _ in range(50):
        buffers.lend()
    assert buffers.made <= 50


def test_the_pool_may_go_before_what_it_lent() -> None:
    lent = Buffers((4,)).lend()
    lent[:] = 5
    gc.collect()
    assert lent.tolist() == [5, 5, 5, 5]


@given(st.lists(st.integers(0, 7), max_size=60))
def test_no_two_holders_share_memory(turns: list[int]) -> None:
    buffers, held = Buffers((32,), keep=3), {}
    for time, who in enumerate(turns):
        if who in held:
            time_then, array = held.pop(who)
            assert (array == time_then).all()
        else:
            held[who] = (time % 256, buffers.lend())
            held[who][1][:] = time % 256
    for time_then, array in held.values():
        assert (array == time_then).all()


def test_threads_may_lend_at_a_time() -> None:
    buffers, wrong = Buffers((64,), keep=2), []

    def work(who: int) -> None:
        for _ in range(500):
            array = buffers.lend()
            array[:] = who
            if (array != who).any():
                wrong.append(who)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
