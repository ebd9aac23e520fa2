"""Mixes of a batch: what the papers describe, a function of (seed, step, rank), the batch itself left alone."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixbake.errors import UsageError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
stats = pytest.importorskip("scipy.stats", reason="the extra `test` is not installed")
v2 = pytest.importorskip("torchvision.transforms.v2", reason="the extra `train` is not installed")

from mixbake.train.mixes import MIXES, apply_mix  # noqa: E402 - torch must be there

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CLASSES = 7
EVERY = sorted(MIXES)
MIXING = ["cutmix", "mixup"]
BLANKING = ["cutout", "erasing"]

seeds = st.integers(0, 2**63)
steps = st.integers(0, 10**6)
counts = st.integers(1, 9)
sides = st.integers(2, 21)


def batch(count: int = 6, height: int = 16, width: int | None = None, seed: int = 1) -> tuple[Any, Any]:
    """Pictures without a 0, in the memory format of a loader's batches, and labels."""
    drawn = np.random.default_rng([seed, count, height])
    images = torch.from_numpy(drawn.uniform(0.1, 2, (count, height, width or height, 3)).astype(np.float32))
    return images.permute(0, 3, 1, 2), torch.from_numpy(drawn.integers(CLASSES, size=count))


def mixed(name: str, images: Any, labels: Any, seed: int = 1, step: int = 0, **more: Any) -> tuple[Any, Any]:
    return apply_mix(name, images, labels, classes=CLASSES, seed=seed, step=step, **more)


def one_hot(labels: Any) -> Any:
    return torch.eye(CLASSES)[labels]


def share_of(step: int, name: str, height: int = 16) -> float:
    """A batch's λ, as its targets tell: two pictures of two classes."""
    images, _ = batch(2, height)
    _, targets = mixed(name, images, torch.tensor([0, 1]), step=step)
    return float(targets[0, 0])


def boxes(images: Any, changed: Any) -> list[tuple[int, int, int, int]]:
    """The box in which each picture was changed: rows top to bottom, columns left to right. Nothing but a box may."""
    found = []
    for one, other in zip(images, changed, strict=True):
        differs = (one != other).all(dim=0)
        assert torch.equal(differs, (one != other).any(dim=0)), "all channels alike"
        rows, columns = differs.any(dim=1).nonzero().flatten(), differs.any(dim=0).nonzero().flatten()
        if not len(rows):
            found.append((0, 0, 0, 0))
            continue
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        assert int(differs.sum()) == (bottom - top) * (right - left), "a box, and all of it"
        found.append((top, bottom, left, right))
    return found


class TestAll:
    @pytest.mark.parametrize("name", EVERY)
    @given(seed=seeds, step=steps, rank=st.integers(0, 9), count=counts, height=sides, width=sides)
    def test_shapes_types_and_memory_are_kept(
        self, name: str, seed: int, step: int, rank: int, count: int, height: int, width: int
    ) -> None:
        images, labels = batch(count, height, width)
        for given_images in (images, images.contiguous(), images.to(torch.bfloat16), images.half()):
            kept = given_images.clone(), labels.clone()
            changed, targets = mixed(name, given_images, labels, seed, step, rank=rank)
            assert changed.dtype == given_images.dtype
            assert changed.shape == given_images.shape
            assert changed.stride() == given_images.stride()
            assert torch.equal(given_images, kept[0])
            assert torch.equal(labels, kept[1])
            if name in MIXING:
                assert targets.dtype == torch.float32
                assert targets.shape == (count, CLASSES)
                assert torch.allclose(targets.sum(dim=1), torch.ones(count))
                assert targets.min() >= 0
            else:
                assert targets is labels

    @pytest.mark.parametrize("name", EVERY)
    def test_it_is_a_function_of_seed_step_and_rank(self, name: str) -> None:
        images, labels = batch(8, 32)
        places = [(seed, step, rank) for seed in (1, 2) for step in (0, 1, 2**40) for rank in (0, 1)]
        first = {place: mixed(name, images, labels, *place[:2], rank=place[2]) for place in places}
        for place in reversed(places):
            again = mixed(name, images, labels, *place[:2], rank=place[2])
            assert all(map(torch.equal, again, first[place]))
        different = {changed.numpy().tobytes() for changed, _ in first.values()}
        assert len(different) == (1 if name == "none" else len(places))

    @pytest.mark.parametrize("name", EVERY)
    def test_no_global_generator_is_asked(self, name: str) -> None:
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002 - the global one is meant
        mixed(name, *batch())
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002 - the global one is meant
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]

    @pytest.mark.parametrize("name", MIXING + BLANKING)
    def test_the_result_may_be_changed(self, name: str) -> None:
        images, labels = batch()
        kept = images.clone()
        for step in range(20):
            mixed(name, images, labels, step=step)[0].zero_()
        assert torch.equal(images, kept)

    def test_none_gives_back_what_it_was_given(self) -> None:
        images, labels = batch()
        changed, targets = mixed("none", images, labels)
        assert changed is images
        assert targets is labels

    def test_unknown_mixes_are_refused(self) -> None:
        with pytest.raises(UsageError, match="none, mixup, cutmix, cutout, erasing, not 'mosaic'"):
            mixed("mosaic", *batch())


