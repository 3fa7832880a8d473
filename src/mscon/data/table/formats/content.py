"""Content: what a format makes of a file, and what every format complains about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Float32

from mscon.errors import counted, first_few


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """The cells of a file.

    Attributes:
        frame: columns of text, stripped; null where missing.
        lines: for each row the line on which it begins, or its number.
        vectors: columns of lists of numbers, all of one length; a row of NaN where missing.
        pictures: columns of encoded images, as bytes; null where missing. In `frame` a column of the same name
            says which file each of them becomes (`mscon.data.table.embedded`).
    """

    frame: pl.DataFrame
    lines: Sequence[int]
    vectors: Mapping[str, Float32[np.ndarray, "rows dim"]] = field(default_factory=dict)
    pictures: Mapping[str, pl.Series] = field(default_factory=dict)


def header_complaints(name: str, header: Sequence[str], delimiter: str = "") -> list[str]:
    """What is wrong with the names of columns.

    Args:
        name: how the table is called.
        header: the names, stripped.
        delimiter: what stands between cells, where something does.
    """
    complaints = []
    other = next((d for d in (";", "\t", ",", "|") if d != delimiter and d in header[0]), None)
    if delimiter and len(header) == 1 and other:
        complaints.append(
            f"{name}, line 1: the only column is {header[0]!r}; its cells look separated by {other!r}. "
            f"Save the table with {delimiter!r} between cells" + (", or name it .tsv." if other == "\t" else ".")
        )
    if blank := [i for i, column in enumerate(header, start=1) if not column]:
        complaints.append(
            f"{name}: {counted(len(blank), 'column')} of {len(header)} without a name (number {first_few(blank)}). "
            "Name them, or take them out"
            + ("; a separator at the end of the first line makes one, too." if delimiter else ".")
        )
    return complaints + repeated_names(name, header)


def repeated_names(name: str, header: Sequence[str]) -> list[str]:
    """A complaint if columns share a name; blank names are another fault."""
    if twice := [repr(column) for column, n in Counter(header).items() if n > 1 and column]:
        return [f"{name}: column names must differ, but these stand there more than once: {first_few(twice)}."]
    return []
