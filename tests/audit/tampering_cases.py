"""The tampering table: what is done to a bake, and where and how it must be named."""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

from small import edit, flip_bit
from tampering import (
    INDEX,
    OTHER,
    RECEIPT,
    SHARD,
    Damaging,
    add_pickle,
    at,
    cut,
    forged,
    hostile_name,
    huge,
    images_forged,
    json_forged,
    labels_plus_one,
    linked,
    lose,
    member,
    members_forged,
    mixing,
    other_label,
    pickle_for_picture,
    receipt_forged,
    rows_forged,
    sizes_forged,
    swap_json,
    text_forged,
    twice,
    with_value,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A tampering: of which bakes, what is done, in which file it must be named, whether with ROW's key, and how.

    quick: whether sizes and promises alone tell.
    """

    change: Damaging
    file: str
    says: str
    keyed: bool = False
    quick: bool = False
    kinds: tuple[str, ...] = ("fixed", "jpeg")


def copy_over(one: str, two: str) -> Damaging:
    return lambda out: shutil.copyfile(out / one, out / two)


FIXED, ENCODED = ("fixed",), ("jpeg",)
CASES: dict[str, Case] = {
    "a pixel": Case(change=at(100), file=SHARD, says="broken", keyed=True, kinds=FIXED),
    "a byte of a JPEG": Case(change=at(500), file=SHARD, says="SHA-256", kinds=ENCODED),
    "a name": Case(change=at(-512 + 11), file=SHARD, says="names '", keyed=True),
    "a header's size": Case(change=at(-512 + 133), file=SHARD, says="bytes|not the one", keyed=True),
    "a header's mode": Case(change=at(-512 + 102), file=SHARD, says="not the one that mixbake writes", keyed=True),
    "a header's checksum": Case(change=at(-512 + 150), file=SHARD, says="not the one", keyed=True),
    "an index": Case(change=lambda out: flip_bit(out / INDEX, 900), file=INDEX, says="SHA-256"),
    "a receipt": Case(change=lambda out: flip_bit(out / RECEIPT, 40), file=RECEIPT, says="SHA-256", quick=True),
    "bake.json": Case(change=lambda out: flip_bit(out / "bake.json", 5), file="bake.json", says="field", quick=True),
    "a digest in bake.json": Case(
        change=lambda out: edit(out / "bake.json", lambda one: one["receipts"].update({Path(RECEIPT).stem: "0" * 64})),
        file=RECEIPT, says="SHA-256", quick=True,
    ),
    "a count in bake.json": Case(
        change=lambda out: edit(out / "bake.json", lambda one: one.update(samples=7)),
        file="bake.json", says="samples 7", quick=True,
    ),
    "deep bake.json": Case(
        change=lambda out: (out / "bake.json").write_bytes(b"[" * 100_000), file="bake.json", says="", quick=True
    ),
    "the manifest": Case(
        change=lambda out: flip_bit(out / "manifest.json", 90), file="manifest.json", says="SHA-256", quick=True
    ),
    "images.parquet": Case(
        change=lambda out: flip_bit(out / "images.parquet", 90), file="images.parquet", says="SHA-256", quick=True
    ),
    "a mixing picture": Case(change=lambda out: flip_bit(mixing(out), -9), file="mixing/", says="pixels"),
    "the mixing file's header": Case(
        change=lambda out: flip_bit(mixing(out), 90), file="mixing/", says="header", quick=True
    ),
    "no mixing file": Case(change=lambda out: mixing(out).unlink(), file="mixing/", says="missing", quick=True),
    "lengths": Case(
        change=lambda out: flip_bit(out / "sizes/mix-v000.npy", 140), file="sizes/", says="altered", kinds=ENCODED
    ),
    "a shard lost": Case(change=lambda out: (out / SHARD).unlink(), file=SHARD, says="missing", quick=True),
    "a shard cut": Case(change=cut, file=SHARD, says="bytes and should have", quick=True),
    "a shard doubled": Case(change=copy_over(OTHER, SHARD), file=SHARD, says="names '"),
    "a shard a folder": Case(
        change=lambda out: ((out / SHARD).unlink(), (out / SHARD).mkdir()), file=SHARD, says="no file", quick=True
    ),
    "an index lost": Case(change=lambda out: (out / INDEX).unlink(), file=INDEX, says="missing", quick=True),
    "a receipt lost": Case(change=lambda out: (out / RECEIPT).unlink(), file=RECEIPT, says="missing", quick=True),
    "forged: a shard doubled": Case(change=forged(copy_over(OTHER, SHARD)), file=SHARD, says="names '"),
    "forged: JSON swapped": Case(change=members_forged(swap_json), file=SHARD, says="JSON is that of", keyed=True),
    "forged: label": Case(change=members_forged(other_label), file=SHARD, says=".cls says", keyed=True),
    "forged: label in JSON": Case(
        change=json_forged(lambda one: one.update(label=one["label"] + 1)), file=SHARD, says="JSON says label",
        keyed=True
    ),
    "forged: level": Case(
        change=json_forged(lambda one: one["levels"].append(0.5)), file=SHARD, says="JSON says levels", keyed=True
    ),
    "forged: steps": Case(
        change=json_forged(lambda one: one["steps"].clear()), file=SHARD, says="JSON says steps", keyed=True
    ),
    "forged: source": Case(
        change=json_forged(lambda one: one.update(source="ash/../../x")), file=SHARD, says="JSON says source",
        keyed=True
    ),
    "forged: JSON lacks a field": Case(
        change=json_forged(lambda one: one.pop("flip")), file=SHARD, says="schema: it lacks 'flip'", keyed=True
    ),
    "forged: JSON has a field": Case(
        change=json_forged(lambda one: one.update(run="rm -rf /")), file=SHARD, says="schema: it has 'run'", keyed=True
    ),
    "forged: true for a number": Case(
        change=json_forged(lambda one: one.update(label=True)), file=SHARD, says="schema: it.label", keyed=True
    ),
    "forged: deep JSON": Case(change=text_forged(b"[" * 4096), file=SHARD, says="cannot be read", keyed=True),
    "forged: list": Case(change=text_forged(b"[]"), file=SHARD, says="schema: it is no object", keyed=True),
    "forged: NaN": Case(change=text_forged(b'{"image":NaN}'), file=SHARD, says="cannot be read", keyed=True),
    "forged: a huge number": Case(change=text_forged(b"9" * 4096), file=SHARD, says="JSON", keyed=True),
    "forged: a sample lost": Case(change=members_forged(lose), file=SHARD, says="names '", keyed=True),
    "forged: a sample twice": Case(change=members_forged(twice), file=SHARD, says="JSON is that of"),
    "forged: hostile name": Case(change=members_forged(hostile_name), file=SHARD, says=r"escaped", keyed=True),
    "forged: a link": Case(change=forged(linked), file=SHARD, says="is a link", keyed=True),
    "forged: a pickle added": Case(change=members_forged(add_pickle), file=SHARD, says="does not end where"),
    "forged: huge member": Case(change=members_forged(huge), file=SHARD, says="", keyed=True),
    "forged: row's label": Case(
        change=rows_forged(with_value("label", lambda label: label + 1)), file=INDEX, says="row says label", keyed=True
    ),
    "forged: row's level": Case(
        change=rows_forged(with_value("levels", lambda levels: [*levels, 0.25])), file=INDEX, says="row says levels",
        keyed=True,
    ),
    "forged: row's steps": Case(
        change=rows_forged(with_value("steps", lambda steps: steps.replace("src", "sRc"))), file=INDEX,
        says="row says steps", keyed=True,
    ),
    "forged: row's offset": Case(
        change=rows_forged(with_value("offset", lambda offset: offset + 512)), file=INDEX, says="row says offset",
        keyed=True,
    ),
    "forged: row's key": Case(
        change=rows_forged(with_value("key", lambda _key: "00000000-0000")), file=INDEX, says="row says key", keyed=True
    ),
    "forged: a row less": Case(change=rows_forged(lambda table: table.slice(1)), file=INDEX, says="rows"),
    "forged: columns": Case(change=rows_forged(lambda table: table.drop_columns(["op"])), file=INDEX, says="columns"),
    "forged: lengths": Case(change=sizes_forged, file="sizes/", says="lengths of block 0", kinds=ENCODED),
    "forged: labels of all": Case(
        change=images_forged(labels_plus_one), file="images.parquet", says="source digest", quick=True
    ),
    "forged: an image less": Case(
        change=images_forged(lambda table: table.slice(1)), file="images.parquet", says="rows", quick=True
    ),
    "forged: receipt's range": Case(
        change=receipt_forged(lambda one: one.update(last=10**15)), file=RECEIPT, says="another", quick=True
    ),
    "forged: receipt's samples": Case(
        change=receipt_forged(lambda one: one["shards"][0].update(samples=7)), file=RECEIPT, says="sample", quick=True
    ),
    "forged: member length": Case(
        change=forged(
            lambda out: edit(out / "manifest.json", lambda one: one["plan"].update(member_bytes=16))
        ),
        file="manifest.json", says="JSON members have 16",
    ),
    "forged: a recipe of code": Case(
        change=forged(
            lambda out: edit(out / "manifest.json", lambda one: one["plan"]["recipe"].update(name="os.system"))
        ),
        file="manifest.json", says="recipe",
    ),
    "forged: severity": Case(
        change=forged(lambda out: edit(out / "manifest.json", lambda one: one["plan"]["recipe"].update(severity=3))),
        file=SHARD, says="JSON says",
    ),
}  # fmt: skip
"""What anybody may find in a bake that lay around, and what anybody may have made of one."""

DECODED: dict[str, Case] = {
    "forged: a pickle for a picture": Case(change=members_forged(pickle_for_picture), file=SHARD, says="", keyed=True),
    "forged: a pixel": Case(change=forged(at(100)), file=SHARD, says="broken", keyed=True, kinds=FIXED),
    "forged: another size": Case(
        change=members_forged(
            lambda out, members: members | {member(out, "picture"): _jpeg(81)}
        ),
        file=SHARD, says="decoded", keyed=True, kinds=ENCODED,
    ),
}  # fmt: skip
"""What only `--decode` finds."""


def _jpeg(side: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "JPEG")
    return buffer.getvalue()
