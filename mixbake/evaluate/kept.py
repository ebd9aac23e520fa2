"""Finished parts of an evaluation, kept on disk, so that the same command goes on where it was killed.

    PARTS/<part>-<digest>.json      what was found, and of what; the digest is of the latter

Rule: a part is whole or absent. It is used again only if everything that decides it is the same: weights, pictures,
limit, precision, kind of device, seed, version.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mixbake import __version__
from mixbake.errors import Damage
from mixbake.storage.store import canonical_json, publish_bytes, read_json

VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPart:
    """found: plain values of a finding. seen: SHA-256 of what the network was shown. seconds: that it took."""

    found: dict[str, Any]
    seen: str
    seconds: float


class KeptParts:
    """Parts in a folder. common: what decides all of them."""

    def __init__(self, folder: Path, common: dict[str, Any]) -> None:
        self._folder = folder
        self._common = {**common, "version": VERSION, "mixbake": __version__}

    def find(self, name: str, identity: Any) -> KeptPart | None:
        """What was found; None when it was not, or not of this."""
        path = self._path(name, identity)
        if not path.is_file():
            return None
        try:
            kept = read_json(path)
            part = KeptPart(found=dict(kept["found"]), seen=str(kept["seen"]), seconds=float(kept["seconds"]))
            return part if kept["of"] == self._of(identity) else None
        except (Damage, KeyError, TypeError, ValueError):
            return None  # measured again, and replaced

    def add(self, name: str, identity: Any, part: KeptPart) -> None:
        """Keep a part. Raises StorageError."""
        content = {"of": self._of(identity), **asdict(part)}
        publish_bytes(self._path(name, identity), (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())

    def _of(self, identity: Any) -> Any:
        """As JSON gives it back."""
        return json.loads(canonical_json({**self._common, "pictures": identity}))

    def _path(self, name: str, identity: Any) -> Path:
        digest = hashlib.sha256(canonical_json(self._of(identity))).hexdigest()
        return self._folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:80]}-{digest[:12]}.json"
