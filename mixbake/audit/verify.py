"""Is a bake what it promises to be? `quick` asks for its promises and the sizes of its files, `full` for every byte.

    bake.json -> manifest, images.parquet, receipts -> sizes of all files        quick
              -> SHA-256 of all files, every record, every row of the indexes     full
    and on request: every picture decoded, some rendered again, the source's hashes, the bake digest
Rule: a fault is noted and the look goes on; nothing is written, and nothing that a bake names is believed.
"""

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.faults import Faults, Verified, plain
from mixbake.audit.images import open_given_source
from mixbake.audit.promises import Promises, read_promises
from mixbake.audit.replay import Replayer
from mixbake.audit.scribe import Scribe, scribe_of
from mixbake.audit.shards import RangeCheck, Tally
from mixbake.core import rng
from mixbake.data.listing import sha256_of
from mixbake.data.prepared import PictureSet, open_pictures
from mixbake.errors import Damage, PlanDiffers, StorageError, UsageError
from mixbake.recipes.presets import NamedRecipe
from mixbake.recipes.recorded import given_again, is_own
from mixbake.storage.lock import NAME as LOCK_NAME
from mixbake.storage.opened import Bake
from mixbake.storage.plan import mixing_path, source_digest
from mixbake.storage.shelf import LocalShelf
from mixbake.storage.sizes import read_sizes
from mixbake.storage.store import retrying, sha256_file

Progress = Callable[[str, int, int], None]
"""(what is looked at, done, total)."""
MOST_NOTES = 20
_MIXING = re.compile(r"mixing/[0-9a-f]{16}\.pictures")
_OWN = re.compile(r"(manifest|bake)\.json|README\.md|images\.parquet|logs/.*|(.*/)?\.[^/]*")
"""Names that belong to a bake without being promised, and hidden ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What `verify` is asked for. replay: how many variants; source: its spec, or None; digest: hex, or "".

    recipe: the code of a recipe of one's own: what a replay needs, and what draws every program again.
    """

    full: bool = False
    decode: bool = False
    replay: int = 0
    source: str | None = None
    recipe: str | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if self.replay < 0:
            raise UsageError(f"--replay {self.replay}: give a number of variants")
        if self.digest and not re.fullmatch("[0-9a-f]{64}", self.digest):
            raise UsageError(f"--digest {self.digest:.80}: give the 64 hexadecimal digits that the build printed")


def verify(out: Path, checks: Checks, *, progress: Progress = lambda _what, _done, _total: None) -> Verified:
    """Look into the bake in folder `out`. Damage is returned, not raised.

    Raises UsageError when there is no finished bake, or a replay needs code that is not named; PlanDiffers when a
    replay needs a source that is not there, or other code is named; StorageError when a file cannot be read.
    """
    faults = Faults()
    promises = read_promises(out, faults)
    differing: list[str] = []
    if promises.finished is not None and checks.digest and promises.finished.digest != checks.digest:
        faults.add("bake.json", f"the bake digest is {promises.finished.digest}, not {checks.digest}")
    recipe = _given_recipe(promises, checks)
    full = checks.full or checks.decode
    tally = look(promises, full=full, decode=checks.decode, recipe=recipe, progress=progress)
    replayed = compared = 0
    if checks.source is not None:
        compared = _compare_source(promises, checks.source, differing, progress)
    if checks.replay and not faults.files() & {"bake.json", "manifest.json", "images.parquet"}:
        replayed = _replay(promises, checks, differing, progress)
    return Verified(
        path=str(out),
        digest=promises.finished.digest if promises.finished else None,
        level="full" if full else "quick",
        epochs_worth=promises.epochs,
        files=len(list(promises.files())),
        bytes=sum(size for _, size in promises.files()),
        read=tally.read,
        samples=tally.samples,
        decoded=tally.decoded,
        replayed=replayed,
        compared=compared,
        faults=faults.listed(),
        differing=tuple(differing),
        notes=tuple(_notes(promises)),
    )


