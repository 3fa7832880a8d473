"""The comparison of methods: means with intervals, and which differences are more than chance.

Page, terminal and report.json show the same rows: one for each column and measure, with a cell for each method.
Pure functions of arrays. This module knows nothing of files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mscon.evaluate.metrics.bootstrap import Interval, difference, seeded_interval
from mscon.evaluate.metrics.catalog import MEASURES, Measure
from mscon.evaluate.report.gather import Gathered, Question

# Below this many seeds an interval says nothing of how much the seed matters.
FEWEST_SEEDS = 3
_MOST_BESIDE = 7
_EQUAL = 1e-12  # means of equal values in another order differ by rounding

Standing = Literal["only", "best", "first", "level", "behind"]
"""Of a cell within its row: `only` without a rival; `best` if its paired difference to every other method excludes
zero; `first` if it has the best mean but is not told apart from all others; `level` if its difference to the best mean
includes zero; `behind` if that excludes zero. The best mean is the highest, or the lowest where that is better."""

Mark = Literal["best", "first", "level", "above", "chance", "below", ""]
"""What is shown beside a number: its standing, or, where there is no rival, how it compares with guessing."""

# Mark -> sign and meaning, in the order of the legend.
MARKS: dict[Mark, tuple[str, str]] = {
    "best": ("★", "clearly best: its difference to every other method, paired by row, excludes zero"),
    "first": ("▲", "best mean, but not clearly best"),
    "level": ("=", "not distinguishable from the best mean: the paired difference includes zero"),
    "above": ("+", "better than guessing: the interval excludes what guessing gives"),
    "chance": ("~", "not distinguishable from guessing"),
    "below": ("−", "worse than guessing"),
}

Role = Literal["trained on", "not trained on", "nearest neighbours"]
"""Which part of the table a row belongs to: linear probes of columns that some method trained on, linear probes of
columns that none did, or nearest neighbours."""


@dataclass(frozen=True, slots=True)
class MethodScore:
    """One method in one row of the comparison. Scores are shares in [0, 1], or what their measure is in.

    Attributes:
        score: mean over rows and seeds, with its 95 % interval over both.
        seeds: how many runs are in it.
        trained: whether this method trained on the column.
        standing: see `Standing`.
        behind_by: by how much it is worse than the best mean of the row, paired by row; None for the best itself.
        over_start: by how much its score is above that of what its runs began from, paired by row; None if unknown.
    """

    score: Interval
    seeds: int
    trained: bool
    standing: Standing
    behind_by: Interval | None
    over_start: Interval | None = None


@dataclass(frozen=True, slots=True)
class ColumnScores:
    """One column under one measure, and a cell for each method that was scored (None for the others).

    `held_out`: of runs that were trained on other label columns than this one.
    """

    column: str
    measure: str
    in_domain: bool
    baseline: float | None
    classes: int
    rows: int
    cells: tuple[MethodScore | None, ...]
    held_out: bool = False

    @property
    def name(self) -> str:
        """How its row is called."""
        return f"{self.column}, held out" if self.held_out else self.column

    @property
    def about(self) -> Measure:
        """What its measure is, and which end of it is good."""
        return MEASURES[self.measure]

    @property
    def role(self) -> Role:
        if self.about.probe == "neighbours":
            return "nearest neighbours"
        return "trained on" if self.in_domain else "not trained on"

    @property
    def scored(self) -> list[tuple[int, MethodScore]]:
        """Its cells with the number of their method."""
        return [(i, cell) for i, cell in enumerate(self.cells) if cell is not None]

    def mark(self, cell: MethodScore) -> Mark:
        """The one mark that stands beside a number; a score that equals the best mean has the mark of that."""
        if cell.standing == "level" and cell.behind_by is not None and abs(cell.behind_by.value) < _EQUAL:
            return "first"
        if cell.standing != "only":
            return "" if cell.standing == "behind" else cell.standing
        return self.against_guessing(cell)

    def against_guessing(self, cell: MethodScore) -> Mark:
        """Whether a score is told apart from what guessing gives; "" where that is unknown."""
        if self.baseline is None:
            return ""
        if cell.score.low > self.baseline:
            return "below" if self.about.lower_is_better else "above"
        if cell.score.high < self.baseline:
            return "above" if self.about.lower_is_better else "below"
        return "chance"

    def whisker(self, cell: MethodScore) -> tuple[float, float, float, float | None]:
        """Low end, mean and high end of a cell, and what guessing gives, on a bar of 112 units.

        The bar spans all intervals of the row, and guessing.
        """
        ends = [end for _, other in self.scored for end in (other.score.low, other.score.high)]
        ends += [] if self.baseline is None else [self.baseline]
        low, width = min(ends), (max(ends) - min(ends)) or 1.0

        def place(value: float) -> float:
            return round(4 + 104 * (value - low) / width, 1)

        guess = None if self.baseline is None else place(self.baseline)
        return place(cell.score.low), place(cell.score.value), place(cell.score.high), guess


@dataclass(frozen=True, slots=True)
class Comparison:
    """Methods against columns.

    Attributes:
        methods: titles of methods, and after them of what they began from.
        seeds: of each; 0 for what they began from, which has none.
        columns: the rows of the table.
        draws: of the bootstrap.
        grouped_by: the column whose rows are drawn together; "" where each is by itself.
        neighbours_among: among which rows nearest neighbours were sought, in words.
        seedless: titles of methods whose scores no seed changes, so that one run is enough.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    columns: tuple[ColumnScores, ...]
    draws: int
    grouped_by: str = ""
    neighbours_among: str = "rows of groups that training never saw"
    seedless: tuple[str, ...] = ()

    def has_few(self, method: str, seeds: int) -> bool:
        """Whether these are too few seeds for a method to be called clearly best."""
        return method not in self.seedless and 0 < seeds < FEWEST_SEEDS

    @property
    def trained_methods(self) -> tuple[str, ...]:
        """Titles of methods, without what they began from."""
        return tuple(title for title, seeds in zip(self.methods, self.seeds, strict=True) if seeds)

    def leading(self, role: Role) -> tuple[ColumnScores, ...]:
        """Rows of one role by the measure that speaks for each column, whatever its kind."""
        return tuple(column for column in self.columns if column.about.leads and column.role == role)

    @property
    def parts(self) -> tuple[tuple[str, tuple[ColumnScores, ...]], ...]:
        """The rows of the table under their headings."""
        parts = [
            ("Linear probes of columns that were trained on", self.leading("trained on")),
            ("Linear probes of columns that no method was trained on", self.leading("not trained on")),
            (f"Nearest neighbours among {self.neighbours_among}", self.leading("nearest neighbours")),
        ]
        return tuple((heading, rows) for heading, rows in parts if rows)

    @property
    def further(self) -> tuple[ColumnScores, ...]:
        """Rows of all measures beside the leading ones."""
        order = list(MEASURES)
        return tuple(sorted((c for c in self.columns if not c.about.leads), key=lambda c: order.index(c.measure)))

    @property
    def few_seeds(self) -> str:
        """What to know where a method has too few seeds; empty if none has."""
        if not any(map(self.has_few, self.methods, self.seeds)):
            return ""
        covered = "its interval covers the choice of rows, but hardly the choice of the seed."
        if len(self.trained_methods) == 1:
            return f"There are fewer than {FEWEST_SEEDS} seeds: {covered.replace('its interval', 'the interval')}"
        return (
            f"A method with fewer than {FEWEST_SEEDS} seeds is never marked as clearly best, nor is any other method "
            f"of its row: {covered}"
        )

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the methods that stand beside each other: more than seven columns are not read at a glance."""
        count = len(self.methods) if self.columns else 0
        parts = -(-count // _MOST_BESIDE)
        return tuple(tuple(range(part * count // parts, (part + 1) * count // parts)) for part in range(parts))

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All that occur, in their order."""
        used = {column.measure for column in self.columns}
        return tuple(measure for name, measure in MEASURES.items() if name in used)

    @property
    def legend(self) -> tuple[tuple[str, str], ...]:
        """Sign and meaning of each mark that occurs, and of the ways in which numbers are written."""
        marks = {column.mark(cell) for column in self.columns for _, cell in column.scored}
        lines = [(sign, meaning) for mark, (sign, meaning) in MARKS.items() if mark in marks]
        if len(self.methods) > 1 and any(cell.standing == "behind" for c in self.columns for _, cell in c.scored):
            lines.append(("no mark", "clearly worse than the best mean"))
        if any(column.in_domain and not cell.trained for column in self.columns for _, cell in column.scored):
            lines.append(("'", "this method was not trained on the column"))
        if any(cell.over_start is not None for column in self.columns for _, cell in column.scored):
            lines.append(("Δ", "difference to the features that the method's runs began from, paired by row"))
        return tuple(lines)


