"""Typed columns as cells: numbers, dates, truth values and lists of texts become text; lists of numbers vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float32

from mscon.data.table.table import CELLS, Table, header_complaints
from mscon.errors import TableError, counted, first_few, nearest, numbered

# Above this a float has no fractional digits left to lose, and its integer would be long to read.
_WHOLE_FLOATS = 2**53
# What stands between the texts of a list in a cell; similarities of kind multi_label expect it.
SEPARATOR = ";"
# Below this Python writes an exponent.
_SMALL = 1e-4


def table_of(path: Path, raw: pl.DataFrame) -> Table:
    """A frame as a table.

    A number is written without needless digits: 3 and not 3.0, 0.1, true; NaN is missing. A column of lists of
    numbers, all of one length, is a column of vectors; a list of texts is written as "a;b", missing where it is empty.
    A column of bytes, or of {bytes, path} as Hugging Face stores images, is one of pictures.

    Args:
        path: of the file or folder; of a frame its name.
        raw: columns of any type.

    Raises:
        TableError: with all faults: names that are blank or repeated, vectors of several lengths, no rows; or if all
            columns hold other things.
    """
    name, header = path.name, [column.strip() for column in raw.columns]
    complaints = header_complaints(name, header) if header else [f"{name} is empty: it has no columns."]
    if header and not raw.height:
        complaints.append(f"{name} has column names but no rows.")
    texts: list[pl.Series] = []
    vectors: dict[str, Float32[np.ndarray, "rows dim"]] = {}
    pictures: dict[str, pl.Series] = {}
    unreadable: dict[str, str] = {}
    for column, series in zip(header, raw.get_columns(), strict=True):
        if _is_pictures(series):
            names, within = _unpacked_names(series)
            texts.append(as_text(names).alias(column))
            if within.null_count() < len(within):
                pictures[column] = within
        elif _is_list_of_numbers(series):
            try:
                vectors[column] = vectors_of(series)
            except ValueError as error:
                complaints.append(f"{name}: column {column!r} {error}")
        elif series.dtype in (pl.List(pl.String), pl.Array(pl.String, getattr(series.dtype, "size", 0))):
            if (lists := joined_texts(series)) is None:
                unreadable[column] = f"lists of texts with {SEPARATOR!r} in them, which stands between texts here"
            else:
                texts.append(lists.alias(column))
        elif series.dtype.is_nested() or series.dtype in (pl.Object, pl.Duration):
            unreadable[column] = "objects of Python" if series.dtype == pl.Object else f"values of type {series.dtype}"
        else:
            texts.append(as_text(series).alias(column))
    if unreadable and not (texts or vectors or complaints):
        complaints.append(no_readable(name, unreadable))
    if complaints:
        raise TableError("\n".join(complaints))
    return Table(path, pl.DataFrame(texts), range(1, raw.height + 1), vectors, pictures, unreadable)


def no_readable(name: str, unreadable: Mapping[str, str]) -> str:
    """The message for a table whose columns all hold what is no cell."""
    listed = first_few([f"{column!r} ({what})" for column, what in unreadable.items()])
    return f"{name}: no column can be read: {listed}. {CELLS}"


def joined(name: str, frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The rows of several frames as one.

    Args:
        name: how the table is called.
        frames: by the name of the file or split that each is.

    Raises:
        TableError: if their columns differ in name or type.
    """
    (first, frame), *others = frames.items()
    for part, other in others:
        if odd := sorted(set(frame.columns) ^ set(other.columns)):
            raise TableError(
                f"{name}: all parts of a table must have the same columns, but {first_few([repr(c) for c in odd])} "
                f"{'is' if len(odd) == 1 else 'are'} not in both '{first}' and '{part}'."
                f"{nearest(odd[0], frame.columns)}"
            )
    try:
        return pl.concat([frame, *(other.select(frame.columns) for _, other in others)])
    except (pl.exceptions.SchemaError, pl.exceptions.ShapeError) as error:
        reason = str(error).splitlines()[0]
        raise TableError(f"{name}: a column has another type in one part than in another: {reason}") from None


def joined_texts(series: pl.Series) -> pl.Series | None:
    """Lists of texts as one text each, null where empty; None if a text holds what stands between them."""
    lists = series.to_frame("lists").select(pl.col("lists").cast(pl.List(pl.String)))
    if lists.select(pl.col("lists").explode().str.contains(SEPARATOR, literal=True).any()).item():
        return None
    return as_text(lists.select(pl.col("lists").list.join(SEPARATOR)).to_series())


