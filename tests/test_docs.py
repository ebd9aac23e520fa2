"""The documents against the code: every command, flag, default, table, path and example that they show."""

import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import typer
from processes import PATIENCE

import mixbake
from mixbake import cli, errors
from mixbake.bake.settings import BuildSettings
from mixbake.cli import edge
from mixbake.core.ops import OP_SETS, STEPS, TENSOR_LAW
from mixbake.core.variant import from_json, schema
from mixbake.data.sources import KINDS
from mixbake.recipes.presets import BARE, RECIPES, NamedRecipe
from mixbake.recipes.recipe import draw_one
from mixbake.storage import tar
from mixbake.storage.index import IMAGES_SCHEMA, SCHEMA
from mixbake.train.settings import FREE, TrainSettings
from mixbake.train.settings import RECIPES as TRAINING

ROOT = Path(__file__).parent.parent
PACKAGE = Path(mixbake.__file__).parent
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "shards/README.md", "scripts/README.md")
README, ARCHITECTURE, CONTRIBUTING = ((ROOT / name).read_text("utf-8") for name in DOCUMENTS[:3])
COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]  # it is a group


def blocks(text: str, language: str) -> list[str]:
    """Fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def table(text: str, first: str) -> list[list[str]]:
    """Cells of the rows of the table whose head begins with `first`."""
    head = text.index(f"\n| {first} |") + 1
    rows = text[head:].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows]


def code_words(text: str) -> list[str]:
    """What stands in backticks, outside fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def command_lines() -> Iterator[list[str]]:
    """Arguments of every `mixbake ...` in the shell blocks."""
    for text in (README, CONTRIBUTING):
        for line in "".join(blocks(text, "sh")).splitlines():
            for part in line.split("&&"):
                words = shlex.split(part)
                if words and Path(words[0]).name == "mixbake":
                    yield words[1:]


def option_names(command: str) -> set[str]:
    options = COMMANDS[command].params
    return {name for option in options for name in (*option.opts, *option.secondary_opts) if name.startswith("-")}


def settings_of(arguments: list[str]) -> BuildSettings:
    """What a `build` or `plan` command line asks for. Raises when it is no valid one."""
    values = COMMANDS[arguments[0]].make_context(arguments[0], arguments[1:]).params
    return cli.bake._settings({"overwrite": False, "accept_environment": False, "max_skip": 0.01} | values)


