"""Small bakes to read from: made by the library, read back with the standard library, Pillow and simplejpeg alone.

Rule: what a test compares with never came through `mixbake.stream`.
"""

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from mixbake.bake.build import Built, build
from mixbake.bake.settings import BuildSettings

QUICK: dict[str, Any] = {"executor": "inline", "seed": 7}
Key = tuple[str, int, int]
"""View, number, image."""
THREADS = ("mixbake-", "decode")
"""What the names of a loader's own threads begin with."""


class Silent:
    """A watcher that keeps nothing."""

    def say(self, message: str) -> None: ...

    def prepare(self, what: str, done: int, total: int) -> None: ...

    @contextlib.contextmanager
    def baking(self, *_told: object) -> Iterator[None]:
        yield

    def event(self, name: str, **fields: Any) -> None: ...


def bake(source: Path | str, out: Path, pictures: Path, **settings: Any) -> Built:
    """Bake in this process; other settings are `BuildSettings`'s."""
    given = QUICK | {"source": str(source), "out": out, "mixing_set": str(pictures)} | settings
    return build(BuildSettings(**given), Silent())


def copied(out: Path, to: Path) -> Path:
    """A copy of a bake, for a test that changes it."""
    return shutil.copytree(out, to)


def stored(out: Path) -> dict[Key, dict[str, bytes]]:
    """Every sample of a bake by view, number and image: its members by extension."""
    found: dict[Key, dict[str, bytes]] = {}
    for path in sorted(out.rglob("*.tar")):
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                key, _, extension = member.name.partition(".")
                image, _, variant = key.partition("-")
                view = "clean" if variant.startswith("c") else "mix"
                data = archive.extractfile(member)
                assert data is not None, member.name
                found.setdefault((view, int(variant.lstrip("c")), int(image)), {})[extension] = data.read()
    return found


def pixels(members: dict[str, bytes]) -> NDArray[np.uint8]:
    """A sample's picture, uint8 H×W×3."""
    if "jpg" in members:
        return np.asarray(simplejpeg.decode_jpeg(members["jpg"], fastdct=False, fastupsample=False))
    if "npy" in members:
        array: NDArray[np.uint8] = np.load(io.BytesIO(members["npy"]), allow_pickle=False)
        return array
    return np.asarray(Image.open(io.BytesIO(members.get("png") or members["webp"])).convert("RGB"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a batch held, for comparison: images as a CRC-32 of their bytes in the order of their shape."""

    ids: tuple[int, ...]
    numbers: tuple[int, ...]
    valid: tuple[bool, ...]
    images: int


def seen(batch: Any) -> Seen:
    return Seen(
        ids=tuple(batch.ids.tolist()),
        numbers=tuple(batch.numbers.reshape(-1).tolist()),
        valid=tuple(batch.valid.tolist()),
        images=zlib.crc32(np.ascontiguousarray(batch.images.numpy()).tobytes()),
    )


def all_seen(batches: Iterable[Any]) -> list[Seen]:
    return [seen(batch) for batch in batches]


def own_threads() -> set[threading.Thread]:
    """The threads of this process that loaders began and that have not ended."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(THREADS)}


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON document in place; `change` alters what it is given."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def flip_bit(path: Path, offset: int) -> None:
    """Alter one byte; a negative offset counts from the end."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sign(out: Path) -> None:
    """Make every promise of a bake true of the files that are there now, as a stranger who forges one would."""
    for path in (out / "receipts").iterdir():
        receipt = json.loads(path.read_bytes())
        for shard in receipt["shards"]:
            file = out / shard["view"] / f"v{shard['number']:03d}" / f"{receipt['block']:06d}.tar"
            shard |= {"bytes": file.stat().st_size, "sha256": sha256(file)}
        index = out / "index" / f"{path.stem}.parquet"
        receipt |= {
            "plan": sha256(out / "manifest.json"),
            "index_bytes": index.stat().st_size,
            "index_sha256": sha256(index),
        }
        path.write_text(json.dumps(receipt))
    edit(out / "bake.json", lambda document: document.update(promises(out)))


def promises(out: Path) -> dict[str, Any]:
    """What bake.json says of the files it names, as they are now."""
    return {
        "manifest_sha256": sha256(out / "manifest.json"),
        "images_sha256": sha256(out / "images.parquet"),
        "receipts": {path.stem: sha256(path) for path in (out / "receipts").iterdir()},
        "sizes": {path.relative_to(out).as_posix(): sha256(path) for path in (out / "sizes").glob("*.npy")},
    }
