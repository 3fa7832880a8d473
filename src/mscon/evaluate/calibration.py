"""Calibration of predictors: temperatures, Platt scaling and conformal intervals, by validation rows.

Each has one or two numbers, so that some hundred rows determine them.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression

from mscon.model.predictors.links import sigmoid, softmax

COVERAGE = 0.9

# Fewer validation rows say little: of 20 rows a share of 90 % is known to 13 points (95 % interval).
LEAST_ROWS = 20

# Of Platt scaling after a temperature: then log-odds are nearly right. Chosen among 0, 20, 50, 100, 200 and 400 on
# other runs than those of benchmarks/results/predict.md.
PRIOR_ROWS = 200
_FAR = np.array([-4.0, 4.0])
_TEMPERATURES = (1e-3, 1e3)
_HALVINGS = 60


def temperature(logits: Float[np.ndarray, "rows classes"], true: Int[np.ndarray, " rows"]) -> float:
    """What to divide logits by so that their softmax fits these rows best: the largest likelihood.

    Beside the rows one more is counted, of which every class is true in equal parts; so the temperature is not 0 where
    all rows are right.

    Args:
        logits: of rows that the model was not fitted to.
        true: their classes.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599; the row more
        after Platt 1999, "Probabilistic Outputs for Support Vector Machines".
    """
    rows = len(logits)
    of_class = logits[np.arange(rows), true].sum()
    share = 1 / (rows + 1)
    target = (1 - share) * of_class + share * logits.mean(axis=1).sum()
    # The likelihood is concave in 1 / temperature: its slope is 0 at one place, and falls.
    low, high = math.log(1 / _TEMPERATURES[1]), math.log(1 / _TEMPERATURES[0])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = (softmax(logits * math.exp(middle)) * logits).sum()
        low, high = (middle, high) if expected < target else (low, middle)
    return math.exp(-(low + high) / 2)


def platt(
    log_odds: Float[np.ndarray, " rows"], is_right: Bool[np.ndarray, " rows"], prior_rows: int = 2
) -> tuple[float, float]:
    """Slope and offset: with them log-odds are those of being right.

    Args:
        log_odds: of rows that the model was not fitted to.
        is_right: whether they are.
        prior_rows: so many rows more are counted, which have the same log-odds and are right as often as these say. So
            few rows change the log-odds less, and there are right and wrong ones always. Two more have log-odds far
            apart; without them rows that are all alike would determine no slope.

    Source: Platt 1999, "Probabilistic Outputs for Support Vector Machines", with other rows more than there.
    """
    more = prior_rows / len(log_odds)
    odds = np.concatenate([log_odds, _FAR])
    right = np.concatenate([is_right + more * sigmoid(log_odds), sigmoid(_FAR)])
    weight = np.concatenate([np.full(len(log_odds), 1 + more), np.ones(len(_FAR))])
    fitted = LogisticRegression(C=1e3).fit(
        np.tile(odds, 2)[:, None], np.repeat([1, 0], len(odds)), sample_weight=np.concatenate([right, weight - right])
    )
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def half_length(
    predicted: Float[np.ndarray, " rows"], true: Float[np.ndarray, " rows"], coverage: float = COVERAGE
) -> float:
    """Half of an interval around predictions that holds the true number of a new row with probability `coverage`.

    True on average over new rows that are drawn like these, whatever the model and the distribution: the k-th smallest
    error of n rows, k = coverage (n + 1) rounded up.

    Raises:
        ValueError: if there are so few rows that no interval of finite length does.

    Source: split conformal prediction, Papadopoulos et al. 2002, "Inductive Confidence Machines for Regression"; Lei et
        al. 2018, "Distribution-Free Predictive Inference for Regression", https://arxiv.org/abs/1604.04173.
    """
    rank = math.ceil(coverage * (len(true) + 1) - 1e-9)
    if rank > len(true):
        raise ValueError(f"an interval of {coverage:.0%} takes at least {rank:,} rows, got {len(true):,}.")
    return float(np.sort(np.abs(predicted - true))[rank - 1])
