"""Promises of `mixbake export`: other people's readers read what it wrote, and it says nothing that nobody knows."""

import json
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small import bake, copied, edit, pixels, promises, sha256, stored

from mixbake.data.demo import draw_demo
from mixbake.export.formats import FORMATS
from mixbake.export.hub_card import SIZES, size_category

INSTALLED = {name for name in ("timm", "webdataset") if find_spec(name)}
HOSTILE = ("a|b", "<img src=x>", "[link](x)", "`code`", "name: {x}", "'\"\\", "ünï–code ☃", "---")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def whole(folder: Path, many_images: Path, picture_folder: Path) -> Path:
    """450 images in two blocks, two epochs' worth with clean crops; read only."""
    bake(many_images, folder / "whole", picture_folder, epochs_worth=2, views="clean")
    return folder / "whole"


@pytest.fixture
def own(whole: Path, tmp_path: Path) -> Path:
    return copied(whole, tmp_path / "own")


@pytest.fixture(scope="module")
def hostile(folder: Path, picture_folder: Path) -> Path:
    """A bake whose classes have names that mean something to Markdown, HTML and YAML; read only."""
    for number, name in enumerate(HOSTILE):
        (folder / "images" / name).mkdir(parents=True)
        Image.fromarray(draw_demo(number, size=16, split="train")).save(folder / "images" / name / "1.png")
    bake(folder / "images", folder / "hostile", picture_folder)
    return folder / "hostile"


def head_of(path: Path) -> Any:
    yaml = pytest.importorskip("yaml")
    _, head, _ = path.read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(head)


class TestTimm:
    @pytest.mark.slow
    def test_reads_every_split(self, command: Any, own: Path, python: Callable[..., Any]) -> None:
        if not {"timm", "webdataset"} <= INSTALLED:
            pytest.skip("the extras `timm` and `train` are not installed")
        assert command("export", own, "--timm").code == 0
        samples = stored(own)
        splits = {
            "train": ("mix", (0, 1)), "v001": ("mix", (1,)), "clean": ("clean", (0, 1)), "clean_v000": ("clean", (0,)),
        }  # fmt: skip
        done = python(READ_TIMM, own, *splits, **OFFLINE)
        assert done.code == 0, done.err
        for (view, numbers), line in zip(splits.values(), done.out.splitlines(), strict=True):
            length, read = json.loads(line)
            wanted = [
                [zlib.crc32(pixels(members).tobytes()), int(members["cls"])]
                for key, members in samples.items()
                if key[0] == view and key[1] in numbers
            ]
            assert length == len(read) == 450 * len(numbers)
            assert sorted(read) == sorted(wanted)

    def test_counts_are_those_of_the_tars(self, command: Any, own: Path) -> None:
        assert command("export", own, "--timm").code == 0
        document = json.loads((own / "_info.json").read_bytes())
        numbers = {name: split["num_samples"] for name, split in document["splits"].items()}
        one = dict.fromkeys(("v000", "v001", "clean_v000", "clean_v001"), 450)
        assert numbers == {"train": 900, "clean": 900, **one}
        for split in document["splits"].values():
            assert sum(split["shard_lengths"]) == split["num_samples"]
            assert all((own / name).is_file() for name in split["filenames"])
            assert "tar" not in split["name"]
        assert document["class_names"] == ["ash", "birch", "cedar"]

    def test_refuses_what_timm_cannot_read(
        self, command: Any, tmp_path: Path, image_folder: Path, picture_folder: Path
    ) -> None:
        bake(image_folder, tmp_path / "raw", picture_folder, codec="raw")
        done = command("export", tmp_path / "raw", "--timm")
        assert done.code == 2
        assert ".npy" in done.err


