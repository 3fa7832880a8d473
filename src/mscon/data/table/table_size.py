"""Table size: refuses tables that are far larger than their files."""

from __future__ import annotations

from pathlib import Path

from mscon.errors import TableError, counted

# A table may have so many cells, or so much text in bytes, for each byte of its file. Beyond, and from a size on that
# memory feels, it is refused: 700 kB of Parquet can be 300 million rows.
_UNFOLDED = 100
_MANY_CELLS, _MUCH_TEXT = 20_000_000, 2**30


def check_size(path: Path, rows: int, columns: int, text_bytes: int = 0) -> None:
    """Refuse a table that is far larger than its file, which would take more memory than there is.

    Args:
        path: the file.
        rows, columns: of the table.
        text_bytes: of all its text, as far as it is known.

    Raises:
        TableError: with the numbers, and what to do.
    """
    size = path.stat().st_size
    if rows * columns > max(_MANY_CELLS, _UNFOLDED * size):
        large = f"{counted(rows, 'row')} of {counted(columns, 'column')}"
    elif text_bytes > max(_MUCH_TEXT, _UNFOLDED * size):
        large = f"{text_bytes:,} bytes of text"
    else:
        return
    raise TableError(
        f"{path.name}: the file has {size:,} bytes but holds {large}, more than {_UNFOLDED} times its size, so nearly "
        "all of it is empty or repeated. It is not read, since it could fill the memory.\n"
        "  If it is the right file, take out the columns that are not used, or write it as CSV."
    )
