"""The label columns of a run, each with the similarity that reads and compares its cells."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from mscon.data.batches.dataset import cells_of
from mscon.data.check.label_summary import LabelSummary, most_frequent_first, summarise
from mscon.data.table.infer_kind import infer
from mscon.errors import RecipeError, RunError, TableError, first_few, nearest
from mscon.method import catalogue
from mscon.method.similarities.base import Cell, Geometry, MalformedCells, Similarity
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import number_of
from mscon.run.parts import SAME_ROW, TEACHER

# Columns of rows.parquet that say where a row stands. All others are label columns; split can be filtered by like one.
_PLACES = ("line", "image")

# A kind shows in so many cells; more would take seconds.
_LOOKED_AT = 50_000

# A misspelt value is looked for among so many; more would take seconds.
_MOST_NAMES = 5_000


@dataclass(frozen=True, eq=False)
class LabelColumn:
    """A label column, with the similarity that reads it.

    Attributes:
        name: its name.
        rows: of the run, all columns.
        similarity: the one that was trained on it; else what [probe] says of it; else as its cells look. None where
            that may not be imported.
        space: number of the similarity that was trained on it; None if none was.
        is_label: False for what looks like free text or row numbers: nothing that rows are compared by.
        note: why nothing is known of its agreement; empty if something is.
    """

    name: str
    rows: pl.DataFrame
    similarity: Similarity | None
    space: int | None = None
    is_label: bool = True
    note: str = ""

    @cached_property
    def cells(self) -> pl.Series:
        """Its own cells as text, null where missing."""
        return self.rows.get_column(self.name).cast(pl.String)

    @property
    def is_read_alone(self) -> bool:
        """Whether the similarity reads its own cells, and not those of several columns joined."""
        return self.similarity is not None and self.similarity.columns == (self.name,)

    @property
    def geometry(self) -> Geometry:
        """The geometry of its own cells. Of several columns that one similarity reads, each holds names."""
        return self.similarity.geometry if self.similarity is not None and self.is_read_alone else "class"

    @property
    def is_ordered(self) -> bool:
        """Whether the similarity says a number, or the rank of a level, of each cell."""
        similarity = self.similarity
        return similarity is not None and similarity.target_kind in ("number", "rank") and self.is_read_alone

    @property
    def levels(self) -> tuple[str, ...]:
        """From the first to the last, where the values are levels of an order."""
        similarity = self.similarity
        return similarity.target_names if similarity is not None and similarity.target_kind == "rank" else ()

    def read(self, rows: Sequence[int] | None = None) -> list[Cell]:
        """The cells of some rows as the similarity reads them; of several columns joined.

        Args:
            rows: their numbers; None for all.
        """
        names = (self.similarity.columns if self.similarity is not None else ()) or (self.name,)
        if rows is None:
            return cells_of(self.rows, names)
        places = np.asarray(rows, dtype=np.int64)
        return cells_of(pl.DataFrame([self.rows.get_column(name).gather(places) for name in names]), names)

    def summary(self, rows: Sequence[int] | None = None) -> LabelSummary:
        """What the column holds in some rows, as `mscon check` says it of training rows.

        Args:
            rows: their numbers; None for all.
        """
        return summarise(self.read(rows), self.similarity)

    def agreement(self, cells: Sequence[Cell], others: Sequence[Cell]) -> Float[np.ndarray, " pairs"]:
        """See `Similarity.agreement`; all unknown where there is no similarity."""
        if self.similarity is None:
            return np.full(len(cells), np.nan)
        return self.similarity.agreement(cells, others)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Different cells, most frequent first, with how many rows have each; the missing are left out."""
        return most_frequent_first(dict(self.cells.drop_nulls().value_counts().iter_rows()))

    @cached_property
    def values(self) -> dict[str, int]:
        """Values that a filter can name, most frequent first: cells, labels of sets, or paths and their ancestors."""
        if self.similarity is None or self.geometry not in ("set", "path"):
            return self.counts
        values: Counter[str] = Counter()
        for cell, count in self.counts.items():
            parts = self.similarity.parts(cell)
            if self.geometry == "path":
                separator = getattr(self.similarity, "separator", "/")
                parts = tuple(separator.join(parts[:end]) for end in range(1, len(parts) + 1))
            for part in parts:
                values[part] += count
        return most_frequent_first(values)

    @cached_property
    def places(self) -> dict[str, float]:
        """The place of each different cell in the order of the column; cells without a place are left out."""
        return self._placed(list(self.counts))

    def where(self, holds: Callable[[str], bool]) -> Bool[np.ndarray, " rows"]:
        """Rows whose cell fulfils a condition, which is evaluated once for each different cell."""
        fulfil = [cell for cell in self.counts if holds(cell)]
        # A copy: what polars lends may not be written to, and torch warns of that.
        return np.array(self.cells.is_in(fulfil).fill_null(False).to_numpy())

    def holds(self, cell: str, value: str) -> bool:
        """Whether a cell carries a value: is it, has it among its labels, or lies below it on a path."""
        if cell == value or cell.strip() == value.strip():
            return True
        if self.similarity is not None and self.geometry == "set":
            return value.strip() in self.similarity.parts(cell)
        if self.similarity is not None and self.geometry == "path":
            above = self.similarity.parts(value)
            return self.similarity.parts(cell)[: len(above)] == above
        return self.is_ordered and (place := self.place(value)) is not None and self.place(cell) == place

    def place(self, cell: str) -> float | None:
        """Where a cell stands in the order of this column: its number, or the rank of its level."""
        return self.places[cell] if cell in self.places else self._placed([cell.strip()]).get(cell.strip())

    def no_value(self, value: str) -> str:
        """The message about a value that no row has, with similar values and those that occur."""
        near = nearest(value, list(self.values)[:_MOST_NAMES])
        listed = [f"'{name}' ({count:,})" for name, count in self.values.items()]
        if not listed:
            there = "It has no value at all."
        elif self.is_ordered and not self.levels and self.places:
            low, high = min(self.places.values()), max(self.places.values())
            there = f"It goes from {low:g} to {high:g}; ask for a range, such as {low:g}..{high:g}."
        else:
            there = f"It has {first_few(listed, 10)}."
        return f"column '{self.name}' has no value '{value}'.{near}\n  {there}"

    def _placed(self, cells: Sequence[str]) -> dict[str, float]:
        if self.is_ordered and self.similarity is not None:
            places = self.similarity.target(cells).tolist()
            return {cell: place for cell, place in zip(cells, places, strict=True) if place == place}
        # Of classes that are numbers one may ask for a range too.
        return {cell: place for cell in cells if (place := number_of(cell)) is not None}


