"""Table: the user's rows as text, and where each of them stands in its file.

It knows files and line numbers; it does not know images, splits or losses.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mscon.errors import TableError, counted, first_few, nearest

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (*_DELIMITERS, ".parquet")

# A ragged row is a slip of an editor, mostly few, and one wants to jump to each of them.
_RAGGED_LINES_SHOWN = 20

# Above this a float has no fractional digits left to lose, and its integer would be long to read.
_WHOLE_FLOATS = 2**53


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One row per thing, every cell as text.

    Attributes:
        path: the file it was read from.
        frame: every column as String, stripped; null where the cell was empty or blank: missing.
        lines: for each row the line (from 1) on which it begins in the file; in a Parquet file,
            which has no lines, the number of the row.
    """

    path: Path
    frame: pl.DataFrame
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return self.frame.height

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
            raise TableError(f"{self.name}: {no_column(column, self.frame.columns)}")
        return self.frame.get_column(column).to_list()

    def place(self, row: int) -> str:
        """Where a row stands: "shoes.csv, line 18"."""
        return f"{self.name}, {unit(self.name)} {self.lines[row]}"

    def complaint(self, rows: Sequence[int], what: str, advice: str = "") -> str:
        """What is wrong with some rows, in the one form that all such messages have."""
        return at_lines(self.name, [self.lines[row] for row in rows], len(self), what, advice)


def unit(table_name: str) -> str:
    """What the rows of such a file are counted in: "line", or "row" for Parquet."""
    return "row" if Path(table_name).suffix.lower() == ".parquet" else "line"


def at_lines(table_name: str, lines: Sequence[int], total: int, what: str, advice: str = "") -> str:
    """A message about rows at fault: where the first is, what, how many, which, what to do.

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


def read_table(path: Path) -> Table:
    """Read a table from a .csv, .tsv or .parquet file.

    Text files are UTF-8, with or without a byte order mark; the first line names the columns; cells
    may be quoted and then hold line breaks. Blank lines are skipped. Of a Parquet file numbers become
    text as a person would write them: 3 and not 3.0, 0.1, true; NaN is missing.

    Raises:
        TableError: for a file that is missing, of another kind, not UTF-8, badly quoted or without
            rows; for blank or repeated column names; for rows with another number of cells than
            there are columns, with their lines; for Parquet columns of lists and the like.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise TableError(f"'{path}' is not a table that can be read: its name must end in {', '.join(_SUFFIXES)}.")
    if path.is_dir():
        raise TableError(f"table '{path}' is a folder. Name the file in it.")
    try:
        content = path.read_bytes() if suffix in _DELIMITERS else b""
        return _read_parquet(path) if suffix == ".parquet" else _read_text(path, content, _DELIMITERS[suffix])
    except FileNotFoundError:
        raise TableError(f"table '{path}' does not exist.{_nearest_file(path)}") from None
    except OSError as error:
        raise TableError(f"table '{path}' cannot be read: {error.strerror or error}.") from None


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" Its folder '{path.parent}' does not exist either."
    return nearest(path.name, (p.name for p in path.parent.iterdir() if p.suffix.lower() in _SUFFIXES))