def compare(gathered: Gathered, draws: int | None = None) -> Comparison:
    """Every column's scores with intervals, and how the methods stand to each other.

    Args:
        gathered: what the runs have in common.
        draws: of the bootstrap; by default as many as the recipes say, the fewest of them.
    """
    if draws is None:
        draws = min(int(m.recipe.get("probe", {}).get("draws", 1_000)) for m in gathered.members)
    return Comparison(
        (*(m.title for m in gathered.methods), *gathered.starts),
        (*(len(m.members) for m in gathered.methods), *(0 for _ in gathered.starts)),
        tuple(compare_column(question, draws) for question in gathered.questions),
        draws,
        gathered.grouped_by,
        gathered.neighbours_among,
    )


def compare_column(question: Question, draws: int) -> ColumnScores:
    """One row of the comparison.

    A cell is `best` only if it has at least three seeds, every rival has too, and each paired
    difference excludes zero. Nothing is corrected for the number of comparisons.
    """
    values = {i: v for i, v in enumerate(question.values) if v is not None}
    about, groups = MEASURES[question.measure], question.groups
    scores = {i: _score(v, draws, groups, is_share=about.in_percent) for i, v in values.items()}
    sign = about.sign
    first = max(values, key=lambda i: sign * float(values[i].mean()))
    gap = lambda a, b: difference(a, b, draws=draws, groups=groups)
    gaps = {i: gap(sign * values[first], sign * values[i]) for i in values if i != first}
    clear = all(v.shape[0] >= FEWEST_SEEDS for v in values.values()) and all(gap.low > 0 for gap in gaps.values())

    def standing(i: int) -> Standing:
        if not gaps:
            return "only"
        if i == first:
            return "best" if clear else "first"
        return "behind" if gaps[i].low > 0 else "level"

    def over_start(i: int) -> Interval | None:
        start = question.starts[i] if i < len(question.starts) else None
        return difference(values[i], values[start], draws=draws, groups=groups) if start in values else None

    cells = tuple(
        MethodScore(scores[i], values[i].shape[0], question.trained[i], standing(i), gaps.get(i), over_start(i))
        if i in values
        else None
        for i in range(len(question.values))
    )
    return ColumnScores(
        question.column,
        question.measure,
        question.in_domain,
        question.baseline,
        question.classes,
        len(question.rows),
        cells,
        question.held_out,
    )


def _score(
    values: Float[np.ndarray, "seeds rows"], draws: int, groups: Int[np.ndarray, " rows"] | None, is_share: bool
) -> Interval:
    """A mean and its interval. Row values of F1 lie around a share, so ends of the interval may lie beyond 0 and 1."""
    score = seeded_interval(values, draws=draws, groups=groups)
    # A mean over columns may lie below 0 itself, where R squared does.
    low, high = max(score.low, min(score.value, 0.0)), min(score.high, 1.0)
    return replace(score, low=low, high=high) if is_share else score
