"""The recipes on the fly: what a bake would do to a picture, at the moment when it is asked for.

    from mixbake.transforms import LayerMix
    transform = LayerMix("pictures/fractals", size=32)
    mixed = transform(image)                                # PIL, numpy or torch uint8, one or a batch

Rule: the same draw and the same renderer as a bake's, never a second pipeline; torch is used when it is there
already, never imported.
"""

from mixbake.transforms.functional import augmix, ipmix, layermix, pixmix
from mixbake.transforms.transform import AugMix, IPMix, LayerMix, PixMix, RecipeTransform

__all__ = ["AugMix", "IPMix", "LayerMix", "PixMix", "RecipeTransform", "augmix", "ipmix", "layermix", "pixmix"]
