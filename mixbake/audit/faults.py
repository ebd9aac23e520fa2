"""What a look into a bake finds wrong, and how it is said.

Rule: whatever a bake's files say may be a stranger's, so that every text is made fit for a terminal here.
"""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

MOST_IN_A_FILE = 20
"""Faults kept of one file: a shard whose records are all wrong says it often enough."""
LONGEST_TEXT = 400


def plain(text: object) -> str:
    """One line of at most LONGEST_TEXT characters that a terminal shows and does not obey; the rest becomes `?`."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in str(text)[: LONGEST_TEXT + 1])
    return shown if len(shown) <= LONGEST_TEXT else shown[: LONGEST_TEXT - 1] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something damaged: the file, relative to the bake; the key of a sample in it, or None; and what is wrong."""

    shard: str
    key: str | None
    fault: str

    def __str__(self) -> str:
        return plain(f"{self.shard}, {self.key}: {self.fault}" if self.key else f"{self.shard}: {self.fault}")


class Faults:
    """Collects faults from several threads, at most MOST_IN_A_FILE of one file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[Fault] = []
        self._counts: Counter[str] = Counter()

    def add(self, shard: str, fault: object, key: str | None = None) -> None:
        """Note a fault."""
        with self._lock:
            self._counts[shard] += 1
            if self._counts[shard] <= MOST_IN_A_FILE:
                self._found.append(Fault(shard=shard, key=key, fault=plain(fault)))

    def files(self) -> set[str]:
        """The files that have any."""
        return set(self._counts)

    def count(self, shard: str) -> int:
        """How many a file has."""
        return self._counts[shard]

    def listed(self) -> tuple[Fault, ...]:
        """All of them by file, each file's in the order in which they were found."""
        more = [
            Fault(shard=shard, key=None, fault=f"and {count - MOST_IN_A_FILE:,} faults more")
            for shard, count in self._counts.items()
            if count > MOST_IN_A_FILE
        ]
        return tuple(sorted([*self._found, *more], key=lambda fault: fault.shard))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What `verify` did and found.

    files, bytes: of the bake, as promised. read: bytes hashed and compared. samples: records compared; decoded,
    replayed: pictures; compared: source images. faults: damage. differing: source images that are absent or
    another's, and what else of the source is. notes: what is no damage and worth knowing.
    """

    path: str
    digest: str | None
    level: str
    epochs_worth: int
    files: int
    bytes: int
    read: int
    samples: int
    decoded: int
    replayed: int
    compared: int
    faults: tuple[Fault, ...]
    differing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether no damage was found."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"intact": self.intact}


def explain(verified: Verified) -> str:
    """The result as lines of text: what was looked at, every fault, notes, the verdict."""
    looked = [
        f"{verified.level}: {verified.files:,} files, {verified.bytes:,} bytes",
        *_counted(
            (verified.read, "bytes hashed"),
            (verified.samples, "records compared"),
            (verified.decoded, "pictures decoded"),
            (verified.replayed, "variants rendered again"),
            (verified.compared, "source images compared"),
        ),
    ]
    verdict = "intact" if verified.intact else f"damaged: {_files(verified.faults)}"
    return "\n".join(
        [
            ", ".join(looked),
            *(str(fault) for fault in verified.faults),
            *(f"source: {plain(line)}" for line in verified.differing),
            *(f"note: {plain(line)}" for line in verified.notes),
            f"{plain(verified.path)} is {verdict}",
            f"bake digest {verified.digest or 'unknown: bake.json is damaged'}",
        ]
    )


def _counted(*pairs: tuple[int, str]) -> Iterable[str]:
    return (f"{count:,} {what}" for count, what in pairs if count)


def _files(faults: tuple[Fault, ...]) -> str:
    count = len({fault.shard for fault in faults})
    return f"{_several(len(faults), 'fault')} in {_several(count, 'file')}"


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