def as_text(series: pl.Series) -> pl.Series:
    """A column of plain values as text; null where missing or blank."""
    if series.dtype.is_float():
        return _floats_as_text(series)
    stripped = series.cast(pl.String).str.strip_chars()
    if isinstance(series.dtype, pl.Datetime):  # 12:30:00.000000 is 12:30:00
        stripped = stripped.str.replace(r"\.0+($|[+-])", "$1")
    return stripped.to_frame().select(pl.when(pl.first() != "").then(pl.first())).to_series()


def _floats_as_text(series: pl.Series) -> pl.Series:
    """The same as `number` of each value; computed by polars where it writes as Python does."""
    value, text = pl.col("value"), pl.col("value").cast(pl.String)
    is_whole = (value == value.round()) & (value.abs() < _WHOLE_FLOATS)
    columns = (
        series.alias("value")
        .to_frame()
        .select(
            value,
            text=pl.when(is_whole)
            .then(value.cast(pl.Int64, strict=False).cast(pl.String))
            .when(value.is_not_nan())
            .then(text),
            differs=~is_whole & value.is_not_nan() & ~value.abs().is_between(_SMALL, _WHOLE_FLOATS),
        )
    )
    if series.dtype == pl.Float64 and columns.get_column("differs").any():
        odd = columns.filter("differs").get_column("value").unique().to_list()
        exact = pl.col("value").replace_strict(odd, [number(v) for v in odd], default=None, return_dtype=pl.String)
        columns = columns.with_columns(text=pl.when("differs").then(exact).otherwise("text"))
    return columns.get_column("text")


def number(value: float) -> str | None:
    """A number as a person would write it, None for NaN."""
    if math.isnan(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) < _WHOLE_FLOATS else repr(value)


def vectors_of(series: pl.Series) -> Float32[np.ndarray, "rows dim"]:
    """Lists of numbers as one array; a row of NaN for a list that is missing.

    Raises:
        ValueError: if their lengths differ, with the rows.
    """
    if isinstance(series.dtype, pl.List):
        lengths = series.list.len()
        known = lengths.drop_nulls()
        dim = int(known.mode().to_list()[0]) if len(known) else 0
        odd = (lengths != dim).fill_null(False).arg_true().to_list()
        if odd:
            raise ValueError(_of_other_length(odd, int(lengths[odd[0]]), dim, len(series)))
        if not dim:
            raise ValueError("holds lists without a number.")
        if series.dtype.inner.is_nested():
            raise ValueError(_of_lists(series))
        series = series.list.to_array(dim)
    assert isinstance(series.dtype, pl.Array)
    if len(series.dtype.shape) != 1:
        raise ValueError(_of_lists(series))
    cast = series.cast(pl.Array(pl.Float32, series.dtype.shape[0]))
    return np.ascontiguousarray(cast.to_numpy(), dtype=np.float32)


def _of_lists(series: pl.Series) -> str:
    return (
        f"holds lists of lists ({series.dtype}). Write each as one list.\n"
        "  Images are stored encoded, as PNG or JPEG; a Hugging Face dataset does so by cast_column(name, Image())."
    )


def _of_other_length(rows: Sequence[int], length: int, dim: int, total: int) -> str:
    return (
        f"holds lists of {counted(dim, 'number')}, but of {length} in row {rows[0] + 1}.\n"
        f"  {len(rows):,} of {counted(total, 'row')} with another length: {numbered('row', [n + 1 for n in rows])}."
    )


def _is_list_of_numbers(series: pl.Series) -> bool:
    inner = series.dtype.inner if isinstance(series.dtype, pl.List | pl.Array) else None
    while isinstance(inner, pl.List | pl.Array):
        inner = inner.inner
    return inner is not None and pl.Series(dtype=inner).dtype.is_numeric()


def _is_pictures(series: pl.Series) -> bool:
    if isinstance(series.dtype, pl.Struct):
        return {f.name: f.dtype for f in series.dtype.fields} == {"bytes": pl.Binary, "path": pl.String}
    return series.dtype == pl.Binary


def _unpacked_names(series: pl.Series) -> tuple[pl.Series, pl.Series]:
    """For each row the file that its image becomes, and the image; where there are no bytes, the path beside them."""
    paths = pl.Series([None], dtype=pl.String).new_from_index(0, len(series))
    if isinstance(series.dtype, pl.Struct):
        paths, series = series.struct.field("path"), series.struct.field("bytes")
    rows = pl.DataFrame({"bytes": series, "path": paths}).with_row_index("row")
    folder, file = (pl.col("row") // 1000).cast(pl.String), pl.col("row").cast(pl.String)
    numbered_file = folder.str.zfill(5) + "/" + file.str.zfill(8)
    names = rows.select(pl.when(pl.col("bytes").is_not_null()).then(numbered_file).otherwise(pl.col("path")))
    return names.to_series(), series
