"""Predictor of sets of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from mscon.model.linear_map import LinearMap
from mscon.model.predictors.base import Decisions, PredictedColumn, Predictor
from mscon.model.predictors.links import log_odds_of, sigmoid


@dataclass(frozen=True, slots=True, eq=False)
class SetPredictor(Predictor):
    """Predicts sets of labels: those that are more likely than not, at least the most likely one.

    The confidence is that of the whole set.

    Attributes:
        cells: the labels.
        always: labels that all training rows have, which belong to every set.
        separator: stands between the labels of a cell.
        calibration: slope and offset of the log-odds that the set is right, from those of independent labels (Platt).
    """

    name: str
    cells: tuple[str, ...]
    always: tuple[str, ...]
    separator: str
    linear_map: LinearMap
    calibration: tuple[float, ...] | None
    kind: ClassVar[str] = "labels"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name,)

    def decide(self, outputs: Float[np.ndarray, "rows outputs"]) -> Decisions:
        has = outputs > 0
        if not self.always:
            has[np.arange(len(has)), outputs.argmax(axis=1)] = True
        slope, offset = self.calibration or (1.0, 0.0)
        return Decisions(has, sigmoid(slope * self.log_odds(outputs, has) + offset)[:, None])

    @staticmethod
    def log_odds(
        outputs: Float[np.ndarray, "rows labels"], has: Bool[np.ndarray, "rows labels"]
    ) -> Float[np.ndarray, " rows"]:
        """That the set is right, if labels were independent."""
        return log_odds_of(np.exp(-np.logaddexp(0.0, np.where(has, -outputs, outputs)).sum(axis=1)))

    def is_right(self, decisions: Decisions, true: Bool[np.ndarray, "rows labels"]) -> Bool[np.ndarray, "rows levels"]:
        return (decisions.values == true).all(axis=1)[:, None]

    def columns_of(self, decisions: Decisions, least: float) -> list[PredictedColumn]:
        labels = np.array(self.cells, dtype=object)
        cells = np.empty(len(decisions.values), dtype=object)
        cells[:] = [self.separator.join(sorted([*self.always, *labels[has]])) for has in decisions.values]
        return [self.text_column(self.name, cells, decisions.confidence[:, 0], least)]

    def to_json(self) -> dict[str, Any]:
        return {
            "names": [self.name],
            "cells": [list(self.cells)],
            "always": list(self.always),
            "separator": self.separator,
        }