def python_in(folder: Path, *arguments: str) -> str:
    """What Python prints, run in a folder."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mixbake_in(folder: Path, *arguments: str) -> str:
    return python_in(folder, "-m", "mixbake", *arguments)


# ── README: commands ──────────────────────────────────────────────────────────────────────────────


def test_the_readme_opens_with_two_commands_that_make_their_own_environment() -> None:
    first, second = blocks(README, "sh")[:2]
    for block, end in ((first, "build --epochs-worth 10"), (second, "pytest")):
        assert len(block.splitlines()) == 1
        assert block.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert block.rstrip().endswith(end)


@pytest.mark.parametrize("arguments", list(command_lines()), ids=" ".join)
def test_every_command_line_is_accepted(arguments: list[str]) -> None:
    assert arguments[0] in COMMANDS
    # Flags like --list do their work while they are read, and end the command.
    with suppress(typer.Exit):
        COMMANDS[arguments[0]].make_context(arguments[0], arguments[1:])
    if arguments[0] in ("build", "plan"):
        assert isinstance(settings_of(arguments), BuildSettings)


def test_a_wrong_command_line_is_noticed() -> None:
    with pytest.raises(Exception, match="no-such-flag"):
        settings_of(["build", "demo", "--no-such-flag"])
    with pytest.raises(errors.UsageError, match="views"):
        settings_of(["build", "demo", "--views", "all"])


def test_the_table_of_commands_is_complete() -> None:
    assert [row[0] for row in table(README, "Command")] == [f"`mixbake {name}`" for name in COMMANDS]


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_lists_every_option_and_the_readme_knows_the_command(command: str) -> None:
    help_text = mixbake_in(ROOT, command, "--help")
    assert option_names(command) <= set(re.findall(r"--?[a-z][a-z-]*", help_text))
    assert f"`mixbake {command}`" in README


def test_the_table_of_options_is_that_of_build_with_its_defaults() -> None:
    options = {option.opts[0]: option for option in COMMANDS["build"].params if option.opts[0].startswith("-")}
    rows = {re.findall(r"--?[\w-]+", row[0])[0]: row for row in table(README, "Option")}
    assert list(rows) == list(options)
    for name, (names, default, _) in rows.items():
        assert set(re.findall(r"--?[a-z][\w-]*", names)) == set(options[name].opts)
        known = options[name].default
        assert default == ("" if known is None or known is False else str(known)), name


def test_the_table_of_training_settings_is_whole() -> None:
    rows = {re.findall(r"--[\w-]+", row[0])[0]: row for row in table(README, "Setting")}
    assert list(rows) == [f"--{one.name.replace('_', '-')}" for one in fields(TrainSettings)]
    spelled = {None: "", True: "on", False: "off"}
    for one, (name, default, meaning) in zip(fields(TrainSettings), rows.values(), strict=True):
        assert ("○" in name) == (one.name in FREE), name
        if isinstance(one.default, bool | None):
            assert default == spelled[one.default], name
        else:
            known = one.default if isinstance(one.default, tuple) else (one.default,)
            assert tuple(type(known[0])(word) for word in default.split()) == known, name
        assert meaning == one.metadata["help"].rstrip("."), name
    assert set(re.findall(r"`([\w-]+)`", " ".join(row[0] for row in table(README, "Training recipe")))) == set(TRAINING)


def test_every_flag_in_the_documents_exists() -> None:
    scripts = "".join(path.read_text() for path in (ROOT / "scripts").glob("*.py"))
    of_scripts = set(re.findall(r'add_argument\("(--[a-z-]+)"', scripts))
    own = set().union(*map(option_names, COMMANDS)) | {"--version", "--help"} | of_scripts
    own |= {"--nproc-per-node"}  # torchrun's
    for text in (README, ARCHITECTURE):
        mentioned = {flag for word in code_words(text) for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", word)}
        assert mentioned <= own, mentioned - own


def test_every_source_of_the_table_exists_and_every_kind_is_in_it() -> None:
    written = " ".join(row[0] for row in table(README, "SOURCE"))
    assert set(re.findall(r"`([a-z0-9]+)(?=[:`])", written)) == set(KINDS)


# ── README: tables ────────────────────────────────────────────────────────────────────────────────


def test_presets_are_shown_with_every_field() -> None:
    """In a table a family."""
    shown: dict[str, dict[str, str]] = {}
    for part in README.split("\n| Preset |")[1:]:
        text = f"\n| Preset |{part}"
        names = [cell.strip() for cell in text.splitlines()[1].strip("|").split("|")][1:]
        for preset, *cells in table(text, "Preset"):
            shown[preset.strip("`")] = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    assert shown.keys() == RECIPES.keys()
    for name, recipe in RECIPES.items():
        known = NamedRecipe(name=name, recipe=recipe).parameters()
        del known["name"], known["family"]
        assert shown[name] == {field: _shown(value) for field, value in known.items()}


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("name", BARE)
def test_bare_names_mean_what_the_readme_says(name: str) -> None:
    small, large = BARE[name]
    assert f"`{name}` alone means `{small}` up to 64 px and `{large}` above" in README.replace("\n", " ")


def test_op_sets_are_shown_as_they_are() -> None:
    shown: dict[str, list[str]] = {}
    for name, text in table(README, "Op set"):
        start, _, left_out = text.partition(" without ")
        words = re.split(r", and |, ", text.replace(f" without {left_out.split(',')[0]}", "") if left_out else start)
        ops = [op for word in words for op in shown.get(word, [word])]
        shown[name.strip("`")] = [op for op in ops if not left_out or op != left_out.split(",")[0]]
    assert {name: sorted(ops) for name, ops in shown.items()} == {name: sorted(ops) for name, ops in OP_SETS.items()}


def test_exit_codes_are_those_of_the_errors() -> None:
    wanted: dict[str, set[str]] = defaultdict(set)
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.MixbakeError):
            wanted[str(kind.exit_code)].add(kind.__name__)
    rows = table(README, "Code")
    wanted[f"{edge.INTERRUPTED}, {edge.TERMINATED}"] = wanted.pop("130")
    assert {code: set(re.findall(r"`(\w+)`", names)) for code, names, _ in rows if names} == wanted
    assert [code for code, names, _ in rows if not names] == ["0"]


def test_columns_are_those_of_the_files() -> None:
    layout = README[README.index("## What you get") : README.index("## LayerMix")]
    listed = re.findall(r"`(\w+)`", layout[layout.index("The index holds") :])
    assert listed == SCHEMA.names
    images = re.search(r"images\.parquet +a row an image: (.*)", README)
    assert images
    assert images[1].split(", ") == IMAGES_SCHEMA.names
    index = ARCHITECTURE[ARCHITECTURE.index("**Index**") : ARCHITECTURE.index("**images.parquet**")]
    assert [name for name in re.findall(r"`(\w+)`", index) if name in SCHEMA.names] == SCHEMA.names


# ── README: examples ──────────────────────────────────────────────────────────────────────────────


def test_the_json_member_is_the_one_that_the_demo_gives() -> None:
    (text,) = blocks(README, "json")
    jsonschema.validate(json.loads(text), schema())
    shown = from_json(text)
    drawn = draw_one(
        RECIPES["layermix-cifar"],
        name="layermix-cifar",
        image=shown.image,
        number=shown.number,
        image_hw=(32, 32),
        seed=0,
        view="mix",
        size=32,
        crop="pad",
        bake_flip=False,
        group=1,
        pictures=np.full((256, 2), 36, np.int32),
    )
    assert drawn == shown


def example(word: str) -> str:
    """The one block of Python in the README that has this word."""
    (found,) = [block for block in blocks(README, "python") if word in block]
    return found


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small bake where the README's examples look for it."""
    folder = tmp_path_factory.mktemp("readme")
    small = ("demo:count=130", "shards/demo-layermix", "--mixing-set", "fractals:count=2", "--executor", "inline")
    mixbake_in(folder, "build", *small)
    return folder


