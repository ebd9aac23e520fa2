"""Indexes, images.parquet and files of lengths: whether they are whole; and made again from what still is.

    bake.json, receipts -> which files are not what they should be
    the source's list, indexes, receipts' skips -> images.parquet
    tars, whole by their SHA-256 -> records, each as the plan draws it -> rows -> index
    indexes -> files of lengths
Rule: manifest, receipts, tars and mixing pictures must be whole, and are only read. What comes back with the bytes
that were promised changes nothing else; where this version of pyarrow writes the same rows in other bytes, receipts
and bake.json are written anew, bake.json last, and the new digest is told.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixbake.audit.faults import Fault, Faults, plain
from mixbake.audit.images import open_given_source, recorded_source
from mixbake.audit.promises import Promises, read_promises, sizes_of
from mixbake.audit.scribe import Page, Scribe, differences
from mixbake.audit.shards import ROWS, Piece, Tape, cut_encoded, cut_fixed
from mixbake.audit.verify import find_pictures, find_scribe
from mixbake.data.listing import Listing, Source, sha256_of
from mixbake.errors import Damage, PlanDiffers
from mixbake.storage import codecs, tar
from mixbake.storage.finish import Finished, baked_images, images_bytes, open_finished
from mixbake.storage.index import SCHEMA, index_bytes
from mixbake.storage.lock import FolderLock
from mixbake.storage.plan import Plan, given_in, shard_path, source_digest
from mixbake.storage.receipt import Receipt
from mixbake.storage.sizes import write_sizes
from mixbake.storage.store import (
    canonical_json,
    publish_bytes,
    remove_leftovers,
    require_within,
    retrying,
    sha256_file,
)

IMAGES = "images.parquet"
REPAIR = "`mixbake build --repair` with the command that baked it makes that again"
Progress = Callable[[str, int, int], None]
"""(what is done, done, total)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """What was found, and done. files: that were looked at. faults: those that were not whole.

    rebuilt: made again. changed: of these, with other bytes than were promised, for the same rows. digest: of
    bake.json, now; before: as it was found.
    """

    path: str
    files: int
    faults: tuple[Fault, ...]
    rebuilt: tuple[str, ...]
    changed: tuple[str, ...]
    before: str
    digest: str

    @property
    def whole(self) -> bool:
        """Whether all of them are, now."""
        return len(self.rebuilt) == len(self.faults)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"whole": self.whole}