class TestMixup:
    @given(seeds, steps, counts)
    def test_images_and_targets_are_one_convex_combination(self, seed: int, step: int, count: int) -> None:
        images, labels = batch(count)
        labels = labels if count == 1 else torch.arange(count) % 2
        changed, targets = mixed("mixup", images, labels, seed, step)
        before = [(number - 1) % count for number in range(count)]
        share = float(targets[-1, labels[-1]]) if count > 1 else 0.5
        assert torch.allclose(changed, share * images + (1 - share) * images[before], atol=1e-6)
        assert torch.allclose(targets, share * one_hot(labels) + (1 - share) * one_hot(labels)[before], atol=1e-6)

    def test_half_precision_is_rounded_once(self) -> None:
        images, labels = batch(6, 32)
        for dtype, digit in [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)]:
            changed, _ = mixed("mixup", images.to(dtype), labels)
            exact, _ = mixed("mixup", images.to(dtype).float(), labels)
            assert torch.allclose(changed.float(), exact, rtol=digit * 1.01, atol=0)

    @given(seeds, steps)
    def test_torchvision_makes_the_same_of_the_same_share(self, seed: int, step: int) -> None:
        images, labels = batch()
        labels = torch.arange(len(images))
        changed, targets = mixed("mixup", images, labels, seed, step)
        parameters = {"labels": labels, "batch_size": len(images), "lam": float(targets[0, 0])}
        theirs = v2.MixUp(num_classes=CLASSES)
        assert torch.allclose(changed, theirs.transform(images, parameters), atol=1e-6)
        assert torch.allclose(targets, theirs.transform(labels, parameters), atol=1e-6)

    def test_the_share_is_uniform(self) -> None:
        """Beta(1, 1)."""
        shares = [share_of(step, "mixup") for step in range(6000)]
        assert stats.kstest(shares, "uniform").pvalue > 1e-3


