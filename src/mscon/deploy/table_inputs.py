"""Table inputs: what is encoded of each row of a table that nobody trained on. No splits, no labels, no torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl
from jaxtyping import Shaped

from mscon.data.inputs import image_files
from mscon.data.inputs.open import Inputs, check_inputs, images_root, open_inputs, vectors_file
from mscon.data.table.table import Table, read_table
from mscon.errors import TableError
from mscon.run.recipe import Data

_ADVICE = (
    "Image paths are relative to the table, or to --images DIR. To leave such rows out on purpose, pass\n"
    "  --missing-images drop."
)


@runtime_checkable
class TableInputs(Protocol):
    """Inputs by the number of the row, with what tells whether they are still the same."""

    @property
    def names(self) -> list[str | None] | None:
        """The image paths as written; None where rows are not images."""
        ...

    @property
    def files(self) -> Iterable[Path]:
        """Every file that is read."""
        ...

    def stamp(self, row: int) -> Sequence[str | int | None]:
        """What changes when the input of a row does."""
        ...

    def take(self, rows: Sequence[int]) -> tuple[Shaped[np.ndarray, "rows ..."], dict[int, str]]:
        """The inputs of these rows; and for rows without one, by their place among these, why."""
        ...


def open_table(
    table: Table, data: Data, images: Path | None, known: Mapping[str, Any] | None, drops: bool
) -> TableInputs:
    """The inputs of all rows of a table, as a trained model wants them.

    Args:
        table: the user's.
        data: of the model's recipe; names the columns.
        images: folder that image paths, or the file of vectors, are relative to; by default the table's.
        known: what the run kept of its inputs, where they are no images.
        drops: whether rows without an image may be there.

    Raises:
        TableError: for columns, files or cells that are not there, at once; see `mscon.data.inputs.open.open_inputs`.
    """
    if data.input == "image":
        inputs = TableImages(table, data, images_root(table, data, images))
        if not drops:
            inputs.need_all()
        return inputs
    root = table.folder if images is None else images
    if complaints := check_inputs(table, data, root):
        raise TableError("\n".join(complaints))
    return TableVectors(table, data, root, known)


def open_columns(source: object, data: Data, known: Mapping[str, Any]) -> Inputs:
    """The rows of a table in memory, or of a file, as a model of columns wants them.

    Args:
        source: what `read_table` takes.
        data: of the model's recipe; names the columns.
        known: what the run kept of its inputs.

    Raises:
        TableError: for columns that are not there, and cells that are no numbers where numbers are wanted.
        ValueError: if it is no table.
    """
    table = read_table(source, "table")
    if complaints := check_inputs(table, data, table.folder):
        raise TableError("\n".join(complaints))
    return _inputs(table, data, table.folder, known)


class TableImages:
    """Images, read when they are taken."""

    def __init__(self, table: Table, data: Data, root: Path) -> None:
        self._table, self._data, self._root = table, data, root
        self._names = table.cells(data.image)
        self._paths: list[Path | None] = [None] * len(table)
        named = [(row, name) for row, name in enumerate(self._names) if name is not None]
        for (row, _), path in zip(named, image_files.locate(root, [name for _, name in named]), strict=True):
            self._paths[row] = path

    @property
    def names(self) -> list[str | None]:
        return self._names

    @property
    def files(self) -> Iterable[Path]:
        return (path for path in self._paths if path is not None)

    def need_all(self) -> None:
        """That every row names a file, which may still turn out to be no image.

        Raises:
            TableError: with all rows that do not.
        """
        faults = {}
        for row, path in enumerate(self._paths):
            if path is None or not os.path.isfile(path):
                why = "lies outside the folder of the images" if path is None else "does not exist"
                faults[row] = self._complaint(row, f"{why} (looked in {self._root})")
        if faults:
            raise TableError(complaint(self._table, faults))

    def stamp(self, row: int) -> Sequence[str | int | None]:
        # Size and time of change may be equal for another content, as of a tar with fixed times: so all four.
        state = [-1, -1, -1, -1]
        with contextlib.suppress(OSError):
            if (path := self._paths[row]) is not None:
                status = path.stat()
                state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        return [self._names[row], *state]

    def take(self, rows: Sequence[int]) -> tuple[Shaped[np.ndarray, "rows ..."], dict[int, str]]:
        pixels, faults = image_files.decode_some(
            [self._paths[row] for row in rows], self._data.image_size, self._data.channels
        )
        return pixels, {k: self._complaint(rows[k], fault) for k, fault in faults.items()}

    def _complaint(self, row: int, fault: str) -> str:
        if self._names[row] is None:
            return f"the cell of column {self._data.image!r} is empty"
        return f"image {self._names[row]!r} {fault}"


class TableVectors:
    """Vectors, from a file, a column of lists, or columns or sentences encoded as the run did."""

    names = None

    def __init__(self, table: Table, data: Data, root: Path, known: Mapping[str, Any] | None) -> None:
        self._inputs = _inputs(table, data, root, known)
        is_file = data.input == "vectors" and data.vectors not in table.vectors
        self.files = [vectors_file(root, data, table.name)] if is_file else []

    def stamp(self, row: int) -> Sequence[str | int | None]:
        return [hashlib.sha256(np.ascontiguousarray(self._inputs[[row]]).tobytes()).hexdigest()]

    def take(self, rows: Sequence[int]) -> tuple[Shaped[np.ndarray, "rows ..."], dict[int, str]]:
        return self._inputs[list(rows)], {}


def _inputs(table: Table, data: Data, root: Path, known: Mapping[str, Any] | None) -> Inputs:
    columns = [table.frame.get_column(name) for name in table.frame.columns if name not in ("line", "split")]
    keys = {"line": pl.Series(table.lines, dtype=pl.Int64), "split": ["train"] * len(table)}
    return open_inputs(
        pl.DataFrame(keys).with_columns(columns),
        root,
        data,
        table.name,
        vectors=table.vectors.get(data.vectors),
        known=known,
    )


def complaint(table: Table, faults: Mapping[int, str]) -> str:
    """One message for all rows without an image."""
    rows = sorted(faults)
    return table.complaint(rows, f"{faults[rows[0]]}.", _ADVICE)