def explain(found: Indexes) -> str:
    """The result as lines for a terminal."""
    lines = [f"{found.files:,} files: indexes, {IMAGES}, lengths", *(str(fault) for fault in found.faults)]
    lines += [f"rebuilt {name}" for name in found.rebuilt]
    if found.changed:
        lines.append(
            f"{len(found.changed):,} of them have the same rows in other bytes, as another version of pyarrow writes "
            "them: receipts and bake.json were written anew"
        )
        lines.append(f"bake digest was {found.before}")
    verdict = "whole" if found.whole else "not whole"
    return "\n".join([*lines, f"{plain(found.path)}: {verdict}", f"bake digest {found.digest}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bake:
    """What a bake promises, where nothing but indexes, images.parquet and lengths is damaged."""

    out: Path
    promises: Promises
    finished: Finished
    plan: Plan

    def hashes(self) -> dict[str, str]:
        """SHA-256 (hex) of everything that can be made again, by name."""
        document = self.finished.document
        indexes = {index_name(receipt): receipt.index_sha256 for receipt in self.promises.receipts}
        lengths = {name: document["sizes"][name] for name in sizes_of(self.plan, self.finished.epochs_worth)}
        return {IMAGES: document["images_sha256"], **indexes, **lengths}


def index_name(receipt: Receipt) -> str:
    """`index/000017-v000-009.parquet`."""
    return f"index/{receipt.name}.parquet"


def look(out: Path) -> Indexes:
    """Compare indexes, images.parquet and files of lengths of a bake with their hashes; nothing is written.

    Raises UsageError when there is no finished bake, Damage when its manifest or receipts are damaged, StorageError.
    """
    bake = _open(out)
    hashes, faults = bake.hashes(), Faults()
    for name, sha256 in hashes.items():
        if not (out / name).is_file():
            faults.add(name, "it is no file" if (out / name).exists() else "it is missing")
        elif sha256_file(out / name)[0] != sha256:
            faults.add(name, "its contents were altered: its SHA-256 is not the one that was promised")
    digest = bake.finished.digest
    return Indexes(
        path=str(out),
        files=len(hashes),
        faults=faults.listed(),
        rebuilt=(),
        changed=(),
        before=digest,
        digest=digest,
    )


def rebuild(out: Path, *, source: str | None = None, progress: Progress = lambda _what, _done, _total: None) -> Indexes:
    """Make again what `look` finds damaged. source: of the images, by default the one that the build was given.

    The source is opened only for images.parquet. Raises Damage naming a tar, receipt, manifest or mixing set that is
    damaged itself, or a record that is not the plan's; PlanDiffers when the source is another, or a file lies
    behind a link; Locked, UsageError, StorageError. What was rebuilt until then stays.
    """
    if (found := look(out)).whole:
        return found
    with FolderLock(out):
        remove_leftovers(out)
        found, bake = look(out), _open(out)
        damaged = {fault.shard for fault in found.faults}
        for name in sorted(damaged):
            require_within(out, name)
        lost = [receipt for receipt in bake.promises.receipts if index_name(receipt) in damaged]
        _require_whole_tars(out, lost, progress)
        before = bake.hashes()
        if IMAGES in damaged:
            _rebuild_images(bake, lost, source)
        _rebuild_indexes(_open(out), lost, progress)
        _rebuild_sizes(_open(out))
        after = _open(out)
    return replace(
        found,
        rebuilt=tuple(sorted(damaged)),
        changed=tuple(name for name, sha256 in after.hashes().items() if sha256 != before[name]),
        digest=after.finished.digest,
    )


def _open(out: Path) -> _Bake:
    faults = Faults()
    promises = read_promises(out, faults)
    for fault in faults.listed():
        if fault.shard != IMAGES:
            raise Damage(f"{fault}: {REPAIR}")
    if promises.finished is None or promises.plan is None:
        raise Damage(f"bake.json or manifest.json in {out} cannot be used: {REPAIR}")
    return _Bake(out=out, promises=promises, finished=promises.finished, plan=promises.plan)


def _require_whole_tars(out: Path, receipts: Sequence[Receipt], progress: Progress) -> None:
    """Raise Damage naming the first tar of some receipts that is not, byte by byte, the promised one."""
    shards = [(shard_path(one.view, one.number, receipt.block), one) for receipt in receipts for one in receipt.shards]
    for done, (name, shard) in enumerate(shards, 1):
        if not (out / name).is_file() or sha256_file(out / name) != (shard.sha256, shard.bytes):
            raise Damage(f"{name} is missing or altered, and its index with it: {REPAIR}")
        progress("tars compared", done, len(shards))


# ── images.parquet ────────────────────────────────────────────────────────────────────────────────


def _rebuild_images(bake: _Bake, lost: Sequence[Receipt], spec: str | None) -> None:
    """From the source's list; hashes of images from the indexes that are whole, reasons of skips from the receipts."""
    source, listing = _open_source(bake, spec)
    whole = [receipt for receipt in bake.promises.receipts if receipt not in lost]
    baked = baked_images(bake.out, whole)
    baked |= {skip.image: skip.sha256 for receipt in lost for skip in receipt.skips}
    unknown = [image for image in bake.plan.order().tolist() if image not in baked]
    baked |= {image: _hash_image(source, listing, image) for image in unknown}
    data = images_bytes(bake.plan, listing, bake.promises.receipts, baked)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != bake.finished.document["images_sha256"]:
        if unknown:
            raise Damage(
                f"{IMAGES} cannot be made again with the bytes that it had, and the indexes that would prove the "
                f"hashes of {len(unknown):,} images are damaged as well: {REPAIR}"
            )
        publish_bytes(bake.out / IMAGES, data)
        _sign(bake, {"images_sha256": sha256})
        return
    publish_bytes(bake.out / IMAGES, data)


def _open_source(bake: _Bake, spec: str | None) -> tuple[Source, Listing]:
    spec = spec or recorded_source(given_in((bake.out / "manifest.json").read_bytes()))
    source, listing = open_given_source(spec, bake.plan)
    if source_digest(listing) != bake.plan.source:
        raise PlanDiffers(f"{plain(spec)} is not the source that was baked: say with --source where that is")
    return source, listing


def _hash_image(source: Source, listing: Listing, image: int) -> str:
    entry = listing.entry(image)
    return sha256_of(retrying(lambda: source.read(entry), Path(entry.path)))


# ── indexes ───────────────────────────────────────────────────────────────────────────────────────


def _rebuild_indexes(bake: _Bake, lost: Sequence[Receipt], progress: Progress) -> None:
    """Write the indexes of these receipts; and the receipts, if the bytes are others than theirs."""
    if not lost:
        return
    scribe = find_scribe(bake.promises, find_pictures(bake.promises, full=True))
    for fault in bake.promises.faults.listed():
        raise Damage(f"{fault}: {REPAIR}")
    if scribe is None:
        raise Damage(f"manifest.json, {IMAGES} or mixing pictures in {bake.out} cannot be used: {REPAIR}")
    (bake.out / "index").mkdir(exist_ok=True)
    others: dict[str, bytes] = {}
    for done, receipt in enumerate(lost, 1):
        data = index_bytes(list(_batches(bake.promises, scribe, receipt)), len(receipt.shards))
        publish_bytes(bake.out / index_name(receipt), data)
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 != receipt.index_sha256:
            others[receipt.name] = replace(receipt, index_sha256=sha256, index_bytes=len(data)).to_json()
        progress("indexes rebuilt", done, len(lost))
    for name, text in others.items():
        publish_bytes(bake.out / "receipts" / f"{name}.json", text)
    if others:
        signed = {name: hashlib.sha256(text).hexdigest() for name, text in others.items()}
        _sign(bake, {"receipts": bake.finished.document["receipts"] | signed})


def _batches(promises: Promises, scribe: Scribe, receipt: Receipt) -> Iterator[Any]:
    """Rows of the index of a receipt, some images at a time, view by view. Raises Damage naming shard and key."""
    images = promises.blocks[receipt.block]
    views = dict.fromkeys(shard.view for shard in receipt.shards)
    together = max(1, ROWS[_is_fixed(scribe.plan)] // len(receipt.shards))
    with ExitStack() as stack:
        tapes = [stack.enter_context(closing(Tape(promises, receipt.block, shard))) for shard in receipt.shards]
        for first in range(0, len(images), together):
            page = scribe.page(receipt.block, images[first : first + together])
            for view in views:
                yield _rows(scribe, page, [tape for tape in tapes if tape.shard.view == view])
        for tape in tapes:
            ended = tape.take(len(tar.END)) == tar.END and not tape.take(1)
            # The bytes that were read here are the bytes that the receipt names.
            if not ended or tape.finish() != tape.shard.sha256:
                raise Damage(f"{tape.name} does not end where its samples end, or changed meanwhile: {REPAIR}")


def _rows(scribe: Scribe, page: Page, tapes: Sequence[Tape]) -> Any:
    """Rows of a page in the tars of one view, tar by tar."""
    pieces = [_cut(tape, scribe.plan, len(page.images)) for tape in tapes]
    for tape, piece in zip(tapes, pieces, strict=True):
        if len(piece.lines) < len(page.images):
            key = tar.key(int(page.images[len(piece.lines)]), tape.shard.number, tape.shard.view)
            raise Damage(f"{tape.name}, {key}: no whole record is in its place: {REPAIR}")
    numbers = [tape.shard.number for tape in tapes]
    records = scribe.write(tapes[0].shard.view, numbers, page, [piece.lines for piece in pieces])
    for k, (tape, piece) in enumerate(zip(tapes, pieces, strict=True)):
        start = k * len(page.images)
        for i, fault in differences(piece.lines, records, start, scribe.plan.extension):
            raise Damage(f"{tape.name}, {records.key(start + i)}: {plain(fault)}: {REPAIR}")
    columns: Mapping[str, Any] = dict(zip(SCHEMA.names, records.index.columns, strict=True))
    steps = pa.array(records.members.steps(), pa.string())
    return pa.record_batch([steps if name == "steps" else columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _cut(tape: Tape, plan: Plan, count: int) -> Piece:
    if not _is_fixed(plan):
        return cut_encoded(tape, plan, count)
    length = count * tar.layout(tar.stored_png_size(plan.size), plan.member_bytes).record
    return cut_fixed(tape, plan, np.empty(length, np.uint8))


def _is_fixed(plan: Plan) -> bool:
    return codecs.is_fixed(plan.codec, plan.size)


# ── lengths, bake.json ────────────────────────────────────────────────────────────────────────────


def _rebuild_sizes(bake: _Bake) -> None:
    """Raise Damage when the indexes do not give the lengths that were promised."""
    if not bake.finished.sizes:
        return
    (bake.out / "sizes").mkdir(exist_ok=True)
    worth, known = bake.finished.epochs_worth, bake.finished.sizes
    written = write_sizes(bake.out, bake.plan, bake.promises.receipts, worth, known)
    if odd := [name for name, sha256 in written.items() if known.get(name) != sha256]:
        raise Damage(f"{odd[0]} was promised with other lengths than the tars have: {REPAIR}")


def _sign(bake: _Bake, changes: Mapping[str, Any]) -> None:
    """Replace fields of bake.json."""
    document = open_finished(bake.out).document
    publish_bytes(bake.out / "bake.json", canonical_json({**document, **changes}))
