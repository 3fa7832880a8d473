"""The page in a real browser: it opens from disk, complains of nothing, asks for nothing, and prints."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from mscon.evaluate.report.page import build_report

from .runs import CLASSES, make_images, make_rows, make_run
from .test_experiments import experiment, leave

EVIL = "<script>document.title='owned'</script>"
# What A4 leaves between the margins of the style, in CSS pixels.
PAPER = round((210 - 26) / 25.4 * 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two methods of three seeds with images and an experiment; one run; and two methods too many for one row."""
    folder = tmp_path_factory.mktemp("browser")
    rows = make_rows({**CLASSES, f"slant {EVIL}": ["a", f"<img src=x onerror=alert(1)>{EVIL}"]})
    make_images(folder / "images", rows)
    monkey = pytest.MonkeyPatch()
    monkey.setenv("MSCON_CACHE", str(folder / "cache"))
    results = leave(folder / "figure3", experiment(f"MSCon {EVIL}"))
    runs = [
        make_run(
            folder / f"{skill}-{seed}",
            rows,
            title=title,
            seed=seed,
            skill=skill,
            images=folder / "images",
            train_on=("character", f"slant {EVIL}"),
            ask=("character", f"slant {EVIL}", "family"),
        )
        for title, skill in ((f"MSCon {EVIL}", 0.8), ("SupCon", 0.5))
        for seed in range(3)
    ]
    build_report(runs, folder / "six.html", results=[results])
    build_report(runs[:1], folder / "one.html")
    monkey.undo()
    many = [
        make_run(folder / f"many{i}", rows, title=f"A method whose title is of some length, {i}", seed=i, steps=12)
        for i in range(22)
    ]
    build_report(many, folder / "many.html", with_maps=False)
    return folder


def keep(folder: Path, name: str) -> Path:
    """Where a picture to look at goes: beside the pages, or to $MSCON_SCREENSHOTS."""
    place = Path(os.environ.get("MSCON_SCREENSHOTS") or folder / "screenshots")
    place.mkdir(parents=True, exist_ok=True)
    return place / name


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("six", 1300, "light"),
        ("six", 1300, "dark"),
        ("six", 390, "light"),
        ("one", 390, "dark"),
        ("many", 1300, "light"),
    ],
)
def test_the_page_opens_quietly(browser, folder, name, width, scheme):
    address = (folder / f"{name}.html").as_uri()
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert "owned" not in page.title().replace(EVIL, "")
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    # The style applies, or its hash would be wrong.
    assert page.evaluate("getComputedStyle(document.querySelector('.plate')).borderTopLeftRadius") == "10px"
    page.screenshot(path=keep(folder, f"report-{name}-{width}-{scheme}.png"), full_page=True)
    page.close()


def test_a_page_of_many_runs_stays_small(folder):
    assert (folder / "many.html").stat().st_size < 4_000_000
    assert (folder / "one.html").stat().st_size < 2_000_000


def test_names_from_a_table_are_shown_as_text(browser, folder):
    page = browser.new_page()
    page.goto((folder / "six.html").as_uri())
    text = page.inner_text("main")
    assert f"MSCon {EVIL}" in text and f"slant {EVIL}" in text and "onerror=alert(1)" in text
    assert page.evaluate("document.scripts.length") == 0
    page.close()


def test_contents_lead_to_every_section(browser, folder):
    page = browser.new_page()
    page.goto((folder / "six.html").as_uri())
    targets = page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert targets == page.evaluate("[...document.querySelectorAll('main > section > h2')].map(h => h.id)")
    assert {"comparison", "results", "training", "diversity", "maps", "neighbours", "confusion", "data"} <= set(targets)
    page.close()


def test_every_picture_of_numbers_has_them_in_a_table(browser, folder):
    """Folded away until asked for, and reachable by keyboard."""
    page = browser.new_page()
    page.goto((folder / "six.html").as_uri())
    page.focus("#training ~ details summary, section[aria-labelledby=training] details summary")
    assert not page.is_visible("section[aria-labelledby=training] details table")
    page.keyboard.press("Enter")
    assert page.is_visible("section[aria-labelledby=training] details table")
    page.close()


def test_drawings_follow_dark_mode_and_print_stays_light(browser, folder):
    """Ink of charts and maps, and what lies behind it."""
    page = browser.new_page(viewport={"width": 1300, "height": 900}, color_scheme="light")
    page.goto((folder / "one.html").as_uri())
    look = """
        [['svg.chart .tick', 'fill'], ['svg.chart .line', 'stroke'], ['svg.map .points', 'stroke'],
         ['.plate', 'backgroundColor']
        ].map(([what, how]) => getComputedStyle(document.querySelector(what))[how])
    """
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(look)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(look)[1:] == light[1:]
    page.close()


def test_wide_tables_scroll_within_the_page(browser, folder):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto((folder / "many.html").as_uri())
    outside = page.evaluate(
        "[...document.querySelectorAll('main table')].filter(t => t.getBoundingClientRect().right > innerWidth + 1)"
        ".filter(t => !['auto', 'scroll'].includes(getComputedStyle(t.closest('.scroll') ?? t).overflowX)).length"
    )
    assert outside == 0
    score = page.locator("table.scores td.score").first
    assert score.evaluate("s => s.closest('.scroll').scrollWidth <= s.closest('.scroll').clientWidth"), "scores fit"
    name = score.evaluate("s => getComputedStyle(s, '::before').content")
    assert name == '"A method whose title is of some length, 0"'
    page.set_viewport_size({"width": 1280, "height": 900})
    cut = (
        "[...document.querySelectorAll('.scroll')].filter(e => e.offsetParent && e.scrollWidth > e.clientWidth).length"
    )
    assert page.evaluate(cut) == 0, "on a wide screen nothing is cut, not even with 22 methods"
    page.close()


@pytest.mark.parametrize("name", ["six", "many"])
def test_it_prints_on_several_pages_light_and_unfolded(browser, folder, name):
    page = browser.new_page(viewport={"width": PAPER, "height": 1000}, color_scheme="dark")
    page.goto((folder / f"{name}.html").as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    hidden = page.evaluate(
        "[...document.querySelectorAll('details:not([open]) table, details:not([open]) pre')]"
        ".filter(e => e.getBoundingClientRect().height === 0).length"
    )
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") > 0
    assert hidden == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), "cut at the right edge of the paper"
    wide = page.evaluate(
        "[...document.querySelectorAll('main table, main img, main pre')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"
    )
    assert wide == []
    content = page.pdf(path=keep(folder, f"report-{name}.pdf"), prefer_css_page_size=True, print_background=True)
    assert content.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", content))
    assert 4 <= pages <= 80
    assert re.search(rb"/MediaBox\s*\[0 0 59[45][.\d]* 84[12]", content), "A4"
    page.close()