def _read_text(path: Path, content: bytes, delimiter: str) -> Table:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{path.name}, line {line}: not UTF-8 text (byte {error.object[error.start]:#04x}). "
            "Save the table as UTF-8; in a spreadsheet this is 'CSV UTF-8'."
        ) from None
    records, lines = _records(path.name, text, delimiter)
    if not records:
        raise TableError(f"{path.name} is empty: not even column names are in it.")
    header, cells, lines = [name.strip() for name in records[0]], records[1:], lines[1:]
    complaints = _header_complaints(path.name, header, delimiter) + _ragged_complaints(path.name, header, cells, lines)
    if not cells:
        complaints.append(f"{path.name} has column names but no rows.")
    if complaints:
        raise TableError("\n".join(complaints))
    columns = ([cell.strip() or None for cell in column] for column in zip(*cells, strict=True))
    data = dict(zip(header, columns, strict=True))
    return Table(path, pl.DataFrame(data, schema=dict.fromkeys(header, pl.String)), tuple(lines))


def _records(name: str, text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The records of a delimited text and the line on which each begins, blank lines left out."""
    # newline="" keeps the line ends as they are, so that one within quotes stays what it was.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records, lines = [], []
    begins = 1
    try:
        for record in reader:
            if len(record) > 1 or (record and record[0].strip()):
                records.append(record)
                lines.append(begins)
            begins = reader.line_num + 1
    except csv.Error as error:
        raise TableError(
            f"{name}, line {begins}: the row that begins here cannot be read ({error}). "
            'Is a quote left open? A quote within a quoted cell is written twice: "".'
        ) from None
    return records, lines


def _header_complaints(name: str, header: Sequence[str], delimiter: str) -> list[str]:
    complaints = []
    other = next((d for d in (";", "\t", ",", "|") if d != delimiter and d in header[0]), None)
    if len(header) == 1 and other:
        complaints.append(
            f"{name}, line 1: the only column is {header[0]!r}; its cells look separated by {other!r}. "
            f"Save the table with {delimiter!r} between cells" + (", or name it .tsv." if other == "\t" else ".")
        )
    if blank := [i for i, column in enumerate(header, start=1) if not column]:
        complaints.append(
            f"{name}: {counted(len(blank), 'column')} of {len(header)} without a name (number {first_few(blank)}). "
            "Name them, or take them out; a separator at the end of the first line makes one, too."
        )
    if twice := [repr(column) for column, n in Counter(header).items() if n > 1 and column]:
        complaints.append(
            f"{name}: column names must differ, but these stand there more than once: {first_few(twice)}."
        )
    return complaints


def _ragged_complaints(
    name: str, header: Sequence[str], cells: Sequence[Sequence[str]], lines: Sequence[int]
) -> list[str]:
    ragged = [(line, len(row)) for row, line in zip(cells, lines, strict=True) if len(row) != len(header)]
    if not ragged:
        return []
    line, found = ragged[0]
    return [
        f"{name}, line {line}: {counted(found, 'cell')}, but there are {counted(len(header), 'column')}.\n"
        f"  {len(ragged):,} of {counted(len(cells), 'row')} with another number of cells: "
        f"line {first_few([n for n, _ in ragged], _RAGGED_LINES_SHOWN)}.\n"
        "  A cell that holds the separator must stand in double quotes."
    ]


def _read_parquet(path: Path) -> Table:
    try:
        with path.open("rb") as file:
            raw = pl.read_parquet(file)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path.name} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None
    header = [name.strip() for name in raw.columns]
    complaints = _header_complaints(path.name, header, "") if header else [f"{path.name} is empty: it has no columns."]
    if refused := [
        f"{name!r} ({series.dtype})" for name, series in zip(header, raw, strict=True) if _is_nested(series)
    ]:
        complaints.append(
            f"{path.name}: a cell must be text, a number, a date or true/false, but these columns hold something else: "
            f"{first_few(refused)}.\n  Write lists as text first, for example joined by ';'."
        )
    if header and not raw.height:
        complaints.append(f"{path.name} has column names but no rows.")
    if complaints:
        raise TableError("\n".join(complaints))
    frame = pl.DataFrame([_as_text(series).alias(name) for name, series in zip(header, raw, strict=True)])
    return Table(path, frame, tuple(range(1, raw.height + 1)))


def _is_nested(series: pl.Series) -> bool:
    return series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object, pl.Duration)


def _as_text(series: pl.Series) -> pl.Series:
    if series.dtype.is_float():
        # Through text and not through Python's float: 0.1 in single precision is 0.10000000149 in double.
        single = series.dtype == pl.Float32
        texts = series.cast(pl.String).to_list() if single else [None] * len(series)
        values = [_number(value, text) for value, text in zip(series.to_list(), texts, strict=True)]
        return pl.Series(values, dtype=pl.String)
    stripped = series.cast(pl.String).str.strip_chars().to_frame()
    return stripped.select(pl.when(pl.first() != "").then(pl.first())).to_series()


def _number(value: float | None, text: str | None) -> str | None:
    if value is None or math.isnan(value):
        return None
    if value.is_integer() and abs(value) < _WHOLE_FLOATS:
        return str(int(value))
    return text or repr(value)
