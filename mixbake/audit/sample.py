"""A sample of a bake, written out: a folder, a contact sheet, a WebDataset tar, or a table of keys.

    rows -> records, read by offset and checked -> written under a temporary name -> published whole
Rule: pictures are copied as they are stored, never encoded again; what is there already is never replaced.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mixbake.audit.catalog import Catalog, Rows
from mixbake.audit.faults import plain
from mixbake.audit.samples import Record, read_records
from mixbake.audit.sheets import Shown, draw_png, write_page
from mixbake.errors import UsageError
from mixbake.storage import tar
from mixbake.storage.store import publish_bytes, publishing, publishing_all, storage_error, temporary_path

METADATA = "metadata.jsonl"
TOGETHER = 128
"""Files written side by side, to wait for the disk together."""
TABLE = ("key", "class", "layer", "op", "blends", "levels", "source")
WIDEST = 40

Draw = Callable[..., bytes]


def write_sample(catalog: Catalog, rows: Rows, out: Path, *, title: Sequence[str], source: str | None = None) -> None:
    """Write the variants of some rows to `out`, whose ending says how: .png, .html, .tar, else a folder.

    title: two lines over a sheet. source: where the images are, to show crops beside variants of a bake without
    clean ones. Raises UsageError when `out` is there, Damage naming shard and key, PlanDiffers, StorageError.
    """
    if os.path.lexists(out):
        raise UsageError(f"{out} is there already: name something new, or delete it first")
    if not len(rows):
        raise UsageError("no variant was chosen, there is nothing to write: loosen the condition")
    kind = out.suffix.lower()
    if kind[1:].isalpha() and kind not in (".tar", *SHEETS):
        known = ", ".join((".tar", *SHEETS))
        raise UsageError(f"{out}: a sample's file ends in {known}; a folder's name has no ending such as {kind}")
    if source is not None and kind not in SHEETS:
        raise UsageError(f"--source is for the crops on a sheet: name a file ending in {' or '.join(SHEETS)}")
    if kind == ".tar":
        _write_tar(catalog, rows, out)
    elif kind in SHEETS:
        from mixbake.audit.crops import find_crops  # noqa: PLC0415 - brings the renderer, and that its compiler

        records = list(read_records(catalog, rows))
        crops = find_crops(catalog, records, source)
        shown = [Shown(record=record, crop=crops.get(record.key)) for record in records]
        publish_bytes(out, SHEETS[kind](title, shown, size=catalog.bake.plan.size))
    else:
        _write_folder(catalog, rows, out)


SHEETS: dict[str, Draw] = {".png": draw_png, ".html": write_page}
"""By ending."""


def spell_table(catalog: Catalog, rows: Rows) -> str:
    """The variants of some rows as a table for a terminal, a line each; no picture is read."""
    cells = [list(TABLE), *([_cell(row[name]) for name in TABLE] for row in catalog.checked(rows, TABLE).to_pylist())]
    widths = [max(len(line[i]) for line in cells) for i in range(len(TABLE))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(f"{part:.3g}" if isinstance(part, float) else plain(part) for part in value) or "-"
    text = plain(value)
    return text if len(text) <= WIDEST else "…" + text[1 - WIDEST :]


def _write_tar(catalog: Catalog, rows: Rows, out: Path) -> None:
    """Records to the byte as the bake has them."""
    with publishing(out) as writer:
        for record in read_records(catalog, rows):
            writer.write(record.stored)
        writer.write(tar.END)


def _write_folder(catalog: Catalog, rows: Rows, out: Path) -> None:
    """KEY.png, .jpg, .webp or .npy, and a line a picture in metadata.jsonl; the folder appears whole."""
    folder, lines = temporary_path(out), []
    try:
        folder.mkdir()
    except OSError as error:
        raise storage_error("create", out, error) from error
    try:
        stored = read_records(catalog, rows)
        while records := list(islice(stored, TOGETHER)):
            with publishing_all([folder / _file_name(record) for record in records]) as writers:
                for writer, record in zip(writers, records, strict=True):
                    writer.write(record.picture)
                    lines.append(json.dumps({"file_name": _file_name(record), **record.row}) + "\n")
        publish_bytes(folder / METADATA, "".join(lines).encode())
        try:
            folder.rename(out)
        except OSError as error:
            raise storage_error("publish", out, error) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _file_name(record: Record) -> str:
    return f"{record.key}.{record.extension}"