@dataclass(frozen=True, eq=False)
class LabelColumns:
    """All label columns of a run, read when they are asked for.

    Args:
        rows: of the run.
        recipe: of the run as plain values.
        states: what its similarities learnt, as the run keeps them.
        trust: whether similarities from outside mscon ("pkg.mod:Class") may be imported. Without it nothing is known
            of the agreement of their columns, and `notes` says so.
    """

    rows: pl.DataFrame
    recipe: Mapping[str, Any]
    states: Sequence[Mapping[str, Any]] = ()
    trust: bool = False
    _read: dict[str, LabelColumn] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the label columns, in the order of the table; the split is none, but can be asked for like one."""
        return tuple(name for name in self.rows.columns if name not in (*_PLACES, "split"))

    @property
    def searchable(self) -> tuple[str, ...]:
        """Columns that a filter may name."""
        return (*self.names, "split")

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on columns of whose agreement nothing is known though a similarity of their own is named."""
        named = (*self.trained, *self.recipe.get("probe", {}).get("kinds", {}))
        return tuple(note for name in dict.fromkeys(named) if name in self.names and (note := self[name].note))

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

    @cached_property
    def trained(self) -> dict[str, int]:
        """Columns that a similarity was trained on, with its number. That of `same_row` or `teacher` is only a name."""
        columns = [str(record["state"].get("column", "")) for record in self.states]
        named = {column: number for number, column in reversed(list(enumerate(columns)))}
        return {c: n for c, n in named.items() if c in self.names and self.states[n]["name"] not in (SAME_ROW, TEACHER)}

    def _column(self, name: str) -> LabelColumn:
        if name in self.trained:
            return self._trained_column(name, self.trained[name])
        probe = self.recipe.get("probe", {})
        if name in probe.get("kinds", {}):
            return self._probed_column(name, probe["kinds"][name])
        if name in probe.get("columns", ()) or name == "split":
            return LabelColumn(name, self.rows, Categorical(name, ()))
        return self._fitted(name, *_as_it_looks(self.rows.get_column(name).cast(pl.String)))

    def _trained_column(self, name: str, number: int) -> LabelColumn:
        record = self.states[number]
        kind, note = self._kind(name, str(record["name"]))
        if kind is None:
            return LabelColumn(name, self.rows, None, number, note=note)
        try:
            similarity = kind.from_json(record["state"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"similarities.json: '{record['name']}' cannot be rebuilt from its record for column '{name}' "
                f"({error!r}). Restore the file from a copy of the run, or train again."
            ) from None
        return LabelColumn(name, self.rows, similarity, number)

    def _probed_column(self, name: str, value: str | Mapping[str, Any]) -> LabelColumn:
        settings = {"name": value} if isinstance(value, str) else dict(value)
        kind, note = self._kind(name, str(settings.pop("name", "categorical")))
        return LabelColumn(name, self.rows, None, note=note) if kind is None else self._fitted(name, kind, settings)

    def _kind(self, column: str, name: str) -> tuple[type[Similarity] | None, str]:
        """The class of a similarity; or None, and why not."""
        unknown = f"agreement of column '{column}' is not known: its kind {name}"
        if ":" in name and not self.trust:
            return None, f"{unknown} is not imported without --trust"
        try:
            return catalogue.find("similarity", name), ""
        except RecipeError as error:
            return None, f"{unknown} cannot be used: {error}"

    def _fitted(self, name: str, kind: type[Similarity] | None, settings: Mapping[str, Any]) -> LabelColumn:
        """A column that nothing was trained on: read as a kind, by the values of all rows, as far as it can read them.

        Names need no fit, and are taken where the kind can make nothing of the column.
        """
        similarity: Similarity = Categorical(name, ())
        if kind is not None and kind is not Categorical:
            with contextlib.suppress(TableError, RecipeError):
                cells = cells_of(self.rows, (*settings.get("under", ()), name))
                similarity = _fit(kind, name, cells, settings)
        return LabelColumn(name, self.rows, similarity, is_label=kind is not None)


def _fit(kind: type[Similarity], name: str, cells: Sequence[Cell], settings: Mapping[str, Any]) -> Similarity:
    """Fitted on all cells that the kind can read."""
    try:
        return kind.fit(name, cells, range(len(cells)), **settings)
    except MalformedCells as error:
        malformed = {number for number, _ in error.faults}
        cells = [None if number in malformed else cell for number, cell in enumerate(cells)]
        return kind.fit(name, cells, range(len(cells)), **settings)


def _as_it_looks(cells: pl.Series) -> tuple[type[Similarity] | None, Mapping[str, Any]]:
    """The kind that `infer` proposes, and its settings; None for what is no label."""
    looks = infer(cells.head(_LOOKED_AT).to_list())
    return (None if looks.kind is None else catalogue.find("similarity", looks.kind)), looks.settings
