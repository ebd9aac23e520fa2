"""Source `PATH`: an image folder with one folder a class, as torchvision's ImageFolder lays it out.

Classes are the sorted names of the folders in the root; pictures may lie deeper inside them. Hidden
files and folders do not exist for it; files that are no pictures are counted as ignored.
Rule: one scandir a folder, one stat a file, links are followed, so a tree of a million files takes seconds.
"""

import errno
import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mixbake.data.listing import Entry, Listing
from mixbake.data.names import Row, is_picture, sorted_listing
from mixbake.errors import StorageError, UsageError

SPLITS = frozenset({"train", "val", "valid", "validation", "test"})

Identity = tuple[int, int]
"""(device, inode): the same for a folder and every link to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    """An image folder; `chosen` limits it to these classes, None takes all."""

    spec: str
    root: str
    chosen: tuple[str, ...] | None = None

    def scan(self) -> Listing:
        """List every picture, sorted by path. Raises UsageError on an empty or malformed folder."""
        folders, ignored = _class_folders(self.root)
        classes = _chosen_classes(folders, self.chosen, self.root)
        rows: list[Row] = []
        empty = []
        for label, name in enumerate(classes):
            before = len(rows)
            ignored += _list_class(self.root, name, label, rows)
            if len(rows) == before:
                empty.append(name)
        if empty:
            raise UsageError(f"{self.spec!r}: {_first(empty)} without pictures: fill or remove the folder")
        return sorted_listing(spec=self.spec, classes=classes, rows=rows, ignored=ignored)

    def require_there(self) -> None:
        """Raise UsageError when there is no such folder, or none in it."""
        _chosen_classes(_class_folders(self.root)[0], self.chosen, self.root)

    def find(self, path: str) -> bytes | None:
        """The bytes of the picture of that path, None where `scan` would list none; no other file is looked at.

        Raises OSError when it is there and cannot be read.
        """
        folders, place = path.split("/"), Path(self.root, path)
        hidden = any(not name or name.startswith(".") for name in folders)
        left_out = self.chosen is not None and folders[0] not in self.chosen
        if len(folders) < 2 or hidden or left_out or not is_picture(path) or not place.is_file():
            return None
        return place.read_bytes()

    def read(self, entry: Entry, limit: int = -1) -> bytes:
        """The file's bytes, at most `limit` if it is not negative. Raises OSError when they cannot be read."""
        with open(f"{self.root}/{entry.path}", "rb") as file:  # noqa: PTH123  a Path a file costs more than the read
            return file.read(limit)

    def files(self, listing: Listing) -> list[str]:
        """Every picture's own."""
        return [f"{self.root}/{path}" for path in listing.paths]


def open_folder(spec: str, *, classes: Path | None = None) -> FolderSource:
    """The folder `spec`, limited to the classes that file `classes` lists, if given."""
    chosen = None if classes is None else read_class_file(classes)
    return FolderSource(spec=spec, root=str(Path(spec).absolute()), chosen=chosen)


def read_class_file(path: Path) -> tuple[str, ...]:
    """Class names, one a line; blank lines and lines that begin with `#` are skipped. UsageError if unusable."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the class file {str(path)!r} cannot be read as UTF-8 text: {error}") from error
    names = [line.strip() for line in lines]
    names = [name for name in names if name and not name.startswith("#")]
    if not names:
        raise UsageError(f"the class file {str(path)!r} names no class: write one class folder a line")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise UsageError(f"the class file {str(path)!r} names {name!r} {times} times: name each class once")
    return tuple(names)


def _class_folders(root: str) -> tuple[list[str], int]:
    """Sorted names of the folders in `root`, and how many visible files lie beside them."""
    folders, files = [], 0
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                else:
                    files += 1
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"there is no folder {root!r}: give an image folder with one folder a class") from error
    except OSError as error:
        raise _unreadable(root, error) from error
    return sorted(folders), files


def _chosen_classes(folders: list[str], chosen: tuple[str, ...] | None, root: str) -> list[str]:
    """The class folders to list, sorted; UsageError where `root` has none, or lacks a chosen one."""
    if not folders:
        raise UsageError(f"{root!r} holds no folders: give an image folder with one folder a class")
    if SPLITS.issuperset(name.lower() for name in folders):
        example = "train" if "train" in folders else folders[0]
        raise UsageError(f"{root!r} is split into {', '.join(folders)}: give one of them, for example {root}/{example}")
    if chosen is None:
        return folders
    absent = sorted(set(chosen).difference(folders))
    if absent:
        raise UsageError(f"{root!r} has no folder for {_first(absent)}, which the class file names")
    return sorted(chosen)


def _list_class(root: str, name: str, label: int, rows: list[Row]) -> int:
    """Append a row for each picture at any depth of class folder `name`; returns how many files were ignored."""
    ignored = 0
    pending: list[tuple[str, frozenset[Identity]]] = [(name, frozenset())]
    while pending:
        folder, above = pending.pop()
        try:
            inside = above | {_identity(f"{root}/{folder}", above)}
            with os.scandir(f"{root}/{folder}") as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    path = f"{folder}/{entry.name}"
                    if entry.is_dir():
                        pending.append((path, inside))
                    elif is_picture(entry.name) and stat.S_ISREG((status := entry.stat()).st_mode):
                        rows.append((path, status.st_size, 0, label))
                    else:
                        ignored += 1
        except OSError as error:
            raise _unreadable(error.filename or f"{root}/{folder}", error) from error
    return ignored


def _identity(folder: str, above: frozenset[Identity]) -> Identity:
    """Who a folder is; UsageError when it is one of the folders it was reached through."""
    status = os.stat(folder)  # noqa: PTH116  called once a folder with plain strings, like scandir
    identity = status.st_dev, status.st_ino
    if identity in above:
        raise UsageError(f"{folder!r} is a link to a folder that holds it: remove the link")
    return identity


def _unreadable(path: str, error: OSError) -> UsageError | StorageError:
    """A link that leads nowhere or round in circles is the source's fault, anything else the machine's."""
    if error.errno == errno.ELOOP:
        return UsageError(f"{path!r} is a link that leads to itself: remove it")
    if error.errno == errno.ENOENT:
        return UsageError(f"{path!r} does not exist or is a link that leads nowhere: remove it")
    return StorageError(f"{path!r} cannot be listed: {error.strerror}: check the disk and the permissions")


def _first(names: list[str]) -> str:
    """The first few of many names, for a message."""
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
