"""Linear probes: how well a linear model of frozen features predicts a column.

Kinds of targets differ in their estimator and their scores, see `mscon.evaluate.estimators`. Everything else is the
same for all: features that are standardised, the choice of the penalty on validation rows, and the result.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController

from mscon.evaluate.estimators import TASKS, parameters
from mscon.evaluate.large_logistic import LargeLogistic
from mscon.method.similarities.base import TargetKind
from mscon.model.linear_map import LinearMap, Standardisation

# Strengths of the penalty, strongest first, so that each fit starts from a smoother one: that takes three quarters of
# the time of separate fits. On simulated features (4,544 rows, 128 features, 26 classes) accuracy was best near 0.01
# and lost 2 to 7 points at either end.
GRID = (1.0, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)
# How scikit-learn warns of a column of which most classes have one row.
_MANY_CLASSES = "unique classes is greater than 50%"
# Used where no validation row has a label, so that nothing can be chosen.
DEFAULT = 0.01


@dataclass(frozen=True, slots=True)
class LinearResult:
    """The predictions of a linear model for the test rows, and their scores.

    Attributes:
        rows: positions of the test rows that were scored.
        true: their targets: class codes, numbers, ranks, or for labels [rows, labels] of bool.
        predicted: predictions of the same form; for labels the probability that a row has each of them, as float32.
        names: of the classes that training rows have, in the order of the codes; or of the labels that were predicted.
        left_out: labels that were not predicted, because all training rows have them, or none has.
        train_rows, validation_rows: rows with a target, for fitting the model and for choosing the penalty.
        dropped_rows: test rows with a class that no training row has.
        scores: by measure (see `mscon.evaluate.metrics.catalog`) one value a scored row, whose mean is the score.
        baseline: by measure the score of one constant prediction, chosen on the training rows: the largest class, the
            mean, the median, or every label.
        regularisation: the chosen strength of the penalty; one of `GRID`, or `DEFAULT` without validation rows.
        validation_score: on the validation rows at that strength, a little optimistic for having chosen it: accuracy,
            R squared, mean error in levels, or mean average precision. None without such rows, or where R squared is
            not defined because all of them have the same number.
        converged: False if the chosen fit stopped at its greatest number of iterations.
        validated, validation_true: positions of the validation rows with a target, and these, as `true`.
        linear_map: features to what the model computes before it decides: log-odds of each class (of two of the
            second), of each label or of each step between levels, or numbers.
    """

    rows: Int[np.ndarray, " scored"]
    true: Shaped[np.ndarray, "scored ..."]
    predicted: Shaped[np.ndarray, "scored ..."]
    names: tuple[str, ...]
    left_out: tuple[str, ...]
    train_rows: int
    validation_rows: int
    dropped_rows: int
    scores: Mapping[str, Float[np.ndarray, " scored"]]
    baseline: Mapping[str, float]
    regularisation: float
    validation_score: float | None
    converged: bool
    validated: Int[np.ndarray, " validated"]
    validation_true: Shaped[np.ndarray, "validated ..."]
    linear_map: LinearMap

    def to_json(self) -> dict[str, Any]:
        """What it learnt from, and how the fit ended, as plain values."""
        return {
            "train_rows": self.train_rows,
            "validation_rows": self.validation_rows,
            "test_rows": len(self.rows),
            "dropped_rows": self.dropped_rows,
            "regularisation": self.regularisation,
            "converged": self.converged,
        }


def linear_probe(
    kind: TargetKind,
    features_train: Float[np.ndarray, "train width"],
    y_train: Shaped[np.ndarray, "train ..."],
    features_validation: Float[np.ndarray, "validation width"],
    y_validation: Shaped[np.ndarray, "validation ..."],
    features_test: Float[np.ndarray, "test width"],
    y_test: Shaped[np.ndarray, "test ..."],
    names: Sequence[str] = (),
) -> LinearResult:
    r"""Fit a linear model on features that are standardised by the training rows, and score it on the test rows.

    The weights minimise, with a strength that means the same whatever the number of rows,

        mean over training rows of the loss + regularisation / 2 * ||W||^2.

    The strength of `GRID` with the best score on the validation rows is taken, of equals the strongest. Test rows are
    only scored. Rows without a target are left out.

    | kind | model | chosen by | constant prediction to beat |
    |---|---|---|---|
    | class | multinomial logistic regression | accuracy | the largest class |
    | labels | one logistic regression a label, all of one strength | mean average precision | every label |
    | rank | one logistic regression a step between levels: is a row above it? The number of such steps is predicted,
      which is the median of what they believe and assumes no distance between levels | mean error | the median |
    | number | ridge regression of the standardised number, with half the squared error | squared error | the mean |

    Args:
        kind: what is predicted.
        features_train, features_validation, features_test: frozen features. A feature that never varies among
            the training rows is centred only. Of n training rows none is further than sqrt(n - 1) standard deviations
            from their mean, and values of other rows beyond sqrt(n) count as sqrt(n): a unit of a network that is
            nearly always 0 could otherwise outweigh all others by thousands.
        y_train, y_validation, y_test: class codes from 0 into `names`, -1 where missing; numbers, or ranks 0, 1, ...,
            NaN where missing; or [rows, labels] of 0 and 1, a whole row of NaN where missing.
        names: of the classes or labels.

    Raises:
        CannotProbe: if the rows leave nothing to be predicted.
        ValueError: if a feature is not finite, or a code is out of range.

    Source: the protocol of Mu et al., "Multi-Similarity Contrastive Learning", trains a linear layer for 20 epochs
        of stochastic gradient descent. Here the same classifier is fitted to the optimum of a penalised problem:
        no learning rate, no seed, and a penalty chosen for every run anew. Expect it at or above theirs. For levels
        Frank and Hall 2001, "A Simple Approach to Ordinal Classification", and Li and Lin 2007, "Ordinal Regression
        by Extended Binary Classification"; for numbers Hoerl and Kennard 1970, "Ridge Regression".
    """
    features, targets = (features_train, features_validation, features_test), (y_train, y_validation, y_test)
    for name, part in zip(("train", "validation", "test"), features, strict=True):
        if not np.isfinite(part).all():
            raise ValueError(f"features of the {name} rows are not all finite.")
    task = TASKS[kind](targets, names, features_train.shape[1])
    scaler = StandardScaler().fit(features_train[task.known[0]].astype(np.float64))
    standardised = Standardisation(scaler.mean_, scaler.scale_, float(np.sqrt(task.known[0].sum())))
    # In float64, at 1.4 times the time of float32: there fits of the weakest penalties end after other numbers
    # of steps, so that predictions would depend on rounding.
    train, validation, test = (standardised(part[known]) for part, known in zip(features, task.known, strict=True))
    _, y_validated, true = task.targets
    best: tuple[float, float, bool, np.ndarray, tuple[np.ndarray, np.ndarray]] | None = None
    for strength in GRID if len(validation) else (DEFAULT,):
        converged = [_fit(*model, train, strength) for model in task.models]
        criterion = task.criterion(y_validated, task.predict(validation)) if len(validation) else 0.0
        if best is None or criterion > best[0]:
            best = (criterion, strength, all(converged), task.predict(test), parameters(task))
    assert best is not None
    criterion, strength, has_converged, predicted, (weights, intercept) = best
    constant = np.broadcast_to(task.constant, true.shape)
    return LinearResult(
        rows=np.flatnonzero(task.known[2]),
        true=true,
        predicted=predicted,
        names=task.names,
        left_out=tuple(name for name in names if name not in task.names) if kind == "labels" else (),
        train_rows=len(train),
        validation_rows=len(validation),
        dropped_rows=int((y_test >= 0).sum()) - len(test) if kind == "class" else 0,
        scores=task.scores(true, predicted),
        baseline={name: float(values.mean()) for name, values in task.scores(true, constant).items()},
        regularisation=strength,
        validation_score=task.validation_score(criterion) if len(validation) else None,
        converged=has_converged,
        validated=np.flatnonzero(task.known[1]),
        validation_true=y_validated,
        linear_map=LinearMap(standardised, weights, intercept),
    )


def _fit(
    model: Any, y: Shaped[np.ndarray, "rows ..."], features: Float[np.ndarray, "rows width"], strength: float
) -> bool:
    """Fit an estimator, and say whether it converged. One that did not is a little short of its optimum."""
    if isinstance(model, LargeLogistic):
        model.fit(features, y, strength)
        return model.has_converged
    # scikit-learn sums over rows where we take the mean.
    model.set_params(**({"alpha": strength * len(y)} if isinstance(model, Ridge) else {"C": 1 / (strength * len(y))}))
    # One thread: products this small gain nothing by two, and threads that wait for a busy core wait by spinning.
    with warnings.catch_warnings(record=True) as raised, _thread_pools().limit(limits=1):
        warnings.simplefilter("always")
        model.fit(features, y)
    for warning in raised:
        # Classes of a row or two are common in tables; and nothing but a classifier is fitted to classes here.
        is_expected = issubclass(warning.category, ConvergenceWarning) or _MANY_CLASSES in str(warning.message)
        if not is_expected:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in raised)


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """Of the numerical libraries of this process. Looking for them takes longer than most fits, so it is done once."""
    return ThreadpoolController()
