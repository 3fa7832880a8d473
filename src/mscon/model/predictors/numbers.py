"""Predictor of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from mscon.model.linear_map import LinearMap
from mscon.model.predictors.base import Decisions, PredictedColumn, Predictor


@dataclass(frozen=True, slots=True, eq=False)
class NumberPredictor(Predictor):
    """Predicts numbers, with intervals of one length.

    Attributes:
        calibration: half of the length of an interval, in the unit of the column.
    """

    name: str
    linear_map: LinearMap
    calibration: tuple[float, ...] | None
    kind: ClassVar[str] = "number"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name,)

    def decide(self, outputs: Float[np.ndarray, "rows outputs"]) -> Decisions:
        return Decisions(outputs[:, 0], np.zeros((len(outputs), 0)))

    def is_right(self, decisions: Decisions, true: Float[np.ndarray, " rows"]) -> Bool[np.ndarray, "rows levels"]:
        (half,) = self.calibration or (0.0,)
        return (np.abs(decisions.values - true) <= half)[:, None]

    def columns_of(self, decisions: Decisions, least: float) -> list[PredictedColumn]:
        half = self.calibration
        ends = {} if half is None else {"low": decisions.values - half[0], "high": decisions.values + half[0]}
        return [PredictedColumn(self.name, decisions.values, ends)]

    def to_json(self) -> dict[str, Any]:
        return {"names": [self.name], "cells": []}
