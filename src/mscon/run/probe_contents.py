"""Contents of the probes of a run: the form of the plain values in probe.json and layers.json."""

from __future__ import annotations

from typing import Annotated, Any, Required, TypedDict

import msgspec
from msgspec import Meta


class Interval(TypedDict):
    value: float
    low: float
    high: float


class _Score(TypedDict, total=False):
    column: Required[str]
    kind: str
    level: int | None
    trained: bool
    classes: list[str] | None
    rows: int
    test_rows: int
    majority: float | None
    chance: float | None
    baseline: dict[str, float | None] | None
    confusion: list[list[int]] | None
    difference: Interval


class _Skipped(TypedDict):
    column: str
    probe: str
    reason: str


class _Scores(TypedDict, total=False):
    title: str
    digest: str
    checkpoint: str
    draws: int
    linear: list[_Score]
    neighbours: list[_Score]
    projections: list[_Score]
    skipped: list[_Skipped]


_Share = Annotated[float, Meta(ge=0, le=1)]


class _RiskCoverage(TypedDict):
    trained: bool
    columns: list[str]
    rows_left: float
    accuracy_gain: Interval
    precision_at_10_gain: Interval
    area_under_risk: Interval
    accuracy: Annotated[list[tuple[_Share, _Share]], Meta(min_length=1)]


class _Unseen(TypedDict):
    rows: int
    auroc: Interval


class _UncertaintyScores(TypedDict, total=False):
    threshold: Required[float]
    summary: Required[list[_RiskCoverage]]
    unseen: _Unseen


class _Tolerance(TypedDict):
    column: str
    cosine: float


class _Uniformity(TypedDict):
    rows: int
    score: float
    tolerance: list[_Tolerance]


class Probe(_Scores, total=False):
    uniformity: _Uniformity
    start: _Scores | None
    uncertainty: _UncertaintyScores


class Layers(TypedDict):
    layers: dict[str, _Scores]


def need_intervals(values: Any) -> None:
    """Raise msgspec's error for scores, whatever the measure is called, that are not {"value", "low", "high"}."""
    if isinstance(values, dict) and Interval.__annotations__.keys() & values.keys():
        msgspec.convert(values, Interval)
    elif isinstance(values, dict | list):
        for inner in values.values() if isinstance(values, dict) else values:
            need_intervals(inner)
