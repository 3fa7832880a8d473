"""Weights, moves and new rows on the page and its server: what `Index.search` finds."""

from __future__ import annotations

import numpy as np
import pytest

from mscon.run.run import Run
from mscon.search.explorer.answers import Answers
from mscon.search.explorer.page import build_explorer
from mscon.search.index import open_index, read_index

from .test_server import EQUAL, get, island, post
from .test_server_browser import hits, until, wait_for_title


@pytest.fixture(scope="module")
def answers(shoes: Run) -> Answers:
    return Answers(shoes, seconds=0.0)


@pytest.fixture(scope="module")
def entering(input_runs: dict[str, Run]) -> dict[str, Answers]:
    """Of runs on vectors, columns and texts."""
    return {kind: Answers(run, seconds=0.0) for kind, run in input_runs.items()}


def code_of(server, column: str, label: str) -> int:
    (one,) = [one for one in island(get(server, ""))["columns"] if one["name"] == column]
    return one["labels"].index(label)


# The server -----------------------------------------------------------------------------------------


def test_weights_and_moves_are_those_of_the_index(serving, answers):
    server = serving(answers)
    towards = [
        {"column": "kind", "codes": [code_of(server, "kind", "boots")], "amount": 1},
        {"column": "size", "to": "higher", "amount": 0.5},
        {"column": "heel", "near": 3, "amount": 0.25},
    ]
    question = {"mix": EQUAL, "like": [3, 40], "unlike": [17], "weights": {"3": 2, "17": 0.5}, "count": 12}
    found = post(server, "search", question | {"towards": towards}).content
    expected = answers.index.search(
        [(3, 2), 40], unlike=[(17, 0.5)], towards={"kind": "boots", "size": "higher", "heel": (3, 0.25)}, k=12
    )
    assert found["rows"] == [hit.row for hit in expected]
    np.testing.assert_allclose(found["scores"], [hit.score for hit in expected], atol=1e-4)
    assert found["rows"] != post(server, "search", question).content["rows"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("weights", {"3": 0}, "'weights' must be an object of rows"),
        ("weights", {"3": 101}, "at most 100"),
        ("weights", {"3": "x"}, "at most 100"),
        ("weights", [1], "at most 100"),
        ("towards", [{"column": "kind", "to": "higher", "amount": 1}], "have no order"),
        ("towards", [{"column": "heel", "to": "up", "amount": 1}], "'to' must be 'higher' or 'lower'"),
        ("towards", [{"column": "heel", "near": 99, "amount": 1}], "no value '99.0'"),
        ("towards", [{"column": "heel", "near": 3, "to": "higher", "amount": 1}], "one of 'codes', 'near' and 'to'"),
        ("towards", [{"column": "heel", "near": 3}], "needs an 'amount'"),
        ("towards", [{"column": "heel", "near": 3, "amount": 0}], "above 0 and at most 1"),
        ("towards", [{"column": "kind", "codes": [99], "amount": 1}], "'codes' must be whole numbers from 0 to 2"),
        ("towards", [{"column": "kind", "codes": [], "amount": 1}], "no row has this label"),
        ("towards", [{"column": "split", "codes": [0], "amount": 1}], "column 'split' has no similarity"),
        ("towards", [{"column": "nothing", "to": "higher", "amount": 1}], "no column 'nothing'"),
        ("towards", [{"column": "heel", "near": 3, "amount": 1}] * 2, "can move towards one thing only"),
        ("towards", [7], "'towards' must be a list of objects"),
        ("towards", [{"column": "heel", "near": 3, "amount": 1, "x": 1}], "towards has no 'x'"),
    ],
)
def test_what_is_no_weight_and_no_move_is_one_message(serving, answers, field, value, words):
    answer = post(serving(answers), "search", {"mix": EQUAL, "like": [3], field: value})
    assert answer.status == 400 and words in answer.message


NEW = {
    "vectors": [0.5, -1, 0, 2, 1, 0.25],
    "columns": {"height": "3.5", "make": "y"},
    "text": "a red sandal ok",
}


@pytest.mark.parametrize("kind", NEW)
def test_a_new_row_is_an_example(serving, entering, kind):
    server, index = serving(entering[kind]), entering[kind].index
    answer = post(server, "encode", {"row": NEW[kind]}).content
    assert answer["notes"] == []
    mix = {"kind": 1, "price": 1}
    question = {"mix": mix, "new": [answer["new"]], "like": [2], "weights": {answer["new"]: 3}, "count": 10}
    found = post(server, "search", question).content
    row = np.array(NEW[kind]) if kind == "vectors" else NEW[kind]
    assert found["rows"] == [hit.row for hit in index.search([(row, 3), 2], k=10)]


def test_a_category_that_is_unknown_is_noted(serving, entering):
    (note,) = post(serving(entering["columns"]), "encode", {"row": {"height": 1, "make": "Y"}}).content["notes"]
    assert "'Y' in column 'make' is not among" in note


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("vectors", "clip.npy", "'row' must be a list of numbers"),  # no file is read
        ("vectors", [1, 2], "one vector of 6 numbers"),
        ("vectors", [1, 2, 3, 4, 5, "x"], "one vector of 6 numbers"),
        ("vectors", [0] * 6, "all of its numbers are 0"),
        ("columns", "table.csv", "'row' must be an object of cells"),
        ("columns", {"height": 1}, "no cell of column 'make'"),
        ("columns", {"height": [1], "make": {}}, "column 'height' must be text, a number"),
        ("text", ["a"], "'row' must be a text"),
        ("text", " ", "without words"),
        ("text", 7, "'row' must be a text, a list"),
        ("text", None, "'row' must be a text, a list"),
    ],
)
def test_what_is_no_new_row_is_one_message(serving, entering, input_runs, kind, row, words):
    answer = post(serving(entering[kind]), "encode", {"row": row})
    assert answer.status == 400 and words in answer.message


