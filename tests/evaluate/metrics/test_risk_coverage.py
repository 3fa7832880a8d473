"""What leaving out uncertain rows gains: the scores themselves, and what each row weighs in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mscon.evaluate.metrics.risk_coverage import area_under_risk, curve, gain, new_above_known

seeds = st.integers(0, 10_000)


def rows(seed: int, count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Uncertainties with ties, and losses that grow with them."""
    g = np.random.default_rng(seed)
    uncertainty = g.random(count).round(1)
    return uncertainty, (g.random(count) < uncertainty).astype(np.float64)


@given(seeds)
def test_the_area_is_the_mean_over_rows_of_the_mean_loss_of_rows_that_are_no_more_uncertain(seed):
    uncertainty, loss = rows(seed)
    by_loops = [loss[uncertainty <= one].mean() for one in uncertainty]
    assert area_under_risk(uncertainty, loss).mean() == pytest.approx(np.mean(by_loops))


@given(seeds)
def test_how_often_a_new_row_is_above_a_known_one_is_the_area_under_the_roc_curve(seed):
    known, new = rows(seed)[0], rows(seed + 1, 20)[0] + 0.2
    auroc = roc_auc_score(np.repeat([0, 1], [30, 20]), np.concatenate([known, new]))
    assert new_above_known(known, new).mean() == pytest.approx(auroc)


@given(seeds)
def test_the_gain_is_the_mean_of_the_rows_that_are_left_over_that_of_all(seed):
    uncertainty, loss = rows(seed)
    left = uncertainty <= 0.6
    assert gain(uncertainty, loss, 0.6).mean() == pytest.approx(loss[left].mean() - loss.mean())


@pytest.mark.parametrize("number", [0, 7, 29])
def test_a_row_weighs_what_the_score_moves_by_where_it_counts_more(number):
    uncertainty, loss = rows(3)
    copies = 300
    many_u, many_l = np.tile(uncertainty, copies), np.tile(loss, copies)
    more_u, more_l = np.append(many_u, uncertainty[number]), np.append(many_l, loss[number])
    for score in (area_under_risk, lambda *rows: gain(*rows, 0.6)):
        moved = (score(more_u, more_l).mean() - score(many_u, many_l).mean()) * len(more_u)
        values = score(uncertainty, loss)
        assert values[number] - values.mean() == pytest.approx(moved, abs=0.01)
    known, new = uncertainty[:20], uncertainty[20:] + 0.1
    values = new_above_known(known, new)
    more = [np.tile(known, copies), np.tile(new, copies)]
    before = new_above_known(*more).mean()
    which = int(number >= 20)
    more[which] = np.append(more[which], (known, new)[which][number - 20 * which])
    moved = (new_above_known(*more).mean() - before) * (copies * 30 + 1)
    assert values[number] - values.mean() == pytest.approx(moved, abs=0.01)


def test_a_curve_goes_from_the_most_certain_rows_to_the_mean_of_all():
    uncertainty, score = np.array([0.9, 0.1, 0.5, 0.3]), np.array([0.0, 1.0, 0.0, 1.0])
    assert curve(uncertainty, score, np.array([0.01, 0.5, 0.75, 1.0])).tolist() == pytest.approx([1, 1, 2 / 3, 0.5])


def test_without_a_row_below_the_threshold_there_is_no_gain():
    with pytest.raises(ValueError, match=r"no row has an uncertainty of 0\.1 or less"):
        gain(np.array([0.5, 0.9]), np.ones(2), 0.1)
