"""A bake that grows while it is used: what is added is used from the next pass on, and nothing else is."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import all_seen, bake, copied

from mixbake.errors import PlanDiffers, UsageError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.stream.loader import ShardLoader  # noqa: E402 - torch must be there

Extend = Callable[[int], None]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def extend(out: Path, image_folder: Path, picture_folder: Path) -> Extend:
    """extend(n): bake, or go on, to n epochs' worth."""

    def to(epochs: int) -> None:
        bake(image_folder, out, picture_folder, epochs_worth=epochs)

    return to


def numbers(loader: Any) -> list[int]:
    """The numbers of a pass, one a batch."""
    found = [batch.numbers.unique().tolist() for batch in loader]
    assert {len(numbers) for numbers in found} == {1}
    return [number for numbers in found for number in numbers]


def test_what_is_added_is_used_from_the_next_pass_on(out: Path, extend: Extend) -> None:
    extend(1)
    loader = ShardLoader(out, batch_size=20, follow=True)
    assert [numbers(loader) for _ in range(3)] == [[0, 0]] * 3
    iterator = iter(loader)
    next(iterator)
    extend(2)
    assert next(iterator).numbers.unique().tolist() == [0]
    assert next(iterator, None) is None
    assert [numbers(loader) for _ in range(4)] == [[0, 0], [1, 1]] * 2
    extend(4)
    assert [numbers(loader)[0] for _ in range(4)] == [0, 1, 2, 3]
    assert loader.state_dict()["eras"] == [[0, 1], [4, 2], [8, 4]]
    loader.close()


def test_the_state_continues_a_grown_run(out: Path, extend: Extend) -> None:
    extend(1)
    loader = ShardLoader(out, batch_size=20, follow=True)
    list(loader)
    extend(3)
    list(loader)
    state = loader.state_dict()
    assert state["eras"] == [[0, 1], [1, 3]]
    other = ShardLoader(out, batch_size=20, follow=True)
    other.load_state_dict(state)
    for _ in range(4):
        assert all_seen(other) == all_seen(loader)
    loader.close()
    other.close()


def test_without_follow_a_grown_bake_stays_as_it_was(out: Path, extend: Extend) -> None:
    extend(1)
    loader = ShardLoader(out, batch_size=20)
    list(loader)
    extend(3)
    assert [numbers(loader)[0] for _ in range(3)] == [0, 0, 0]
    loader.close()


def test_a_grown_bake_gives_the_same_pictures_as_before(out: Path, extend: Extend, tmp_path: Path) -> None:
    extend(1)
    before = ShardLoader(copied(out, tmp_path / "before"), batch_size=20)
    loader = ShardLoader(out, batch_size=20, follow=True)
    whole = [all_seen(before) for _ in range(2)]
    assert all_seen(loader) == whole[0]
    extend(2)
    loader.set_epoch(0)
    grown = all_seen(loader)
    assert [seen.ids for seen in grown] == [seen.ids for seen in whole[0]]
    loader.close()
    before.close()


def test_another_bake_in_its_place_is_refused(
    out: Path, extend: Extend, image_folder: Path, picture_folder: Path
) -> None:
    extend(1)
    loader = ShardLoader(out, batch_size=20, follow=True)
    list(loader)
    bake(image_folder, out, picture_folder, seed=8, overwrite=True)
    with pytest.raises(PlanDiffers, match="another bake"):
        next(iter(loader))


@pytest.mark.slow
def test_the_first_of_it_is_waited_for(out: Path, extend: Extend) -> None:
    builder = threading.Timer(1.0, extend, [1])
    builder.start()
    loader = ShardLoader(out, batch_size=20, follow=True, follow_seconds=120)
    builder.join()
    assert numbers(loader) == [0, 0]
    loader.close()


@pytest.mark.parametrize("there", [True, False])
def test_waiting_ends(out: Path, there: bool) -> None:
    if there:
        out.mkdir()
    with pytest.raises(UsageError, match=r"no bake\.json after 0\.1 s.*--publish-every"):
        ShardLoader(out, batch_size=20, follow=True, follow_seconds=0.1)


def test_ranks_must_be_able_to_agree(out: Path, extend: Extend) -> None:
    extend(1)
    loader = ShardLoader(out, batch_size=20, follow=True, rank=0, world_size=2)
    with pytest.raises(UsageError, match="init_process_group"):
        next(iter(loader))


def test_one_number_for_ever_stays(out: Path, extend: Extend) -> None:
    extend(2)
    loader = ShardLoader(out, batch_size=20, follow=True, order=1)
    assert numbers(loader) == [1, 1]
    extend(3)
    assert numbers(loader) == [1, 1]
    loader.close()
