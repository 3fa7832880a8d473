"""Parquet files: one, or a folder of them that together are a table."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from mscon.data.table.formats.typed import joined, table_of
from mscon.data.table.split import SPLIT_OF
from mscon.data.table.table import Table
from mscon.data.table.table_size import check_size
from mscon.errors import TableError

# As the Hugging Face hub names them: train-00000-of-00002.parquet, or train.parquet.
_OF_A_SPLIT = re.compile(r"([a-z]+)(-\d+-of-\d+)?", re.IGNORECASE)


def read(path: Path) -> Table:
    """Rows of a Parquet file.

    Raises:
        TableError: if it is not one, if it unfolds to far more than its size, or see `table_of`.
        OSError: if the file cannot be read.
    """
    return table_of(path, _frame(path))


def shards(folder: Path) -> list[Path]:
    """The Parquet files of a folder, by name."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def read_shards(folder: Path) -> Table:
    """Rows of all Parquet files of a folder, one file after the other.

    Where all of them are named after splits, as on the Hugging Face hub, these become a column `split`, unless there is
    one.

    Raises:
        TableError: if their columns differ, and see `read`.
        OSError: if a file cannot be read.
    """
    frames = {path.name: _frame(path) for path in shards(folder)}
    names = [match[1].lower() if (match := _OF_A_SPLIT.fullmatch(Path(name).stem)) else "" for name in frames]
    if all(name in SPLIT_OF for name in names) and not any("split" in frame.columns for frame in frames.values()):
        splits = zip(frames.items(), names, strict=True)
        frames = {file: frame.with_columns(split=pl.lit(name)) for (file, frame), name in splits}
    return table_of(folder, joined(folder.name, frames))


def _frame(path: Path) -> pl.DataFrame:
    try:
        with path.open("rb") as file:
            lazy = pl.scan_parquet(file)
            check_size(path, lazy.select(pl.len()).collect().item(), len(lazy.collect_schema()))
        with path.open("rb") as file:
            raw = pl.read_parquet(file)
    except pl.exceptions.DuplicateError as error:
        raise TableError(f"{path.name}: column names must differ: {str(error).splitlines()[0]}.") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # a panic is no Exception
        raise TableError(f"{path.name} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None
    texts = raw.select(pl.col(pl.String).str.len_bytes().cast(pl.UInt64).sum())
    check_size(path, raw.height, raw.width, sum(texts.row(0)) if texts.width else 0)
    return raw
