"""Scores of a comparison: each column, trained on or held out, and means over columns. Pure functions of row values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mscon.evaluate.metrics.bootstrap import Interval, difference
from mscon.evaluate.metrics.catalog import MEASURES
from mscon.evaluate.report.compare import ColumnScores, Comparison, compare
from mscon.evaluate.report.gather import Gathered, Question

Number = TypeVar("Number", float, np.ndarray)

TRAINED, UNSEEN = "mean over label columns", "mean over unseen columns"
"""Names of the two rows of means: of columns that the recipe trains on; of those held out, or never trained on."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Row values, and the comparison that is made of them; both have the same rows in the same order."""

    gathered: Gathered
    comparison: Comparison

    def ahead(self, one: str, other: str) -> list[tuple[ColumnScores, Interval]]:
        """By how much a method is better than another in each row that has both, paired; below 0 where it is worse."""
        a, b = (self.comparison.methods.index(title) for title in (one, other))
        gaps = []
        for question, row in zip(self.gathered.questions, self.comparison.columns, strict=True):
            mine, theirs = question.values[a], question.values[b]
            if mine is not None and theirs is not None:
                sign = row.about.sign
                gap = difference(sign * mine, sign * theirs, draws=self.comparison.draws, groups=question.groups)
                gaps.append((row, gap))
        return gaps


def compared(
    whole: Gathered, held_out: Mapping[str, Gathered], labels: Sequence[str], untrained: Sequence[str] = ()
) -> Scores:
    """All methods on all columns: the label columns, each of them held out, other columns, and two means.

    Args:
        whole: runs that were trained on all columns of their methods.
        held_out: by label column the runs of those methods that can be trained without it. Titles tell methods.
        labels: the label columns.
        untrained: titles of methods that no seed changes; their scores count as those of every seed.
    """
    methods = whole.methods
    seeds = max(len(method.members) for method in methods)
    repeats = [seeds if method.title in untrained else 1 for method in methods]

    def of_all_seeds(question: Question) -> Question:
        pairs = zip(question.values, repeats, strict=True)
        return replace(question, values=tuple(None if v is None else np.repeat(v, n, axis=0) for v, n in pairs))

    questions = [of_all_seeds(question) for question in whole.questions]
    apart = [
        of_all_seeds(_lined_up(question, gathered, whole))
        for column, gathered in held_out.items()
        for question in gathered.questions
        if question.label == column
    ]
    of_labels = [question for question in questions if question.label in labels]
    unseen = [*apart, *(question for question in questions if question.label not in labels)]
    means = [
        mean_over_columns(name, leading)
        for name, some in ((TRAINED, of_labels), (UNSEEN, unseen))
        if (leading := [q for q in some if MEASURES[q.measure].leads and MEASURES[q.measure].probe == "linear"])
    ]
    gathered = Gathered(methods, (*means, *questions, *apart))
    return Scores(gathered, _with_single_runs(compare(gathered), untrained))


def _with_single_runs(comparison: Comparison, untrained: Sequence[str]) -> Comparison:
    """The comparison, in which a method that no seed changes has the one run that it is."""
    fixed = [title in untrained for title in comparison.methods]
    columns = tuple(
        replace(
            row,
            cells=tuple(
                replace(cell, seeds=1) if cell and one else cell for cell, one in zip(row.cells, fixed, strict=True)
            ),
        )
        for row in comparison.columns
    )
    return replace(comparison, columns=columns, seedless=tuple(untrained))


def _lined_up(question: Question, gathered: Gathered, like: Gathered) -> Question:
    """The question of a column that was held out, its methods in the order of `like`; None for those not in it."""
    places = {method.title: number for number, method in enumerate(gathered.methods)}
    numbers = [places.get(method.title) for method in like.methods]
    values = tuple(None if number is None else question.values[number] for number in numbers)
    trained = tuple(number is not None and question.trained[number] for number in numbers)
    return replace(question, values=values, trained=trained, held_out=True)


def mean_over_columns(name: str, questions: Sequence[Question]) -> Question:
    """The mean of the main measure over columns, row by row; levels of a hierarchy count together as one column.

    The value of a row is such that the mean over all rows is the mean of the scores, and what the row adds to that is
    its influence on it, also where columns were scored on other rows (see `mscon.evaluate.metrics.influence`).

    Args:
        name: of the mean.
        questions: at least one; of each the main measure of a column, or of a level.
    """
    rows = np.unique(np.concatenate([question.rows for question in questions]))
    columns: dict[tuple[str, bool], list[Question]] = {}
    for question in questions:
        columns.setdefault((question.label, question.held_out), []).append(question)
    methods = range(len(questions[0].values))
    values = tuple(_mean_of_method(method, list(columns.values()), rows) for method in methods)
    trained = tuple(any(question.trained[method] for question in questions) for method in methods)
    groups = None
    if questions[0].groups is not None:
        groups = np.zeros(len(rows), dtype=np.int64)
        for question in questions:
            assert question.groups is not None, "all of them have groups, or none has"
            groups[np.searchsorted(rows, question.rows)] = question.groups
    return Question(name, "column_mean", rows, values, trained, None, 0, groups=groups)


def _mean_of_method(
    method: int, columns: Sequence[Sequence[Question]], rows: Int[np.ndarray, " rows"]
) -> Float[np.ndarray, "seeds rows"] | None:
    """None if it was not scored in all of them; over as many seeds as it has in all of them."""
    values = [[question.values[method] for question in levels] for levels in columns]
    seeds = min((0 if v is None else len(v)) for of_column in values for v in of_column)
    if not seeds:
        return None
    means = [
        np.mean([_on_rows(q, v[:seeds], rows) for q, v in zip(levels, of_column, strict=True) if v is not None], axis=0)
        for levels, of_column in zip(columns, values, strict=True)
    ]
    return np.mean(means, axis=0)


def _on_rows(
    question: Question, values: Float[np.ndarray, "seeds scored"], rows: Int[np.ndarray, " rows"]
) -> Float[np.ndarray, "seeds rows"]:
    """On the scale of `column_mean`, of more rows than were scored, with the same mean."""
    if question.measure == "level_error":
        values = error_to_share(values, question.classes)
    mean = values.mean(axis=1, keepdims=True)
    spread = np.zeros((len(values), len(rows)))
    spread[:, np.searchsorted(rows, question.rows)] = (values - mean) * (len(rows) / values.shape[1])
    return mean + spread


def error_to_share(error: Number, levels: int) -> Number:
    """An error in levels on a scale where 1 is perfect, and 0 as wrong as can be."""
    return 1 - error / max(levels - 1, 1)


def frame_of(scores: Scores) -> pl.DataFrame:
    """A row for each score of each method, in the order of the table."""
    rows = [
        {
            "method": method,
            "column": row.column,
            "role": "mean" if row.measure == "column_mean" else "held out" if row.held_out else row.role,
            "measure": row.measure,
            "value": cell.score.value,
            "low": cell.score.low,
            "high": cell.score.high,
            "seeds": cell.seeds,
            "standing": cell.standing,
            "trained": cell.trained,
        }
        for row in scores.comparison.columns
        for method, cell in zip(scores.comparison.methods, row.cells, strict=True)
        if cell is not None
    ]
    return pl.DataFrame(rows)
