"""Predictor: a linear model of a probe, what its outputs stand for in a table, and a calibration.

The calibration is by rows that the model was not fitted to. `mscon.evaluate.predictors` fits both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mscon.model.linear_map import LinearMap


@dataclass(frozen=True, slots=True, eq=False)
class PredictedColumn:
    """Cells of a column of a table, predicted.

    Attributes:
        name: of the column.
        cells: as in the table, as objects (text, None where the predictor abstains); or float64 numbers.
        beside: by name "confidence", or "low" and "high": a number a row. Empty where nothing is calibrated.
    """

    name: str
    cells: Shaped[np.ndarray, " rows"]
    beside: Mapping[str, Float[np.ndarray, " rows"]]


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What a predictor decides for some rows.

    Attributes:
        values: as the targets of its kind: a number of a class or a level, a row of truth values, or a number.
        confidence: how likely each is right; of a hierarchy for each level, the coarsest first. Of numbers no column.
    """

    values: Shaped[np.ndarray, "rows ..."]
    confidence: Float[np.ndarray, "rows levels"]


class Predictor(ABC):
    """A linear model that predicts one column, with its calibration.

    Attributes:
        kind: of its targets, see `mscon.method.similarities.base.Similarity.target`.
        linear_map: features to outputs.
        calibration: numbers that confidences or intervals are computed with, see each kind; None if there are none.
    """

    kind: ClassVar[str]
    linear_map: LinearMap
    calibration: tuple[float, ...] | None

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that it predicts; several of a hierarchy of columns, the coarsest first."""

    @abstractmethod
    def decide(self, outputs: Float[np.ndarray, "rows outputs"]) -> Decisions:
        """By the outputs of the linear map. Without a calibration confidences are those of the model as it is."""

    @abstractmethod
    def is_right(self, decisions: Decisions, true: Shaped[np.ndarray, "rows ..."]) -> Bool[np.ndarray, "rows levels"]:
        """Whether decisions are the targets, at each level; of numbers whether the interval holds it."""

    @abstractmethod
    def columns_of(self, decisions: Decisions, least: float) -> list[PredictedColumn]:
        """Decisions as cells; none where the confidence is below `least`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All but the linear map, as plain values."""

    def predict(self, features: Float[np.ndarray, "rows width"], least: float = 0.0) -> list[PredictedColumn]:
        """The cells of some rows.

        Args:
            features: by the model that the predictor was fitted on.
            least: a cell whose confidence is below it stays empty; 0 for none. It has no meaning for numbers. Of a path
                in one cell as many levels are given as reach it.
        """
        decisions = self.decide(self.linear_map(features))
        return self.columns_of(decisions, least)

    def levels_of(self, name: str) -> list[int]:
        """The levels that are cells of a column, the coarsest first; there is one but in a hierarchy."""
        return [0]

    def text_column(
        self, name: str, cells: Shaped[np.ndarray, " rows"], confidence: Float[np.ndarray, " rows"], least: float
    ) -> PredictedColumn:
        """A column of texts; no cell where the confidence is too low."""
        if self.calibration is None:
            return PredictedColumn(name, cells, {})
        shown = cells.copy()
        shown[confidence < least] = None
        return PredictedColumn(name, shown, {"confidence": confidence})
