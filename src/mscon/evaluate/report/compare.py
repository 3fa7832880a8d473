"""The comparison of methods: means with intervals, and who is told apart from whom.

Pure functions of arrays. This module knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from mscon.evaluate.metrics.bootstrap import Interval, paired_difference, seeded_interval
from mscon.evaluate.metrics.catalog import MEASURES
from mscon.evaluate.metrics.catalog import Measure as About
from mscon.evaluate.report.gather import RETRIEVAL, Gathered, Measure, Question
from mscon.evaluate.report.markdown import aligned, plain

# Below this many seeds an interval says nothing of how much the seed matters.
FEWEST_SEEDS = 3

Standing = Literal["only", "best", "first", "level", "behind"]
"""Of a cell within its column: `only` without a rival; `best` if its paired difference to every other
method excludes zero; `first` if it has the best mean but is not told apart from all others; `level`
if its difference to the best mean includes zero; `behind` if that excludes zero. The best mean is the highest, or
the lowest where that is better."""


Group = Literal["in_domain", "out_of_domain", "precision_at_1", "map_at_r"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One method in one column of the comparison. Scores are shares in [0, 1], or what their measure is in.

    Attributes:
        score: mean over rows and seeds, with its 95 % interval over both.
        seeds: how many runs are in it.
        trained: whether this method trained on the column.
        standing: see `Standing`.
        behind_by: by how much it is worse than the best mean of the column, paired by row; None for the best itself.
    """

    score: Interval
    seeds: int
    trained: bool
    standing: Standing
    behind_by: Interval | None

    @property
    def few_seeds(self) -> bool:
        return self.seeds < FEWEST_SEEDS


