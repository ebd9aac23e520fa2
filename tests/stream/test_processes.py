"""Iterations, threads and processes: one pass at a time, nothing left running, the same batches everywhere."""

import gc
import multiprocessing
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE
from small import Seen, all_seen, own_threads, seen

from mixbake.errors import UsageError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.stream.loader import ShardLoader  # noqa: E402 - torch must be there

LINGERING = 10  # seconds: how long a thread may take to see that nobody wants it
BAKES = ["mix_bake", "jpeg_bake"]


@pytest.fixture(params=BAKES)
def out(request: pytest.FixtureRequest) -> Path:
    """A bake of fixed records, and one of encoded ones."""
    path: Path = request.getfixturevalue(request.param)
    return path


def of(out: Path, **settings: Any) -> Any:
    return ShardLoader(out, **({"batch_size": 20, "threads": 2} | settings))


def passes(out: Path, count: int) -> list[list[Seen]]:
    loader = of(out)
    found = [all_seen(loader) for _ in range(count)]
    loader.close()
    return found


class TestIterations:
    def test_two_loaders_do_not_hear_of_each_other(self, out: Path) -> None:
        one, other = of(out, seed=1), of(out, seed=2)
        expected = [all_seen(of(out, seed=1)), all_seen(of(out, seed=2))]
        pairs = [(seen(a), seen(b)) for a, b in zip(one, other, strict=True)]
        assert [list(column) for column in zip(*pairs, strict=True)] == expected

    def test_beginning_another_pass_ends_the_one_before(self, out: Path) -> None:
        whole, loader = passes(out, 2), of(out)
        first = iter(loader)
        assert seen(next(first)) == whole[0][0]
        second = iter(loader)
        assert seen(next(second)) == whole[1][0]
        with pytest.raises(UsageError, match="this pass has ended"):
            next(first)
        assert [seen(batch) for batch in second] == whole[1][1:]

    @pytest.mark.parametrize("prefetch", [0, 2])
    def test_closing_ends_a_pass(self, out: Path, prefetch: int) -> None:
        loader = of(out, prefetch=prefetch)
        iterator = iter(loader)
        next(iterator)
        loader.close()
        with pytest.raises(UsageError, match="this pass has ended"):
            list(iterator)

    def test_closing_twice_is_closing(self, out: Path) -> None:
        loader = of(out)
        list(loader)
        loader.close()
        loader.close()

    def test_what_was_closed_may_be_used_again(self, out: Path) -> None:
        whole, loader = passes(out, 2), of(out)
        assert all_seen(loader) == whole[0]
        loader.close()
        assert all_seen(loader) == whole[1]
        loader.close()

    def test_an_error_in_the_loop_leaves_the_loader_usable(self, out: Path) -> None:
        whole, loader = passes(out, 3), of(out)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                [1 / 0 for _ in loader]
        assert all_seen(loader) == whole[2]


class TestThreads:
    @pytest.mark.parametrize("prefetch", [0, 3])
    def test_none_is_left_when_a_loader_is_closed(self, out: Path, prefetch: int) -> None:
        before = own_threads()
        loader = of(out, prefetch=prefetch)
        list(loader)
        loader.close()
        assert own_threads() <= before

    def test_none_is_left_when_a_loader_is_closed_in_mid_pass(self, out: Path) -> None:
        before = own_threads()
        # As long as the pass cannot have been made ahead whole.
        loader = of(out, batch_size=2)
        iterator = iter(loader)
        next(iterator)
        assert own_threads() - before
        loader.close()
        assert own_threads() <= before
        del iterator

    def test_leaving_a_loop_ends_what_worked_ahead(self, out: Path) -> None:
        before, loader = own_threads(), of(out, batch_size=2)
        for _batch in loader:
            break
        assert not [thread for thread in own_threads() - before if thread.name == "mixbake-prefetch"]
        loader.close()
        assert own_threads() <= before

    def test_none_is_left_when_a_loader_is_dropped(self, out: Path) -> None:
        before = own_threads()
        for _ in range(3):
            next(iter(of(out)))
        gc.collect()
        limit = time.monotonic() + LINGERING
        while own_threads() - before and time.monotonic() < limit:
            time.sleep(0.05)
        assert own_threads() <= before

    def test_none_is_begun_before_it_is_wanted(self, out: Path) -> None:
        before = own_threads()
        loader = of(out)
        assert own_threads() <= before
        loader.close()


def rest_in_child(loader: Any, answers: Any) -> None:
    answers.put([all_seen(loader), all_seen(loader)])


def forked(work: Any) -> Any:
    """What a forked child makes of `work()`, pickled through a pipe; the child ends without pytest."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as answer:
                pickle.dump(work(), answer)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    return pickle.loads(data)  # noqa: S301 - our own child wrote it


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
class TestFork:
    def test_a_child_goes_on_where_its_parent_is(self, out: Path) -> None:
        whole, loader = passes(out, 3), of(out)
        assert all_seen(loader) == whole[0]
        assert forked(lambda: [all_seen(loader), all_seen(loader)]) == whole[1:]
        assert all_seen(loader) == whole[1]
        loader.close()

    def test_a_child_of_a_pass_under_way_begins_the_next(self, out: Path) -> None:
        whole, loader = passes(out, 2), of(out)
        iterator = iter(loader)
        assert seen(next(iterator)) == whole[0][0]
        assert forked(lambda: all_seen(loader)) == whole[1]
        assert [seen(batch) for batch in iterator] == whole[0][1:]
        loader.close()

    def test_children_at_a_time(self, out: Path) -> None:
        whole, loader = passes(out, 1), of(out)
        found = [forked(lambda: (all_seen(loader), os.getpid())) for _ in range(4)]
        assert [batches for batches, _ in found] == whole * 4
        assert len({child for _, child in found}) == 4
        loader.close()

    def test_a_child_ends_its_own_threads(self, out: Path) -> None:
        loader = of(out)
        list(loader)

        def work() -> int:
            list(loader)
            loader.close()
            return len(own_threads())

        assert forked(work) == 0
        loader.close()


class TestPickle:
    def test_a_copy_is_where_the_loader_was(self, out: Path) -> None:
        whole, loader = passes(out, 3), of(out)
        for consumed in range(len(loader) + 1):
            for p in range(2):
                loader.set_epoch(0)
                for _ in range(p):
                    list(loader)
                iterator = iter(loader)
                for _ in range(consumed):
                    next(iterator)
                copy = pickle.loads(pickle.dumps(loader))  # noqa: S301 - our own
                assert copy.state_dict() == loader.state_dict()
                rest = whole[p][consumed:] or whole[p + 1]
                assert all_seen(copy) == rest
                copy.close()
        loader.close()

    def test_a_new_one_is_new(self, out: Path) -> None:
        copy = pickle.loads(pickle.dumps(of(out)))  # noqa: S301 - our own
        assert [all_seen(copy), all_seen(copy)] == passes(out, 2)
        copy.close()

    @pytest.mark.slow
    def test_a_spawned_process_reads_the_same(self, mix_bake: Path) -> None:
        whole, loader = passes(mix_bake, 2), of(mix_bake)
        iterator = iter(loader)
        assert seen(next(iterator)) == whole[0][0]
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        child = context.Process(target=rest_in_child, args=(loader, answers))
        child.start()
        found = answers.get(timeout=PATIENCE)
        child.join(PATIENCE)
        assert child.exitcode == 0
        assert found == [whole[0][1:], whole[1]]
        answers.close()
        answers.join_thread()
        loader.close()
