"""OUT as a build finds it: empty, a bake, an unfinished bake, or something else.

Rule: nothing that a bake did not write is ever deleted; a folder that is no bake is refused.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixbake.bake.settings import BuildSettings, Planned
from mixbake.data.listing import Listing
from mixbake.errors import PlanDiffers, UsageError
from mixbake.recipes.recorded import is_own
from mixbake.storage.finish import Finished, baked_images, known_images, known_sizes, open_finished
from mixbake.storage.lock import NAME as LOCK_NAME
from mixbake.storage.plan import Plan, differences, manifest, plan_of, shard_path
from mixbake.storage.receipt import Receipt
from mixbake.storage.store import LEFTOVER, canonical_json, publish_bytes, read_json, require_within, retrying

MANIFEST = "manifest.json"
_RANGE = re.compile(r"\d{6}-v\d{3,}-\d{3,}")
_SHARD = re.compile(r"(mix|clean)/v\d{3,}/\d{6}\.tar")
"""What `storage.plan.range_name` and `shard_path` make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is already baked. epochs: finished. receipts: of whole block ranges. sha256: by image number."""

    folder: "Folder"
    plan_digest: str
    given: Mapping[str, Any]
    finished: Finished | None
    epochs: int
    receipts: tuple[Receipt, ...]
    sha256: dict[int, str] = field(default_factory=dict)

    def covered(self) -> dict[int, int]:
        """Epochs' worth of each block that are whole, from 0 without a gap; blocks without any are left out."""
        return {receipt.block: receipt.last + 1 for receipt in self.receipts}


