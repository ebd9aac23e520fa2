"""The greatest length of a stored picture: no codec needs more, whatever the picture."""

import numpy as np
import pytest

from mixbake.storage.codecs import CODECS, most_bytes


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("side", [1, 7, 64, 65, 200])
def test_noise_takes_less_than_half_of_what_is_allowed(codec: str, side: int) -> None:
    drawn = np.random.default_rng(side).integers(0, 256, (2, side, side, 3), np.uint8)
    for picture in (drawn[0], (drawn[1] // 128) * np.uint8(255)):
        assert len(CODECS[codec].encode(picture, 100)) < most_bytes(side) / 2
