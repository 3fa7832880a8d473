"""Uniformity and tolerance: against loops over pairs, and what they are of rows that are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mscon.evaluate.metrics import uniformity as module
from mscon.evaluate.metrics.uniformity import tolerance, uniformity


def drawn(rows: int = 23, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width))


def by_pairs(vectors: np.ndarray, classes: np.ndarray, t: float) -> tuple[float, float]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near, cosines = [], []
    for i, j in itertools.permutations(range(len(unit)), 2):
        near.append(math.exp(-t * float(((unit[i] - unit[j]) ** 2).sum())))
        if classes[i] == classes[j] >= 0:
            cosines.append(float(unit[i] @ unit[j]))
    return math.log(sum(near) / len(near)), sum(cosines) / len(cosines)


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_they_are_their_formulas_in_any_number_of_blocks(t, monkeypatch):
    vectors, classes = drawn(), np.arange(23) % 5 - 1
    monkeypatch.setattr(module, "_BLOCK", 7)
    expected = by_pairs(vectors, classes, t)
    assert uniformity(vectors, t) == pytest.approx(expected[0])
    assert tolerance(vectors, classes) == pytest.approx(expected[1])


def test_rows_that_coincide_are_tolerant_and_not_uniform():
    vectors = np.ones((6, 3)) * np.arange(1, 7)[:, None]
    assert uniformity(vectors) == pytest.approx(0)
    assert tolerance(vectors, np.zeros(6, dtype=np.int64)) == pytest.approx(1)
    assert tolerance(np.eye(6), np.zeros(6, dtype=np.int64)) == pytest.approx(0)
    assert uniformity(np.eye(600)) == pytest.approx(-4)  # all at right angles


def test_of_many_rows_evenly_spaced_ones_are_compared(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 8)
    assert uniformity(drawn()) == pytest.approx(uniformity(drawn()[::3]))


def test_without_a_pair_there_is_no_number():
    assert math.isnan(uniformity(drawn(1)))
    assert math.isnan(tolerance(drawn(3), np.array([0, 1, -1])))
