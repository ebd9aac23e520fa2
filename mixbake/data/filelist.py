"""Source `list:FILE`: images named one a row, with their labels, in a CSV or Parquet file.

Columns `path` and `label`; a label is a class number, or a class name, of which the sorted set makes the
classes. Relative paths start at FILE's folder. In the listing, paths are relative to FILE's folder if every
image lies in it, else to the deepest folder that holds all images, so `..` and absolute paths never show.
Rule: the rows only name files; nothing in them is fetched or run.
"""

import csv
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixbake.data.listing import Entry, Listing
from mixbake.data.names import MAX_CLASSES, Row, numbered_classes, sorted_listing
from mixbake.errors import StorageError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSource:
    """The images that the rows of `file` name; `root` is the folder that listed paths start at."""

    spec: str
    file: str
    root: str

    def scan(self) -> Listing:
        """List every row, sorted by path. Raises UsageError on missing files, bad labels or repeated rows."""
        paths, written = _read_rows(Path(self.file))
        classes, labels = _classes_of(written, self.file)
        rows: list[Row] = []
        missing = []
        for path, label in zip(paths, labels, strict=True):
            size = _size(path)
            if size is None:
                missing.append(path)
            else:
                rows.append((path[len(self.root) + 1 :], size, 0, label))
        if missing:
            raise UsageError(f"{self.file!r} names {len(missing)} missing files, first {missing[0]!r}: mend the list")
        return sorted_listing(spec=self.spec, classes=classes, rows=rows)

    def listed(self) -> frozenset[str]:
        """The paths of all rows, relative to `root`; no image is looked at."""
        paths, _ = _read_rows(Path(self.file))
        return frozenset(path[len(self.root) + 1 :] for path in paths)

    def read(self, entry: Entry, limit: int = -1) -> bytes:
        """The file's bytes, at most `limit` if it is not negative. Raises OSError when they cannot be read."""
        with open(f"{self.root}/{entry.path}", "rb") as file:  # noqa: PTH123  a Path a file costs more than the read
            return file.read(limit)

    def files(self, listing: Listing) -> list[str]:
        """Every picture's own."""
        return [f"{self.root}/{path}" for path in listing.paths]


def open_list(spec: str) -> ListSource:
    """The source that `list:FILE` names; reads FILE once to find the folder that holds all images."""
    file = Path(spec.partition(":")[2]).absolute()
    paths, _ = _read_rows(file)
    home = str(file.parent)
    inside = all(path.startswith(f"{home}/") for path in paths)
    root = home if inside else os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120  strings
    return ListSource(spec=spec, file=str(file), root=root.rstrip("/"))


def _size(path: str) -> int | None:
    """Bytes of a plain file; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  a Path a file would double the time
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{path!r} cannot be read: {error.strerror}: check the disk and the permissions") from error
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _read_rows(file: Path) -> tuple[list[str], list[str]]:
    """(absolute paths, labels as text) of a list file; UsageError when it is not one."""
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise UsageError(f"{str(file)!r}: a list is a file that ends in {' or '.join(_READERS)}")
    try:
        paths, labels = read(file)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise UsageError(f"the list {str(file)!r} cannot be read: {error}") from error
    for number, (path, label) in enumerate(zip(paths, labels, strict=True), start=1):
        if not path or not label or "\0" in path:
            raise UsageError(f"{str(file)!r}, row {number}: path or label is missing: fill it in")
    if not paths:
        raise UsageError(f"the list {str(file)!r} has no rows: give one image a row")
    home = str(file.parent)
    return [os.path.normpath(f"{home}/{path}" if path[0] != "/" else path) for path in paths], labels


def _read_csv(file: Path) -> tuple[list[str], list[str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, strict=True)
        header = next(rows, [])
        at = [_column(header, name, file) for name in ("path", "label")]
        chosen = [[row[index] if index < len(row) else "" for index in at] for row in rows if row]
    return [path for path, _ in chosen], [label.strip() for _, label in chosen]


def _read_parquet(file: Path) -> tuple[list[str], list[str]]:
    with pq.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        for name in ("path", "label"):
            _column(names, name, file)
        table = parquet.read(columns=["path", "label"])
    columns = [table.column(name).cast(pa.string()).fill_null("").to_pylist() for name in ("path", "label")]
    return columns[0], columns[1]


_READERS = {".csv": _read_csv, ".parquet": _read_parquet}


def _column(names: Sequence[str], name: str, file: Path) -> int:
    if list(names).count(name) != 1:
        raise UsageError(f"{str(file)!r} has the columns {list(names)}: it needs one called {name!r}")
    return list(names).index(name)


def _classes_of(written: list[str], file: str) -> tuple[tuple[str, ...], list[int]]:
    """(class names, label of each row). Labels are numbers if all are spelled as numbers, else class names."""
    if not all(label.isascii() and label.isdigit() and str(int(label)) == label for label in set(written)):
        names = tuple(sorted(set(written)))
        number = {name: label for label, name in enumerate(names)}
        return names, [number[label] for label in written]
    labels = [int(label) for label in written]
    if max(labels) >= MAX_CLASSES:
        raise UsageError(f"{file!r} has the label {max(labels)}: labels are below {MAX_CLASSES}")
    return numbered_classes(labels), labels
