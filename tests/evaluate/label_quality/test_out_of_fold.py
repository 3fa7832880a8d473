"""No prediction for a row comes from its own label, nor from rows that belong to it."""

from __future__ import annotations

import numpy as np
import pytest

from mscon.evaluate import large_logistic
from mscon.evaluate.label_quality import out_of_fold
from mscon.evaluate.label_quality.out_of_fold import (
    FOLDS,
    WIDEST,
    class_probabilities,
    folds_of,
    groups_of,
    label_probabilities,
    neighbours_of,
    space_of,
    standardised,
    votes,
    with_products,
)
from mscon.evaluate.label_quality.witnesses import inputs_of


def test_rows_with_equal_features_or_of_one_group_belong_together():
    features = np.array([[0.0, 1], [0, 1], [2, 3], [4, 5], [-0.0, 1]])
    assert groups_of(features).tolist() == [0, 0, 1, 2, 0]
    joined = groups_of(features, np.array([0, 1, 1, 2, 3]))  # 1 joins rows 1 and 2, and so all rows like row 1
    assert joined[0] == joined[1] == joined[2] == joined[4] != joined[3]


def test_chains_of_groups_are_joined_to_the_end():
    features = np.array([[0.0], [1], [1], [2], [2], [3], [9]])
    joined = groups_of(features, np.array([0, 0, 1, 1, 2, 2, 5]))
    assert len(set(joined[:6].tolist())) == 1 and joined[6] != joined[0]


def test_a_group_lies_in_one_fold_and_folds_are_of_one_size():
    groups = np.repeat(np.arange(50), 3)
    fold = folds_of(groups)
    assert all(len(set(fold[groups == group].tolist())) == 1 for group in range(50))
    assert np.bincount(fold).tolist() == [30] * FOLDS


def test_a_label_does_not_change_what_is_predicted_for_its_own_row():
    generator = np.random.default_rng(0)
    features, codes = generator.normal(size=(60, 3)).astype(np.float32), generator.integers(3, size=60)
    fold = folds_of(np.arange(60))
    changed = codes.copy()
    changed[7] = (codes[7] + 1) % 3
    before, after = (class_probabilities(features, labels, 3, fold) for labels in (codes, changed))
    own = fold == fold[7]
    np.testing.assert_array_equal(before[own], after[own])
    assert not np.array_equal(before[~own], after[~own])
    has = codes[:, None] == np.arange(3)
    changed_has = changed[:, None] == np.arange(3)
    before, after = (label_probabilities(features, labels, fold) for labels in (has, changed_has))
    np.testing.assert_array_equal(before[own], after[own])
    near = neighbours_of(features, np.arange(60))
    before, after = (votes(near, labels, 3) for labels in (codes, changed))
    assert np.abs(before[7] - after[7]).max() < 0.01  # by the frequencies of the whole column alone


def test_features_are_rotated_once_for_all_folds(monkeypatch):
    calls, axes = [], large_logistic._principal_axes
    monkeypatch.setattr(large_logistic, "_principal_axes", lambda x: (calls.append(len(x)), axes(x))[1])
    generator = np.random.default_rng(0)
    features, codes = generator.normal(size=(60, 3)).astype(np.float32), generator.integers(3, size=60)
    class_probabilities(features, codes, 3, folds_of(np.arange(60)))
    label_probabilities(features, codes[:, None] == np.arange(3), folds_of(np.arange(60)))
    assert calls == [60, 60]


def test_rows_that_are_not_believed_teach_nothing():
    generator = np.random.default_rng(0)
    features, codes = generator.normal(size=(60, 3)).astype(np.float32), generator.integers(2, size=60)
    fold, believed = folds_of(np.arange(60)), np.arange(60) != 7
    changed = codes.copy()
    changed[7] = 1 - codes[7]
    of_either = [class_probabilities(features, labels, 2, fold, believed) for labels in (codes, changed)]
    np.testing.assert_array_equal(*of_either)


def test_a_class_that_other_folds_lack_is_not_expected():
    codes, fold = np.array([0, 0, 1, 0, 0, 0]), np.array([0, 1, 1, 0, 1, 0])
    probabilities = class_probabilities(np.eye(6, dtype=np.float32), codes, 2, fold)
    assert np.isfinite(probabilities).all() and probabilities[2, 1] < 1e-6


def test_neighbours_are_of_other_groups():
    generator = np.random.default_rng(0)
    features, groups = generator.normal(size=(90, 4)), np.arange(90) // 3
    near = neighbours_of(features, groups)
    assert (near >= 0).all() and not (groups[near] == groups[:, None]).any()
    alone = neighbours_of(features, np.zeros(90, dtype=np.int64))
    assert (alone == -1).all()


def test_of_many_rows_each_is_compared_with_a_part(monkeypatch):
    generator = np.random.default_rng(0)
    kind = np.arange(400) % 4
    space = np.eye(4)[kind] * 3 + generator.normal(size=(400, 4)) * 0.3
    whole = neighbours_of(space, np.arange(400))
    monkeypatch.setattr(out_of_fold, "_COMPARED", 200)
    parts = neighbours_of(space, np.arange(400))
    assert not np.array_equal(whole, parts) and (parts != np.arange(400)[:, None]).all() and (parts >= 0).all()
    assert (kind[parts] == kind[:, None]).all()
    assert len(np.unique(parts)) > 390  # no row is left out


def test_votes_are_shares_of_the_known_neighbours():
    near, codes = np.array([[1, 2, 3], [-1, -1, -1]]), np.array([-1, 0, 1, -1])
    assert votes(near, codes, 2).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    weighted = votes(near, codes, 2, np.array([0.0, 1.0, 0.0, 0.0]))
    assert weighted[0] == pytest.approx([0.75, 0.25])


def test_constant_and_outlying_features_are_harmless():
    features = np.zeros((100, 3))
    features[:, 1] = 5.0
    features[0, 2] = 1e12
    scaled = standardised(features)
    assert np.isfinite(scaled).all() and not scaled[:, :2].any() and scaled.max() <= 10


def test_wide_features_are_reduced_but_keep_their_neighbours():
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(4, 300)) * 3
    kind = np.arange(280) % 4
    space = space_of(centres[kind] + generator.normal(size=(280, 300)))
    assert space.shape == (280, WIDEST)
    near = neighbours_of(space, np.arange(280))
    assert (kind[near] == kind[:, None]).mean() > 0.99


def test_few_numbers_tell_a_class_that_lies_between_others():
    """The sign of a product, which no linear model of the numbers tells."""
    numbers = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    codes, fold = (numbers[:, 0] * numbers[:, 1] > 0).astype(np.int64), folds_of(np.arange(400))
    right = [
        (class_probabilities(x, codes, 2, fold).argmax(axis=1) == codes).mean()
        for x in (numbers, with_products(numbers))
    ]
    assert right[0] < 0.65 and right[1] > 0.95
    np.testing.assert_array_equal(inputs_of(numbers, []), with_products(numbers))


def test_products_are_of_few_numbers_only():
    few, many = np.eye(30, 21, dtype=np.float32), np.eye(30, 22, dtype=np.float32)
    assert with_products(few).shape == (30, 21 + 21 * 22 // 2)
    assert with_products(few).shape[1] <= WIDEST
    assert with_products(many) is many