@pytest.mark.slow
def test_the_stock_reader_example_runs(demo_folder: Path) -> None:
    pytest.importorskip("webdataset")
    printed = python_in(demo_folder, "-c", example("wds.WebDataset"))
    assert len(printed.splitlines()) == 130


def test_the_example_of_looking_into_a_bake_runs(demo_folder: Path) -> None:
    rows, *_, sides = python_in(demo_folder, "-c", example("mixbake.audit")).split(maxsplit=1)
    assert int(rows) > 0
    assert sides.endswith("(32, 32, 3)\n")


@pytest.mark.slow
def test_the_example_of_other_loaders_runs(demo_folder: Path) -> None:
    pytest.importorskip("torch")
    printed = python_in(demo_folder, "-c", example("BakeDataset"))
    assert printed.split() == ["0", "130", "1", "130"] * 2


def test_the_arguments_of_the_loader_are_all_explained() -> None:
    pytest.importorskip("torch")
    from mixbake.stream import ShardLoader

    explained = {name for row in table(README, "Argument of `ShardLoader`") for name in re.findall(r"`(\w+)`", row[0])}
    assert explained == set(inspect.signature(ShardLoader).parameters) - {"path"}


@pytest.mark.slow
def test_the_training_example_runs(demo_folder: Path) -> None:
    pytest.importorskip("torch")
    training = example("ShardLoader")
    assert len([line for line in training.splitlines() if line]) <= 22
    printed = python_in(demo_folder, "-c", training)
    assert [line.split()[0] for line in printed.splitlines()] == ["0", "1", "2"]


@pytest.mark.slow
def test_the_example_of_transforms_runs(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    pytest.importorskip("torchvision")
    (tmp_path / "images").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "images" / "train").symlink_to(image_folder)
    (tmp_path / "pictures" / "fractals").symlink_to(picture_folder)
    printed = python_in(tmp_path, "-c", example("mixbake.transforms"))
    assert printed.splitlines() == ["torch.Size([40, 3, 224, 224]) torch.Size([40])"]


def test_the_index_and_replay_examples_run_and_agree(demo_folder: Path) -> None:
    *_, index, replay = blocks(README, "python")
    check = """
import io
from PIL import Image
stored = Image.open(io.BytesIO(png)).convert("RGB").tobytes()
assert stored == pixels.tobytes()
"""
    assert "variants" in python_in(demo_folder, "-c", f"{index}\npng = picture\n{replay}\n{check}")


