"""Teachers: the vectors of similarities of kind `teacher`, from a column, a file, or what training starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float16, Float64, Int64, Shaped
from torch import Tensor

from mscon.data.inputs.open import vectors_file
from mscon.data.inputs.vector_file import VectorFile
from mscon.data.inputs.vectors import SUFFIXES, open_file
from mscon.data.table.table import Table, unit
from mscon.errors import TableError, first_few, nearest
from mscon.method.similarities.base import MalformedCells
from mscon.method.similarities.teacher import NO_ZEROS, Teacher, vectors_of
from mscon.run.parts import TEACHER
from mscon.run.recipe import Data, SimilarityPart

START = "start"
"""In place of a column or a file: the features, or vectors, that training starts from."""

TeacherCodes = Mapping[str, Float16[Tensor, "rows numbers"]]
"""By the name of a similarity of kind `teacher`: its codes of all rows of a run."""

_ROWS_AT_ONCE = 4_096


def source_of(part: SimilarityPart) -> str:
    """Where a recipe says that the vectors of a teacher are."""
    return str(part.settings.get("of") or part.column)


def stored(parts: Sequence[SimilarityPart]) -> list[SimilarityPart]:
    """The teachers whose vectors lie in the table, or in a file beside it."""
    return [part for part in parts if part.name == TEACHER and source_of(part) != START]


def starting(parts: Sequence[SimilarityPart]) -> list[SimilarityPart]:
    """The teachers whose vectors are what training starts from."""
    return [part for part in parts if part.name == TEACHER and source_of(part) == START]


def complaints(table: Table, parts: Sequence[SimilarityPart], root: Path, data: Data) -> list[str]:
    """What is wrong with the vectors of the teachers of a recipe. Reads each file once, some rows at a time.

    Args:
        table: all of its rows.
        parts: the similarities of the recipe.
        root: folder that files of vectors are relative to.
        data: of the recipe; names the folders outside of it that links may lead into.
    """
    faults = []
    for part in stored(parts):
        try:
            faults += _faults(table, *_vectors(table, part, root, data))
        except TableError as error:
            faults.append(str(error))
    return [
        f"{table.name}: column {part.column!r} is the name of a similarity of kind '{TEACHER}', but the table has a "
        f'column of that name. Name the similarity otherwise: column = "teacher", of = "{source_of(part)}".'
        for part in parts
        if part.name == TEACHER and part.column in table.frame.columns and part.column != source_of(part)
    ] + faults


def stored_codes(
    rows: pl.DataFrame, table: Table, parts: Sequence[SimilarityPart], root: Path, data: Data
) -> TeacherCodes:
    """The codes of the teachers whose vectors lie in the table or beside it.

    Args:
        rows: as `select_rows` gives them, which has found no fault with the vectors.
        table, parts, root, data: as of `complaints`.

    Raises:
        TableError: if the vectors of the training rows are missing or all equal; if a file has changed.
    """
    number = {line: row for row, line in enumerate(table.lines)}
    numbers = np.array([number[line] for line in rows.get_column("line").to_list()], dtype=np.int64)
    is_train = (rows.get_column("split") == "train").to_numpy()
    codes = {}
    for part in stored(parts):
        source, vectors = _vectors(table, part, root, data)
        what = f"{table.name}: the vectors in {source}"
        codes[part.column] = centred_codes(part, vectors, is_train, what, numbers)
    return codes


def centred_codes(
    part: SimilarityPart,
    vectors: Shaped[np.ndarray, "all numbers"] | VectorFile,
    is_train: Bool[np.ndarray, " rows"],
    what: str,
    numbers: Int64[np.ndarray, " rows"] | None = None,
) -> Float16[Tensor, "rows numbers"]:
    """The codes of a teacher: of the vectors, less the mean of those of the training rows.

    Args:
        part: the similarity.
        vectors: a row of NaN where missing.
        is_train: a truth value for each row.
        what: begins messages, such as "shoes.csv: the vectors in 'clip.npy'".
        numbers: for each row which of the vectors is its own; None for all in order.

    Returns:
        NaN also for a vector that is the mean, which has no direction.

    Raises:
        TableError: if no training row has a vector, or all have the same.
    """
    numbers = np.arange(len(is_train)) if numbers is None else numbers
    total, count = np.zeros(1), 0
    for _, block in _blocks(numbers[is_train], vectors):
        known = block[~np.isnan(block).any(axis=1)]
        total, count = total + known.sum(axis=0), count + len(known)
    if not count:
        raise TableError(f"{what} are missing in all training rows. Leave similarity '{part.column}' out.")
    teacher, mean = Teacher(part.column), total / count
    codes = []
    for _, block in _blocks(numbers, vectors):
        apart = block - mean
        # Rounding alone makes equal vectors differ from their mean.
        apart[np.abs(apart).max(axis=1) <= 1e-9 * np.abs(block).max(axis=1)] = np.nan
        codes.append(teacher.encode_tensor(apart))
    joined = torch.cat(codes)
    if teacher.missing(joined[torch.from_numpy(is_train)]).all():
        raise TableError(
            f"{what} are the same in all training rows, so nothing can be told apart by them. Leave similarity "
            f"'{part.column}' out."
        )
    return joined


def _blocks(
    numbers: Int64[np.ndarray, " rows"], vectors: Shaped[np.ndarray, "all n"] | VectorFile
) -> Iterator[tuple[Int64[np.ndarray, " some"], Float64[np.ndarray, "some n"]]]:
    for start in range(0, len(numbers), _ROWS_AT_ONCE):
        some = numbers[start : start + _ROWS_AT_ONCE]
        with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is a fault
            yield some, vectors[some].astype(np.float32).astype(np.float64)


def _vectors(
    table: Table, part: SimilarityPart, root: Path, data: Data
) -> tuple[str, Shaped[np.ndarray, "rows n"] | VectorFile]:
    """How messages call the vectors of a teacher, and those of all rows of the table.

    Raises:
        TableError: if they are not there, or not a vector for each row.
    """
    source = source_of(part)
    if Path(source).suffix.lower() in SUFFIXES:
        path = vectors_file(root, replace(data, vectors=source), table.name)
        return f"'{source}'", open_file(path, len(table), table.name)
    if source in table.vectors:
        return f"column {source!r}", table.vectors[source]
    if source in table.frame.columns:
        cells = table.cells(source)
        try:
            Teacher.check(source, cells, table.lines)
        except MalformedCells as error:
            raise TableError(f"{table.name}: {error.message(unit(table.name))}") from None
        return f"column {source!r}", vectors_of(cells)
    known = [*table.vectors, *table.frame.columns]
    listed = first_few([repr(name) for name in table.vectors], 20) or "none"
    raise TableError(
        f"{table.name}: there is no column {source!r} of vectors, which similarity '{part.column}' of kind '{TEACHER}' "
        f"reads.{nearest(source, known)}\n"
        f'  Columns of lists: {listed}. Set of = "NAME" to such a column or to a .npy or .safetensors file beside the '
        f'table, or of = "{START}" for the features that training starts from.'
    )


def _faults(table: Table, source: str, vectors: Shaped[np.ndarray, "rows n"] | VectorFile) -> list[str]:
    """Complaints about vectors that have no direction."""
    broken, zero = [], []
    for numbers, block in _blocks(np.arange(len(table)), vectors):
        if block.shape[1] == 1:
            return [
                f"{table.name}: the vectors in {source} have one number each, so all cosines between them are 1 or -1. "
                "For a column of numbers use a similarity of kind 'continuous'."
            ]
        fine = np.isfinite(block).all(axis=1)
        broken += numbers[~fine & ~np.isnan(block).all(axis=1)].tolist()
        zero += numbers[fine & ~block.any(axis=1)].tolist()
    faults = []
    if broken:
        what = f"the vector of this row in {source} has a number that is NaN, infinite or too large."
        faults.append(table.complaint(broken, what, "Where a vector is missing, all of its numbers must be NaN."))
    if zero:
        faults.append(table.complaint(zero, f"the vector of this row in {source} is zero.", NO_ZEROS))
    return faults
