"""DataFrames of polars and pandas as tables.

pandas is never imported here: whoever hands over one of its frames has it.
"""

from __future__ import annotations

import datetime
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mscon.data.table.formats.typed import number, table_of
from mscon.data.table.table import Table, header_complaints
from mscon.errors import TableError


def is_frame(source: object) -> bool:
    """Whether this is a polars or pandas DataFrame."""
    return isinstance(source, pl.DataFrame) or _is_pandas(source)


def read(source: Any, name: str) -> Table:
    """Rows of a frame. The index of a pandas frame is left out.

    Args:
        source: polars or pandas.
        name: how messages call it.

    Raises:
        TableError: see `table_of`; and for pandas columns of one name.
    """
    return table_of(Path(name), polars_frame(source, name))


def polars_frame(source: Any, name: str) -> pl.DataFrame:
    """A polars or pandas frame as one of polars; its arguments and errors are those of `read`."""
    return source if isinstance(source, pl.DataFrame) else _from_pandas(source, name)


def _is_pandas(source: object) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame"


def _from_pandas(source: Any, name: str) -> pl.DataFrame:
    header = [str(column).strip() for column in source.columns]
    if not header:
        return pl.DataFrame()
    if complaints := header_complaints(name, header):
        raise TableError("\n".join(complaints))
    columns = []
    for at, column in enumerate(header):
        values = source.iloc[:, at]
        # Not pl.from_pandas, which needs pyarrow for text.
        if values.dtype.kind == "f":  # with a type of pandas' own too, whose missing numbers are not NaN
            single = {"dtype": values.dtype.numpy_dtype} if hasattr(values.dtype, "numpy_dtype") else {}
            columns.append(pl.Series(column, values.to_numpy(**single, na_value=np.nan)))
            continue
        if values.dtype.kind in "biu" and isinstance(values.dtype, np.dtype):
            columns.append(pl.Series(column, values.to_numpy()))
            continue
        missing = values.isna().tolist()
        cells = [None if gone else _plain(cell) for cell, gone in zip(values.tolist(), missing, strict=True)]
        columns.append(series_of(column, cells))
    return pl.DataFrame(columns)


def series_of(column: str, cells: list[Any]) -> pl.Series:
    """Objects of Python as a column, None where missing; where their types differ, as text."""
    try:
        return pl.Series(column, cells, strict=True)
    except (TypeError, pl.exceptions.PolarsError):
        return _mixed(column, cells)


def _plain(cell: Any) -> Any:
    """An array as the list of its numbers; paths, periods and intervals as text; another thing as it is."""
    if hasattr(cell, "tolist"):
        return cell.tolist()
    if isinstance(cell, os.PathLike):
        return os.fspath(cell)
    its_own = type(cell).__module__.partition(".")[0] == "pandas"
    if isinstance(cell, uuid.UUID) or (its_own and not isinstance(cell, datetime.datetime | datetime.timedelta)):
        return str(cell)
    return cell


def _mixed(column: str, cells: list[Any]) -> pl.Series:
    """Text, numbers and dates of one column, each as it is written where a column is of its type alone."""
    if any(isinstance(cell, list | tuple | set | dict | bytes) for cell in cells):
        return pl.Series(column, cells, dtype=pl.Object)  # refused by name
    return pl.Series(column, [_as_text(cell) for cell in cells], dtype=pl.String)


def _as_text(cell: Any) -> str | None:
    if cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return number(cell) if isinstance(cell, float) else str(cell)
