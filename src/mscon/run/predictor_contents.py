"""Contents of the predictors of a run: the form of the plain values in predictors.safetensors."""

from __future__ import annotations

from typing import Required, TypedDict


class _CalibrationError(TypedDict, total=False):
    accuracy: Required[float]
    before: Required[float]
    after: float
    by_chance: float


class _PredictorRecord(TypedDict, total=False):
    trained: bool
    train_rows: Required[int]
    validation_rows: Required[int]
    test_rows: Required[int]
    dropped_rows: int
    regularisation: float
    converged: bool
    levels: list[_CalibrationError]
    coverage: float


class _Predictor(TypedDict, total=False):
    column: Required[str]
    kind: Required[str]
    calibration: Required[list[float] | None]
    names: Required[list[str]]
    cells: Required[list[list[str]]]
    always: list[str]
    separator: str
    record: Required[_PredictorRecord]


class _Unpredicted(TypedDict):
    column: str
    reason: str


class Predictors(TypedDict):
    source: str
    predictors: list[_Predictor]
    skipped: list[_Unpredicted]