class TestCroissant:
    def test_files_have_their_sizes_and_hashes(self, command: Any, own: Path) -> None:
        assert command("export", own, "--croissant").code == 0
        document = json.loads((own / "croissant.json").read_bytes())
        files = [one for one in document["distribution"] if one["@type"] == "cr:FileObject"]
        for one in files:
            path = own / one["contentUrl"]
            assert (f"{path.stat().st_size} B", sha256(path)) == (one["contentSize"], one["sha256"])
        named = {one["contentUrl"] for one in files}
        assert {path.relative_to(own).as_posix() for path in own.rglob("*.tar")} <= named
        assert {path.relative_to(own).as_posix() for path in own.rglob("*.parquet")} <= named

    @pytest.mark.slow
    def test_the_reference_reader_finds_no_error_and_reads_the_samples(
        self, command: Any, own: Path, python: Callable[..., Any], tmp_path: Path
    ) -> None:
        assert command("export", own, "--croissant", "--licence", "CC-BY-4.0").code == 0
        done = python(READ, own / "croissant.json", CROISSANT_CACHE=str(tmp_path / "cache"), **OFFLINE)
        assert done.code == 0, done.err
        read = json.loads(done.out)
        assert read["licence"] == ["CC-BY-4.0"]
        samples = {members["json"]: members for members in stored(own).values()}
        wanted = {}
        for text, members in samples.items():
            one = json.loads(text)
            key = f"{one['image']:08d}-{'c' if one['view'] == 'clean' else ''}{one['number']:04d}"
            wanted[key] = [one["label"], one["class"], one["ops"], sum(pixels(members).tobytes())]
        assert read["variants"] == wanted
        assert read["labels"] == {key: value[0] for key, value in wanted.items()}

    @pytest.mark.parametrize("codec", ["jpeg", "raw"])
    def test_other_codecs_are_described_too(
        self,
        command: Any,
        tmp_path: Path,
        image_folder: Path,
        picture_folder: Path,
        python: Callable[..., Any],
        codec: str,
    ) -> None:
        bake(image_folder, tmp_path / "own", picture_folder, codec=codec)
        assert command("export", tmp_path / "own", "--croissant").code == 0
        done = python(CHECK, tmp_path / "own" / "croissant.json", **OFFLINE)
        assert done.code == 0, done.err
        assert done.out.split() == ["http://mlcommons.org/croissant/1.1"]


READ_TIMM = """
import json, sys, warnings, zlib
warnings.simplefilter("ignore")
import numpy, timm.data
for split in sys.argv[2:]:
    dataset = timm.data.create_dataset("wds/bake", root=sys.argv[1], split=split)
    read = [(zlib.crc32(numpy.asarray(image).tobytes()), label) for image, label in dataset]
    print(json.dumps([len(dataset), read]))
"""
CHECK = """
import sys
import mlcroissant
found = mlcroissant.Dataset(jsonld=sys.argv[1]).metadata.ctx
assert not found.issues.errors
print(found.conforms_to.value)
"""
READ = """
import json, logging, sys
logging.disable()
import warnings
warnings.simplefilter("ignore")
import mlcroissant
def text(value):
    return value.decode() if isinstance(value, bytes) else value
found = {}
for name in ("variants", "labels"):
    dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
    assert not dataset.metadata.ctx.issues.errors
    rows = list(dataset.records(name))
    keys = [text(row[name + "/key"]) for row in rows]
    if name == "labels":
        found[name] = {key: row["labels/label"] for key, row in zip(keys, rows)}
    else:
        found[name] = {
            key: [
                row["variants/label"],
                text(row["variants/class"]),
                [text(op) for op in row["variants/ops"]],
                sum(row["variants/picture"].convert("RGB").tobytes()),
            ]
            for key, row in zip(keys, rows)
        }
found["licence"] = dataset.metadata.license
print(json.dumps(found))
"""
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
"""Whoever asks for something from elsewhere is refused."""


class TestCard:
    def test_names_the_shards_of_each_view(self, command: Any, own: Path) -> None:
        assert command("export", own, "--hf-card").code == 0
        head = head_of(own / "README.md")
        assert head["task_categories"] == ["image-classification"]
        assert head["size_categories"] == ["1K<n<10K"]
        matched = {
            config["config_name"]: sorted(own.glob(config["data_files"][0]["path"])) for config in head["configs"]
        }
        assert matched == {view: sorted((own / view).rglob("*.tar")) for view in ("mix", "clean")}
        text = (own / "README.md").read_text()
        assert sha256(own / "bake.json") in text
        assert "| 0 | ash |" in text

    def test_classes_are_escaped(self, command: Any, hostile: Path, tmp_path: Path) -> None:
        for kind in FORMATS:
            assert command("export", hostile, f"--{kind}", "-o", tmp_path / kind).code == 0
        head, text = head_of(tmp_path / "hf-card"), (tmp_path / "hf-card").read_text("utf-8")
        assert set(head) == {"pretty_name", "task_categories", "size_categories", "tags", "configs"}
        rows = [line for line in text.splitlines() if line.startswith("| ") and line.split(" ")[1].isdigit()]
        assert len(rows) == len(HOSTILE)
        assert all(row.replace("\\|", "").count("|") == 3 for row in rows)
        for raw in (" <img", " [link]", " `code`"):
            assert raw not in text
        assert sorted(json.loads((tmp_path / "timm").read_bytes())["class_names"]) == sorted(HOSTILE)
        json.loads((tmp_path / "croissant").read_bytes())

    def test_a_forged_plan_adds_no_field(self, command: Any, own: Path) -> None:
        def say(document: Any) -> None:
            document["given"] = {"source": "x |\n---\nlicense: mit\n# [a](b)", "mixing_set": "\x1b[2J```"}
            document["plan"]["recipe"] |= {"name": "</table>```\n# x", "note": "```\n<script>"}

        edit(own / "manifest.json", say)
        for path in (own / "receipts").iterdir():
            edit(path, lambda receipt: receipt.update(plan=sha256(own / "manifest.json")))
        edit(own / "bake.json", lambda document: document.update(promises(own)))
        done = command("export", own, "--hf-card", "--overwrite")
        assert done.code == 0, done.err
        text = (own / "README.md").read_text("utf-8")
        assert "license" not in head_of(own / "README.md")
        assert text.count("```") == 2
        assert text.replace("\n", "").isprintable()
        assert [line for line in text.splitlines() if line.startswith("# ")] == ["# own"]
        assert "</table>" not in text.split("```")[0]

    @pytest.mark.parametrize(
        ("licence", "head"),
        [
            ("CC-BY-4.0", {"license": "cc-by-4.0"}),
            ("see: [the page] |", {"license": "other", "license_name": "see: [the page] |"}),
        ],
    )
    def test_says_a_licence_as_it_was_told(self, command: Any, own: Path, licence: str, head: dict[str, str]) -> None:
        done = command("export", own, "--hf-card", "--licence", licence)
        assert (done.code, done.err) == (0, "")
        assert head.items() <= head_of(own / "README.md").items()

    def test_sizes_have_the_hubs_names(self) -> None:
        bounds = [0, 999, 1000, 9999, 10**4, 10**6 - 1, 10**6, 10**9, 10**12]
        names = [SIZES[0], SIZES[0], SIZES[1], SIZES[1], SIZES[2], SIZES[3], SIZES[4], SIZES[7], SIZES[7]]
        assert [size_category(count) for count in bounds] == names


