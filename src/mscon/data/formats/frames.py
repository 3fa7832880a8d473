"""Frames: tables that are in memory already, of polars or of pandas.

pandas is never imported here: whoever hands over one of its frames has it.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from mscon.data.formats.content import Content, header_complaints
from mscon.data.formats.typed import content_of
from mscon.errors import TableError


def is_frame(source: object) -> bool:
    """Whether this is a polars or pandas DataFrame."""
    return isinstance(source, pl.DataFrame) or _is_pandas(source)


def read(source: Any, name: str) -> Content:
    """Rows of a frame. The index of a pandas frame is left out.

    Args:
        source: polars or pandas.
        name: how messages call it.

    Raises:
        TableError: see `content_of`; and for pandas columns of one name.
    """
    return content_of(name, source if isinstance(source, pl.DataFrame) else _from_pandas(source, name))


def _is_pandas(source: object) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame"


def _from_pandas(source: Any, name: str) -> pl.DataFrame:
    header = [str(column).strip() for column in source.columns]
    if not header:
        return pl.DataFrame()
    if complaints := header_complaints(name, header):
        raise TableError("\n".join(complaints))
    columns = []
    for number, column in enumerate(header):
        values = source.iloc[:, number]
        # Not pl.from_pandas, which needs pyarrow for text.
        if values.dtype.kind in "biuf":
            columns.append(pl.Series(column, values.to_numpy()))
            continue
        missing = values.isna().tolist()
        cells = [None if gone else _plain(cell) for cell, gone in zip(values.tolist(), missing, strict=True)]
        try:
            columns.append(pl.Series(column, cells, strict=True))
        except (TypeError, pl.exceptions.PolarsError):  # of several types, as a column of objects may be
            columns.append(pl.Series(column, [None if cell is None else str(cell) for cell in cells]))
    return pl.DataFrame(columns)


def _plain(cell: Any) -> Any:
    """An array as the list of its numbers; a path or another thing of pandas' columns as it is."""
    return cell.tolist() if hasattr(cell, "tolist") else cell
