"""A linear classifier on frozen features: how much of a column can be read off by a weighted sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression

from mscon.evaluate.grid_search import DEFAULT as DEFAULT
from mscon.evaluate.grid_search import GRID, choose, fitted, need_finite, standardised
from mscon.evaluate.metrics.bootstrap import accuracy, macro_f1

# The largest gradient at which a fit has converged. At 1e-3 the weaker penalties stop where the stronger ones
# did (0 iterations), so that the grid would be shorter than it looks; at 1e-4 it is not, at twice the time.
_TOLERANCE = 1e-4
_ITERATIONS = 500


@dataclass(frozen=True, slots=True)
class LinearResult:
    """What a linear classifier makes of the test rows.

    Attributes:
        rows: positions of the test rows that were scored: labelled, of a class that training rows have.
        true, predicted: their classes, as indices into `classes`.
        classes: names of the classes among the training rows, in the order of their codes.
        train_rows, validation_rows: labelled rows fitted on, and chosen on.
        dropped_rows: labelled test rows left out because no training row has their class.
        accuracy: share of scored rows predicted right.
        macro_f1: mean F1 over classes that are true or predicted somewhere.
        majority: accuracy of always predicting the largest class of the training rows.
        regularisation: the chosen strength; one of `GRID`, or `DEFAULT` without validation rows.
        validation_accuracy: share of validation rows predicted right at that strength, a little optimistic for having
            chosen it; None without such rows.
        converged: False if the chosen fit stopped at its greatest number of iterations.
        confusion: counts [true, predicted].
    """

    rows: Int[np.ndarray, " scored"]
    true: Int[np.ndarray, " scored"]
    predicted: Int[np.ndarray, " scored"]
    classes: tuple[str, ...]
    train_rows: int
    validation_rows: int
    dropped_rows: int
    accuracy: float
    macro_f1: float
    majority: float
    regularisation: float
    validation_accuracy: float | None
    converged: bool
    confusion: Int[np.ndarray, "classes classes"]


def linear_probe(
    features_train: Float[np.ndarray, "train width"],
    y_train: Int[np.ndarray, " train"],
    features_validation: Float[np.ndarray, "validation width"],
    y_validation: Int[np.ndarray, " validation"],
    features_test: Float[np.ndarray, "test width"],
    y_test: Int[np.ndarray, " test"],
    classes: Sequence[str],
) -> LinearResult:
    r"""Multinomial logistic regression on features standardised by the training rows.

    The weights minimise

        mean over training rows of the cross-entropy (nats) + regularisation / 2 * ||W||^2,

    so the strength means the same whatever the number of rows. Among `GRID` the one with the best accuracy on the
    validation rows is taken, of equals the strongest. Test rows are looked at once, to be scored.

    Rows whose label is missing are left out; so are validation and test rows of classes that no training row has.

    Args:
        features_train, features_validation, features_test: frozen features. A feature that never varies among
            the training rows is centred only.
        y_train, y_validation, y_test: class codes from 0 into `classes`, -1 where missing.
        classes: a name for each code.

    Returns:
        Predictions and scores of the test rows; expect an accuracy of at least `majority`, or the features say
        nothing of the column.

    Raises:
        ValueError: if a feature is not finite, a code is out of range, the training rows have fewer than two
            classes, or no test row is left.

    Source: the protocol of Mu et al., "Multi-Similarity Contrastive Learning", trains a linear layer for 20 epochs
        of stochastic gradient descent. Here the same classifier is fitted to the optimum of a penalised problem:
        no learning rate, no seed, and a penalty chosen for every run anew. Expect it at or above theirs.
    """
    need_finite((features_train, features_validation, features_test))
    for y in (y_train, y_validation, y_test):
        if y.size and not -1 <= y.min() <= y.max() < len(classes):
            raise ValueError(f"codes must lie in -1..{len(classes) - 1}, got {y.min()}..{y.max()}.")
    present = np.unique(y_train[y_train >= 0])
    if present.size < 2:
        raise ValueError(f"a classifier needs at least 2 classes among the training rows, got {present.size}.")

    code = np.full(len(classes) + 1, -1)  # the last is where -1 points to
    code[present] = np.arange(present.size)
    trained, validated, scored = (code[y] >= 0 for y in (y_train, y_validation, y_test))
    if not scored.any():
        raise ValueError("no test row has a label of a class that training rows have.")
    train, validation, test = standardised(
        features_train[trained], features_validation[validated], features_test[scored]
    )
    y, y_validated, true = code[y_train[trained]], code[y_validation[validated]], code[y_test[scored]]
    # In float64, at 1.4 times the time of float32: there fits of the weakest penalties end after other numbers of
    # steps, so that predictions would hang on rounding.
    model = LogisticRegression(warm_start=True, tol=_TOLERANCE, max_iter=_ITERATIONS)

    def fit(strength: float) -> bool:
        model.C = 1 / (strength * y.size)  # scikit-learn sums over rows where we take the mean
        return fitted(model, train, y)

    best = choose(fit, model.predict, lambda labels: float((labels == y_validated).mean()), validation, test, GRID)
    predicted = best.predicted.astype(np.int64)
    confusion = np.bincount(true * present.size + predicted, minlength=present.size**2)
    confusion = confusion.reshape(present.size, present.size)
    counts = confusion[None].astype(np.float64)
    majority = np.bincount(y).argmax()
    return LinearResult(
        rows=np.flatnonzero(scored),
        true=true,
        predicted=predicted,
        classes=tuple(classes[i] for i in present),
        train_rows=int(trained.sum()),
        validation_rows=int(validated.sum()),
        dropped_rows=_labelled_but(y_test, scored),
        accuracy=float(accuracy(counts)[0]),
        macro_f1=float(macro_f1(counts)[0]),
        majority=float((true == majority).mean()),
        regularisation=best.regularisation,
        validation_accuracy=best.validation_score,
        converged=best.converged,
        confusion=confusion,
    )


def _labelled_but(y: Int[np.ndarray, " rows"], scored: Bool[np.ndarray, " rows"]) -> int:
    return int(((y >= 0) & ~scored).sum())
