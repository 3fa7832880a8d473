"""Queries: examples of what one looks for, or does not want, as one vector in each space."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mscon.data.inputs.boxes import image_path
from mscon.data.table.label_columns import LabelColumn, LabelColumns
from mscon.errors import RunError, counted, nearest
from mscon.method.agreement import in_words
from mscon.method.similarities.base import Cell
from mscon.search.filters import Condition, conditions, parse, rows_of
from mscon.search.spaces import Spaces, unit

_FORM = (
    "A query is the number of a row (17), its line in the table (line:18), its image as the table has it, "
    "a label (kind=boots) for the mean of all rows that have it, or the path of a new image."
)

# Misspelt image paths are looked for among so many; more would take seconds.
_MOST_NAMES = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """Something to be like, or unlike.

    Attributes:
        wording: what it is, in words.
        vectors: in each space of unit length, or zeros.
        row: of the run, if it is one.
        carries: the labels that it stands for, if it is the mean of rows.
    """

    wording: str
    vectors: Float[np.ndarray, "spaces dim"]
    row: int | None = None
    carries: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Examples:
    """Reads examples as a user gives them.

    Args:
        rows: of the run.
        labels: of these rows.
        spaces: their vectors.
        encode: a new image to its vectors [spaces, dim]; complains where rows are no images.
        name: what messages call the run.
    """

    rows: pl.DataFrame
    labels: LabelColumns
    spaces: Spaces
    encode: Callable[[Any], Float[np.ndarray, "spaces dim"]]
    name: str

    def read(self, query: Any) -> Example:
        """One example.

        Args:
            query: the number of a row; text, see below; a path; a mapping from columns to labels, for the mean of all
                rows that carry them; or an image, as `mscon.load(...).embed` takes one.

        Text is, the first that fits: "line:18" or "row:17"; the number of a row; an image as the table has it; the
        path of a new image; a label ("kind=boots"). "./17" and "file:17" are files, "label:kind=boots" a label.

        Raises:
            RunError: if there is no such row, line, column, label or file.
            TableError: if a file is no image.
        """
        if isinstance(query, int | np.integer) and not isinstance(query, bool):
            return self._row(int(query), f"row {query}")
        if isinstance(query, Mapping):
            return self._middle(conditions(query, self.labels))
        if isinstance(query, os.PathLike):
            return self._path(Path(query))
        if isinstance(query, str):
            return self._text(query)
        return Example("an image", self.encode(query))

    def _path(self, path: Path) -> Example:
        return self._named(str(path)) or self._file(str(path))

    def _text(self, text: str) -> Example:
        kind, colon, rest = text.partition(":")
        if colon and kind in ("row", "line"):
            if not _is_whole(rest):
                raise RunError(f"query '{text}': '{rest}' is no number of a {kind}. {_FORM}")
            return self._row(int(rest), text) if kind == "row" else self._line(int(rest))
        if colon and kind == "label":
            return self._middle([parse(rest, self.labels)])
        if colon and kind == "file":
            return self._file(rest)
        if _is_whole(text):
            return self._row(int(text), f"row {text}")
        if (example := self._named(text)) is not None:
            return example
        if os.path.isfile(image_path(text)):
            return self._file(text)
        if "=" in text:
            return self._middle([parse(text, self.labels)])
        if Path(text).suffix or os.sep in text:
            return self._file(text)
        raise RunError(f"query '{text}' is nothing that {self.name} knows.{self._near(text)}\n  {_FORM}")

    def _row(self, row: int, wording: str) -> Example:
        if not 0 <= row < self.spaces.rows:
            raise RunError(
                f"there is no row {row} in {self.name}: rows go from 0 to {self.spaces.rows - 1:,}.\n"
                f"  For line {row} of the table write line:{row}."
            )
        return Example(wording, self.spaces.vectors([row])[:, 0], row)

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
        if "image" not in self.rows.columns:
            return None
        at = _first(self.rows.get_column("image").cast(pl.String) == image)
        return None if at is None else self._row(at, image)

    def _file(self, path: str) -> Example:
        if not os.path.isfile(image_path(path)):  # unlike Path.is_file it takes names of any length
            what = "is a folder, not an image" if os.path.isdir(path) else "does not exist"
            raise RunError(
                f"query '{path}': no row of {self.name} has this image, and the file {what}.{self._near(path)}\n"
                f"  {_FORM}"
            )
        return Example(path, self.encode(Path(path)))

    def _middle(self, labels: Sequence[Condition]) -> Example:
        if not labels:
            raise RunError(f"a label is missing. {_FORM}")
        mask = rows_of(labels, self.labels)
        assert mask is not None
        rows = np.flatnonzero(mask)
        wording = f"the mean of {counted(len(rows), 'row')} with {', '.join(map(str, labels))}"
        return Example(wording, unit(self.spaces.mean(rows)), carries=tuple(labels))

    def _near(self, text: str) -> str:
        if "image" not in self.rows.columns:
            return ""
        return nearest(text, self.rows.get_column("image").cast(pl.String).drop_nulls().head(_MOST_NAMES).to_list())


def together(like: Sequence[Example], unlike: Sequence[Example]) -> Float[np.ndarray, "spaces dim"]:
    """One unit vector in each space: towards the mean of some examples, away from that of others.

    Every example counts once, also one that is the mean of many rows. Zeros where they cancel out.

    Args:
        like: at least one.
        unlike: may be none.
    """
    centre = np.mean([example.vectors for example in like], axis=0)
    if not unlike:
        return unit(centre)
    away = centre - np.mean([example.vectors for example in unlike], axis=0)
    # The difference of equal vectors is a few roundings long, and its direction says nothing.
    lengths = np.linalg.norm(away, axis=1, keepdims=True)
    return unit(np.where(lengths > 1e-9, away, 0.0))


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
    carrying = np.logical_or.reduce([condition.rows(column) for condition in carried])[rows]
    label, similarity = carried[0].value, column.similarity
    is_cell = column.is_read_alone and len(carried) == 1 and carried[0].sign == "="
    if similarity is not None and is_cell and not similarity.missing(similarity.encode([label])).item():
        return np.where(carrying, 1.0, similarity.agreement([label] * len(cells), cells))
    missing = np.array([cell is None for cell in cells], dtype=bool)
    return np.where(carrying, 1.0, np.where(missing | (similarity is None), np.nan, 0.0))


def _first(holds: pl.Series) -> int | None:
    """The first row for which something holds."""
    rows = holds.arg_true()
    return int(rows[0]) if len(rows) else None


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit()
