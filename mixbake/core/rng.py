"""Random numbers: a pure function of a path, never of time, order or process.

`stream(*path)` is the only way to get random numbers. A path is hashed (blake2b) to a Philox4x64-10
key; `at` sets the counter, so that one key serves a million (image, number) pairs without set-up.
Philox: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Word = str | int


def key(*path: Word) -> NDArray[np.uint64]:
    """Philox key of a path: uint64[2], the blake2b-128 of its unambiguous spelling.

    Strings and integers never collide: ("a", 1) and ("a1",) and ("a", "1") give different keys.
    """
    spelled = b"".join(_spell(part) for part in path)
    digest = hashlib.blake2b(spelled, digest_size=16, person=b"mixbake").digest()
    return np.frombuffer(digest, dtype="<u8").copy()


def stream(*path: Word, at: tuple[int, int] = (0, 0)) -> np.random.Generator:
    """A numpy Generator that depends on `path` and `at` alone.

    `at` is the pair (image, number) placed in the upper two counter words; the lower two count, so
    streams at different places never overlap.
    """
    counter = np.array([0, 0, at[0], at[1]], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key(*path), counter=counter))


def scrambled(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finalizer (Steele, Lea, Flood 2014), uint64 to uint64: every output bit depends on every input bit.

    For orders and choices over many rows at once, where a stream for each would cost too much.
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _spell(part: Word) -> bytes:
    kind, text = (b"s", part.encode()) if isinstance(part, str) else (b"i", str(int(part)).encode())
    return kind + str(len(text)).encode() + b":" + text
