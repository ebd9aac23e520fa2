"""The losses: what the papers write down, in float32, finite wherever a network may get to."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixbake.errors import UsageError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.train.losses import class_weights, cross_entropy, jsd_loss  # noqa: E402 - torch must be there

Floats = NDArray[np.float64]
FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
K = 5

seeds = st.integers(0, 2**32)
spreads = st.sampled_from([0.1, 1.0, 5.0, 80.0])
shapes = st.tuples(st.integers(1, 6), st.integers(2, 7))


def drawn(seed: int, *shape: int, spread: float = 3.0) -> Floats:
    """Logits whose float32 is exact, so that both sides of a comparison begin with the same numbers."""
    values = np.random.default_rng(seed).uniform(-spread, spread, shape)
    return values.astype(np.float32).astype(np.float64)


def labels_of(seed: int, count: int, classes: int = K) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 1]).integers(classes, size=count)


def shares_of(seed: int, count: int, classes: int = K) -> Floats:
    shares = np.random.default_rng([seed, 2]).dirichlet(np.ones(classes), size=count)
    return shares.astype(np.float32).astype(np.float64)


def logs(logits: Floats) -> Floats:
    """Logarithms of the softmax."""
    highest = logits.max(axis=1, keepdims=True)
    return logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))


def plain(logits: Floats, labels: NDArray[np.int64]) -> float:
    return float(-logs(logits)[np.arange(len(labels)), labels].mean())


def divergence(*views: Floats) -> float:
    """(KL(p‖M) + KL(p1‖M) + KL(p2‖M)) / 3 with M within 1e-7 and 1, in float64; 0 log 0 is 0."""
    shares = [np.exp(logs(view)) for view in views]
    mixture = np.clip(sum(shares) / 3, 1e-7, 1)
    terms = [p * (log - np.log(mixture)) for p, log in zip(shares, map(logs, views), strict=True)]
    return float(sum(term.sum() for term in terms) / 3 / len(mixture))


def tensor(values: Any, dtype: Any = None) -> Any:
    return torch.tensor(values, dtype=dtype or (torch.int64 if values.dtype.kind == "i" else torch.float32))


class TestCrossEntropy:
    @given(seeds, shapes, spreads, st.floats(0, 1))
    def test_smoothing_mixes_targets_with_the_even_distribution(
        self, seed: int, shape: tuple[int, int], spread: float, smoothing: float
    ) -> None:
        count, classes = shape
        logits, labels = drawn(seed, *shape, spread=spread), labels_of(seed, count, classes)
        for targets, shares in [
            (tensor(labels), np.eye(classes)[labels]),
            (tensor(shares_of(seed, count, classes)), shares_of(seed, count, classes)),
        ]:
            smooth = (1 - smoothing) * shares + smoothing / classes
            expected = -(smooth * logs(logits)).sum(axis=1).mean()
            loss = cross_entropy(tensor(logits), targets, smoothing=smoothing)
            assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)

    @given(seeds)
    def test_weights_are_factors_of_the_classes(self, seed: int) -> None:
        logits, labels, shares = drawn(seed, 6, K), labels_of(seed, 6), shares_of(seed, 6)
        weight = np.random.default_rng(seed).uniform(0.1, 4, K).astype(np.float32)
        each = -logs(logits)[np.arange(6), labels]
        by_label = cross_entropy(tensor(logits), tensor(labels), weight=tensor(weight))
        assert by_label.item() == pytest.approx(np.average(each, weights=weight[labels]), rel=1e-5)
        by_share = cross_entropy(tensor(logits), tensor(shares), weight=tensor(weight))
        assert by_share.item() == pytest.approx(-(weight * shares * logs(logits)).sum(axis=1).mean(), rel=1e-5)

    def test_nothing_is_smoothed_or_weighted_unasked(self) -> None:
        logits, labels = drawn(1, 6, K), labels_of(1, 6)
        assert cross_entropy(tensor(logits), tensor(labels)).item() == pytest.approx(plain(logits, labels), rel=1e-6)


class TestJsd:
    @given(seeds, shapes, spreads, st.floats(0, 50))
    def test_it_is_the_formula(self, seed: int, shape: tuple[int, int], spread: float, consistency: float) -> None:
        views = [drawn(seed + view, *shape, spread=spread) for view in range(3)]
        labels = labels_of(seed, *shape)
        loss = jsd_loss(*map(tensor, views), tensor(labels), consistency=consistency)
        expected = plain(views[0], labels) + consistency * divergence(*views)
        # What a divergence is the difference of may be far larger than itself: hence so many last digits of 1.
        assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-5 + consistency * 2e-6)

    def test_the_papers_consistency_is_twelve(self) -> None:
        views, labels = [drawn(view, 4, K) for view in range(3)], labels_of(1, 4)
        expected = plain(views[0], labels) + 12 * divergence(*views)
        assert jsd_loss(*map(tensor, views), tensor(labels)).item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("height", [80.0, 1e4, 1e30])
    def test_saturated_views_give_finite_values_and_gradients(self, height: float) -> None:
        certain = height * (2 * np.eye(K) - 1)
        views = [tensor(np.roll(certain, by, axis=1)).requires_grad_() for by in range(3)]
        loss = jsd_loss(*views, tensor(np.arange(K)))
        loss.backward()
        # Three views, each sure of another class: KL(p‖M) = log 3 for all.
        assert loss.item() == pytest.approx(12 * np.log(3), rel=1e-6)
        for view in views:
            assert torch.isfinite(view.grad).all()

    @given(seeds, spreads)
    def test_gradients_are_those_of_the_formula(self, seed: int, spread: float) -> None:
        views, labels = [drawn(seed + view, 2, 3, spread=spread) for view in range(3)], labels_of(seed, 2, 3)
        given_views = [tensor(view).requires_grad_() for view in views]
        jsd_loss(*given_views, tensor(labels)).backward()
        step = 1e-5
        for place, view in enumerate(views):
            for at in np.ndindex(view.shape):
                sides = []
                for sign in (1, -1):
                    moved = [other.copy() for other in views]
                    moved[place][at] += sign * step
                    sides.append(plain(moved[0], labels) + 12 * divergence(*moved))
                expected = (sides[0] - sides[1]) / (2 * step)
                assert given_views[place].grad[at].item() == pytest.approx(expected, rel=1e-3, abs=1e-4)

    @given(seeds, shapes)
    def test_views_that_agree_leave_the_cross_entropy(self, seed: int, shape: tuple[int, int]) -> None:
        logits, labels = tensor(drawn(seed, *shape)), tensor(labels_of(seed, *shape))
        expected = cross_entropy(logits, labels, smoothing=0.1).item()
        loss = jsd_loss(logits, logits, logits, labels, smoothing=0.1)
        assert loss.item() == pytest.approx(expected, rel=1e-6, abs=12 * 1e-6)

    @given(seeds, shapes, spreads)
    def test_the_mixes_may_change_places(self, seed: int, shape: tuple[int, int], spread: float) -> None:
        clean, mix1, mix2 = (tensor(drawn(seed + view, *shape, spread=spread)) for view in range(3))
        labels = tensor(labels_of(seed, *shape))
        assert torch.equal(jsd_loss(clean, mix1, mix2, labels), jsd_loss(clean, mix2, mix1, labels))

    def test_targets_are_those_of_the_clean_view(self) -> None:
        clean, mix1, mix2 = (tensor(drawn(view, 4, K)) for view in range(3))
        settings = {"weight": tensor(np.linspace(0.5, 2, K)), "smoothing": 0.1}
        for targets in (tensor(labels_of(1, 4)), tensor(shares_of(1, 4))):
            loss = jsd_loss(clean, mix1, mix2, targets, consistency=0, **settings)
            assert torch.equal(loss, cross_entropy(clean, targets, **settings))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("targets", [labels_of(1, 8), shares_of(1, 8)], ids=["labels", "probabilities"])
def test_losses_are_float32_whatever_the_logits_are(dtype: Any, targets: Any) -> None:
    views, wanted = [tensor(drawn(view, 8, K), dtype) for view in range(3)], tensor(targets)
    expected = cross_entropy(views[0].float(), wanted), jsd_loss(*(view.float() for view in views), wanted)
    losses = [cross_entropy(views[0], wanted), jsd_loss(*views, wanted)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses += [cross_entropy(views[0], wanted), jsd_loss(*views, wanted)]
    for loss, one in zip(losses, expected * 2, strict=True):
        assert loss.dtype == torch.float32
        assert loss.shape == ()
        assert torch.equal(loss, one)


class TestClassWeights:
    @given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
    def test_all_classes_weigh_the_same_and_an_image_one_in_the_mean(self, counts: list[int]) -> None:
        weights = class_weights(torch.tensor(counts), classes=[f"c{number}" for number in range(len(counts))])
        assert weights.dtype == torch.float32
        shares = weights.double().numpy() * counts
        assert shares == pytest.approx(np.full(len(counts), sum(counts) / len(counts)), rel=1e-6)

    @given(st.integers(1, 10**6), st.integers(1, 30))
    def test_even_classes_weigh_nothing_different(self, count: int, classes: int) -> None:
        weights = class_weights(torch.full((classes,), count), classes=["a"] * classes)
        assert torch.equal(weights, torch.ones(classes))

    def test_classes_without_images_are_named(self) -> None:
        with pytest.raises(UsageError, match="no image of class 'birch', 'cedar': "):
            class_weights(torch.tensor([3, 0, 0, 1]), classes=["ash", "birch", "cedar", "elm"])

    @settings(max_examples=10)
    @given(st.integers(6, 1000))
    def test_many_of_them_make_no_long_message(self, classes: int) -> None:
        with pytest.raises(UsageError, match=f"'c4' and {classes - 5} more: ") as refused:
            class_weights(torch.zeros(classes, dtype=torch.int64), classes=[f"c{number}" for number in range(classes)])
        assert len(str(refused.value)) < 300
