"""Inputs of a trained model: tables in memory, and table files. Knows no model.

`open_columns` takes a table in memory, `open_table` the rows of a table that need no labels and no splits.
`changed_since_training` compares such a table with that of a run, `changed_rows` some rows of a run with what they were
in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Shaped

from mscon.data.inputs import fingerprints, image_files
from mscon.data.inputs.image_faults import fault_message, missing_images_text
from mscon.data.inputs.open import Inputs, check_inputs, images_root, open_inputs, vectors_file
from mscon.data.inputs.remote_files import NO_ANSWER
from mscon.data.inputs.shards import ImageAt
from mscon.data.inputs.vectors import checked, open_file
from mscon.data.table.image_column import with_boxes
from mscon.data.table.table import Table, read_table
from mscon.errors import TableError
from mscon.run.recipe import Data, data_of
from mscon.run.run import Run

# Vectors that are read at once to be hashed one by one.
_HASHED = 4_096


@dataclass(frozen=True, slots=True)
class TableInputs:
    """What is encoded of each row of a table.

    Attributes:
        names: the image paths as written; None where rows are not images.
        files: every file that is read.
        stamps: of the numbers of some rows, for each what changes when its input does.
        take: of numbers of rows: their inputs; and for rows without one, by their place among these, why.
    """

    names: list[str | None] | None
    files: Sequence[Path]
    stamps: Callable[[range], Iterator[Sequence[str | int | None]]]
    take: Callable[[Sequence[int]], tuple[Shaped[np.ndarray, "rows ..."], dict[int, str]]]


def open_table(
    table: Table, data: Data, images: Path | None, known: Mapping[str, Any] | None, drops: bool
) -> TableInputs:
    """The inputs of all rows of a table, as a trained model takes them.

    Args:
        table: the user's.
        data: of the model's recipe; names the columns.
        images: folder that image paths, or the file of vectors, are relative to; by default the table's.
        known: the statistics of the inputs that the run keeps, where they are not images.
        drops: whether rows without an image may be there.

    Raises:
        TableError: for columns, files or cells that are not there, at once; see `mscon.data.inputs.open.open_inputs`.
    """
    if data.input == "image":
        return _table_images(with_boxes(table, data), data, images_root(table, data, images), drops)
    root = table.folder if images is None else images
    inputs = _checked_inputs(table, data, root, known)
    is_file = data.input == "vectors" and data.vectors not in table.vectors
    return TableInputs(
        names=None,
        files=[vectors_file(root, data, table.name)] if is_file else [],
        stamps=lambda rows: _hashes(inputs, rows),
        take=lambda rows: (inputs[list(rows)], {}),
    )


def _hashes(inputs: Inputs, rows: range) -> Iterator[list[str]]:
    for start in range(rows.start, rows.stop, _HASHED):
        for vector in inputs[np.arange(start, min(start + _HASHED, rows.stop))]:
            yield [hashlib.sha256(vector.tobytes()).hexdigest()]


def open_columns(source: object, data: Data, known: Mapping[str, Any]) -> Inputs:
    """The rows of a table in memory, or of a file, as a model of columns takes them.

    Args:
        source: what `read_table` takes.
        data: of the model's recipe; names the columns.
        known: the statistics of the columns that the run keeps.

    Raises:
        TableError: for columns that are not there, and cells that are no numbers where numbers are needed.
        ValueError: if it is no table.
    """
    table = read_table(source, "table")
    return _checked_inputs(table, data, table.folder, known)


_OTHER_VECTORS = (
    "For other vectors pass --vectors new.npy, a path relative to the folder of the table, or to --images DIR."
)


def _checked_inputs(table: Table, data: Data, root: Path, known: Mapping[str, Any] | None) -> Inputs:
    if complaints := check_inputs(table, data, root, _OTHER_VECTORS):
        raise TableError("\n".join(complaints))
    columns = [table.frame.get_column(name) for name in table.frame.columns if name not in ("line", "split")]
    keys = {"line": pl.Series(table.lines, dtype=pl.Int64), "split": ["train"] * len(table)}
    rows = pl.DataFrame(keys).with_columns(columns)
    return open_inputs(rows, root, data, table.name, vectors=table.vectors.get(data.vectors), known=known)


def _table_images(table: Table, data: Data, root: Path, drops: bool) -> TableInputs:
    """Images, read when they are taken. Unless rows may be dropped, every row must name a file."""
    names = table.cells(data.image)
    image_of = {row: name for row, name in enumerate(names) if name is not None}
    located, stamps = image_files.stamped(root, list(image_of.values()), data)
    file_of, stamp_of = dict(zip(image_of, located, strict=True)), dict(zip(image_of, stamps, strict=True))
    files = [file_of.get(row) for row in range(len(table))]

    def fault_of(row: int, fault: str) -> str:
        if names[row] is None:
            return f"the cell of column {data.image!r} is empty"
        return f"image {names[row]!r} {fault}"

    def refuse(faults: dict[int, str]) -> None:
        if faults:
            raise TableError(fault_message(faults, [name or "" for name in names], table.lines, table.name, root))

    def take(rows: Sequence[int]) -> tuple[Shaped[np.ndarray, "rows ..."], dict[int, str]]:
        some = [files[row] for row in rows]
        pixels, faults = image_files.decode_some(some, data.image_size, data.channels, data.white)
        refuse({rows[k]: fault for k, fault in faults.items() if fault.startswith(NO_ANSWER)})
        named = [row for row in rows if row in stamp_of]
        if changed := image_files.changed_since([stamp_of[row] for row in named], root, data):
            what = f"image {names[named[changed[0]]]!r} has changed since this command began."
            raise TableError(table.complaint([named[n] for n in changed], what, image_files.WAIT))
        return pixels, {k: fault_of(rows[k], fault) for k, fault in faults.items()}

    faults = {row: fault for row, file in enumerate(files) if (fault := image_files.known_fault(file))}
    at = {row: file for row in faults if isinstance(file := files[row], ImageAt)}
    refuse({row: faults[row] for row, file in at.items() if not (drops and file.may_be_left_out)})
    if faults and not drops:
        raise TableError(
            missing_images_text(table, {row: fault_of(row, f"{faults[row]} (looked in {root})") for row in faults})
        )
    places = dict.fromkeys(file.place if isinstance(file, ImageAt) else file for file in files)
    paths = [place for place in places if isinstance(place, Path)]
    return TableInputs(names, paths, lambda rows: (stamp_of.get(row, (None, -1, -1, -1, -1)) for row in rows), take)


def changed_rows(run: Run, rows: Sequence[int]) -> list[int]:
    """Those of some rows of a run whose image, or vector, is not the one of training any more, or is gone.

    Only these rows are read. Of a run that keeps its inputs itself none has changed.
    """
    if (trained := run.read_fingerprints()) is None:
        return []
    data, root, table = data_of(run.read_recipe_values()), Path(run.read_facts()["images_root"]), run.read_rows()
    numbers = np.unique(np.asarray(rows, dtype=np.int64))
    if data.input == "vectors":
        try:
            current = fingerprints.of_vectors(
                open_file(vectors_file(root, data, run.name), len(table), run.name)[numbers]
            )
        except TableError:
            return numbers.tolist()
    else:
        images = table.get_column("image").gather(numbers).to_list()
        current, _ = image_files.fingerprint_some(image_files.find_images(root, images, data), "")
    return numbers[(trained[numbers] != current).any(axis=1)].tolist()


def changed_since_training(run: Run, data: Data, table: Table, images: Path | None = None) -> str:
    """A message on rows whose input has changed; "" if none has, or the run was trained on another table.

    Reads all images, or vectors, of the run's rows.

    Args:
        run: whose model embeds the table.
        data: names the columns, or the file of vectors, in this table.
        table: it is known by its content, and its rows by their lines.
        images: folder that image paths, or the file of vectors, are relative to; by default the table's.
    """
    trained = run.read_fingerprints()
    if trained is None or data.vectors in table.vectors or run.read_facts()["table"].get("sha256") != table.sha256:
        return ""
    lines = run.read_rows().get_column("line").to_list()
    row_of = {line: row for row, line in enumerate(table.lines)}
    rows = [row_of[line] for line in lines]
    root = images_root(table, data, images)
    if data.input == "vectors":
        file = open_file(vectors_file(root, data, table.name), len(table), table.name)
        every = np.ones(len(table), dtype=bool)
        store = checked(file, every, pl.Series(table.lines), table.name, f"'{file.path.name}'", fingerprinted=True)
        assert store.fingerprints is not None
        current = store.fingerprints[rows]
    else:
        cells = with_boxes(table, data).cells(data.image)
        paths = image_files.find_images(root, [cells[row] or "" for row in rows], data)
        current, faults = image_files.fingerprint_some(paths, "comparing images")
        unreadable = sorted(faults)  # embedding itself reports these
        current[unreadable] = trained[unreadable]
    return fingerprints.changes(trained, current, lines, table.name, data, root)[1]
