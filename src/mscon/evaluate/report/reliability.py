"""Reliability: whether the confidences of the predictors of a run are how often they are right, in charts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mscon.errors import counted
from mscon.evaluate.metrics.calibration import reliability
from mscon.evaluate.report.training import BOTTOM, LEFT, RIGHT, TOP
from mscon.run.run import Run

_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Test rows of about the same confidence.

    Attributes:
        rows: how many.
        share: of all test rows.
        confidence, accuracy: their mean confidence, and the share of them that is right.
        low, high: where 95 % of such shares lie if confidences are right.
    """

    rows: int
    share: float
    confidence: float
    accuracy: float
    low: float
    high: float

    @property
    def x(self) -> float:
        return LEFT + (RIGHT - LEFT) * self.confidence

    @property
    def radius(self) -> float:
        return 1.5 + 4 * math.sqrt(self.share)

    @staticmethod
    def up(share: float) -> float:
        """The place of a share in the drawing."""
        return BOTTOM - (BOTTOM - TOP) * share


@dataclass(frozen=True, slots=True)
class ReliabilityChart:
    """One label column, or one level of a hierarchy, with its calibration error in words."""

    title: str
    summary: str
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the report says of predictors.

    Attributes:
        charts: of columns with confidences.
        sentences: of columns without: numbers, and those that are not calibrated.
        x_ticks, y_ticks: places in the drawing with their words.
    """

    charts: tuple[ReliabilityChart, ...] = ()
    sentences: tuple[str, ...] = ()
    x_ticks: tuple[tuple[float, str], ...] = tuple((LEFT + (RIGHT - LEFT) * x, f"{100 * x:.0f} %") for x in _TICKS)
    y_ticks: tuple[tuple[float, str], ...] = tuple((Bin.up(y), f"{100 * y:.0f} %") for y in _TICKS)


def calibration_of(run: Run) -> Calibration:
    """The predictors that `mscon predict` wrote to a run; of none, where it wrote none or they are out of date.

    Raises:
        RunError: if their file is damaged.
    """
    if not run.has_predictors:
        return Calibration()
    return run.read_predictors(
        lambda about, arrays: _calibration(about, arrays) if about["source"] == run.predictors_source else Calibration()
    )


def _calibration(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Calibration:
    charts, sentences = list[ReliabilityChart](), list[str]()
    for number, one in enumerate(about["predictors"]):
        column, record = one["column"], one["record"]
        rows = counted(record["test_rows"], "test row")
        if one["calibration"] is None:
            labelled = counted(record["validation_rows"], "validation row")
            sentences.append(f"{column}: not calibrated; only {labelled} with a value.")
        elif one["kind"] == "number":
            sentences.append(f"{column}: intervals of 90 % hold {100 * record['coverage']:.1f} % of {rows}.")
        else:
            confidence, is_right = arrays[f"{number}/confidence"], arrays[f"{number}/is_right"].astype(bool)
            levels = record["levels"]
            charts += [
                ReliabilityChart(_title(one, level), _summary(of_level, rows), _bins(*of_rows))
                for level, (of_level, of_rows) in enumerate(
                    zip(levels, zip(confidence.T, is_right.T, strict=True), strict=True)
                )
            ]
    return Calibration(tuple(charts), tuple(sentences))


def _title(one: Mapping[str, Any], level: int) -> str:
    names = one["names"]
    if len(set(names)) == len(names):
        return str(names[level])
    return f"{names[level]}, level {level + 1} of {len(names)}"


def _summary(record: Mapping[str, float], rows: str) -> str:
    return (
        f"calibration error {100 * record['after']:.1f} % ({100 * record['by_chance']:.1f} % by chance), "
        f"{100 * record['accuracy']:.1f} % right of {rows}"
    )


def _bins(confidence: Float[np.ndarray, " rows"], is_right: Bool[np.ndarray, " rows"]) -> tuple[Bin, ...]:
    of = reliability(confidence, is_right)
    numbers = zip(of.counts, of.confidence, of.accuracy, of.low, of.high, strict=True)
    return tuple(
        Bin(int(count), float(count) / len(confidence), *map(float, shares)) for count, *shares in numbers if count
    )
