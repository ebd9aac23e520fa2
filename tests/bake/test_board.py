"""Promises of the board: counts add up, and what a killed worker was at can be read."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixbake.bake.board import Board, Totals
from mixbake.errors import StorageError

VICTIM = """
import os, pathlib, signal, sys
from mixbake.bake.board import Board
slot = Board.open(pathlib.Path(sys.argv[1])).slot(2)
slot.start()
slot.begin(7)
slot.advance(10)
slot.begin(8)
slot.skip()
slot.begin(9)
os.kill(os.getpid(), signal.SIGKILL)
"""

# (images, variants) of an advance, or None for a skip; a list a task
STORIES = st.lists(st.lists(st.none() | st.tuples(st.integers(0, 5), st.integers(0, 100)), max_size=20), max_size=6)


@given(stories=STORIES)
def test_totals_are_the_sums_over_the_tasks(
    stories: list[list[tuple[int, int] | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    board = Board.create(tmp_path_factory.mktemp("logs") / "board", len(stories))
    for task, story in enumerate(stories):
        slot = board.slot(task)
        slot.start()
        for number, event in enumerate(story):
            slot.begin(number)
            if event is None:
                slot.skip()
            else:
                slot.advance(event[1], images=event[0])
        slot.stop()
    advances = [event for story in stories for event in story if event is not None]
    assert Board.open(board.path).totals() == Totals(
        images=sum(images for images, _ in advances),
        variants=sum(variants for _, variants in advances),
        skipped=sum(event is None for story in stories for event in story),
    )


def test_tasks_of_one_block_count_its_images_once(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 3)
    for task, images in ((0, 5), (1, 3), (2, 4)):
        slot = board.slot(task)
        slot.start()
        slot.begin(0)
        slot.skip()
        slot.advance(10 * images, images=images)
    assert board.totals([7, 7, 8]) == Totals(images=3 + 4, variants=120, skipped=2)
    assert board.totals([7, 8, 7]) == Totals(images=4 + 3, variants=120, skipped=2)
    assert board.totals() == Totals(images=12, variants=120, skipped=3)


def test_a_slot_tells_its_image_from_begin_to_end(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 2)
    slot = board.slot(1)
    assert (board.working_on(1), board.running()) == (None, {})
    slot.start()
    assert (board.working_on(1), board.running()) == (None, {1: os.getpid()})
    slot.begin(0)
    assert board.working_on(1) == 0
    slot.advance(10)
    assert board.working_on(1) is None
    slot.begin(5)
    slot.skip()
    assert board.working_on(1) is None
    slot.begin(6)
    slot.stop()
    assert (board.working_on(1), board.running()) == (None, {})
    assert board.totals() == Totals(images=1, variants=10, skipped=1)
    assert board.working_on(0) is None


def test_a_task_that_starts_again_counts_from_zero(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 1)
    slot = board.slot(0)
    slot.start()
    slot.advance(10)
    slot.start()
    assert board.totals() == Totals(images=0, variants=0, skipped=0)


def test_what_a_killed_worker_was_at_survives_it(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 4)
    with subprocess.Popen([sys.executable, "-c", VICTIM, board.path]) as child:
        pass
    assert child.returncode == -signal.SIGKILL
    assert board.working_on(2) == 9
    assert board.running() == {2: child.pid}
    assert board.totals() == Totals(images=1, variants=10, skipped=1)


def test_a_new_board_of_the_same_name_is_a_new_board(tmp_path: Path) -> None:
    old = Board.create(tmp_path / "board", 3)
    old.slot(2).start()
    old.remove()
    assert not old.path.exists()
    new = Board.create(tmp_path / "board", 5)
    assert Board.open(tmp_path / "board").running() == {}
    new.slot(4).start()
    assert Board.open(tmp_path / "board").running() == {4: os.getpid()}
    assert old.running() == {2: os.getpid()}


def test_a_board_without_tasks_is_empty(tmp_path: Path) -> None:
    assert Board.create(tmp_path / "board", 0).totals() == Totals(images=0, variants=0, skipped=0)


def test_a_board_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        Board.open(tmp_path / "board")
