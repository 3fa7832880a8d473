"""What a check says of a table: counts, shares that are exact, and images that lie twice."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.check import alike_share, describe, find_duplicates
from mscon.data.images import ImageStore
from mscon.data.table import Table
from mscon.recipe import Probe, Recipe, SimilarityPart, Train, Views
from mscon.similarities.categorical import Categorical

KINDS = ["boots", "boots", "boots", "sandals", "sandals", None, None, None, "clogs", "boots"]
SPLITS = ["train"] * 8 + ["test", "unseen"]
ROWS = pl.DataFrame(
    {
        "line": [2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        "split": SPLITS,
        "image": [str(i) for i in range(10)],
        "kind": KINDS,
        "colour": ["red", "blue"] * 5,
    },
)
TABLE = Table(Path("shoes.csv"), ROWS.select("image", "kind"), tuple(range(2, 12)))
RECIPE = Recipe(
    (SimilarityPart("kind", "categorical"), SimilarityPart("same_row", "same_row")),
    probe=Probe(columns=("colour", "kind")),
    train=Train(batch_size=4),
)


def store(values: list[int]) -> ImageStore:
    return ImageStore(np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8))


@given(st.lists(st.integers(1, 4), max_size=3), st.integers(0, 2), st.data())
def test_the_share_of_anchors_with_an_alike_row_is_that_of_all_batches(counts, unlabelled, data):
    labels = [k for k, n in enumerate(counts) for _ in range(n)] + [-1 - i for i in range(unlabelled)]
    if not labels:
        return
    size = data.draw(st.integers(1, len(labels)))
    found = [sum(k >= 0 and batch.count(k) > 1 for k in batch) / size for batch in combinations(labels, size)]
    assert alike_share(counts, len(labels), size) == pytest.approx(sum(found) / len(found), abs=1e-9)


def test_large_tables_do_not_overflow():
    assert alike_share([10**6] * 2, 2 * 10**6, 4096) == pytest.approx(1.0)
    assert alike_share([1] * 10**4, 10**4, 64) == 0.0


@pytest.mark.parametrize("size", [0, 4])
def test_a_batch_is_no_larger_than_the_table(size):
    with pytest.raises(ValueError, match="batch_size"):
        alike_share([3], 3, size)


def test_a_column_is_described_by_its_training_rows():
    kind, same_row, colour = describe(ROWS, RECIPE, TABLE).columns
    assert dict(kind.classes) == {"boots": 3, "sandals": 2}
    assert list(kind.classes) == ["boots", "sandals"]
    assert kind.missing_share == 3 / 8
    assert kind.majority_share == 3 / 5
    assert dict(kind.outside) == {"clogs": 1}
    assert kind.alike_share == pytest.approx(alike_share([3, 2], 8, 4))
    assert kind.positive_share == 5 / 8
    assert (same_row.alike_share, same_row.positive_share, dict(same_row.classes)) == (0.0, 1.0, {})
    assert (colour.kind, colour.alike_share) == ("probe", None)


def test_with_one_view_only_other_rows_are_positives():
    kind, same_row, _ = describe(ROWS, replace(RECIPE, views=Views(count=1)), TABLE).columns
    assert kind.positive_share == kind.alike_share
    assert same_row.positive_share == 0.0


class Loud(Categorical):
    """A similarity of a user's own, which cannot be counted."""


def test_a_similarity_that_cannot_be_counted_is_drawn():
    part = SimilarityPart("kind", f"{__name__}:Loud")
    many = pl.concat([ROWS.filter(pl.col("split") == "train")] * 10)
    table = Table(Path("t.csv"), many.select("image"), tuple(range(many.height)))
    drawn, exact = (
        describe(many, replace(RECIPE, similarities=(p,), train=Train(batch_size=3)), table).columns[0]
        for p in (part, RECIPE.similarities[0])
    )
    assert drawn.alike_share == pytest.approx(exact.alike_share, abs=0.08)
    assert 0 < drawn.alike_share < 1
    assert drawn.positive_share == pytest.approx(exact.positive_share)


def test_equal_images_are_found_within_and_across_splits():
    found = find_duplicates(ROWS, store([1, 1, 2, 3, 3, 4, 5, 6, 2, 7]))
    assert (found.groups, found.rows, found.groups_across) == (3, 6, 1)
    assert found.examples == ((4, 10), (2, 3), (5, 6))


def test_images_that_differ_in_one_pixel_are_not_equal():
    images = store([1] * 10).images.copy()
    images[range(10), 0, 0, 0] = range(10)
    assert find_duplicates(ROWS, ImageStore(images)).groups == 0


def test_the_text_says_what_one_must_know():
    text = describe(ROWS, RECIPE, TABLE, store([1, 1, 2, 3, 3, 4, 5, 6, 2, 7])).to_text()
    assert text.startswith("shoes.csv: 10 rows (8 train, 1 test, 1 unseen)")
    assert "'kind' (categorical): 2 classes among the training rows, 37.5% missing" in text
    assert "always guessing 'boots' is right for 60.0%" in text
    assert "'boots' 3, 'sandals' 2" in text
    assert "1 row with a value that no training row has: 'clogs' 1" in text
    assert "in a batch of 4 rows" in text
    assert "(62.5% have a positive" in text
    assert "views of one row are alike" in text
    assert "'colour' (probe)" in text
    assert "6 rows in 3 groups of equal images; 1 group with rows in more than one split" in text
    assert "lines 4, 10" in text
    assert "left out" not in text


def test_rows_left_out_are_told():
    assert "1 row of 10 left out" in describe(ROWS[:9], RECIPE, TABLE).to_text()


def test_images_that_nobody_looked_at_are_not_called_different():
    description = describe(ROWS, RECIPE, TABLE)
    assert description.duplicates is None
    assert "equal" not in description.to_text()
    assert "No two images are equal" in describe(ROWS, RECIPE, TABLE, store(list(range(10)))).to_text()


def test_the_description_is_plain_json():
    plain = json.loads(json.dumps(describe(ROWS, RECIPE, TABLE, store([0] * 10)).to_json(), allow_nan=False))
    assert plain["splits"] == {"train": 8, "test": 1, "unseen": 1}
    assert plain["columns"][0]["classes"] == {"boots": 3, "sandals": 2}
    assert plain["duplicates"]["groups_across"] == 1


def test_an_odd_cell_cannot_write_to_the_terminal():
    odd = ROWS.with_columns(kind=pl.Series(["\x1b[31m", "b"] * 5), colour=pl.Series(["\x1b]0;", "b"] * 5))
    assert "\x1b" not in describe(odd, RECIPE, TABLE).to_text()
