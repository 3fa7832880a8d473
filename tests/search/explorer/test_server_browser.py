"""The explorer that is served, in a real browser: new images as queries, and rows that the page did not know."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mscon.run.run import Run
from mscon.search.explorer.answers import Answers
from mscon.search.explorer.server import ExplorerServer

from .conftest import HOSTILE

DROP = """([bytes, kind]) => {
  const letters = atob(bytes), data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(letters, (l) => l.charCodeAt(0))], 'new.png', { type: 'image/png' }));
  const told = kind === 'paste' ? { clipboardData: data } : { dataTransfer: data };
  const make = (name) => kind === 'paste' ? new ClipboardEvent(name, { ...told, bubbles: true, cancelable: true })
    : new DragEvent(name, { ...told, bubbles: true, cancelable: true });
  if (kind === 'paste') return document.body.dispatchEvent(make('paste'));
  document.body.dispatchEvent(make('dragenter'));
  const isMarked = document.body.classList.contains('dropping');
  document.body.dispatchEvent(make('dragover'));
  document.body.dispatchEvent(make('drop'));
  return isMarked && !document.body.classList.contains('dropping');
}"""


def until(page, holds: str) -> None:
    """Wait for an expression to hold. The page forbids what playwright's own waiting would evaluate in it."""
    end = time.monotonic() + 90  # of a machine with ten times the work it has processors for
    while not page.evaluate(holds):
        assert time.monotonic() < end, holds
        page.wait_for_timeout(30)


def wait_for_title(page, text: str) -> None:
    until(page, f"document.querySelector('#grid-title').textContent === {text!r}")


def move(page, name: str, value: int) -> None:
    page.get_by_role("slider", name=name, exact=True).fill(str(value))


def hits(page) -> list[str]:
    return page.eval_on_selector_all("#grid .take", "cards => cards.map(c => c.getAttribute('aria-label'))")


@pytest.fixture(scope="module")
def glyph_answers(glyph_run: Run) -> Answers:
    return Answers(glyph_run, most=900, seconds=0.0)


@pytest.fixture(scope="module")
def shoe_answers(shoes: Run) -> Answers:
    return Answers(shoes, most=20, seconds=0.0)


@pytest.fixture
def glyph(glyph_answers: Answers, glyph_run: Run) -> tuple[str, str]:
    """A picture of a letter that was not trained on: its path and its letter."""
    row = int(np.flatnonzero((glyph_run.read_rows()["split"] == "test").to_numpy())[7])
    image = glyph_run.read_rows()["image"][row]
    return f"{glyph_run.read_facts()['images_root']}/{image}", glyph_run.read_rows()["character"][row]


def test_an_uploaded_glyph_finds_its_letter_and_a_slider_its_weight(
    open_page: Callable, serving: Callable[..., ExplorerServer], glyph_answers, glyph, pictures
):
    path, letter = glyph
    page = open_page(serving(glyph_answers).url, width=1400, height=950)
    wait_for_title(page, "3,174 rows")
    page.set_input_files("#upload", path)
    wait_for_title(page, "Nearest of 3,174 rows")
    assert page.locator(".example.like").count() == 1
    assert page.evaluate("document.querySelector('.example img').naturalWidth") > 0
    before = hits(page)
    for name in ("slant", "weight"):
        move(page, name, 0)
    until(page, f"JSON.stringify({before!r}) !== JSON.stringify([...document.querySelectorAll('#grid .take')]"
          ".map(c => c.getAttribute('aria-label')))")  # fmt: skip
    page.wait_for_timeout(200)
    labels = hits(page)
    assert sum(f"character {letter}" in label for label in labels[:10]) >= 8, labels[:10]
    assert page.locator("#agreement").inner_text().strip() == "", "a new image has no label to agree with"
    until(page, "[...document.querySelectorAll('#grid img')].every(i => i.complete && i.naturalWidth > 0)")
    page.screenshot(path=pictures / "served-upload.png")
    page.locator(".example").click()
    wait_for_title(page, "3,174 rows")


def test_a_picture_can_be_dropped_and_pasted(open_page, serving, glyph_answers, glyph):
    page = open_page(serving(glyph_answers).url)
    data = base64.b64encode(Path(glyph[0]).read_bytes()).decode()
    for kind in ("drop", "paste"):
        wait_for_title(page, "3,174 rows")
        assert page.evaluate(DROP, [data, kind]) is (kind == "drop")
        wait_for_title(page, "Nearest of 3,174 rows")
        assert "new.png" in page.locator("#query").inner_text()
        page.get_by_role("button", name="Start over").click()
    assert page.locator(".example").count() == 0


