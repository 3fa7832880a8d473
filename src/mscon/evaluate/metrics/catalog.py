"""Measures: what a probe can be scored by, how it is written, and which end of it is good. Knows no run and no row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Measure:
    """One way to score a probe. In probe.json scores stand under `name`, not in percent.

    Attributes:
        name: its key in probe.json and report.json.
        title: in a heading.
        probe: which probe gives it.
        unit: of the number as shown: "%", "levels", "" where it has none, or "unit of the column".
        explained: in a sentence or two.
        guess: what its baseline is; "" where it has none.
        lower_is_better: whether a smaller number is the better one.
        leads: whether it is the main measure of its kind of column.
    """

    name: str
    title: str
    probe: Literal["linear", "neighbours"]
    unit: str
    explained: str
    guess: str
    lower_is_better: bool = False
    leads: bool = False

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return -1 if self.lower_is_better else 1

    @property
    def ceiling(self) -> float:
        """The largest value that it can have: 1 for shares, R² and correlations."""
        return 1.0 if self.unit in ("%", "") else math.inf

    @property
    def in_percent(self) -> bool:
        return self.unit == "%"

    @property
    def counted(self) -> str:
        """What the classes of its columns are called."""
        words = {"level_error": "levels", "within_one": "levels", "mean_average_precision": "labels"}
        return words.get(self.name, "labels" if self.name.endswith("_f1") else "classes")

    def shown(self, value: float) -> str:
        """The number without its unit: 0.376 is "37.6" in percent; a number of no unit has 3 decimals."""
        if self.in_percent:
            return f"{100 * value:.1f}"
        return f"{value:.3f}" if not self.unit or abs(value) < 10 else f"{value:,.4g}"

    def with_unit(self, value: float) -> str:
        """The number with its unit, with a space that does not break."""
        words = {"%": "%", "levels": "levels"}.get(self.unit, "")
        return f"{self.shown(value)}\N{NO-BREAK SPACE}{words}".rstrip("\N{NO-BREAK SPACE}")


_MEASURES = (
    Measure(
        "column_mean",
        "mean",
        "linear",
        "%",
        "Mean over columns of the main measure of each, on a scale where 1 is perfect: accuracy, mAP or R² as it is, "
        "and an error in levels as 1 - error / (levels - 1).",
        "",
        leads=True,
    ),
    Measure(
        "accuracy",
        "accuracy",
        "linear",
        "%",
        "Accuracy of a linear classifier on frozen features.",
        "largest class",
        leads=True,
    ),
    Measure(
        "r2",
        "R²",
        "linear",
        "",
        "Ridge regression on frozen features: the share of a number's variance that it explains. 1 is all, 0 no more "
        "than its mean.",
        "mean of the training rows",
        leads=True,
    ),
    Measure(
        "spearman",
        "Spearman",
        "linear",
        "",
        "The same regression: correlation between the ranks of true and predicted numbers.",
        "no order",
    ),
    Measure(
        "level_error",
        "mean error in levels",
        "linear",
        "levels",
        "A linear classifier for each step between levels: by how many levels the prediction is off. Lower is better.",
        "median of the training rows",
        lower_is_better=True,
        leads=True,
    ),
    Measure(
        "within_one",
        "at most one level off",
        "linear",
        "%",
        "The same classifiers: share of rows that are off by one level at most.",
        "median of the training rows",
    ),
    Measure(
        "mean_average_precision",
        "mAP",
        "linear",
        "%",
        "A linear classifier a label: average precision of each label, then the mean over labels.",
        "order by chance",
        leads=True,
    ),
    Measure(
        "micro_f1",
        "micro-F1",
        "linear",
        "%",
        "The same classifiers: F1 over all labels together.",
        "always every label",
    ),
    Measure(
        "macro_f1", "macro-F1", "linear", "%", "The same classifiers: mean over labels of F1.", "always every label"
    ),
    Measure(
        "precision_at_1",
        "precision@1",
        "neighbours",
        "%",
        "How often the nearest row is alike: of the same class, or with a label in common.",
        "chance",
        leads=True,
    ),
    Measure("r_precision", "R-precision", "neighbours", "%", "Share of alike rows among the R nearest.", "chance"),
    Measure(
        "map_at_r",
        "MAP@R",
        "neighbours",
        "%",
        "The same down to rank R, the number of others that are alike, and their order counts.",
        "chance",
    ),
    Measure(
        "neighbour_difference",
        "difference to the nearest",
        "neighbours",
        "unit of the column",
        "Mean absolute difference between a row's number, or level, and that of its nearest row. Lower is better.",
        "chance",
        lower_is_better=True,
        leads=True,
    ),
    Measure(
        "neighbour_spearman",
        "Spearman with the nearest",
        "neighbours",
        "",
        "Rank correlation between the numbers of rows and those of their nearest rows.",
        "chance",
    ),
)

MEASURES: Mapping[str, Measure] = {measure.name: measure for measure in _MEASURES}
"""By name, in the order in which they are shown."""
