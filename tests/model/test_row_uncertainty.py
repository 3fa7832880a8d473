"""Uncertainty of rows: planted ambiguity and rows of a new kind, on vectors of a few numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mscon.model import row_uncertainty
from mscon.model.class_posterior import ClassReference, class_posterior
from mscon.model.row_uncertainty import RowUncertainty, rank_among, unit_length

TRAIN, VALIDATION = np.arange(240), np.arange(240, 360)
KINDS, ROWS = 3, 480


def circle(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, projections of one space, classes, and which rows lie between two classes: a tenth of them."""
    g = np.random.default_rng(0)
    kind = g.integers(KINDS, size=ROWS)
    between = g.random(ROWS) < 0.1
    angle = kind * 2 * np.pi / KINDS + 0.1 * g.normal(size=ROWS)
    angle = np.where(between, (kind + g.integers(0, 2, size=ROWS) - 0.5) * 2 * np.pi / KINDS, angle)
    features = np.concatenate([circle(angle), 0.05 * g.normal(size=(ROWS, 2))], axis=1)
    return features.astype(np.float32), circle(angle)[None], kind, between


def fitted() -> tuple[RowUncertainty, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    features, projections, kind, between = planted()
    columns = {"kind": (0, np.stack([np.arange(ROWS), kind], axis=1))}
    uncertainty, reference = RowUncertainty.fit(features, projections, columns, TRAIN, VALIDATION)
    assert np.array_equal(reference, TRAIN)
    return uncertainty, features, projections, kind, between


def auroc(low: np.ndarray, high: np.ndarray) -> float:
    return float((high[:, None] > low).mean() + (high[:, None] == low).mean() / 2)


def test_the_posterior_is_equation_5():
    """Written out in loops, with two labels for one row, and with training rows that ask about themselves."""
    g = np.random.default_rng(0)
    train, queries = circle(g.random(6) * 6), circle(g.random(4) * 6)
    queries[1] = train[2]
    classes = [[0, 2, 5], [1, 2, 3, 4]]
    row = np.array([-1, 2, -1, -1])
    expected = np.zeros((4, 2))
    for i, query in enumerate(queries):
        for k, members in enumerate(classes):
            others = [p for p in members if p != row[i]]
            expected[i, k] = np.mean([np.exp(query @ train[p] / 0.2) for p in others])
    expected /= expected.sum(axis=1, keepdims=True)
    members = np.concatenate(classes)
    posterior = class_posterior(queries @ train[members].T, members, np.array([3, 4]), 0.2, row)
    np.testing.assert_allclose(posterior, expected, rtol=1e-4)


def test_classes_count_alike_however_many_rows_they_have():
    """Thirty rows of one class and one of the other, all at the same place."""
    posterior = class_posterior(np.ones((1, 31), np.float32), np.arange(31), np.array([30, 1]), 0.1)
    assert posterior.tolist() == [[0.5, 0.5]]


def test_where_no_other_row_has_a_class_all_are_equally_likely():
    posterior = class_posterior(np.ones((1, 2), np.float32), np.array([0, 0]), np.array([1, 1]), 0.1, np.array([0]))
    assert posterior.tolist() == [[0.5, 0.5]]


def test_the_lowest_temperature_is_finite_and_no_other_class_is_left_with_anything():
    posterior = class_posterior(np.array([[1.0, -1.0]], np.float32), np.array([0, 1]), np.array([1, 1]), 0.01)
    assert posterior.tolist() == [[1.0, 0.0]]


def test_rows_between_two_classes_are_the_uncertain_ones():
    uncertainty, features, projections, _, between = fitted()
    new = np.arange(360, ROWS)
    row, column = uncertainty.of(features[new], projections[:, new]), uncertainty.of_column("kind", projections[0, new])
    assert auroc(column[~between[new]], column[between[new]]) > 0.99
    assert auroc(row[~between[new]], row[between[new]]) > 0.9


def test_rows_of_a_new_kind_are_uncertain_though_their_classes_are_clear():
    """They differ from training rows in dimensions of the features that no head looks at."""
    uncertainty, features, projections, _, between = fitted()
    clear = np.flatnonzero(~between & (np.arange(ROWS) >= 360))
    known, other_kind = features[clear], features[clear] + np.array([0, 0, 1, 1], np.float32)
    before, after = (uncertainty.of(f, projections[:, clear]) for f in (known, other_kind))
    assert auroc(before, after) > 0.95
    ambiguity = [uncertainty.parts(f, projections[:, clear])[1] for f in (known, other_kind)]
    assert np.array_equal(*ambiguity)


def test_a_number_is_a_rank_among_validation_rows():
    uncertainty, features, projections, _, _ = fitted()
    of_validation = np.sort(uncertainty.of(features[VALIDATION], projections[:, VALIDATION]))
    expected = (np.arange(len(VALIDATION)) + 0.5) / len(VALIDATION)
    # Rows of equal uncertainty share their mean rank.
    assert np.abs(of_validation - expected).max() < 0.02
    assert of_validation.mean() == pytest.approx(0.5)
    assert rank_among(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 2.0, 2.5, 9.0])).tolist() == [0, 0.5, 0.75, 1]


