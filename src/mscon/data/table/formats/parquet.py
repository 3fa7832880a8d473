"""Parquet files."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mscon.data.table.formats.typed import table_of
from mscon.data.table.table import Table, check_size
from mscon.errors import TableError


def read(path: Path) -> Table:
    """Rows of a Parquet file.

    Raises:
        TableError: if it is not one, if it unfolds to far more than its size, or see `table_of`.
        OSError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            lazy = pl.scan_parquet(file)
            check_size(path, lazy.select(pl.len()).collect().item(), len(lazy.collect_schema()))
        with path.open("rb") as file:
            raw = pl.read_parquet(file)
    except pl.exceptions.DuplicateError as error:
        raise TableError(f"{path.name}: column names must differ: {str(error).splitlines()[0]}.") from None
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path.name} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None
    texts = raw.select(pl.col(pl.String).str.len_bytes().cast(pl.UInt64).sum())
    check_size(path, raw.height, raw.width, sum(texts.row(0)) if texts.width else 0)
    return table_of(path, raw)
