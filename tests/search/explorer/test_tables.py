"""The explorer for tables: rows by their names and cells, words, lines of the table, and CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mscon.cli import main
from mscon.data.batches.dataset import fit_similarities
from mscon.errors import RunError
from mscon.run import recipe as recipes
from mscon.run.recipe import Data
from mscon.run.run import Run
from mscon.search.explorer.answers import Answers
from mscon.search.explorer.page import build_explorer
from mscon.search.names import name_column, names_of

RECIPE = """
title = "Cars"
[data]
input = "columns"
numbers = ["power"]
[[similarity]]
column = "make"
name = "categorical"
[[similarity]]
column = "price"
name = "continuous"
width = 3.0
[[similarity]]
name = "same_row"
"""
MODELS = ["=HYPERLINK(1)", "Alpha, GT", 'the "Cross"', *(f"Line {n}" for n in range(3, 40))]


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """40 rows of a table without images; nothing was trained."""
    count, generator = len(MODELS), np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "line": np.arange(2, count + 2),
            "split": ["test" if n % 4 == 0 else "train" for n in range(count)],
            "image": [""] * count,
            "model": MODELS,
            "make": [["Audi", "Fiat"][n % 2] for n in range(count)],
            "power": [str(70 + n) for n in range(count)],
            "price": [None if n == 3 else str(-5 + n) for n in range(count)],
        }
    )
    recipe = recipes.parse(RECIPE)
    run = Run.create(tmp_path_factory.mktemp("cars") / "run")
    run.write_recipe(recipe)
    run.write_rows(rows)
    run.write_facts({"table": {"name": "cars.csv"}})
    fitted = fit_similarities(rows, recipe.similarities)
    run.write_similarities(
        [{"name": p.name, "state": s.to_json()} for p, s in zip(recipe.similarities, fitted, strict=True)]
    )
    vectors = generator.normal(size=(3, count, 4)) + 3 * np.eye(4)[np.arange(count) % 2]
    vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
    run.write_checkpoint("last", {}, {"epoch": 1})
    run.write_features(vectors[0], vectors)
    return run


@pytest.fixture(scope="module")
def cars_page(cars: Run) -> str:
    return build_explorer(cars, cars.root, seconds=0.0).as_uri()


def until(page, holds: str) -> None:
    """Wait for an expression to hold. The page forbids what playwright's own waiting would evaluate in it."""
    for _ in range(200):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(30)
    raise AssertionError(holds)


