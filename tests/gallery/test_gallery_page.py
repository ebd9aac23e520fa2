"""Promises of the gallery's page in a real browser: closed, without a script, read by anybody, on any screen."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import FAINT, Visit

from mixbake.gallery.write import GallerySettings, write_gallery

pytestmark = pytest.mark.browser
OPEN = "for (const one of document.querySelectorAll('details')) one.open = true"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> Path:
    out = tmp_path_factory.mktemp("gallery") / "page.html"
    settings = GallerySettings(mixing_set=(str(picture_folder),), recipes=("layermix", "ipmix"))
    write_gallery(out, settings, progress=lambda *_: None)
    return out


@pytest.fixture
def visit(browser: Any, page: Path) -> Iterator[Callable[..., Visit]]:
    """visit(**settings of a browser's context)."""
    visits: list[Visit] = []

    def begin(**settings: Any) -> Visit:
        visits.append(Visit(browser, page, **settings))
        return visits[-1]

    yield begin
    for one in visits:
        one.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_can_be_read_anywhere_and_asks_for_nothing(
    visit: Callable[..., Visit], page: Path, width: int, scheme: str
) -> None:
    seen = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert not seen.overflows()
    across = seen.page.locator("#operations .exhibit").evaluate_all(
        "(found) => new Set(found.map((one) => one.getBoundingClientRect().left)).size"
    )
    assert across == {360: 2, 1280: 6}[width]
    cut = "(found) => found.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent)"
    assert seen.page.locator("summary, .lines").evaluate_all(cut) == []
    seen.page.evaluate(OPEN)
    assert not seen.overflows()
    count, faint = seen.page.evaluate(FAINT)
    assert (count > 500, faint) == (True, [])
    assert seen.said == []
    assert [url for url in seen.asked if not url.startswith("data:image/")] == [page.as_uri()]
    assert seen.page.evaluate("[...document.images].every((one) => one.alt && one.complete && one.naturalWidth)")


def test_a_program_is_opened_by_keyboard_and_nothing_runs(visit: Callable[..., Visit]) -> None:
    seen = visit(java_script_enabled=False)
    seen.page.locator("#layers summary").first.focus()
    seen.page.keyboard.press("Enter")
    (program,) = seen.texts("#layers pre")
    assert '"layer": 1' in program
    assert seen.count("#layers .strip img") > 1
    assert seen.page.locator("script").count() == 0
    seen.page.emulate_media(media="print", color_scheme="dark")
    assert [seen.count(one) for one in ("nav", ".skip")] == [0, 0]
    assert seen.count("#operations summary img") > 50
