"""Exact search: what slow loops find, whatever the size of the blocks."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mscon.errors import RunError
from mscon.search import spaces as module
from mscon.search.spaces import Spaces, unit


def drawn(spaces: int, rows: int, dim: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((spaces, rows, dim))).astype(np.float32)


def by_loops(stored, query, shares, k, keep=None):
    """(row, score, scores) of the best k, in float64 and plain Python."""
    scored = []
    for row in range(stored.shape[1]):
        if keep is not None and not keep[row]:
            continue
        each = []
        for c in range(stored.shape[0]):
            length = sum(float(x) ** 2 for x in stored[c, row]) ** 0.5
            dot = sum(float(x) * float(q) for x, q in zip(stored[c, row], query[c], strict=True))
            each.append(dot / length if length else 0.0)
        scored.append((sum(w * s for w, s in zip(shares, each, strict=True)), row, each))
    return sorted(scored, key=lambda one: (-one[0], one[1]))[:k]


@st.composite
def problems(draw):
    spaces, rows, dim = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(1, 9))
    vectors = drawn(spaces, rows, dim, draw(st.integers(0, 99)))
    if draw(st.booleans()):
        vectors[draw(st.integers(0, spaces - 1)), draw(st.integers(0, rows - 1))] = 0  # no direction in a space
    weights = draw(st.lists(st.floats(0, 1), min_size=spaces, max_size=spaces).filter(lambda w: sum(w) > 0.01))
    keep = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    return (
        vectors,
        np.array(weights) / sum(weights),
        draw(st.integers(1, rows + 3)),
        keep,
        draw(st.integers(0, rows - 1)),
    )


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@given(problem=problems())
@settings(max_examples=50)
def test_finds_what_loops_find(dtype, problem):
    vectors, shares, k, keep, query_row = problem
    spaces = Spaces(vectors, dtype)
    query = spaces.vectors([query_row])[:, 0]
    neighbours = spaces.nearest(query, shares, k, keep)
    expected = by_loops(vectors.astype(dtype), query, shares, k, keep)
    np.testing.assert_allclose(neighbours.scores, [score for score, _, _ in expected], atol=1e-12)
    np.testing.assert_allclose(
        neighbours.by_space, np.array([e for _, _, e in expected]).reshape(-1, len(shares)), atol=1e-12
    )
    apart = np.diff(neighbours.scores) < -1e-12  # rows within a rounding of one another may change places
    if apart.all():
        assert neighbours.rows.tolist() == [row for _, row, _ in expected]


@given(st.integers(1, 50), st.integers(0, 20))
@settings(max_examples=30)
def test_blocks_of_any_size_are_one_block(size, seed):
    vectors = np.repeat(drawn(2, 60, 5, seed), 2, axis=1)  # every row twice, for ties
    whole = None
    query, shares = drawn(2, 1, 5, seed + 1)[:, 0].astype(np.float64), np.array([0.3, 0.7])
    for block, group in ((8_192, 256), (size, 4), (7, size), (3, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_BLOCK", block)
            patch.setattr(module, "_GROUP", group)
            nearest = Spaces(vectors).nearest(query, shares, 11)
        whole = whole or nearest
        assert nearest.rows.tolist() == whole.rows.tolist()
        assert nearest.scores.tolist() == whole.scores.tolist()
        assert nearest.by_space.tolist() == whole.by_space.tolist()


def test_of_equal_rows_the_lower_comes_first():
    spaces = Spaces(np.tile(drawn(2, 1, 3, 0), (1, 50_000, 1)))
    nearest = spaces.nearest(spaces.vectors([7])[:, 0], np.array([0.5, 0.5]), 5)
    assert nearest.rows.tolist() == [0, 1, 2, 3, 4]
    assert nearest.scores == pytest.approx([1.0] * 5)


def test_rows_are_told_apart_that_float16_products_cannot():
    generator = np.random.default_rng(0)
    near = unit(np.ones((3, 20_000, 8)) + 1e-2 * generator.standard_normal((3, 20_000, 8))).astype(np.float32)
    spaces = Spaces(near, "float16")
    query, shares = spaces.vectors([3])[:, 0], np.array([0.2, 0.5, 0.3])
    exact, _ = spaces.score(np.arange(20_000), query, shares)
    best = np.lexsort((np.arange(20_000), -exact))[:30]
    assert spaces.nearest(query, shares, 30).rows.tolist() == best.tolist()


def test_the_bound_of_the_first_pass_holds():
    """Worst cases: a row with itself, where all terms are positive, and weights in one space alone."""
    vectors = drawn(3, 3_000, 32, 1)
    spaces = Spaces(vectors)
    for shares in (np.array([1.0, 0, 0]), np.full(3, 1 / 3), np.array([0.999, 5e-4, 5e-4])):
        for row in range(0, 60, 3):
            query = spaces.vectors([row])[:, 0]
            exact, _ = spaces.score(np.arange(3_000), query, shares)
            rescaled = torch.from_numpy((query * shares[:, None]).ravel()).float()
            scores = torch.mv(spaces.stored.float(), rescaled)
            assert np.abs(scores.double().numpy() - exact).max() <= spaces._slack


def test_a_row_is_its_own_nearest_with_score_1_in_every_space():
    spaces = Spaces(drawn(3, 200, 6, 0))
    neighbours = spaces.nearest(spaces.vectors([17])[:, 0], np.full(3, 1 / 3), 1)
    assert neighbours.rows.tolist() == [17]
    assert neighbours.by_space[0] == pytest.approx([1, 1, 1])
    assert (neighbours.by_space <= 1).all()


def test_a_row_without_a_direction_in_a_space_scores_0_there():
    vectors = drawn(2, 5, 3, 0)
    vectors[1, 2] = 0
    _, by_space = Spaces(vectors).score(np.array([2]), vectors[:, 0].astype(np.float64), np.array([0.5, 0.5]))
    assert by_space[0, 1] == 0 and by_space[0, 0] != 0


def test_the_mean_of_rows_is_that_of_their_unit_vectors():
    spaces = Spaces(drawn(2, 9_000, 3, 0), "float32")
    rows = np.arange(0, 9_000, 2)
    np.testing.assert_allclose(spaces.mean(rows), spaces.vectors(rows).mean(axis=1), atol=1e-12)
    with pytest.raises(ValueError, match="no rows"):
        spaces.mean(rows[:0])


def test_float16_is_half_the_memory():
    vectors = drawn(2, 100, 5, 0)
    assert Spaces(vectors, "float16").stored.nbytes * 2 == Spaces(vectors, "float32").stored.nbytes == 100 * 10 * 4


def test_a_search_needs_little_memory_besides_the_vectors():
    """A whole float64 or float32 copy of these vectors would be 154 or 77 MB."""
    spaces = Spaces(np.tile(drawn(3, 1_000, 32, 0), (1, 200, 1)))
    query, shares = drawn(3, 1, 32, 1)[:, 0].astype(np.float64), np.full(3, 1 / 3)
    with torch.profiler.profile(profile_memory=True) as profile:
        tracemalloc.start()
        spaces.nearest(query, shares, 20)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    allocated = sum(max(0, event.self_cpu_memory_usage) for event in profile.key_averages())
    assert peak < 12e6
    assert allocated < 40e6  # all that torch took at any time, given back or not


def test_vectors_that_are_not_finite_are_refused():
    vectors = drawn(2, 5, 3, 0)
    vectors[1, 3, 0] = np.nan
    with pytest.raises(RunError, match=r"not finite, first in rows 3"):
        Spaces(vectors)


def test_callers_mistakes_are_told_with_the_value():
    spaces = Spaces(drawn(2, 5, 3, 0))
    query, shares = spaces.vectors([0])[:, 0], np.array([0.5, 0.5])
    with pytest.raises(ValueError, match="got 0"):
        spaces.nearest(query, shares, 0)
    with pytest.raises(ValueError, match=r"must be \[2, 3\], got \[2, 2\]"):
        spaces.nearest(query[:, :2], shares, 1)
    with pytest.raises(ValueError, match=r"must be \[5\], got \[4\]"):
        spaces.nearest(query, shares, 1, np.ones(4, dtype=bool))
