"""A linear probe of sets of labels: one classifier a label, each read from the same frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression

from mscon.evaluate.grid_search import choose, fitted, need_finite, standardised
from mscon.evaluate.metrics.influence import mean_average_precision

_TOLERANCE = 1e-4
_ITERATIONS = 500


@dataclass(frozen=True, slots=True)
class LabelSetResult:
    """What the classifiers make of the test rows.

    Attributes:
        rows: positions of the test rows that were scored: all whose labels are known.
        labels: names of the labels that were predicted: those that some training rows have and some have not.
        true: whether a row has a label.
        probability: that it has, as its classifier says; above 0.5 it is predicted.
        train_rows, validation_rows: rows with known labels fitted on, and chosen on.
        left_out: labels that could not be asked.
        regularisation: the chosen strength, the same for all labels.
        validation_score: mean average precision on the validation rows at that strength; None without such rows.
        converged: False if a chosen fit stopped at its greatest number of iterations.
    """

    rows: Int[np.ndarray, " scored"]
    labels: tuple[str, ...]
    true: Bool[np.ndarray, "scored labels"]
    probability: Float[np.ndarray, "scored labels"]
    train_rows: int
    validation_rows: int
    left_out: tuple[str, ...]
    regularisation: float
    validation_score: float | None
    converged: bool

    @property
    def predicted(self) -> Bool[np.ndarray, "scored labels"]:
        return self.probability > 0.5


def label_set_probe(
    features_train: Float[np.ndarray, "train width"],
    y_train: Float[np.ndarray, "train labels"],
    features_validation: Float[np.ndarray, "validation width"],
    y_validation: Float[np.ndarray, "validation labels"],
    features_test: Float[np.ndarray, "test width"],
    y_test: Float[np.ndarray, "test labels"],
    labels: Sequence[str],
) -> LabelSetResult:
    """One logistic regression a label, against all rows that do not have it.

    Strengths are those of `linear_probe`; all labels share the one with the best mean average precision on the
    validation rows. Rows whose labels are not known (NaN) are left out; so are labels that all training rows have, or
    none.

    Args:
        features_train, features_validation, features_test: frozen features.
        y_train, y_validation, y_test: 1 where a row has a label, 0 where not, a whole row of NaN where missing.
        labels: their names.

    Returns:
        Predictions of the test rows; expect a mean average precision above the mean share of rows that have a label,
        which is what an order by chance gives.

    Raises:
        ValueError: if a feature is not finite, no label can be predicted, or no test row has one of those.
    """
    need_finite((features_train, features_validation, features_test))
    trained, validated, scored = (np.isfinite(y).all(axis=1) for y in (y_train, y_validation, y_test))
    y, y_validated, true = (
        part[labelled] > 0.5 for part, labelled in ((y_train, trained), (y_validation, validated), (y_test, scored))
    )
    usable = np.flatnonzero(y.any(axis=0) & ~y.all(axis=0)) if len(y) else np.arange(0)
    if not usable.size:
        raise ValueError("no label is there in some training rows and not in others.")
    y, y_validated, true = y[:, usable], y_validated[:, usable], true[:, usable]
    if not true.any():
        raise ValueError("no test row has a label that training rows have.")
    train, validation, test = standardised(
        features_train[trained], features_validation[validated], features_test[scored]
    )
    classifiers = [LogisticRegression(warm_start=True, tol=_TOLERANCE, max_iter=_ITERATIONS) for _ in usable]

    def fit(strength: float) -> bool:
        converged = True
        for number, classifier in enumerate(classifiers):
            classifier.C = 1 / (strength * len(y))  # scikit-learn sums over rows where we take the mean
            converged &= fitted(classifier, train, y[:, number])
        return converged

    def predict(features: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows labels"]:
        # As a run keeps them, so that its scores can be made again from what it keeps.
        probabilities = np.stack([classifier.predict_proba(features)[:, 1] for classifier in classifiers], axis=1)
        return probabilities.astype(np.float32)

    def score(probabilities: Float[np.ndarray, "validation labels"]) -> float:
        return float(mean_average_precision(y_validated, probabilities).mean()) if y_validated.any() else 0.0

    best = choose(fit, predict, score, validation, test)
    return LabelSetResult(
        rows=np.flatnonzero(scored),
        labels=tuple(labels[i] for i in usable.tolist()),
        true=true,
        probability=best.predicted,
        train_rows=int(trained.sum()),
        validation_rows=int(validated.sum()),
        left_out=tuple(name for i, name in enumerate(labels) if i not in set(usable.tolist())),
        regularisation=best.regularisation,
        validation_score=best.validation_score,
        converged=best.converged,
    )
