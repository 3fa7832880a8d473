"""JSON Lines: an object a line, its keys the columns. A key that a line lacks is an empty cell there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32

from mscon.data.table.formats.typed import SEPARATOR, no_readable, number
from mscon.data.table.table import Table, header_complaints
from mscon.data.table.table_size import check_size
from mscon.errors import TableError, counted, numbered

_Fault = tuple[int, str]


def read(path: Path) -> Table:
    """Rows of a UTF-8 file with a JSON object on each line; blank lines are skipped.

    Text, numbers, true, false and null are cells; a list of numbers is a vector, and all of a column must be of one
    length; a list of texts is the cell "a;b". NaN is missing, as in Parquet. Columns of other things are left out.

    Raises:
        TableError: with all lines that are no object, or hold something else, or a key twice.
        OSError: if the file cannot be read.
    """
    name = path.name
    cells: dict[str, list[str | None]] = {}
    vectors: dict[str, dict[int, Float32[np.ndarray, " dim"]]] = {}
    lines: list[int] = []
    faults: list[_Fault] = []
    unreadable: dict[str, str] = {}
    width = 0
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            if not (raw := raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw).strip():
                continue
            row = len(lines)
            lines.append(line)
            try:
                record = _record(raw)
                for key, value in record.items():
                    if isinstance(value, list) and not all(isinstance(v, str) for v in value):
                        if all(isinstance(v, list | dict) for v in value):
                            unreadable[key] = "lists of lists or of objects"
                        else:
                            vectors.setdefault(key, {})[row] = _vector(key, value)
                    elif isinstance(value, dict):
                        unreadable[key] = "objects"
                    elif isinstance(value, list) and any(SEPARATOR in v for v in value):
                        unreadable[key] = f"lists of texts with {SEPARATOR!r} in them, which stands between texts here"
                    elif (text := _text(value)) is not None:
                        column = cells.setdefault(key, [])
                        column.extend([None] * (row - len(column)))
                        column.append(text)
                    elif key not in vectors:
                        cells.setdefault(key, [])
            except ValueError as error:
                faults.append((line, str(error)))
            if len(cells) > width:  # a column has room for every row, also where few rows have its key
                width = len(cells)
                check_size(path, len(lines), width)
    # A column of vectors in which some cell is null was taken for one of text until the first vector came.
    for key in [key for key in cells if key in vectors and not any(cells[key])]:
        del cells[key]
    for key in unreadable:
        cells.pop(key, None)
        vectors.pop(key, None)
    check_size(path, len(lines), len(cells))
    complaints = _complaints(name, faults, len(lines), cells, vectors, lines)
    if unreadable and not (cells or vectors or faults):
        complaints = [no_readable(name, unreadable)]
    if complaints:
        raise TableError("\n".join(complaints))
    frame = pl.DataFrame(
        {key: column + [None] * (len(lines) - len(column)) for key, column in cells.items()},
        schema=dict.fromkeys(cells, pl.String),
    )
    stacked = {key: _stacked(rows, len(lines)) for key, rows in vectors.items()}
    return Table(path, frame, tuple(lines), stacked, {}, unreadable)


def _record(raw: bytes) -> dict[str, Any]:
    try:
        record = json.loads(raw.decode("utf-8"), object_pairs_hook=without_repeats)
        if b"\\u" in raw:
            json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object[error.start]!a} is half of a letter, as a text cut in two has it.") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text.") from None
    except RepeatedKey as key:
        raise ValueError(f"column '{key}' stands there more than once.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno}). Each line is an object of its own.") from None
    except RecursionError:
        raise ValueError("nested too deeply.") from None
    if not isinstance(record, dict):
        raise ValueError("a JSON value, but not an object with the columns as its keys.")
    return record


class RepeatedKey(ValueError):
    """A key that occurs in one object more than once."""


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of a JSON object, for `json.loads`; keys stripped.

    Raises:
        RepeatedKey: with the first key that repeats.
    """
    record = {key.strip(): value for key, value in pairs}
    if len(record) < len(pairs):
        names = [key.strip() for key, _ in pairs]
        raise RepeatedKey(next(key for key in names if names.count(key) > 1))
    return record


def _text(value: Any) -> str | None:
    """Of a text, a number, a truth value, null, or a list of texts."""
    if value is None or isinstance(value, str | list):
        return (SEPARATOR.join(value) if isinstance(value, list) else value or "").strip() or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return number(value)


def _vector(key: str, value: list[Any]) -> Float32[np.ndarray, " dim"]:
    odd = [v for v in value if not isinstance(v, int | float) or isinstance(v, bool)]
    if odd:
        raise ValueError(
            f"column {key!r} holds a list of numbers with {json.dumps(odd[0])[:40]} among them. A vector has a number "
            "in every place; where there is no vector write null in place of the whole list."
        )
    try:
        with np.errstate(over="ignore"):  # too large for single precision is infinite, and refused as such
            return np.asarray(value, dtype=np.float64).astype(np.float32)
    except OverflowError:
        raise ValueError(f"column {key!r} holds a list with a number that is too large.") from None


def _complaints(
    name: str,
    faults: Sequence[_Fault],
    rows: int,
    cells: dict[str, list[str | None]],
    vectors: dict[str, dict[int, Float32[np.ndarray, " dim"]]],
    lines: Sequence[int],
) -> list[str]:
    if not rows:
        return [f"{name} is empty: there is no row in it."]
    complaints = []
    if faults:
        line, what = faults[0]
        listed = numbered("line", [at for at, _ in faults])
        verb = "cannot be read" if len(faults) == 1 else "cannot be read, for this reason or another"
        complaints.append(f"{name}, line {line}: {what}\n  {len(faults):,} of {counted(rows, 'row')} {verb}: {listed}.")
    if header := [*cells, *(key for key in vectors if key not in cells)]:
        complaints += header_complaints(name, header)
    elif not faults:
        complaints.append(f"{name} is empty: it has no columns.")
    for key, lists in vectors.items():
        if key in cells:
            complaints.append(f"{name}: column {key!r} holds lists in some rows and single values in others.")
        lengths = [v.size for v in lists.values()]
        usual = max(set(lengths), key=lambda n: (lengths.count(n), -n))
        if odd := [(lines[row], v.size) for row, v in lists.items() if v.size != usual]:
            complaints.append(
                f"{name}, line {odd[0][0]}: column {key!r} holds a list of {odd[0][1]}, but mostly of "
                f"{counted(usual, 'number')}.\n  {len(odd):,} of {counted(rows, 'row')} with another length: "
                f"{numbered('line', [line for line, _ in odd])}."
            )
    return complaints


def _stacked(lists: dict[int, Float32[np.ndarray, " dim"]], rows: int) -> Float32[np.ndarray, "rows dim"]:
    stacked = np.full((rows, next(iter(lists.values())).size), np.nan, dtype=np.float32)
    for row, vector in lists.items():
        stacked[row] = vector
    return stacked
