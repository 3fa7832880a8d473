"""Scores of one run: what its probes wrote, as summaries with intervals, and as one value a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from mscon.errors import RunError
from mscon.evaluate.metrics import influence
from mscon.evaluate.metrics.catalog import MEASURES, Measure
from mscon.run.run import Run

# What a probe of neighbours is scored by where it does not say so itself.
_RETRIEVAL = {"precision_at_1": "chance", "map_at_r": "map_at_r_chance"}


@dataclass(frozen=True, slots=True)
class StartScore:
    """The same score of the features that the run began from, and by how much the run's is above it."""

    value: float
    difference: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Score:
    """A column's score by the measure that speaks for its kind; `level` counts from 1 in a hierarchy."""

    column: str
    level: int | None
    trained: bool
    measure: Measure
    rows: int
    value: float
    low: float
    high: float
    guess: float | None
    start: StartScore | None = None

    @property
    def name(self) -> str:
        return self.column if self.level is None else f"{self.column}, level {self.level}"


def scores_of(probe: Mapping[str, Any], how: str) -> Iterator[Score]:
    """Each column's score by one of the probes in `probe.json`, in its order.

    Args:
        probe: what the file holds.
        how: "linear" or "neighbours"; or "projections", the linear probes of those.
    """
    kind = "linear" if how == "projections" else how
    of_start = {name_of(record): record for record in (probe.get("start") or {}).get(how, [])}
    for record in probe.get(how, []):
        before = of_start.get(name_of(record), {})
        # Where a probe of classes says what guessing gives.
        guesses = {"accuracy": record.get("majority"), "precision_at_1": record.get("chance")}
        guesses |= record.get("baseline") or {}
        for name, measure in MEASURES.items():
            if measure.leads and measure.probe == kind and isinstance(value := record.get(name), Mapping):
                yield Score(
                    record["column"],
                    record.get("level"),
                    bool(record["trained"]),
                    measure,
                    record.get("test_rows", record.get("rows", 0)),
                    value["value"],
                    value["low"],
                    value["high"],
                    guesses.get(name),
                    None if name not in before else StartScore(before[name]["value"], before["difference"]),
                )


@dataclass(frozen=True, slots=True)
class RowValues:
    """One measure of one column in one run, a value a row, whose mean is the score; rows in ascending order.

    `label` is the column in the table, of whose levels this may be one.
    """

    rows: Int[np.ndarray, " rows"]
    values: Float[np.ndarray, " rows"]
    trained: bool
    baseline: float | None
    classes: int
    label: str


def row_values_of(run: Run, space: Literal["features", "start"] = "features") -> dict[tuple[str, str], RowValues]:
    """All scores of a run row by row, by column and measure.

    Args:
        run: that was probed.
        space: "start" for the scores of the features that it began from; none where its probe.json has no start.

    Raises:
        RunError: if probe.json and predictions.safetensors do not belong together.
    """
    probe, arrays = run.read_probe(), run.read_predictions()
    if space == "start":
        probe = probe.get("start") or {}
        arrays = {name.removeprefix("start/"): array for name, array in arrays.items() if name.startswith("start/")}
    scores: dict[tuple[str, str], RowValues] = {}
    try:
        for i, record in enumerate(probe.get("linear", [])):
            rows, column = arrays[f"linear/{i}/row"], name_of(record)
            classes = len(record.get("classes", ()))
            if record.get("kind", "class") == "class":
                true, predicted = arrays[f"linear/{i}/true"], arrays[f"linear/{i}/predicted"]
                scores[column, "accuracy"] = _ordered(rows, true == predicted, record, record["majority"], classes)
                which = np.arange(classes)
                f1 = influence.macro_f1(true[:, None] == which, predicted[:, None] == which)
                scores[column, "macro_f1"] = _ordered(rows, f1, record, None, classes)
            for measure, baseline in record.get("baseline", {}).items():
                values = arrays[f"linear/{i}/{measure}"]
                scores[column, measure] = _ordered(rows, values, record, baseline, classes)
        for i, record in enumerate(probe.get("neighbours", [])):
            rows, column = arrays[f"neighbours/{i}/row"], name_of(record)
            baselines = record.get("baseline") or {name: record.get(key) for name, key in _RETRIEVAL.items()}
            for measure, baseline in baselines.items():
                scores[column, measure] = _ordered(rows, arrays[f"neighbours/{i}/{measure}"], record, baseline, 0)
    except KeyError as error:
        raise RunError(
            f"run '{run.root}': probe.json and predictions.safetensors do not belong together (no {error}). "
            "Run `mscon probe` again."
        ) from None
    return scores


def name_of(record: Mapping[str, Any]) -> str:
    """How a report calls the column of a probe's record: by its name, and in a hierarchy also by its level."""
    levels = record.get("levels", 1)
    return f"{record['column']}, level {record['level']} of {levels}" if levels > 1 else str(record["column"])


def _ordered(
    rows: np.ndarray, values: np.ndarray, record: Mapping[str, Any], baseline: float | None, classes: int
) -> RowValues:
    order = np.argsort(rows, kind="stable")
    rows, values = rows[order].astype(np.int64), values[order].astype(np.float64)
    return RowValues(rows, values, bool(record["trained"]), baseline, classes, str(record["column"]))
