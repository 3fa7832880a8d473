"""Queries: examples of what one looks for, or does not want, as a user gives them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from mscon.data.inputs.boxes import image_path
from mscon.data.table.label_columns import LabelColumn, LabelColumns
from mscon.errors import RunError, counted, nearest, shortened
from mscon.method.agreement import in_words
from mscon.method.similarities.base import Cell
from mscon.search.example import Example
from mscon.search.filters import Condition, conditions, parse, rows_of
from mscon.search.new_rows import NewRows
from mscon.search.spaces import Spaces, unit

# Misspelt image paths are looked for among so many; more would take seconds.
_MOST_NAMES = 5_000


@dataclass(frozen=True)
class Examples:
    """Reads examples as a user gives them.

    Args:
        rows: of the run.
        labels: of these rows.
        spaces: their vectors.
        new: reads what is no row of the run.
        name: what messages call the run.
    """

    rows: pl.DataFrame
    labels: LabelColumns
    spaces: Spaces
    new: NewRows
    name: str

    def listed(self, query: Any) -> list[tuple[Any, ...]]:
        """Examples with their weights: of one, or of a list in which each may be a pair (example, weight)."""
        listed = list(query) if isinstance(query, list | tuple) else [query]
        return [one if isinstance(one, tuple) else (one, 1.0) for one in listed]

    def read(self, pair: tuple[Any, ...]) -> Example:
        """One example, with its weight.

        Args:
            pair: the example, see `Index.search`, and its weight.

        Text is, the first that fits: "line:18" or "row:17"; the number of a row; an image as the table has it; cells
        or a vector as JSON; a file; a label ("kind=boots"); in runs on texts a new text. "file:17" is a file,
        "label:kind=boots" a label, "text:kind=boots" a new text.

        Raises:
            RunError: if there is no such row, line, column, label or file; for what the run cannot encode; and for a
                weight that is no number above 0.
            TableError: for a file or cells that cannot be used.
        """
        if len(pair) != 2:
            raise RunError(f"an example with its weight is a pair, such as (17, 2), got {shortened(pair)}.")
        query, weight = pair
        example = self._unweighted(query)
        try:
            weight = float(weight)
        except (TypeError, ValueError, OverflowError):
            weight = math.nan
        if not (math.isfinite(weight) and weight > 0):
            raise RunError(
                f"the weight of query '{example.wording}' must be a number above 0, got {shortened(pair[1])}. "
                "To search away from something, name it as unlike."
            )
        return replace(example, weight=weight)

    def _unweighted(self, query: Any) -> Example:
        if isinstance(query, int | np.integer) and not isinstance(query, bool):
            return self._row(int(query), f"row {query}")
        if isinstance(query, Mapping):
            if any(name in self.new.columns for name in query):
                return self._cells(query)
            return self._middle(conditions(query, self.labels))
        if isinstance(query, os.PathLike):
            return self._named(str(query)) or self._file(str(query))
        if isinstance(query, str):
            return self._text(query)
        return self.new.read(query, "a new row")

    def _text(self, text: str) -> Example:
        kind, colon, rest = text.partition(":")
        if colon and kind in ("row", "line"):
            if not _is_whole(rest):
                raise RunError(f"query '{text}': '{rest}' is no number of a {kind}. {self._forms}")
            return self._row(int(rest), text) if kind == "row" else self._line(int(rest))
        if colon and kind == "label":
            return self._middle([parse(rest, self.labels)])
        if colon and kind == "file":
            return self._file(rest)
        if colon and kind == "text":
            return self._new_text(rest, text)
        if _is_whole(text):
            return self._row(int(text), f"row {text}")
        if (example := self._named(text)) is not None:
            return example
        if (text[:1], text[-1:]) in (("{", "}"), ("[", "]")):
            return self._json(text)
        if os.path.isfile(image_path(text)) and self.new.input != "text":
            return self._file(text)
        if "=" in text:
            return self._middle([parse(text, self.labels)])
        if self.new.input == "text" and text.strip():
            return self._new_text(text, text)
        if Path(text).suffix or os.sep in text:
            return self._file(text)
        raise RunError(f"query '{text}' is nothing that {self.name} knows.{self._near(text)}\n  {self._forms}")

    @property
    def _forms(self) -> str:
        """What a query may be."""
        image = "its image as the table has it, " if self._has_images else ""
        return (
            f"A query is the number of a row (17), its line in the table (line:18), {image}a label (kind=boots) for "
            f"the mean of all rows that have it, or {self.new.form}."
        )

    @property
    def _has_images(self) -> bool:
        return self.new.input == "image" and "image" in self.rows.columns

    def _new_text(self, text: str, query: str) -> Example:
        self.new.need("text", query)
        return self.new.read(text, f'the text "{_short(text)}"')

    def _json(self, text: str) -> Example:
        """A vector or cells as JSON. NaN, which JSON does not know, is read, so that the message is about it."""
        self.new.need("columns" if text[0] == "{" else "vectors", _short(text))
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RunError(f"query '{_short(text)}' is no JSON: {str(error)[:200]}.") from None
        return self._cells(value) if isinstance(value, dict) else self.new.read(value, f"the vector {_short(text)}")

    def _cells(self, cells: Mapping[str, Any]) -> Example:
        return self.new.read(cells, _short(f"the row {', '.join(f'{name}={cell}' for name, cell in cells.items())}"))

    def _row(self, row: int, wording: str) -> Example:
        if not 0 <= row < self.spaces.rows:
            raise RunError(
                f"there is no row {row} in {self.name}: rows go from 0 to {self.spaces.rows - 1:,}.\n"
                f"  For line {row} of the table write line:{row}."
            )
        return Example(wording, lambda: self.spaces.vectors([row])[:, 0], row)

    def _line(self, line: int) -> Example:
        at = _first(self.rows.get_column("line").cast(pl.String) == str(line))
        if at is None:
            lines = self.rows.get_column("line").to_list()
            raise RunError(
                f"line {line} of the table is no row of {self.name}: its rows stand on lines {min(lines)} to "
                f"{max(lines)}, and some may have been left out."
            )
        return self._row(at, f"line {line}")

    def _named(self, image: str) -> Example | None:
        """The first row that has this image."""
        if not self._has_images or not image:
            return None
        at = _first(self.rows.get_column("image").cast(pl.String) == image)
        return None if at is None else self._row(at, image)

    def _file(self, path: str) -> Example:
        if self.new.input == "text":
            raise RunError(f"query '{path}': {self.name} takes no files as queries.\n  {self._forms}")
        if not os.path.isfile(image_path(path)):  # unlike Path.is_file it takes names of any length
            what = "is a folder" if os.path.isdir(path) else "does not exist"
            row = f"no row of {self.name} has this image, and " if self._has_images else ""
            raise RunError(f"query '{path}': {row}the file {what}.{self._near(path)}\n  {self._forms}")
        return self.new.read(Path(path), path)

    def _middle(self, labels: Sequence[Condition]) -> Example:
        if not labels:
            raise RunError(f"a label is missing. {self._forms}")
        mask = rows_of(labels, self.labels)
        assert mask is not None
        rows = np.flatnonzero(mask)
        wording = f"the mean of {counted(len(rows), 'row')} with {', '.join(map(str, labels))}"
        return Example(wording, lambda: unit(self.spaces.mean(rows)), carries=tuple(labels))

    def _near(self, text: str) -> str:
        if not self._has_images:
            return ""
        return nearest(text, self.rows.get_column("image").cast(pl.String).drop_nulls().head(_MOST_NAMES).to_list())


def agreement_with(
    like: Sequence[Example], column: LabelColumn, rows: Int[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """How alike some rows are, in one column, to what all examples say alike; NaN where these differ or say nothing.

    A row that carries the label of an example is as alike as can be, whatever else it carries.

    Args:
        like: at least one.
        column: of the run.
        rows: their numbers.
    """
    cells = column.read(rows.tolist())
    carried = {tuple(condition for condition in example.carries if condition.column == column.name) for example in like}
    if len(carried) > 1:
        return np.full(len(rows), np.nan)
    if labels := carried.pop():
        return _carrying(labels, column, rows, cells)
    example_cells = column.read([example.row for example in like if example.row is not None])
    differ = len(example_cells) < len(like) or (
        len(example_cells) > 1
        and any(
            in_words(weight) != "same"
            for weight in column.agreement([example_cells[0]] * len(example_cells), example_cells)
        )
    )
    return np.full(len(rows), np.nan) if differ else column.agreement([example_cells[0]] * len(cells), cells)


def _carrying(
    carried: Sequence[Condition], column: LabelColumn, rows: Int[np.ndarray, " rows"], cells: Sequence[Cell]
) -> Float[np.ndarray, " rows"]:
    """1 of rows that carry a label; of others what the similarity says of the label and their cell, 0 of a range."""
    carrying = np.logical_or.reduce([_fulfilling(condition, column) for condition in carried])[rows]
    label, similarity = carried[0].value, column.similarity
    is_cell = column.is_read_alone and len(carried) == 1 and carried[0].sign == "="
    if similarity is not None and is_cell and not similarity.missing(similarity.encode([label])).item():
        return np.where(carrying, 1.0, similarity.agreement([label] * len(cells), cells))
    missing = np.array([cell is None for cell in cells], dtype=bool)
    return np.where(carrying, 1.0, np.where(missing | (similarity is None), np.nan, 0.0))


def _fulfilling(condition: Condition, column: LabelColumn) -> Bool[np.ndarray, " rows"]:
    try:
        return condition.rows(column)
    except RunError:  # a number that rows are near to, and that none of them has
        return np.zeros(column.rows.height, dtype=bool)


def _first(holds: pl.Series) -> int | None:
    """The first row for which something holds."""
    rows = holds.arg_true()
    return int(rows[0]) if len(rows) else None


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
