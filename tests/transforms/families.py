"""The transforms by their recipes' names."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mixbake.transforms import AugMix, IPMix, LayerMix, PixMix, RecipeTransform

Bytes = NDArray[np.uint8]
Make = Callable[..., RecipeTransform]
CLASSES: dict[str, type[RecipeTransform]] = {"layermix": LayerMix, "pixmix": PixMix, "ipmix": IPMix, "augmix": AugMix}
