"""The penalty of a linear probe: a grid of strengths, and the one that does best on the validation rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

# Strengths of the penalty, strongest first, so that each fit starts from a smoother one. On simulated features
# (4,544 rows, 128 features, 26 classes) accuracy was best near 0.01 and lost 2 to 7 points at either end.
GRID = (1.0, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)
# Used where no validation row has a label, so that nothing can be chosen.
DEFAULT = 0.01


@dataclass(frozen=True, slots=True)
class BestFit:
    """The fit that did best on the validation rows.

    Attributes:
        predicted: what it predicts for the test rows.
        regularisation: its strength.
        validation_score: on the validation rows, a little optimistic for having chosen it; None without such rows.
        converged: False if it stopped at its greatest number of iterations.
    """

    predicted: Shaped[np.ndarray, "test ..."]
    regularisation: float
    validation_score: float | None
    converged: bool


def choose(
    fit: Callable[[float], bool],
    predict: Callable[[Float[np.ndarray, "rows width"]], Shaped[np.ndarray, "rows ..."]],
    score: Callable[[Shaped[np.ndarray, "validation ..."]], float],
    validation: Float[np.ndarray, "validation width"],
    test: Float[np.ndarray, "test width"],
    grid: Sequence[float] = GRID,
) -> BestFit:
    """Fit under every strength of the grid, and keep what the one with the best score on validation rows predicts.

    Args:
        fit: fits at a strength, from where the last fit ended; says whether it converged.
        predict: by the last fit.
        score: of predictions for the validation rows; more is better. Of equals the strongest penalty is taken.
        validation, test: standardised features; without validation rows `DEFAULT` is taken.
        grid: strengths, strongest first.
    """
    best: BestFit | None = None
    for strength in grid if len(validation) else (DEFAULT,):
        converged = fit(strength)
        validation_score = score(predict(validation)) if len(validation) else None
        if best is None or (validation_score or 0.0) > (best.validation_score or 0.0):
            best = BestFit(predict(test), strength, validation_score, converged)
    assert best is not None
    return best


def standard(
    features: Float[np.ndarray, "rows width"],
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " width"]]:
    """Mean and standard deviation of each feature, with 1 for one that does not vary."""
    wide = features.astype(np.float64)
    centre, deviation = wide.mean(axis=0), wide.std(axis=0)
    # A constant feature may have a deviation of 1e-17 by rounding; dividing by that would make noise a feature.
    constant = np.ptp(wide, axis=0) == 0
    return centre, np.where(constant, 1.0, deviation)


def standardised(
    train: Float[np.ndarray, "train width"], *others: Float[np.ndarray, "_ width"]
) -> list[Float[np.ndarray, "_ width"]]:
    """All of them in float64, with the mean and deviation of the first."""
    centre, scale = standard(train)
    return [(features.astype(np.float64) - centre) / scale for features in (train, *others)]


def need_finite(features: Sequence[Float[np.ndarray, "_ width"]]) -> None:
    """Raise ValueError if a feature of the train, validation or test rows is not finite."""
    for name, part in zip(("train", "validation", "test"), features, strict=True):
        if not np.isfinite(part).all():
            raise ValueError(f"features of the {name} rows are not all finite.")


def fitted(model: Any, features: Float[np.ndarray, "rows width"], y: Shaped[np.ndarray, "rows ..."]) -> bool:
    """Fit, and say whether it converged. One that did not is a fit all the same, a little short of its optimum."""
    # One thread: products this small gain nothing by two, and threads that wait for a busy core wait by spinning.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(limits=1):
        warnings.simplefilter("always")
        model.fit(features, y)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return not any(issubclass(w.category, ConvergenceWarning) for w in caught)