def test_a_training_row_is_not_compared_with_itself():
    """With one wrong label among rows of another class: its own label must not make it certain."""
    features, projections, kind, _ = planted()
    alone = np.flatnonzero(np.abs(projections[0, TRAIN] - circle(np.zeros(1))).max(axis=1) < 0.1)[0]
    kind = np.where(np.arange(ROWS) == alone, 1, kind)
    columns = {"kind": (0, np.stack([np.arange(ROWS), kind], axis=1))}
    uncertainty, _ = RowUncertainty.fit(features, projections, columns, TRAIN, VALIDATION)
    vectors = features[[alone]], projections[:, [alone]]
    novelty, _ = uncertainty.parts(*vectors)
    assert novelty[0] == pytest.approx(0, abs=1e-6)
    novelty, _ = uncertainty.parts(*vectors, row=np.array([alone]))
    nearest = np.delete(unit_length(features[TRAIN]), alone, axis=0) @ unit_length(features[[alone]])[0]
    assert novelty[0] == pytest.approx(1 - nearest.max(), rel=0.1)
    (column,) = uncertainty.columns
    itself = column.posterior(projections[0, [alone]])[0, 1]
    assert column.posterior(projections[0, [alone]], np.array([alone]))[0, 1] < itself


def test_a_rows_uncertainty_depends_on_no_other_row_and_no_block(monkeypatch):
    uncertainty, features, projections, _, _ = fitted()
    some = np.random.default_rng(0).permutation(ROWS)[:40]
    row = np.where(some < len(TRAIN), some, -1)
    together = uncertainty.of(features[some], projections[:, some], row=row)
    monkeypatch.setattr(row_uncertainty, "_BLOCK", 1)
    alone = uncertainty.of(features[some], projections[:, some], row=row)
    np.testing.assert_allclose(alone, together, atol=0.02)  # a rank may be off by a rounding


def test_validation_rows_choose_a_lower_temperature_for_clearer_classes():
    g = np.random.default_rng(0)
    kind = g.integers(2, size=ROWS)
    membership = np.stack([np.arange(ROWS), kind], axis=1)

    def temperature(noise: float) -> float:
        vectors = circle(kind * np.pi / 2 + noise * g.normal(size=ROWS))
        reference = ClassReference.fit("kind", 0, membership, vectors, TRAIN, VALIDATION)
        assert reference is not None
        return reference.temperature

    assert temperature(0.05) < temperature(2.0)


