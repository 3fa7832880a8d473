"""Inputs: one seam for images and vectors; what a recipe must say, and what is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mscon.data.inputs import text
from mscon.data.inputs.images import ImageStore
from mscon.data.inputs.open import Inputs, Vectors, encoded, open_inputs
from mscon.data.inputs.views import plain
from mscon.data.table.table import Table, read_table
from mscon.errors import RecipeError, TableError
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from selected import selected


def recipe(*overrides: str) -> Recipe:
    return recipes.parse('[[similarity]]\ncolumn = "kind"\n[data]\nsplit_shares = [0.5, 0.0, 0.5]', overrides)


@pytest.fixture
def table(tmp_path) -> Table:
    frame = pl.DataFrame({"kind": list("abababab"), "height": list("12345678"), "text": ["x y", "z"] * 4})
    frame.write_csv(tmp_path / "t.csv")
    return read_table(tmp_path / "t.csv")


def complaints(table: Table, *overrides: str) -> str:
    with pytest.raises(TableError) as caught:
        selected(table, recipe(*overrides))
    return str(caught.value)


def test_vectors_of_a_file_need_no_column_of_images(table, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(16.0).reshape(8, 2))
    settings = recipe("data.input=vectors", "data.vectors=x.npy")
    rows = selected(table, settings)
    assert rows["image"].to_list() == [""] * 8
    inputs = open_inputs(rows, tmp_path, settings.data, "t.csv")
    assert isinstance(inputs, Inputs)
    assert isinstance(inputs, Vectors)
    assert inputs[[3]].tolist() == [[6, 7]]
    assert inputs.to_json() == {"input": "vectors", "width": 2}
    with pytest.raises(TableError, match="have 2 numbers, but those that the encoder learnt from had 3"):
        open_inputs(rows, tmp_path, settings.data, "t.csv", known={"width": 3})


def test_a_file_of_vectors_must_not_lead_out_of_the_folder(table, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    np.save(tmp_path / "x.npy", np.zeros((8, 2)))
    settings = recipe("data.input=vectors", "data.vectors=../x.npy")
    with pytest.raises(TableError, match="lies outside the folder"):
        selected(table, settings, inner)
    assert "does not exist" in complaints(table, "data.input=vectors", "data.vectors=y.npy")


def test_a_recipe_must_say_where_inputs_come_from(table):
    for settings, words in (
        ("data.input=vectors", r'\[data\] input = "vectors" needs to know which'),
        ("data.input=columns", r'\[data\] input = "columns" needs to know which'),
    ):
        with pytest.raises(RecipeError, match=words):
            selected(table, recipe(settings))
    with pytest.raises(RecipeError, match="column 'height' stands twice"):
        selected(table, recipe("data.input=columns", 'data.numbers=["height"]', 'data.categories=["height"]'))


def test_columns_that_are_not_there_are_told_with_all_else(table):
    messages = complaints(table, "data.input=columns", 'data.numbers=["hight"]', 'probe.columns=["knd"]')
    assert "no column 'hight'. Did you mean 'height'?" in messages
    assert "no column 'knd'. Did you mean 'kind'?" in messages
    assert "no column 'sentence'" in complaints(table, "data.input=text", "data.text=sentence")
    lists = complaints(table, "data.input=vectors", "data.vectors=points")
    assert "no column 'points' of lists of numbers" in lists
    assert "Columns of lists: none." in lists


def test_a_label_must_not_be_read_by_the_encoder(table):
    messages = complaints(table, "data.input=columns", 'data.categories=["kind"]')
    assert "the encoder would read the answer" in messages


def test_lists_and_images_are_no_labels():
    frame = pl.DataFrame({"kind": [[1.0], [2.0]], "picture": [b"x", b"y"], "image": ["a", "b"]})
    with pytest.raises(TableError) as caught:
        selected(read_table(frame), recipe('probe.columns=["picture"]'), Path())
    assert "column 'kind' is named by a [[similarity]] of the recipe, but it holds lists of numbers" in str(
        caught.value
    )
    assert "column 'picture' is named by [probe] columns of the recipe, but it holds images" in str(caught.value)


def test_texts_are_vectors_of_a_frozen_encoder_and_none_may_be_empty(table, monkeypatch):
    monkeypatch.setattr(text, "embed", lambda texts, model: np.array([[len(t), 1.0] for t in texts], dtype=np.float32))
    settings = recipe("data.input=text")
    inputs = open_inputs(selected(table, settings), table.folder, settings.data, "t.csv")
    assert inputs[[0, 1]].tolist() == [[3, 1], [1, 1]]
    empty = read_table(pl.DataFrame({"kind": list("abab"), "text": ["x", None, "", "y"]}))
    messages = complaints(empty, "data.input=text")
    assert "DataFrame, row 2: the cell of column 'text' is empty." in messages
    assert "2 of 4 rows" in messages


def test_inputs_as_they_are():
    vectors = torch.randn(3, 2)
    assert plain(vectors) is vectors
    assert plain(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)).tolist() == [[[[1, 1], [1, 1]]]]


def test_what_is_encoded_is_told_in_words(table, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(16.0).reshape(8, 2))
    of_file = recipe("data.input=vectors", "data.vectors=x.npy")
    rows = selected(table, of_file)
    assert (
        encoded(open_inputs(rows, tmp_path, of_file.data, "t.csv"), of_file.data) == "vectors of 2 numbers from 'x.npy'"
    )
    of_columns = recipe("data.input=columns", 'data.numbers=["height"]', 'data.categories=["text"]')
    inputs = open_inputs(rows, tmp_path, of_columns.data, "t.csv")
    assert encoded(inputs, of_columns.data) == "3 numbers made of 'height', 'text'"
    images = ImageStore(np.zeros((8, 1, 16, 16), np.uint8))
    assert encoded(images, recipe().data) == "images, grey, 16 x 16 pixels"
