"""Promises of the audit's page in a real browser: closed, escaped, filtered, opened, read by anybody, printed."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import FAINT, Visit
from small import bake
from test_sample import MARKUP, forge_names

import mixbake.audit
from mixbake.audit import statistics
from mixbake.audit.page import write_page
from mixbake.audit.report import Asked, Report, audit

pytestmark = pytest.mark.browser
FACETS = ("class", "layer", "op", "blend")
Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, image_folder: Path, picture_folder: Path) -> Path:
    """40 images, three epochs' worth, at 32 px; some pictures of it are black."""
    out = tmp_path_factory.mktemp("page") / "out"
    bake(image_folder, out, picture_folder, epochs_worth=3, recipe="layermix-code")
    return out


@pytest.fixture(scope="module")
def report(out: Path, image_folder: Path) -> Report:
    """Of an audit: a few of its signals, and one more test, which failed and has many values."""
    cells = tuple(statistics.Cell(value=f"{i}", seen=i % 7, expected=3.0) for i in range(300))
    failed = statistics.Test(
        name="invented", kind="chi-square", n=900, value=999.5, freedom=299, p=1e-70, passed=False, cells=cells
    )
    found = audit(out, Asked(against=image_folder, sample=30))
    assert found.signals
    assert found.tests
    few = {name: getattr(found.signals, name)[:6] for name in ("worst", "alike", "leaks")}
    return dataclasses.replace(
        found, tests=(*found.tests[:12], failed), signals=dataclasses.replace(found.signals, **few)
    )


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "audit.html"
    path.write_bytes(write_page(report))
    return path


@pytest.fixture
def visit(browser: Any, page: Path) -> Any:
    """visit(path=the page, **settings of a browser's context)."""
    visits = []

    def begin(path: Path = page, **settings: Any) -> Visit:
        visits.append(Visit(browser, path, **settings))
        return visits[-1]

    yield begin
    for one in visits:
        one.context.close()


def test_it_loads_nothing_and_complains_about_nothing(visit: Open, page: Path) -> None:
    seen = visit()
    for place in range(3):
        seen.page.locator(".test > summary").nth(place).click()
    assert seen.said == []
    assert [url for url in seen.asked if not url.startswith("data:image/")] == [page.as_uri()]
    broken = seen.page.evaluate("[...document.images].filter((one) => !one.complete || !one.naturalWidth).length")
    assert broken == 0


def test_markup_that_slipped_through_would_not_run(visit: Open) -> None:
    seen = visit()
    ran = """(made) => {
        const script = document.createElement("script");
        script.textContent = "window.ran = 'script'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", '<img src="data:," onerror="window.ran = 1">');
        return new Promise((done) => setTimeout(() => done(window.ran), 100));
    }"""
    assert seen.page.evaluate(ran) is None
    assert any("Content Security Policy" in line for line in seen.said)


@pytest.mark.parametrize("facet", FACETS)
def test_filters_show_exactly_what_they_say(visit: Open, out: Path, report: Report, facet: str) -> None:
    seen, index = visit(), mixbake.audit.open(out).query().to_pylist()
    rows = {row["key"]: row for row in index if row["key"] in {one.key for one in report.gallery}}
    values = {
        "class": lambda row: [row["class"]],
        "layer": lambda row: [str(row["layer"])],
        "op": lambda row: row["ops"],
        "blend": lambda row: row["blends"] or ["none"],
    }[facet]
    select = seen.page.locator(f"#filter-{facet}")
    options = [one for one in select.locator("option").all_text_contents() if one != "all"]
    assert sorted(options) == sorted({value for row in rows.values() for value in values(row)})
    for option in options:
        select.select_option(label=option)
        expected = [key for key, row in rows.items() if option in values(row)]
        assert sorted(seen.texts("#gallery-cards .lines b")) == sorted(expected)
        assert seen.texts("#filter-count") == [f"{len(expected)} of {len(rows)} variants"]
    seen.page.get_by_role("button", name="Show all").click()
    assert seen.count("#gallery-cards .exhibit") == len(rows)


