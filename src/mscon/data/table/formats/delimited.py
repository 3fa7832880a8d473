"""Delimited text: CSV and TSV. The standard library's reader knows the line on which a row begins."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from mscon.data.table.table import DELIMITERS, Table, header_complaints
from mscon.errors import TableError, counted, numbered

# A ragged row is a slip of an editor, mostly few, and one wants to jump to each of them.
_RAGGED_LINES_SHOWN = 20

# Separators that a first line may have instead of the one that its file's ending says.
_OTHERS = (";", "\t", ",", "|")

# Rows that are Python objects at a time: a cell of text takes 60 bytes more as such than in a frame, and the garbage
# collector looks at every list again and again.
_ROWS_AT_ONCE = 4_000


def read(path: Path) -> Table:
    """Rows of a UTF-8 file, with or without a byte order mark; the first line names the columns.

    The separator is that of the file's ending, unless the first line has another one only.

    Raises:
        TableError: with all faults of the header and of the rows' numbers of cells.
        OSError: if the file cannot be read.
    """
    name, text = path.name, _text(path)
    records = _records(name, text, DELIMITERS[path.suffix.lower()])
    first = next(records, None)
    if first is not None and len(first[1]) == 1 and (other := next((d for d in _OTHERS if d in first[1][0]), None)):
        records = _records(name, text, other)
        first = next(records)
    if first is None:
        raise TableError(f"{name} is empty: not even column names are in it.")
    header = [cell.strip() for cell in first[1]]
    complaints = header_complaints(name, header, delimited=True)
    width, lines, frames = len(header), [], []
    ragged: list[tuple[int, int]] = []
    block: list[list[str]] = []
    for line, record in records:
        lines.append(line)
        if len(record) != width:
            ragged.append((line, len(record)))
        elif not (complaints or ragged):
            block.append(record)
            if len(block) == _ROWS_AT_ONCE:
                frames.append(_frame(header, block))
                block.clear()
    if ragged:
        complaints.append(_ragged_complaint(name, width, len(lines), ragged))
    if not lines:
        complaints.append(f"{name} has column names but no rows.")
    if complaints:
        raise TableError("\n".join(complaints))
    return Table(path, pl.concat([*frames, *([_frame(header, block)] if block else [])]), tuple(lines))


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{path.name}, line {line}: not UTF-8 text (byte {error.object[error.start]:#04x}). "
            "Save the table as UTF-8; in a spreadsheet this is 'CSV UTF-8'."
        ) from None


def _frame(header: Sequence[str], block: Sequence[Sequence[str]]) -> pl.DataFrame:
    columns = ([cell.strip() or None for cell in column] for column in zip(*block, strict=True))
    return pl.DataFrame(dict(zip(header, columns, strict=True)), schema=dict.fromkeys(header, pl.String))


def _records(name: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a delimited text after the line on which each begins, blank lines left out."""
    # newline="" keeps the line ends as they are, so that one within quotes stays what it was.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for record in reader:
            if len(record) > 1 or (record and record[0].strip()):
                yield begins, record
            begins = reader.line_num + 1
    except csv.Error as error:
        raise TableError(
            f"{name}, line {begins}: the row that begins here cannot be read ({error}). "
            'Is a quote left open? A quote within a quoted cell is written twice: "".'
        ) from None


def _ragged_complaint(name: str, width: int, rows: int, ragged: Sequence[tuple[int, int]]) -> str:
    line, cells = ragged[0]
    return (
        f"{name}, line {line}: {counted(cells, 'cell')}, but there are {counted(width, 'column')}.\n"
        f"  {len(ragged):,} of {counted(rows, 'row')} with another number of cells: "
        f"{numbered('line', [n for n, _ in ragged], _RAGGED_LINES_SHOWN)}.\n"
        "  A cell that holds the separator must stand in double quotes."
    )
