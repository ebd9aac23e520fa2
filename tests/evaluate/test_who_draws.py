"""Who draws corruptions, thread or processes, is not seen in them; and a process that dies says so."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from processes import command_line

from mixbake.data.demo import draw_demo
from mixbake.errors import MixbakeError
from mixbake.evaluate.corruptions import corrupt_all
from mixbake.evaluate.drawing import Draw, drawing

IMAGES = np.stack([draw_demo(number, size=32, split="train") for number in range(5)])
PLACES = [3, 8, 9, 40, 7]


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "loky.backend.popen" in command_line(child)]


def draw_again_and_again(draw: Draw) -> None:
    for _ in range(100):
        draw(IMAGES, "fog", 2, 0, PLACES)


def test_processes_draw_what_the_thread_draws_whatever_thread_asks_and_none_is_left() -> None:
    with drawing(2, few=2 * 5 * 32**2) as draw:
        for severity in (1, 2, 3, 4):
            # A thread of its own for each, as readers have: what it starts must outlive it.
            with ThreadPoolExecutor(1) as reader:
                made = reader.submit(draw, IMAGES, "snow", severity, 7, PLACES).result()
            assert np.array_equal(made, corrupt_all(IMAGES, "snow", severity, 7, PLACES))
            assert len(workers()) == (0 if severity < 3 else 2)
        assert np.array_equal(draw(IMAGES[:1], "fog", 1, 0, [4]), corrupt_all(IMAGES[:1], "fog", 1, 0, [4]))
    assert not workers()


def test_a_killed_process_ends_the_drawing_and_says_what_to_do() -> None:
    with drawing(2, few=0) as draw:
        draw(IMAGES, "fog", 1, 0, PLACES)
        os.kill(workers()[0].pid, signal.SIGKILL)
        with pytest.raises(MixbakeError, match=r"drew fog at severity 2 was killed.*same command again"):
            draw_again_and_again(draw)
    assert not workers()
