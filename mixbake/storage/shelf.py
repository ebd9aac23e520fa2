"""Where the files of a bake lie: a local folder, or anything that brings files to this machine.

Readers ask a shelf for files by name, and know size and SHA-256 of each from receipts. Rule: names are
computed (`storage.plan`), never taken from a file, and a shelf never writes into the bake.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixbake.errors import Damage
from mixbake.storage.store import retrying, storage_error

ABSENT, UNKNOWN = -1, -2
"""Sizes of a file that is not there, and of one that only fetching it would tell."""


class Shelf(Protocol):
    """The files of one bake, by their names relative to it (`mix/v003/000017.tar`)."""

    @property
    def name(self) -> str:
        """What messages call it: a path or a URL."""

    @property
    def distant(self) -> bool:
        """Whether every file takes a round trip, so that many are better asked for side by side."""

    def exists(self, name: str) -> bool:
        """Whether the file is there."""

    def read(self, name: str) -> bytes:
        """A small file, whole. Raises Damage when it is not there, StorageError when it cannot be read."""

    def sizes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """int64[n]: bytes of each file, or ABSENT, or UNKNOWN."""

    def local(self, name: str, *, size: int, sha256: str) -> Path:
        """A file on this machine with the contents of `name`, of which size and SHA-256 (hex) are known.

        A shelf that copies files checks both. Raises Damage naming the file when it is not there or differs,
        StorageError when it cannot be brought here.
        """


class LocalShelf:
    """A folder on this machine; nothing is copied, and `local` checks nothing."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._root)

    @property
    def distant(self) -> bool:
        """No."""
        return False

    def exists(self, name: str) -> bool:
        """Whether the file is there. Raises StorageError when that cannot be told."""
        return _size(f"{self._root}/{name}") != ABSENT

    def read(self, name: str) -> bytes:
        """A small file, whole. Raises Damage when it is not there, StorageError when it cannot be read."""
        path = self._root / name
        if not self.exists(name):
            raise missing(name, self.name)
        return retrying(path.read_bytes, path)

    def sizes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """int64[n]: bytes of each file, or ABSENT."""
        root = f"{self._root}/"
        return np.fromiter((_size(root + name) for name in names), np.int64, len(names))

    def local(self, name: str, *, size: int, sha256: str) -> Path:  # noqa: ARG002 - nothing is copied
        """Its path. Raises Damage when it is not there."""
        if not self.exists(name):
            raise missing(name, self.name)
        return self._root / name


def missing(name: str, shelf: str) -> Damage:
    """The error for a file that bake.json or a receipt promises and that is not there."""
    return Damage(f"{name} is missing in {shelf}: restore it from a copy, or bake it again with the same build command")


NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What the system says of a path that leads to no file."""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - 25,000 of them: a Path each would cost more than the call
    except OSError as error:
        if error.errno in NOWHERE:
            return ABSENT
        raise storage_error("look at", Path(path), error) from error
