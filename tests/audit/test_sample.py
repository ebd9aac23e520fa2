"""Promises of `mixbake sample`: who is chosen, that pictures are the stored ones, and what damage and names do."""

import base64
import html.parser
import io
import json
import re
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from small import bake, copied, flip_bit, pixels, sign, stored

import mixbake.audit
from mixbake.audit.choice import STRATA
from mixbake.bake.sheet import cell_side
from mixbake.errors import Damage, UsageError


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, many_images: Path, picture_folder: Path) -> Path:
    """450 images in two blocks, two epochs' worth, at 16 px."""
    out = tmp_path_factory.mktemp("sample") / "out"
    bake(many_images, out, picture_folder, epochs_worth=2)
    return out


def key(place: tuple[str, int, int]) -> str:
    view, number, image = place
    return f"{image:08d}-{'c' if view == 'clean' else ''}{number:04d}"


def shown(picture: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


# ── who is chosen ─────────────────────────────────────────────────────────────────────────────────


def test_the_same_seed_chooses_the_same_and_another_others(out: Path) -> None:
    keys = [mixbake.audit.open(out).sample(50, seed=seed)["key"].to_pylist() for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0] == sorted(set(keys[0]))
    # Fixed for ever: what was published as a sample stays that sample.
    assert mixbake.audit.open(out).sample(3, seed=5)["key"].to_pylist() == PINNED


PINNED = ["00000067-0001", "00000375-0000", "00000389-0000"]


def test_a_condition_thins_the_order_and_does_not_change_it(out: Path) -> None:
    audited = mixbake.audit.open(out)
    few = set(audited.sample(20, where="layer = 2", seed=3)["key"].to_pylist())
    among = audited.sample(200, seed=3)
    second = among.filter(pc.equal(among["layer"], 2))["key"].to_pylist()
    assert len(second) > 20
    assert few < set(second)


def test_every_variant_is_as_likely_as_any_other(out: Path) -> None:
    audited, drawn = mixbake.audit.open(out), Counter[int]()
    for seed in range(200):
        drawn.update(audited.choose(90, seed=seed).tolist())
    counts = np.array([drawn[row] for row in range(900)])
    assert counts.sum() == 200 * 90
    # Without repeats within a sample a count varies less than a Poisson one: by the share that is left out.
    spread = ((counts - 20) ** 2 / (20 * 0.9)).sum()
    assert 1e-4 < stats.chi2.sf(spread, 899) < 1 - 1e-4
    for half in (counts[:450], counts[::2]):
        assert abs(half.sum() - 9000) < 4 * np.sqrt(18000 * 0.25)


@pytest.mark.parametrize("stratify", [["layer"], ["class", "layer"], ["blend", "op"], list(STRATA)])
def test_strata_are_equal_but_for_one(out: Path, stratify: list[str]) -> None:
    audited = mixbake.audit.open(out)
    there = Counter(zip(*(audited.query()[name].to_pylist() for name in stratify), strict=True))
    for n in (1, 10, 97, 500, 900):
        table = audited.sample(n, stratify=stratify, seed=2)
        taken = Counter(zip(*(table[name].to_pylist() for name in stratify), strict=True))
        assert len(set(table["key"].to_pylist())) == taken.total() == n
        most = max(taken.values())
        assert all(taken[group] >= min(most - 1, count) for group, count in there.items())


def test_more_than_there_are_gives_all(out: Path) -> None:
    assert len(mixbake.audit.open(out).sample(10_000)) == 900


@pytest.mark.parametrize("ask", [{"n": 0}, {"n": -1}, {"n": 3, "stratify": ["source"]}])
def test_nonsense_is_refused(out: Path, ask: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        mixbake.audit.open(out).sample(**ask)


# ── what is written ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("codec", ["png", "jpeg", "webp", "raw"])
def test_pictures_of_a_folder_are_the_stored_ones(
    command: Any, tmp_path: Path, image_folder: Path, picture_folder: Path, codec: str
) -> None:
    bake(image_folder, tmp_path / "own", picture_folder, size=72, codec=codec, limit=12, views="clean")
    done = command("sample", tmp_path / "own", "-n", 9, "-o", tmp_path / "some")
    assert done.code == 0, done.err
    samples = {key(place): members for place, members in stored(tmp_path / "own").items()}
    lines = [json.loads(line) for line in (tmp_path / "some" / "metadata.jsonl").read_text().splitlines()]
    assert len(lines) == 9
    assert {path.name for path in (tmp_path / "some").iterdir()} == {
        "metadata.jsonl",
        *(line["file_name"] for line in lines),
    }
    for line in lines:
        name, _, extension = line["file_name"].partition(".")
        assert (tmp_path / "some" / line["file_name"]).read_bytes() == samples[name][extension]
        text = json.loads(samples[name]["json"])
        assert line["key"] == name
        assert {part: line[part] for part in ("class", "levels", "ops", "layer")} == {
            part: text[part] for part in ("class", "levels", "ops", "layer")
        }
        assert json.loads(line["steps"]) == text["steps"]
        assert line == {"file_name": line["file_name"]} | row_of(tmp_path / "own", name)


def row_of(out: Path, name: str) -> dict[str, Any]:
    """The whole row of a key, as the index has it."""
    [row] = mixbake.audit.open(out).query(f"key = '{name}'").drop_columns(["blend"]).to_pylist()
    return dict(row)


def test_a_tar_is_what_webdataset_reads(command: Any, tmp_path: Path, jsd_bake: Path) -> None:
    done = command("sample", jsd_bake, "-n", 11, "--where", "layer = 3", "-o", tmp_path / "some.tar")
    assert done.code == 0, done.err
    samples = {key(place): members for place, members in stored(jsd_bake).items()}
    with tarfile.open(tmp_path / "some.tar", "r:") as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]  # files
    keys = {name.partition(".")[0] for name in members}
    assert len(keys) == 11
    assert members == {f"{name}.{kind}": data for name in keys for kind, data in samples[name].items()}
    assert all(json.loads(samples[name]["json"])["layer"] == 3 for name in keys)


def test_a_png_sheet_shows_crop_and_variant(command: Any, tmp_path: Path, jsd_bake: Path) -> None:
    done = command("sample", jsd_bake, "-n", 6, "--where", "view = 'mix'", "-o", tmp_path / "grid.png")
    assert done.code == 0, done.err
    sheet, samples = shown((tmp_path / "grid.png").read_bytes()), stored(jsd_bake)
    for row in sampled(jsd_bake, 6, "view = 'mix'"):
        for place in (("mix", row["number"], row["image"]), ("clean", row["number"] // 2, row["image"])):
            picture = pixels(samples[place])
            assert holds(sheet, picture.repeat(cell_side(32) // 32, 0).repeat(cell_side(32) // 32, 1)), place


def sampled(out: Path, n: int, where: str | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = mixbake.audit.open(out).sample(n, where).to_pylist()
    return rows


def holds(sheet: NDArray[np.uint8], patch: NDArray[np.uint8]) -> bool:
    """Whether a patch is somewhere in a sheet, every pixel of it."""
    first, height, width = patch[0].tobytes(), *patch.shape[:2]
    for top in range(len(sheet) - height + 1):
        start = sheet[top].tobytes().find(first)
        while start >= 0:
            left = start // 3
            if start % 3 == 0 and np.array_equal(sheet[top : top + height, left : left + width], patch):
                return True
            start = sheet[top].tobytes().find(first, start + 1)
    return False


@dataclass
class Page(html.parser.HTMLParser):
    """What a browser would find: tags, images by alternative text, text."""

    tags: Counter[str] = field(default_factory=Counter)
    images: list[tuple[str, str]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        given = dict(attrs)
        assert not any(name.startswith("on") for name in given)
        if tag == "img":
            self.images.append((given["alt"] or "", given["src"] or ""))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read_page(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text("utf-8"))
    return page


@pytest.mark.parametrize("with_source", [False, True])
def test_a_page_shows_the_stored_pictures_and_the_crops_of_the_source(
    command: Any, tmp_path: Path, out: Path, many_images: Path, with_source: bool
) -> None:
    flags = ["--source", many_images] if with_source else []
    done = command("sample", out, "-n", 5, "-o", tmp_path / "sheet.html", *flags)
    assert done.code == 0, done.err
    page, samples = read_page(tmp_path / "sheet.html"), stored(out)
    variants = [(alt, source) for alt, source in page.images if alt != "crop"]
    assert len(page.images) - len(variants) == 5 * with_source
    for row, (alt, source) in zip(sampled(out, 5), variants, strict=True):
        kind, _, data = source.partition(",")
        assert (alt, kind) == (row["key"], "data:image/png;base64")
        assert base64.b64decode(data) == samples["mix", row["number"], row["image"]]["png"]
    # Nothing is loaded from anywhere.
    assert not re.search(r"https?:|src=\"(?!data:)|url\(|@import", (tmp_path / "sheet.html").read_text())


def test_crops_cut_from_the_source_are_those_of_the_bake(
    command: Any, tmp_path: Path, image_folder: Path, picture_folder: Path
) -> None:
    settings: dict[str, Any] = {"size": 24, "crop": "resized"}
    bake(image_folder, tmp_path / "mix", picture_folder, **settings)
    bake(image_folder, tmp_path / "both", picture_folder, views="clean", **settings)
    done = command("sample", tmp_path / "mix", "-n", 8, "-o", tmp_path / "sheet.html", "--source", image_folder)
    assert done.code == 0, done.err
    crops = [source for alt, source in read_page(tmp_path / "sheet.html").images if alt == "crop"]
    clean = stored(tmp_path / "both")
    for row, crop in zip(sampled(tmp_path / "mix", 8), crops, strict=True):
        expected = pixels(clean["clean", 0, row["image"]])
        assert np.array_equal(shown(base64.b64decode(crop.partition(",")[2])), expected)


def test_a_source_that_changed_is_refused(command: Any, tmp_path: Path, own_images: Path, picture_folder: Path) -> None:
    bake(own_images, tmp_path / "out", picture_folder)
    for path in own_images.rglob("*.png"):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    done = command("sample", tmp_path / "out", "-o", tmp_path / "sheet.png", "--source", own_images)
    assert (done.code, (tmp_path / "sheet.png").exists()) == (5, False)
    assert "is not the image that was baked" in done.err


def test_without_an_output_a_table_is_shown(command: Any, out: Path) -> None:
    done = command("sample", out, "-n", 4, "--stratify", "layer, op", "--seed", 9)
    assert done.code == 0, done.err
    head, *lines = done.out.splitlines()
    assert head.split() == ["key", "class", "layer", "op", "blends", "levels", "source"]
    expected = mixbake.audit.open(out).sample(4, stratify=["layer", "op"], seed=9)["key"].to_pylist()
    assert [line.split()[0] for line in lines] == expected


@pytest.mark.parametrize("name", ["folder", "grid.png", "sheet.html", "some.tar"])
def test_nothing_is_ever_replaced_or_half_written(command: Any, tmp_path: Path, out: Path, name: str) -> None:
    (tmp_path / name).mkdir() if name == "folder" else (tmp_path / name).write_text("mine")
    done = command("sample", out, "-n", 3, "-o", tmp_path / name)
    assert done.code == 2
    assert "is there already" in done.err
    assert [path.name for path in tmp_path.rglob("*")] == [name]
    assert name == "folder" or (tmp_path / name).read_text() == "mine"
    own = copied(out, tmp_path / "own")
    for path in own.glob("mix/*/*.tar"):
        flip_bit(path, path.stat().st_size // 2)
        path.write_bytes(path.read_bytes()[:512] + bytes(path.stat().st_size - 512))
    done = command("sample", own, "-n", 400, "-o", tmp_path / f"new-{name}")
    assert done.code == 6
    assert {path.name for path in tmp_path.iterdir()} == {name, "own"}


def test_nothing_found_writes_nothing(command: Any, tmp_path: Path, out: Path) -> None:
    done = command("sample", out, "--where", "layer = 9", "-o", tmp_path / "some")
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert "no variant was chosen" in done.err


@pytest.mark.parametrize("flags", [["-o", "some", "--source", "demo"], ["--source", "demo"], ["-o", "a/b/c.tar"]])
def test_what_makes_no_sense_is_said(command: Any, tmp_path: Path, out: Path, flags: list[str]) -> None:
    flags = [str(tmp_path / flag) if "/" in flag or flag == "some" else flag for flag in flags]
    assert command("sample", out, "-n", 2, *flags).code in (2, 74)
    assert list(tmp_path.iterdir()) == []


# ── damage and strangers ──────────────────────────────────────────────────────────────────────────

RECORD = 4096
"""Bytes of a record at 16 px."""


@pytest.mark.parametrize("member", ["header", "picture", "label", "label's header", "JSON", "padding"])
def test_every_byte_of_a_record_is_looked_at(tmp_path: Path, out: Path, member: str) -> None:
    own = copied(out, tmp_path / "own")
    [row] = mixbake.audit.open(own).query("image = 17 AND number = 1").to_pylist()
    start, picture = row["offset"], -(-row["size"] // 512) * 512
    at = {
        "header": start - 400,
        "picture": start + 200,
        "padding": start + row["size"] + 3,
        "label's header": start + picture + 130,
        "label": start + picture + 512,
        "JSON": start + picture + 1536 + 40,
    }
    flip_bit(own / row["shard"], at[member])
    with pytest.raises(Damage, match=rf"{row['shard']}, 00000017-0001 "):
        mixbake.audit.open(own).picture("00000017-0001")
    mixbake.audit.open(own).picture("00000018-0001")


def test_a_shard_that_is_cut_or_absent_is_named(tmp_path: Path, out: Path) -> None:
    own = copied(out, tmp_path / "own")
    path = own / "mix" / "v000" / "000000.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(Damage, match=r"mix/v000/000000\.tar has .* bytes and should have"):
        list_all(own)
    path.unlink()
    with pytest.raises(Damage, match=r"mix/v000/000000\.tar is missing"):
        list_all(own)


def list_all(out: Path) -> None:
    audited = mixbake.audit.open(out)
    for name in audited.query(columns=["key"])["key"].to_pylist():
        audited.picture(name)


def test_two_records_that_changed_places_are_found(tmp_path: Path, out: Path) -> None:
    own = copied(out, tmp_path / "own")
    first, second = mixbake.audit.open(own).query("number = 0 AND block = 0").to_pylist()[:2]
    path = own / first["shard"]
    data, length = bytearray(path.read_bytes()), second["offset"] - first["offset"]
    start = first["offset"] - 512
    data[start : start + 2 * length] = data[start + length : start + 2 * length] + data[start : start + length]
    path.write_bytes(bytes(data))
    with pytest.raises(Damage, match=first["key"]):
        mixbake.audit.open(own).picture(first["key"])


@pytest.mark.parametrize("text", [b"[" * 1024, b"[]", b"3", b"{}", b'{"picture":[1]}', b"\xff", b'{"layer":1'])
def test_forged_json_is_damage(tmp_path: Path, out: Path, text: bytes) -> None:
    own = copied(out, tmp_path / "own")
    [row] = mixbake.audit.open(own).query("image = 17 AND number = 1").to_pylist()
    path = own / row["shard"]
    data, start = bytearray(path.read_bytes()), row["offset"] + -(-row["size"] // 512) * 512 + 1536
    data[start : start + 1024] = text.ljust(1024)
    path.write_bytes(bytes(data))
    with pytest.raises(Damage, match="00000017-0001"):
        mixbake.audit.open(own).picture("00000017-0001")


def test_names_do_not_reach_page_or_terminal_raw(
    command: Any, tmp_path: Path, own_images: Path, picture_folder: Path
) -> None:
    own = tmp_path / "own"
    (own_images / "ash").rename(own_images / MARKUP)
    bake(own_images, own, picture_folder, views="clean", limit=10)
    forge_names(own)
    for name in ("sheet.html", "grid.png", "some"):
        done = command("sample", own, "-n", 30, "-o", tmp_path / name)
        assert done.code == 0, done.err
    done = command("sample", own, "-n", 30)
    assert done.out.replace("\n", "").isprintable()
    assert "<img src=x" in done.out
    text, page = (tmp_path / "sheet.html").read_text("utf-8"), read_page(tmp_path / "sheet.html")
    assert text.replace("\n", "").isprintable()
    assert "Content-Security-Policy" in text
    assert any("<img src=x onerror=alert(1)>" in word for word in page.words)
    assert page.tags["img"] == len(page.images) > 20
    assert all(source.startswith("data:image/png;base64,") for _, source in page.images)


MARKUP = "<img src=x onerror=alert(1)>QQQQQQ[2J&\"'"
"""A class that a folder may be named; six letters of it become an escape character, which JSON spells in six."""


def forge_names(own: Path) -> None:
    """Put an escape character into class and path, and make all promises of the bake true of that."""
    for path in (*own.rglob("*.tar"), own / "manifest.json"):
        path.write_bytes(path.read_bytes().replace(b"QQQQQQ", b"\\u001b"))
    for path in (*(own / "index").iterdir(), own / "images.parquet"):
        table = pq.read_table(path)
        for name in ("class", "source"):
            at, spelled = table.column_names.index(name), table[name].cast(pa.string())
            changed = pc.replace_substring(spelled, "QQQQQQ", "\x1b").cast(table.schema.field(name).type)
            table = table.set_column(at, table.schema.field(name), changed)
        pq.write_table(table, path)
    sign(own)


@pytest.mark.parametrize("name", ["table.csv", "one.jpg", "page.htm"])
def test_an_ending_that_is_none_of_ours_is_refused(command: Any, tmp_path: Path, out: Path, name: str) -> None:
    done = command("sample", out, "-n", 3, "-o", tmp_path / name)
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert ".tar, .png, .html" in done.err
    done = command("replay", out, "00000010-0000", "-o", tmp_path / name)
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
