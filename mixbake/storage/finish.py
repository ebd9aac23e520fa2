"""The end of a build: images.parquet, the dataset card, and bake.json, the readers' only entry.

Rule: bake.json names every receipt with its SHA-256, and receipts name every tar: its own SHA-256, the
bake digest, stands for every byte of the bake.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixbake.data.listing import Listing
from mixbake.errors import Damage, MixbakeError, PlanDiffers, UsageError
from mixbake.storage.card import HEAD, write_card
from mixbake.storage.environment import environment_record
from mixbake.storage.index import IMAGES_SCHEMA, parquet_bytes
from mixbake.storage.plan import FORMAT, Plan, mixing_path, spell_worth
from mixbake.storage.receipt import Receipt
from mixbake.storage.sizes import SIZES, write_sizes
from mixbake.storage.store import canonical_json, publish_bytes, read_json, retrying, sha256_file

MIXING = re.compile(r"mixing/[0-9a-f]{16}\.pictures")


FIELDS: Mapping[str, type] = {
    "format": str,
    "epochs_worth": int,
    "views": str,
    "manifest_sha256": str,
    "images_sha256": str,
    "sizes": dict,
    "receipts": dict,
    "images": int,
    "skipped": int,
    "samples": int,
    "bytes": int,
    "environments": list,
}
"""Of bake.json, which may have `mixing` and `built_with` besides."""


def wrong_fields(document: Mapping[str, Any]) -> list[str]:
    """Fields of a bake.json that are missing, or not of their kind."""
    odd = [name for name, kind in FIELDS.items() if type(document.get(name)) is not kind]
    if "environments" not in odd and not all(isinstance(one, dict) for one in document["environments"]):
        odd.append("environments")
    mixing = document.get("mixing")
    if mixing is not None and not (isinstance(mixing, dict) and {*map(type, mixing.values())} == {str}):
        odd.append("mixing")
    if not isinstance(document.get("built_with", {}), dict):
        odd.append("built_with")
    return odd


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """bake.json: its digest (SHA-256 hex) and document."""

    digest: str
    document: Mapping[str, Any]

    @property
    def epochs_worth(self) -> int:
        """N."""
        return int(self.document["epochs_worth"])

    @property
    def skipped(self) -> int:
        """Images left out."""
        return int(self.document["skipped"])

    @property
    def mixing_files(self) -> tuple[str, ...]:
        """Relative paths of the prepared pictures, none or one."""
        mixing = self.document["mixing"]
        # A stranger's bake.json must not name a file anywhere else: `--overwrite` deletes what is named here.
        return (mixing["path"],) if mixing and MIXING.fullmatch(str(mixing["path"])) else ()

    @property
    def sizes(self) -> Mapping[str, str]:
        """SHA-256 (hex) of the files that say how long pictures are (`storage.sizes`), by path."""
        stored = self.document.get("sizes", {}).items()
        # A stranger's bake.json must not name files anywhere else.
        return {path: sha256 for path, sha256 in stored if SIZES.fullmatch(path) and type(sha256) is str}

    def is_whole(self, out: Path) -> bool:
        """Whether all files that `finish` writes are there; their bytes are not read."""
        if "sizes" not in self.document:
            return False
        return all((out / name).exists() for name in ("images.parquet", "README.md", *self.mixing_files, *self.sizes))

    def receipts(self, out: Path) -> list[Receipt]:
        """Every receipt, checked against its SHA-256. Raises Damage naming the one that differs."""
        found = []
        for name, expected in self.document["receipts"].items():
            path = out / "receipts" / f"{name}.json"
            text = retrying(path.read_bytes, path)
            if hashlib.sha256(text).hexdigest() != expected:
                raise Damage(f"{path} is not the receipt that bake.json names: restore it, or bake into a new folder")
            found.append(Receipt.from_json(text, path))
        return found


def open_finished(out: Path) -> Finished:
    """The bake in `out`. Raises UsageError when it is not finished, Damage when bake.json is not one."""
    path = out / "bake.json"
    if not path.exists():
        raise UsageError(f"{out} holds no finished bake (no bake.json): finish it with the same build command")
    text = retrying(path.read_bytes, path)
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Damage(f"{path} is not a mixbake bake: restore it, or bake into a new folder")
    return Finished(digest=hashlib.sha256(text).hexdigest(), document=document)


def finish(
    out: Path,
    plan: Plan,
    plan_digest: str,
    listing: Listing,
    receipts: Sequence[Receipt],
    epochs: int,
    *,
    given: Mapping[str, Any],
    before: Finished | None,
) -> Finished:
    """Write images.parquet, README.md and bake.json; before: the bake that this one extends.

    Raises MixbakeError when receipts do not tile the bake, PlanDiffers when their skips differ.
    """
    _require_tiling(plan, receipts, epochs)
    # An extension has the same images: their file stays, so that the bake before is valid to the last moment.
    if before is None or not _is_there(out / "images.parquet", before.document["images_sha256"]):
        publish_bytes(out / "images.parquet", images_bytes(plan, listing, receipts, baked_images(out, receipts)))
    skipped = {skip.image for receipt in receipts for skip in receipt.skips}
    mixing = mixing_path(plan.mixing) if plan.mixing else None
    document = {
        "format": FORMAT,
        "epochs_worth": epochs,
        "views": plan.views,
        "manifest_sha256": plan_digest,
        "images_sha256": sha256_file(out / "images.parquet")[0],
        "mixing": {"path": mixing, "sha256": sha256_file(out / mixing)[0]} if mixing else None,
        "sizes": write_sizes(out, plan, receipts, epochs, before.sizes if before else {}),
        "receipts": {receipt.name: hashlib.sha256(receipt.to_json()).hexdigest() for receipt in receipts},
        "images": plan.baked - len(skipped),
        "skipped": len(skipped),
        "samples": sum(receipt.samples for receipt in receipts),
        "bytes": sum(receipt.tar_bytes for receipt in receipts),
        "environments": _distinct([dict(receipt.environment) for receipt in receipts]),
        "built_with": environment_record(),
    }
    if is_own_card(out / "README.md"):
        publish_bytes(out / "README.md", write_card(plan, document, given))
    text = canonical_json(document)
    publish_bytes(out / "bake.json", text)
    return Finished(digest=hashlib.sha256(text).hexdigest(), document=document)


def is_own_card(path: Path) -> bool:
    """Whether a README.md is a build's, or not there: one that was exported, or written by hand, is left alone."""
    return not path.exists() or retrying(path.read_bytes, path).startswith(HEAD.encode())


