"""Promises of `mixbake recipes gallery`: whole, true, the same every time, nothing replaced."""

import base64
import html.parser
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outcome import Outcome
from PIL import Image

from mixbake.core import render
from mixbake.core.blends import BLENDS
from mixbake.core.ops import OP_SETS, OPS
from mixbake.core.variant import Variant, from_json
from mixbake.data.demo import draw_demo
from mixbake.data.pictures import prepare
from mixbake.errors import UsageError
from mixbake.gallery.write import GallerySettings, write_gallery
from mixbake.recipes.presets import RECIPES

SHEET = Path(__file__).parents[2] / "docs" / "gallery.png"
SIZE = 32
BLOCK = 32
"""Pixels a side of what sheets are compared by: a ninth of a picture."""


@dataclass
class Card:
    """A picture with what is said of it."""

    part: str
    row: str
    picture: np.ndarray
    alt: str
    title: str = ""
    words: str = ""
    program: str = ""

    @property
    def variant(self) -> Variant:
        return from_json(self.program)


class Cards(html.parser.HTMLParser):
    """The cards of a page, and all of its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.cards: list[Card] = []
        self.text = self.row = self.part = ""
        self.inside: list[str] = []
        self.feed(page.read_text("utf-8"))
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if name == "section":
            self.part = str(given["id"])
        if name == "h3":
            self.row = ""
        if name == "img" and "summary" in self.inside:
            data = str(given["src"]).partition("base64,")[2]
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
            self.cards.append(Card(part=self.part, row=self.row, picture=picture, alt=str(given["alt"])))
        if name not in ("img", "meta"):
            self.inside.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.inside.pop() == name

    def handle_data(self, data: str) -> None:
        self.text += data
        if "h3" in self.inside:
            self.row += data
        elif "pre" in self.inside:
            self.cards[-1].program += data
        elif "summary" in self.inside:
            if "b" in self.inside:
                self.cards[-1].title += data
            self.cards[-1].words += f"{data}; "


@dataclass(frozen=True)
class Made:
    """A gallery, of a folder of pictures."""

    page: Path
    pictures: Path
    cards: list[Card] = field(default_factory=list)

    def of(self, part: str, row: str = "") -> list[Card]:
        return [card for card in self.cards if card.part == part and card.row.startswith(row)]


def make(out: Path, pictures: Path | str, **settings: Any) -> Path:
    write_gallery(out, GallerySettings(mixing_set=(str(pictures),), size=SIZE, **settings), progress=lambda *_: None)
    return out


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> Made:
    page = make(tmp_path_factory.mktemp("gallery") / "all.html", picture_folder)
    return Made(page=page, pictures=picture_folder, cards=Cards(page).cards)


# ── what is there ─────────────────────────────────────────────────────────────────────────────────


def test_every_recipe_layer_operation_and_blend_is_shown(made: Made) -> None:
    rows = " ".join({card.row for card in made.of("recipes")})
    assert set(RECIPES) <= set(re.split(r"[ ·]+", rows))
    drawn = {card.variant.recipe for card in made.of("recipes")} - {"gallery"}
    assert len(drawn) >= len({repr(recipe) for recipe in RECIPES.values()})
    assert [{card.variant.layer for card in made.of("layers", f"layer {layer}")} for layer in (1, 2, 3)] == [
        {1},
        {2},
        {3},
    ]
    assert {op for card in made.of("operations") for op in card.variant.ops} == set(OPS)
    assert {blend for card in made.of("blends") for blend in card.variant.blends} == set(BLENDS)


def test_several_draws_of_a_recipe_are_shown_that_differ(made: Made) -> None:
    for name in set(RECIPES) - {"plain", "layermix-imagenet"}:
        variants = [card.variant for card in made.of("recipes", name)]
        assert [variant.number for variant in variants] == list(range(len(variants)))
        assert len({variant.steps for variant in variants}) > 6
    assert [card.variant.steps for card in made.of("recipes", "plain")] == [()]


def test_columns_mix_with_one_window_whatever_the_recipe(made: Made) -> None:
    shown = {card.title: card.variant.picture for card in made.of("recipes", "mixing pictures")}
    mixed = [card.variant for card in made.of("recipes") if card.variant.picture and card.variant.recipe != "gallery"]
    assert len(mixed) > 30
    for variant in mixed:
        window = shown[f"number {variant.number}"]
        assert window
        assert variant.picture
        assert [variant.picture.id, variant.picture.left, variant.picture.top] == [window.id, window.left, window.top]


def test_operations_go_to_the_ends_of_both_laws(made: Made) -> None:
    """Degrees, slopes and bits by the papers: 30 and 0.3 times 8/10 with LayerMix; 3 a level and 0.03 with AugMix."""
    wanted = {
        ("rotate", "LayerMix"): [-24, -12.05, -0.1, 0.1, 12.05, 24],
        ("rotate", "PixMix, AugMix, IPMix"): [-9, -4, 0, 0, 4, 9],
        ("shear_x", "LayerMix"): [-0.24, -0.17, -0.1, 0.1, 0.17, 0.24],
        ("shear_x", "PixMix, AugMix, IPMix"): [-0.09, -0.0465, -0.003, 0.003, 0.0465, 0.09],
        ("posterize", "LayerMix"): [1, 1, 3],
        ("posterize", "PixMix, AugMix, IPMix"): [4, 4, 3],
        ("color", "LayerMix"): [0.28, 0.59, 0.9, 1.1, 1.41, 1.72],
        ("color", "PixMix, AugMix, IPMix"): [0.118, 0.379, 0.64],
        ("autocontrast", "IPMix"): [9.9, 8.45, 7],
    }
    for (op, law), arguments in wanted.items():
        cards = [card for card in made.of("operations", f"{op} {law}") if card.row.split(law)[1][:2] in (" ·", ", ")]
        assert [card.variant.steps[0].args[0] for card in cards] == arguments, (op, law)


def test_blends_are_shown_with_a_picture_and_with_the_image_itself_for_both_signs(made: Made) -> None:
    for blend in ("arithmetic", "geometric"):
        cards = [card.variant.steps[-1] for card in made.of("blends", blend)]
        for partner in (1, 2):
            signs = {step.args[1] > 0 for step in cards if step.src == (0, partner)}
            assert signs == {True, False}
    for blend in ("pixel", "element"):
        assert {card.variant.steps[-1].src for card in made.of("blends", blend)} == {(0, 1), (0, 2)}


# ── that it is true ───────────────────────────────────────────────────────────────────────────────


def test_every_picture_is_what_its_program_gives(made: Made, tmp_path: Path) -> None:
    image = draw_demo(47, size=SIZE, split="train")
    sets = {gray: prepare(str(made.pictures), tmp_path, size=SIZE, gray=gray) for gray in (False, True)}
    assert len(made.cards) > 300
    for card in made.cards:
        variant = card.variant
        picture = sets[variant.picture.gray].picture(variant.picture.id) if variant.picture else None
        assert np.array_equal(render.render(variant, image, picture, size=SIZE), card.picture), card.row
        assert card.title
        assert card.alt.endswith(card.title)


def test_captions_name_every_operation_and_blend(made: Made) -> None:
    for card in made.cards:
        for name in (*card.variant.ops, *card.variant.blends):
            assert name in card.words or name in card.row or (name, card.part) == ("mirror", "blends"), card.words


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".html", ".png"])
def test_the_same_arguments_give_the_same_bytes(tmp_path: Path, picture_folder: Path, ending: str) -> None:
    one, two, other = (
        make(tmp_path / f"{name}{ending}", picture_folder, recipes=("pixmix",), seed=seed).read_bytes()
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    assert one == two != other


def test_a_stranger_s_names_stay_text(tmp_path: Path, picture_folder: Path) -> None:
    (tmp_path / "mixing").mkdir()
    hostile = tmp_path / "<img src=x onerror=alert(1)>\u202e.png"
    Image.fromarray(draw_demo(3, size=40, split="test")).save(hostile)
    for picture in picture_folder.iterdir():
        (tmp_path / "mixing" / f"<script>{picture.name}").write_bytes(picture.read_bytes())
    page = make(tmp_path / "own.html", tmp_path / "mixing", image=str(hostile), recipes=("pixmix",))
    text = page.read_text("utf-8")
    assert text.replace("\n", "").isprintable()
    assert "<script" not in text
    assert text.count("<img") == text.count('<img src="data:image/')
    assert "<img src=x onerror=alert(1)>?.png" in Cards(page).text


# ── what is asked for ─────────────────────────────────────────────────────────────────────────────


def test_chosen_recipes_limit_everything(tmp_path: Path) -> None:
    cards = Cards(make(tmp_path / "few.html", tmp_path / "not-there", recipes=("augmix",))).cards
    assert {card.part for card in cards} == {"recipes", "operations"}
    assert {card.variant.recipe for card in cards if card.part == "recipes"} == {"augmix-cifar"}
    ops = {op for card in cards if card.part == "operations" for op in card.variant.ops}
    assert ops == set(OP_SETS["safe9"])


def test_an_image_of_any_shape_is_shown_by_its_central_square(tmp_path: Path, picture_folder: Path) -> None:
    Image.fromarray(draw_demo(3, size=90, split="test")[:50]).save(tmp_path / "wide.png")
    page = make(tmp_path / "wide.html", picture_folder, image=str(tmp_path / "wide.png"), recipes=("ipmix", "plain"))
    crops = {card.variant.crop for card in Cards(page).cards}
    assert [(crop.left, crop.top, crop.width, crop.height) for crop in crops] == [(20, 0, 50, 50)]


@pytest.mark.slow
def test_the_command_says_what_it_has_written(
    mixbake: Callable[..., Outcome], tmp_path: Path, picture_folder: Path
) -> None:
    out, image = tmp_path / "own.png", "demo:number=5,split=test"
    limited = "--recipe", "layermix", "--recipe", "plain", "--size", 40
    done = mixbake("recipes", "gallery", out, "--mixing-set", picture_folder, "--image", image, *limited)
    assert done.code == 0, done.err
    assert re.search(r"own\.png: \d+ of recipes, 36 of layers, \d+ of operations, \d+ of blends", done.out)
    assert pixels(out).shape[1] == 1600
    with pytest.raises(UsageError, match="is there already"):
        make(out, picture_folder)


@pytest.mark.parametrize(
    ("out", "settings", "message"),
    [
        ("out.jpg", {}, r"ends in \.html or \.png"),
        ("out", {}, r"ends in \.html or \.png"),
        ("none/out.png", {}, "there is no folder"),
        ("out.html", {"recipes": ("pixmix-cifr",)}, "did you mean pixmix-cifar"),
        ("out.html", {"image": "none.png"}, "there is no such file: name a picture, or demo:number=47$"),
        ("out.html", {"image": __file__}, "cannot be read"),
        ("out.html", {"image": "demo:count=3"}, "is not one of its options"),
        ("out.html", {"image": "demo:split=val"}, "choose from train, test"),
        ("out.html", {"seed": -1}, "out of range: 0 to"),
        ("out.html", {"mixing_set": ("none",)}, "is no folder"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(tmp_path: Path, out: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_gallery(
            tmp_path / out, GallerySettings(**{"mixing_set": (str(tmp_path),)} | settings), progress=lambda *_: None
        )
    assert not list(tmp_path.iterdir())


# ── the README's ──────────────────────────────────────────────────────────────────────────────────


def test_the_sheet_of_the_readme_is_fit_for_one() -> None:
    assert pixels(SHEET).shape[1] == 1600
    assert SHEET.stat().st_size < 700_000


@pytest.mark.slow
def test_the_sheet_of_the_readme_is_what_its_command_gives(mixbake: Callable[..., Outcome], tmp_path: Path) -> None:
    done = mixbake("recipes", "gallery", tmp_path / "gallery.png")
    assert done.code == 0, done.err
    new, old = (pixels(path).astype(np.int16) for path in (tmp_path / "gallery.png", SHEET))
    assert new.shape == old.shape
    # Letters differ a little between versions of Pillow, fractals between CPUs; another picture differs much more.
    height, width = (side // BLOCK * BLOCK for side in new.shape[:2])
    difference = np.abs(new - old)[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    assert difference.mean(axis=(1, 3, 4)).max() < 8


TWO = """
from dataclasses import dataclass
from mixbake.recipes.own import Op
OPS = {"negative": Op(version=1, apply=lambda image: 255 - image, args=())}

@dataclass(frozen=True)
class Once:
    def draw(self, rng, program):
        program.op("negative", program.image)

@dataclass(frozen=True)
class Twice:
    def draw(self, rng, program):
        program.op("negative", program.op("negative", program.image))
"""


def test_recipes_of_one_file_are_shown_together(tmp_path: Path) -> None:
    for name in ("one.py", "other.py"):
        (tmp_path / name).write_text(TWO)

    def shown(*recipes: str) -> Path:
        settings = GallerySettings(recipes=tuple(f"{tmp_path}/{recipe}" for recipe in recipes))
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.html"
        write_gallery(out, settings, progress=lambda *_: None)
        return out

    apart = [card.picture for recipe in ("Once", "Twice") for card in Cards(shown(f"one.py:{recipe}")).cards]
    together = [card.picture for card in Cards(shown("one.py:Once", "one.py:Twice")).cards]
    assert {picture.tobytes() for picture in together} == {picture.tobytes() for picture in apart}
    with pytest.raises(UsageError, match="recipes of different files bring own:negative"):
        shown("one.py:Once", "other.py:Twice")
