"""An audit: everything that is looked at in a bake, and what it says of the bake.

    verify -> contents -> tests against the recipe -> signals of the pictures -> variants made again, to look at
Rule: a part that damage or an absent source keeps from being done says so and the rest goes on. Only integrity and
distribution can fail; signals inform.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mixbake.audit.audited import Audited
from mixbake.audit.catalog import Rows
from mixbake.audit.choice import choose
from mixbake.audit.contents import Contents
from mixbake.audit.faults import Verified, plain
from mixbake.audit.gallery import Exhibit, exhibit, what_lacks
from mixbake.audit.replay import Replayer
from mixbake.audit.signals import Signals, find_signals
from mixbake.audit.statistics import Test, run_tests
from mixbake.audit.verify import Checks, verify
from mixbake.errors import Damage, PlanDiffers, UsageError

Progress = Callable[[str, int, int], None]
T = TypeVar("T")

STRATA = ("layer", "op", "blend")
GALLERY, MOST = 96, 1000
"""Variants in a gallery: by default, and at most."""
MOST_ALIKE, OF_EACH = 12, 4
"""Groups of like pictures that are shown, and pictures of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an audit is asked for. source: its spec; mixing_set: those of all sets; else what the bake says.

    recipe: the code of a recipe of one's own. against: a folder of test pictures to look for. full: every byte.
    sample: variants in the gallery. most: signals that can fail the bake, and how much of each is allowed.
    """

    source: str | None = None
    mixing_set: tuple[str, ...] = ()
    recipe: str | None = None
    against: Path | None = None
    full: bool = False
    sample: int = GALLERY
    seed: int = 0
    most: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 <= self.sample <= MOST:
            raise UsageError(f"--sample {self.sample}: a gallery shows 0 to {MOST:,} variants")
        if self.against is not None and not self.against.is_dir():
            raise UsageError(f"--against {self.against}: there is no such folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """A part of the audit that could not be done: which, and why.

    lacks: "source" or "mixing set", for want of which, or "" when damage is the reason.
    """

    part: str
    reason: str
    lacks: str

    @property
    def damage(self) -> bool:
        """Whether damage is the reason."""
        return not self.lacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an audit found. None stands for a part that is in `undone`.

    gallery: chosen by chance. close_ups: those that signals name, by key.
    """

    shards: str
    asked: Asked
    verified: Verified
    contents: Contents | None
    tests: tuple[Test, ...] | None
    signals: Signals | None
    gallery: tuple[Exhibit, ...]
    close_ups: dict[str, Exhibit]
    undone: tuple[Undone, ...]

    @property
    def exhibits(self) -> tuple[Exhibit, ...]:
        """All variants that were looked at one by one, each once."""
        return tuple({one.key: one for one in (*self.gallery, *self.close_ups.values())}.values())

    @property
    def replayed(self) -> int:
        """Variants that were made again."""
        return sum(one.replayed for one in self.exhibits)

    @property
    def unsound(self) -> tuple[Exhibit, ...]:
        """Variants that are damaged, or whose program does not make their picture."""
        return tuple(one for one in self.exhibits if not one.sound)

    @property
    def intact(self) -> bool:
        """Whether no damage was found anywhere."""
        return self.verified.intact and not self.unsound and not any(one.damage for one in self.undone)

    @property
    def failed_tests(self) -> tuple[Test, ...]:
        """The tests against the recipe that failed."""
        return tuple(test for test in self.tests or () if not test.passed)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why the bake does not pass, in words; nothing when it does."""
        found = []
        if not self.intact:
            causes = [str(fault) for fault in self.verified.faults]
            causes += [str(one.fault) for one in self.unsound]
            causes += [one.reason for one in self.undone if one.damage]
            found.append(f"integrity ({causes[0]}{f', and {len(causes) - 1:,} more' if len(causes) > 1 else ''})")
        if self.failed_tests:
            found.append(f"distribution ({', '.join(test.name for test in self.failed_tests)})")
        return (*found, *self.stands_out)

    @property
    def stands_out(self) -> tuple[str, ...]:
        """Those of the signals asked for that are above what is allowed, or could not be measured, in words."""
        found, most = {} if self.signals is None else self.signals.named, self.asked.most
        told = {name: "not measured" if name not in found else f"{found[name]:,.4g}" for name in most}
        return tuple(
            f"{name} ({word}; allowed {most[name]:g})"
            for name, word in told.items()
            if not found.get(name, math.inf) <= most[name]
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """What of source and mixing set was not at hand, each reason once."""
        return tuple(dict.fromkeys(reason for _, reason in self._lacking))

    @property
    def refused(self) -> tuple[str, ...]:
        """Why the source or mixing set that was asked for could not be used, each reason once."""
        asked = {"source": self.asked.source, "mixing set": self.asked.mixing_set}
        return tuple(dict.fromkeys(reason for what, reason in self._lacking if asked[what]))

    @property
    def _lacking(self) -> list[tuple[str, str]]:
        """What was not at hand, and why."""
        undone = [(one.lacks, one.reason) for one in self.undone if one.lacks]
        return undone + [(one.lacks, one.missing) for one in self.exhibits if one.lacks]

    def lines(self) -> tuple[str, ...]:
        """The result in a few lines for a terminal."""
        tests = (
            "not tested" if not self.tests else "FAILED" if self.failed_tests else f"{len(self.tests):,} tests passed"
        )
        signals, again = self.signals, f"{self.replayed:,} variants made again"
        standing = [] if signals is None else [f"{name} {value:,.4g}" for name, value in signals.named.items() if value]
        measured = "" if signals is None else f"on {signals.measured:,} of {signals.variants:,} variants"
        return (
            f"integrity: {'passed' if self.intact else 'FAILED'} ({self.verified.level}, {again})",
            f"distribution: {tests}",
            f"signals: {', '.join(standing) or 'nothing stands out'}, {measured}"
            if signals
            else "signals: not measured",
            *_short_of(signals),
            *(f"{one.part} not done: {one.reason}" for one in self.undone),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; pictures are left out."""
        asked = asdict(self.asked) | {"against": None if self.asked.against is None else str(self.asked.against)}
        document = {
            "shards": self.shards,
            "digest": self.verified.digest,
            "passed": not self.failures,
            "failures": self.failures,
            "intact": self.intact,
            "distribution": None if not self.tests else not self.failed_tests,
            "asked": asked,
            "verified": self.verified.to_json(),
            "contents": None if self.contents is None else self.contents.to_json(),
            "tests": None if self.tests is None else [asdict(test) for test in self.tests],
            "signals": None if self.signals is None else asdict(self.signals) | {"named": self.signals.named},
            "gallery": [one.key for one in self.gallery],
            "replayed": self.replayed,
            "unsound": [asdict(one.fault) for one in self.unsound],
            "undone": [asdict(one) | {"damage": one.damage} for one in self.undone],
            "missing": self.missing,
        }
        return {name: _finite(value) for name, value in document.items()}


