"""Draws pictures of every generator that promises equal pixels on every CPU, and prints a digest of each as JSON.

Run as a program, so that another CPU can be compared.
"""

import hashlib
import json
import sys

from mixbake.data.generators import GENERATORS

SIDE = 96
"""No power of two, so that fields are sampled."""

NUMBERS = (0, 1)


def digests() -> dict[str, str]:
    """Digest of pictures NUMBERS of each kind, seed 5."""
    return {
        f"{name} {kind}".strip(): hashlib.sha256(
            b"".join(draw(number, seed=5, side=SIDE).tobytes() for number in NUMBERS)
        ).hexdigest()[:16]
        for name, generator in GENERATORS.items()
        if name != "fractals"  # their families use the machine's own sine
        for kind, draw in generator.kinds.items()
    }


if __name__ == "__main__":
    json.dump(digests(), sys.stdout, indent=4)
