"""Label columns as plain numbers, by the geometry of their similarity, with the agreement that it gives values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float, Int

from mscon.data.label_columns import LabelColumn, LabelColumns
from mscon.similarities.base import BETWEEN_COLUMNS, Cell, Similarity
from mscon.similarities.categorical import Categorical
from mscon.similarities.continuous import Continuous, number_of

Kind = Literal["category", "labels", "levels", "path", "number", "name"]
"""How cells are shown and filtered. "name": most of them differ, so they are neither compared nor coloured."""

# Of more different values a table of their agreement would be larger than all else that a page says of them.
MOST_TABLED = 512

Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True, eq=False, slots=True)
class Alike:
    """How the values of a column agree, for who cannot ask its similarity.

    Attributes:
        is_equality: equal codes are the same, all others different.
        width: of numbers whose weight is exp(-(difference / width)^2 / 2); None of others.
        table: weights of all codes with all, NaN where unknown; of numbers, those in `values`. None where the above
            say it.
        values: numbers that the rows of the table are of; empty where it is of codes.
    """

    is_equality: bool = False
    width: float | None = None
    table: Float[np.ndarray, "codes codes"] | None = None
    values: Float[np.ndarray, " values"] = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, eq=False, slots=True)
class Column:
    """One label column.

    Attributes:
        name: its header in the table.
        kind: how it is shown.
        space: number of the similarity that was trained on it; None if none was.
        labels: what codes stand for, or, of "labels", what the numbers in `sets` do.
        codes: [rows], -1 where missing; of "labels" the number of a set in `sets`. Empty for numbers.
        values: [rows] in the unit of the column, NaN where missing; empty for all but numbers.
        parts: of each path its levels, as far as it goes.
        sets: of each set of labels their numbers.
        is_line: whether differences of values mean something.
        alike: how its values agree; None where that is not known, or there are too many of them.
        note: why `alike` is None; empty if it is not, or nothing is to be compared.
    """

    name: str
    kind: Kind
    space: int | None
    labels: tuple[str, ...] = ()
    codes: Int[np.ndarray, " codes"] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    values: Float[np.ndarray, " values"] = field(default_factory=lambda: np.zeros(0))
    parts: tuple[tuple[str, ...], ...] = ()
    sets: tuple[tuple[int, ...], ...] = ()
    is_line: bool = False
    alike: Alike | None = None
    note: str = ""


def read_columns(
    labels: LabelColumns, leave_out: Collection[str] = (), rows: Int[np.ndarray, " rows"] | None = None
) -> list[Column]:
    """The label columns: trained ones first, in the order of their similarities, and the split last.

    Args:
        labels: of a run.
        leave_out: columns that are no labels.
        rows: numbers of the rows to read; None for all.
    """
    columns = [labels[name] for name in labels.names if name not in leave_out]
    # The split is something to filter by, no label.
    columns = [*sorted(columns, key=lambda column: (column.space is None, column.space or 0)), labels["split"]]
    return [_read(column, column.read(None if rows is None else rows.tolist())) for column in columns]


def _read(column: LabelColumn, cells: Sequence[Cell]) -> Column:
    similarity = column.similarity
    if similarity is None or not column.is_label:
        return _category(column, cells)
    if similarity.target_kind == "number" and column.is_read_alone:
        return _numbers(column, similarity, cells)
    if similarity.target_kind == "rank" and column.is_read_alone:
        return _levels(column, similarity, cells)
    if similarity.geometry == "set":
        return _label_sets(column, similarity, cells)
    return _paths(column, similarity, cells) if similarity.geometry == "path" else _category(column, cells)


def _category(column: LabelColumn, cells: Sequence[Cell]) -> Column:
    if not column.is_label:
        labels, codes, _ = _coded(cells, lambda cell: cell)
        return Column(column.name, "name", column.space, tuple(labels), codes)
    labels, codes, first = _coded(cells, lambda cell: cell, _natural)
    shown = tuple(label.replace(BETWEEN_COLUMNS, " / ") for label in labels)
    alike, note = _alike(column, first)
    return Column(column.name, "category", column.space, shown, codes, alike=alike, note=note)


def _numbers(column: LabelColumn, similarity: Similarity, cells: Sequence[Cell]) -> Column:
    values = np.asarray(similarity.target(cells), dtype=np.float64)
    is_line = similarity.geometry == "line"
    known = np.flatnonzero(~np.isnan(values))
    different, first = np.unique(values[known], return_index=True)
    alike, note = _alike(column, [str(cells[row]) for row in known[first]], different)
    return Column(column.name, "number", column.space, values=values, is_line=is_line, alike=alike, note=note)


def _levels(column: LabelColumn, similarity: Similarity, cells: Sequence[Cell]) -> Column:
    """A code is the rank of a level."""
    ranks = np.asarray(similarity.target(cells), dtype=np.float64)
    codes, levels = np.where(np.isnan(ranks), -1, ranks).astype(np.int32), similarity.target_names
    alike, note = _alike(column, levels)
    is_line = similarity.geometry == "line"
    return Column(column.name, "levels", column.space, levels, codes, is_line=is_line, alike=alike, note=note)


def _label_sets(column: LabelColumn, similarity: Similarity, cells: Sequence[Cell]) -> Column:
    held, codes, first = _coded(cells, similarity.parts)
    labels = tuple(sorted({label for labels in held for label in labels}, key=_natural))
    index = {label: number for number, label in enumerate(labels)}
    sets = tuple(tuple(sorted(index[label] for label in labels)) for labels in held)
    alike, note = _alike(column, first)
    return Column(column.name, "labels", column.space, labels, codes, sets=sets, alike=alike, note=note)


def _paths(column: LabelColumn, similarity: Similarity, cells: Sequence[Cell]) -> Column:
    paths, codes, first = _coded(cells, similarity.parts)
    separator = " / " if len(similarity.columns) > 1 else getattr(similarity, "separator", " / ")
    labels = tuple(separator.join(path) for path in paths)
    alike, note = _alike(column, first)
    return Column(column.name, "path", column.space, labels, codes, parts=tuple(paths), alike=alike, note=note)


def _coded(
    cells: Sequence[Cell], read: Callable[[str], Value], key: Callable[[Value], object] | None = None
) -> tuple[list[Value], Int[np.ndarray, " rows"], list[str]]:
    """The different values that cells hold, sorted; a code a row, -1 for none; and a cell that holds each value."""
    held = {cell: value for cell in dict.fromkeys(cells) if cell is not None and (value := read(cell))}
    values = sorted(set(held.values()), key=key)  # type: ignore[type-var, arg-type]
    index = {value: code for code, value in enumerate(values)}
    first = {value: cell for cell, value in reversed(held.items())}
    codes = np.array([index[held[cell]] if cell in held else -1 for cell in cells], dtype=np.int32)
    return values, codes, [first[value] for value in values]


def _natural(label: str) -> tuple[bool, float, str]:
    """Numbers in their order, before words in theirs."""
    number = number_of(label)
    return (number is None, 0.0 if number is None else number, label)


def _alike(
    column: LabelColumn, cells: Sequence[str], values: Float[np.ndarray, " codes"] | None = None
) -> tuple[Alike | None, str]:
    """How different values agree, by a cell of each; or None, and why."""
    similarity, count = column.similarity, len(cells)
    if similarity is None:
        return None, column.note
    if type(similarity) is Continuous:  # not of a subclass, which may compare otherwise
        return Alike(width=similarity.width), ""
    if count <= MOST_TABLED:
        table = similarity.agreement([one for one in cells for _ in cells], list(cells) * count).reshape(count, count)
        if np.array_equal(table, np.eye(count)) and values is None:
            return Alike(is_equality=True), ""
        return Alike(table=table, values=np.zeros(0) if values is None else values), ""
    if type(similarity) is Categorical:
        return Alike(is_equality=True), ""
    return None, (
        f"Agreement in '{column.name}' is not shown: it has {count:,} different values, more than {MOST_TABLED}"
    )
