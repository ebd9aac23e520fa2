"""Forged bakes: a stranger may have written bake.json and all that it names, and gets no further than a refusal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small import edit, promises, sign

from mixbake.errors import Damage, PlanDiffers
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf

RECEIPT = "receipts/000000-v000-001.json"
OPEN_IN_LITTLE_MEMORY = """
import os, resource, sys
from pathlib import Path
from mixbake.errors import Damage
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30),) * 2)
try:
    Bake.open(LocalShelf(Path(sys.argv[1])))
except Damage as error:
    print(error, flush=True)
# At an orderly end Arrow's threads may find no memory to end in.
os._exit(0)
"""


def opened(out: Path) -> Bake:
    return Bake.open(LocalShelf(out))


def forge(out: Path, name: str, change: Callable[[Any], object]) -> None:
    """Change a JSON file and make bake.json name what it is now."""
    edit(out / name, change)
    edit(out / "bake.json", lambda document: document.update(promises(out)))


class TestForged:
    @pytest.mark.parametrize(
        "change",
        [
            lambda receipt: receipt.pop("shards"),
            lambda receipt: receipt.pop("index_bytes"),
            lambda receipt: receipt.update(block=1),
            lambda receipt: receipt.update(block=-1),
            lambda receipt: receipt.update(block=10**30),
            lambda receipt: receipt.update(block="zero"),
            lambda receipt: receipt.update(block=None),
            lambda receipt: receipt.update(first=1),
            lambda receipt: receipt.update(last=0),
            lambda receipt: receipt.update(last=10**15),
            lambda receipt: receipt.update(shards=[]),
            lambda receipt: receipt.update(shards=None),
            lambda receipt: receipt.update(shards={"view": "mix"}),
            lambda receipt: receipt["shards"].pop(),
            lambda receipt: receipt["shards"].reverse(),
            lambda receipt: receipt["shards"][0].update(bytes="many"),
            lambda receipt: receipt["shards"][0].update(bytes=10**30),
            lambda receipt: receipt["shards"][0].update(samples=7),
            lambda receipt: receipt["shards"][0].update(view="../mix"),
            lambda receipt: receipt["shards"][0].update(number=99),
            lambda receipt: receipt["shards"][0].pop("sha256"),
            lambda receipt: receipt.update(plan="0" * 64),
        ],
    )
    def test_receipts(self, own: Path, change: Callable[[Any], object]) -> None:
        forge(own, RECEIPT, change)
        with pytest.raises(Damage, match=RECEIPT):
            opened(own)

    def test_a_receipt_of_more_than_memory_holds(self, own: Path, python: Callable[..., Any]) -> None:
        name = "000000-v000-999999999999"
        (own / RECEIPT).rename(own / f"receipts/{name}.json")
        forge(own, f"receipts/{name}.json", lambda receipt: receipt.update(last=999_999_999_999))
        done = python(OPEN_IN_LITTLE_MEMORY, own)
        assert done.code == 0, done.err
        assert name in done.out

    @pytest.mark.parametrize("text", [b"[]", b"7", b"null", b"{}", b"[" * 100_000, b"\xff", b'{"block": 1e999}'])
    def test_receipts_that_are_none(self, own: Path, text: bytes) -> None:
        (own / RECEIPT).write_bytes(text)
        edit(own / "bake.json", lambda document: document.update(promises(own)))
        with pytest.raises(Damage, match=RECEIPT):
            opened(own)

    @pytest.mark.parametrize(
        "change",
        [
            lambda document: document.pop("plan"),
            lambda document: document.update(plan=7),
            lambda document: document.update(plan=[[1, 2]]),
            lambda document: document["plan"].pop("size"),
        ],
    )
    def test_plans(self, own: Path, change: Callable[[Any], object]) -> None:
        edit(own / "manifest.json", change)
        sign(own)
        with pytest.raises((Damage, PlanDiffers)):
            opened(own)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("classes", None),
            ("size", "16"),
            ("size", -16),
            ("size", 10**9),
            ("codec", "gif"),
            ("codec", ["png"]),
            ("views", "both"),
            ("images", 10**15),
            ("images", "450"),
            ("baked", 10**15),
            ("baked", -1),
            ("block_images", 0),
            ("block_images", None),
            ("member_bytes", "x"),
        ],
    )
    def test_plans_of_odd_values(self, own: Path, field: str, value: Any) -> None:
        edit(own / "manifest.json", lambda document: document["plan"].update({field: value}))
        sign(own)
        with pytest.raises((Damage, PlanDiffers)):
            opened(own)

    @pytest.mark.parametrize(
        "change",
        ids=["no labels", "one less", "reversed", "twice", "names", "nulls", "too high", "negative", "text", "empty"],
        argvalues=[
            lambda table: table.drop_columns(["label"]),
            lambda table: table.slice(0, 449),
            lambda table: table.take(pa.array(np.arange(450)[::-1])),
            lambda table: pa.concat_tables([table, table]),
            lambda table: table.set_column(1, "label", pa.array(["ash"] * 450)),
            lambda table: table.set_column(1, "label", pa.array([None] * 450, pa.int32())),
            lambda table: table.set_column(1, "label", pa.array([3] * 450, pa.int32())),
            lambda table: table.set_column(1, "label", pa.array([-1] * 450, pa.int32())),
            lambda table: table.set_column(0, "number", pa.array([f"image {i}" for i in range(450)])),
            lambda table: table.slice(0, 0),
        ],
    )
    def test_tables_of_images(self, own: Path, change: Callable[[Any], Any]) -> None:
        pq.write_table(change(pq.read_table(own / "images.parquet")), own / "images.parquet")
        edit(own / "bake.json", lambda document: document.update(promises(own)))
        with pytest.raises(Damage, match=r"images\.parquet"):
            opened(own)

    @pytest.mark.parametrize("start", [0, 4, -8, 200])
    def test_tables_that_are_none(self, own: Path, start: int) -> None:
        data = bytearray((own / "images.parquet").read_bytes())
        data[start : start + 8 if start != -8 else None] = b"\xff" * 8
        (own / "images.parquet").write_bytes(bytes(data))
        edit(own / "bake.json", lambda document: document.update(promises(own)))
        with pytest.raises(Damage, match=r"images\.parquet"):
            opened(own)

    def test_a_forgery_that_is_right_is_a_bake(self, own: Path) -> None:
        """What is refused above is what was changed, not that it was written anew."""
        edit(own / "manifest.json", lambda _document: None)
        pq.write_table(pq.read_table(own / "images.parquet"), own / "images.parquet")
        sign(own)
        assert len(opened(own).images) == 450