@pytest.mark.parametrize("kind", list(FORMATS))
class TestEveryFormat:
    def test_invents_no_licence(self, command: Any, own: Path, tmp_path: Path, kind: str) -> None:
        done = command("export", own, f"--{kind}", "-o", tmp_path / "out")
        assert done.code == 0
        assert ("unknown" in done.err) == bool(FORMATS[kind].unknown)
        text = (tmp_path / "out").read_text("utf-8").lower()
        assert '"license"' not in text
        assert "\nlicense:" not in text

    def test_replaces_only_what_it_wrote_itself(self, command: Any, own: Path, kind: str) -> None:
        path = own / FORMATS[kind].file
        assert command("export", own, f"--{kind}").code == 0
        assert command("export", own, f"--{kind}").code == 0
        path.write_text("mine")
        done = command("export", own, f"--{kind}")
        assert done.code == 2
        assert "--overwrite" in done.err
        assert path.read_text() == "mine"
        assert command("export", own, f"--{kind}", "--overwrite").code == 0
        assert path.read_text() != "mine"

    def test_leaves_the_bake_as_it_was(self, command: Any, own: Path, kind: str) -> None:
        before = {path: sha256(path) for path in own.rglob("*") if path.is_file() and path.name != "README.md"}
        assert command("export", own, f"--{kind}").code == 0
        assert {path: sha256(path) for path in before} == before
        assert command("verify", own, "--full").code == 0

    def test_an_unfinished_or_incomplete_bake_is_refused(self, command: Any, own: Path, kind: str) -> None:
        next(own.rglob("*.tar")).unlink()
        done = command("export", own, f"--{kind}", "-o", own / "x")
        assert done.code == 6
        assert "is missing" in done.err
        (own / "bake.json").unlink()
        for path in (own, own / "nowhere", own / "manifest.json"):
            assert command("export", path, f"--{kind}", "-o", own / "x").code == 2
        assert not (own / "x").exists()


def test_a_build_names_what_it_leaves_behind_the_times(
    command: Any, tmp_path: Path, image_folder: Path, picture_folder: Path
) -> None:
    asked = ["build", image_folder, tmp_path / "own", "--mixing-set", picture_folder, "--executor", "inline"]
    assert command(*asked, "--epochs-worth", 1).code == 0
    for kind in FORMATS:
        licence = ["--licence", "CC0-1.0"] if kind == "hf-card" else []
        assert command("export", tmp_path / "own", f"--{kind}", *licence).code == 0
    assert "mixbake export" not in command(*asked, "--epochs-worth", 1).err
    card = (tmp_path / "own" / "README.md").read_bytes()
    done = command(*asked, "--epochs-worth", 2)
    assert done.code == 0
    assert all(known.file in done.err for known in FORMATS.values()), done.err
    assert (tmp_path / "own" / "README.md").read_bytes() == card


def test_wrong_words_are_refused(command: Any, own: Path) -> None:
    for flags in ([], ["--timm", "--croissant"], ["--timm", "--licence", " "], ["--timm", "--licence", "a\nb"]):
        assert command("export", own, *flags).code == 2
    assert command("export", own, "--timm", "-o", own).code == 2
    assert command("export", own, "--timm", "-o", own / "no" / "folder").code == 74
