"""Label columns as plain numbers, kind by kind, the way a page compares them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int

Kind = Literal["category", "labels", "levels", "path", "number", "name"]
"""How two cells compare. "name": most cells differ, so they are shown and filtered by nothing."""

# Names of the similarity kinds in a run; a kind of the user's own is compared label by label.
_KINDS: dict[str, Kind] = {
    "categorical": "category",
    "multi_label": "labels",
    "ordinal": "levels",
    "hierarchical": "path",
    "continuous": "number",
}

# Told from cells alone: as `mscon check` does it, in short.
_NEARLY_ALL = 0.95
_FEW_NUMBERS = 20

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

Cell = str | None


@dataclass(frozen=True, eq=False, slots=True)
class Column:
    """One label column.

    Attributes:
        name: its header in the table.
        kind: how its cells compare.
        space: number of the similarity that was trained on it; None if none was.
        labels: what codes stand for; of a path the label with all that is above it.
        codes: [rows], -1 where missing; of "labels" the number of a set in `sets`. Empty for numbers.
        values: [rows] in the unit of the column, NaN where missing; empty for all but numbers.
        parts: of each path its levels, "" where nothing is below and None where it is not known.
        sets: of each set of labels their numbers.
        width: within which numbers are alike; NaN where that is not said.
    """

    name: str
    kind: Kind
    space: int | None
    labels: tuple[str, ...] = ()
    codes: Int[np.ndarray, " codes"] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    values: Float[np.ndarray, " values"] = field(default_factory=lambda: np.zeros(0))
    parts: tuple[tuple[str | None, ...], ...] = ()
    sets: tuple[tuple[int, ...], ...] = ()
    width: float = math.nan


def read_columns(
    rows: pl.DataFrame, similarities: Sequence[Mapping[str, Any]], leave_out: Sequence[str] = ()
) -> list[Column]:
    """All label columns: first those that a similarity was trained on, in the order of the similarities.

    Args:
        rows: of a run.
        similarities: as a run keeps them; nothing that they name is imported.
        leave_out: columns that are no labels.
    """
    found: list[Column] = []
    for space, similarity in enumerate(similarities):
        name = str(similarity["state"].get("column", ""))
        if name in rows.columns and name not in leave_out and name not in {column.name for column in found}:
            found.append(_trained(name, rows, similarity, space))
    taken = {column.name for column in found} | set(leave_out)
    return [*found, *(_untrained(name, rows[name].to_list()) for name in rows.columns if name not in taken)]


def number_of(cell: str) -> float | None:
    """The finite number that a cell writes, or None."""
    if not _NUMBER.fullmatch(cell.strip()):
        return None
    value = float(cell)
    return value if math.isfinite(value) else None


def _trained(name: str, rows: pl.DataFrame, similarity: Mapping[str, Any], space: int) -> Column:
    kind, state = _KINDS.get(str(similarity["name"]), "category"), similarity["state"]
    cells = _cells(rows, name)
    if kind == "number":
        return Column(name, kind, space, values=_values(cells), width=float(state.get("width", math.nan)))
    if kind == "levels":
        return _levels(name, cells, [str(level) for level in state.get("levels", ())], space)
    if kind == "labels":
        return _label_sets(name, cells, str(state.get("separator", ";")), space)
    if kind == "path":
        return _paths(name, rows, state, space)
    return _category(name, cells, space)


def _untrained(name: str, cells: Sequence[Cell]) -> Column:
    cells = [None if cell is None else str(cell) for cell in cells]
    known = [cell for cell in cells if cell is not None]
    counts = Counter(known)
    numbers = sum(count for cell, count in counts.items() if number_of(cell) is not None)
    if known and numbers >= _NEARLY_ALL * len(known) and len(counts) > _FEW_NUMBERS:
        return Column(name, "number", None, values=_values(cells))
    column = _category(name, cells, None)
    if known and sum(count == 1 for count in counts.values()) > len(known) / 2:
        return Column(name, "name", None, column.labels, column.codes)
    return column


def _cells(rows: pl.DataFrame, name: str) -> list[Cell]:
    return [None if cell is None else str(cell) for cell in rows[name].to_list()]


def _values(cells: Sequence[Cell]) -> Float[np.ndarray, " rows"]:
    read = [None if cell is None else number_of(cell) for cell in cells]
    return np.array([math.nan if value is None else value for value in read], dtype=np.float64)


def _category(name: str, cells: Sequence[Cell], space: int | None) -> Column:
    labels = tuple(sorted({cell for cell in cells if cell is not None}, key=_natural))
    return Column(name, "category", space, labels, _codes(cells, labels))


def _natural(label: str) -> tuple[bool, float, str]:
    """Numbers in their order, before words in theirs."""
    number = number_of(label)
    return (number is None, 0.0 if number is None else number, label)


def _codes(cells: Sequence[Any], labels: Sequence[Any]) -> Int[np.ndarray, " rows"]:
    index = {label: i for i, label in enumerate(labels)}
    return np.array([index.get(cell, -1) for cell in cells], dtype=np.int32)


def _levels(name: str, cells: Sequence[Cell], levels: list[str], space: int) -> Column:
    """Levels by name, or, where all are numbers, by their value: "1" and "1.0" are one level."""
    numbered = {number_of(level): level for level in levels}
    if None not in numbered and len(numbered) == len(levels):
        cells = [c if c is None or c in levels else numbered.get(number_of(c)) for c in cells]
    return Column(name, "levels", space, tuple(levels), _codes(cells, levels))


def _label_sets(name: str, cells: Sequence[Cell], separator: str, space: int) -> Column:
    held = [None if c is None else frozenset(p for part in c.split(separator) if (p := part.strip())) for c in cells]
    labels = tuple(sorted({label for labels in held if labels for label in labels}, key=_natural))
    index = {label: i for i, label in enumerate(labels)}
    # An empty set is a cell without a label: missing.
    coded = [tuple(sorted(index[label] for label in labels)) if labels else None for labels in held]
    sets = tuple(sorted({numbers for numbers in coded if numbers is not None}))
    return Column(name, "labels", space, labels, _codes(coded, sets), sets=sets)


def _paths(name: str, rows: pl.DataFrame, state: Mapping[str, Any], space: int) -> Column:
    under = [str(column) for column in state.get("under", ()) if column in rows.columns]
    separator = str(state.get("separator", "/"))
    if under:
        table = list(zip(*(_cells(rows, column) for column in (*under, name)), strict=True))
        read: list[tuple[str, ...]] = []
        for cells in table:
            said = [cell or "" for cell in cells]
            read.append(tuple(said[: said.index("")] if "" in said else said))
    else:
        read = [() if c is None else tuple(part.strip() for part in c.split(separator)) for c in _cells(rows, name)]
    paths = sorted({path for path in read if path})
    levels = max((len(path) for path in paths), default=0)
    # A path that none continues is complete: nothing is below it. Of an empty cell that is not known.
    continued = {path[:end] for path in paths for end in range(len(path))}

    def filled(path: tuple[str, ...]) -> tuple[str | None, ...]:
        rest = "" if not under and path not in continued else None
        return (*path, *[rest] * (levels - len(path)))

    labels = tuple((" / " if under else separator).join(path) for path in paths)
    return Column(name, "path", space, labels, _codes(read, paths), parts=tuple(filled(path) for path in paths))
