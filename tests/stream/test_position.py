"""The position: what was consumed is never seen again, what was not is seen next, wherever a run was stopped."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from small import Seen, all_seen, bake, seen

from mixbake.errors import UsageError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.stream.loader import ShardLoader  # noqa: E402 - torch must be there

PASSES = 3


def run(loader: Any, passes: int) -> list[list[Seen]]:
    return [all_seen(loader) for _ in range(passes)]


def states(loader: Any, passes: int) -> list[tuple[int, dict[str, Any]]]:
    """The state before everything and after each batch, with how many batches were consumed by then."""
    kept = [(0, loader.state_dict())]
    for _ in range(passes):
        for _batch in loader:
            kept.append((len(kept), json.loads(json.dumps(loader.state_dict()))))
    return kept


def rest(loader: Any, state: dict[str, Any], count: int) -> list[Seen]:
    """`count` batches from a state on, over the ends of passes."""
    loader.load_state_dict(state)
    found: list[Seen] = []
    while len(found) < count:
        got = all_seen(loader)
        assert got, "a pass without a batch"
        found += got
    return found


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("threads", [0, 1, 2, 4])
@pytest.mark.parametrize("drop_last", [True, False])
def test_every_step_continues_as_if_never_stopped(
    jpeg_bake: Path, threads: int, prefetch: int, drop_last: bool
) -> None:
    given = {"batch_size": 40, "drop_last": drop_last, "threads": threads, "prefetch": prefetch, "seed": 2}
    whole = list(chain(*run(ShardLoader(jpeg_bake, **given), PASSES)))
    kept = states(ShardLoader(jpeg_bake, **given), PASSES - 1)
    assert len(kept) == len(whole) // PASSES * (PASSES - 1) + 1
    for consumed, state in kept:
        assert rest(ShardLoader(jpeg_bake, **given), state, len(whole) - consumed) == whole[consumed:]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mix_bake", {}),
        ("mix_bake", {"order": 1}),
        ("mix_bake", {"prefetch": 0, "resident": True}),
        ("jsd_bake", {}),
        ("jsd_bake", {"views": "mix", "clean_fraction": 0.3}),
        ("mix_bake", {"dtype": torch.float32, "channels_last": False}),
    ],
)
def test_every_step_of_small_pictures(request: pytest.FixtureRequest, name: str, settings: dict[str, Any]) -> None:
    out = request.getfixturevalue(name)
    given = {"batch_size": 8, "seed": 3} | settings
    whole = list(chain(*run(ShardLoader(out, **given), 5)))
    for consumed, state in states(ShardLoader(out, **given), 4):
        assert rest(ShardLoader(out, **given), state, len(whole) - consumed) == whole[consumed:]


def ranks(out: Path, world: int, **settings: Any) -> list[Any]:
    return [ShardLoader(out, batch_size=8, rank=rank, world_size=world, **settings) for rank in range(world)]


def together(batches: tuple[Any, ...]) -> tuple[tuple[int, ...], tuple[int, ...], bytes]:
    """What the ranks hold of one step, put together."""
    images = torch.cat([batch.images for batch in batches], dim=-4)
    return (
        tuple(torch.cat([batch.ids for batch in batches]).tolist()),
        tuple(torch.cat([batch.numbers for batch in batches], dim=-1).reshape(-1).tolist()),
        images.contiguous().numpy().tobytes(),
    )


@pytest.mark.parametrize("name", ["mix_bake", "jsd_bake"])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 4), (4, 8), (8, 1), (2, 1), (4, 4)])
def test_ranks_may_become_more_or_fewer(request: pytest.FixtureRequest, name: str, before: int, after: int) -> None:
    out = request.getfixturevalue(name)
    alone = ranks(out, 1)
    whole = [together(step) for _ in range(2) for step in zip(*alone, strict=True)]
    loaders, kept = ranks(out, before), []
    for step in zip(*loaders, strict=True):
        assert together(step) == whole[len(kept)]
        told = [loader.state_dict() for loader in loaders]
        assert all(state == told[0] for state in told)
        kept.append(told[0])
    for consumed, state in enumerate(kept, start=1):
        others = ranks(out, after)
        for loader in others:
            loader.load_state_dict(state)
        found = [together(step) for _ in range(2) for step in zip(*others, strict=True)]
        assert found[: len(whole) - consumed] == whole[consumed:][: len(found)]


def test_only_the_first_iteration_goes_on_in_mid_pass(mix_bake: Path) -> None:
    whole = run(ShardLoader(mix_bake, batch_size=8), 4)
    first = ShardLoader(mix_bake, batch_size=8)
    list(first)
    _ = [next(iterator) for iterator in [iter(first)] for _ in range(2)]
    loader = ShardLoader(mix_bake, batch_size=8)
    loader.load_state_dict(first.state_dict())
    assert len(loader) == 5
    assert all_seen(loader) == whole[1][2:]
    assert len(loader) == 5
    assert all_seen(loader) == whole[2]
    assert all_seen(loader) == whole[3]


@pytest.mark.parametrize("after", [1, 3, 5])
def test_leaving_a_pass_begins_the_next_at_its_beginning(mix_bake: Path, after: int) -> None:
    whole = run(ShardLoader(mix_bake, batch_size=8), 3)
    loader = ShardLoader(mix_bake, batch_size=8)
    for count, batch in enumerate(loader, start=1):
        assert seen(batch) == whole[0][count - 1]
        if count == after:
            break
    assert all_seen(loader) == whole[1]
    assert all_seen(loader) == whole[2]


def test_the_end_of_a_pass_is_the_beginning_of_the_next(mix_bake: Path) -> None:
    loader = ShardLoader(mix_bake, batch_size=8)
    list(loader)
    state = loader.state_dict()
    assert (state["pass"], state["step"]) == (1, 0)
    again = ShardLoader(mix_bake, batch_size=8)
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert all_seen(again) == all_seen(loader)


def test_what_was_prefetched_is_not_consumed(mix_bake: Path) -> None:
    loader = ShardLoader(mix_bake, batch_size=8, prefetch=4)
    iterator = iter(loader)
    assert loader.state_dict()["step"] == 0
    for step in range(1, 5):
        next(iterator)
        assert loader.state_dict()["step"] == step


def test_the_state_is_plain_and_tells_what_it_should(mix_bake: Path) -> None:
    loader = ShardLoader(mix_bake, batch_size=8, seed=11, clean_fraction=0.0)
    next(iter(loader))
    state = loader.state_dict()
    assert json.loads(json.dumps(state)) == state
    assert state == {
        "version": 1,
        "plan": loader.bake.plan_digest,
        "seed": 11,
        "pass": 0,
        "step": 1,
        "eras": [[0, 3]],
        "batch_size": 8,
        "drop_last": True,
        "order": "cyclic",
        "clean_fraction": 0.0,
        "views": "mix",
    }


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"batch_size": 4}, "batch_size: 8 -> 4"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"order": 2}, "order: 'cyclic' -> 2"),
        ({"drop_last": False}, "drop_last: True -> False"),
        ({"clean_fraction": 0.25}, "clean_fraction: 0.0 -> 0.25"),
        ({"views": "jsd"}, "views: 'mix' -> 'jsd'"),
    ],
)
def test_a_state_of_another_order_is_refused(jsd_bake: Path, settings: dict[str, Any], field: str) -> None:
    state = ShardLoader(jsd_bake, batch_size=8, views="mix").state_dict()
    loader = ShardLoader(jsd_bake, **({"batch_size": 8, "views": "mix"} | settings))
    before = loader.state_dict()
    with pytest.raises(UsageError) as caught:
        loader.load_state_dict(state)
    assert field in str(caught.value)
    assert loader.state_dict() == before


def test_a_state_of_another_bake_is_refused(mix_bake: Path, wide_bake: Path) -> None:
    state = ShardLoader(mix_bake, batch_size=8).state_dict()
    with pytest.raises(UsageError, match="plan"):
        ShardLoader(wide_bake, batch_size=8).load_state_dict(state)


@pytest.mark.parametrize(
    "change",
    [
        {"pass": -1},
        {"pass": "0"},
        {"pass": None},
        {"step": 5},
        {"step": -1},
        {"step": 1.0},
        {"step": True},
        {"eras": []},
        {"eras": None},
        {"eras": [[1, 3]]},
        {"eras": [[0, 3], [1, 2]]},
        {"eras": "none"},
        {"version": 2},
    ],
)
def test_what_is_no_state_is_refused(mix_bake: Path, change: dict[str, Any]) -> None:
    loader = ShardLoader(mix_bake, batch_size=8)
    before = loader.state_dict()
    with pytest.raises(UsageError):
        loader.load_state_dict(before | change)
    with pytest.raises(UsageError):
        loader.load_state_dict({name: value for name, value in before.items() if name not in change})
    assert loader.state_dict() == before


class TestGrown:
    @pytest.fixture
    def grown(self, tmp_path: Path, image_folder: Path, picture_folder: Path) -> tuple[Path, list[dict[str, Any]]]:
        """A bake of 4 epochs' worth, and the states of a loader that knew 2 of them, after each batch of 3 passes."""
        out = tmp_path / "out"
        bake(image_folder, out, picture_folder, epochs_worth=2)
        kept = [state for _, state in states(ShardLoader(out, batch_size=20), 3)]
        bake(image_folder, out, picture_folder, epochs_worth=4)
        return out, kept

    @staticmethod
    def numbers(loader: Any, passes: int) -> list[int]:
        return [number for _ in range(passes) for batch in loader for number in batch.numbers.unique().tolist()]

    def test_a_state_keeps_its_numbers(self, grown: tuple[Path, list[dict[str, Any]]]) -> None:
        out, kept = grown
        for state in kept:
            loader = ShardLoader(out, batch_size=20)
            loader.load_state_dict(state)
            expected = [p % 2 for p in range(state["pass"], state["pass"] + 4) for _ in range(2)][state["step"] :]
            assert self.numbers(loader, 4) == expected
            assert loader.state_dict()["eras"] == [[0, 2]]

    def test_grow_takes_the_new_ones_from_the_next_pass_on(self, grown: tuple[Path, list[dict[str, Any]]]) -> None:
        out, kept = grown
        for state in kept:
            loader = ShardLoader(out, batch_size=20)
            loader.load_state_dict(state, grow=True)
            first = state["pass"] + (state["step"] > 0)
            passes = [p % (2 if p < first else 4) for p in range(state["pass"], state["pass"] + 5) for _ in range(2)]
            assert self.numbers(loader, 5) == passes[state["step"] :]
            # With nothing used before the growth, there is no growth to be remembered.
            assert loader.state_dict()["eras"] == ([[0, 2], [first, 4]] if first else [[0, 4]])

    def test_a_state_of_more_than_there_is_is_refused(self, mix_bake: Path) -> None:
        loader = ShardLoader(mix_bake, batch_size=20)
        with pytest.raises(UsageError, match="4 epochs' worth"):
            loader.load_state_dict(loader.state_dict() | {"eras": [[0, 4]]})


