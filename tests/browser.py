"""A real browser for tests of pages, and what they ask of one.

Rule: pages are opened from their files. The browser is that of MIXBAKE_BROWSER, which must be there then; else
Chromium where one is installed, and without one these tests are skipped.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    wanted = os.environ.get("MIXBAKE_BROWSER", "")
    found = next(filter(None, map(shutil.which, [wanted] if wanted else NAMES)), "")
    assert found or not wanted, f"MIXBAKE_BROWSER is {wanted}, which is not here"
    if not found:
        pytest.skip("no Chromium is installed: its package is called chromium; MIXBAKE_BROWSER names another")
    if not wanted:
        pytest.importorskip("playwright", reason="playwright is not installed: pip install '.[test]'")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield running
        running.close()


class Visit:
    """A page opened in a browser, and what it said and asked for meanwhile."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def texts(self, selector: str) -> list[str]:
        """Texts of all that are visible."""
        visible = "(found) => found.filter((one) => one.checkVisibility()).map((one) => one.textContent)"
        return list(self.page.locator(selector).evaluate_all(visible))

    def count(self, selector: str) -> int:
        """How many are visible."""
        return len(self.texts(selector))

    def focused(self) -> str:
        """Text of what has the focus."""
        return str(self.page.evaluate("document.activeElement.textContent"))

    def overflows(self) -> bool:
        """Whether the page scrolls sideways."""
        root = "document.documentElement"
        return bool(self.page.evaluate(f"{root}.scrollWidth > {root}.clientWidth"))


FAINT = """
() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
      if (colour[3] > 0) throw new Error(`half transparent: ${one.tagName}`);
    }
    throw new Error("nothing behind");
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("option")) continue;
    count += 1;
    const [one, two] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) faint.push([ratio, element.outerHTML.slice(0, 200)]);
  }
  return [count, faint];
}
"""
"""Counts visible texts and finds those whose contrast is below 4.5 : 1 (WCAG 2.1, success criterion 1.4.3)."""
