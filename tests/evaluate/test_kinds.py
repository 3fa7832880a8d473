"""Linear probes of numbers, levels and sets of labels: what they read, and what they leave out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mscon.evaluate.estimators import CannotProbe
from mscon.evaluate.linear import DEFAULT, linear_probe

SIZES = (200, 60, 80)
PARTS = np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1])


def features(width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(sum(SIZES), width))


def parted(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    return [array for rows in PARTS for array in (x[rows], y[rows])]


def noise(scale: float, seed: int = 1) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=sum(SIZES))


X = features()
NUMBER = 20 + 3 * X[:, 0] + noise(1.0)
LEVEL = np.clip(np.round(2 + X[:, 0] + noise(0.3)), 0, 4)
LABELS = np.stack([X[:, 0] > 0.3, X[:, 1] + noise(1.0) > 1, noise(1.0, 9) > 0.5], axis=1).astype(np.float64)


def test_a_number_is_read_off_up_to_its_noise():
    result = linear_probe("number", *parted(X, NUMBER))
    assert result.scores["r2"].mean() == pytest.approx(0.9, abs=0.04)
    assert result.scores["spearman"].mean() > 0.9
    assert -0.1 < result.baseline["r2"] <= 0
    assert result.baseline["spearman"] == 0
    assert (result.train_rows, result.validation_rows, len(result.rows)) == SIZES
    assert result.validation_score == pytest.approx(0.9, abs=0.05)


def test_the_regression_is_that_of_scikit_learn():
    result = linear_probe("number", *parted(X, NUMBER))
    train, _, test = PARTS
    centre, scale = X[train].mean(axis=0), X[train].std(axis=0)
    model = Ridge(alpha=result.regularisation * len(train)).fit((X[train] - centre) / scale, NUMBER[train])
    assert result.predicted == pytest.approx(model.predict((X[test] - centre) / scale))


def test_the_unit_of_a_number_changes_nothing_but_the_unit():
    metres, millimetres = (linear_probe("number", *parted(X, NUMBER * unit)) for unit in (1.0, 1000.0))
    assert millimetres.scores["r2"] == pytest.approx(metres.scores["r2"])
    assert millimetres.predicted == pytest.approx(1000 * metres.predicted)


def test_noise_is_not_read_off():
    assert abs(linear_probe("number", *parted(X, noise(1.0, 5))).scores["r2"].mean()) < 0.1


def test_levels_are_read_off_with_less_error_than_their_median():
    result = linear_probe("rank", *parted(X, LEVEL))
    error = result.scores["level_error"]
    assert error.mean() < 0.5 * result.baseline["level_error"]
    assert result.scores["within_one"].mean() > 0.95
    assert error.mean() == np.abs(result.true - result.predicted).mean()
    middle = np.sort(LEVEL[PARTS[0]])[(SIZES[0] - 1) // 2]
    assert result.baseline["level_error"] == np.abs(result.true - middle).mean()
    assert result.validation_score is not None and result.validation_score < 0.6


def test_a_level_between_two_others_is_predicted_though_no_training_row_has_it():
    level = LEVEL.copy()
    level[PARTS[0]] = np.where(LEVEL[PARTS[0]] == 2, np.nan, LEVEL[PARTS[0]])
    result = linear_probe("rank", *parted(X, level))
    assert set(result.predicted) <= {0, 1, 3, 4}, "only levels of training rows are predicted"
    assert 2 in result.true


def test_two_levels_are_two_classes():
    result = linear_probe("rank", *parted(X, (X[:, 0] > 0).astype(np.float64)))
    assert result.scores["level_error"].mean() < 0.1
    assert set(result.scores["level_error"]) <= {0.0, 1.0}


def test_each_label_is_read_off_by_itself():
    result = linear_probe("labels", *parted(X, LABELS), ["a", "b", "c"])
    right = ((result.predicted > 0.5) == result.true).mean(axis=0)
    assert right[0] > 0.95 and right[1] > 0.75
    assert result.predicted.dtype == np.float32
    assert result.names == ("a", "b", "c") and result.left_out == ()


def test_labels_that_all_training_rows_have_or_none_are_left_out():
    labels = LABELS.copy()
    labels[PARTS[0], 1], labels[PARTS[0], 2] = 1.0, 0.0
    result = linear_probe("labels", *parted(X, labels), ["a", "b", "c"])
    assert (result.names, result.left_out) == (("a",), ("b", "c"))


CASES = [("number", NUMBER), ("rank", LEVEL), ("labels", LABELS)]
NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(("kind", "y"), CASES)
def test_a_missing_cell_is_as_good_as_no_row(kind, y):
    gone = np.random.default_rng(2).random(len(y)) < 0.3
    holes = y.copy()
    holes[gone] = np.nan
    with_holes = linear_probe(kind, *parted(X, holes), NAMES)
    parts = [array for rows in PARTS for array in (X[rows][~gone[rows]], y[rows][~gone[rows]])]
    without = linear_probe(kind, *parts, NAMES)
    test = np.flatnonzero(~gone[PARTS[2]])
    assert with_holes.rows.tolist() == test.tolist()
    assert np.array_equal(with_holes.predicted, without.predicted)


@pytest.mark.parametrize(("kind", "y"), CASES)
def test_the_same_question_has_the_same_answer_and_test_targets_only_score(kind, y):
    turned = y.copy()
    turned[PARTS[2]] = y[PARTS[2]][::-1]
    first, again, other = (linear_probe(kind, *parted(X, z), NAMES).predicted for z in (y, y, turned))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other)


@pytest.mark.parametrize(("kind", "y"), CASES)
def test_without_validation_rows_nothing_is_chosen(kind, y):
    holes = y.copy()
    holes[PARTS[1]] = np.nan
    result = linear_probe(kind, *parted(X, holes), NAMES)
    assert (result.regularisation, result.validation_score, result.validation_rows) == (DEFAULT, None, 0)


@pytest.mark.parametrize(
    ("kind", "y", "words"),
    [
        ("number", np.ones(sum(SIZES)), "two different numbers, which the rows of split train do not have"),
        ("rank", np.ones(sum(SIZES)), "at least 2 levels among the rows of split train, which has 1"),
        ("labels", np.ones((sum(SIZES), 3)), "no label is there in some rows of split train"),
        ("labels", np.full((sum(SIZES), 3), np.nan), "no label is there in some rows of split train"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(kind, y, words):
    with pytest.raises(CannotProbe, match=words):
        linear_probe(kind, *parted(X, y), NAMES)
    broken = parted(X, y)
    broken[4] = np.full_like(broken[4], np.inf)
    with pytest.raises(ValueError, match="test rows are not all finite"):
        linear_probe(kind, *broken, NAMES)


def test_predictions_that_overflow_are_not_the_true_values():
    """Of a criterion of minus infinity at every strength the first fit is taken, never what was to be predicted."""
    x = X.copy()
    x[PARTS[1], 0] = 1e300
    with np.errstate(over="ignore"):
        result = linear_probe("number", *parted(x, NUMBER))
    assert not np.array_equal(result.predicted, result.true)
