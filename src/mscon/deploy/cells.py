"""Cells: one row of a table as a dictionary, for a model of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32

from mscon.data.inputs.tabular import ColumnCoding
from mscon.errors import TableError, counted, first_few, nearest, shortened


def row_of_cells(cells: Mapping[str, Any], known: Mapping[str, Any]) -> pl.DataFrame:
    """A table of one row.

    Args:
        cells: of each column that the model encodes its cell: text, a number, true or false; None where it is missing.
        known: how the run encodes columns.

    Raises:
        TableError: once for all columns that are not there, that the model does not encode, and for what is no cell.
    """
    columns = encoded_columns(known)
    listed = f"\n  Columns that are encoded: {first_few([repr(name) for name in columns], 20)}."
    complaints = [
        f"there is no cell of column '{name}', which the model encodes. Write None (null in JSON) for a missing cell."
        for name in columns
        if name not in cells
    ]
    complaints += [
        f"'{name}' is no column that the model encodes.{nearest(str(name), columns)}"
        for name in cells
        if name not in columns
    ]
    plain = {name: cell.item() if isinstance(cell, np.generic) else cell for name, cell in cells.items()}
    complaints += [
        f"the cell of column '{name}' must be text, a number, true or false, or None, got {shortened(cell, 60)}."
        for name, cell in plain.items()
        if not isinstance(cell, str | int | float | None)
    ]
    if complaints:
        raise TableError("\n  ".join(["cells:", *complaints]) + listed)
    # Whole numbers as text: polars holds none beyond 64 bits.
    texts = {name: str(cell) if type(cell) is int else cell for name, cell in plain.items()}
    return pl.DataFrame({name: [texts[name]] for name in columns})


def encoded_columns(known: Mapping[str, Any]) -> Sequence[str]:
    """The columns that a model encodes, in their order."""
    return [part.column for part in ColumnCoding.from_json(known).parts]


def unknown_categories(
    cells: Mapping[str, Any], vector: Float32[np.ndarray, " dim"], known: Mapping[str, Any]
) -> list[str]:
    """A sentence for each category that the model does not know, and that is therefore zeros in its vector."""
    coding, sentences = ColumnCoding.from_json(known), []
    begin = sum(number.width for number in coding.numbers)
    for category in coding.categories:
        text = str(cells[category.column]).strip()
        if cells[category.column] is not None and text and not vector[begin : begin + category.width].any():
            what = f"'{text}' in column '{category.column}' is not among the {counted(len(category.values), 'value')}"
            sentences.append(f"{what} that the model knows, and is encoded as zeros.{nearest(text, category.values)}")
        begin += category.width
    return sentences
