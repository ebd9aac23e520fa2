"""A folder of pictures to mix with."""

from pathlib import Path

import pytest
from mixing import noise, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nested pictures of several shapes and formats, sorted differently by folder and by path."""
    root = tmp_path / "mixing"
    shapes = {
        "b.png": (50, 70),
        "a/z.png": (70, 50),
        "a-b/c.PNG": (40, 40),
        "a/deep/er.jpg": (90, 60),
        "é.bmp": (37, 300),
    }
    for seed, (name, (height, width)) in enumerate(shapes.items()):
        save(root / name, noise(height, width, seed))
    return root