def test_what_is_no_picture_is_told_beside_the_button(browser, serving, glyph_answers, tmp_path):
    """A page of its own: browsers tell the console of every answer that is not 200."""
    (tmp_path / "notes.png").write_text("no picture")
    page = browser.new_page()
    page.goto(serving(glyph_answers).url)
    page.set_input_files("#upload", tmp_path / "notes.png")
    until(page, "document.querySelector('#upload-note').textContent.includes('no picture of a kind')")
    wait_for_title(page, "3,174 rows")
    page.close()


def test_rows_that_the_page_did_not_know_are_shown_as_all_others(open_page, serving, shoe_answers, pictures):
    """20 of 60 rows are on the map: all are found, browsed, filtered, taken as queries, and kept in the link."""
    server = serving(shoe_answers)
    page = open_page(server.url)
    wait_for_title(page, "60 rows")
    assert "20, drawn evenly" in page.locator(".about").inner_text()
    page.get_by_role("button", name="Show more").click()
    until(page, "document.querySelectorAll('#grid .card').length === 48")
    page.locator("#grid .take").nth(40).click()
    wait_for_title(page, "Nearest of 59 rows")
    page.get_by_role("button", name="Only kind").click()
    # One of the rows near it has no label.
    until(
        page,
        "['9 of 9', '10 of 10'].includes(document.querySelector('#agreement li[data-column=kind] .count').textContent)",
    )
    page.locator("#grid .take").nth(0).click(modifiers=["Shift"])
    wait_for_title(page, "Nearest of 58 rows")
    page.locator("#grid .take").nth(30).press("-")
    wait_for_title(page, "Nearest of 57 rows")
    page.select_option("#filter-column", "split")
    page.get_by_role("checkbox", name="unseen").check()
    until(page, "document.querySelectorAll('#grid .card').length < 14")
    assert "split: unseen" in page.locator("#filters").inner_text()
    # The address follows once the page rests; a slow one has rested before the filter, too.
    until(page, "['unlike=', 'only='].every(word => location.hash.includes(word))")
    again = open_page(page.url)
    until(again, "document.querySelectorAll('.example').length === 3")
    until(again, f"document.querySelectorAll('#grid .card').length === {len(hits(page))}")
    assert hits(again) == hits(page)
    page.set_viewport_size({"width": 1300, "height": 900})
    page.screenshot(path=pictures / "served-shoes.png")


def test_middles_selections_and_suspicious_labels(open_page, serving, shoe_answers):
    page = open_page(serving(shoe_answers).url)
    page.select_option("#middle-column", "shape")
    page.select_option("#middle-label", "boots / …")
    page.get_by_role("button", name="Find", exact=True).click()
    wait_for_title(page, "Nearest of 60 rows")
    assert "The mean of 40 rows." in page.locator("#query").inner_text()
    page.get_by_role("button", name="Only shape").click()
    until(page, "document.querySelector('#agreement li[data-column=shape] .count').textContent === '10 of 10'")
    page.get_by_role("button", name="Start over").click()
    page.locator("#overlay").focus()
    page.locator("#overlay").press("ArrowRight")
    page.locator("#overlay").press("Space")
    until(page, "/^(18|19|20) rows$/.test(document.querySelector('#grid-title').textContent)")  # of the map only
    page.locator("#overlay").press("Escape")
    wait_for_title(page, "60 rows")
    page.select_option("#order", "doubt:kind")
    wait_for_title(page, "Suspicious labels first: kind")
    for name in ("kind", "closure", "size", "shape", "heel"):
        move(page, name, 0)
    page.select_option("#order", "near")
    page.locator("#grid .take").nth(0).click()
    until(page, "document.querySelector('#empty').textContent.includes('All sliders are at 0')")


def test_hostile_texts_of_rows_told_later_are_text(open_page, serving, shoe_answers):
    page = open_page(serving(shoe_answers).url)
    wait_for_title(page, "60 rows")
    page.select_option("#filter-column", "kind")
    page.get_by_role("checkbox", name="onerror").check()
    wait_for_title(page, "19 rows")
    assert HOSTILE in page.locator("#grid").inner_text()
    assert page.locator("img[onerror], img[src=x]").count() == 0
    assert page.title() == "Shoes <b>&amp;</b> · mscon explorer"


def test_a_server_that_has_ended_is_told(browser, shoe_answers):
    import threading

    server = ExplorerServer(shoe_answers)
    thread = threading.Thread(target=server.run)
    thread.start()
    page = browser.new_page()
    page.goto(server.url)
    wait_for_title(page, "60 rows")
    server.stop()
    thread.join()
    page.locator("#grid .take").nth(0).click()
    until(page, "document.querySelector('#empty').textContent.includes('does not answer')")
    page.close()
