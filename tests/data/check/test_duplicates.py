"""Equal images: found by what they show, told with the splits that they lie in."""

from __future__ import annotations

import numpy as np
import polars as pl

from mscon.data.check.duplicates import duplicates_text, find_duplicates
from mscon.data.inputs.images import ImageStore

ROWS = pl.DataFrame(
    {
        "line": range(2, 12),
        "split": ["train"] * 8 + ["test", "unseen"],
        "image": [f"{i}.png" for i in range(10)],
    }
)


def store(values: list[int]) -> ImageStore:
    return ImageStore(np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8))


def test_equal_images_are_found_within_and_across_splits():
    equal = find_duplicates(ROWS, store([1, 1, 2, 3, 3, 4, 5, 6, 2, 7]))
    assert (equal.groups, equal.rows, equal.groups_across) == (3, 6, 1)
    assert equal.examples == ((4, 10), (2, 3), (5, 6))


def test_images_that_differ_in_one_pixel_are_not_equal():
    images = store([1] * 10).images.copy()
    images[range(10), 0, 0, 0] = range(10)
    assert find_duplicates(ROWS, ImageStore(images)).groups == 0


def test_rows_whose_image_is_trained_on_are_counted():
    equal = find_duplicates(ROWS, store([1, 2, 3, 4, 5, 6, 7, 8, 2, 2]))
    assert (equal.rows, equal.leaked) == (3, 2)
    (head, group) = duplicates_text(equal, "line")
    assert "2 rows outside the training split with an image that is trained on" in head
    assert group == "    lines 3, 10, 11: '1.png'"


def test_images_equal_across_splits_of_which_none_is_trained_on_are_no_leak():
    equal = find_duplicates(ROWS, store([1, 2, 3, 4, 5, 6, 7, 8, 9, 9]))
    assert (equal.groups_across, equal.leaked) == (1, 0)
    head = duplicates_text(equal, "line")[0]
    assert "1 group with rows in more than one split." in head
    assert "trained on" not in head


def test_of_many_groups_the_text_names_some_and_json_all():
    equal = find_duplicates(ROWS, store([1, 2, 3, 4, 5, 6, 7, 8, 1, 2]))
    assert len(equal.examples) == len(equal.names) == 2
    many = pl.concat([ROWS.filter(pl.col("split") == "train")] * 2)
    equal = find_duplicates(many, store([*range(1, 9), *range(1, 9)]))
    assert len(equal.examples) == 8
    text = duplicates_text(equal, "row")
    assert len(text) == 7
    assert text[-1] == "    and 3 more"
