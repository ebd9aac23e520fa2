"""Receipts: what is written is read back, and what is damaged is named in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixbake.errors import Damage
from mixbake.storage.receipt import Receipt, ShardReceipt, Skip

RECEIPT = Receipt(
    plan="ab" * 32,
    block=3,
    first=0,
    last=1,
    images=5,
    shards=(ShardReceipt(view="mix", number=0, sha256="cd" * 32, bytes=4096, samples=4),),
    index_sha256="ef" * 32,
    index_bytes=700,
    skips=(Skip(image=8, source="a/8.png", reason="empty file", sha256="01" * 32),),
    environment={"numpy": "2.0"},
)


def test_a_receipt_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert Receipt.from_json(RECEIPT.to_json(), tmp_path / "r.json") == RECEIPT


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda stored: stored.pop("last"), "the receipt: the field 'last' is missing"),
        (lambda stored: stored.update(colour=1), "the receipt: the field 'colour' is unknown"),
        (lambda stored: stored.update(block="3"), "the receipt: the field 'block' is not a whole number"),
        (lambda stored: stored.update(block=True), "the receipt: the field 'block' is not a whole number"),
        (lambda stored: stored.update(first=0.5), "the receipt: the field 'first' is not a whole number"),
        (lambda stored: stored.update(plan=None), "the receipt: the field 'plan' is not text"),
        (lambda stored: stored.update(shards={}), "the receipt: the field 'shards' is not a list"),
        (lambda stored: stored.update(environment=[]), "the receipt: the field 'environment' is not an object"),
        (lambda stored: stored["shards"][0].pop("bytes"), "shard 0: the field 'bytes' is missing"),
        (lambda stored: stored["skips"][0].update(image="8"), "skip 0: the field 'image' is not a whole number"),
        (lambda stored: stored["skips"].append(7), "skip 1 is not a JSON object"),
    ],
)
def test_what_is_wrong_is_said_in_words(tmp_path: Path, damage: Callable[[dict[str, Any]], object], said: str) -> None:
    stored = json.loads(RECEIPT.to_json())
    damage(stored)
    with pytest.raises(Damage) as caught:
        Receipt.from_json(json.dumps(stored).encode(), tmp_path / "r.json")
    message = str(caught.value)
    assert f"({said})" in message
    assert str(tmp_path / "r.json") in message
    assert "__init__" not in message


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[]", b"7", b"null"])
def test_what_is_no_object_is_no_receipt(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(Damage, match=r"r\.json is no receipt \((it is not JSON|the receipt is not a JSON object)"):
        Receipt.from_json(text, tmp_path / "r.json")
