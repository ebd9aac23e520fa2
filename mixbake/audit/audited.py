"""A bake as Python sees it: rows by SQL, samples, pictures; made again, verified, compared.

Rule: what a method returns is pyarrow's or numpy's own; `.to_pandas()` of a Table is a data frame.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixbake.audit.catalog import COLUMNS, Catalog, Rows, check_columns
from mixbake.audit.choice import choose
from mixbake.audit.contents import Contents, look_into
from mixbake.audit.faults import plain
from mixbake.audit.query import SECONDS, find_rows
from mixbake.errors import UsageError
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf

if TYPE_CHECKING:
    from mixbake.audit.compare import Comparison
    from mixbake.audit.faults import Verified
    from mixbake.audit.replay import Replay, Replayer


class Audited:
    """A finished bake, open for questions; from `mixbake.audit.open`.

    bake: plan, digests, numbers of images. catalog: its rows; both may be used by several threads.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.bake = Bake.open(LocalShelf(self.path))
        self.catalog = Catalog(self.bake)
        self._replayers: dict[tuple[str | None, tuple[str, ...], str | None], Replayer] = {}

    def info(self) -> Contents:
        """What the bake holds, counted. Raises Damage naming an index that cannot be used."""
        return look_into(self.bake)

    def rows(self, where: str | None = None, *, seconds: float = SECONDS) -> Rows:
        """Numbers of the rows for which an SQL condition holds, int64[k], ascending; of all rows without one.

        where: one expression in DuckDB's SQL over the columns of the index and `blend`, the first of `blends`:
        comparisons, AND, OR, NOT, IN, LIKE, arithmetic, and the functions of `mixbake.audit.query.FUNCTIONS`.
        `offset` is a word of SQL: write "offset". Raises UsageError showing the columns for anything else, and
        after `seconds`; Damage naming an index that cannot be used.
        """
        if where is None:
            return np.arange(len(self.catalog), dtype=np.int64)
        return find_rows(self.catalog, where, seconds=seconds)

    def query(self, sql_where: str | None = None, columns: Sequence[str] = COLUMNS) -> Any:
        """A pyarrow Table of the variants for which the condition holds (see `rows`), in stored order.

        Raises UsageError for a column that there is not, and as `rows`.
        """
        check_columns(columns)
        return self.catalog.take(self.rows(sql_where), columns)

    def choose(self, n: int, where: str | None = None, stratify: Sequence[str] = (), seed: int = 0) -> Rows:
        """The rows of `sample`."""
        return choose(self.catalog, self.rows(where), n, stratify=stratify, seed=seed)

    def sample(self, n: int, where: str | None = None, stratify: Sequence[str] = (), seed: int = 0) -> Any:
        """At most n variants as a pyarrow Table of all columns: the same for the same seed, always.

        stratify: of "class", "layer", "op" and "blend" (the first of `blends`): each combination that occurs gives
        equally many, up to one, as long as it has them. Raises UsageError for anything else, and as `rows`.
        """
        return self.catalog.take(self.choose(n, where, stratify, seed), COLUMNS)

    def picture(self, key: str) -> NDArray[np.uint8]:
        """The stored picture of a variant, uint8 S×S×3, after its record was checked.

        key: as in `00000042-0003`, or `00000042-c0003` for a clean crop. Raises UsageError when the bake has no such
        variant, Damage naming shard and key when the record is not what it should be, StorageError.
        """
        from mixbake.audit.samples import read_records  # noqa: PLC0415 - brings decoders, which rows do without

        rows = np.array([self._row(key)], np.int64)
        return next(read_records(self.catalog, rows)).pixels

    def replay(
        self,
        key: str,
        source: str | None = None,
        mixing_set: str | Sequence[str] | None = None,
        recipe: str | None = None,
    ) -> "Replay":
        """A variant made again: `.equal`, `.stored`, `.rendered`, `.variant` and more, see `audit.replay.Replay`.

        key: as for `picture`. source: where its image is, by default where the build found it. mixing_set: pictures,
        of one set or several, to prepare anew instead of the bake's own. recipe: the code of a recipe of one's own,
        FILE.py:NAME. A difference is no error: see `.good` and `require_equal()`. Raises UsageError for an unknown key,
        PlanDiffers for another source, mixing set or code, Damage for what is no whole record.
        """
        from mixbake.audit.replay import Replayer  # noqa: PLC0415 - brings renderers, which rows do without

        sets = (mixing_set,) if isinstance(mixing_set, str) else tuple(mixing_set or ())
        given = source, sets, recipe
        if given not in self._replayers:
            self._replayers[given] = Replayer(self.bake, self.path, source=source, mixing_set=sets, recipe=recipe)
        replayer = self._replayers[given]
        return replayer.replay(*replayer.find(key))

    def verify(
        self,
        *,
        full: bool = False,
        decode: bool = False,
        replay: int = 0,
        source: str | None = None,
        recipe: str | None = None,
    ) -> "Verified":
        """What `mixbake verify` finds: `.intact`, `.faults`, ... of `audit.faults.Verified`; damage is not raised.

        full: every byte; decode: every picture, too; replay: variants to render again; source: images to compare.
        recipe: as for `replay`.
        """
        from mixbake.audit.verify import Checks, verify  # noqa: PLC0415 - as above

        return verify(self.path, Checks(full=full, decode=decode, replay=replay, source=source, recipe=recipe))

    def compare(self, other: "Audited", *, seed: int = 0) -> "Comparison":
        """In what this bake, a, and another one, b, differ: an `audit.compare.Comparison`. seed: of its sample."""
        from mixbake.audit.compare import compare  # noqa: PLC0415 - as above

        return compare(self.catalog, other.catalog, seed=seed)

    def _row(self, key: str) -> int:
        image, _, number = key.partition("-")
        view, number = ("clean", number[1:]) if number.startswith("c") else ("mix", number)
        if image.isdecimal() and number.isdecimal() and view in {view for view, _ in self.bake.plan.outputs(0, 0)}:
            position = int(np.searchsorted(self.bake.images, int(image)))
            there = position < len(self.bake.images) and int(self.bake.images[position]) == int(image)
            if there and int(number) < self.bake.numbers(view):
                row = self.catalog.find(view, int(number), position)
                if self.catalog.variants(np.array([row])).key(0) == key:
                    return row
        raise UsageError(f"{self.bake.shelf.name} has no variant {plain(key)!r:.60}: keys are as in 00000042-0003")
