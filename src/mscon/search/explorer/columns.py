"""Label columns as plain numbers, by the geometry of their similarity, with the agreement that it gives values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float, Int

from mscon.data.table.label_columns import LabelColumn, LabelColumns
from mscon.method.similarities.base import BETWEEN_COLUMNS, Cell
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous, number_of
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.multi_label import MultiLabel

Kind = Literal["category", "labels", "levels", "path", "number", "name"]
"""How cells are shown and filtered. "name": texts of which most differ, so they are neither compared nor coloured."""

UNCERTAINTY = "row uncertainty"
"""Name of the column that is no label column: how uncertain each row is, see `mscon.model.row_uncertainty`."""

# Of more different values a table of their agreement would be larger than all else that a page holds of them. Sets,
# paths and numbers need none: the page computes their agreement.
MOST_TABLED = 700

Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True, eq=False, slots=True)
class Alike:
    """How the values of a column agree, for a page that cannot call its similarity. One of the attributes says it.

    Attributes:
        is_equality: equal codes are the same, all others different.
        width: of numbers whose weight is exp(-(difference / width)^2 / 2).
        sets: of each code the numbers of the labels that the similarity knows, and how it compares sets.
        levels: of each code the number of its class at each level of a tree, -1 from where nothing is known.
        table: weights of all codes with all, NaN where unknown; of numbers, those in `values`.
        values: numbers that the rows of the table are of; empty where it is of codes.
    """

    is_equality: bool = False
    width: float | None = None
    sets: tuple[tuple[tuple[int, ...], ...], str] | None = None
    levels: Int[np.ndarray, "codes levels"] | None = None
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
        codes: [rows], -1 where missing; of "labels" the number of a set in `sets`. Empty for numbers and names.
        texts: [rows] of "name", None where missing; empty for all others.
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
    texts: tuple[str | None, ...] = ()
    parts: tuple[tuple[str, ...], ...] = ()
    sets: tuple[tuple[int, ...], ...] = ()
    is_line: bool = False
    alike: Alike | None = None
    note: str = ""

    def __getitem__(self, rows: Int[np.ndarray, " some"]) -> Column:
        """The same column of some rows."""
        texts = tuple(self.texts[row] for row in rows) if self.texts else ()
        codes, values = (array[rows] if len(array) else array for array in (self.codes, self.values))
        return replace(self, codes=codes, values=values, texts=texts)

    def cell(self, row: int) -> float | int | str | None:
        """What the page is sent of a row: a code, a number or a text; None for a number or text that is missing."""
        if self.kind == "name":
            return self.texts[row]
        if self.kind != "number":
            return int(self.codes[row])
        return None if np.isnan(self.values[row]) else float(self.values[row])

    def counts(self) -> dict[str, Any]:
        """How many of its rows have each code, and how many have none."""
        if self.kind in ("number", "name"):
            missing = np.isnan(self.values) if self.kind == "number" else [text is None for text in self.texts]
            return {"counts": [], "blank": int(np.sum(missing))}
        known = self.codes[self.codes >= 0]
        counts = np.bincount(known, minlength=len(self.sets or self.labels))
        return {"counts": counts.tolist(), "blank": len(self.codes) - len(known)}


def read_columns(
    labels: LabelColumns,
    leave_out: Collection[str] = (),
    rows: Int[np.ndarray, " rows"] | None = None,
    uncertainty: Float[np.ndarray, " all_rows"] | None = None,
) -> list[Column]:
    """The label columns: trained ones first, in the order of their similarities; `UNCERTAINTY`; and the split last.

    Args:
        labels: of a run.
        leave_out: columns that are no labels.
        rows: numbers of the rows to read; None for all.
        uncertainty: of all rows; None where it is not known.
    """
    columns = [labels[name] for name in labels.names if name not in leave_out]
    # The split is something to filter by, no label.
    columns = [*sorted(columns, key=lambda column: (column.space is None, column.space or 0)), labels["split"]]
    *read, split = [_read(column, column.read(None if rows is None else rows.tolist())) for column in columns]
    if uncertainty is not None and UNCERTAINTY not in labels.names:
        values = (uncertainty if rows is None else uncertainty[rows]).astype(np.float64).round(3)
        read.append(Column(UNCERTAINTY, "number", None, values=values, is_line=True))
    return [*read, split]


def _read(column: LabelColumn, cells: Sequence[Cell]) -> Column:
    read, values = _values(column, cells)
    alike, note = _alike(column, values, read.values) if column.is_label else (None, "")
    return replace(read, alike=alike, note=note)


def _values(column: LabelColumn, cells: Sequence[Cell]) -> tuple[Column, Sequence[str]]:
    """The column by its geometry, and of each of its different values a cell that holds it."""
    name, space, similarity = column.name, column.space, column.similarity
    is_line = column.geometry == "line"
    if similarity is not None and column.is_ordered:
        places = np.asarray(similarity.target(cells), dtype=np.float64)
        if column.levels:
            ranks = np.where(np.isnan(places), -1, places).astype(np.int32)
            return Column(name, "levels", space, column.levels, ranks, is_line=is_line), column.levels
        known = np.flatnonzero(~np.isnan(places))
        first = known[np.unique(places[known], return_index=True)[1]]
        return Column(name, "number", space, values=places, is_line=is_line), [str(cells[row]) for row in first]
    if similarity is not None and similarity.geometry == "set":
        sets_of_labels, codes, values = _coded(cells, similarity.parts)
        labels = tuple(sorted({label for labels in sets_of_labels for label in labels}, key=_natural))
        index = {label: number for number, label in enumerate(labels)}
        sets = tuple(tuple(sorted(index[label] for label in labels)) for labels in sets_of_labels)
        return Column(name, "labels", space, labels, codes, sets=sets), values
    if similarity is not None and similarity.geometry == "path":
        paths, codes, values = _coded(cells, similarity.parts)
        separator = getattr(similarity, "separator", " / ") if column.is_read_alone else " / "
        return Column(name, "path", space, tuple(map(separator.join, paths)), codes, parts=tuple(paths)), values
    if not column.is_label:
        return Column(name, "name", space, texts=tuple(cells)), ()
    names, codes, values = _coded(cells, lambda cell: cell, _natural)
    return Column(name, "category", space, tuple(n.replace(BETWEEN_COLUMNS, " / ") for n in names), codes), values


def _coded(
    cells: Sequence[Cell], read: Callable[[str], Value], key: Callable[[Value], object] | None = None
) -> tuple[list[Value], Int[np.ndarray, " rows"], list[str]]:
    """The different values that cells hold, sorted; a code a row, -1 for none; and a cell that holds each value."""
    value_of = {cell: value for cell in dict.fromkeys(cells) if cell is not None and (value := read(cell))}
    values = sorted(set(value_of.values()), key=key)  # type: ignore[type-var, arg-type]
    index = {value: code for code, value in enumerate(values)}
    first = {value: cell for cell, value in reversed(value_of.items())}
    codes = np.array([index[value_of[cell]] if cell in value_of else -1 for cell in cells], dtype=np.int32)
    return values, codes, [first[value] for value in values]


def _natural(label: str) -> tuple[bool, float, str]:
    """Numbers in their order, before words in theirs."""
    number = number_of(label)
    return (number is None, 0.0 if number is None else number, label)


def _alike(column: LabelColumn, cells: Sequence[str], numbers: Float[np.ndarray, " rows"]) -> tuple[Alike | None, str]:
    """How different values agree, by a cell of each; or None, and why."""
    similarity, count = column.similarity, len(cells)
    if similarity is None:
        return None, column.note
    # Not of subclasses, which may compare otherwise.
    if type(similarity) is Continuous:
        return Alike(width=similarity.width), ""
    if type(similarity) is MultiLabel:
        known = (np.flatnonzero(code) for code in similarity.encode(cells).numpy())
        return Alike(sets=(tuple(tuple(code.tolist()) for code in known), similarity.alike)), ""
    if type(similarity) is Hierarchical:
        return Alike(levels=similarity.encode(cells).numpy()), ""
    if count <= MOST_TABLED:
        table = similarity.agreement([one for one in cells for _ in cells], list(cells) * count).reshape(count, count)
        if np.array_equal(table, np.eye(count)):
            return Alike(is_equality=True), ""
        return Alike(table=table, values=np.unique(numbers[~np.isnan(numbers)])), ""
    if type(similarity) is Categorical:
        return Alike(is_equality=True), ""
    return None, (
        f"Agreement in '{column.name}' is not shown: it has {count:,} different values, more than {MOST_TABLED}"
    )
