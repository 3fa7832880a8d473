"""Calibration errors: closed forms, and what chance does to them."""

from __future__ import annotations

import numpy as np
import pytest

from mscon.evaluate.metrics.calibration import error_by_chance, expected_calibration_error, reliability


def test_the_error_is_the_distance_of_accuracy_from_confidence():
    confidence = np.full(100, 0.9)
    assert expected_calibration_error(confidence, np.arange(100) < 90) == pytest.approx(0.0)
    assert expected_calibration_error(confidence, np.arange(100) < 60) == pytest.approx(0.3)


def test_bins_that_err_in_opposite_directions_do_not_cancel():
    confidence = np.repeat([0.55, 0.95], 50)
    is_right = np.repeat([True, False], [100, 0])
    is_right[50:75] = False
    assert expected_calibration_error(confidence, is_right) == pytest.approx(0.5 * 0.45 + 0.5 * 0.45)


def test_bins_are_weighted_by_their_decisions():
    confidence = np.repeat([0.5, 1.0], [10, 90])
    assert expected_calibration_error(confidence, np.ones(100, bool)) == pytest.approx(0.1 * 0.5)


def test_without_rows_there_is_no_error():
    with pytest.raises(ValueError, match="no row"):
        expected_calibration_error(np.zeros(0), np.zeros(0, bool))


def test_chance_alone_makes_the_error_of_few_rows_large():
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.3, 1.0, 20_000)
    is_right = generator.random(20_000) < confidence
    few, many = slice(0, 200), slice(0, 20_000)
    assert error_by_chance(confidence[few]) > 5 * error_by_chance(confidence[many])
    for rows in (few, many):
        ratio = expected_calibration_error(confidence[rows], is_right[rows]) / error_by_chance(confidence[rows])
        assert 0.5 < ratio < 1.7
    assert error_by_chance(confidence[few]) == error_by_chance(confidence[few])


def test_a_reliability_diagram_counts_every_decision_once():
    diagram = reliability(np.array([0.0, 0.5, 0.5, 1.0]), np.array([False, True, False, True]), bins=4)
    assert diagram.counts.tolist() == [1, 0, 2, 1]
    assert diagram.accuracy[[0, 2, 3]].tolist() == [0, 0.5, 1] and np.isnan(diagram.accuracy[1])
    assert diagram.confidence[[0, 2, 3]].tolist() == [0, 0.5, 1]


def test_right_confidences_lie_where_they_are_expected_in_95_of_100_bins():
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(60):
        confidence = generator.random(3_000)
        bins = reliability(confidence, generator.random(3_000) < confidence, bins=10)
        inside += ((bins.low <= bins.accuracy) & (bins.accuracy <= bins.high)).tolist()
    assert 0.92 < np.mean(inside) < 0.98
    few, many = (reliability(np.full(n, 0.5), np.zeros(n, dtype=bool), bins=1) for n in (25, 100))
    assert many.low == pytest.approx(0.4, abs=0.02) and many.high == pytest.approx(0.6, abs=0.02)
    assert few.high - few.low > 1.6 * (many.high - many.low)