def audit(shards: Path, asked: Asked, *, progress: Progress = lambda _what, _done, _total: None) -> Report:
    """Look into the bake in a folder, part after part. Damage is in the report, not raised.

    Raises UsageError when there is no finished bake, MixingDiffers before anything is done when the mixing set that was
    asked for is not the bake's, StorageError when a file cannot be read.
    """
    undone: list[Undone] = []

    def attempt(part: str, do: Callable[[], T]) -> T | None:
        try:
            return do()
        except (Damage, PlanDiffers) as error:
            lacks = "" if isinstance(error, Damage) else what_lacks(error)
            undone.append(Undone(part=part, reason=plain(error), lacks=lacks))
            return None

    audited = attempt("opening the bake", lambda: Audited(shards))
    show = None
    if audited is not None:
        show = _Showing(audited=audited, replayer=_replayer(audited, asked), progress=progress)
    verified = verify(shards, Checks(full=asked.full), progress=progress)
    contents = tests = signals = None
    gallery: tuple[Exhibit, ...] | None = None
    close_ups: dict[str, Exhibit] | None = None
    if show is not None:
        contents = attempt("contents", show.audited.info)
        tests = attempt(
            "distribution", lambda: run_tests(show.audited.catalog, recipe=show.replayer.recipe, progress=progress)
        )
        signals = attempt("signals", lambda: _signals(show.audited, asked, progress))
        gallery = attempt("gallery", lambda: show.rows(_chosen(show.audited, asked)))
        close_ups = attempt("close-ups", lambda: show.keys(_named(signals)))
    return Report(
        shards=str(shards),
        asked=asked,
        verified=verified,
        contents=contents,
        tests=tests,
        signals=signals,
        gallery=gallery or (),
        close_ups=close_ups or {},
        undone=tuple(undone),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Showing:
    """Makes exhibits of one bake."""

    audited: Audited
    replayer: Replayer
    progress: Progress

    def rows(self, rows: Rows, what: str = "variants made again") -> tuple[Exhibit, ...]:
        return exhibit(self.audited, self.replayer, rows, progress=lambda done, total: self.progress(what, done, total))

    def keys(self, keys: Sequence[str]) -> dict[str, Exhibit]:
        places = (self.replayer.find(key) for key in keys)
        rows = np.array([self.audited.catalog.find(*place) for place in places], np.int64)
        return {one.key: one for one in self.rows(rows, "variants of signals")}


def _replayer(audited: Audited, asked: Asked) -> Replayer:
    """What makes variants again. Raises MixingDiffers when the mixing set that was asked for is not the bake's."""
    replayer = Replayer(
        audited.bake, audited.path, source=asked.source, mixing_set=asked.mixing_set, recipe=asked.recipe
    )
    if asked.mixing_set:
        # Of damage, every part tells what it cannot do.
        with suppress(Damage):
            replayer.require_pictures()
    return replayer


def _signals(audited: Audited, asked: Asked, progress: Progress) -> Signals:
    return find_signals(audited.catalog, source=asked.source, against=asked.against, seed=asked.seed, progress=progress)


def _chosen(audited: Audited, asked: Asked) -> Rows:
    if not asked.sample:
        return np.zeros(0, np.int64)
    return choose(audited.catalog, audited.rows(), asked.sample, stratify=STRATA, seed=asked.seed)


def _named(signals: Signals | None) -> list[str]:
    """Keys of the variants that signals name, as many as a page shows."""
    if signals is None:
        return []
    alike = (key for group in signals.alike[:MOST_ALIKE] for key in group.keys[:OF_EACH])
    return list(dict.fromkeys([*(one.key for one in signals.worst), *alike]))


def _short_of(signals: Signals | None) -> Iterator[str]:
    """A line where leaks were looked for, and not in the source."""
    if signals is not None and signals.against is not None and signals.known != "source":
        yield f"leaks: {signals.leaked:,} found in what was measured, the source was not at hand: {signals.missing}"


def _finite(value: Any) -> Any:
    """JSON has no infinities: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
