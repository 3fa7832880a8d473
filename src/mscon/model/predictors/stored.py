"""Stored predictors: those of a run as they are in its file, each with what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mscon.model.linear_map import LinearMap
from mscon.model.predictors.base import Predictor
from mscon.model.predictors.classes import ClassPredictor, shown_level
from mscon.model.predictors.levels import LevelPredictor
from mscon.model.predictors.numbers import NumberPredictor
from mscon.model.predictors.sets import SetPredictor
from mscon.run.run import Run


@dataclass(frozen=True, slots=True, eq=False)
class StoredPredictor:
    """A predictor with its record and its evidence on test rows.

    Attributes:
        column: the label column that it was fitted for.
        record: plain values: rows of each split, expected calibration errors; see `mscon.evaluate.predictors`.
        confidence: on test rows, see `Decisions`.
        is_right: on the same rows; of numbers whether the interval holds it.
    """

    column: str
    predictor: Predictor
    record: Mapping[str, Any]
    confidence: Float[np.ndarray, "test levels"]
    is_right: Bool[np.ndarray, "test judged"]

    def right_of(self, name: str, least: float) -> Bool[np.ndarray, " shown"]:
        """Whether what is shown for test rows is right, of those whose confidence reaches `least`.

        Args:
            name: one of the columns of the predictor.
            least: as of `Predictor.predict`.
        """
        if not self.confidence.shape[1]:
            return self.is_right[:, 0]
        level, rows = shown_level(self.confidence, self.predictor.levels_of(name), least), np.arange(len(self.is_right))
        return self.is_right[rows, level][self.confidence[rows, level] >= least]

    def to_json(self) -> dict[str, Any]:
        """All but the arrays, as plain values."""
        one = self.predictor
        calibration = None if one.calibration is None else list(one.calibration)
        parts = {"kind": one.kind, "calibration": calibration, **one.to_json()}
        return {"column": self.column, **parts, "record": dict(self.record)}

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {**self.predictor.linear_map.to_arrays(), "confidence": self.confidence, "is_right": self.is_right}


def has_current_features(run: Run) -> bool:
    """Whether its features are those of its checkpoint; changed inputs may have been accepted when they were made."""
    return run.has_whole_features and run.features_are_current(run.read_recipe().train.checkpoint)


def current_predictors(run: Run) -> list[StoredPredictor]:
    """Those of a run; none where features, rows or recipe are others than when they were fitted.

    Raises:
        RunError: if a file of the run is damaged.
    """
    if not (run.has_predictors and has_current_features(run)):
        return []
    source, predictors = run.read_predictors(
        lambda about, arrays: (about["source"], stored_predictors(about["predictors"], arrays))
    )
    return predictors if source == run.predictors_source else []


def stored_predictors(about: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]) -> list[StoredPredictor]:
    """Those of a file; arrays of the i-th are called "i/NAME".

    Raises:
        ValueError, KeyError, TypeError: if the parts do not fit together.
    """
    stored = []
    for number, one in enumerate(about):
        its = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{number}/")}
        predictor = predictor_of(one["kind"], one, LinearMap.from_arrays(its))
        confidence, is_right = its["confidence"], its["is_right"]
        levels = len(one["cells"]) if one["kind"] == "class" else 1
        if is_right.shape != (len(confidence), levels) or confidence.shape[1:] != (
            0 if one["kind"] == "number" else levels,
        ):
            raise ValueError(f"the test rows of column {one['column']!r} do not fit its predictor")
        stored.append(StoredPredictor(one["column"], predictor, one["record"], confidence, is_right.astype(bool)))
    return stored


def predictor_of(kind: str, about: Mapping[str, Any], linear_map: LinearMap) -> Predictor:
    """The inverse of `Predictor.to_json`, with kind and calibration in `about`.

    Raises:
        ValueError: if the parts do not fit together.
    """
    calibration = None if about["calibration"] is None else tuple(float(value) for value in about["calibration"])
    names, cells = tuple(about["names"]), tuple(tuple(level) for level in about["cells"])
    counts = set(map(len, cells))
    outputs = linear_map.weights.shape[1]
    of_kind = {"class": 2 if outputs == 1 else outputs, "rank": outputs + 1, "labels": outputs}
    if len(names) != (len(cells) or 1) or counts != ({of_kind[kind]} if kind in of_kind else set()):
        raise ValueError(f"a predictor of kind {kind!r} has {outputs} outputs, which do not fit its names")
    if kind != "class" and len(names) != 1:
        raise ValueError(f"a predictor of kind {kind!r} has {len(names)} names")
    lengths = {"class": (1, 1 + 2 * len(cells)), "number": (1,)}.get(kind, (2,))
    if calibration is not None and len(calibration) not in lengths:
        raise ValueError(f"a predictor of kind {kind!r} has {len(calibration)} numbers of a calibration")
    if calibration and not (np.isfinite(calibration).all() and (calibration[0] > 0 or kind != "class")):
        raise ValueError(f"the calibration of a predictor of kind {kind!r} is not possible")
    if kind == "class":
        return ClassPredictor(names, cells, linear_map, calibration)
    if kind == "rank":
        return LevelPredictor(names[0], cells[0], linear_map, calibration)
    if kind == "labels":
        return SetPredictor(names[0], cells[0], tuple(about["always"]), about["separator"], linear_map, calibration)
    if kind == "number" and outputs == 1:
        return NumberPredictor(names[0], linear_map, calibration)
    raise ValueError(f"there is no predictor of kind {kind!r} with {outputs} outputs")
