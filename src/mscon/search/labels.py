"""Labels: the label columns of a run's rows, each read as its kind. Knows no vector."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool

from mscon.data.kinds import infer
from mscon.errors import RunError, first_few, nearest
from mscon.similarities.continuous import default_width, number_of
from mscon.similarities.multi_label import labels_of

Reads = Literal["class", "labels", "path", "level", "number"]
Agreement = Literal["same", "different", "unknown"]

# What a similarity of this name makes of the cells of its column; others are classes.
_READS: Mapping[str, Reads] = {
    "multi_label": "labels",
    "hierarchical": "path",
    "ordinal": "level",
    "continuous": "number",
}

# Of rows.parquet; all others are label columns, and split can be filtered by like one.
_OWN = ("line", "image")

# A kind shows in so many cells; more would take seconds.
_LOOKED_AT = 50_000

# A misspelt value is looked for among so many; more would take seconds.
_MOST_NAMES = 5_000


@dataclass(frozen=True, eq=False)
class LabelColumn:
    """A label column, as one kind.

    Attributes:
        name: its name.
        reads: "class", one name a cell; "labels", several; "path", from coarse to fine; "level", a name in an
            order; "number".
        cells: of all rows, null where missing.
        separator: between the labels or the levels of a cell.
        levels: from the first to the last, where they are known.
        width: two numbers this close are the same; 0 for equal ones only.
    """

    name: str
    reads: Reads
    cells: pl.Series
    separator: str = ""
    levels: tuple[str, ...] = ()
    width: float = 0.0

    @cached_property
    def counts(self) -> dict[str, int]:
        """Different cells, most frequent first, with how many rows have each; the missing are left out."""
        found = Counter(dict(self.cells.drop_nulls().value_counts().iter_rows()))
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    @cached_property
    def values(self) -> dict[str, int]:
        """What one can ask for, most frequent first: whole cells, or the labels in them, or paths with all above."""
        if self.reads not in ("labels", "path"):
            return self.counts
        found: Counter[str] = Counter()
        for cell, count in self.counts.items():
            for value in self._parts(cell):
                found[value] += count
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    def where(self, holds: Callable[[str], bool]) -> Bool[np.ndarray, " rows"]:
        """Rows whose cell is there and fulfils a condition, which is asked once for each different cell."""
        asked = [cell for cell in self.counts if holds(cell)]
        # A copy: what polars lends may not be written to, and torch warns of that.
        return np.array(self.cells.is_in(asked).fill_null(False).to_numpy())

    def holds(self, cell: str, value: str) -> bool:
        """Whether a cell carries a value: is it, has it among its labels, or lies below it on a path."""
        if self.reads == "labels":
            return cell == value or value.strip() in labels_of(cell, self.separator)
        if self.reads == "path":
            wanted = self._path(value)
            return self._path(cell)[: len(wanted)] == wanted
        if cell == value or cell.strip() == value.strip():
            return True
        if self.reads in ("number", "level"):
            number = number_of(value)
            return number is not None and number_of(cell) == number
        return False

    def place(self, cell: str) -> float | None:
        """Where a cell stands in the order of this column: its number, or the rank of its level."""
        if self.levels:
            return float(self.levels.index(cell.strip())) if cell.strip() in self.levels else None
        return number_of(cell)

    def agreement(self, one: str | None, other: str | None) -> Agreement:
        """Whether two cells say the same. Missing is missing, never different.

        Classes and levels: equal. Labels: one in common. Paths: equal; where one says less and does not
        contradict, nothing is known. Numbers: no further apart than `width`.
        """
        if one is None or other is None:
            return "unknown"
        if one == other:
            return "same"
        if self.reads == "labels":
            same = not labels_of(one, self.separator).isdisjoint(labels_of(other, self.separator))
        elif self.reads == "path":
            a, b = self._path(one), self._path(other)
            common = min(len(a), len(b))
            if a[:common] == b[:common] and len(a) != len(b):
                return "unknown"
            same = a == b
        elif self.reads == "number":
            left, right = number_of(one), number_of(other)
            if left is None or right is None:
                return "unknown"
            same = abs(left - right) <= self.width
        else:
            same = self.holds(one, other)
        return "same" if same else "different"

    def no_value(self, value: str) -> str:
        """The message about a value that no row has: what is near, and what there is."""
        near = nearest(value, list(self.values)[:_MOST_NAMES])
        listed = [f"'{name}' ({count:,})" for name, count in self.values.items()]
        numbers = [place for cell in self.counts if (place := number_of(cell)) is not None]
        if not listed:
            there = "It has no value at all."
        elif self.reads == "number" and numbers:
            low, high = min(numbers), max(numbers)
            there = f"It goes from {low:g} to {high:g}; ask for a range, such as {low:g}..{high:g}."
        else:
            there = f"It has {first_few(listed, 10)}."
        return f"column '{self.name}' has no value '{value}'.{near}\n  {there}"

    def _path(self, cell: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in cell.split(self.separator))

    def _parts(self, cell: str) -> Iterator[str]:
        if self.reads == "labels":
            yield from labels_of(cell, self.separator)
            return
        path = self._path(cell)
        for end in range(1, len(path) + 1):
            yield self.separator.join(path[:end])


@dataclass(frozen=True, eq=False)
class Labels:
    """All label columns of a run, read when they are asked for.

    Args:
        rows: of the run.
        recipe: of the run as plain values: nothing that it names is imported.
        states: what its similarities learnt, as the run keeps them.
    """

    rows: pl.DataFrame
    recipe: Mapping[str, Any]
    states: Sequence[Mapping[str, Any]] = ()
    _read: dict[str, LabelColumn] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the label columns, in the order of the table; the split is none, but can be asked for like one."""
        return tuple(name for name in self.rows.columns if name not in (*_OWN, "split"))

    @property
    def searchable(self) -> tuple[str, ...]:
        """Columns that a filter may name."""
        return (*self.names, "split")

    def __getitem__(self, name: str) -> LabelColumn:
        """A column by its name.

        Raises:
            RunError: if there is none.
        """
        if name not in self.searchable:
            listed = ", ".join(f"'{known}'" for known in self.searchable)
            raise RunError(f"there is no label column '{name}'.{nearest(name, self.searchable)}\n  Columns: {listed}.")
        if name not in self._read:
            self._read[name] = self._column(name)
        return self._read[name]

    def _column(self, name: str) -> LabelColumn:
        cells = self.rows.get_column(name).cast(pl.String)
        kind, settings = self._kind(name, cells)
        reads = _READS.get(kind, "class")
        if reads == "path" and settings.get("under"):
            return LabelColumn(name, "class", cells)  # each of several columns holds one level: a name
        separator = str(settings.get("separator", {"labels": ";", "path": "/"}.get(reads, "")))
        return LabelColumn(
            name, reads, cells, separator, tuple(settings.get("levels", ())), self._width(reads, settings, cells)
        )

    def _kind(self, name: str, cells: pl.Series) -> tuple[str, Mapping[str, Any]]:
        """The name of its kind and what is known of it: trained on, then probed, then as its cells look."""
        for part in self.recipe.get("similarity", ()):
            if part["column"] == name and part["name"] != "same_row":
                learnt = [s["state"] for s in self.states if s["state"].get("column") == name]
                state: Mapping[str, Any] = learnt[0] if learnt else {}
                return part["name"], {**part, **state}
        probe = self.recipe.get("probe", {})
        if name in probe.get("kinds", {}):
            given = probe["kinds"][name]
            return (given, {}) if isinstance(given, str) else (given.get("name", "categorical"), given)
        if name in probe.get("columns", ()) or name == "split":
            return "categorical", {}
        found = infer(cells.head(_LOOKED_AT).to_list())
        return found.kind or "categorical", found.settings

    def _width(self, reads: Reads, settings: Mapping[str, Any], cells: pl.Series) -> float:
        if reads != "number":
            return 0.0
        if settings.get("width"):
            return float(settings["width"])
        numbers = np.array([number_of(cell) or 0.0 for cell in cells.drop_nulls() if number_of(cell) is not None])
        return default_width(numbers) if len(np.unique(numbers)) > 1 else 0.0


def is_finite_number(value: object) -> bool:
    """Whether a value is a number that a cell could hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
