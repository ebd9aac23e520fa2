"""Source `wds:SHARDS`: samples in WebDataset tars, a picture and a `.cls` label each.

SHARDS is a local path, a glob or a brace pattern: `wds:dir/train-{000..009}.tar`. One pass over the tars notes
where each picture lies; `read` then takes its bytes straight from there. Classes are the lines of `classes.txt`
beside the first tar; else, if every sample's `.json` has a `class`, as in mixbake's own shards, those; else "0" to
the largest label. A path is `tar/key.extension`.
Rule: a tar is whole or refused: members cut off, headers damaged, samples torn apart are errors, never fewer samples.
"""

import json
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import BinaryIO

from mixbake.data.braces import expand_shards
from mixbake.data.folder import read_class_file
from mixbake.data.listing import Entry, Listing
from mixbake.data.names import MAX_CLASSES, PICTURE_SUFFIXES, Row, numbered_classes, sorted_listing
from mixbake.errors import StorageError, UsageError

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
_BLOCK = 512
_MAX_LABEL_BYTES = 64
_MAX_JSON_BYTES = 1 << 16
"""Longer ones are not asked for a class."""
_SAMPLE = re.compile(r"(?P<key>(?:.*/)?[^./][^./]*)\.(?P<extension>[^/]*)", re.DOTALL)
"""WebDataset's rule: the key ends at the first dot of the last path component."""


@dataclass(slots=True, kw_only=True)
class _Sample:
    """What one pass has seen of a sample so far."""

    path: str = ""
    size: int = 0
    offset: int = 0
    label: int | None = None