@pytest.mark.slow
def test_the_first_command_bakes_the_demo(tmp_path: Path) -> None:
    mixbake_in(tmp_path, *next(command_lines()))
    bake = json.loads((tmp_path / "shards" / "demo-layermix" / "bake.json").read_text())
    assert (bake["epochs_worth"], bake["images"], bake["samples"]) == (10, 2000, 20_000)


# ── ARCHITECTURE ──────────────────────────────────────────────────────────────────────────────────


def listed_modules() -> Iterator[str]:
    """Paths of the house's listing, relative to the package."""
    house = ARCHITECTURE[ARCHITECTURE.index("## The house") :]
    folders = [""]
    for line in blocks(house, "")[0].splitlines():
        names = re.split(r"  +", line.strip())[0].split()
        depth = (len(line) - len(line.lstrip())) // 2
        folders = folders[: depth + 1] if depth else [""]
        for name in names:
            path = folders[depth] + name.removeprefix("mixbake/")
            if name.endswith("/"):
                folders = [*folders[: depth + 1], path]
            else:
                yield path


def test_the_house_lists_every_module_and_no_other() -> None:
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert set(listed_modules()) == modules


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_in_backticks_exists(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    paths = {word for word in code_words(text) if re.fullmatch(r"[\w.]+(/[\w.]+)*\.py|(mixbake|tests)(/\w+)*/?", word)}
    places = (ROOT, PACKAGE, PACKAGE / "core", ROOT / "scripts")
    absent = {path for path in paths if not any((place / path).exists() for place in places)}
    assert not absent


def imports(path: Path) -> set[str]:
    """Modules of mixbake that a file imports, dotted, without the leading `mixbake.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mixbake":
            module = str(node.module).removeprefix("mixbake").removeprefix(".")
            inside = {f"{module}.{alias.name}".strip(".") for alias in node.names}
            found |= inside if module in FOLDERS else {module}
    return found


FOLDERS = {"", *(path.name for path in PACKAGE.iterdir() if path.is_dir())}


def test_imports_point_only_where_the_table_allows() -> None:
    for importer, allowed in table(ARCHITECTURE, "From"):
        name = importer.strip("`")
        paths = (PACKAGE / name).rglob("*.py") if (PACKAGE / name).is_dir() else [PACKAGE / f"{name}.py"]
        reach = (*re.findall(r"`([\w.]+)`", allowed), name) if not allowed.startswith("all") else ("",)
        for path in paths:
            wrong = {module for module in imports(path) if not _within(module, reach)} - {"__version__"}
            assert not wrong, (path.relative_to(PACKAGE), wrong)


def _within(module: str, reach: tuple[str, ...]) -> bool:
    return any(not place or module == place or module.startswith(f"{place}.") for place in reach)


def test_steps_and_levels_are_those_of_the_tables() -> None:
    steps = [name for row in table(ARCHITECTURE, "Steps") for name in row[0].split(", ")]
    assert set(steps) == set(STEPS)
    levels = {name: row[1] for row in table(ARCHITECTURE, "Operation") for name in row[0].split(", ")}
    wanted = {op: reach.maximum for op, reach in TENSOR_LAW.items() if reach.maximum is not None}
    assert levels == {op: "int(0.33 · side)" if most == "side" else str(most) for op, most in wanted.items()}


def test_the_offsets_of_a_fixed_record_are_right() -> None:
    place = tar.layout(tar.stored_png_size(32), 1024)
    (row,) = re.findall(r"^\| 32 px, member_bytes 1024 \|(.*)\|$", ARCHITECTURE, re.MULTILINE)
    shown = [int(cell) for cell in row.split("|")]
    assert shown == [place.picture, place.picture + tar.PNG_PIXELS, place.label, place.text, place.record]


# ── all documents ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere_and_no_path_is_absolute(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert all((ROOT / name).parent.joinpath(link).exists() for link in links)
    assert not re.findall(r"(?<![\w.:*>/-])/(?:home|root|tmp|opt|mnt|work|usr|Users|var)\b", text)
    assert not re.findall(r"[ \t]+$", text, re.MULTILINE)


def test_the_version_is_in_the_changelog() -> None:
    assert f"## [{mixbake.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_ci_is_executable_and_well_formed() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
