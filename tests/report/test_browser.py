"""The page in a real browser: it opens from disk, complains of nothing and asks for nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from mscon.report.page import build_report

from .runs import CLASSES, make_images, make_rows, make_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (tests/browser.py installs one)")


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    rows = make_rows({**CLASSES, "slant <script>document.title='owned'</script>": ["a", "b"]})
    make_images(folder / "images", rows)
    monkey = pytest.MonkeyPatch()
    monkey.setenv("MSCON_CACHE", str(folder / "cache"))
    runs = [
        make_run(folder / f"{title}{seed}", rows, title=title, seed=seed, skill=skill, images=folder / "images")
        for title, skill in (("MSCon", 0.8), ("SupCon", 0.5))
        for seed in range(3)
    ]
    path = build_report(runs, folder)
    monkey.undo()
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (1300, "dark"), (390, "light")])
def test_the_page_opens_quietly(browser, address, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert page.title() == "2 methods compared on glyphs.csv"
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    # The style applies, or its hash would be wrong.
    assert page.evaluate("getComputedStyle(document.querySelector('.plate')).borderTopLeftRadius") == "10px"
    page.close()
