"""Ridge regression on frozen features: how much of a column of numbers can be read off by a weighted sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import Ridge

from mscon.evaluate.grid_search import choose, fitted, need_finite, standardised
from mscon.evaluate.metrics.influence import r_squared, rank_correlation


@dataclass(frozen=True, slots=True)
class NumberResult:
    """What ridge regression makes of the test rows.

    Attributes:
        rows: positions of the test rows that were scored: all that have a number.
        true, predicted: their numbers, in the unit of the column.
        train_rows, validation_rows: rows with a number fitted on, and chosen on.
        r2, spearman: one value a scored row, whose mean is the score: see `row_values`.
        mean_r2: R squared of always predicting the mean of the training rows; 0 or a little below.
        regularisation: the chosen strength.
        validation_score: R squared on the validation rows at that strength, or minus infinity where all of them have
            the same number; None without such rows.
    """

    rows: Int[np.ndarray, " scored"]
    true: Float[np.ndarray, " scored"]
    predicted: Float[np.ndarray, " scored"]
    train_rows: int
    validation_rows: int
    r2: Float[np.ndarray, " scored"]
    spearman: Float[np.ndarray, " scored"]
    mean_r2: float
    regularisation: float
    validation_score: float | None


def number_probe(
    features_train: Float[np.ndarray, "train width"],
    y_train: Float[np.ndarray, " train"],
    features_validation: Float[np.ndarray, "validation width"],
    y_validation: Float[np.ndarray, " validation"],
    features_test: Float[np.ndarray, "test width"],
    y_test: Float[np.ndarray, " test"],
) -> NumberResult:
    r"""Ridge regression on features and numbers standardised by the training rows.

    The weights minimise

        mean over training rows of the squared error (in variances of the numbers) + regularisation * ||w||^2.

    The strength is the one of `penalty.GRID` with the least squared error on the validation rows. Rows without a
    number (NaN) are left out.

    Args:
        features_train, features_validation, features_test: frozen features.
        y_train, y_validation, y_test: numbers in the unit of the column, NaN where missing.

    Returns:
        Predictions and scores of the test rows. Expect R squared above `mean_r2`, or the features say nothing of the
        column; 1 at best. It may be far below 0 where test rows are unlike training rows.

    Raises:
        ValueError: if a feature is not finite, or train or test rows have fewer than two different numbers.

    Source: Hoerl and Kennard 1970, "Ridge Regression"; scikit-learn's `Ridge`, solved exactly.
    """
    need_finite((features_train, features_validation, features_test))
    trained, validated, scored = (np.isfinite(y) for y in (y_train, y_validation, y_test))
    for name, numbers in (("train", y_train[trained]), ("test", y_test[scored])):
        if np.unique(numbers).size < 2:
            raise ValueError(f"the {name} rows have fewer than two different numbers.")
    train, validation, test = standardised(
        features_train[trained], features_validation[validated], features_test[scored]
    )
    centre, scale = float(y_train[trained].mean()), float(y_train[trained].std())
    y, y_validated, true = (y_train[trained] - centre) / scale, y_validation[validated], y_test[scored]
    model = Ridge(solver="cholesky")

    def fit(strength: float) -> bool:
        model.alpha = strength * y.size  # scikit-learn sums over rows where we take the mean
        return fitted(model, train, y)

    best = choose(
        fit,
        lambda features: model.predict(features) * scale + centre,
        lambda numbers_predicted: -float(((numbers_predicted - y_validated) ** 2).mean()),
        validation,
        test,
    )
    return NumberResult(
        rows=np.flatnonzero(scored),
        true=true,
        predicted=best.predicted,
        train_rows=int(trained.sum()),
        validation_rows=int(validated.sum()),
        r2=r_squared(true, best.predicted),
        spearman=rank_correlation(true, best.predicted),
        mean_r2=float(r_squared(true, np.full(true.size, centre)).mean()),
        regularisation=best.regularisation,
        validation_score=_explained(best.validation_score, y_validated),
    )


def _explained(score: float | None, y: Float[np.ndarray, " rows"]) -> float | None:
    """R squared from minus the mean squared error; None without rows, or where they all have the same number."""
    return None if score is None or not y.var() > 0 else 1 + score / float(y.var())
