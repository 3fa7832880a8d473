"""What was taken for what, as a table that can be read without colour: classes, levels, fifths of numbers, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int, Shaped

from mscon.data.table.cell_text import number_text
from mscon.evaluate.report.methods import Member
from mscon.evaluate.report.probe_scores import name_of

MOST_CLASSES = 30


@dataclass(frozen=True, slots=True)
class Mistake:
    """A class taken for another."""

    true: str
    predicted: str
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """Confusion of one column: how many rows of each true class (a line) were predicted as which.

    Above 30 classes it has mistakes only.
    """

    column: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...]

    @property
    def is_wide(self) -> bool:
        return len(self.classes) > 12


def confusion(column: str, classes: Sequence[str], counts: Int[np.ndarray, "true predicted"]) -> Confusion:
    """The counts, and the most frequent mistakes with their share of the true class."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:5]
    mistakes = tuple(
        Mistake(classes[t], classes[p], int(wrong[t, p]), float(wrong[t, p] / counts[t].sum()))
        for t, p in (np.unravel_index(flat, wrong.shape) for flat in order)
        if wrong[t, p] > 0
    )
    table = tuple(tuple(line) for line in counts.tolist()) if len(classes) <= MOST_CLASSES else ()
    return Confusion(column, tuple(classes), table, mistakes)


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One label of a set: rows that have it, shares of them that were found, and of those named that have it."""

    name: str
    rows: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, slots=True)
class ColumnLabels:
    """All labels of one column, the rarest found first."""

    column: str
    labels: tuple[LabelScores, ...]


def confusions(member: Member) -> tuple[list[Confusion], list[ColumnLabels]]:
    """Of each linear probe of a run: confusions of classes, levels and numbers; and what became of each label."""
    run = member.run
    arrays = run.read_predictions()
    matrices, sets = [], []
    for i, record in enumerate(run.read_probe().get("linear", [])):
        name, kind = name_of(record), record.get("kind", "class")
        if record.get("confusion"):
            matrices.append(confusion(name, record["classes"], np.asarray(record["confusion"], dtype=np.int64)))
            continue
        true, predicted = (arrays.get(f"linear/{i}/{what}") for what in ("true", "predicted"))
        if true is None or predicted is None or not len(true):
            continue
        if kind == "rank":
            matrices.append(confusion(name, record["classes"], _counts(true, predicted, len(record["classes"]))))
        elif kind == "number":
            matrices.append(of_numbers(name, true, predicted))
        elif kind == "labels":
            sets.append(of_labels(name, record["classes"], true, predicted))
    return matrices, sets


def of_numbers(column: str, true: Shaped[np.ndarray, " rows"], predicted: Shaped[np.ndarray, " rows"]) -> Confusion:
    """Numbers as fifths of the true ones: which fifth was taken for which."""
    ends = np.unique(np.quantile(true.astype(np.float64), np.linspace(0, 1, 6), method="higher"))[1:-1]
    codes = [np.searchsorted(ends, values.astype(np.float64), side="right") for values in (true, predicted)]
    bounds = [number_text(end) for end in ends]
    between = (f"{low} to <{high}" for low, high in pairwise(bounds))
    names = [f"below {bounds[0]}", *between, f"{bounds[-1]} or more"] if bounds else ["all"]
    return confusion(column, names, _counts(codes[0], codes[1], len(names)))


def of_labels(
    column: str,
    names: Sequence[str],
    true: Shaped[np.ndarray, "rows labels"],
    predicted: Shaped[np.ndarray, "rows labels"],
) -> ColumnLabels:
    """Of each label recall and precision, the lowest recall first; None where no row has it, or was said to have it."""
    has, claims = true.astype(bool), predicted.astype(bool)
    counts = zip(has.sum(axis=0), claims.sum(axis=0), (has & claims).sum(axis=0), strict=True)
    labels = [
        LabelScores(name, int(rows), float(both / rows) if rows else None, float(both / claimed) if claimed else None)
        for name, (rows, claimed, both) in zip(names, counts, strict=True)
    ]
    return ColumnLabels(column, tuple(sorted(labels, key=lambda label: 2.0 if label.recall is None else label.recall)))


def _counts(
    true: Shaped[np.ndarray, " rows"], predicted: Shaped[np.ndarray, " rows"], classes: int
) -> Int[np.ndarray, "classes classes"]:
    """How many rows of each true class were taken for which."""
    pairs = true.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
