"""Fingerprints of pictures, and which of them are equal or near.

    pixels -> BLAKE2b          equal digests, equal pixels
           -> perceptual hash  few bits apart: perhaps the same picture, encoded again, resized, a little brighter
           -> 16×16 luma       and its SSIM says whether it is
Rule: pixels are compared, never files; within its limits the search misses no pair of hashes.
"""

import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.likeness import flatness, ssim, to_luma
from mixbake.core.jit import inline, jit

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]

CONSTANT = 2.0
"""Levels of 255: a picture that varies less (`likeness.flatness`) is near-constant. JPEG's own noise on one colour
stays below 1, and what varies by 2 levels cannot be made out on a screen."""
DISTANCE = 4
"""Bits of 63 that hashes of near pictures may differ in."""
LEAST_SSIM = 0.8
"""SSIM at 16×16 px from which pictures with near hashes are near. 400 CIFAR-10 images encoded as JPEG (quality 50 to
90) or resized (0.5 to 2 times) had 0.88 and more; variants of different images with near hashes, dull ones in black
frames, at most 0.69."""
MOST_BESIDE, MOST_PAIRS = 2000, 2_000_000
"""Hashes that one is compared with in each band, and pairs whose SSIM is taken in each: a stranger can make any number
of hashes fall together."""
_WAVES, _REDUCED = 8, 16
_BITS = _WAVES * _WAVES - 1
_LEAST = 1e-6
"""Coefficients this close are equal: those of a constant picture are rounding errors."""
_TOGETHER = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """Of n pictures. digests: uint64[n, 2], of pixels. hashes: uint64[n], perceptual. reduced: uint8 n×16×16, luma.

    flatness: float64[n], as `likeness.flatness`; what is below CONSTANT has no hash worth comparing.
    """

    digests: Hashes
    hashes: Hashes
    reduced: Bytes
    flatness: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def telling(self) -> NDArray[np.bool_]:
        """Which pictures are not near-constant."""
        return self.flatness >= CONSTANT

    def take(self, numbers: NDArray[np.int64]) -> "Fingerprints":
        """Those of some pictures."""
        return Fingerprints(**{field.name: getattr(self, field.name)[numbers] for field in fields(self)})


def fingerprints(pictures: Bytes) -> Fingerprints:
    """Of uint8 n×S×S×3, C-contiguous."""
    digests = [hashlib.blake2b(picture, digest_size=16).digest() for picture in pictures]
    lumas = to_luma(pictures)
    return Fingerprints(
        digests=np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2),
        hashes=perceptual(lumas),
        reduced=_reduce(lumas),
        flatness=flatness(pictures),
    )


NOTHING = Fingerprints(
    digests=np.zeros((0, 2), np.uint64),
    hashes=np.zeros(0, np.uint64),
    reduced=np.zeros((0, _REDUCED, _REDUCED), np.uint8),
    flatness=np.zeros(0),
)


def joined(parts: list[Fingerprints]) -> Fingerprints:
    """One after the other."""
    together = {
        field.name: np.concatenate([getattr(part, field.name) for part in (NOTHING, *parts)])
        for field in fields(NOTHING)
    }
    return Fingerprints(**together)


def perceptual(lumas: Bytes) -> Hashes:
    """Perceptual hashes, uint64[n] of 63 bits; lumas: uint8 n×S×S.

    A bit a coefficient of the 8×8 lowest frequencies of the discrete cosine transform, the mean left out: whether
    it is above their median. After Zauner 2010, "Implementation and benchmarking of perceptual image hash functions",
    who reduces the picture to 32×32 before the transform; its low frequencies need no reduction.
    """
    side = lumas.shape[1]
    waves = np.cos(np.pi / side * np.outer(np.arange(_WAVES), np.arange(side) + 0.5)) / side
    coefficients = np.empty((len(lumas), _WAVES, _WAVES))
    _project(lumas, waves, np.empty(waves.shape), coefficients)
    rest = coefficients.reshape(len(lumas), -1)[:, 1:]
    bits = rest > np.median(rest, axis=1, keepdims=True) + _LEAST
    weights = np.uint64(1) << np.arange(_BITS, dtype=np.uint64)
    hashes: Hashes = (bits * weights).sum(axis=1, dtype=np.uint64)
    return hashes


