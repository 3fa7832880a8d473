"""Intervals: closed forms, coverage, and what pairing buys."""

from __future__ import annotations

from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from mscon.evaluate.metrics import influence
from mscon.evaluate.metrics.bootstrap import (
    Interval,
    interval,
    macro_f1_interval,
    paired_difference,
    seeded_interval,
)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def width(i: Interval) -> float:
    return i.high - i.low


@given(st.floats(-1e6, 1e6), st.integers(1, 50), st.integers(1, 4))
def test_equal_values_leave_no_doubt(value, rows, seeds):
    result = seeded_interval(np.full((seeds, rows), value), draws=50)
    assert (result.value, result.low, result.high, result.standard_error) == (value, value, value, 0.0)


@pytest.mark.parametrize(("p", "rows"), [(0.5, 400), (0.9, 1_000), (0.02, 2_000)])
def test_a_share_has_the_standard_error_of_its_closed_form(p, rows):
    values = np.arange(rows) < p * rows
    result = interval(values, draws=4_000)
    assert result.value == pytest.approx(p)
    assert result.standard_error == pytest.approx((p * (1 - p) / rows) ** 0.5, rel=0.06)
    assert result.high - result.low == pytest.approx(2 * 1.96 * result.standard_error, rel=0.06)


def test_an_interval_of_half_the_draws_lies_within_one_of_nearly_all():
    values = normal(60)
    half, nearly = interval(values, level=0.5), interval(values, level=0.99)
    assert nearly.low < half.low < half.value < half.high < nearly.high


def test_95_percent_intervals_hold_the_true_mean_about_as_often():
    covered = [
        i.low <= 0.3 <= i.high
        for i in (interval(np.random.default_rng(n).random(100) < 0.3, draws=300, seed=n) for n in range(600))
    ]
    assert 0.92 < np.mean(covered) < 0.975


def test_intervals_over_rows_and_seeds_hold_the_true_mean_about_as_often():
    def data(n: int) -> np.ndarray:
        g = np.random.default_rng(n)
        return g.normal(size=(1, 100)) + 0.2 * g.normal(size=(8, 1)) + g.normal(size=(8, 100))

    covered = [i.low <= 0 <= i.high for i in (seeded_interval(data(n), draws=300, seed=n) for n in range(400))]
    assert 0.91 < np.mean(covered) < 0.985


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_alone_have_the_unbiased_variance_of_their_mean(seeds):
    """Drawing all S seeds instead of S - 1 would give (S - 1) / S of it."""
    effect = normal(seeds, 1)
    result = seeded_interval(np.tile(effect, (1, 20)), draws=20_000)
    assert result.standard_error == pytest.approx(effect.std(ddof=1) / seeds**0.5, rel=0.03)


def test_seeds_that_agree_tell_no_more_than_one_seed():
    """Rows are shared: three copies of a run are not three times the rows."""
    values = normal(1, 200)
    one, three = seeded_interval(values), seeded_interval(np.repeat(values, 3, axis=0))
    assert three.low == pytest.approx(one.low)
    assert three.high == pytest.approx(one.high)


def test_one_seed_is_the_interval_over_rows():
    values = normal(30)
    assert seeded_interval(values[None]) == interval(values)


@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 5))
def test_nothing_differs_from_itself(seeds, rows, seed):
    values = normal(seeds, rows, seed=seed)
    assert paired_difference(values, values, draws=20) == Interval(0.0, 0.0, 0.0, 0.0)


def test_swapping_a_pair_turns_the_sign():
    a, b = normal(3, 40), normal(3, 40, seed=1)
    there, back = paired_difference(a, b), paired_difference(b, a)
    np.testing.assert_allclose([back.value, back.low, back.high], [-there.value, -there.high, -there.low])


def test_pairing_narrows_the_difference_of_correlated_scores():
    hard = normal(1, 300)
    a, b = hard + 0.1 * normal(1, 300, seed=1), hard + 0.1 * normal(1, 300, seed=2)
    apart = np.hypot(seeded_interval(a).standard_error, seeded_interval(b).standard_error)
    paired = paired_difference(a, b)
    # Half the variance 1.01 of each is shared but for 0.01: sqrt(0.02 / 2.02) is a tenth.
    assert paired.standard_error == pytest.approx(0.1 * apart, rel=0.15)
    assert paired.value == pytest.approx((a - b).mean())


def test_a_constant_advantage_is_certain():
    a = normal(2, 50)
    result = paired_difference(a + 0.25, a)
    np.testing.assert_allclose([result.value, result.low, result.high], 0.25)


classes_of_rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(classes_of_rows)
def test_macro_f1_is_that_of_scikit_learn(pairs):
    true, predicted = np.array(pairs).T
    expected = f1_score(true, predicted, average="macro", zero_division=0)
    assert macro_f1_interval(predicted, true, draws=2).value == pytest.approx(expected)


def test_macro_f1_of_redrawn_rows_is_what_loops_find():
    g = np.random.default_rng(0)
    true = g.integers(4, size=80)
    predicted = np.where(g.random(80) < 0.6, true, g.integers(4, size=80))
    loops = []
    for _ in range(1_000):
        drawn = g.integers(80, size=80)
        loops.append(f1_score(true[drawn], predicted[drawn], average="macro", zero_division=0))
    result = macro_f1_interval(predicted, true, draws=4_000)
    assert result.value == pytest.approx(f1_score(true, predicted, average="macro"))
    assert result.standard_error == pytest.approx(np.std(loops), rel=0.1)


