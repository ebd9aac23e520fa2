"""Every kernel is compiled before workers start: a bake meets no argument types that warming up did not."""

import io
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixbake.bake.build import build
from mixbake.bake.settings import BuildSettings
from mixbake.bake.warmup import warm_up
from mixbake.core.kernels import program, text, windows
from mixbake.recipes import augmix, ipmix, layermix, pixmix

KERNELS: list[Any] = [
    program.run_stack,
    program.run_crop,
    text.write_members,
    windows.draw_crops,
    windows.draw_flips,
    windows.draw_pictures,
    *(recipe._draw for recipe in (layermix, pixmix, augmix, ipmix)),
]


class Quiet:
    def say(self, message: str) -> None: ...
    def prepare(self, what: str, done: int, total: int) -> None: ...
    def event(self, name: str, **fields: Any) -> None: ...
    def baking(self, *_: Any) -> Any:
        return nullcontext()


def picture(mode: str, side: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.fixture
def mixed_folder(tmp_path: Path) -> Path:
    """Pictures that take every way through decoding: JPEG and PNG, gray, palette, transparent."""
    for number, (mode, kind) in enumerate(
        [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("P", "PNG"), ("RGBA", "PNG")]
    ):
        for name in ("one", "two"):
            folder = tmp_path / "source" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.{kind.lower()}").write_bytes(picture(mode, 40, kind))
    return tmp_path / "source"


@pytest.mark.parametrize("recipe", ["layermix", "pixmix", "augmix", "ipmix", "plain"])
@pytest.mark.parametrize("size", [32, 72])
@pytest.mark.parametrize(("views", "flip"), [("mix", "auto"), ("jsd", "baked")])
def test_a_bake_compiles_nothing_after_warming_up(
    mixed_folder: Path, tmp_path: Path, recipe: str, size: int, views: str, flip: str
) -> None:
    warm_up(lambda _: None)
    settings = BuildSettings(
        source=str(mixed_folder),
        out=tmp_path / "out",
        size=size,
        recipe=recipe,
        views=views,
        flip=flip,
        mixing_set=str(mixed_folder),
        executor="inline",
    )
    build(settings, Quiet())
    assert [len(kernel.signatures) for kernel in KERNELS] == [1] * len(KERNELS)