def test_filters_work_together_and_with_keys(visit: Open, report: Report) -> None:
    seen, one = visit(), report.gallery[-1]
    seen.page.locator("#filter-class").select_option(label=one.kind)
    seen.page.locator("#filter-layer").select_option(label=str(one.layer))
    both = [other.key for other in report.gallery if (other.kind, other.layer) == (one.kind, one.layer)]
    assert sorted(seen.texts("#gallery-cards .lines b")) == sorted(both)
    seen.page.locator("#filter-key").fill(one.key[3:])
    assert seen.texts("#gallery-cards .lines b") == [one.key]
    seen.page.locator("#filter-key").fill("x")
    assert seen.texts("#filter-count") == ["0 of 30 variants"]


def test_a_strip_is_opened_left_and_followed_by_keyboard(visit: Open, report: Report) -> None:
    seen = visit()
    # Classes lie scattered among the cards: those between are not stepped on.
    seen.page.locator("#filter-class").select_option(label="birch")
    keys, strips = seen.texts("#gallery-cards .lines b"), {one.key: one for one in report.gallery}
    seen.page.get_by_role("button", name="Show all").focus()
    seen.page.keyboard.press("Tab")
    assert keys[0] in seen.focused()
    seen.page.keyboard.press("Enter")
    dialog = seen.page.locator("dialog")
    assert dialog.is_visible()
    for step, key in (("", keys[0]), ("ArrowRight", keys[1]), ("ArrowRight", keys[2]), ("ArrowLeft", keys[1])):
        if step:
            seen.page.keyboard.press(step)
        assert seen.texts("#dialog-key") == [key]
        shown = [plate.lines[0] for plate in strips[key].strip]
        assert seen.texts("dialog figcaption b") == shown
        assert shown[:2] == ["source", "0: crop"]
        assert shown[-1] == "result"
        assert seen.count("dialog img") == len(shown)
    seen.page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert keys[1] in seen.focused()
    assert seen.said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_text_can_be_read_and_nothing_scrolls_sideways(visit: Open, width: int, scheme: str) -> None:
    seen = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    seen.page.evaluate("for (const one of document.querySelectorAll('.test, .more')) one.open = true")
    count, faint = seen.page.evaluate(FAINT)
    assert (count > 500, faint) == (True, [])
    assert not seen.overflows()
    seen.page.locator("#gallery-cards summary").first.click()
    assert seen.page.evaluate(FAINT)[1] == []
    box = seen.page.locator("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert not seen.overflows()


def test_dark_is_dark_and_light_is_light(visit: Open) -> None:
    colours = []
    for scheme in ("light", "dark"):
        style = visit(color_scheme=scheme).page.evaluate("getComputedStyle(document.body).backgroundColor")
        colours.append(sum(int(part) for part in style[4:-1].split(",")))
    assert colours[0] > 3 * 230 > 3 * 60 > colours[1]


def test_without_scripts_everything_is_there(visit: Open, report: Report) -> None:
    seen = visit(java_script_enabled=False)
    assert seen.count("#filters") == 0
    cards = seen.page.locator("#gallery-cards .exhibit")
    assert cards.count() == len(report.gallery)
    cards.nth(1).locator("summary").click()
    assert seen.texts("#gallery-cards figcaption b") == [plate.lines[0] for plate in report.gallery[1].strip]
    assert seen.count("dialog") == 0
    seen.page.locator(".test > summary").first.click()
    assert seen.count(".test .bar") > 1


def test_what_failed_lies_open_and_says_so_in_words(visit: Open) -> None:
    seen = visit()
    assert seen.texts(".verdict .word")[:2] == ["passed", "FAILED"]
    assert seen.texts(".test[open] > summary") == ["invented FAILED"]
    assert seen.count(".test[open] .histogram rect") == 100
    assert "300 values in 100 bars" in seen.texts(".test[open] figcaption")[0]


def test_assistive_technology_finds_its_way(visit: Open) -> None:
    seen = visit()
    assert [seen.count(one) for one in ("main", "header", "nav", "footer", "h1")] == [1] * 5
    seen.page.keyboard.press("Tab")
    assert seen.focused() == "Skip to the results"
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.activeElement.tagName") == "MAIN"
    every = "(found, good) => found.length > 4 && found.every({})"
    told = "(one) => one.ariaLabel && one.querySelectorAll('thead th[scope=col]').length > 1"
    assert seen.page.locator("table").evaluate_all(every.format(told))
    assert seen.page.locator("select, input").evaluate_all(every.format("(one) => one.labels.length === 1"))
    seen.page.locator("#filter-class").focus()
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    assert seen.page.evaluate("[...document.images].every((one) => one.hasAttribute('alt'))")


def test_motion_is_left_out_where_it_is_not_wanted(visit: Open) -> None:
    moves = "getComputedStyle(document.documentElement).scrollBehavior"
    assert visit(reduced_motion="reduce").page.evaluate(moves) == "auto"


def test_print_shows_the_charts_and_no_controls(visit: Open) -> None:
    seen = visit()
    assert seen.count(".test:not([open]) .bar") == 0
    seen.page.emulate_media(media="print", color_scheme="dark")
    assert seen.count(".test:not([open]) .bar") > 10
    assert [seen.count(one) for one in ("nav", "#filters", ".skip", "dialog")] == [0] * 4
    assert seen.page.evaluate(FAINT)[1] == []


def test_names_of_a_stranger_stay_text(
    visit: Open, tmp_path: Path, own_images: Path, picture_folder: Path, page: Path
) -> None:
    (own_images / "ash").rename(own_images / MARKUP)
    (own_images / "birch").rename(own_images / "evil\u202ecod.exe<!--<script>")
    bake(own_images, tmp_path / "own", picture_folder, views="clean", limit=20)
    forge_names(tmp_path / "own")
    found = audit(tmp_path / "own", Asked(sample=40))
    hostile = tmp_path / "hostile.html"
    hostile.write_bytes(write_page(found))
    text = hostile.read_text("utf-8")
    assert text.replace("\n", "").isprintable()
    seen, plain = visit(hostile), visit(page)
    assert seen.said == []
    assert [url for url in seen.asked if not url.startswith("data:image/")] == [hostile.as_uri()]
    count = "document.querySelectorAll('script, style, meta, link, iframe, object, form, base').length"
    assert seen.page.evaluate(count) == plain.page.evaluate(count)
    assert seen.page.evaluate("document.querySelectorAll('img:not([src^=\"data:image/\"])').length") == 0
    names = seen.page.locator("#filter-class option").all_text_contents()
    assert any("<img src=x onerror=alert(1)>?[2J&\"'" in name for name in names)
    assert "evil?cod.exe<!--<script>" in names
    for name in names[1:]:
        seen.page.locator("#filter-class").select_option(label=name)
        assert seen.count("#gallery-cards .exhibit") == sum(one.kind in _said_as(name) for one in found.gallery)


def test_a_contact_sheet_fits_a_telephone(
    visit: Open, command: Any, tmp_path: Path, image_folder: Path, picture_folder: Path
) -> None:
    bake(image_folder, tmp_path / "own", picture_folder, size=224, views="clean", limit=3)
    assert command("sample", tmp_path / "own", "-o", tmp_path / "sheet.html").code == 0
    seen = visit(tmp_path / "sheet.html", viewport={"width": 360, "height": 700})
    assert seen.count("img") == 9
    assert not seen.overflows()
    assert seen.said == []


def _said_as(name: str) -> list[str]:
    return [name, name.replace("?", "\x1b"), name.replace("?", "\u202e")]


def test_what_scripts_read_is_json_and_holds_no_name(page: Path, visit: Open, report: Report) -> None:
    known = json.loads(str(visit().page.locator("#known").text_content()))["gallery"]
    assert [one["key"] for one in known] == [one.key for one in report.gallery]
    assert {type(value) for one in known for name in FACETS for value in one[name]} == {int}