class TestSetEpoch:
    def test_it_names_the_next_pass(self, mix_bake: Path) -> None:
        whole = run(ShardLoader(mix_bake, batch_size=8), 5)
        loader = ShardLoader(mix_bake, batch_size=8)
        for epoch in (3, 0, 4, 1):
            loader.set_epoch(epoch)
            assert all_seen(loader) == whole[epoch]
        assert all_seen(loader) == whole[2]

    def test_there_is_none_before_the_first(self, mix_bake: Path) -> None:
        with pytest.raises(UsageError, match="-1"):
            ShardLoader(mix_bake, batch_size=8).set_epoch(-1)

    def test_a_position_set_anew_ends_the_pass_that_is_under_way(self, mix_bake: Path) -> None:
        loader = ShardLoader(mix_bake, batch_size=8)
        changes = [
            lambda: loader.set_epoch(7),
            lambda: loader.load_state_dict(ShardLoader(mix_bake, batch_size=8).state_dict()),
        ]
        for change in changes:
            iterator = iter(loader)
            next(iterator)
            change()
            before = loader.state_dict()
            with pytest.raises(UsageError, match="ended"):
                next(iterator)
            assert loader.state_dict() == before


def test_a_loop_that_sets_its_epoch_keeps_the_position(mix_bake: Path) -> None:
    first = ShardLoader(mix_bake, batch_size=8)
    batches = iter(first)
    next(batches)
    state = first.state_dict()
    left = [batch.ids.tolist() for batch in batches]
    again = ShardLoader(mix_bake, batch_size=8)
    again.load_state_dict(state)
    again.set_epoch(0)
    assert [batch.ids.tolist() for batch in again] == left
    again.set_epoch(0)
    assert len(list(again)) == len(again)


def test_an_iterator_that_is_never_asked_uses_up_no_pass(mix_bake: Path) -> None:
    loader = ShardLoader(mix_bake, batch_size=8)
    iter(loader)
    iter(loader)
    list(loader)
    assert loader.state_dict()["pass"] == 1


@pytest.mark.parametrize("change", [{"batch_size": 8.0}, {"prefetch": 1.5}, {"threads": -1}, {"device": "meta"}])
def test_settings_of_a_wrong_kind_are_refused(mix_bake: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ShardLoader(mix_bake, **({"batch_size": 8} | change))
