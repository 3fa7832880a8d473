"""Predictor of classes, and of paths of a hierarchy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from mscon.model.linear_map import LinearMap
from mscon.model.predictors.base import Decisions, PredictedColumn, Predictor
from mscon.model.predictors.links import log_odds_of, logits_of_classes, sigmoid, softmax


@dataclass(frozen=True, slots=True, eq=False)
class ClassPredictor(Predictor):
    """Predicts classes, or the paths of a hierarchy: its finest level, of which the coarser levels are sums.

    Attributes:
        names: the columns that its levels belong to, the coarsest first: one name where a cell holds a whole path.
        cells: for each level what the column has in it, for each class of the finest level.
        calibration: the temperature that divides logits; then for each level slope and offset of the log-odds that it
            is right, from those that the divided logits say (Platt). Older files have the temperature alone.
    """

    names: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    linear_map: LinearMap
    calibration: tuple[float, ...] | None
    kind: ClassVar[str] = "class"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.names))

    def decide(self, outputs: Float[np.ndarray, "rows outputs"]) -> Decisions:
        values = logits_of_classes(outputs).argmax(axis=1)
        temperature, *scalings = self.calibration or (1.0,)
        probabilities = softmax(logits_of_classes(outputs) / temperature)
        confidence = np.column_stack(
            [np.where(group == group[values][:, None], probabilities, 0.0).sum(axis=1) for group in self.groups()]
        ).clip(0.0, 1.0)
        if scalings:
            scaled = sigmoid(log_odds_of(confidence) * scalings[::2] + scalings[1::2])
            # Each level is scaled for itself, but a coarser one is right wherever a finer one is.
            confidence = np.maximum.accumulate(scaled[:, ::-1], axis=1)[:, ::-1]
        return Decisions(values, confidence)

    def groups(self) -> list[Int[np.ndarray, " classes"]]:
        """For each level the number of the group that each class of the finest level is in."""
        paths = list(zip(*self.cells, strict=True))
        groups = []
        for level in range(1, len(self.cells) + 1):
            number = {path: n for n, path in enumerate(dict.fromkeys(path[:level] for path in paths))}
            groups.append(np.array([number[path[:level]] for path in paths]))
        return groups

    def is_right(self, decisions: Decisions, true: Int[np.ndarray, " rows"]) -> Bool[np.ndarray, "rows levels"]:
        return np.column_stack([group[decisions.values] == group[true] for group in self.groups()])

    def columns_of(self, decisions: Decisions, least: float) -> list[PredictedColumn]:
        texts = [np.array(level, dtype=object)[decisions.values] for level in self.cells]
        columns = []
        for name in self.columns:
            level = shown_level(decisions.confidence, self.levels_of(name), least)
            rows = np.arange(len(level))
            cells = np.array(texts, dtype=object).reshape(len(texts), -1)[level, rows]
            columns.append(self.text_column(name, cells, decisions.confidence[rows, level], least))
        return columns

    def levels_of(self, name: str) -> list[int]:
        return [level for level, column in enumerate(self.names) if column == name]

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "cells": [list(level) for level in self.cells]}


def shown_level(
    confidence: Float[np.ndarray, "rows levels"], levels: Sequence[int], least: float
) -> Int[np.ndarray, " rows"]:
    """Of some levels, the coarsest first, the finest whose confidence reaches `least`; where none does, the finest."""
    reach = confidence[:, levels] >= least
    finest = len(levels) - 1 - reach[:, ::-1].argmax(axis=1)
    return np.array(levels)[np.where(reach.any(axis=1), finest, len(levels) - 1)]
