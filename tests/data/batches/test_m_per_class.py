"""Balanced batches: floors that hold whatever the table, no row twice, and none left over without need."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mscon.data.batches.m_per_class import Plan, balanced_plan, count_balanced, demanded

calm = settings(deadline=None, derandomize=True)
floors = st.integers(2, 4)


@st.composite
def tables(draw: st.DrawFn, most_columns: int = 3) -> np.ndarray:
    """Class codes of some columns, some classes rare, some cells empty."""
    rows, count = draw(st.integers(0, 80)), draw(st.integers(1, most_columns))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    classes = [draw(st.sampled_from([1, 3, 12, 40])) for _ in range(count)]
    skewed = [np.minimum(generator.geometric(3 / (c + 2), size=rows) - 1, c - 1) for c in classes]
    empty = generator.random((count, rows)) < draw(st.sampled_from([0.0, 0.2]))
    return np.where(empty, -1, np.stack(skewed)).astype(np.int64)


def rows_of(plan: Plan) -> list[int]:
    return [int(row) for part in (*plan.batches, plan.left_over) for row in part]


def short(codes: np.ndarray, batch: np.ndarray, at_least: int) -> int:
    """Classes that a batch has some rows of, but too few."""
    counts = [np.bincount(column[batch][column[batch] >= 0], minlength=1) for column in codes]
    return sum(int(((n > 0) & (n < at_least)).sum()) for n in counts)


@calm
@given(tables(), st.integers(7, 30), floors, st.integers(0, 99), st.integers(0, 9))
def test_every_row_is_in_one_batch_or_told_to_be_left_over_and_every_floor_holds(codes, size, k, seed, epoch):
    plan = balanced_plan(codes, size, k, seed, epoch)
    assert sorted(rows_of(plan)) == list(range(codes.shape[1]))
    assert len(plan.batches) == count_balanced(codes.shape[1], size, k)
    demands = demanded(codes, k)
    for batch in plan.batches:
        assert len(batch) <= size
        assert short(demands, batch, k) == 0


@calm
@given(tables(1), st.integers(7, 30), floors, st.integers(0, 99))
def test_with_one_column_no_row_is_left_over(codes, size, k, seed):
    plan = balanced_plan(codes, size, k, seed, 1)
    assert plan.left_over.size == 0
    sizes = [len(batch) for batch in plan.batches]
    assert not sizes or max(sizes) - min(sizes) <= 2 * k - 1


def test_columns_that_refine_each_other_leave_no_row_over():
    product = np.repeat(np.arange(100), 5)
    plan = balanced_plan(np.stack([product, product // 10, product // 50]), 32, 2, 0, 1)
    assert plan.left_over.size == 0


def test_crossing_columns_of_which_one_is_coarse_leave_no_row_over():
    generator = np.random.default_rng(0)
    codes = np.stack([generator.integers(200, size=2_000), generator.integers(4, size=2_000)])
    assert balanced_plan(codes, 64, 2, 0, 1).left_over.size == 0


def test_columns_that_contradict_each_other_leave_over_what_cannot_be_placed():
    """Pairs that make one long chain: whoever has its like in one column lacks it in the other."""
    row = np.arange(400)
    plan = balanced_plan(np.stack([row // 2, np.roll(row, 1) // 2]), 16, 2, 0, 1)
    assert plan.left_over.tolist() == row.tolist()


@calm
@given(tables(), st.integers(7, 30), floors, st.integers(0, 99))
def test_with_short_rows_kept_every_row_comes_exactly_once(codes, size, k, seed):
    plan = balanced_plan(codes, size, k, seed, 1, keep_short=True)
    assert plan.left_over.size == 0
    assert sorted(rows_of(plan)) == list(range(codes.shape[1]))
    assert all(len(batch) <= size for batch in plan.batches)


def test_kept_rows_are_short_less_often_than_by_chance():
    generator = np.random.default_rng(0)
    codes = np.stack([generator.integers(150, size=2_000), generator.integers(150, size=2_000)])
    plan = balanced_plan(codes, 64, 2, 0, 1, keep_short=True)
    chance = np.array_split(generator.permutation(2_000), len(plan.batches))
    few, many = (sum(short(codes, batch, 2) for batch in batches) for batches in (plan.batches, chance))
    assert few < 0.5 * many


def test_a_class_of_fewer_rows_than_the_floor_demands_nothing():
    codes = np.array([[0, 1, 1, 2, 2, 2, -1, 1]])
    assert demanded(codes, 2).tolist() == [[-1, 1, 1, 2, 2, 2, -1, 1]]
    assert demanded(codes, 4).tolist() == [[-1] * 8]
    plan = balanced_plan(codes, 5, 2, 0, 0)
    assert plan.left_over.size == 0


def test_rare_classes_find_their_like_as_often_as_frequent_ones():
    """In batches by chance a class of two rows among 1,000 meets once in 16 epochs."""
    codes = np.concatenate([np.repeat(np.arange(50), 2), np.full(900, 50)])[None]
    for epoch in range(3):
        where = np.empty(1_000, dtype=int)
        for number, batch in enumerate(balanced_plan(codes, 64, 2, 0, epoch).batches):
            where[batch] = number
        assert (where[0:100:2] == where[1:100:2]).all()


def test_an_epoch_depends_on_seed_and_epoch_only():
    codes = np.random.default_rng(0).integers(9, size=(2, 200))

    def batches_of(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in balanced_plan(codes, 16, 2, seed, epoch).batches]

    np.random.seed(7)
    assert batches_of(0, 1) == batches_of(0, 1)
    different = {tuple(map(tuple, batches_of(seed, epoch))) for seed in range(3) for epoch in range(3)}
    assert len(different) == 9


def test_company_changes_from_epoch_to_epoch():
    codes = np.repeat(np.arange(10), 20)[None]
    met: set[int] = set()
    for epoch in range(8):
        met |= next({int(r) for r in batch} for batch in balanced_plan(codes, 16, 2, 0, epoch).batches if 0 in batch)
    assert len(met) > 50


@pytest.mark.parametrize(("size", "at_least"), [(2, 2), (4, 3), (8, 0)])
def test_a_batch_too_small_for_the_floor_is_refused(size, at_least):
    with pytest.raises(ValueError, match="too small for a floor"):
        balanced_plan(np.zeros((1, 9), dtype=np.int64), size, at_least, 0, 0)