class TestCutmix:
    @given(seeds, steps, counts, sides, sides)
    def test_a_box_of_the_image_before_has_its_share_of_the_target(
        self, seed: int, step: int, count: int, height: int, width: int
    ) -> None:
        images, _ = batch(count + 1, height, width)
        labels = torch.arange(count + 1) % CLASSES
        changed, targets = mixed("cutmix", images, labels, seed, step)
        found = boxes(images, changed)
        assert len(set(found)) == 1, "one box for the batch"
        top, bottom, left, right = found[0]
        before = [(number - 1) % (count + 1) for number in range(count + 1)]
        pasted = images[before][:, :, top:bottom, left:right]
        assert torch.equal(changed[:, :, top:bottom, left:right], pasted)
        share = 1 - (bottom - top) * (right - left) / (height * width)
        wanted = share * one_hot(labels) + (1 - share) * one_hot(labels[before])
        assert torch.allclose(targets, wanted, atol=1e-6)

    @given(seeds, steps)
    def test_torchvision_makes_the_same_of_the_same_box(self, seed: int, step: int) -> None:
        images, _ = batch()
        labels = torch.arange(len(images))
        changed, targets = mixed("cutmix", images, labels, seed, step)
        top, bottom, left, right = boxes(images, changed)[0]
        parameters = {
            "labels": labels,
            "batch_size": len(images),
            "box": (left, top, right, bottom),
            "lam_adjusted": 1 - (bottom - top) * (right - left) / 16**2,
        }
        theirs = v2.CutMix(num_classes=CLASSES)
        assert torch.equal(changed, theirs.transform(images, parameters))
        assert torch.allclose(targets, theirs.transform(labels, parameters), atol=1e-6)

    def test_boxes_are_drawn_as_torchvision_draws_them(self) -> None:
        images, labels = batch(2, 32)
        ours = [boxes(images, mixed("cutmix", images, labels, step=step)[0])[0] for step in range(1500)]
        theirs = v2.CutMix(num_classes=CLASSES)
        torch.manual_seed(3)
        drawn = [theirs.make_params([images])["box"] for _ in range(1500)]
        drawn = [(top, bottom, left, right) if right > left else (0, 0, 0, 0) for left, top, right, bottom in drawn]
        for mine, other in zip(zip(*ours, strict=True), zip(*drawn, strict=True), strict=True):
            assert stats.ks_2samp(mine, other).pvalue > 1e-3

    def test_boxes_are_as_long_as_the_paper_has_them(self) -> None:
        """√(1 − λ) of both sides with λ uniform: as large a share of the boxes as of the area is below a size."""
        images, labels = batch(2, 32, 64)
        found = [boxes(images, mixed("cutmix", images, labels, step=step)[0])[0] for step in range(3000)]
        inside = [box for box in found if min(box[0], box[2]) > 0 and box[1] < 32 and box[3] < 64]
        halves = np.array([((bottom - top) / 2, (right - left) / 2) for top, bottom, left, right in inside])
        assert np.array_equal(halves[:, 1] // 2, halves[:, 0])
        assert np.array_equal(halves, halves.astype(int))
        # So many of all 32 · 64 centres leave a box of that size clear of the border: it stands for those cut off.
        centres = (31 - 2 * halves[:, 0]) * (63 - 2 * halves[:, 1])
        for half in (4, 6, 8):
            below = (32 * 64 / centres)[halves[:, 0] < half].sum() / len(found)
            assert below == pytest.approx((2 * half / 32) ** 2, abs=0.03)


class TestCutout:
    @given(seeds, steps, counts, sides)
    def test_a_square_of_half_the_side_is_blank_where_it_lies_inside(
        self, seed: int, step: int, count: int, side: int
    ) -> None:
        images, labels = batch(count, side)
        changed, _ = mixed("cutout", images, labels, seed, step)
        for top, bottom, left, right in boxes(images, changed):
            for first, end in [(top, bottom), (left, right)]:
                assert 0 < end - first <= side // 2
                assert end - first == side // 2 or first == 0 or end == side
        assert torch.equal(changed, torch.where(changed == 0, 0.0, images))

    @pytest.mark.parametrize("side", [16, 15, 14])
    def test_every_pixel_is_a_centre(self, side: int) -> None:
        images, labels = batch(50, side)
        half, spans = side // 2, []
        for step in range(40):
            for top, bottom, left, right in boxes(images, mixed("cutout", images, labels, step=step)[0]):
                spans.append(((top, bottom), (left, right)))
        # A centre c blanks c - half // 2 to c - half // 2 + half - 1: each has a span of its own.
        starts = [centre - half // 2 for centre in range(side)]
        known = [(max(start, 0), min(start + half, side)) for start in starts]
        assert len(set(known)) == side
        both = np.zeros((side, side), int)
        for rows, columns in spans:
            both[known.index(rows), known.index(columns)] += 1
        assert stats.chisquare(both.sum(axis=0)).pvalue > 1e-3
        assert stats.chisquare(both.sum(axis=1)).pvalue > 1e-3
        assert stats.chisquare(both.ravel()).pvalue > 1e-3


class TestErasing:
    @given(seeds, steps, counts, sides, sides)
    def test_boxes_are_blank_and_lie_inside(self, seed: int, step: int, count: int, height: int, width: int) -> None:
        images, labels = batch(count, height, width)
        changed, _ = mixed("erasing", images, labels, seed, step)
        assert torch.equal(changed, torch.where(changed == 0, 0.0, images))
        for number, (top, bottom, left, right) in enumerate(boxes(images, changed)):
            assert bottom - top < height
            assert right - left < width
            erased = v2.functional.erase(images[number], top, left, bottom - top, right - left, torch.zeros(3, 1, 1))
            assert torch.equal(changed[number], erased)

    @pytest.mark.parametrize(("height", "width"), [(32, 32), (12, 48)])
    def test_boxes_are_drawn_as_torchvision_draws_them(self, height: int, width: int) -> None:
        images, labels = batch(250, height, width)
        made = [mixed("erasing", images, labels, step=step)[0] for step in range(32)]
        ours = np.array([box for changed in made for box in boxes(images, changed) if any(box)])
        assert stats.binomtest(len(ours), 32 * 250, 0.5).pvalue > 1e-3
        assert ours.min(axis=0).tolist()[::2] == [0, 0]
        assert ours.max(axis=0).tolist()[1::2] == [height, width]
        theirs = v2.RandomErasing()
        torch.manual_seed(3)
        drawn = [theirs.make_params([images]) for _ in range(4000)]
        heights, widths = (np.array([box[side] for box in drawn]) for side in "hw")
        laws = {
            "top": (ours[:, 0], [box["i"] for box in drawn]),
            "left": (ours[:, 2], [box["j"] for box in drawn]),
            "height": (ours[:, 1] - ours[:, 0], heights),
            "width": (ours[:, 3] - ours[:, 2], widths),
            "area": ((ours[:, 1] - ours[:, 0]) * (ours[:, 3] - ours[:, 2]), heights * widths),
            "ratio": ((ours[:, 1] - ours[:, 0]) / (ours[:, 3] - ours[:, 2]), heights / widths),
        }
        for law, (mine, other) in laws.items():
            assert stats.ks_2samp(mine, other).pvalue > 1e-3, law


@pytest.mark.parametrize("name", BLANKING)
def test_each_picture_of_a_batch_has_a_box_of_its_own(name: str) -> None:
    images, labels = batch(40, 32)
    assert len(set(boxes(images, mixed(name, images, labels)[0]))) > 15


@pytest.mark.parametrize("name", BLANKING)
def test_what_is_blanked_may_have_been_nan(name: str) -> None:
    images, labels = batch(40, 32)
    blanks = mixed(name, images, labels)[0] == 0
    changed, _ = mixed(name, torch.where(blanks, torch.nan, images), labels)
    assert torch.equal(changed == 0, blanks)


@GPU
class TestGpu:
    @pytest.mark.parametrize("name", EVERY)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_a_gpu_makes_the_same_without_the_host_waiting(self, name: str, dtype: Any) -> None:
        images, labels = batch(16, 32)
        images = images.to(dtype)
        there = images.cuda(), labels.cuda()
        mixed(name, *there)  # first memory of the device and pinned memory are asked for
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            made = [mixed(name, *there, step=step) for step in range(10)]
        finally:
            torch.cuda.set_sync_debug_mode(before)
        for step, (changed, targets) in enumerate(made):
            here = mixed(name, images, labels, step=step)
            assert changed.is_cuda
            assert targets.is_cuda
            assert changed.stride() == images.stride()
            tolerance = 2**-7 if dtype == torch.bfloat16 else 1e-6
            assert torch.allclose(changed.cpu().float(), here[0].float(), rtol=tolerance, atol=1e-6)
            assert torch.allclose(targets.cpu().float(), here[1].float(), atol=1e-6)
            assert torch.equal(there[0].cpu(), images)
