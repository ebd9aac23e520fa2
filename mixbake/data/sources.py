"""Labelled sources by name: what a user writes as SOURCE, and who answers.

    demo[:count=2000,size=32,split=train]   ten drawn shapes, nothing to download
    PATH                                    image folder with one folder a class
    cifar10:DIR[,split=test]                the official Python archive, extracted (also cifar100:)
    wds:SHARDS                              WebDataset tars: a path, a glob, braces as in {000..009}
    list:FILE                               CSV or Parquet with the columns path and label

Rule: a kind's name wins over a folder of that name; `./demo` is the folder.
"""

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from mixbake.data.cifar import open_cifar
from mixbake.data.demo import parse_demo
from mixbake.data.filelist import ListSource, open_list
from mixbake.data.folder import FolderSource, open_folder
from mixbake.data.listing import Blob, Source
from mixbake.data.wds import open_shards
from mixbake.errors import UsageError

KINDS: dict[str, Callable[[str], Source]] = {
    "demo": parse_demo,
    "cifar10": open_cifar,
    "cifar100": open_cifar,
    "wds": open_shards,
    "list": open_list,
}

Lookup = Callable[[str], Blob | None]
"""The stored image of a path, None where the source has none; raises OSError when it cannot be read."""

_HINTS = {".tar": "wds:", ".csv": "list:", ".parquet": "list:"}
"""What a file given as a folder was probably meant to be."""


def open_source(spec: str, *, classes: Path | None = None) -> Source:
    """The labelled source that `spec` names; `classes` limits an image folder to the classes listed in that file.

    Opens no image. Raises UsageError on an unknown kind, and on whatever is wrong with the spec itself.
    """
    kind, colon, _ = spec.partition(":")
    if kind in KINDS and (colon or kind == "demo"):
        if classes is not None:
            raise UsageError(f"a class file goes with an image folder, not with {spec!r}: leave it out")
        return KINDS[kind](spec)
    _refuse_other_kinds(spec)
    return open_folder(spec, classes=classes)


def look_up(source: Source) -> Lookup:
    """How to find single images of a source by their paths. Raises UsageError when the source is not there.

    A folder is asked for the one file, of a list the list alone is read; other sources are scanned, once, here.
    """
    if isinstance(source, FolderSource):
        source.require_there()
        return source.find
    if isinstance(source, ListSource):
        return _look_into_list(source)
    listing = source.scan()
    rows = {path: row for row, path in enumerate(listing.paths)}
    return lambda path: source.read(listing.entry(rows[path])) if path in rows else None


def _look_into_list(source: ListSource) -> Lookup:
    listed = source.listed()

    def find(path: str) -> Blob | None:
        place = Path(source.root, path)
        return place.read_bytes() if path in listed and place.is_file() else None

    return find


def _refuse_other_kinds(spec: str) -> None:
    """UsageError for a spec that is no folder but looks like a kind, or like a file of one."""
    path = Path(spec)
    if not spec or "\0" in spec:
        raise UsageError(f"{spec!r} is no source: give a folder, or one of {_kinds()}")
    if path.is_dir():
        return
    if path.is_file():
        hint = _HINTS.get(path.suffix.lower())
        advice = f"write {hint}{spec}" if hint else f"give its folder, or one of {_kinds()}"
        raise UsageError(f"{spec!r} is a file, not an image folder: {advice}")
    kind, colon, _ = spec.partition(":")
    if kind in KINDS or (colon and re.fullmatch(r"\w+", kind)):
        nearest = difflib.get_close_matches(kind.lower(), KINDS, n=1, cutoff=0.5)
        advice = f"did you mean {nearest[0]}:...?" if nearest else f"it is one of {_kinds()}, or a folder"
        raise UsageError(f"{spec!r} is no source, and no folder of that name exists: {advice}")


def _kinds() -> str:
    return ", ".join(f"{kind}:..." for kind in KINDS)
