"""Calibration: whether confidences are how often decisions with that confidence are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

BINS = 15
_DRAWS, _BAR_DRAWS = 200, 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Decisions by their confidence, in bins of equal width from 0 to 1. Bins without a decision have NaN.

    Attributes:
        counts: decisions in each bin.
        confidence: their mean confidence.
        accuracy: the share of them that is right.
        low, high: where 95 % of such shares lie if confidences are right, by 2,000 draws.
    """

    counts: Int[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]


def reliability(
    confidence: Float[np.ndarray, " rows"], is_right: Bool[np.ndarray, " rows"], bins: int = BINS
) -> Reliability:
    """The reliability diagram of some decisions.

    Source: DeGroot and Fienberg 1983, "The Comparison and Evaluation of Forecasters"; where shares lie if confidences
        are right, after Broecker and Smith 2007, "Increasing the Reliability of Reliability Diagrams".
    """
    place = _bins_of(confidence, bins)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, confidence, minlength=bins) / counts
        accuracy = np.bincount(place, is_right, minlength=bins) / counts
        right = np.random.default_rng(0).binomial(counts, np.nan_to_num(means), size=(_BAR_DRAWS, bins)) / counts
        low, high = np.quantile(right, (0.025, 0.975), axis=0)
    return Reliability(counts, means, accuracy, low, high)


def expected_calibration_error(
    confidence: Float[np.ndarray, " rows"], is_right: Bool[np.ndarray, " rows"], bins: int = BINS
) -> float:
    """The mean distance of a bin's accuracy from its mean confidence, weighted by its decisions; 0 is perfect.

    Bins have equal width. Of few rows it is well above 0 also where confidences are right, see `error_by_chance`.

    Raises:
        ValueError: without a row.

    Source: Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; with 15 bins in Guo et
        al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.
    """
    if not len(confidence):
        raise ValueError("there is no row to compute a calibration error of.")
    gaps = np.bincount(_bins_of(confidence, bins), confidence - is_right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def error_by_chance(confidence: Float[np.ndarray, " rows"], bins: int = BINS) -> float:
    """The expected calibration error that perfect confidences have on so many rows: the mean of 200 draws.

    In each draw a decision is right with the probability that its confidence says. The draws are the same at each call.
    """
    generator = np.random.default_rng(0)
    draws = [generator.random(len(confidence)) < confidence for _ in range(_DRAWS)]
    return float(np.mean([expected_calibration_error(confidence, is_right, bins) for is_right in draws]))


def _bins_of(confidence: Float[np.ndarray, " rows"], bins: int) -> Int[np.ndarray, " rows"]:
    return (confidence * bins).astype(np.int64).clip(0, bins - 1)
