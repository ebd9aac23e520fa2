"""Batches on their device: bytes that cross to a GPU are the ones that a CPU is given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from mixbake.stream.devices import Finisher  # noqa: E402 - torch must be there
from mixbake.stream.loader import ShardLoader  # noqa: E402

SIZE = 16
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def finisher(device: str = "cpu", **settings: Any) -> Finisher:
    given = {
        "size": SIZE,
        "device": torch.device(device),
        "dtype": torch.uint8,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "channels_last": True,
        "pin_memory": False,
        "ahead": 2,
    }
    return Finisher(**(given | settings))


def filled(finisher: Finisher, count: int, seed: int = 1) -> Any:
    host = finisher.host(count)
    host.array[:] = np.random.default_rng(seed).integers(0, 256, host.array.shape, np.uint8)
    return host


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("channels_last", [True, False])
def test_torch_and_the_compiled_loops_agree(dtype: Any, rows: int, channels_last: bool) -> None:
    one = finisher(dtype=dtype, channels_last=channels_last)
    mirrored = np.tile(np.array([True, False, True, True]), rows)
    by_torch = one.on_device(filled(one, 4 * rows).tensor, rows, mirrored)
    by_loops = one.finish(filled(one, 4 * rows), rows, mirrored)
    assert by_torch.shape == by_loops.shape
    assert by_torch.stride() == by_loops.stride()
    # A bfloat16 has eight bits: what rounds the other way differs by one part in 128.
    assert torch.allclose(by_torch.double(), by_loops.double(), rtol=0 if dtype == torch.uint8 else 2**-7, atol=2e-6)


def test_without_mirroring_nothing_is_mirrored() -> None:
    one = finisher(channels_last=False)
    host = filled(one, 5)
    before = host.array.copy()
    assert np.array_equal(one.finish(host, 1, None).numpy(), before)


def test_memory_of_a_batch_that_was_let_go_is_used_again() -> None:
    one = finisher(dtype=torch.float32)
    places = set()
    for _ in range(6):
        images = one.finish(filled(one, 8), 1, None)
        places.add(images.data_ptr())
        del images
    assert len(places) == 1


def test_memory_of_a_batch_that_was_kept_is_not() -> None:
    one = finisher()
    kept = [one.finish(filled(one, 8, seed), 1, None) for seed in range(10)]
    for seed, images in enumerate(kept):
        expected = np.random.default_rng(seed).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), expected)


@GPU
class TestGpu:
    @pytest.mark.parametrize("resident", [False, True])
    @pytest.mark.parametrize("name", ["mix_bake", "jsd_bake", "jpeg_bake"])
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
    def test_batches_are_those_of_the_cpu(
        self, request: pytest.FixtureRequest, name: str, dtype: Any, resident: bool
    ) -> None:
        out = request.getfixturevalue(name)
        here = ShardLoader(out, batch_size=20, dtype=dtype)
        there = ShardLoader(out, batch_size=20, dtype=dtype, device="cuda", resident=resident)
        for _ in range(3):
            for one, other in zip(here, there, strict=True):
                assert other.images.device.type == "cuda"
                assert other.images.stride() == one.images.stride()
                for column in ("labels", "ids", "numbers", "clean", "valid"):
                    assert torch.equal(getattr(one, column), getattr(other, column).cpu())
                tolerance = 0 if dtype == torch.uint8 else 2**-7 if dtype == torch.bfloat16 else 1e-6
                difference = (one.images.double() - other.images.cpu().double()).abs().max()
                assert difference <= tolerance * max(1.0, one.images.double().abs().max().item())

    def test_kept_batches_are_not_overwritten(self, mix_bake: Path) -> None:
        here = ShardLoader(mix_bake, batch_size=8, order=0)
        there = ShardLoader(mix_bake, batch_size=8, order=0, device="cuda", prefetch=4)
        expected, kept, busy = [], [], torch.randn(2000, 2000, device="cuda")
        for _ in range(10):
            for one, other in zip(here, there, strict=True):
                busy = busy @ busy / busy.norm()  # so that the GPU lags behind
                expected.append(one.images)
                kept.append(other.images)
        assert all(torch.equal(one, other.cpu()) for one, other in zip(expected, kept, strict=True))

    def test_auto_is_resident_where_there_is_room(self, mix_bake: Path) -> None:
        before = torch.cuda.memory_allocated()
        loader = ShardLoader(mix_bake, batch_size=8, device="cuda", resident="auto")
        batch = next(iter(loader))
        assert batch.images.is_cuda
        assert torch.cuda.memory_allocated() - before >= 40 * 32 * 32 * 3


def test_pinning_without_a_gpu_is_no_error(mix_bake: Path) -> None:
    batches = zip(
        ShardLoader(mix_bake, batch_size=8, pin_memory=True), ShardLoader(mix_bake, batch_size=8), strict=True
    )
    for pinned, plain in batches:
        assert torch.equal(pinned.images, plain.images)
        assert pinned.images.is_pinned() == torch.cuda.is_available()


def test_devices_may_be_named_or_given(mix_bake: Path, wide_bake: Path) -> None:
    makers: list[Callable[[], Any]] = [
        lambda: ShardLoader(mix_bake, batch_size=8, device="cpu"),
        lambda: ShardLoader(str(mix_bake), batch_size=8, device=torch.device("cpu")),
    ]
    one, other = (next(iter(maker())) for maker in makers)
    assert torch.equal(one.images, other.images)
