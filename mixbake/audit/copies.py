"""Groups of variants with equal pixels, and of variants that look much the same.

Rule: every group is counted; which are listed is decided here alone, what matters most first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.hashing import Fingerprints, join_near

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """k groups of alike variants, ordered: those of several images first, of these those of several labels, then large.

    members: numbers of each group's variants, ascending. same_label, same_image: bool[k].
    """

    members: tuple[Numbers, ...]
    same_label: NDArray[np.bool_]
    same_image: NDArray[np.bool_]

    @property
    def across(self) -> int:
        """How many groups hold variants of several images."""
        return int((~self.same_image).sum())

    @property
    def conflicting(self) -> int:
        """How many groups hold variants of several labels."""
        return int((~self.same_label).sum())


def equal_groups(prints: Fingerprints, images: Numbers, labels: Numbers) -> Copies:
    """Groups of equal pixels. images, labels: int64[n], of each variant."""
    names = _names(prints)
    return _grouped(names, np.bincount(names) > 1, images, labels)


def near_groups(prints: Fingerprints, images: Numbers, labels: Numbers) -> tuple[Copies, int]:
    """Groups of near pictures (`hashing.join_near`), not all equal, and how many pairs were not compared.

    Near-constant pictures are in none: their hashes say nothing.
    """
    telling = np.flatnonzero(prints.telling)
    _, firsts, which = np.unique(_names(prints)[telling], return_index=True, return_inverse=True)
    groups, unlooked = join_near(prints.take(telling[firsts]))
    names = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    found = _grouped(names[which], np.bincount(names) > 1, images[telling], labels[telling])
    members = tuple(telling[group] for group in found.members)
    return Copies(members=members, same_label=found.same_label, same_image=found.same_image), unlooked


def _names(prints: Fingerprints) -> Numbers:
    """A number for each picture, int64[n]: the same for equal pixels."""
    digests = np.ascontiguousarray(prints.digests).view([("low", np.uint64), ("high", np.uint64)]).reshape(-1)
    return np.unique(digests, return_inverse=True)[1].astype(np.int64)


def _grouped(names: Numbers, kept: NDArray[np.bool_], images: Numbers, labels: Numbers) -> Copies:
    order = np.argsort(names, kind="stable")
    order = order[kept[names[order]]] if len(order) else order
    starts = np.flatnonzero(np.diff(names[order], prepend=-1))
    members = np.split(order, starts[1:]) if len(order) else []
    same_label, same_image = _uniform(labels[order], starts), _uniform(images[order], starts)
    firsts, sizes = order[starts], np.diff(np.append(starts, len(order)))
    ranks = np.lexsort((firsts, -sizes, same_label, same_image)).tolist()
    return Copies(
        members=tuple(members[rank] for rank in ranks), same_label=same_label[ranks], same_image=same_image[ranks]
    )


def _uniform(values: Numbers, starts: Numbers) -> NDArray[np.bool_]:
    """Whether all values from each start to the next are one: bool[k]."""
    if not len(starts):
        return np.zeros(0, np.bool_)
    uniform: NDArray[np.bool_] = np.minimum.reduceat(values, starts) == np.maximum.reduceat(values, starts)
    return uniform
