"""Table: the user's rows as text, with the line of each row in its file.

It knows files and line numbers; it does not know images, splits or losses. The readers are in
`mscon.data.table.formats`.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float32

from mscon.errors import TableError, counted, first_few, nearest

DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LINE_FORMATS = (*DELIMITERS, ".jsonl", ".ndjson")
_ENDINGS = (*DELIMITERS, ".parquet", ".jsonl", ".ndjson", ".json", ".xml")

_ROWS_AT_ONCE = 65_536

CELLS = "A cell is text, a number, a date, true or false, a list of numbers or of texts, or an image."


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The rows of a table, every cell as text.

    Attributes:
        path: the file or folder it was read from; for a frame, the name that messages use.
        frame: every column as String, stripped; null where the cell was empty or blank: missing.
        lines: for each row the line (from 1) on which it begins in the file; where there are no
            lines, as in a Parquet file, the number of the row.
        vectors: columns of lists of numbers, all of one length, which are not in `frame`; a row of NaN where missing.
        pictures: columns of encoded images, null where missing; in `frame` a column of the same name says which file
            each of them becomes (`mscon.data.inputs.open`).
        unreadable: columns whose values are no cells, and what they hold; they are nowhere else.
        file_sha256: of the file, as it was when it was read; empty for folders and frames.
        notes: sentences on what of the file is no row, or was changed.
    """

    path: Path
    frame: pl.DataFrame
    lines: Sequence[int]
    vectors: Mapping[str, Float32[np.ndarray, "rows dim"]] = field(default_factory=dict)
    pictures: Mapping[str, pl.Series] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    file_sha256: str = ""
    notes: tuple[str, ...] = ()
    _digests: dict[str, bytes] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def folder(self) -> Path:
        """What paths in the table are relative to: the folder it lies in, or is; of a frame the current one."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def sha256(self) -> str:
        """Of the file, as it was when it was read; of a folder or a frame of its cells, vectors and pictures."""
        if self.file_sha256:
            return self.file_sha256
        digest = hashlib.sha256(repr(self.frame.schema).encode())
        for column in self.frame.get_columns():
            for start in range(0, len(column), _ROWS_AT_ONCE):
                digest.update(repr(column[start : start + _ROWS_AT_ONCE].to_list()).encode())
        for name in self.pictures:
            digest.update(self.pictures_sha256(name))
        for name, vectors in self.vectors.items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(vectors).tobytes())
        return digest.hexdigest()

    def pictures_sha256(self, column: str) -> bytes:
        """Of all images of a column of them. Each image is hashed once, however often this is called."""
        if column not in self._digests:
            digest = hashlib.sha256()
            for picture in self.pictures[column]:  # one at a time: together they may be more than fits
                digest.update(b"-" if picture is None else hashlib.sha256(picture).digest())
            self._digests[column] = digest.digest()
        return self._digests[column]

    @property
    def name(self) -> str:
        """How messages call it."""
        return self.path.name

    def cells(self, column: str) -> list[str | None]:
        """The cells of a column, None where missing.

        Raises:
            TableError: if there is no such column, naming the nearest.
        """
        if column not in self.frame.columns:
            raise TableError(f"{self.name}: {self.no_column(column)}")
        return self.frame.get_column(column).to_list()

    def no_column(self, column: str) -> str:
        """The message for a column that there is not, or that cannot be read."""
        if (holds := self.unreadable.get(column)) is not None:
            return f"column {column!r} holds {holds}. {CELLS}"
        return no_column(column, self.frame.columns)

    @property
    def blank_rows(self) -> list[int]:
        """Rows of which every cell is empty."""
        return self.frame.select(pl.all_horizontal(pl.all().is_null())).to_series().arg_true().to_list()

    def lines_at(self, rows: Sequence[int]) -> list[int]:
        """The lines on which some rows stand."""
        return [self.lines[row] for row in rows]

    def without(self, rows: Sequence[int]) -> Table:
        """The table without some of its rows. Only for tables without vectors."""
        others = pl.Series(range(len(self))).is_in(list(rows)).not_()
        pictures = {name: column.filter(others) for name, column in self.pictures.items()}
        lines = pl.Series(self.lines, dtype=pl.Int64).filter(others).to_list()
        return replace(self, frame=self.frame.filter(others), lines=lines, pictures=pictures, _digests={})

    def place(self, row: int) -> str:
        """Where a row stands: "shoes.csv, line 18"."""
        return f"{self.name}, {unit(self.name)} {self.lines[row]}"

    def complaint(self, rows: Sequence[int], what: str, advice: str = "") -> str:
        """What is wrong with some rows, in the one form that all such messages have."""
        return at_lines(self.name, self.lines_at(rows), len(self), what, advice)


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """What tells whether a file is still the same; None if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def unit(table_name: str) -> str:
    """How messages count rows of this table: in "line"s of a text file, else in "row"s."""
    return "line" if Path(table_name).suffix.lower() in _LINE_FORMATS else "row"


