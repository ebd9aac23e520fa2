"""The plain recipe: the crop alone, for a baseline baked through the same pipeline."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixbake.core.programs import Most, Programs
from mixbake.recipes.recipe import NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """No operation, no blend, no picture."""

    family: ClassVar[str] = "plain"
    symmetric: ClassVar[bool] = True
    mirrored_pictures: ClassVar[bool] = False

    @property
    def most(self) -> Most:
        """Nothing."""
        return NOTHING

    @property
    def uses_pictures(self) -> bool:
        """Never."""
        return False

    @property
    def gray_pictures(self) -> bool:
        """Not applicable: no pictures."""
        return False

    def fill(self, table: Programs, *, key: NDArray[np.uint64], size: int) -> None:
        """Leave every program empty: the crop is the result."""