def test_macro_f1_of_rare_classes_is_as_uncertain_as_scoring_redrawn_rows_says():
    """The linear approximation that other scores have is a quarter too narrow here, so it is not used."""
    g = np.random.default_rng(0)
    true = g.integers(400, size=1_300)
    predicted = np.where(g.random(1_300) < 0.7, true, g.integers(400, size=1_300))
    rows = g.integers(1_300, size=(300, 1_300))
    redrawn = [f1_score(true[drawn], predicted[drawn], average="macro", zero_division=0) for drawn in rows]
    result = macro_f1_interval(predicted, true)
    assert result.standard_error == pytest.approx(np.std(redrawn), rel=0.15)
    low, high = np.quantile(redrawn, [0.025, 0.975])
    assert width(result) == pytest.approx(high - low, rel=0.15)
    classes = np.arange(400)
    linear = influence.macro_f1(true[:, None] == classes, predicted[:, None] == classes)
    assert interval(linear).standard_error < 0.85 * result.standard_error


def test_a_score_over_many_rare_classes_lies_inside_its_own_interval():
    g = np.random.default_rng(0)
    true = g.integers(400, size=1_300)
    predicted = np.where(g.random(1_300) < 0.7, true, g.integers(400, size=1_300))
    result = macro_f1_interval(predicted, true)
    assert result.low < result.value < result.high


def test_no_interval_of_a_score_leaves_0_to_1():
    """One class is wrong once; draws that miss that row score 1, and the shift would lift them above it."""
    true = np.arange(60) % 30
    predicted = np.where(np.arange(60) == 0, 1, true)
    result = macro_f1_interval(predicted, true)
    assert result.low < result.value < result.high == 1.0


def test_macro_f1_of_copies_in_groups_tells_no_more_than_one_row_of_each():
    g = np.random.default_rng(3)
    true = g.integers(3, size=60)
    predicted = np.where(g.random(60) < 0.7, true, g.integers(3, size=60))
    once = macro_f1_interval(predicted, true, draws=4_000)
    copies, groups = (np.repeat(predicted, 8), np.repeat(true, 8)), np.repeat(np.arange(60), 8)
    drawn = macro_f1_interval(*copies, draws=4_000, groups=groups)
    assert drawn.value == pytest.approx(once.value)
    assert drawn.standard_error == pytest.approx(once.standard_error, rel=0.05)
    assert macro_f1_interval(*copies, draws=4_000).standard_error == pytest.approx(
        once.standard_error / 8**0.5, rel=0.05
    )


@pytest.mark.parametrize("seeds", [1, 3])
def test_copies_of_rows_in_a_group_tell_no_more_than_one_row(seeds):
    """As many rows of each group, all alike: the standard error is that of a mean over groups, not over rows."""
    values, groups = np.repeat(normal(1, 50), 8, axis=1).repeat(seeds, axis=0), np.repeat(np.arange(50), 8)
    drawn = seeded_interval(values, draws=4_000, groups=groups)
    one_each = values[0, ::8]
    assert drawn.value == pytest.approx(one_each.mean())
    assert drawn.standard_error == pytest.approx(one_each.std(ddof=1) / 50**0.5, rel=0.05)
    assert width(drawn) > 2 * width(seeded_interval(values, draws=4_000))


def test_a_group_is_drawn_with_all_of_its_rows():
    """Two groups, of 1 and 3 rows: a draw of one group gives the mean of either."""
    drawn = seeded_interval(np.array([[0.0, 1.0, 1.0, 1.0]]), draws=500, groups=np.array([7, 2, 2, 2]))
    assert (drawn.value, drawn.low, drawn.high) == (0.75, 0.0, 1.0)
    assert seeded_interval(np.array([[0.0, 1.0]]), groups=np.array([0, 0])).standard_error == 0


def test_pairs_are_drawn_by_groups_too():
    a, b = normal(2, 60), normal(2, 60, seed=1)
    groups = np.arange(60) // 4
    assert paired_difference(a, b, groups=groups) == seeded_interval(a - b, groups=groups)
    assert paired_difference(a, b, groups=groups) != paired_difference(a, b)


def test_the_same_question_has_the_same_answer():
    values = normal(3, 25)
    assert seeded_interval(values, seed=4) == seeded_interval(values, seed=4)
    assert seeded_interval(values, seed=4) != seeded_interval(values, seed=5)


def test_the_number_of_draws_held_at_once_changes_nothing(monkeypatch):
    values = normal(2, 70)
    of_all = seeded_interval(values)
    monkeypatch.setattr("mscon.evaluate.metrics.bootstrap._BLOCK", 1_000)
    split = seeded_interval(values)
    np.testing.assert_allclose([split.low, split.high], [of_all.low, of_all.high], rtol=1e-12)


def test_to_json_keeps_value_low_and_high():
    assert interval(np.array([1.0, 1.0])).to_json() == {"value": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: interval(np.array([])), "not empty"),
        (lambda: interval(np.array([1.0, np.nan])), "1 of 2 values are not finite"),
        (lambda: interval(np.ones(3), level=1.0), "level must lie between 0 and 1, got 1.0"),
        (lambda: interval(np.ones(3), draws=1), "at least 2 draws, got 1"),
        (lambda: macro_f1_interval(np.array([0]), np.array([-1])), "0 or above"),
        # Unwrapped: while testing, the shapes in a signature are refused before the function is entered.
        (lambda: unwrap(interval)(np.zeros((2, 2))), r"shape \(2, 2\)"),
        (lambda: unwrap(paired_difference)(np.ones((1, 3)), np.ones((2, 3))), r"\(1, 3\) and \(2, 3\)"),
        (lambda: unwrap(macro_f1_interval)(np.array([0]), np.array([0, 1])), r"\(1,\) and \(2,\)"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_value(call, words):
    with pytest.raises(ValueError, match=words):
        call()