def saved(page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save CSV").click()
    text = Path(download.value.path()).read_text("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


# Names ------------------------------------------------------------------------------------------------


def test_rows_are_called_by_a_column_of_short_texts_that_differ():
    rows = pl.DataFrame(
        {
            "line": [2, 3, 4],
            "id": ["7", "8", "9"],
            "remark": ["long " * 30] * 2 + ["other " * 30],
            "full_name": ["Ada", "Bob", None],
            "city": ["Rome", "Rome", "Rome"],
            "height": ["1", "2", "3"],
        }
    )
    data = Data(input="columns", numbers=("height",))
    assert name_column(rows, data) == "full_name"
    assert name_column(rows.drop("full_name"), data) == "id"
    assert name_column(rows.drop("full_name", "id"), data) == ""
    assert name_column(rows, data, "city") == "city"
    assert name_column(rows, data, "") == ""
    assert name_column(rows, replace(data, input="image")) == ""
    assert names_of(rows, data, "full_name") == ["Ada", "Bob", "line 4"]
    assert names_of(rows, data) == ["line 2", "line 3", "line 4"]
    with pytest.raises(RunError, match=r"no column 'citty' to name rows by. Did you mean 'city'"):
        name_column(rows, data, "citty")


def test_a_name_column_that_is_not_there_is_one_message(cars, capsys):
    for verb in (["explore", str(cars.root), "--no-open"], ["search", str(cars.root), "--query", "1"]):
        assert main([*verb, "--name-column", "modell"]) == 2
        message = capsys.readouterr().err
        assert "Did you mean 'model'" in message and "Traceback" not in message


# The page ---------------------------------------------------------------------------------------------


def test_a_card_has_the_name_and_the_cells_with_their_columns(open_page, cars_page):
    page = open_page(f"{cars_page}#like=4")
    card = page.locator("#grid .card").first
    name = card.locator(".score small").inner_text()
    assert name in MODELS
    assert card.locator(".key:visible").all_inner_texts() == ["make", "price", "power", "same_row"]
    assert card.locator(".frame").is_hidden() and page.locator("#grid img").count() == 0
    assert card.bounding_box()["height"] < 140
    assert page.locator(".example .words").inner_text() == "Line 4"
    page.select_option("#name-column", "")
    assert card.locator(".score small").inner_text().startswith("line ")
    page.select_option("#name-column", "power")
    until(page, "location.hash.includes('name=power')")
    again = open_page(page.url)
    assert again.locator("#grid .score small").first.inner_text().isdigit()


def test_words_find_rows_by_any_column(open_page, cars_page):
    page = open_page(cars_page)
    page.fill("#words", "fiat line")
    until(page, "document.querySelector('#grid-title').textContent === '19 rows'")
    page.fill("#words", "CROSS the")
    until(page, "document.querySelector('#grid-title').textContent === '1 row'")
    until(page, "location.hash.includes('CROSS')")  # a moment after the rows
    assert open_page(page.url).locator("#grid-title").inner_text() == "1 row"
    page.fill("#words", "nothing of the kind")
    until(page, "document.querySelector('#empty').textContent.includes('a word')")


def test_a_line_of_the_table_is_taken_as_the_query(open_page, cars_page):
    page = open_page(cars_page)
    page.fill("#line", "9")
    page.locator("#line").press("Enter")
    until(page, "document.querySelector('.example strong').textContent === 'Line 7'")
    page.fill("#line", "99")
    page.locator("#line").press("Enter")
    until(page, "document.querySelector('#jump-note').textContent.includes('line 99')")


def test_what_is_listed_is_saved_and_no_cell_is_a_formula(open_page, cars_page):
    page = open_page(cars_page)
    rows = saved(page)
    assert [row["line"] for row in rows] == [str(line) for line in range(2, 42)]
    assert [row["model"] for row in rows] == ["'=HYPERLINK(1)", *MODELS[1:]]
    assert rows[0]["price"] == "-5" and rows[3]["price"] == ""
    page.fill("#words", "fiat")
    until(page, "document.querySelector('#grid-title').textContent === '20 rows'")
    assert {row["make"] for row in saved(page)} == {"Fiat"}
    page.fill("#words", "")
    until(page, "document.querySelector('#grid-title').textContent === '40 rows'")
    page.select_option("#order", "doubt:make")
    doubts = [float(row["doubt of make"]) for row in saved(page)]
    assert len(doubts) == 40 and doubts == sorted(doubts, reverse=True)
    page.select_option("#order", "near")
    page.locator("#grid .take").first.click()
    hits = saved(page)
    scores = [float(row["score"]) for row in hits]
    assert len(hits) == 24 and scores == sorted(scores, reverse=True) and "score in price" in hits[0]


def test_a_selection_on_the_map_is_saved(open_page, cars_page):
    page = open_page(f"{cars_page}#lasso=0.2_-1..2_-1..2_2..0.2_2")
    count = int(page.locator("#grid-title").inner_text().split()[0])
    assert 0 < count < 40
    assert len(saved(page)) == count


def test_a_server_finds_words_lines_and_names_too(open_page, serving: Callable, cars):
    page = open_page(serving(Answers(cars, most=10, seconds=0.0)).url)
    until(page, "document.querySelector('#grid-title').textContent === '40 rows'")
    page.fill("#words", "fiat LINE")
    until(page, "document.querySelector('#grid-title').textContent === '19 rows'")
    assert set(page.locator("#grid .score small").all_inner_texts()) <= set(MODELS)
    page.fill("#words", "")
    for line in range(2, 12):
        page.fill("#line", str(line))
        page.locator("#line").press("Enter")
        until(page, f"document.querySelector('.example strong')?.textContent === {MODELS[line - 2]!r}")
    page.fill("#line", "1000")
    page.locator("#line").press("Enter")
    until(page, "document.querySelector('#jump-note').textContent.includes('line 1000')")


# The command line -------------------------------------------------------------------------------------


def test_search_prints_the_query_first_and_no_empty_column(cars, capsys):
    assert main(["search", str(cars.root), "--query", "line:6", "-k", "2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    header = next(line for line in lines if "score" in line).split()
    labels = ["make", "power", "price"]
    assert header == ["row", "line", "name", "score", *["by", "make", "by", "price", "by", "same_row"], *labels]
    rows = [line.split() for line in lines if line.split()[0].isdigit()]
    assert rows[0][:5] == ["4", "6", "Line", "4", "query"] and len(rows) == 3
    assert all("query" not in row for row in rows[1:])
