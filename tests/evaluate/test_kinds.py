"""Linear probes of numbers, levels and sets of labels: what they read, and what they leave out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mscon.evaluate.grid_search import DEFAULT
from mscon.evaluate.multi_label import label_set_probe
from mscon.evaluate.ordinal import level_probe
from mscon.evaluate.ridge import number_probe

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
    got = number_probe(*parted(X, NUMBER))
    assert got.r2.mean() == pytest.approx(0.9, abs=0.04)
    assert got.spearman.mean() > 0.9
    assert -0.1 < got.mean_r2 <= 0
    assert (got.train_rows, got.validation_rows, len(got.rows)) == SIZES
    assert got.validation_score == pytest.approx(0.9, abs=0.05)


def test_the_regression_is_that_of_scikit_learn():
    got = number_probe(*parted(X, NUMBER))
    train, _, test = PARTS
    centre, scale = X[train].mean(axis=0), X[train].std(axis=0)
    model = Ridge(alpha=got.regularisation * len(train)).fit((X[train] - centre) / scale, NUMBER[train])
    assert got.predicted == pytest.approx(model.predict((X[test] - centre) / scale))


def test_the_unit_of_a_number_changes_nothing_but_the_unit():
    metres, millimetres = (number_probe(*parted(X, NUMBER * unit)) for unit in (1.0, 1000.0))
    assert millimetres.r2 == pytest.approx(metres.r2)
    assert millimetres.predicted == pytest.approx(1000 * metres.predicted)


def test_noise_is_not_read_off():
    assert abs(number_probe(*parted(X, noise(1.0, 5))).r2.mean()) < 0.1


def test_levels_are_read_off_with_less_error_than_their_median():
    got = level_probe(*parted(X, LEVEL))
    guess = np.abs(got.true - got.median).mean()
    assert got.level_error.mean() < 0.5 * guess
    assert got.within_one.mean() > 0.95
    assert got.level_error.mean() == np.abs(got.true - got.predicted).mean()
    assert got.validation_score is not None and got.validation_score < 0.6


def test_a_level_between_two_others_is_predicted_though_no_training_row_has_it():
    level = LEVEL.copy()
    level[PARTS[0]] = np.where(LEVEL[PARTS[0]] == 2, np.nan, LEVEL[PARTS[0]])
    got = level_probe(*parted(X, level))
    assert set(got.predicted) <= {0, 1, 3, 4}, "only levels of training rows are predicted"
    assert 2 in got.true


def test_two_levels_are_two_classes():
    got = level_probe(*parted(X, (X[:, 0] > 0).astype(np.float64)))
    assert got.level_error.mean() < 0.1
    assert set(got.level_error) <= {0.0, 1.0}


def test_each_label_is_read_off_by_itself():
    got = label_set_probe(*parted(X, LABELS), ["a", "b", "c"])
    right = (got.predicted == got.true).mean(axis=0)
    assert right[0] > 0.95 and right[1] > 0.75
    assert got.probability.dtype == np.float32
    assert got.labels == ("a", "b", "c") and got.left_out == ()


def test_labels_that_all_training_rows_have_or_none_are_left_out():
    labels = LABELS.copy()
    labels[PARTS[0], 1], labels[PARTS[0], 2] = 1.0, 0.0
    got = label_set_probe(*parted(X, labels), ["a", "b", "c"])
    assert (got.labels, got.left_out) == (("a",), ("b", "c"))


CASES = [
    (number_probe, NUMBER, ()),
    (level_probe, LEVEL, ()),
    (label_set_probe, LABELS, (["a", "b", "c"],)),
]


@pytest.mark.parametrize(("ask", "y", "names"), CASES)
def test_a_missing_cell_is_as_good_as_no_row(ask, y, names):
    gone = np.random.default_rng(2).random(len(y)) < 0.3
    holes = y.copy()
    holes[gone] = np.nan
    with_holes = ask(*parted(X, holes), *names)
    parts = [array for rows in PARTS for array in (X[rows][~gone[rows]], y[rows][~gone[rows]])]
    without = ask(*parts, *names)
    test = np.flatnonzero(~gone[PARTS[2]])
    assert with_holes.rows.tolist() == test.tolist()
    shown = "probability" if ask is label_set_probe else "predicted"
    assert np.array_equal(getattr(with_holes, shown), getattr(without, shown))


@pytest.mark.parametrize(("ask", "y", "names"), CASES)
def test_the_same_question_has_the_same_answer_and_test_targets_only_score(ask, y, names):
    turned = y.copy()
    turned[PARTS[2]] = y[PARTS[2]][::-1]
    shown = "probability" if ask is label_set_probe else "predicted"
    first, again, other = (getattr(ask(*parted(X, z), *names), shown) for z in (y, y, turned))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other)


@pytest.mark.parametrize(("ask", "y", "names"), CASES)
def test_without_validation_rows_nothing_is_chosen(ask, y, names):
    holes = y.copy()
    holes[PARTS[1]] = np.nan
    got = ask(*parted(X, holes), *names)
    assert (got.regularisation, got.validation_score, got.validation_rows) == (DEFAULT, None, 0)


@pytest.mark.parametrize(
    ("ask", "y", "names", "words"),
    [
        (number_probe, np.ones(sum(SIZES)), (), "train rows have fewer than two different numbers"),
        (level_probe, np.ones(sum(SIZES)), (), "at least 2 levels among the training rows, got 1"),
        (label_set_probe, np.ones((sum(SIZES), 2)), (["a", "b"],), "no label is there in some training rows"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(ask, y, names, words):
    with pytest.raises(ValueError, match=words):
        ask(*parted(X, y), *names)
    broken = parted(X, y)
    broken[4] = np.full_like(broken[4], np.inf)
    with pytest.raises(ValueError, match="test rows are not all finite"):
        ask(*broken, *names)
