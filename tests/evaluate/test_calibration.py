"""Temperatures, Platt scaling and conformal intervals do what their papers promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mscon.evaluate.calibration import half_length, platt, temperature
from mscon.model.predictors.links import sigmoid, softmax


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_by_which_labels_were_drawn(true):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 4)) * 3
    shares = softmax(logits / true)
    labels = (generator.random(len(logits))[:, None] > shares.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    assert temperature(logits, labels) == pytest.approx(true, rel=0.05)


def test_no_other_temperature_fits_better():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(300, 5)), generator.integers(5, size=300)
    logits[np.arange(300), labels] += 1

    def loss(t: float) -> float:
        at = softmax(logits / t)
        uniform = -np.log(at).mean(axis=1).sum()
        return float((300 * -np.log(at[np.arange(300), labels]).sum() + uniform) / 301)

    best = temperature(logits, labels)
    assert all(loss(best) <= loss(best * factor) for factor in (0.8, 0.98, 1.02, 1.25))


def test_rows_that_are_all_right_leave_a_doubt():
    logits = np.array([[2.0, 0.0], [0.0, 2.0]] * 15)
    labels = np.array([0, 1] * 15)
    confidence = softmax(logits / temperature(logits, labels)).max(axis=1)
    # One row more, half of it wrong: (30 + 1/2) / 31.
    assert confidence == pytest.approx((30 + 0.5) / 31, abs=1e-6)


def test_logits_that_say_nothing_end_in_equal_shares():
    generator = np.random.default_rng(0)
    logits = np.abs(generator.normal(size=(500, 2))) * [1, -1]
    labels = np.array([0, 1] * 250)
    assert softmax(logits / temperature(logits, labels)).max() < 0.53


def test_platt_scaling_finds_slope_and_offset():
    generator = np.random.default_rng(0)
    odds = generator.normal(size=20_000) * 2
    slope, offset = platt(odds, generator.random(20_000) < sigmoid(0.5 * odds - 1))
    assert slope == pytest.approx(0.5, abs=0.05) and offset == pytest.approx(-1, abs=0.06)


@pytest.mark.parametrize("all_are", [True, False])
def test_platt_scaling_of_one_kind_of_rows_stays_finite(all_are):
    slope, offset = platt(np.linspace(-1, 1, 40), np.full(40, all_are))
    share = sigmoid(slope * np.zeros(1) + offset)[0]
    # Two rows more, half of them right.
    assert math.isfinite(slope) and (share if all_are else 1 - share) == pytest.approx(41 / 42, abs=0.01)


def test_overconfident_rows_without_a_temperature_are_mended_by_few_rows():
    """Those of levels and sets: only two rows more are counted."""
    generator = np.random.default_rng(0)
    odds = generator.normal(size=60) * 2
    slope, _ = platt(8 * odds, generator.random(60) < sigmoid(odds))
    assert slope == pytest.approx(1 / 8, rel=0.6)


def test_few_rows_change_confidences_less_than_many():
    generator = np.random.default_rng(0)
    odds = generator.normal(size=20_000) * 2
    is_right = generator.random(20_000) < sigmoid(odds - 2)
    offsets = [platt(odds[:rows], is_right[:rows], 200)[1] for rows in (20, 200, 20_000)]
    assert 0 > offsets[0] > -0.4 > offsets[1] > -1.5 > offsets[2] == pytest.approx(-2, abs=0.1)


def test_rows_that_are_all_alike_determine_no_slope_but_an_offset():
    odds = np.full(60, -0.7) + np.linspace(-1e-3, 1e-3, 60)
    slope, offset = platt(odds, np.arange(60) < 20, 200)
    assert slope == pytest.approx(1, abs=0.1) and offset == pytest.approx(0, abs=0.15)


def test_confidences_that_are_right_stay_as_they_are():
    generator = np.random.default_rng(0)
    odds = generator.normal(size=600) * 2
    scaled = [platt(odds, generator.random(600) < sigmoid(odds)) for _ in range(50)]
    assert np.mean(scaled, axis=0) == pytest.approx([1, 0], abs=0.05)


def test_the_quantile_is_that_of_finite_samples():
    errors = np.arange(1, 20.0)  # of 19 rows the ceil(0.9 * 20) = 18th
    assert half_length(np.zeros(19), errors * np.where(np.arange(19) % 2, 1, -1)) == 18
    assert half_length(np.zeros(9), errors[:9]) == 9  # 0.9 * 10 is 9 exactly: not the tenth
    with pytest.raises(ValueError, match="at least 9 rows, got 8"):
        half_length(np.zeros(8), errors[:8])


@pytest.mark.parametrize("rows", [20, 100])
def test_intervals_hold_what_they_promise_of_new_rows(rows):
    """Of any distribution; here of one with heavy tails, and a poor model."""
    generator = np.random.default_rng(0)
    held = []
    for _ in range(2_000):
        errors = generator.standard_t(2, size=rows + 20) + 1
        half = half_length(np.zeros(rows), errors[:rows])
        held.append((np.abs(errors[rows:]) <= half).mean())
    rank = math.ceil(0.9 * (rows + 1) - 1e-9)
    assert np.mean(held) == pytest.approx(rank / (rows + 1), abs=0.006)