@dataclass(frozen=True, slots=True)
class Folder:
    """The output folder."""

    out: Path

    def require_usable(self, *, overwrite: bool) -> None:
        """Raise PlanDiffers when OUT holds something that is no bake, or no finished one to overwrite."""
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise UsageError(f"{self.out} is a file: choose another OUT")
        names = {path.name for path in self.out.iterdir() if path.name != LOCK_NAME and not LEFTOVER.match(path.name)}
        if names and MANIFEST not in names:
            raise PlanDiffers(f"{self.out} is not empty and holds no bake: choose another OUT, or empty it yourself")
        if overwrite and names and "bake.json" not in names:
            raise PlanDiffers(
                f"{self.out} holds no finished bake to overwrite: choose another OUT, or empty it yourself"
            )

    def settle(self, planned: Planned, settings: BuildSettings) -> Found:
        """Compare with the plan that is here, or write it. Raises PlanDiffers naming the fields."""
        path = self.out / MANIFEST
        if not path.exists():
            publish_bytes(path, self._document(planned, settings))
        document = retrying(path.read_bytes, path)
        stored = read_json(path)
        self._require_same(plan_of(stored), planned, settings)
        return self._found(_sha256(document), stored["given"], settings.epochs_worth)

    def _require_same(self, old: Plan, planned: Planned, settings: BuildSettings) -> None:
        new = planned.plan
        if is_own(old.recipe) and not is_own(new.recipe):
            raise UsageError(
                f"{self.out} was baked by {old.recipe['name']}, which is not mixbake's: give its code again with "
                "--recipe FILE.py:NAME, or bake into another OUT"
            )
        if settings.accept_environment:
            new = replace(new, environment=old.environment)
        if lines := differences(old, new):
            only_environment = all(line.startswith("environment.") for line in lines)
            advice = (
                "bytes could differ: install those versions, or say --accept-environment, which is recorded"
                if only_environment
                else "bake into another OUT, or give the same source and settings"
            )
            if old.source != new.source:
                lines += self._changed_images(planned.listing)
            raise PlanDiffers(f"{self.out} was baked with another plan; {advice}:\n  " + "\n  ".join(lines))

    def _changed_images(self, listing: Listing) -> list[str]:
        """Up to five images that are not as images.parquet has them, if the bake was finished."""
        if not (self.out / "images.parquet").exists():
            return []
        old = known_sizes(self.out)
        new = dict(zip(listing.paths, listing.sizes.tolist(), strict=True))
        changed = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]
        return [f"{path}: {_in_bytes(old.get(path))} -> {_in_bytes(new.get(path))}" for path in changed[:5]]

    def _found(self, plan_digest: str, given: Mapping[str, Any], epochs: int) -> Found:
        finished = open_finished(self.out) if (self.out / "bake.json").exists() else None
        receipts = self._receipts(plan_digest)
        beyond = max((receipt.last + 1 for receipt in receipts), default=0)
        done = finished.epochs_worth if finished else 0
        if beyond > epochs > done:
            raise UsageError(
                f"{self.out} holds blocks of an unfinished build of {beyond} epochs' worth: finish that first "
                f"(--epochs-worth {beyond})"
            )
        return Found(
            folder=self,
            plan_digest=plan_digest,
            given=given,
            finished=finished,
            epochs=done,
            receipts=receipts,
            sha256=self._known_images(finished, receipts),
        )

    def _known_images(self, finished: Finished | None, receipts: tuple[Receipt, ...]) -> dict[int, str]:
        # A repair has deleted the table if it was damaged.
        if finished and (self.out / "images.parquet").exists():
            return known_images(self.out)
        return baked_images(self.out, receipts)

    def forget_damaged(self, damaged: Collection[str], planned: Planned, settings: BuildSettings) -> dict[str, str]:
        """Delete damaged files, so that a build makes them again; returns SHA-256 (hex) by path of all promised tars.

        damaged: names relative to OUT. Under the lock. Raises PlanDiffers, before anything is deleted, when what
        is to be made again would be of another plan, or lies outside of OUT.
        """
        self._require_same_manifest(damaged, planned, settings)
        for name in damaged:
            require_within(self.out, name)
        promised = {
            shard_path(shard.view, shard.number, receipt.block): shard.sha256
            for path in sorted((self.out / "receipts").glob("*.json"))
            if f"receipts/{path.name}" not in damaged
            for receipt in [Receipt.from_json(retrying(path.read_bytes, path), path)]
            for shard in receipt.shards
        }
        for name in damaged:
            (self.out / name).unlink(missing_ok=True)
        return promised

    def _require_same_manifest(self, damaged: Collection[str], planned: Planned, settings: BuildSettings) -> None:
        """Compare with the stored plan, or, if that is damaged, with the digest of it that other files hold."""
        if MANIFEST not in damaged:
            path = self.out / MANIFEST
            self._require_same(plan_of(read_json(path)), planned, settings)
            return
        digest = _sha256(self._document(planned, settings))
        held = {
            read_json(path)["plan"]
            for path in (self.out / "receipts").glob("*.json")
            if f"receipts/{path.name}" not in damaged
        }
        if "bake.json" not in damaged and (self.out / "bake.json").exists():
            held = {open_finished(self.out).document["manifest_sha256"]}
        if held != {digest}:
            raise PlanDiffers(
                f"{self.out}/{MANIFEST} is damaged, and this command would write another one: give the same source, "
                "mixing set and settings, spelled as they were, or restore the file"
            )

    def _document(self, planned: Planned, settings: BuildSettings) -> bytes:
        """manifest.json as a build of that plan writes it."""
        return canonical_json(manifest(planned.plan, given=_given(planned, settings)))

    def _receipts(self, plan_digest: str) -> tuple[Receipt, ...]:
        """Receipts of this plan whose files are all there, without gaps, by block and range."""
        found = []
        for path in sorted((self.out / "receipts").glob("*.json")):
            text = retrying(path.read_bytes, path)
            receipt = Receipt.from_json(text, path)
            # bake.json will name it by the hash of the one spelling.
            own = receipt.plan == plan_digest and receipt.name == path.stem and receipt.to_json() == text
            if own and receipt.is_whole(self.out):
                found.append(receipt)
        covered: dict[int, int] = {}
        whole = []
        for receipt in sorted(found, key=lambda one: (one.block, one.first)):
            if receipt.first == covered.get(receipt.block, 0):
                covered[receipt.block] = receipt.last + 1
                whole.append(receipt)
        return tuple(whole)

    def forget_others(self, whole: set[str]) -> None:
        """Delete receipts and indexes of ranges that will be baked again, maybe with other bounds.

        Under the lock. Who queries index/*.parquet must not find a variant twice.
        """
        for folder, suffix in (("receipts", ".json"), ("index", ".parquet")):
            for path in (self.out / folder).glob(f"*{suffix}"):
                if _RANGE.fullmatch(path.stem) and path.stem not in whole:
                    path.unlink()

    def clear(self) -> None:
        """Delete the files of the bake in OUT, those of an unfinished extension too, and only those.

        Folders go when they are empty.
        """
        if not (self.out / MANIFEST).exists():
            return
        finished = open_finished(self.out)
        # First what makes it a bake: a reader must never see half of one.
        (self.out / "bake.json").unlink()
        self.forget_others(set())
        for path in [*self.out.glob("mix/v*/*.tar"), *self.out.glob("clean/v*/*.tar")]:
            if _SHARD.fullmatch(path.relative_to(self.out).as_posix()):
                path.unlink()
        for name in (MANIFEST, "images.parquet", "README.md", *finished.mixing_files, *finished.sizes):
            (self.out / name).unlink(missing_ok=True)
        self._remove_empty()

    def _remove_empty(self) -> None:
        for log in (self.out / "logs").glob("build-*.jsonl"):
            log.unlink()
        for path in sorted(self.out.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _given(planned: Planned, settings: BuildSettings) -> dict[str, Any]:
    sets = settings.mixing_sets
    # A single set stands there as it was typed.
    written = sets[0] if len(sets) == 1 else list(sets)
    given = {"source": settings.source, "mixing_set": written if planned.pictures else None}
    return given | ({"recipe": settings.recipe} if is_own(planned.plan.recipe) else {})


def _in_bytes(size: int | None) -> str:
    return "absent" if size is None else f"{size:,} bytes"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