def _is_there(path: Path, sha256: str) -> bool:
    return path.exists() and sha256_file(path)[0] == sha256


def known_images(out: Path) -> dict[int, str]:
    """SHA-256 (hex) of every image that a finished bake read, by number."""
    table = _read_parquet(out / "images.parquet", ["number", "source_sha256"])
    pairs = zip(table["number"].to_pylist(), table["source_sha256"].to_pylist(), strict=True)
    return {number: sha256 for number, sha256 in pairs if sha256}


def known_sizes(out: Path) -> dict[str, int]:
    """Stored bytes of every image of a finished bake's source, by path."""
    table = _read_parquet(out / "images.parquet", ["source", "bytes"])
    return dict(zip(table["source"].to_pylist(), table["bytes"].to_pylist(), strict=True))


def baked_images(out: Path, receipts: Sequence[Receipt]) -> dict[int, str]:
    """SHA-256 (hex) of every image in the first ranges of these receipts, skipped ones too, by number."""
    found = {skip.image: skip.sha256 for receipt in receipts for skip in receipt.skips}
    for receipt in receipts:
        if receipt.first == 0:
            table = _read_parquet(
                out / "index" / f"{receipt.name}.parquet", ["image", "source_sha256", "number", "view"]
            )
            first = table.filter((pc.field("number") == 0) & (pc.field("view") == "mix"))
            found |= dict(zip(first["image"].to_pylist(), first["source_sha256"].to_pylist(), strict=True))
    return found


def _read_parquet(path: Path, columns: list[str]) -> Any:
    try:
        return pq.read_table(path, columns=columns)
    except pa.ArrowException as error:
        raise Damage(f"{path} is damaged ({error}): restore it, or bake into a new folder") from error


def _require_tiling(plan: Plan, receipts: Sequence[Receipt], epochs: int) -> None:
    skips: dict[int, frozenset[int]] = {}
    covered = dict.fromkeys(range(plan.blocks), 0)
    for receipt in sorted(receipts, key=lambda one: (one.block, one.first)):
        if receipt.first != covered[receipt.block]:
            raise MixbakeError(f"block {receipt.block}: receipts overlap or leave a gap at {receipt.first}")
        covered[receipt.block] = receipt.last + 1
        skipped = frozenset(skip.image for skip in receipt.skips)
        if skips.setdefault(receipt.block, skipped) != skipped:
            raise PlanDiffers(
                f"block {receipt.block}: different images could not be decoded in different ranges "
                f"({sorted(skips[receipt.block] ^ skipped)[:5]}): bake into a new folder with one set of libraries"
            )
    if short := [block for block, last in covered.items() if last != epochs]:
        raise MixbakeError(f"{len(short)} blocks are not {spell_worth(epochs)}, the first is block {short[0]}")


def images_bytes(plan: Plan, listing: Listing, receipts: Sequence[Receipt], baked: Mapping[int, str]) -> bytes:
    """images.parquet, from the listing, `baked_images` and the skips in the receipts."""
    sha256 = np.full(len(listing), None, object)
    skipped = np.full(len(listing), None, object)
    for image, digest in baked.items():
        sha256[image] = digest
    for receipt in receipts:
        for skip in receipt.skips:
            skipped[skip.image] = skip.reason
    labels = pa.array(listing.labels, pa.int32())
    columns = [
        pa.array(np.arange(len(listing))),
        labels,
        pa.DictionaryArray.from_arrays(labels, pa.array(plan.classes)),
        pa.array(listing.paths, pa.string()),
        pa.array(listing.sizes),
        pa.array(sha256, pa.string()),
        pa.array(skipped, pa.string()),
    ]
    return parquet_bytes([pa.record_batch(columns, schema=IMAGES_SCHEMA)], IMAGES_SCHEMA)


def _distinct(values: list[dict[str, str]]) -> list[dict[str, str]]:
    return [value for i, value in enumerate(values) if value not in values[:i]]
