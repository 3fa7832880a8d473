"""Nearest rows: those of a plain sort in float64, ties by row number, whichever pass decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.evaluate.metrics.nearest import CosineNeighbours


def by_sorting(vectors: np.ndarray, count: int) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T).astype(np.float32)
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :count]


@given(st.integers(0, 10_000), st.sampled_from([20, 300]), st.integers(1, 12), st.sampled_from([None, 1, 7]))
def test_the_rows_are_those_of_a_plain_sort(seed, rows, count, block):
    vectors = np.random.default_rng(seed).normal(size=(rows, 5))
    near, cosines = CosineNeighbours(vectors).nearest(count, block=block)
    assert np.array_equal(near, by_sorting(vectors, count))
    assert (np.diff(cosines, axis=1) <= 0).all()


@pytest.mark.parametrize("copies", [2, 5, 40])
def test_copies_of_a_row_come_by_their_number_also_where_candidates_would_not_hold_all(copies):
    """With 40 copies the candidates of the float32 pass are an arbitrary part of them."""
    vectors = np.tile(np.random.default_rng(0).normal(size=(400 // copies, 64)), (copies, 1)).astype(np.float32)
    near, _ = CosineNeighbours(vectors).nearest(4)
    assert np.array_equal(near, by_sorting(vectors.astype(np.float64), 4))


def test_cosines_closer_than_a_float32_product_can_tell_are_ordered_in_float64():
    """Rows at tiny angles: their float32 products are all 1 or next to it, in no order."""
    angles = np.random.default_rng(0).permutation(500) * 4e-6
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ np.random.default_rng(1).normal(size=(2, 64))
    near, _ = CosineNeighbours(vectors).nearest(3)
    assert np.array_equal(near, by_sorting(vectors, 3))


def test_only_the_queries_are_compared_and_no_row_finds_itself():
    vectors = np.random.default_rng(0).normal(size=(200, 8))
    near, cosines = CosineNeighbours(vectors).nearest(5, np.array([7, 3]))
    assert np.array_equal(near, by_sorting(vectors, 5)[[7, 3]])
    assert near.shape == cosines.shape == (2, 5)
    assert not {7} & set(near[0].tolist()) and not {3} & set(near[1].tolist())


def test_fewer_come_back_where_there_are_fewer_other_rows():
    assert CosineNeighbours(np.eye(3)).nearest(10)[0].shape == (3, 2)
    assert CosineNeighbours(np.eye(1)).nearest(10)[0].shape == (1, 0)
