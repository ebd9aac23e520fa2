"""Descriptions of a bake by name, and the writing of them.

    a finished bake, all its files there -> a description -> one file, by default where its readers look for it
Rule: everything that is said comes from plan, receipts and bake.json; what they do not say (a licence, an author, a
date) is left out and named as unknown. A file that is there already is replaced only when asked to.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mixbake.errors import Damage, StorageError, UsageError
from mixbake.export.bakes import Described, open_described
from mixbake.export.croissant import write_croissant
from mixbake.export.hub_card import write_hub_card
from mixbake.export.timm_info import write_timm_info
from mixbake.storage.card import write_card
from mixbake.storage.opened import describe_size
from mixbake.storage.store import publish_bytes, retrying


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of description. file: where its readers look for it, in the bake. unknown: what it lacks."""

    write: Callable[[Described], bytes]
    file: str
    unknown: tuple[str, ...]


FORMATS: Mapping[str, Format] = {
    "croissant": Format(
        write=write_croissant, file="croissant.json", unknown=("license", "creator", "url", "datePublished")
    ),
    "hf-card": Format(write=write_hub_card, file="README.md", unknown=("license",)),
    "timm": Format(write=write_timm_info, file="_info.json", unknown=()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A description that was written. unknown: fields that were left out, as nothing here tells them."""

    path: Path
    unknown: tuple[str, ...]


def export(
    shards: Path, kind: str, out: Path | None = None, *, licence: str | None = None, overwrite: bool = False
) -> Exported:
    """Describe the bake in `shards` to `out`, by default to the file of the format in the bake itself.

    kind: of FORMATS. licence: an SPDX identifier or other text, as the user says it. Raises UsageError for no bake,
    for what a format cannot say and when `out` is there, Damage when files are missing, StorageError.
    """
    if kind not in FORMATS:
        raise UsageError(f"there is no description {kind!r:.40}: choose from {', '.join(FORMATS)}")
    known = FORMATS[kind]
    described = open_described(shards, licence=_checked(licence))
    if wrong := described.bake.wrong_sizes():
        raise Damage(f"{shards} is not complete ({describe_size(*wrong[0])}): `mixbake build --repair` mends it")
    path, text = out if out is not None else shards / known.file, known.write(described)
    _require_free(path, text, described, overwrite=overwrite)
    publish_bytes(path, text)
    unknown = tuple(name for name in known.unknown if name != "license" or licence is None)
    return Exported(path=path, unknown=unknown)


def _checked(licence: str | None) -> str | None:
    if licence is None:
        return None
    if not licence.strip() or not licence.isprintable() or len(licence) > 200:
        raise UsageError("--licence is one line of at most 200 characters, as CC-BY-4.0: say another, or leave it out")
    return licence.strip()


def _require_free(path: Path, text: bytes, described: Described, *, overwrite: bool) -> None:
    """Raise UsageError when something is there that is neither these bytes nor the card that the build wrote."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file with --output")
    if overwrite or not os.path.lexists(path):
        return
    own = write_card(described.bake.plan, described.bake.finished.document, described.given)
    try:
        there = retrying(path.read_bytes, path)
    except StorageError:
        there = b""
    if there not in (text, own):
        raise UsageError(f"{path} is there already: say --overwrite to replace it, or name another with --output")
