"""Scores: what a probe says of one run, by the measure that speaks for each kind of column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mscon.evaluate.metrics.catalog import MEASURES, Measure


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

    @property
    def name(self) -> str:
        return self.column if self.level is None else f"{self.column}, level {self.level}"


def scores_of(probe: Mapping[str, Any], how: str) -> Iterator[Score]:
    """Each column's score by one of the two probes in `probe.json`, "linear" or "neighbours", in its order."""
    for record in probe.get(how, []):
        # Where a probe of classes says what guessing gives.
        guesses = {"accuracy": record.get("majority"), "precision_at_1": record.get("chance")}
        guesses |= record.get("baseline") or {}
        for name, measure in MEASURES.items():
            if measure.leads and measure.probe == how and isinstance(value := record.get(name), Mapping):
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
                )
