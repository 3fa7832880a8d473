"""Parquet files."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mscon.data.table.formats import parquet_footer
from mscon.data.table.formats.content import Content, repeated_names
from mscon.data.table.formats.typed import content_of
from mscon.errors import TableError


def read(path: Path) -> Content:
    """Rows of a Parquet file.

    Raises:
        TableError: if it is not one, or see `content_of`.
        OSError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            names = parquet_footer.column_names(file)
        if complaints := repeated_names(path.name, names):
            raise TableError("\n".join(complaints))
        with path.open("rb") as file:
            raw = pl.read_parquet(file)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path.name} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None
    return content_of(path.name, raw)
