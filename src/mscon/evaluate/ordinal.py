"""A linear probe of ordered levels: by how many levels is one off who reads them from frozen features?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression

from mscon.evaluate.grid_search import choose, fitted, need_finite, standardised

_TOLERANCE = 1e-4
_ITERATIONS = 500


@dataclass(frozen=True, slots=True)
class LevelResult:
    """What the probe makes of the test rows.

    Attributes:
        rows: positions of the test rows that were scored: all that have a level.
        true, predicted: their ranks, 0 the lowest.
        train_rows, validation_rows: rows with a level fitted on, and chosen on.
        median: the rank in the middle of the training rows; always predicting it is the guess to beat.
        regularisation: the chosen strength.
        validation_score: mean error in levels on the validation rows at that strength; None without such rows.
        converged: False if a chosen fit stopped at its greatest number of iterations.
    """

    rows: Int[np.ndarray, " scored"]
    true: Int[np.ndarray, " scored"]
    predicted: Int[np.ndarray, " scored"]
    train_rows: int
    validation_rows: int
    median: int
    regularisation: float
    validation_score: float | None
    converged: bool

    @property
    def level_error(self) -> Float[np.ndarray, " scored"]:
        """By how many levels each row is off."""
        return np.abs(self.true - self.predicted).astype(np.float64)

    @property
    def within_one(self) -> Float[np.ndarray, " scored"]:
        """1 where a row is off by one level at most."""
        return (self.level_error <= 1).astype(np.float64)


def level_probe(
    features_train: Float[np.ndarray, "train width"],
    y_train: Float[np.ndarray, " train"],
    features_validation: Float[np.ndarray, "validation width"],
    y_validation: Float[np.ndarray, " validation"],
    features_test: Float[np.ndarray, "test width"],
    y_test: Float[np.ndarray, " test"],
) -> LevelResult:
    """For each step between levels a logistic regression that says whether a row lies above it; then steps are counted.

    The prediction is the number of steps that a row is more likely above than not. That is the median of what the
    classifiers believe, which minimises the expected absolute error, and no distance between levels is assumed, as
    rounding a regression to ranks would. All steps share one strength of the penalty, the one with the least error on
    the validation rows. Rows without a level (NaN) are left out.

    Args:
        features_train, features_validation, features_test: frozen features.
        y_train, y_validation, y_test: ranks 0, 1, ..., NaN where missing.

    Returns:
        Predictions of the test rows. Expect a mean error below that of `median`, or the features say nothing of the
        column.

    Raises:
        ValueError: if a feature is not finite, the training rows have fewer than two levels, or no test row has one.

    Source: Frank and Hall 2001, "A Simple Approach to Ordinal Classification"; counting the steps as Li and Lin 2007,
        "Ordinal Regression by Extended Binary Classification", whose theorem bounds the absolute error by the steps'
        mistakes. Each step is scikit-learn's `LogisticRegression`.
    """
    need_finite((features_train, features_validation, features_test))
    trained, validated, scored = (np.isfinite(y) for y in (y_train, y_validation, y_test))
    y, y_validated, true = (
        part[labelled].astype(np.int64)
        for part, labelled in ((y_train, trained), (y_validation, validated), (y_test, scored))
    )
    present = np.unique(y)
    if present.size < 2:
        raise ValueError(f"a classifier needs at least 2 levels among the training rows, got {present.size}.")
    if not true.size:
        raise ValueError("no test row has a level.")
    train, validation, test = standardised(
        features_train[trained], features_validation[validated], features_test[scored]
    )
    steps = [LogisticRegression(warm_start=True, tol=_TOLERANCE, max_iter=_ITERATIONS) for _ in present[1:]]

    def fit(strength: float) -> bool:
        converged = True
        for step, level in zip(steps, present, strict=False):
            step.C = 1 / (strength * y.size)  # scikit-learn sums over rows where we take the mean
            converged &= fitted(step, train, y > level)
        return converged

    def predict(features: Float[np.ndarray, "rows width"]) -> Int[np.ndarray, " rows"]:
        return present[sum((step.decision_function(features) > 0).astype(np.int64) for step in steps)]

    best = choose(fit, predict, lambda levels: -float(np.abs(levels - y_validated).mean()), validation, test)
    return LevelResult(
        rows=np.flatnonzero(scored),
        true=true,
        predicted=best.predicted,
        train_rows=int(trained.sum()),
        validation_rows=int(validated.sum()),
        median=int(np.sort(y)[(y.size - 1) // 2]),
        regularisation=best.regularisation,
        validation_score=None if best.validation_score is None else abs(best.validation_score),
        converged=best.converged,
    )
