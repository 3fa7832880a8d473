"""Data: how many rows there are, what each label column holds, and where its cells are empty."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from mscon.errors import counted
from mscon.evaluate.report.gather import Gathered
from mscon.evaluate.report.summary import in_order, split_counts


@dataclass(frozen=True, slots=True)
class Empty:
    """Cells of one column without a label, in one split."""

    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class ColumnCensus:
    """One label column: its role, its values in words, and its empty cells by split."""

    name: str
    role: str
    values: str
    largest: float | None
    empty: tuple[Empty | None, ...]


@dataclass(frozen=True, slots=True)
class Census:
    """All label columns; `splits` with their rows, in the order of `ColumnCensus.empty`."""

    sentence: str
    splits: tuple[tuple[str, int], ...]
    columns: tuple[ColumnCensus, ...]


def census(gathered: Gathered) -> Census:
    """Counts of the rows that all runs saw."""
    rows = gathered.rows
    names = rows["split"].to_list()
    splits = in_order(names)
    columns = []
    for name in gathered.label_columns:
        cells = rows[name]
        training = sum(name in method.trained for method in gathered.methods)
        many = f"{training} of {len(gathered.methods)} methods"
        role = (many if len(gathered.methods) > 1 else "trained on") if training else "never trained on"
        role = role.replace(many, f"trained on by {many}") + ("" if name in gathered.probed_columns else ", not probed")
        empty = tuple(_empty(cells.filter(rows["split"] == split)) for split in splits)
        summary = gathered.labels[name].summary()
        largest = summary.majority_share if summary.classes and summary.labels_a_row is None else None
        columns.append(ColumnCensus(name, role, summary.words, largest, empty))
    sentence = f"{gathered.table}: {counted(rows.height, 'row')} used, {split_counts(names)}."
    if "unseen" in splits:
        sentence += " Rows of “unseen” belong to whole groups that training never saw."
    return Census(sentence, tuple((s, names.count(s)) for s in splits), tuple(columns))


def _empty(cells: pl.Series) -> Empty | None:
    return Empty(cells.null_count(), cells.null_count() / len(cells)) if len(cells) else None