@dataclass(slots=True)
class _ClassNames:
    """What the samples call their labels; `asked` until one has no name for it."""

    asked: bool
    names: dict[int, str] = field(default_factory=dict)
    conflict: str = ""

    def add(self, path: str, key: str, label: int, name: str | None) -> None:
        """Note the name that one sample of the tar at `path` has for its label, and the first that differs."""
        if name is None:
            self.asked = False
        elif (known := self.names.setdefault(label, name)) != name and not self.conflict:
            self.conflict = f"{path!r}: sample {key!r} calls label {label} {name!r}, another one calls it {known!r}"

    def require_consistent(self) -> None:
        """Raise UsageError when a label has two names. Not before the last sample: one without any ends the matter."""
        if self.conflict:
            raise UsageError(
                f"{self.conflict}: mend their .json, or write the right names into classes.txt beside the first tar"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TarSource:
    """Labelled pictures in the tars `names`, which are relative to the folder `root`."""

    spec: str
    root: str
    names: tuple[str, ...]

    def scan(self) -> Listing:
        """List every sample, sorted by path. Raises UsageError on damaged tars and incomplete samples."""
        said = _ClassNames(asked=not self._class_file.is_file())
        rows: list[Row] = []
        ignored = 0
        for name in self.names:
            tar = _Tar(f"{self.root}/{name}", said)
            tar.scan()
            ignored += tar.ignored
            rows += tar.rows(name)
        classes = self._classes(rows, said)
        ignored -= len(rows) if said.asked else 0  # a .json each that was of use
        return sorted_listing(spec=self.spec, classes=classes, rows=rows, ignored=ignored)

    @property
    def _class_file(self) -> Path:
        return Path(self.root, self.names[0]).with_name("classes.txt")

    def _classes(self, rows: list[Row], said: _ClassNames) -> tuple[str, ...]:
        if not rows:
            raise UsageError(f"{self.spec!r} holds no samples: each is a picture and a .cls label of the same key")
        numbered = numbered_classes(row[3] for row in rows)
        if said.asked:
            said.require_consistent()
            # A label that no sample has keeps its number.
            return tuple(said.names.get(label, number) for label, number in enumerate(numbered))
        file = self._class_file
        if not file.is_file():
            return numbered
        names = read_class_file(file)
        if len(names) < len(numbered):
            raise UsageError(f"{str(file)!r} names {len(names)} classes, but a label is {len(numbered) - 1}: mend it")
        return names

    def read(self, entry: Entry, limit: int = -1) -> bytes:
        """The picture's bytes, from its offset; `limit` as in files. Raises OSError when they cannot be read."""
        parts = entry.path.split("/")
        tars = _tar_names(self.names)
        name = next((tar for end in range(1, len(parts)) if (tar := "/".join(parts[:end])) in tars), None)
        if name is None:
            raise FileNotFoundError(f"{self.spec!r} has no tar for {entry.path!r}: the shards differ from the listing")
        size = entry.bytes if limit < 0 else min(limit, entry.bytes)
        return _read_at(f"{self.root}/{name}", entry.offset, size)

    def files(self, listing: Listing) -> list[str]:  # noqa: ARG002 - tars hold all pictures
        """The tars."""
        return [f"{self.root}/{name}" for name in self.names]


def open_shards(spec: str) -> TarSource:
    """The source that `wds:SHARDS` names. UsageError on remote, missing or repeated shards."""
    files = expand_shards(spec.partition(":")[2])
    root = os.path.commonpath([file.parent for file in files])
    names = tuple(sorted(file.relative_to(root).as_posix() for file in files))
    if len(set(names)) < len(names):
        raise UsageError(f"{spec!r} names a tar twice: name each once")
    return TarSource(spec=spec, root=root.rstrip("/"), names=names)


@cache
def _tar_names(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(names)


# ── one pass over a tar ───────────────────────────────────────────────────────────────────────────


class _Tar:
    """One tar's samples by key, gathered in one pass; `ignored` counts files that are neither picture nor label."""

    __slots__ = ("current", "ignored", "names", "path", "said", "samples")

    def __init__(self, path: str, said: _ClassNames) -> None:
        self.path = path
        self.said = said
        self.names: dict[str, str | None] = {}
        self.samples: dict[str, _Sample] = {}
        self.current = ""
        self.ignored = 0

    def scan(self) -> None:
        """Note every member. Raises UsageError on damage, StorageError when the tar cannot be read."""
        try:
            with open(self.path, "rb") as stream:  # noqa: PTH123  paths stay strings, as in `read`
                for member in _members(self.path, stream):
                    self._note(member, stream)
        except tarfile.TarError as error:
            raise UsageError(f"{self.path!r} is no whole tar ({error}): make or fetch it again") from error
        except OSError as error:
            raise StorageError(f"{self.path!r} cannot be read: {error.strerror}: check disk and permissions") from error

    def rows(self, name: str) -> list[Row]:
        """A row for each sample of the tar called `name`; UsageError where one lacks its picture or label."""
        rows = []
        for key, sample in self.samples.items():
            if not sample.path or sample.label is None:
                lacks = "picture" if not sample.path else ".cls label"
                raise UsageError(f"{self.path!r}: sample {key!r} has no {lacks}: each sample needs both")
            rows.append((f"{name}/{sample.path}", sample.size, sample.offset, sample.label))
            self.said.add(self.path, key, sample.label, self.names.get(key))
        return rows

    def _note(self, member: tarfile.TarInfo, stream: BinaryIO) -> None:
        name = member.name.removeprefix("./")
        match = _SAMPLE.fullmatch(name)
        key, extension = (match["key"], match["extension"].lower()) if match else ("", "")
        previous, self.current = self.current, key
        if extension != "cls" and extension not in PICTURE_SUFFIXES:
            self.ignored += 1
            if extension == "json" and self.said.asked:
                self.names[key] = _read_class(member, stream)
            return
        if not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise UsageError(f"{self.path!r}: the member name {name!r} is no plain relative path: make the tar again")
        if key in self.samples and key != previous:
            raise UsageError(f"{self.path!r}: the key {key!r} comes twice, with others between: keys must be unique")
        sample = self.samples.setdefault(key, _Sample())
        if sample.label is not None if extension == "cls" else sample.path:
            raise UsageError(f"{self.path!r}: the key {key!r} has two pictures or labels: keys must be unique")
        if extension == "cls":
            sample.label = _read_label(self.path, member, stream)
        else:
            sample.path, sample.size, sample.offset = name, member.size, member.offset_data


def _members(path: str, stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The regular files of an uncompressed tar, in order; anything else in it but folders is refused."""
    start = stream.read(8)
    for magic, kind in _COMPRESSED.items():
        if start.startswith(magic):
            raise UsageError(f"{path!r} is compressed ({kind}), so nothing can be read from its middle: unpack it")
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        place = -1
        while (member := archive.next()) is not None:
            # Else every header of the tar stays in memory.
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile has it, its stubs do not
            if member.offset <= place or member.size < 0 or member.offset_data + member.size > length:
                raise UsageError(
                    f"{path!r}: the header at byte {member.offset} is damaged: make or fetch the tar again"
                )
            place = member.offset
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise UsageError(f"{path!r}: {member.name!r} is a link, a device or sparse: put plain files in the tar")
            yield member
        # tarfile takes a damaged header for the end, and a tar cut between members has no end.
        stream.seek(archive.offset)
        if stream.read(_BLOCK) != bytes(_BLOCK):
            raise UsageError(f"{path!r} is cut off or damaged at byte {archive.offset}: make or fetch it again")


def _read_label(path: str, member: tarfile.TarInfo, stream: BinaryIO) -> int:
    stream.seek(member.offset_data)
    text = stream.read(min(member.size, _MAX_LABEL_BYTES)).strip()
    if not (text.isdigit() and len(text) < 19 and int(text) < MAX_CLASSES and member.size <= _MAX_LABEL_BYTES):
        raise UsageError(f"{path!r}: {member.name!r} is no class number from 0 to {MAX_CLASSES - 1}: {text[:20]!r}")
    return int(text)


def _read_class(member: tarfile.TarInfo, stream: BinaryIO) -> str | None:
    """The text `class` in a JSON member; None where there is none."""
    if member.size > _MAX_JSON_BYTES:
        return None
    stream.seek(member.offset_data)
    try:
        document = json.loads(stream.read(member.size))
    except (ValueError, RecursionError):
        return None
    name = document.get("class") if isinstance(document, dict) else None
    # One string a class, not one a sample.
    return sys.intern(name) if isinstance(name, str) and name else None


# ── reading by offset ─────────────────────────────────────────────────────────────────────────────


class _OpenFile:
    """A file descriptor that closes with its last reference."""

    __slots__ = ("descriptor",)

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        # Nothing was opened if __init__ raised.
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@lru_cache(maxsize=128)
def _open_once(path: str, _version: tuple[int, int, int, int]) -> _OpenFile:
    """The open file; a replaced file has another version, so it is opened anew."""
    return _OpenFile(path)


def _read_at(path: str, offset: int, size: int) -> bytes:
    status = os.stat(path)  # noqa: PTH116  strings, one call an image
    version = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
    file = _open_once(path, version)
    pieces = []
    while size > 0:
        piece = os.pread(file.descriptor, size, offset)
        if not piece:
            raise OSError(f"{path!r} ends before byte {offset + size}: the shard differs from the listing")
        pieces.append(piece)
        offset, size = offset + len(piece), size - len(piece)
    return b"".join(pieces)
