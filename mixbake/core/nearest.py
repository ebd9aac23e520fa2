"""The known name that is most like one that is not known: what whoever slipped is told.

Rule: case does not matter, and nothing is guessed from: a name that is only like another stays refused.
"""

import difflib
from collections.abc import Iterable


def find_nearest(name: object, known: Iterable[str]) -> str | None:
    """The one of the known names that is most like this one, whatever its case; None if none is much like it."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def advise(name: object, known: Iterable[str]) -> str:
    """What to write instead: `did you mean all13? Else choose from ...`, or all names alone where none is like it."""
    names = tuple(known)
    choices = f"choose from {', '.join(names)}"
    nearest = find_nearest(name, names)
    return f"did you mean {nearest}? Else {choices}" if nearest else choices
