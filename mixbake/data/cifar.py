"""Sources `cifar10:DIR` and `cifar100:DIR`: the official Python archive, extracted.

DIR is the archive's folder or the one it lies in; `,split=test` after it chooses the test images. A path is
`split/row-name`: the row in the archive's order, so sorted order is that order, and the file name it keeps.
Rule: the files are pickles, and none is unpickled. A process reads a split once; pickling a source carries no pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.data.listing import Entry, Listing
from mixbake.data.names import Row, check_name, sorted_listing
from mixbake.data.pickles import PickledArray, read_plain_pickle
from mixbake.errors import StorageError, UsageError

SPLITS = ("train", "test")
IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where an archive keeps what: folder, files of each split, the file and keys of labels and class names."""

    folder: str
    files: Mapping[str, tuple[str, ...]]
    meta: str
    labels: str
    class_names: str


_LAYOUTS = {
    "cifar10": _Layout(
        folder="cifar-10-batches-py",
        files={"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
        meta="batches.meta",
        labels="labels",
        class_names="label_names",
    ),
    "cifar100": _Layout(
        folder="cifar-100-python",
        files={"train": ("train",), "test": ("test",)},
        meta="meta",
        labels="fine_labels",
        class_names="fine_label_names",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """One file, or a whole split: planar pixels uint8[n, 3072], labels, and the archive's own file names."""

    pixels: NDArray[np.uint8]
    labels: list[int]
    names: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CifarSource:
    """One split of CIFAR-10 or CIFAR-100, from the archive in `folder`."""

    spec: str
    kind: str
    folder: str
    split: str

    def scan(self) -> Listing:
        """List the split in archive order. Raises UsageError on missing, damaged or hostile files."""
        _load.cache_clear()  # the files may have changed since
        classes = _class_names(self.folder, self.kind)
        whole = _load(self.folder, self.kind, self.split)
        if not 0 <= min(whole.labels) <= max(whole.labels) < len(classes):
            raise UsageError(f"{self.spec!r} has a label outside 0 to {len(classes) - 1}: get the official archive")
        rows: list[Row] = [
            (f"{self.split}/{row:05d}-{name}", IMAGE_BYTES, row * IMAGE_BYTES, label)
            for row, (name, label) in enumerate(zip(whole.names, whole.labels, strict=True))
        ]
        return sorted_listing(spec=self.spec, classes=classes, rows=rows)

    def read(self, entry: Entry, limit: int = -1) -> NDArray[np.uint8]:  # noqa: ARG002 - pixels come whole
        """The pixels of one row: uint8 32×32×3. The first call in a process reads the whole split."""
        try:
            planes = _load(self.folder, self.kind, self.split).pixels[entry.offset // IMAGE_BYTES]
        except IndexError as error:
            raise OSError(
                f"{self.folder!r} holds no image {entry.path!r}: it has changed since it was listed"
            ) from error
        return np.ascontiguousarray(planes.reshape(3, 32, 32).transpose(1, 2, 0))

    def files(self, listing: Listing) -> list[str]:  # noqa: ARG002 - a few files hold all pictures
        """The split's files of the archive."""
        return [f"{self.folder}/{name}" for name in _LAYOUTS[self.kind].files[self.split]]


def open_cifar(spec: str) -> CifarSource:
    """The source that `cifar10:DIR[,split=test]` or `cifar100:...` names. UsageError where DIR holds no archive."""
    kind, _, rest = spec.partition(":")
    directory, option, split = rest.rpartition(",split=")
    directory, split = (directory, split) if option else (rest, "train")
    layout = _LAYOUTS[kind]
    if split not in SPLITS or not directory:
        raise UsageError(f"{spec!r} is not {kind}:DIR[,split=test]: the splits are {' and '.join(SPLITS)}")
    given = Path(directory).absolute()
    for folder in (given, given / layout.folder):
        if (folder / layout.meta).is_file():
            return CifarSource(spec=spec, kind=kind, folder=str(folder), split=split)
    archive = f"{layout.folder.removesuffix('-batches-py').removesuffix('-python')}-python.tar.gz"
    raise UsageError(f"{directory!r} holds neither {layout.meta} nor {layout.folder}: extract {archive} there")


@lru_cache(maxsize=2)
def _load(folder: str, kind: str, split: str) -> _Batch:
    """All files of a split as one, read once a process: following a pickle's opcodes takes a second."""
    layout = _LAYOUTS[kind]
    batches = [_read_batch(Path(folder, name), layout.labels) for name in layout.files[split]]
    return _Batch(
        pixels=np.concatenate([batch.pixels for batch in batches]),
        labels=[label for batch in batches for label in batch.labels],
        names=[name for batch in batches for name in batch.names],
    )


def _read_batch(file: Path, labels_key: str) -> _Batch:
    content = _read_dict(file)
    pixels = _array(content.get("data"))
    labels = _whole_numbers(content.get(labels_key))
    names = _strings(content.get("filenames"))
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != IMAGE_BYTES:
        raise UsageError(f"{str(file)!r}: `data` is not uint8[n, {IMAGE_BYTES}]: get the official archive")
    if not labels or not names or len(labels) != len(pixels) or len(names) != len(pixels):
        raise UsageError(f"{str(file)!r}: `{labels_key}` or `filenames` do not match `data`: get the official archive")
    for name in names:
        check_name(name)
        if not name or "/" in name:
            raise UsageError(f"{str(file)!r}: {name!r} is no file name: get the official archive")
    return _Batch(pixels=pixels.astype(np.uint8, copy=False), labels=labels, names=names)


def _class_names(folder: str, kind: str) -> list[str]:
    layout = _LAYOUTS[kind]
    names = _strings(_read_dict(Path(folder, layout.meta)).get(layout.class_names))
    if not names:
        raise UsageError(f"{str(Path(folder, layout.meta))!r} has no `{layout.class_names}`: get the official archive")
    return names


def _read_dict(file: Path) -> dict[str, object]:
    """The dict pickled in `file`, its keys as text."""
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"there is no {str(file)!r}: extract the whole archive") from error
    except OSError as error:
        raise StorageError(f"{str(file)!r} cannot be read: {error.strerror}: check disk and permissions") from error
    content = read_plain_pickle(data, str(file))
    if not isinstance(content, dict):
        raise UsageError(f"{str(file)!r} holds no dict: get the official archive")
    return {_as_text(key): value for key, value in content.items()}


def _as_text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _array(value: object) -> NDArray[np.integer[Any]] | None:
    return value.array if isinstance(value, PickledArray) else None


def _whole_numbers(value: object) -> list[int] | None:
    array = _array(value)
    if array is not None and array.ndim == 1:
        return [int(number) for number in array]
    if isinstance(value, list) and all(type(number) is int for number in value):
        return value
    return None


def _strings(value: object) -> list[str] | None:
    if isinstance(value, list) and all(isinstance(text, (str, bytes)) for text in value):
        return [_as_text(text) for text in value]
    return None
