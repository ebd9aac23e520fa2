"""Learning rates: what the published code computes, for any step, in any order."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixbake.errors import UsageError
from mixbake.train.schedules import SCHEDULES, Schedule

EPS = 1e-12


def schedule(
    kind: str = "cosine", peak: float = 0.1, epochs: int = 7, steps_per_epoch: int = 5, **more: Any
) -> Schedule:
    return Schedule(kind=kind, peak=peak, epochs=epochs, steps_per_epoch=steps_per_epoch, **more)


def rates(wanted: Schedule) -> list[float]:
    return [wanted.at(step) for step in range(wanted.total_steps)]


peaks = st.floats(1e-5, 10)
lengths = {"epochs": st.integers(3, 40), "steps_per_epoch": st.integers(1, 12)}
cosines = st.builds(schedule, kind=st.just("cosine"), peak=peaks, final=st.floats(0, 1e-6), **lengths)
thirds = st.builds(schedule, kind=st.just("steps"), peak=peaks, **lengths)
constants = st.builds(schedule, kind=st.just("constant"), peak=peaks, **lengths)


class TestCosine:
    @given(cosines)
    def test_it_begins_at_the_peak_and_would_end_at_the_final_rate(self, wanted: Schedule) -> None:
        total = wanted.total_steps
        assert wanted.at(0) == pytest.approx(wanted.peak, rel=EPS)
        # The last step is one before the end, where 1 - cos x = 2 sin² x/2.
        above = (wanted.peak - wanted.final) * math.sin(math.pi / total / 2) ** 2
        assert wanted.at(total - 1) == pytest.approx(wanted.final + above, rel=1e-9)

    @given(cosines)
    def test_it_falls_with_every_step(self, wanted: Schedule) -> None:
        values = rates(wanted)
        assert all(one > other for one, other in pairwise(values))

    @given(cosines, st.data())
    def test_it_is_as_far_below_the_middle_as_it_was_above(self, wanted: Schedule, data: st.DataObject) -> None:
        step = data.draw(st.integers(1, wanted.total_steps - 1))
        both = wanted.at(step) + wanted.at(wanted.total_steps - step)
        assert both == pytest.approx(wanted.peak + wanted.final, rel=EPS)

    def test_a_tenth_and_a_millionth_are_the_papers(self) -> None:
        """AugMix and PixMix for CIFAR: 0.1 falls to 1e-6."""
        wanted = schedule(epochs=100, steps_per_epoch=390)
        assert wanted.at(0) == 0.1
        assert wanted.at(19500) == pytest.approx((0.1 + 1e-6) / 2, rel=EPS)
        assert wanted.at(38999) == pytest.approx(1e-6, rel=1e-3)


class TestSteps:
    @given(thirds)
    def test_thirds_of_whole_epochs_have_a_tenth_each(self, wanted: Schedule) -> None:
        third = wanted.epochs // 3
        for step, rate in enumerate(rates(wanted)):
            epoch = step // wanted.steps_per_epoch
            factor = 1 if epoch < third else 0.1 if epoch < 2 * third else 0.01
            assert rate == pytest.approx(wanted.peak * factor, rel=EPS)

    @pytest.mark.parametrize(("epochs", "ends"), [(90, (30, 60)), (100, (33, 66)), (3, (1, 2)), (5, (1, 2))])
    def test_they_change_between_epochs(self, epochs: int, ends: tuple[int, int]) -> None:
        wanted = schedule("steps", epochs=epochs, steps_per_epoch=4)
        for end, (before, behind) in zip(ends, [(0.1, 0.01), (0.01, 0.001)], strict=True):
            assert wanted.at(4 * end - 1) == pytest.approx(before, rel=EPS)
            assert wanted.at(4 * end) == pytest.approx(behind, rel=EPS)


@given(constants)
def test_constant_is_the_peak(wanted: Schedule) -> None:
    assert set(rates(wanted)) == {wanted.peak}


class TestWarmup:
    @given(cosines | thirds | constants, st.data())
    def test_it_rises_along_a_line_to_the_peak(self, plain: Schedule, data: st.DataObject) -> None:
        room = (plain.epochs // 3 if plain.kind == "steps" else plain.epochs) * plain.steps_per_epoch - 1
        steps = data.draw(st.integers(0, room))
        wanted = schedule(
            plain.kind, plain.peak, plain.epochs, plain.steps_per_epoch, final=plain.final, warmup_steps=steps
        )
        for step in range(steps + 1):
            assert wanted.at(step) == pytest.approx(plain.peak * (step + 1) / (steps + 1), rel=EPS)
        assert max(rates(wanted)) <= plain.peak * (1 + EPS)
        if plain.kind != "cosine":
            assert rates(wanted)[steps:] == rates(plain)[steps:]

    @given(cosines)
    def test_the_cosine_takes_what_is_left(self, plain: Schedule) -> None:
        warm = plain.steps_per_epoch
        wanted = schedule("cosine", plain.peak, plain.epochs + 1, warm, final=plain.final, warmup_steps=warm)
        assert rates(wanted)[warm:] == pytest.approx(rates(plain), rel=EPS)


class TestBounds:
    @pytest.mark.parametrize("kind", SCHEDULES)
    @pytest.mark.parametrize("step", [-1, 35, 10**9])
    def test_there_is_no_rate_beyond_the_training(self, kind: str, step: int) -> None:
        with pytest.raises(UsageError, match=f"35 steps: there is no step {step}"):
            schedule(kind).at(step)

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"kind": "linear"}, "cosine, steps, constant, not 'linear'"),
            ({"epochs": 0}, "not 0 epochs of 5 steps"),
            ({"steps_per_epoch": 0}, "not 7 epochs of 0 steps"),
            ({"peak": 0.0}, "above 0 and finite, not 0.0"),
            ({"peak": -0.1}, "above 0 and finite, not -0.1"),
            ({"peak": math.inf}, "above 0 and finite, not inf"),
            ({"peak": math.nan}, "above 0 and finite, not nan"),
            ({"final": 0.2}, "0 to the highest, 0.1, not 0.2"),
            ({"final": -1e-9}, "0 to the highest, 0.1, not -1e-09"),
            ({"final": math.nan}, "not nan"),
            ({"kind": "steps", "epochs": 2}, "needs 3 epochs, not 2"),
            ({"warmup_steps": 35}, "0 to 34 steps .* not 35"),
            ({"warmup_steps": -1}, "0 to 34 steps .* not -1"),
            ({"kind": "steps", "warmup_steps": 10}, "0 to 9 steps .* not 10"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, wrong: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            schedule(**wrong)

    def test_a_final_rate_that_is_not_used_is_no_error(self) -> None:
        assert schedule("constant", peak=1e-9).at(3) == 1e-9


class TestTorch:
    """The same numbers as torch's own schedulers, where those define the same."""

    @staticmethod
    def rates(wanted: Schedule, make: Callable[[Any, Any], Any]) -> list[float]:
        torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=wanted.peak)
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        taken = []
        for _ in range(wanted.total_steps):
            taken.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return taken

    def test_cosine(self) -> None:
        wanted = schedule(final=1e-3)
        by_torch = self.rates(wanted, lambda of, opt: of.CosineAnnealingLR(opt, T_max=35, eta_min=1e-3))
        assert rates(wanted) == pytest.approx(by_torch, rel=1e-9)

    def test_a_factor_of_the_peak(self) -> None:
        """AugMix's code hands a factor to LambdaLR: lowest / peak + (1 − lowest / peak) · ½(1 + cos)."""
        wanted, low = schedule(), 1e-6 / 0.1
        by_torch = self.rates(
            wanted,
            lambda of, opt: of.LambdaLR(opt, lambda step: low + (1 - low) * (1 + math.cos(step * math.pi / 35)) / 2),
        )
        assert rates(wanted) == pytest.approx(by_torch, rel=1e-9)

    def test_steps(self) -> None:
        wanted = schedule("steps")
        by_torch = self.rates(wanted, lambda of, opt: of.MultiStepLR(opt, milestones=[10, 20], gamma=0.1))
        assert rates(wanted) == pytest.approx(by_torch, rel=EPS)

    @pytest.mark.parametrize("kind", ["cosine", "constant"])
    def test_warmup(self, kind: str) -> None:
        wanted = schedule(kind, final=1e-3, warmup_steps=6)

        def make(of: Any, opt: Any) -> Any:
            rise = of.LinearLR(opt, start_factor=1 / 7, total_iters=6)
            fall = {
                "cosine": lambda: of.CosineAnnealingLR(opt, T_max=29, eta_min=1e-3),
                "constant": lambda: of.ConstantLR(opt, factor=1.0),
            }
            return of.SequentialLR(opt, [rise, fall[kind]()], milestones=[6])

        assert rates(wanted) == pytest.approx(self.rates(wanted, make), rel=1e-9)
