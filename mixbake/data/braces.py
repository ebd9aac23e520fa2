"""Shard patterns -> files: shell braces (`{000..009}`, `{a,b}`) and globs, on local paths only.

Rule: every part of a pattern must name at least one file; a part that matches nothing is an error, not less data.
"""

import glob
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mixbake.errors import UsageError

MAX_SHARDS = 1_000_000

_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})", re.ASCII)
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|pipe:")


def expand_shards(pattern: str) -> list[Path]:
    """The files that `pattern` names, absolute, in the pattern's order (a glob's matches sorted).

    Raises UsageError on remote addresses and on parts that match no file.
    """
    if not pattern or "\0" in pattern:
        raise UsageError("wds: names no shards: write, for example, wds:dir/train-{000..009}.tar")
    if remote := _REMOTE.match(pattern):
        raise UsageError(f"{pattern!r} is remote ({remote[0]}): download the shards first, then give their local path")
    files = []
    for count, part in enumerate(expand_braces(pattern), start=1):
        if count > MAX_SHARDS:
            raise UsageError(f"{pattern!r} names more than {MAX_SHARDS} shards: correct the range")
        files += _files(part, pattern)
    return files


def expand_braces(pattern: str) -> Iterator[str]:
    """Every string that `pattern` stands for, as bash expands it: lists, zero-padded ranges, nested braces.

    Braces that hold neither a comma nor a range, or never close, are plain characters.
    """
    # One pending pattern a choice not yet taken: nothing recurses, and nothing is held but that.
    pending = [("", pattern)]
    while pending:
        done, rest = pending.pop()
        found = _first_braces(rest)
        if found is None:
            yield done + rest
            continue
        start, end, choices = found
        pending += [(done + rest[:start], choice + rest[end:]) for choice in reversed(choices)]


def _first_braces(text: str) -> tuple[int, int, list[str]] | None:
    """(start, end, choices) of the first braces that expand."""
    for opening in re.finditer(r"\{", text):
        start = opening.start()
        commas, depth = [start], 0
        for at in range(start, len(text)):
            depth += (text[at] == "{") - (text[at] == "}")
            if text[at] == "," and depth == 1:
                commas.append(at)
            if depth == 0:
                choices = _choices(text, [*commas, at])
                if choices:
                    return start, at + 1, choices
                break
    return None


def _choices(text: str, edges: list[int]) -> list[str]:
    """What stands between the edges, or the numbers of a range; empty where the braces do not expand."""
    items = [text[left + 1 : right] for left, right in itertools.pairwise(edges)]
    if len(items) > 1:
        return items
    numbers = _RANGE.fullmatch(items[0])
    if not numbers:
        return []
    first, last = numbers[1], numbers[2]
    padded = max(len(first), len(last)) if "0" in (first[0], last[0]) and max(len(first), len(last)) > 1 else 0
    step = 1 if int(last) >= int(first) else -1
    if abs(int(last) - int(first)) >= MAX_SHARDS:
        raise UsageError(f"{{{items[0]}}} names more than {MAX_SHARDS} shards: correct the range")
    return [f"{number:0{padded}d}" for number in range(int(first), int(last) + step, step)]


def _files(part: str, pattern: str) -> list[Path]:
    path = Path(os.path.normpath(Path(part).absolute()))
    if path.is_file():
        return [path]
    names = glob.glob(str(path)) if glob.has_magic(part) else []  # noqa: PTH207  Path.glob takes no absolute pattern
    found = [Path(name) for name in sorted(names) if Path(name).is_file()]
    if not found:
        raise UsageError(f"there is no tar {part!r}, named by {pattern!r}: check the path and the range")
    return found