@dataclass(frozen=True, slots=True)
class Column:
    """One question, and a cell for each method that was asked (None for the others)."""

    column: str
    measure: Measure
    in_domain: bool
    baseline: float | None
    classes: int
    rows: int
    cells: tuple[Cell | None, ...]

    @property
    def about(self) -> About:
        """What its measure is, and which end of it is good."""
        return MEASURES[self.measure]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Methods against columns."""

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    columns: tuple[Column, ...]
    draws: int

    def of(self, group: Group) -> tuple[Column, ...]:
        """The columns of one group: a measure of retrieval, or accuracy of linear probes in or out of domain."""
        if group in RETRIEVAL:
            return tuple(c for c in self.columns if c.measure == group)
        return tuple(c for c in self.columns if c.measure == "accuracy" and c.in_domain == (group == "in_domain"))

    def linear(self, in_domain: bool) -> tuple[Column, ...]:
        """The measure that speaks for each column under its linear probe, whatever its kind."""
        return tuple(
            c for c in self.columns if c.about.leads and c.about.probe == "linear" and c.in_domain == in_domain
        )

    @property
    def further(self) -> tuple[tuple[About, tuple[Column, ...]], ...]:
        """Measures that are in no group, each with its columns, those that some method trained on first."""
        told = {measure: [c for c in self.columns if c.measure == measure] for measure in MEASURES}
        return tuple(
            (MEASURES[measure], tuple(sorted(columns, key=lambda c: not c.in_domain)))
            for measure, columns in told.items()
            if columns and measure not in ("accuracy", *RETRIEVAL)
        )


def compare(gathered: Gathered, draws: int | None = None) -> Comparison:
    """Every column's scores with intervals, and how the methods stand to each other.

    Args:
        gathered: what the runs have in common.
        draws: of the bootstrap; by default as many as the recipes say, the fewest of them.
    """
    if draws is None:
        draws = min(int(m.recipe.get("probe", {}).get("draws", 1_000)) for m in gathered.members)
    return Comparison(
        tuple(m.title for m in gathered.methods),
        tuple(len(m.members) for m in gathered.methods),
        tuple(compare_column(question, draws) for question in gathered.questions),
        draws,
    )


def compare_column(question: Question, draws: int) -> Column:
    """One column of the comparison.

    A cell is `best` only if it has at least three seeds, every rival has too, and each paired
    difference excludes zero. Nothing is corrected for the number of comparisons.
    """
    asked = [i for i, values in enumerate(question.values) if values is not None]
    values = {i: v for i, v in enumerate(question.values) if v is not None}
    scores = {i: seeded_interval(values[i], draws=draws) for i in asked}
    sign = MEASURES[question.measure].sign
    first = max(asked, key=lambda i: sign * float(values[i].mean()))
    gaps = {i: _gap(sign * values[first], sign * values[i], draws) for i in asked if i != first}
    enough = all(values[i].shape[0] >= FEWEST_SEEDS for i in asked)
    clear = enough and all(gap.low > 0 for gap in gaps.values())

    def standing(i: int) -> Standing:
        if not gaps:
            return "only"
        if i == first:
            return "best" if clear else "first"
        return "behind" if gaps[i].low > 0 else "level"

    cells = tuple(
        Cell(scores[i], values[i].shape[0], question.trained[i], standing(i), gaps.get(i)) if i in values else None
        for i in range(len(question.values))
    )
    return Column(
        question.column,
        question.measure,
        question.in_domain,
        question.baseline,
        question.classes,
        len(question.rows),
        cells,
    )


def _gap(a: Float[np.ndarray, "seeds rows"], b: Float[np.ndarray, "others rows"], draws: int) -> Interval:
    """Paired difference over as many seeds as both have; seeds are in order, so like meets like."""
    both = min(a.shape[0], b.shape[0])
    return paired_difference(a[:both], b[:both], draws=draws)


# Said in text and in JSON ---------------------------------------------------------------------------

_GROUPS: tuple[tuple[Group, str], ...] = (
    ("in_domain", "In domain: linear probe of columns that were trained on, accuracy in %"),
    ("out_of_domain", "Out of domain: linear probe of columns that no method trained on, accuracy in %"),
    ("precision_at_1", "Nearest neighbour by cosine among rows of unseen groups: precision@1 in %"),
    ("map_at_r", "The same down to rank R: MAP@R in %"),
)


def comparison_text(comparison: Comparison) -> str:
    """The comparison as Markdown tables with aligned columns, for a terminal or a README."""
    blocks = [
        f"{title}\n\n{_table(comparison, columns)}" for group, title in _GROUPS if (columns := comparison.of(group))
    ]
    blocks += [
        f"{about.title}{' in %' * about.in_percent}: {about.explained}\n\n{_table(comparison, columns)}"
        for about, columns in comparison.further
    ]
    return "\n\n".join([*blocks, _legend(comparison)]) + "\n"


def _table(comparison: Comparison, columns: Sequence[Column]) -> str:
    header = ["method", "seeds", *(plain(column.column) for column in columns)]
    body = [
        [plain(title), str(comparison.seeds[i]), *(_cell_text(column.cells[i], column) for column in columns)]
        for i, title in enumerate(comparison.methods)
    ]
    guess = columns[0].about.guess
    body.append([f"({guess})", "", *("-" if c.baseline is None else c.about.shown(c.baseline) for c in columns)])
    return aligned(header, body)


def _cell_text(cell: Cell | None, column: Column) -> str:
    if cell is None:
        return "-"
    value, low, high = (column.about.shown(n) for n in (cell.score.value, cell.score.low, cell.score.high))
    text = f"{value} ({low} to {high})"
    if cell.standing == "best":
        text = f"**{text}**"
    marks = {"level": "=", "first": "^"}.get(cell.standing, "")
    if column.in_domain and not cell.trained:
        marks += "'"
    return f"{text} {marks}".rstrip()


def _legend(comparison: Comparison) -> str:
    cells = [cell for column in comparison.columns for cell in column.cells if cell]
    lines = [f"Means with 95 % intervals over rows and seeds ({comparison.draws:,} bootstrap draws)."]
    if any(cell.standing == "best" for cell in cells):
        lines.append("** **  clearly best: its paired difference to every other method excludes zero.")
    if any(cell.standing == "first" for cell in cells):
        lines.append("^  best mean, but not clearly best.")
    if any(cell.standing == "level" for cell in cells):
        lines.append("=  within the best's interval: the paired difference to the best mean includes zero.")
    if any(column.in_domain and c and not c.trained for column in comparison.columns for c in column.cells):
        lines.append("'  this method did not train on the column.")
    if any(cell.few_seeds for cell in cells):
        lines.append(
            f"With fewer than {FEWEST_SEEDS} seeds an interval leaves out most of the luck of the seed, "
            "and nothing is called best."
        )
    return "\n".join(lines)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values for report.json; what is shown in percent is a share in [0, 1] there."""
    return {
        "draws": comparison.draws,
        "level": 0.95,
        "methods": [
            {"title": title, "seeds": seeds} for title, seeds in zip(comparison.methods, comparison.seeds, strict=True)
        ],
        "columns": [
            {
                "column": column.column,
                "measure": column.measure,
                "unit": "share" if column.about.in_percent else column.about.unit,
                "better": "lower" if column.about.lower_is_better else "higher",
                "in_domain": column.in_domain,
                "baseline": column.baseline,
                "classes": column.classes,
                "rows": column.rows,
                "cells": [_cell_json(cell) for cell in column.cells],
            }
            for column in comparison.columns
        ],
    }


def _cell_json(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {
        **_interval_json(cell.score),
        "seeds": cell.seeds,
        "trained": cell.trained,
        "standing": cell.standing,
        "behind_by": None if cell.behind_by is None else _interval_json(cell.behind_by),
    }


def _interval_json(interval: Interval) -> dict[str, float]:
    return {"value": float(interval.value), "low": float(interval.low), "high": float(interval.high)}
