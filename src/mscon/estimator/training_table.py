"""Training table: X and Y, as scikit-learn hands them over, as one table and its [data] in a recipe."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, ImageOps

from mscon.data.table.formats import frames
from mscon.data.table.formats.typed import table_of
from mscon.data.table.table import Table
from mscon.deploy.pictures import pictures, pillow_or_bytes
from mscon.deploy.transformer import as_sequence
from mscon.errors import TableError, nearest

# Kinds whose values are numbers, so that -1 is one.
_NUMBERS = ("continuous",)


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """What is encoded.

    Attributes:
        table: the inputs alone.
        data: settings of [data] that read them.
        root: folder that image paths are relative to; None where there are none.
    """

    table: Table
    data: Mapping[str, Any]
    root: Path | None = None


def is_frame(X: Any) -> bool:
    """Whether columns of a table are encoded; a frame of one column called "image" holds images."""
    return frames.is_frame(X) and list(map(str, X.columns)) != ["image"]


def is_images(X: Any) -> bool:
    """Whether X is a sequence of paths, encoded images, Pillow images or arrays of pixels, or a frame of these."""
    if frames.is_frame(X):
        return not is_frame(X)
    if isinstance(X, np.ndarray) and (X.dtype.kind not in "OUT" or (X.ndim == 2 and X.shape[1] != 1)):
        return X.dtype == np.uint8 and X.ndim >= 3
    sequence = as_sequence(X)
    if not isinstance(sequence, list | tuple) or not sequence:
        return False
    first = sequence[0]
    return isinstance(first, str | bytes | PathLike | Image.Image) or np.ndim(first) >= 2


def of_vectors(X: np.ndarray) -> TrainingInputs:
    """Of vectors [rows, dim]."""
    with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and training refuses it
        vectors = np.ascontiguousarray(X, dtype=np.float32)
    table = Table(Path("X"), pl.DataFrame(), range(1, len(X) + 1), {"X": vectors})
    return TrainingInputs(table, {"input": "vectors", "vectors": "X"})


def of_columns(X: Any) -> TrainingInputs:
    """Of a data frame, every column of which is encoded: numbers and truth values as numbers, all else as names."""
    frame = frames.polars_frame(X, "X")
    numeric = [name for name in frame.columns if frame.schema[name].is_numeric()]
    others = [name for name in frame.columns if name not in numeric]
    return TrainingInputs(table_of(Path("X"), frame), {"input": "columns", "numbers": numeric, "categories": others})


def of_images(X: Any) -> TrainingInputs:
    """Of images. Paths stay paths; where not all of them are, every image becomes bytes.

    Raises:
        ValueError: for what is no image.
    """
    images = pictures(as_sequence(X))
    if all(isinstance(image, str | PathLike) for image in images):
        cells = pl.DataFrame({"image": [os.path.abspath(image) for image in images]})
        return TrainingInputs(table_of(Path("X"), cells), {"input": "image"}, Path(os.path.abspath(os.sep)))
    cells = pl.DataFrame({"image": [_encoded(image, number) for number, image in enumerate(images)]})
    return TrainingInputs(table_of(Path("X"), cells), {"input": "image"})


def _encoded(image: Any, number: int) -> bytes:
    if isinstance(image, str | PathLike):
        return Path(image).read_bytes()
    picture = pillow_or_bytes(image, number)
    if isinstance(picture, bytes):
        return picture
    file = io.BytesIO()
    ImageOps.exif_transpose(picture).save(file, "TIFF")  # loses nothing, whatever the mode
    return file.getvalue()


def labels_of(Y: Any, kinds: Mapping[str, Any]) -> pl.DataFrame:
    """Label columns as text, null where missing.

    Missing are None, NaN and empty texts; in a column of whole numbers -1, unless its kind is one of numbers.

    Args:
        Y: a data frame, whose columns keep their names; a series, called "y" if it has no name; or an array [rows],
            called "y", or [rows, columns], called "y0", "y1", ...
        kinds: of columns, as `MSCon` takes them.

    Raises:
        ValueError: for an array of other dimensions, or a kind of a column that is not there.
        TableError: for columns that are no labels.
    """
    frame = frames.polars_frame(Y, "Y") if frames.is_frame(Y) else pl.DataFrame(_series_of(Y))
    if unknown := [name for name in kinds if name not in frame.columns]:
        known = ", ".join(map(repr, frame.columns))
        raise ValueError(
            f"kinds names column {unknown[0]!r}, which Y does not have.{nearest(unknown[0], frame.columns)} "
            f"Columns of Y: {known}."
        )
    columns = []
    for column in frame.get_columns():
        kind = kinds.get(column.name, "")
        has_codes = column.dtype.is_integer() and (kind if isinstance(kind, str) else kind.get("name")) not in _NUMBERS
        columns.append(column.set(column == -1, None) if has_codes else column)
    labels = table_of(Path("Y"), pl.DataFrame(columns))
    others = {**dict.fromkeys(labels.vectors, "lists of numbers"), **dict.fromkeys(labels.pictures, "bytes")}
    others |= labels.unreadable
    if others:
        raise TableError("\n".join(f"Y: column {name!r} holds {what}, not labels." for name, what in others.items()))
    return labels.frame


def _series_of(Y: Any) -> list[pl.Series]:
    values = np.asarray(Y)
    if values.ndim not in (1, 2):
        raise ValueError(f"Y must be [rows] or [rows, columns] of labels, got shape {list(values.shape)}.")
    if values.ndim == 1:
        name = getattr(Y, "name", None)
        return [_series("y" if name in (None, "") else str(name), values)]
    return [_series(f"y{number}", column) for number, column in enumerate(values.T)]


def _series(name: str, values: np.ndarray) -> pl.Series:
    if values.dtype.kind in "biuf":
        return pl.Series(name, np.ascontiguousarray(values))
    cells = [None if cell is None or cell != cell else cell for cell in values.tolist()]
    return frames.series_of(name, cells)


def joined(inputs: TrainingInputs, labels: pl.DataFrame) -> Table:
    """Inputs and labels as one table.

    Raises:
        ValueError: if they differ in rows, or share a column.
    """
    table = inputs.table
    if len(labels) != len(table):
        raise ValueError(f"X has {len(table):,} rows, but Y has {len(labels):,}.")
    reserved = ("line", "split", "image")
    both = [name for name in labels.columns if name in (*table.frame.columns, *table.vectors, *reserved)]
    both += [name for name in table.frame.columns if name in reserved and inputs.data["input"] == "columns"]
    if both:
        raise ValueError(
            f"column {both[0]!r} of Y is also one of X. Rename it, or take it out of one of them."
            if both[0] not in reserved
            else f"no column may be called {both[0]!r}, which mscon uses itself. Rename it."
        )
    return replace(table, frame=pl.DataFrame([*table.frame.get_columns(), *labels.get_columns()]))