def at_lines(table_name: str, lines: Sequence[int], total: int, what: str, advice: str = "") -> str:
    """A message about faulty rows: where the first is, what is wrong, how many, which, what to do.

    Args:
        table_name: how the table is called.
        lines: lines of the rows at fault, at least one.
        total: rows of the table.
        what: the fault of the first of them.
        advice: what to do next.
    """
    word, verb = unit(table_name), "has" if len(lines) == 1 else "have"
    text = f"{table_name}, {word} {lines[0]}: {what}\n  {len(lines):,} of {counted(total, 'row')} {verb} this problem"
    if len(lines) == 1:
        text += "."
    elif len(lines) <= 5:
        text += f": {word}s {', '.join(str(n) for n in lines)}."
    else:
        text += f"; the first five are {word}s {', '.join(str(n) for n in lines[:5])}."
    return text + (f"\n  {advice}" if advice else "")


def no_column(column: str, columns: Iterable[str]) -> str:
    """The message for a column that a table lacks."""
    known = list(columns)
    listed = first_few([repr(name) for name in known], 20)
    return f"there is no column {column!r}.{nearest(column, known)}\n  Columns: {listed}."


def header_complaints(name: str, header: Sequence[str], *, delimited: bool = False) -> list[str]:
    """What is wrong with the names of columns.

    Args:
        name: how the table is called.
        header: the names, stripped.
        delimited: whether a separator stands between them.
    """
    complaints = []
    if blank := [i for i, column in enumerate(header, start=1) if not column]:
        complaints.append(
            f"{name}: {counted(len(blank), 'column')} of {len(header)} without a name (number {first_few(blank)}). "
            "Name them, or take them out"
            + ("; a separator at the end of the first line makes one, too." if delimited else ".")
        )
    if repeated := [repr(column) for column, n in Counter(header).items() if n > 1 and column]:
        complaints.append(f"{name}: column names must differ, but these occur more than once: {first_few(repeated)}.")
    return complaints


def read_table(source: object, name: str = "DataFrame") -> Table:
    """Read a table from a file, a folder, or a polars or pandas DataFrame.

    - .csv, .tsv: UTF-8, with or without a byte order mark; the first line names the columns; cells may be quoted and
      then hold line breaks. Blank lines are skipped. A first line without the usual separator may have another one:
      ";" as European spreadsheets write it, a tab, a comma or "|".
    - .jsonl, .ndjson: an object a line. See `formats.json_lines`.
    - .parquet, and DataFrames: numbers become text as a person would write them: 3 and not 3.0, 0.1, true; NaN is
      missing. Lists of numbers are vectors, and lists of texts become "a;b"; columns of bytes are images.
    - .json, .xml: boxes of COCO, Label Studio, or CVAT for images, a row each. See `formats.annotations`.
    - A folder: a Hugging Face dataset that `save_to_disk` wrote; else all Parquet files in it, one after the other;
      else class folders of images.

    Columns of other things (objects, lists of lists) are left out, and named if the recipe uses one.

    Args:
        source: a path, or a frame.
        name: what messages call a frame.

    Raises:
        TableError: for a file that is missing, that changes while it is read, of another kind, not UTF-8, badly
            quoted or without rows; for blank or repeated column names; for rows with another number of cells than
            there are columns, with their lines; for a table in which no column can be read.
        ValueError: if `source` is neither a path nor a frame.
    """
    # Each of these makes a Table, so they import this module.
    from mscon.data.table.formats import (
        annotations,
        class_folders,
        delimited,
        frames,
        hugging_face,
        json_lines,
        parquet,
    )

    if frames.is_frame(source):
        return frames.read(source, name)
    if not isinstance(source, str | Path):
        raise ValueError(f"a table is a path, or a polars or pandas DataFrame, not {type(source).__name__}.")
    path = Path(source)
    try:
        if path.is_dir():
            if hugging_face.is_dataset(path):
                return hugging_face.read(path)
            return parquet.read_shards(path) if parquet.shards(path) else class_folders.read(path)
        if (ending := path.suffix.lower()) not in _ENDINGS:
            raise TableError(
                f"'{path}' is not a table that can be read: its name must end in {', '.join(_ENDINGS)}, or it is a "
                "folder." + ("" if path.suffix or path.exists() else " There is no such folder.")
            )
        if path.is_char_device() or path.is_block_device():
            raise TableError(f"'{path}' is a device, not a table.")
        of_lines = delimited.read if ending in DELIMITERS else json_lines.read
        others = {".parquet": parquet.read, ".json": annotations.read, ".xml": annotations.read}
        return _unchanged(path, others.get(ending, of_lines))
    except FileNotFoundError:
        raise TableError(f"table '{path}' does not exist.{_nearest_file(path)}") from None
    except OSError as error:
        raise TableError(f"table '{path}' cannot be read: {error.strerror or error}.") from None


def _unchanged(path: Path, read: Callable[[Path], Table]) -> Table:
    """The table in a file, which is the same after reading as it was before."""
    if not path.is_file():  # a pipe, which is read once
        return read(path)
    before = stamp_of(path)
    table = read(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if stamp_of(path) != before:
        raise TableError(
            f"table '{path}' has changed while it was being read, so a part of it may be missing.\n"
            "  Wait until nothing writes it any more, then run again."
        )
    return replace(table, file_sha256=digest)


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" Its folder '{path.parent}' does not exist either."
    return nearest(path.name, (p.name for p in path.parent.iterdir() if p.suffix.lower() in _ENDINGS))
