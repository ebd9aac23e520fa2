"""Corners: one or two rounds of a rotation, a vignette, or a pixel blend with a mixing picture."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mixbake.recipes.own import Chance, Op, Program


def darken(image: np.ndarray, strength: float) -> np.ndarray:
    across = np.abs(2 * np.arange(len(image)) - len(image) + 1)
    kept = 1000 - (across[:, None] ** 2 + across**2) * round(1000 * strength) // (2 * len(image) ** 2)
    return (image * kept[:, :, None] // 1000).astype(np.uint8)


OPS = {"vignette": Op(version=1, apply=darken)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corners:
    uses_pictures: ClassVar[bool] = True

    rounds: int = 2
    strength: float = 0.9

    def draw(self, rng: Chance, program: Program) -> None:
        x = program.image
        for _ in range(rng.whole(1, self.rounds)):
            kind = rng.choice(("rotate", "vignette", "pixel"))
            if kind == "rotate":
                x = program.op("rotate", x, rng.sign() * rng.uniform(5, 30))
            elif kind == "vignette":
                x = program.op("vignette", x, rng.uniform(0.1, self.strength))
            else:
                x = program.blend("pixel", x, program.picture, rng.uniform(0.5, 1), rng.seed())
