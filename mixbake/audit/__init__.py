"""What is in a bake, whether it is intact, and how each variant was made.

In Python: `bake = mixbake.audit.open(path)`, then `bake.query("layer = 3 AND op = 'rotate'", ["key", "class"])`,
`bake.sample(64, stratify=["class"])`, `bake.picture("00000042-0003")`; see `mixbake.audit.audited`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixbake.audit.audited import Audited

__all__ = ["open"]


def open(path: str | Path) -> "Audited":  # noqa: A001 - read as audit.open, like gzip.open
    """Open the finished bake in a folder. Raises UsageError when there is none, Damage naming what is not whole."""
    from mixbake.audit.audited import Audited  # noqa: PLC0415 - the parts of this package need not wait for each other

    return Audited(path)
