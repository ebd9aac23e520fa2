"""Pictures in `.npy` files, as CIFAR-10-C and its kin are published.

Rule: files are strangers'. A header is looked at before anything is mapped; objects, which are pickles, are refused and
never read; a file that is shorter than its header says is named.
"""

import hashlib
import tokenize
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mixbake.data.shown import centre
from mixbake.errors import Damage, UsageError
from mixbake.storage.store import storage_error

SEVERITIES = 5

_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


def map_array(path: Path) -> NDArray[Any]:
    """The array in a `.npy` file, mapped, read-only.

    Raises UsageError for another file, or one of objects; Damage for one that is cut short; StorageError.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a header that Python 2 wrote is none the worse
            shape, by_columns, dtype = _HEADERS[npy.read_magic(file)](file)
            offset, size = file.tell(), file.seek(0, 2)
    except OSError as error:
        raise storage_error("read", path, error) from error
    except (ValueError, LookupError, TypeError, SyntaxError, EOFError, RecursionError, OverflowError) as error:
        raise _no_array(path) from error
    except tokenize.TokenError as error:  # numpy takes a header that does not parse for one of Python 2
        raise _no_array(path) from error
    if dtype.hasobject:
        raise UsageError(f"{path} holds Python objects, which are pickled: refused, nothing in it was run; get it anew")
    if dtype.subdtype is not None or any(type(side) is not int or side < 1 for side in shape):
        raise UsageError(f"{path} is {dtype}{list(shape)}: plain values and sides of 1 or more are wanted; get it anew")
    count = 1
    for side in shape:
        count *= side
    if size < offset + count * dtype.itemsize:
        raise Damage(f"{path} is cut short: {size:,} bytes, where its header means {shape} of {dtype}: get it anew")
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape, order="F" if by_columns else "C")


def _no_array(path: Path) -> UsageError:
    return UsageError(f"{path} is no .npy file that numpy wrote: get it anew")


def map_pictures(path: Path, *, axes: int) -> NDArray[np.uint8]:
    """Pictures uint8 …×H×W×3, `axes` axes in all. Raises as `map_array`, and UsageError for other arrays."""
    array = map_array(path)
    if array.dtype != np.uint8 or array.ndim != axes or array.shape[-1] != 3 or min(array.shape[-3:-1]) < 2:
        wanted = "×".join([*["n", "frames"][: axes - 3], "H", "W", "3"])
        raise UsageError(f"{path} is {array.dtype}{list(array.shape)}: uint8 {wanted} is wanted; get it anew")
    return array


def read_labels(path: Path, rows: int) -> NDArray[np.int64]:
    """Labels of `rows` pictures, which are five blocks of equal ones, one a severity: int64[n] of one block.

    Raises as `map_array`, and UsageError for what are no labels, not as many, or not the same ones five times.
    """
    array = map_array(path)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(
            f"{path} is {array.dtype}{list(array.shape)}: whole numbers are wanted, one a picture, the same for each "
            f"of {SEVERITIES} severities; get it anew"
        )
    if len(array) != rows:
        raise UsageError(
            f"{path} has {len(array):,} labels, of {rows:,} pictures: they are not of one set; get both anew"
        )
    blocks = np.asarray(array, np.int64).reshape(-1, rows // SEVERITIES) if rows % SEVERITIES == 0 else None
    if blocks is None or (blocks != blocks[0]).any():
        raise UsageError(
            f"{path}: the {rows:,} labels are not {SEVERITIES} times the same, once for each severity: this is not "
            "the published layout"
        )
    labels: NDArray[np.int64] = blocks[0]
    return labels


class ArrayPictures:
    """Rows first, first + 1, … of pictures n×H×W×3 in a file, one a label, as evaluation shows them at `size`."""

    def __init__(self, path: Path, *, first: int, labels: NDArray[np.int64], size: int) -> None:
        self._path, self._first, self.labels, self._size = path, first, labels, size

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, places: Sequence[int]) -> NDArray[np.uint8]:
        """Those places of the set: uint8 n×S×S×3."""
        rows = map_pictures(self._path, axes=4)[self._first + np.asarray(places, np.int64)]
        return shown(rows, self._size)

    def identity(self) -> list[str | int]:
        """Place, size and time of change of the file, which is too large to hash each time; a hash of the labels."""
        labels = hashlib.sha256(np.ascontiguousarray(self.labels).data).hexdigest()
        return [*file_identity(self._path), self._first, len(self), labels]


def shown(pictures: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Pictures n×H×W×3 as evaluation shows them: uint8 n×size×size×3, contiguous."""
    if pictures.shape[1:3] == (size, size):
        return np.ascontiguousarray(pictures)
    return np.stack([centre(np.asarray(one), size) for one in pictures])


def file_identity(path: Path) -> list[str | int]:
    """Place, size and time of change."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
