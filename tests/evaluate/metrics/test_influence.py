"""Scores as means of row values: the score itself, and what each row weighs in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, f1_score, r2_score

from mscon.evaluate.metrics.influence import (
    average_precision,
    macro_f1,
    mean_average_precision,
    micro_f1,
    r_squared,
    rank_correlation,
)

calm = settings(deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def numbers(seed: int, rows: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Rounded, so that there are ties."""
    g = np.random.default_rng(seed)
    true = g.normal(size=rows).round(1)
    return true, (true + g.normal(size=rows)).round(1)


def sets(seed: int, rows: int = 30, labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    true = g.random((rows, labels)) < 0.3
    true[0] = True
    return true, (true + g.normal(size=(rows, labels))).round(1)


@calm
@given(seeds)
def test_means_are_the_scores_of_scikit_learn_and_scipy(seed):
    true, predicted = numbers(seed)
    assert r_squared(true, predicted).mean() == pytest.approx(r2_score(true, predicted))
    assert rank_correlation(true, predicted).mean() == pytest.approx(spearmanr(true, predicted).statistic)
    has, score = sets(seed)
    predicted_labels = score > 0.5
    assert micro_f1(has, predicted_labels).mean() == pytest.approx(f1_score(has, predicted_labels, average="micro"))
    assert macro_f1(has, predicted_labels).mean() == pytest.approx(f1_score(has, predicted_labels, average="macro"))
    assert mean_average_precision(has, score).mean() == pytest.approx(average_precision_score(has, score))


def weighs(score: Callable[..., np.ndarray], *rows: np.ndarray) -> None:
    """Adding a copy of a row to many copies of all moves the score by its influence."""
    copies = 200
    whole = [np.concatenate([array] * copies) for array in rows]
    values, n = score(*rows), len(rows[0])
    for row in range(n):
        more = [
            np.concatenate([array, array_of_rows[row : row + 1]])
            for array, array_of_rows in zip(whole, rows, strict=True)
        ]
        moved = (score(*more).mean() - values.mean()) * (n * copies + 1)
        assert moved == pytest.approx(values[row] - values.mean(), abs=0.02)


def test_row_values_are_the_influence_of_each_row():
    true, predicted = numbers(3, rows=12)
    has, score = sets(3, rows=12)
    weighs(r_squared, true, predicted)
    weighs(micro_f1, has, score > 0.5)
    weighs(macro_f1, has, score > 0.5)
    weighs(mean_average_precision, has, score)
    weighs(average_precision, has[:, 1], score[:, 1])


def test_a_perfect_score_has_no_doubt():
    true = np.arange(9.0)
    assert r_squared(true, true).tolist() == [1.0] * 9
    assert rank_correlation(true, true**3) == pytest.approx([1.0] * 9)
    assert average_precision(true > 5, true) == pytest.approx([1.0] * 9)


def test_what_says_nothing_scores_nothing():
    assert rank_correlation(np.arange(5.0), np.ones(5)).tolist() == [0.0] * 5
    none = np.zeros((3, 2), dtype=bool)
    assert micro_f1(none, none).tolist() == macro_f1(none, none).tolist() == [0.0] * 3


def test_a_score_that_is_not_defined_is_refused():
    with pytest.raises(ValueError, match="no variance"):
        r_squared(np.ones(4), np.arange(4.0))
    with pytest.raises(ValueError, match="no row has a label"):
        mean_average_precision(np.zeros((4, 2), dtype=bool), np.zeros((4, 2)))
