"""New rows as queries, of whatever a run was trained on: found as rows of the run are, or refused before encoding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file

import mscon
from mscon.cli import main
from mscon.data.inputs.tabular import ColumnCoding
from mscon.data.table.table import read_table
from mscon.deploy.cells import unknown_categories
from mscon.deploy.embedder import Embedder
from mscon.errors import MSConError, RunError
from mscon.run.run import Run
from mscon.search.index import Index
from mscon.search.spaces import unit

ROW = 7


@pytest.fixture(scope="module")
def indices(input_runs: dict[str, Run]) -> dict[str, Index]:
    return {kind: mscon.open_index(run, dtype="float32") for kind, run in input_runs.items()}


def row_of(run: Run) -> dict[str, str]:
    """The cells of one row of the table."""
    return read_table(run.root.parent / "table.csv").frame.row(ROW, named=True)


def vector_of(run: Run) -> np.ndarray:
    return np.load(run.root.parent / "clip.npy")[ROW]


def forms(kind: str, run: Run, folder: Path) -> list[Any]:
    """The same row, in every form that `encode` takes."""
    cells = row_of(run)
    if kind == "text":
        return [cells["review"], [cells["review"]]]
    if kind == "columns":
        inputs = {"height": float(cells["height"]), "make": cells["make"]}
        pl.DataFrame(inputs | {"other": 1}).write_csv(folder / "row.csv")
        return [inputs, pl.DataFrame(inputs), folder / "row.csv"]
    vector = vector_of(run)
    np.save(folder / "flat.npy", vector)
    np.save(folder / "row.npy", vector[None].astype(np.float64))
    save_file({"features": vector}, folder / "flat.safetensors")
    files = [folder / name for name in ("flat.npy", "row.npy", "flat.safetensors")]
    return [vector, vector[None], vector.tolist(), torch.from_numpy(vector), *files]


@pytest.mark.parametrize("kind", ["vectors", "columns", "text"])
def test_a_new_row_is_encoded_as_a_row_of_the_run_is(indices, kind, tmp_path):
    index = indices[kind]
    expected = unit(index.run.read_projections()[:, ROW].astype(np.float64))
    for form in forms(kind, index.run, tmp_path):
        np.testing.assert_allclose(index.encode(form), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["vectors", "columns", "text"])
def test_a_search_takes_what_encode_takes_and_a_command_line_can_write(indices, kind, tmp_path):
    index = indices[kind]
    written = {
        "vectors": [
            json.dumps(vector_of(index.run).tolist()),
            f"file:{tmp_path / 'flat.npy'}",
            str(tmp_path / "row.npy"),
        ],
        "columns": ['{"height": 3.5, "make": "y"}', '{"height": "3.5", "make": "y"}', str(tmp_path / "row.csv")],
        "text": [row_of(index.run)["review"], f"text:{row_of(index.run)['review']}"],
    }
    in_python = [form for form in forms(kind, index.run, tmp_path) if not isinstance(form, list)]
    for query in [*in_python, *written[kind]]:
        hit = index.search(query, k=20)[0]
        assert hit.score > 0.9999
        assert index.search(query, k=20).searched == 20  # a new row is none of the run
    assert index.search([written[kind][0], 3], k=20).searched == 19


def test_a_text_that_looks_like_something_else_can_be_named(indices):
    index = indices["text"]
    assert index.search("kind=a").query == "the mean of 10 rows with kind=a"
    assert index.search("7").query == "row 7"
    assert index.search("text:kind=a").query == 'the text "kind=a"'
    assert index.search("text:7").query == 'the text "7"'
    assert index.search("pyproject.toml").query == 'the text "pyproject.toml"'  # no file is read


def test_a_dictionary_is_a_new_row_if_it_names_a_column_that_is_encoded(indices):
    index = indices["columns"]
    assert index.search({"kind": "a"}).query == "the mean of 10 rows with kind=a"
    assert index.search({"height": 3.5, "make": "y"}).query == "the row height=3.5, make=y"
    assert index.search("make=y").query == "the mean of 7 rows with make=y"


def test_a_missing_cell_is_missing_and_an_unknown_category_is_noted(indices):
    index = indices["columns"]
    middle = index.run.read_inputs()["numbers"][0]["mean"]
    missing = index.encode({"height": None, "make": "y"})
    np.testing.assert_allclose(missing, index.encode({"height": middle, "make": "y"}), atol=1e-6)
    assert index.search({"height": None, "make": " y "}).notes == ()
    (note,) = index.search({"height": 1, "make": "yy"}).notes
    assert "'yy' in column 'make' is not among the 3 values" in note


BAD = [
    ("vectors", "[1, 2, 3]", r"one vector of 6 numbers, got \[3\]"),
    ("vectors", "[1, NaN, 3, 4, 5, 1e99]", "2 numbers of 6 are NaN, infinite or too large"),
    ("vectors", "[0, 0, 0, 0, 0, 0]", "all of its numbers are 0"),
    ("vectors", '["a", 1, 2, 3, 4, 5]', "one vector of 6 numbers, got"),
    ("vectors", "[[1, 2], [3]]", "this is no vector"),
    ("vectors", "[1, 2", "is nothing that run"),
    ("vectors", "[1, 2,]", "is no JSON"),
    ("vectors", "[" * 5_000 + "]" * 5_000, "is no JSON|no vector|one vector"),
    ("vectors", np.zeros((2, 6), np.float32), r"one vector of 6 numbers, got \[2, 6\]"),
    ("vectors", np.full(6, "a"), "one vector of 6 numbers"),
    ("vectors", "text:red", "a new text cannot be a query, since run .* was trained on vectors"),
    ("vectors", '{"height": 3}', "the cells of a new row cannot be a query"),
    ("vectors", "photo.jpg", "the file does not exist"),
    ("columns", '{"height": 3.5}', "no cell of column 'make', which the model encodes"),
    ("columns", '{"height": 1, "make": "x", "heigth": 2}', "'heigth' is no column that .*Did you mean 'height'"),
    ("columns", '{"height": 1, "make": "x", "price": 2}', "'price' is no column that the model encodes"),
    ("columns", '{"height": "tall", "make": "x"}', "'tall' in column 'height' is no finite number"),
    ("columns", '{"height": Infinity, "make": "x"}', "'inf' in column 'height' is no finite number"),
    ("columns", '{"height": [1], "make": {"a": 1}}', r"(?s)column 'height' must be text.*column 'make' must be text"),
    ("columns", "{}", "no cell of column 'height'"),
    ("columns", '{"height": 1' + "0" * 400 + ', "make": "x"}', "is no finite number|too large"),
    ("columns", "[1, 2]", "a new vector cannot be a query, since run .* was trained on columns"),
    ("columns", {"height": 1}, "no cell of column 'make'"),
    ("text", "[1, 2]", "a new vector cannot be a query, since run .* was trained on texts"),
    ("text", "file:x.txt", "takes no files as queries"),
    ("text", "text: ", "takes a text, got str without words"),
    ("text", 3.5, "takes a text, got float"),
]  # fmt: skip


@pytest.fixture
def nothing_encoded(monkeypatch):
    def encode(*arguments):
        raise AssertionError("encoded")

    monkeypatch.setattr(Embedder, "encode_all", encode)
    monkeypatch.setattr("mscon.data.inputs.text._encode", encode)


@pytest.mark.parametrize(("kind", "query", "words"), BAD)
def test_what_a_run_cannot_encode_is_one_message_before_anything_is_encoded(
    indices, nothing_encoded, kind, query, words
):
    with pytest.raises(MSConError, match=words):
        indices[kind].search(query)


def test_more_than_one_row_is_none(indices, tmp_path):
    (tmp_path / "rows.csv").write_text("height,make\n1,x\n2,y\n")
    np.save(tmp_path / "rows.npy", np.ones((2, 6), np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    with pytest.raises(RunError, match="it must be one row, got more"):
        indices["columns"].search(tmp_path / "rows.csv")
    with pytest.raises(RunError, match=r"one vector of 6 numbers, got \[2, 6\]"):
        indices["vectors"].search(tmp_path / "rows.npy")
    with pytest.raises(MSConError, match="Python objects are not read"):
        indices["vectors"].search(tmp_path / "objects.npy")
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(RunError, match=r"vectors are read from \.npy and \.safetensors files"):
        indices["vectors"].search(tmp_path / "photo.jpg")


def test_all_mistakes_are_told_at_once_before_anything_is_encoded(indices, nothing_encoded):
    fine = {"height": 1, "make": "x"}
    with pytest.raises(RunError) as caught:
        indices["columns"].search(
            [fine, {"height": 2}, "[1]"], unlike=("text:a", "kind=z"), mix="kin=1", towards="make=x"
        )
    for words in (
        "'make', which",
        "a new vector cannot",
        "a new text cannot",
        "no value 'z'",
        "'kin'",
        "no similarity",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(("query", "words"), [
    ("text:a red boot", "a new text cannot be a query, since run .* was trained on images"),
    ("[1, 2]", "a new vector cannot be a query"),
    ('{"carat": 1}', "the cells of a new row cannot be a query"),
    (np.zeros((4, 4), np.float32), "they must be uint8"),
    ([np.zeros((2, 8, 8, 3), np.uint8)], "it must be one row, got more"),
])  # fmt: skip
def test_what_a_run_on_images_cannot_encode_is_told(shared_index, nothing_encoded, query, words):
    with pytest.raises(RunError, match=words):
        shared_index.search(query)


def test_a_dictionary_of_cells_is_one_message_on_a_run_of_images(shared_index):
    with pytest.raises(RunError, match="the cells of a new row cannot be a query"):
        shared_index.encode({"carat": 1})


def test_the_command_line_takes_new_rows_and_complains_once(input_runs, capsys):
    run = str(input_runs["columns"].root)
    assert main(["search", run, "--query", '{"height": 3.5, "make": "y"}', "-k", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["query"] == "the row height=3.5, make=y"
    assert main(["search", run, "--query", '{"height": 3.5}', "--query", "[1, 2]"]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("mscon: ") and "Traceback" not in output.err
    assert "no cell of column 'make'" in output.err and "a new vector cannot be a query" in output.err


def test_a_model_of_columns_embeds_a_dictionary_as_its_row(input_runs):
    model = mscon.load(input_runs["columns"].root)
    expected = model.embed(pl.DataFrame({"height": ["3.5"], "make": ["y"]}))
    np.testing.assert_array_equal(model.embed({"height": 3.5, "make": "y"}), expected)
    np.testing.assert_array_equal(model.embed({"height": np.float32(3.5), "make": "y"}), expected)


def test_each_category_is_looked_for_in_its_own_numbers():
    rows = pl.DataFrame({"split": ["train"] * 3, "make": ["x", "y", None], "colour": ["red", "blue", "red"]})
    coding = ColumnCoding.fit(rows, (), ("make", "colour"), "table")

    def notes(make: str | None, colour: str) -> list[str]:
        vector = coding.encode(pl.DataFrame({"make": [make], "colour": [colour]}), "table")[[0]][0]
        return unknown_categories({"make": make, "colour": colour}, vector, coding.to_json())

    assert notes("x", "blue") == notes(None, "red") == []
    (one,) = notes("x", "bleu")
    assert "'bleu' in column 'colour'" in one and "Did you mean 'blue'?" in one
    assert len(notes("z", "green")) == 2
