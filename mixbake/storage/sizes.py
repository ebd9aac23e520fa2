"""How long each stored picture is: one small file a view and number, for bakes whose records differ in length.

A tar's samples follow one another, and all but the picture has a fixed length: so the lengths of the pictures
say where each lies, and a reader needs no tar header and no index. Rule: uint32[n] as .npy, block after block,
as the tars have them; `bake.json` holds the SHA-256 of each file.
"""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixbake.errors import Damage
from mixbake.storage import codecs, tar
from mixbake.storage.plan import Plan
from mixbake.storage.receipt import Receipt
from mixbake.storage.store import publishing_all, retrying, sha256_file

SIZES = re.compile(r"sizes/(mix|clean)-v[0-9]{3,9}\.npy")
HEADER_BYTES = 128
"""Of a .npy file with one short dimension."""
WINDOW = 16
"""Numbers whose lengths are in memory together."""


def sizes_path(view: str, number: int) -> str:
    """`sizes/mix-v003.npy`."""
    return f"sizes/{view}-v{number:03d}.npy"


def sizes_bytes(samples: int) -> int:
    """Length of a file for so many samples."""
    return HEADER_BYTES + 4 * samples


def write_sizes(
    out: Path, plan: Plan, receipts: Sequence[Receipt], epochs: int, known: Mapping[str, str]
) -> dict[str, str]:
    """Write what is missing of them from the indexes; returns SHA-256 (hex) by path. known: those of the bake before.

    Nothing for bakes whose records have one length. Raises Damage when an index cannot be read.
    """
    if codecs.is_fixed(plan.codec, plan.size):
        return {}
    found: dict[str, str] = {}
    for first in range(0, epochs, WINDOW):
        outputs = {sizes_path(*output): output for output in plan.outputs(first, min(first + WINDOW, epochs) - 1)}
        there = {path: known[path] for path in outputs if _is_there(out, path, known)}
        wanted = {path: output for path, output in outputs.items() if path not in there}
        lengths = _collect(out, plan, receipts, list(wanted.values()))
        with publishing_all([out / path for path in wanted]) as writers:
            for output, writer in zip(wanted.values(), writers, strict=True):
                writer.write(npy_header(lengths[output].shape, lengths[output].dtype))
                writer.write(lengths[output].view(np.uint8))
        written = {path: writer.sha256 for path, writer in zip(wanted, writers, strict=True)}
        found |= {path: (there | written)[path] for path in outputs}
    return found


def places(
    sizes: NDArray[np.uint32], samples: NDArray[np.int64], member_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each picture begins in its tar: int64[n]; and the length of each tar: int64[blocks].

    sizes: uint32[n], block after block; samples: int64[blocks]; member_bytes: length of a JSON member.
    """
    pictures = -(-sizes.astype(np.int64) // tar.UNIT) * tar.UNIT
    ends = np.concatenate([[0], np.cumsum(tar.UNIT + pictures + tar.tail_bytes(member_bytes))])
    starts = np.concatenate([[0], np.cumsum(samples)])
    offsets = ends[:-1] - np.repeat(ends[starts[:-1]], samples) + tar.UNIT
    return offsets, ends[starts[1:]] - ends[starts[:-1]] + len(tar.END)


def read_sizes(path: Path, samples: int, sha256: str) -> NDArray[np.uint32]:
    """uint32[samples]. Raises Damage when the file is anything else, or has another SHA-256 (hex)."""
    expected = npy_header((samples,), np.dtype(np.uint32))
    if path.stat().st_size != sizes_bytes(samples):
        raise Damage(f"{path.name} has {path.stat().st_size:,} bytes and should have {sizes_bytes(samples):,}")
    data = retrying(path.read_bytes, path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Damage(f"{path.name} was altered: its SHA-256 is not {sha256[:12]}…")
    if not data.startswith(expected):
        raise Damage(f"{path.name} is not an array of {samples} lengths")
    return np.frombuffer(data, np.uint32, offset=len(expected))


def _is_there(out: Path, path: str, known: Mapping[str, str]) -> bool:
    return path in known and (out / path).exists() and sha256_file(out / path)[0] == known[path]


@lru_cache(maxsize=64)
def npy_header(shape: tuple[int, ...], dtype: "np.dtype[Any]") -> bytes:
    """What a .npy file of such an array begins with. Comparing it is safer than reading what somebody wrote there."""
    buffer = io.BytesIO()
    description = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def _collect(
    out: Path, plan: Plan, receipts: Sequence[Receipt], wanted: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], NDArray[np.uint32]]:
    """The lengths of some views and numbers, from the indexes."""
    parts: dict[tuple[str, int], list[Any]] = {output: [] for output in wanted}
    for receipt in sorted(receipts, key=lambda one: (one.block, one.first)):
        outputs = list(plan.outputs(receipt.first, receipt.last))
        if not set(outputs) & set(wanted):
            continue
        sizes = _sizes(out / "index" / f"{receipt.name}.parquet").reshape(len(outputs), -1)
        for output, lengths in zip(outputs, sizes, strict=True):
            if output in parts:
                parts[output].append(lengths)
    return {output: np.concatenate(lengths).astype(np.uint32) for output, lengths in parts.items()}


def _sizes(index: Path) -> NDArray[np.int64]:
    try:
        sizes: NDArray[np.int64] = pq.read_table(index, columns=["size"])["size"].to_numpy().astype(np.int64)
    except (pa.ArrowException, KeyError) as error:
        raise Damage(f"{index} is damaged ({error}): delete it, then run the build again") from error
    return sizes