def join_near(prints: Fingerprints, distance: int = DISTANCE) -> tuple[NDArray[np.int64], int]:
    """Groups of pictures, int64[n]: who is near another, in hash and SSIM, is in its group, directly or in steps.

    Hashes that are near agree in at least one of distance + 1 bands of bits (Norouzi, Punjani, Fleet 2012, "Fast
    search in Hamming space with multi-index hashing"), so only those that agree in one are compared. Returns the
    groups, each by the number of its first picture, and how many pairs were left out by MOST_BESIDE and MOST_PAIRS.
    """
    parents, unlooked = np.arange(len(prints)), 0
    pairs = np.empty((2, min(MOST_PAIRS, len(prints) * (len(prints) - 1) // 2)), np.int64)
    for k in range(distance + 1):
        # Every (distance + 1)-th bit: neighbouring frequencies go together, and bands of them would be crowded.
        band = prints.hashes & np.uint64(sum(1 << bit for bit in range(k, 64, distance + 1)))
        order = np.argsort(band, kind="stable")
        count, left = _find_pairs(prints.hashes[order], band[order], distance, MOST_BESIDE, pairs)
        unlooked += left
        firsts, seconds = order[pairs[:, :count]]
        apart = parents[firsts] != parents[seconds]
        near = _look_alike(prints, firsts[apart], prints, seconds[apart])
        _unite(parents, firsts[apart][near], seconds[apart][near])
    return parents, unlooked


def find_near(prints: Fingerprints, others: Fingerprints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each picture the first of the others whose hash is nearest, and bits between: int64[n] each.

    64 bits where it is not near, in hash and SSIM, and where either is near-constant.
    """
    found, bits = np.zeros(len(prints), np.int64), np.full(len(prints), 64)
    _nearest(prints.hashes, others.hashes, others.telling, found, bits)
    near = np.flatnonzero((bits <= DISTANCE) & prints.telling)
    bits[np.setdiff1d(np.arange(len(prints)), near[_look_alike(prints, near, others, found[near])])] = 64
    return found, bits


def _look_alike(
    prints: Fingerprints, firsts: NDArray[np.int64], others: Fingerprints, seconds: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether prints[firsts[i]] and others[seconds[i]] are alike at 16×16 px: bool[k]."""
    alike = np.zeros(len(firsts), np.bool_)
    for start in range(0, len(firsts), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        alike[some] = ssim(prints.reduced[firsts[some]], others.reduced[seconds[some]]) >= LEAST_SSIM
    return alike


def _reduce(lumas: Bytes) -> Bytes:
    """Lumas, uint8 n×S×S, at 16×16: the mean over each of 16·16 equal areas."""
    side = lumas.shape[1]
    ends = np.arange(_REDUCED + 1) * side / _REDUCED
    pixels = np.arange(side)
    inside = np.minimum(ends[1:, None], pixels + 1) - np.maximum(ends[:-1, None], pixels)
    shares = np.maximum(inside, 0) * _REDUCED / side
    means = np.empty((len(lumas), _REDUCED, _REDUCED))
    _project(lumas, shares, np.empty(shares.shape), means)
    return np.rint(means).astype(np.uint8)


@jit
def _project(lumas: Bytes, rows: NDArray[np.float64], lines: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """out[i] <- rows · lumas[i] · rowsᵀ; rows, lines: float64 k×S, out: float64 n×k×k."""
    count, side = rows.shape
    for i in range(len(lumas)):
        lines[:] = 0.0
        for y in range(side):
            for u in range(count):
                share = rows[u, y]
                if share != 0.0:
                    for x in range(side):
                        lines[u, x] += share * lumas[i, y, x]
        for u in range(count):
            for v in range(count):
                total = 0.0
                for x in range(side):
                    total += rows[v, x] * lines[u, x]
                out[i, u, v] = total


@inline
def _bits_apart(first: int, second: int) -> int:
    """Population count of a difference, in parallel sums (Warren, "Hacker's Delight", section 5-1)."""
    value = np.uint64(first) ^ np.uint64(second)
    value -= (value >> np.uint64(1)) & np.uint64(0x5555555555555555)
    value = (value & np.uint64(0x3333333333333333)) + ((value >> np.uint64(2)) & np.uint64(0x3333333333333333))
    value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((value * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inline
def _root(parents: NDArray[np.int64], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


@jit
def _find_pairs(hashes: Hashes, band: Hashes, distance: int, most: int, pairs: NDArray[np.int64]) -> tuple[int, int]:
    """pairs[:, :k] <- places of hashes that are near and of one band; both arrays are sorted by it.

    Returns k, and how many pairs were left out.
    """
    found, unlooked, end = 0, 0, 0
    for i in range(len(hashes)):
        if end <= i:
            end = i + 1
            while end < len(hashes) and band[end] == band[i]:
                end += 1
        last = min(end, i + 1 + most)
        unlooked += end - last
        for j in range(i + 1, last):
            if _bits_apart(hashes[i], hashes[j]) <= distance:
                if found < pairs.shape[1]:
                    pairs[0, found], pairs[1, found] = i, j
                    found += 1
                else:
                    unlooked += 1
    return found, unlooked


@jit
def _unite(parents: NDArray[np.int64], firsts: NDArray[np.int64], seconds: NDArray[np.int64]) -> None:
    """Put pairs in one group each; parents[i] is then the first of i's group, whatever the order of the pairs."""
    for k in range(len(firsts)):
        first, second = _root(parents, firsts[k]), _root(parents, seconds[k])
        parents[max(first, second)] = min(first, second)
    for i in range(len(parents)):
        parents[i] = _root(parents, i)


@jit
def _nearest(
    hashes: Hashes, others: Hashes, telling: NDArray[np.bool_], found: NDArray[np.int64], bits: NDArray[np.int64]
) -> None:
    for i in range(len(hashes)):
        for j in range(len(others)):
            apart = _bits_apart(hashes[i], others[j])
            if apart < bits[i] and telling[j]:
                found[i], bits[i] = j, apart
