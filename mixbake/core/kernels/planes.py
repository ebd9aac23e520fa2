"""Images whose channels lie together (pixel after pixel), and apart (plane after plane): from one to the other.

Rule: bytes are moved, never changed.
"""

import numpy as np
from numpy.typing import NDArray

from mixbake.core.jit import jit

Bytes = NDArray[np.uint8]


@jit
def join_planes(planes: Bytes, out: Bytes, count: int) -> None:
    """out <- pixels of `count` images, uint8 flat, that lie as three planes each."""
    length = np.uintp(len(out) // max(3 * count, 1))
    for image in range(np.uintp(count)):
        start = np.uintp(3) * length * image
        for i in range(length):
            p, k = start + i, start + np.uintp(3) * i
            out[k], out[k + np.uintp(1)], out[k + np.uintp(2)] = (
                planes[p],
                planes[p + length],
                planes[p + length + length],
            )


@jit
def split_planes(pixels: Bytes, out: Bytes, count: int) -> None:
    """out <- the planes of `count` images, uint8 flat, that lie as pixels."""
    length = np.uintp(len(out) // max(3 * count, 1))
    for image in range(np.uintp(count)):
        start = np.uintp(3) * length * image
        for i in range(length):
            p, k = start + i, start + np.uintp(3) * i
            out[p], out[p + length], out[p + length + length] = (
                pixels[k],
                pixels[k + np.uintp(1)],
                pixels[k + np.uintp(2)],
            )