def test_either_of_the_two_is_enough():
    """A row like no other is uncertain at the clearest place of a class; and so is one between two at a usual place."""
    uncertainty, features, projections, _, between = fitted()
    clear = np.flatnonzero(~between)
    clearest = clear[uncertainty.parts(features[clear], projections[:, clear])[1][0].argmin()]
    like_no_other = np.array([[0, 0, 1, 1]], np.float32)
    assert uncertainty.of(like_no_other, projections[:, [clearest]])[0] > 0.9
    assert uncertainty.of(features[[0]], circle(np.array([np.pi / KINDS]))[None], row=np.array([-1]))[0] > 0.75


def test_columns_that_cannot_be_judged_leave_novelty_alone():
    features, projections, _, _ = planted()
    one_class = np.stack([np.arange(ROWS), np.zeros(ROWS, np.int64)], axis=1)
    of_others = np.stack([VALIDATION, VALIDATION], axis=1)
    columns = {"one class": (0, one_class), "no training row": (0, of_others), "nothing": (0, one_class[:0])}
    uncertainty, _ = RowUncertainty.fit(features, projections, columns, TRAIN, VALIDATION)
    assert uncertainty.columns == ()
    new = np.zeros((1, 4), np.float32), projections[:, :1]
    assert uncertainty.of(*new) == 1
    with pytest.raises(ValueError, match="2 training rows and a validation row; there are 240, 0"):
        RowUncertainty.fit(features, projections, columns, TRAIN, VALIDATION[:0])


def test_of_many_training_rows_some_are_drawn(monkeypatch):
    monkeypatch.setattr(row_uncertainty, "MOST_ROWS", 50)
    monkeypatch.setattr(row_uncertainty, "MOST_VALIDATION_ROWS", 20)
    features, projections, kind, _ = planted()
    columns = {"kind": (0, np.stack([np.arange(ROWS), kind], axis=1))}
    uncertainty, reference = RowUncertainty.fit(features, projections, columns, TRAIN, VALIDATION)
    assert len(uncertainty.features) == 50 and len(uncertainty.total) == 20
    assert len(np.unique(reference)) == 50 and set(reference) <= set(TRAIN.tolist())
    drawn = unit_length(features[reference])
    np.testing.assert_allclose(uncertainty.features, drawn, atol=1e-3)
    (column,) = uncertainty.columns
    assert np.array_equal(np.repeat(np.arange(3), column.sizes), kind[reference[column.members]])


def test_what_is_stored_gives_the_same_numbers():
    uncertainty, features, projections, _, _ = fitted()
    again = RowUncertainty.of_arrays(*uncertainty.to_arrays())
    assert np.array_equal(again.of(features, projections), uncertainty.of(features, projections))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("features", np.zeros(3, np.float32)),
        ("features", np.full((240, 4), np.nan, np.float32)),
        ("total", np.zeros(0, np.float32)),
        ("ambiguity", np.zeros(3, np.float32)),
        ("novelty", np.zeros(3, np.float32)),
        ("0/projections", np.zeros((3, 2), np.float16)),
        ("0/members", np.full(240, 240, np.int32)),
        ("0/members", np.full(240, -1, np.int32)),
        ("0/members", np.zeros(240, np.float32)),
        ("0/sizes", np.array([240], np.int32)),
        ("0/sizes", np.array([241, -1], np.int32)),
        ("0/sizes", np.array([100, 100], np.int32)),
        ("0/ranked", np.zeros(3, np.float32)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(name, array):
    arrays, columns = fitted()[0].to_arrays()
    with pytest.raises(ValueError, match="array"):
        RowUncertainty.of_arrays({**arrays, name: array}, columns)
    with pytest.raises(ValueError, match="is missing"):
        RowUncertainty.of_arrays({other: values for other, values in arrays.items() if other != name}, columns)


def test_rows_without_direction_are_the_most_uncertain_of_all():
    uncertainty, _, _, _, _ = fitted()
    nothing = np.zeros((1, 4), np.float32), np.zeros((1, 1, 2), np.float32)
    assert uncertainty.of(*nothing) > 0.95
    assert replace(uncertainty, columns=()).of(*nothing).shape == (1,)
