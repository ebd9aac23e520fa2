"""Attacks on a small network that was trained for a moment."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixbake.data.demo import CLASSES, draw_demo

torch = pytest.importorskip("torch")

from mixbake.evaluate.attacks import ATTACKS, Adversarial, Attack, attack  # noqa: E402 - it needs torch

CPU = torch.device("cpu")
COUNT = 60
EXACT, PUBLISHED = ATTACKS["exact"], ATTACKS["published"]
MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.3, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    network: Any
    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def attacked(self, kind: Attack, first: int = 0, last: int = COUNT, seed: int = 0, at: int = 0) -> Adversarial:
        part = slice(first, last)
        return attack(
            self.network, self.pictures[part], self.labels[part],
            kind=kind, mean=MEAN, std=STD, device=CPU, seed=seed, places=range(first + at, last + at),
        )  # fmt: skip

    def error(self, adversarial: Adversarial) -> float:
        return float((adversarial.predicted.numpy() != self.labels).mean())


@pytest.fixture(scope="module")
def victim() -> Victim:
    """Knows its 60 faint pictures nearly by heart; their corners are black and white, where pixels cannot go on."""
    pictures = np.stack([draw_demo(number, size=16, split="train") // 8 + 112 for number in range(COUNT)])
    pictures[:, :2, :2], pictures[:, -2:, -2:] = 0, 255
    labels = np.arange(COUNT) % len(CLASSES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 16, 3, stride=2), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Flatten(),
            torch.nn.Linear(16 * 49, len(CLASSES)),
        )  # fmt: skip
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        mean, std = (torch.tensor(one)[:, None, None] for one in (MEAN, STD))
        images = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std
        for _ in range(40):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(network(images), torch.from_numpy(labels)).backward()
            optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return Victim(network=network, pictures=pictures, labels=labels)


def distances(victim: Victim, adversarial: Adversarial) -> NDArray[np.float64]:
    """Exact distances of all values from their float32 pictures, in float64, of pixels from 0 to 1."""
    reached = adversarial.images.permute(0, 2, 3, 1).numpy()
    assert reached.dtype == np.float32
    return np.abs(reached.astype(np.float64) - (victim.pictures / 255).astype(np.float32))


def test_the_attacks_are_those_of_the_papers() -> None:
    assert [(one.steps, one.step, one.epsilon) for one in ATTACKS.values()] == [(20, 0.5, 2.0)] * 2
    assert [name for name, one in ATTACKS.items() if one.moves] == ["published"]


@pytest.mark.parametrize("kind", ATTACKS)
def test_more_steps_fool_more(victim: Victim, kind: str) -> None:
    errors = [victim.error(victim.attacked(replace(ATTACKS[kind], steps=steps))) for steps in (0, 2, 20)]
    assert errors[0] < errors[1] < errors[2], errors
    assert errors[0] < 0.2
    assert errors[2] > 0.8


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), steps=st.integers(0, 6), step=st.floats(0.1, 8), epsilon=st.floats(0.01, 16))
def test_no_value_ever_leaves_the_exact_ball(
    victim: Victim, seed: int, steps: int, step: float, epsilon: float
) -> None:
    kind = Attack(steps=steps, step=step, epsilon=epsilon, moves=False)
    adversarial = victim.attacked(kind, seed=seed)
    far = distances(victim, adversarial)
    assert far.max() <= epsilon / 255
    assert adversarial.farthest == pytest.approx(far.max() * 255)
    assert 0 <= adversarial.images.min() <= adversarial.images.max() <= 1
    # A ball that is never left because it is never filled would be too small.
    assert far.max() > 0.9 * epsilon / 255


def test_the_ball_is_exact_in_float32_too(victim: Victim) -> None:
    adversarial = victim.attacked(EXACT)
    images = torch.from_numpy(victim.pictures).permute(0, 3, 1, 2) / 255
    assert (adversarial.images - images).abs().max() <= torch.tensor(2 / 255)
    assert adversarial.farthest <= 2
    assert (distances(victim, adversarial) * 255 > 1.999).mean() > 0.3


def test_the_published_ball_moves_but_not_beyond_twice_its_radius(victim: Victim) -> None:
    adversarial = victim.attacked(PUBLISHED)
    assert 3.5 / 255 < distances(victim, adversarial).max() <= 4 / 255
    assert 0 <= adversarial.images.min() <= adversarial.images.max() <= 1
    # Without a step it is the start alone, which may even be no picture.
    start = victim.attacked(replace(PUBLISHED, steps=0))
    assert distances(victim, start).max() <= 2 / 255
    assert start.images.min() < 0
    assert start.images.max() > 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTACKS)
def test_the_size_of_batches_does_not_matter(victim: Victim, kind: str) -> None:
    few = replace(ATTACKS[kind], steps=6)
    whole = victim.attacked(few).images
    for size in (1, 7, 32):
        parts = [victim.attacked(few, first, min(first + size, COUNT)).images for first in range(0, COUNT, size)]
        # Sums of another order may turn the sign of a gradient that is nearly nothing.
        assert (torch.cat(parts) != whole).float().mean() < 0.001


def test_starts_depend_on_seed_and_number_and_fill_the_ball(victim: Victim) -> None:
    none = replace(EXACT, steps=0)
    one, same, other_seed, other_number = (
        victim.attacked(none, seed=seed, at=at).images for seed, at in [(0, 0), (0, 0), (1, 0), (0, 1)]
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other_seed)
    assert not torch.equal(one, other_number)
    far = distances(victim, victim.attacked(replace(PUBLISHED, steps=0))) * 255
    assert np.quantile(far, [0.25, 0.5, 0.75]) == pytest.approx([0.5, 1.0, 1.5], abs=0.03)


def test_the_network_is_left_alone_and_modes_around_do_not_matter(victim: Victim) -> None:
    network, kind = victim.network, replace(EXACT, steps=3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cudnn = torch.backends.cudnn
    kept = cudnn.allow_tf32, cudnn.deterministic
    seen = set()
    network.train()
    watch = network.register_forward_hook(
        lambda _, __, out: seen.add((out.dtype, cudnn.allow_tf32, cudnn.deterministic))
    )
    plain = victim.attacked(kind)
    assert not network.training
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        within = victim.attacked(kind)
    watch.remove()
    assert seen == {(torch.float32, False, True)}
    assert (cudnn.allow_tf32, cudnn.deterministic) == kept
    assert torch.equal(plain.images, within.images)
    assert torch.equal(plain.predicted, within.predicted)
    assert not plain.images.requires_grad
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_ball_is_as_exact(victim: Victim) -> None:
    network = victim.network.to("cuda")
    try:
        adversarial = attack(
            network, victim.pictures, victim.labels,
            kind=EXACT, mean=MEAN, std=STD, device=torch.device("cuda"), seed=0,
            places=range(COUNT),
        )  # fmt: skip
    finally:
        network.to("cpu")
    moved = replace(adversarial, images=adversarial.images.cpu(), predicted=adversarial.predicted.cpu())
    assert distances(victim, moved).max() <= 2 / 255
    assert victim.error(moved) == pytest.approx(victim.error(victim.attacked(EXACT)), abs=0.1)