def damaged_files(out: Path, *, progress: Progress = lambda _what, _done, _total: None) -> list[str]:
    """Names of the files of a bake, finished or not, that are absent or not what a full look says they must be."""
    faults = Faults()
    promises = read_promises(out, faults, unfinished=True)
    look(promises, full=True, decode=False, progress=progress)
    return sorted(faults.files())


def _given_recipe(promises: Promises, checks: Checks) -> NamedRecipe | None:
    """A recipe of one's own, where its code is given; a replay needs it. Damage is noted.

    Raises as `recipes.recorded.given_again`.
    """
    plan = promises.plan
    if plan is None or (checks.recipe is None and not (checks.replay and is_own(plan.recipe))):
        return None
    try:
        return given_again(plan.recipe, checks.recipe, size=plan.size)
    except Damage as error:
        promises.faults.add("manifest.json", error)
        return None


def look(
    promises: Promises, *, full: bool, decode: bool, recipe: NamedRecipe | None = None, progress: Progress
) -> Tally:
    """Note what is wrong with sizes, mixing pictures and lengths, and with `full` with every byte."""
    absent = _wrong_sizes(promises)
    pictures = find_pictures(promises, full=full)
    if not full:
        return Tally()
    _lengths(promises, absent)
    try:
        scribe = find_scribe(promises, pictures, recipe)
    except Damage as error:
        promises.faults.add("manifest.json", error)
        scribe = None
    check = RangeCheck(promises, scribe, decode=decode)
    tally, total = Tally(), len(list(promises.tars()))
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "mixbake-verify")
    try:
        looked = pool.map(lambda receipt: list(check.check(receipt, absent)), promises.receipts)
        for one in chain.from_iterable(looked):
            tally.shards += one.shards
            tally.read += one.read
            tally.samples += one.samples
            tally.decoded += one.decoded
            progress("shards verified", tally.shards, total)
    finally:
        # Also after Ctrl-C: what has not begun is not begun any more.
        pool.shutdown(cancel_futures=True)
    return tally


def find_scribe(promises: Promises, pictures: PictureSet | None, recipe: NamedRecipe | None = None) -> Scribe | None:
    """Who knows every record of a bake; None where what it needs is damaged. Raises Damage for a plan that is none."""
    plan = promises.plan
    if plan is None or promises.images is None or (plan.mixing and pictures is None):
        return None
    return scribe_of(plan, promises.images, None if pictures is None else pictures.shapes, recipe)


def _wrong_sizes(promises: Promises) -> set[str]:
    """Names of what is absent or no file; that is noted, and which files have another size."""
    absent = set()
    for name, size in promises.files():
        path = promises.out / name
        if not path.is_file():
            promises.faults.add(name, "it is no file" if path.exists() else "it is missing")
            absent.add(name)
        elif (found := path.stat().st_size) != size:
            promises.faults.add(name, f"it has {found:,} bytes and should have {size:,}")
    return absent


def find_pictures(promises: Promises, *, full: bool) -> PictureSet | None:
    """The mixing pictures when they are the plan's; `full`: to the last byte."""
    plan, finished = promises.plan, promises.finished
    stated = (finished.document["mixing"] if finished else None) or {}
    name = mixing_path(plan.mixing) if plan and plan.mixing else str(stated.get("path"))
    # Without a sound manifest bake.json says where they are; a stranger's must not lead anywhere else.
    if not _MIXING.fullmatch(name) or (plan and not plan.mixing):
        return None
    try:
        if not (promises.out / name).is_file():
            raise Damage("it is missing")  # noqa: TRY301 - noted as all others are
        found = open_pictures(promises.out / name, check=full)
        if plan and plan.mixing != found.digest:
            raise Damage(f"its digest is {found.digest[:16]}, and the plan names another")  # noqa: TRY301 - noted
        if full and stated and sha256_file(promises.out / name)[0] != stated.get("sha256"):
            raise Damage("its SHA-256 is not the one that bake.json names")  # noqa: TRY301 - noted as all others are
    except (Damage, StorageError) as error:
        promises.faults.add(name, error)
        return None
    return found


