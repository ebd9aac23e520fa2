"""The blends of two images: names, numbers in program tables, and the published names.

Rule: literal tables; the pixel arithmetic is in `core.kernels.mixing`.
"""

BLENDS: dict[str, int] = {"arithmetic": 0, "geometric": 1, "pixel": 2, "element": 3}
"""Published as add, multiply, random_pixels, random_elems."""

BLEND_NAMES = tuple(BLENDS)
