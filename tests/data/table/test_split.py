"""Splits: read from a column word for word, or drawn with nothing leaking."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.table.split import SPLITS, draw_split, read_split
from mscon.data.table.table import Table
from mscon.errors import TableError

shares = st.sampled_from([(0.7, 0.1, 0.2), (1.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.34, 0.33, 0.33)])
seeds = st.integers(0, 2**32 - 1)
groups = st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), min_size=1, max_size=60)


def table(*cells: str | None) -> Table:
    frame = pl.DataFrame({"split": list(cells)}, schema={"split": pl.String})
    return Table(Path("t.csv"), frame, tuple(range(2, len(cells) + 2)))


@given(groups, shares, seeds)
def test_no_group_lies_in_two_splits(groups, shares, seed):
    split = draw_split(len(groups), shares, seed, groups)
    for group in set(groups) - {None}:
        assert len({s for s, g in zip(split, groups, strict=True) if g == group}) == 1


@given(groups, shares, seeds)
def test_shares_are_met_up_to_the_size_of_the_largest_group(groups, shares, seed):
    split = draw_split(len(groups), shares, seed, groups)
    largest = max([1, *(groups.count(g) for g in set(groups) - {None})])
    for name, share in zip(SPLITS, shares, strict=False):
        excess = split.count(name) - share * len(groups)
        assert excess <= 2 / 3 * largest + 1e-9
        assert excess >= -2 * (2 / 3) * largest - 1e-9
        assert share or name not in split


@given(groups, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_move_a_group(groups, seed, random):
    order = list(range(len(groups)))
    random.shuffle(order)
    named = [g or f"row {i}" for i, g in enumerate(groups)]
    split = draw_split(len(named), (0.7, 0.1, 0.2), seed, named)
    shuffled = draw_split(len(named), (0.7, 0.1, 0.2), seed, [named[i] for i in order])
    assert [split[i] for i in order] == list(shuffled)


@given(st.integers(0, 80), shares, seeds)
def test_rows_without_a_group_are_split_one_by_one(rows, shares, seed):
    assert draw_split(rows, shares, seed) == draw_split(rows, shares, seed, [None] * rows)


def test_the_draw_never_changes():
    """A run of today and one of next year must be tested on the same rows."""
    drawn = draw_split(12, (0.5, 0.25, 0.25), seed=3)
    assert [SPLITS.index(name) for name in drawn] == [0, 0, 0, 1, 0, 1, 1, 2, 0, 2, 0, 2]
    assert drawn != draw_split(12, (0.5, 0.25, 0.25), seed=4)


def test_a_draw_is_by_chance():
    """Each row lands in test about as often as its share says."""
    hits = [sum(draw_split(20, (0.7, 0.1, 0.2), seed)[row] == "test" for seed in range(400)) for row in range(20)]
    assert all(40 < n < 125 for n in hits)  # 80 expected, standard deviation 8


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.7, 0.1, 0.1), (1.2, -0.1, -0.1)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="sum to 1"):
        draw_split(10, shares, 0)


def test_groups_must_be_as_many_as_rows():
    with pytest.raises(ValueError, match="3 rows but 1 groups"):
        draw_split(3, (0.7, 0.1, 0.2), 0, ["a"])


def test_a_split_column_is_taken_word_for_word():
    assert read_split(table(*SPLITS), "split") == list(SPLITS)


def test_what_other_tools_call_a_split_is_that_split():
    assert read_split(table("Train", "val", "dev", "TEST", "eval"), "split") == [
        "train", "validation", "validation", "test", "test"
    ]  # fmt: skip


def test_all_cells_that_are_no_split_are_told_at_once():
    with pytest.raises(TableError) as caught:
        read_split(table("train", "vaal", "ood", None, "vaal", "17"), "split")
    text = str(caught.value)
    assert "t.csv: column 'split' must say train, validation, test or unseen" in text
    assert "5 rows of 6 do not" in text
    assert "'vaal' in 2 rows: lines 3, 6." in text
    assert "'ood' in 1 row: line 4. Did you mean 'unseen'?" in text
    assert "empty in 1 row: line 5." in text
    assert "'17' in 1 row: line 7.\n" in text


def test_only_some_of_very_many_wrong_values_are_listed():
    with pytest.raises(TableError, match="and 15 more values"):
        read_split(table(*(str(i) for i in range(25))), "split")


def test_one_row_at_fault_is_one():
    table = Table(Path("t.csv"), pl.DataFrame({"split": ["train", "tset", "test"]}), (2, 3, 4))
    with pytest.raises(TableError, match=r"in every row, but 1 row of 3 does not:\n    'tset' in 1 row"):
        read_split(table, "split")
