"""Number cells: the cells of a column as numbers for the encoder, or where they are none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float64

from mscon.data.table.table import at_lines
from mscon.errors import TableError, first_few

# Means and standard deviations are computed with squares, which double precision holds up to here.
_LARGEST = 1e150


def numbers_of(rows: pl.DataFrame, column: str, table_name: str) -> Float64[np.ndarray, " rows"]:
    """The cells of a column as numbers, NaN where missing; the same texts as `number_of` of similarities.

    Raises:
        TableError: for cells that are no finite numbers, or whose square is none.
    """
    cells = rows.get_column(column)
    values = cells.cast(pl.Float64, strict=False)
    wrong = (cells.is_not_null() & ~values.is_finite().fill_null(False)).arg_true().to_list()
    if wrong:
        lines = rows.get_column("line")
        listed = first_few(list(dict.fromkeys(repr(cells[row]) for row in wrong)))
        raise TableError(
            at_lines(
                table_name,
                [lines[row] for row in wrong],
                rows.height,
                f"{cells[wrong[0]]!r} in column {column!r} is no finite number, but [data] numbers names that column.",
                f"Such cells: {listed}. Leave a cell empty where the number is missing; name the column under "
                "[data] categories if these are names.",
            )
        )
    if large := (values.abs() > _LARGEST).arg_true().to_list():
        raise too_large(rows, column, large, table_name)
    return values.fill_null(float("nan")).to_numpy()


def too_large(rows: pl.DataFrame, column: str, broken: Sequence[int], table_name: str) -> TableError:
    """The error for cells of a column with numbers that no vector can hold, at least one."""
    cells, lines = rows.get_column(column), rows.get_column("line")
    return TableError(
        at_lines(
            table_name,
            [lines[row] for row in broken],
            rows.height,
            f"the number {cells[broken[0]]} in column {column!r} is too large beside the others to be encoded.",
            "Mend it; or empty the cell, if it stands for a number that is missing.",
        )
    )