def test_a_request_without_a_row_or_on_images_is_told(serving, answers, entering):
    assert "'row' is missing" in post(serving(entering["text"]), "encode", {}).message
    assert "must be uploaded" in post(serving(answers), "encode", {"row": "shoes.csv"}).message


def test_a_move_finds_the_other_weight_and_the_same_letter(glyph_run):
    """On a small run that was really trained: of the 10 nearest, by what they are."""
    index = open_index(glyph_run)
    test = np.flatnonzero((index.rows["split"] == "test").to_numpy())[::25]

    def shares(moves: bool) -> np.ndarray:
        found = []
        for row in test.tolist():
            cells = index.rows.row(row, named=True)
            weight = "light" if cells["weight"] in ("bold", "black") else "black"
            towards = {"weight": weight} if moves else None
            hits = index.search(row, towards=towards, filters="split=test", k=10)
            found += [(hit.labels["weight"] == weight, hit.labels["character"] == cells["character"]) for hit in hits]
        return np.mean(found, axis=0)

    before, after = shares(moves=False), shares(moves=True)
    assert after[0] > before[0] + 0.2
    assert after[1] > before[1] - 0.05


# The page -------------------------------------------------------------------------------------------


def test_the_page_alone_weighs_and_moves_as_the_index_does(open_page, kinds_page, pictures):
    page = open_page(f"{kinds_page}#like=3.40&unlike=17")
    page.get_by_label("Weight of this example to be like").first.fill("2")
    page.get_by_label("Weight of this example to be like").first.press("Tab")
    page.select_option("#move-column", "kind")
    page.select_option("#move-target", "=sandals")
    page.locator("#move").click()
    page.select_option("#move-column", "heel")
    page.select_option("#move-target", ":higher")
    assert page.locator("#move-percent").inner_text() == "50 %"
    page.locator("#move").click()
    assert page.locator("#moves li").all_inner_texts() == ["kind: sandals, 100 % ✕", "heel higher, 50 % ✕"]
    until(page, "location.hash.includes('towards=')")
    names = page.eval_on_selector_all("#grid .take", "cards => cards.map(card => card.title.split('\\n')[0])")
    run = Run.open(kinds_page.removeprefix("file://").rpartition("/")[0])
    index = read_index(run, "float32")
    found = index.search([(3, 2), 40], unlike=17, towards={"kind": "sandals", "heel": "higher"}, k=24)
    assert len({*names} & {hit.image for hit in found}) >= 22  # vectors of the page have eight bits a number
    title = page.locator("#grid .take").first.get_attribute("title")
    assert " by kind + " in title and title.count(" by ") == 5
    page.screenshot(path=pictures / "moves.png")
    again = open_page(page.url)
    assert hits(again) == hits(page)
    assert again.get_by_label("Weight of this example to be like").first.input_value() == "2"
    page.get_by_role("button", name="Take out the move towards heel higher").click()
    page.select_option("#move-target", ":near")
    page.locator("#move-number").fill("999")
    page.locator("#move").click()
    assert "No row is there" in page.locator("#move-note").inner_text()
    page.locator("#move-number").fill("3")
    page.locator("#move").click()
    assert page.locator("#moves li").all_inner_texts()[-1] == "heel near 3, 100 % ✕"
    first = page.locator("#grid .take").first.get_attribute("aria-label")
    assert "kind sandals, the same" in first


@pytest.mark.parametrize("kind", NEW)
def test_a_new_row_is_entered_on_the_page_of_a_server(open_page, serving, entering, kind, pictures):
    server = serving(entering[kind])
    page = open_page(server.url)
    wait_for_title(page, "20 rows")
    if kind == "columns":
        page.get_by_role("textbox", name="height").fill("3.5")
        page.get_by_role("textbox", name="make").fill("y")
    else:
        page.locator("#enter textarea").fill(str(NEW[kind]))
    page.locator("#enter-find").click()
    wait_for_title(page, "Nearest of 20 rows")
    row = np.array(NEW[kind]) if kind == "vectors" else NEW[kind]
    expected = [f"line {hit.line}" for hit in entering[kind].index.search(row, k=20)]
    page.select_option("#name-column", "")
    assert page.locator("#grid .score small").all_inner_texts() == expected
    page.locator("#grid .take").nth(4).click(modifiers=["Shift"])
    wait_for_title(page, "Nearest of 19 rows")
    page.locator("#enter-add").click()
    until(page, "document.querySelectorAll('.example').length === 3")
    page.screenshot(path=pictures / f"entered-{kind}.png")
    page.get_by_role("button", name="Start over").click()
    assert page.locator(".example").count() == 0


def test_a_vector_that_is_none_is_told_beside_the_field(open_page, serving, entering):
    page = open_page(serving(entering["vectors"]).url)
    page.locator("#enter textarea").fill("1, two, 3")
    page.locator("#enter-find").click()
    until(page, "document.querySelector('#enter-note').textContent === '“two” is no number.'")


def test_a_page_alone_takes_no_new_row(open_page, input_runs, tmp_path):
    page = open_page(build_explorer(input_runs["text"], tmp_path, seconds=0.0).as_uri())
    assert page.locator("#enter").count() == 0 and page.locator("#moving").is_visible()