def _lengths(promises: Promises, absent: set[str]) -> None:
    """The files of lengths against the hashes in bake.json."""
    if promises.plan is None or promises.finished is None or promises.images is None:
        return
    samples = sum(map(len, promises.blocks))
    for name, sha256 in promises.finished.sizes.items():
        if name not in absent:
            try:
                read_sizes(promises.out / name, samples, sha256)
            except (Damage, StorageError) as error:
                promises.faults.add(name, error)


def _compare_source(promises: Promises, spec: str, differing: list[str], progress: Progress) -> int:
    """Note images of a source that are not those that were baked; returns how many were read."""
    plan, images = promises.plan, promises.images
    if plan is None or images is None:
        return 0
    source, listing = open_given_source(spec, plan)
    if source_digest(listing) != plan.source:
        old, new = (
            dict(zip(images.paths, images.bytes.tolist(), strict=True)),
            dict(zip(listing.paths, listing.sizes.tolist(), strict=True)),
        )
        changed = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]
        differing.append(
            f"{spec} is not the source that was baked: {len(changed):,} images are new, gone or of another size"
        )
        differing += changed[:5]
    where = {path: row for row, path in enumerate(listing.paths)}
    wanted = [row for row in np.concatenate(promises.blocks).tolist() if images.paths[row] in where]
    for done, row in enumerate(sorted(wanted), 1):
        path = images.paths[row]
        entry = listing.entry(where[path])
        data = retrying(partial(source.read, entry), Path(path))
        if sha256_of(data) != images.sha256[row]:
            differing.append(f"{path} is not the image that was baked")
        progress("source images compared", done, len(wanted))
    return len(wanted)


def _replay(promises: Promises, checks: Checks, differing: list[str], progress: Progress) -> int:
    """Render some variants again, always the same ones of a bake; returns how many."""
    name, done = "bake.json", 0
    try:
        bake = Bake.open(LocalShelf(promises.out))
        name = "manifest.json"
        replayer = Replayer(bake, promises.out, source=checks.source, recipe=checks.recipe)
    except Damage as error:
        promises.faults.add(name, error)
        return 0
    chosen = _chosen(bake, checks.replay)
    for done, (view, number, position) in enumerate(chosen, 1):
        try:
            replayer.replay(view, number, position).require_equal()
        except Damage as error:
            place = view, number, int(bake.blocks[position])
            promises.faults.add(bake.shard(*place).name, error, replayer.key(view, number, position))
        except PlanDiffers as error:
            if done == 1:
                raise
            differing.append(str(error))
        progress("variants rendered again", done, len(chosen))
    return done


def _chosen(bake: Bake, count: int) -> list[tuple[str, int, int]]:
    """View, number and image position of that many different variants, by chance, the same at every call."""
    outputs = list(bake.plan.outputs(0, bake.epochs_worth - 1))
    total = len(outputs) * len(bake.images)
    drawn: NDArray[np.int64] = rng.stream(0, "verify").choice(total, min(count, total), replace=False)
    found = [(*outputs[place // len(bake.images)], place % len(bake.images)) for place in np.sort(drawn).tolist()]
    # Block by block, as each has its own indexes.
    return sorted(found, key=lambda one: int(bake.blocks[one[2]]))


def _notes(promises: Promises) -> Sequence[str]:
    """Files in the folder that the bake does not have."""
    plan, known = promises.plan, {name for name, _ in promises.files()}
    known |= {f"receipts/{receipt.name}.json" for receipt in promises.receipts} | promises.faults.files()
    known |= {mixing_path(plan.mixing)} if plan and plan.mixing else set()
    others = []
    for folder, _, names in os.walk(promises.out):
        base = Path(folder).relative_to(promises.out).as_posix()
        others += [name if base == "." else f"{base}/{name}" for name in names]
    others = sorted(
        plain(name) for name in others if name not in known and name != LOCK_NAME and not _OWN.fullmatch(name)
    )
    notes = [f"{name} is not part of the bake" for name in others[:MOST_NOTES]]
    if len(others) > MOST_NOTES:
        notes.append(f"and {len(others) - MOST_NOTES:,} files more that are not part of the bake")
    if not (promises.out / "README.md").exists():
        notes.append("README.md, the dataset card, is missing")
    return notes
