"""Which names a source may hold, and the sorted listing made of them.

Rule: a name that cannot be stored, shown or told apart everywhere is refused before any work is done.
Messages show names with `!r`, which escapes whatever a terminal would obey.
"""

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from mixbake.data.listing import Listing
from mixbake.errors import UsageError

PICTURE_SUFFIXES = frozenset({"jpg", "jpeg", "jpe", "png", "bmp", "webp", "gif", "tif", "tiff", "ppm", "pgm", "pbm"})

MAX_CLASSES = 1_000_000
"""Labels given as numbers are below this: one wild label would otherwise create millions of classes."""

Row = tuple[str, int, int, int]
"""(path, size in bytes, offset, label) of one image."""

_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control, surrogate (a name that is no UTF-8), line and paragraph separators."""


def is_picture(name: str) -> bool:
    """Whether a file name ends in a picture's extension, in any case."""
    return name.rpartition(".")[2].lower() in PICTURE_SUFFIXES


def check_name(name: str) -> None:
    """Raise UsageError if `name` holds control characters or bytes that are no UTF-8."""
    if name.isprintable() or not any(unicodedata.category(character) in _UNPRINTABLE for character in name):
        return
    raise UsageError(f"the name {name!r} holds control characters or bytes that are not UTF-8: rename it")


def check_distinct(names: Iterable[str]) -> None:
    """Raise UsageError naming two names that are equal, or equal once Unicode-normalised (NFC)."""
    seen: dict[str, str] = {}
    for name in names:
        normal = name if name.isascii() else unicodedata.normalize("NFC", name)
        if normal in seen:
            raise UsageError(f"two images have the same name, {seen[normal]!a} and {name!a}: rename one")
        seen[normal] = name


def numbered_classes(labels: Iterable[int]) -> tuple[str, ...]:
    """Class names "0" to the largest label, for sources that give numbers only."""
    return tuple(map(str, range(max(labels) + 1)))


def sorted_listing(*, spec: str, classes: Sequence[str], rows: list[Row], ignored: int = 0) -> Listing:
    """The Listing of `rows`, in code point order of their paths; UsageError on a bad or repeated name."""
    if not rows:
        raise UsageError(f"{spec!r} holds no images")
    for name in classes:
        check_name(name)
    for row in rows:
        check_name(row[0])
    check_distinct(row[0] for row in rows)
    rows.sort()
    paths, *columns = zip(*rows, strict=True)
    sizes, offsets, labels = (np.array(column, dtype=np.int64) for column in columns)
    return Listing(
        spec=spec, classes=tuple(classes), paths=paths, sizes=sizes, offsets=offsets, labels=labels, ignored=ignored
    )
