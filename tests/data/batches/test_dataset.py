"""The dataset: batches are rows, codes and images of the same numbers."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from mscon.data.batches.dataset import Dataset, fit_similarities
from mscon.data.inputs.images import ImageStore
from mscon.errors import TableError
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow
from mscon.run.recipe import Recipe, SimilarityPart

RECIPE = Recipe((SimilarityPart("kind", "categorical"), SimilarityPart("same_row", "same_row")))
ROWS = pl.DataFrame(
    {
        "line": [2, 3, 4, 6, 7],
        "split": ["test", "train", "train", "train", "unseen"],
        "image": ["a", "b", "c", "d", "e"],
        "kind": ["clogs", "boots", None, "sandals", "boots"],
        "flat": ["x", "y", "y", "y", "x"],
        "same_row": ["s", "s", "s", "s", "s"],
    }
)
STORE = ImageStore(np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 4), np.uint8))


def dataset() -> Dataset:
    return Dataset.build(ROWS, fit_similarities(ROWS, RECIPE.similarities), STORE)


def test_similarities_are_fitted_on_the_training_rows_in_the_order_of_the_recipe():
    assert fit_similarities(ROWS, RECIPE.similarities) == (
        Categorical("kind", ("boots", "sandals")),
        SameRow("same_row"),
    )


def test_a_batch_is_images_codes_and_numbers_of_the_rows_asked_for():
    batch = dataset().batch(torch.tensor([4, 0, 2]))
    assert batch.inputs.dtype == torch.uint8
    assert batch.inputs[:, 0, 0, 0].tolist() == [4, 0, 2]
    assert [codes.tolist() for codes in batch.codes] == [[0, -1, -1], [4, 0, 2]]
    assert batch.rows.tolist() == [4, 0, 2]


def test_a_label_that_training_never_saw_is_missing():
    assert dataset().codes[0].tolist() == [-1, 0, -1, 1, 0]


def test_every_row_is_alike_to_itself_only_over_all_splits():
    assert dataset().codes[1].unique().numel() == len(dataset()) == 5


def test_same_row_needs_no_column_of_its_name():
    rows = ROWS.drop("same_row")
    assert Dataset.build(rows, fit_similarities(rows, RECIPE.similarities), STORE).codes[1].tolist() == [0, 1, 2, 3, 4]


def test_images_of_a_batch_are_its_own():
    batch = dataset().batch(torch.tensor([1]))
    batch.inputs.zero_()
    assert STORE.images[1].all()


def test_a_batch_moves_as_a_whole():
    moved = dataset().batch(torch.tensor([1, 3])).to("meta")
    assert {t.device.type for t in (moved.inputs, moved.rows, *moved.codes)} == {"meta"}


def test_indices_are_the_rows_of_a_split_in_order():
    assert dataset().indices("train").tolist() == [1, 2, 3]
    assert dataset().indices("validation").tolist() == []
    assert dataset().indices("validation").dtype == torch.int64
    with pytest.raises(ValueError, match="train, validation, test, unseen, got 'val'"):
        dataset().indices("val")


def test_rows_and_images_must_be_as_many():
    with pytest.raises(ValueError, match="4 rows but 5 inputs"):
        Dataset.build(ROWS[:4], (), STORE)


def test_rows_that_are_not_there_are_refused():
    with pytest.raises(IndexError):
        dataset().batch(torch.tensor([-1]))


def test_all_columns_that_cannot_be_read_are_told_at_once():
    parts = tuple(SimilarityPart(name, "categorical") for name in ("flat", "knd"))
    with pytest.raises(TableError) as caught:
        fit_similarities(ROWS, parts, "shoes.csv: ")
    text = str(caught.value)
    assert "shoes.csv: column 'flat' has one value only, 'y'" in text
    assert "shoes.csv: there is no column 'knd'. Did you mean 'kind'?" in text


def test_a_dataset_needs_the_columns_of_its_similarities():
    with pytest.raises(TableError, match="no column 'heel'"):
        Dataset.build(ROWS, (Categorical("heel", ("a", "b")),), STORE)
