"""Columns as vectors: rules from the training rows, and what they make of all others."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.inputs import number_cells, tabular
from mscon.data.inputs.tabular import ColumnCoding
from mscon.errors import TableError
from mscon.method.similarities.continuous import number_of


def rows(split: str = "ttttv", **cells: list[str | None]) -> pl.DataFrame:
    names = {"t": "train", "v": "test"}
    return pl.DataFrame(
        {"line": range(2, len(split) + 2), "split": [names[s] for s in split], **cells},
        schema_overrides=dict.fromkeys(cells, pl.String),
    )


def encoded(frame: pl.DataFrame, numbers: tuple[str, ...] = (), categories: tuple[str, ...] = ()) -> np.ndarray:
    store = ColumnCoding.fit(frame, numbers, categories, "t.csv").encode(frame, "t.csv")
    return store[range(len(store))]


def message(frame: pl.DataFrame, numbers: tuple[str, ...] = (), categories: tuple[str, ...] = ()) -> str:
    with pytest.raises(TableError) as caught:
        ColumnCoding.fit(frame, numbers, categories, "t.csv")
    return str(caught.value)


def test_a_number_is_standardised_by_the_training_rows():
    vectors = encoded(rows(height=["1", "2", "3", "4", "100"]), numbers=("height",))
    np.testing.assert_allclose(vectors[:4, 0], (np.arange(1, 5) - 2.5) / np.std([1, 2, 3, 4]), rtol=1e-6)
    assert vectors[4, 0] > 80


def test_a_missing_number_is_the_mean_and_says_so_where_training_rows_miss_it():
    vectors = encoded(rows(height=["1", None, "3", "2", None]), numbers=("height",))
    assert vectors.shape == (5, 2)
    assert vectors[[1, 4]].tolist() == [[0, 1], [0, 1]]
    assert vectors[0, 1] == 0
    complete = encoded(rows(height=["1", "2", "3", "4", None]), numbers=("height",))
    assert complete.shape == (5, 1)
    assert complete[4, 0] == 0


def test_a_category_is_one_dimension_a_value_the_most_frequent_first():
    vectors = encoded(rows(make=["b", "a", "b", "a", "new"]), categories=("make",))
    assert vectors.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0], [0, 0]]


def test_a_missing_category_is_a_value_where_training_rows_miss_it():
    vectors = encoded(rows(make=["b", None, "b", "a", None]), categories=("make",))
    assert vectors.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    complete = encoded(rows(make=["b", "a", "b", "a", None]), categories=("make",))
    assert complete[4].tolist() == [0, 0]


def test_only_the_most_frequent_values_have_a_dimension(monkeypatch):
    monkeypatch.setattr(tabular, "MOST_VALUES", 1)
    assert encoded(rows(make=["b", "a", "b", "b", "a"]), categories=("make",)).tolist() == [[1], [0], [1], [1], [0]]


def test_dimensions_of_one_column_go_together():
    frame = rows(height=["1", None, "3", "2", "2"], make=["b", "a", "b", "c", "a"], width=["1", "2", "1", "2", "1"])
    store = ColumnCoding.fit(frame, ("height", "width"), ("make",), "t.csv").encode(frame, "t.csv")
    assert store.columns.tolist() == [0, 0, 1, 2, 2, 2]
    assert store.width == 6 == store[[0]].shape[1]


def test_the_words_on_dimensions_are_those_of_the_encoded_rows():
    frame = rows(height=["1", None, "3", "2", "2"], make=["b", None, "b", "c", "a"])
    coding = ColumnCoding.fit(frame, ("height",), ("make",), "t.csv")
    assert coding.dimensions == [
        f"height: (x - 2.0) / {coding.numbers[0].std!r}, 0 where missing",
        "height: 1 where missing",
        "make: 1 where 'b'",
        "make: 1 where 'c'",
        "make: 1 where missing",
    ]
    vectors = coding.encode(frame, "t.csv")[[1, 3]]
    assert vectors.tolist() == [[0, 1, 0, 0, 1], [0, 0, 0, 1, 0]]


def test_a_coding_comes_back_from_json():
    frame = rows(height=["1", None, "3", "2", "2"], make=["b", None, "b", "c", "a"])
    coding = ColumnCoding.fit(frame, ("height",), ("make",), "t.csv")
    again = ColumnCoding.from_json(json.loads(json.dumps(coding.to_json())))
    assert again == coding
    state = coding.encode(frame, "t.csv").to_json()
    assert (state["input"], state["width"]) == ("columns", coding.width)


def test_all_that_is_wrong_is_told_at_once():
    frame = rows(
        height=["1", "2", "tall", "4", "nan"],
        depth=["inf", "2", "3", "4", "5"],
        flat=["7"] * 5,
        none=[None] * 4 + ["1"],
        make=["a"] * 4 + ["b"],
    )
    text = message(frame, ("height", "depth", "flat", "none"), ("make",))
    assert "t.csv, line 4: 'tall' in column 'height' is no finite number" in text
    assert "Such cells: 'tall', 'nan'." in text
    assert "t.csv, line 2: 'inf' in column 'depth'" in text
    assert "number column 'flat' has one value only, 7," in text
    assert "number column 'none' has no value in all training rows" in text
    assert "category column 'make' has one value only, 'a'," in text


def test_rows_must_be_there():
    frame = rows(height=["1", "2", "3", "4", "5"])
    store = ColumnCoding.fit(frame, ("height",), (), "t.csv").encode(frame, "t.csv")
    for row in (-1, 5):
        with pytest.raises(IndexError):
            store[[row]]


@given(st.text("0123456789+-.eE_inf ", min_size=1, max_size=6).map(str.strip).filter(bool))
def test_inputs_read_the_same_texts_as_numbers_as_similarities_do(text):
    frame = pl.DataFrame({"line": [2], "n": [text]})
    if (number := number_of(text)) is None:
        with pytest.raises(TableError, match="is no finite number"):
            number_cells.numbers_of(frame, "n", "t.csv")
    else:
        assert number_cells.numbers_of(frame, "n", "t.csv").tolist() == [number]


@pytest.mark.parametrize(("place", "cell"), [(0, "1e300"), (4, "1e300"), (4, "-1e160"), (4, "1e60")])
def test_a_number_that_no_vector_can_hold_is_told_with_its_line(place, cell):
    cells = ["1", "2", "3", "4", "5"]
    cells[place] = cell
    frame = rows(height=cells)
    with pytest.raises(TableError) as caught:
        ColumnCoding.fit(frame, ("height",), (), "t.csv").encode(frame, "t.csv")
    assert f"t.csv, line {place + 2}: the number {cell} in column 'height' is too large beside the" in str(caught.value)
