"""Names: what a row is called where it is shown."""

from __future__ import annotations

import polars as pl

from mscon.errors import RunError, nearest
from mscon.run.recipe import Data

# Headers of columns that people know a row by, the likeliest first.
_HEADERS = ("name", "title", "label", "id", "key", "code", "sku", "url", "path", "file")

# Of a column of names at least so many cells differ, and half of them are at most so long.
_DISTINCT, _LETTERS = 0.95, 60


def name_column(rows: pl.DataFrame, data: Data, choice: str | None = None) -> str:
    """The column that rows are called by; "" where they are called by the file of their image, or by their line.

    Args:
        rows: of a run.
        data: of its recipe.
        choice: a column that the user names; None to guess it, unless rows are images. Guessed is a column of short
            texts of which nearly all differ; of several the one whose header says so ("name", "title", "id"), else
            the first.

    Raises:
        RunError: if there is no such column.
    """
    columns = [name for name in rows.columns if name not in ("line", "image", "split")]
    if choice:
        if choice not in rows.columns:
            listed = ", ".join(f"'{name}'" for name in columns)
            raise RunError(
                f"there is no column '{choice}' to name rows by.{nearest(choice, columns)}\n  Columns: {listed}."
            )
        return choice
    if choice == "" or data.input == "image":
        return ""
    inputs = {data.text, *data.encoded}
    likely = [name for name in columns if name not in inputs and _has_names(rows.get_column(name))]
    words = {name: name.casefold().replace("-", "_").split("_") for name in likely}
    headed = [name for header in _HEADERS for name in likely if header in words[name]]
    texts = [name for name in likely if not _is_numeric(rows.get_column(name))]
    return next(iter([*headed, *texts]), "")


def names_of(rows: pl.DataFrame, data: Data, column: str = "") -> list[str]:
    """What rows are called, by a column as `name_column` says it."""
    lines = [f"line {line}" for line in rows["line"].to_list()]
    if column:
        cells = rows.get_column(column).cast(pl.String).to_list()
    elif data.input == "image" and "image" in rows.columns:
        cells = [str(image or "").rpartition("/")[2] for image in rows["image"].to_list()]
    else:
        return lines
    return [cell or line for cell, line in zip(cells, lines, strict=True)]


def _has_names(cells: pl.Series) -> bool:
    texts = cells.cast(pl.String).drop_nulls()
    lengths = texts.str.len_chars()
    return (
        len(texts) > 0.5 * len(cells)
        and texts.n_unique() >= _DISTINCT * len(texts)
        and float(lengths.median() or 0) <= _LETTERS  # type: ignore[arg-type]
    )


def _is_numeric(cells: pl.Series) -> bool:
    texts = cells.cast(pl.String).drop_nulls()
    return texts.cast(pl.Float64, strict=False).is_not_null().mean() == 1.0
