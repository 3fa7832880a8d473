"""Predictor of levels of an order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from mscon.model.linear_map import LinearMap
from mscon.model.predictors.base import Decisions, PredictedColumn, Predictor
from mscon.model.predictors.links import log_odds_of, sigmoid


@dataclass(frozen=True, slots=True, eq=False)
class LevelPredictor(Predictor):
    """Predicts levels of an order: the median of what the steps between levels say, as the probe does.

    Attributes:
        cells: the levels that training rows have, in their order.
        calibration: slope and offset of the log-odds that the level is right, from those that the steps say (Platt).
    """

    name: str
    cells: tuple[str, ...]
    linear_map: LinearMap
    calibration: tuple[float, ...] | None
    kind: ClassVar[str] = "rank"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name,)

    def decide(self, outputs: Float[np.ndarray, "rows outputs"]) -> Decisions:
        values = (outputs > 0).sum(axis=1)
        slope, offset = self.calibration or (1.0, 0.0)
        return Decisions(values, sigmoid(slope * self.log_odds(outputs) + offset)[:, None])

    @staticmethod
    def log_odds(outputs: Float[np.ndarray, "rows steps"]) -> Float[np.ndarray, " rows"]:
        """That the level is right, as the steps say."""
        # Steps are fitted one by one and may contradict each other. Sorted they are a distribution of the same median.
        above = -np.sort(-sigmoid(outputs), axis=1)
        edges = np.column_stack([np.ones(len(above)), above, np.zeros(len(above))])
        rows, values = np.arange(len(outputs)), (outputs > 0).sum(axis=1)
        return log_odds_of(edges[rows, values] - edges[rows, values + 1])

    def is_right(self, decisions: Decisions, true: Int[np.ndarray, " rows"]) -> Bool[np.ndarray, "rows levels"]:
        return (decisions.values == true)[:, None]

    def columns_of(self, decisions: Decisions, least: float) -> list[PredictedColumn]:
        cells = np.array(self.cells, dtype=object)[decisions.values]
        return [self.text_column(self.name, cells, decisions.confidence[:, 0], least)]

    def to_json(self) -> dict[str, Any]:
        return {"names": [self.name], "cells": [list(self.cells)]}
