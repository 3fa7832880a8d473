"""Export: the vectors of a whole table into a database, a batch at a time; a stopped export goes on where it was."""

from __future__ import annotations

import bisect
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from mscon.data.table.table import Table, read_table
from mscon.deploy.databases.database import LINE, Database, open_database
from mscon.deploy.databases.exported import Export
from mscon.deploy.embedder import Embedder
from mscon.deploy.inputs import TableInputs, missing_images_text, open_table
from mscon.deploy.shard_job import batches_of, spaces_of
from mscon.deploy.shards import ROWS, note_left_out, table_data
from mscon.deploy.vectors import RowVectors
from mscon.errors import RunError, TableError, nearest
from mscon.run.progress import ProgressBar

_IMAGE, _UNCERTAINTY = "image", "uncertainty"

# Numbers as a person writes them, which int64 and float64 hold: "007" and numbers of twenty digits are names.
_WHOLE = r"^-?(0|[1-9]\d{0,17})$"
_NUMBER = r"^-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d{1,2})?$"


def export_vectors(
    model: Embedder,
    table: Table | Any,
    to: str,
    at: str,
    name: str = "vectors",
    *,
    spaces: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    images: str | Path | None = None,
    vectors: str | None = None,
    link_folders: Sequence[str] = (),
    remote: Sequence[str] = (),
    missing_images: Literal["error", "drop"] = "error",
    batch_size: int = 256,
    overwrite: bool = False,
    reads: Sequence[Path] = (),
    progress: bool = True,
) -> Export:
    """Write the vectors of every row of a table into a database, with the cells of the row.

    Each row has its `line` as key, `image` where rows are images, the columns of the table, `uncertainty` where the
    model knows it, and a vector in each space: `features`, `projection_NAME` of each similarity, and `mix`, all
    projections side by side. A column whose every cell is a number is stored as numbers, others as text; empty cells
    are null. An unfinished export of the same rows goes on where it stopped. Memory does not grow with the number of
    vectors, except while FAISS and USearch build their indexes in the end, one after the other.

    Args:
        model: makes the vectors.
        table: or what `mscon.read_table` takes; must have the columns that the model reads its inputs from.
        to: "lancedb", "qdrant", "pgvector", "faiss" or "usearch".
        at: address of the database: a folder (LanceDB, Qdrant, FAISS, USearch), a URL (LanceDB, Qdrant), or a
            connection string or URL of PostgreSQL.
        name: of the table, of the collection, or of the folder with the index files.
        spaces: names of those to store; empty for all.
        columns: of the table, to store; None for all.
        images, vectors, link_folders, remote, missing_images, batch_size: see `mscon.deploy.shards.embed_table`.
        overwrite: replace what an earlier export wrote under this name; never anything else.
        reads: files that may not be replaced.
        progress: show a bar on a terminal.

    Returns:
        What was written, for queries.

    Raises:
        TableError: for all rows without a readable image, at once; rows before them may be stored by then.
        RunError: for an engine that is not installed or does not answer; for a table that exists; for an unfinished
            export of another model, of other rows, columns or spaces; for spaces or columns that there are not, or
            of the same name; and for what the database, its disk or the network refuses.
    """
    if not isinstance(table, Table):
        table = read_table(table)
    drops = missing_images == "drop"
    data = table_data(model, vectors, link_folders, remote)
    inputs = open_table(table, data, None if images is None else Path(images), model.known, drops)
    stored = _columns(model, table, columns)
    widths = _spaces(model, spaces)
    _need_different_names(model, inputs, stored, widths)
    cells = pl.DataFrame(
        [pl.Series(LINE, table.lines, dtype=pl.Int64)]
        + ([] if inputs.names is None else [pl.Series(_IMAGE, inputs.names, dtype=pl.String)])
        + [_typed(table.frame.get_column(column)) for column in stored]
    )
    export = Export(
        model.digest, _source(table, inputs), model.similarities, tuple(widths), tuple(stored), table.lines[-1]
    )
    with open_database(to, at, name) as database:
        database.need_cells(cells)
        start = _begin(database, export, _frame(model, cells[:0], None, widths), overwrite, reads)
        first = bisect.bisect_right(table.lines, start)
        faults: dict[int, str] = {}
        with ProgressBar("exporting", len(table) - first, shown=progress) as bar:
            for number in range(first, len(table), ROWS):
                rows = range(number, min(number + ROWS, len(table)))
                embedded: list[int] = []
                batches: list[RowVectors] = []
                for fine, block, unreadable in batches_of(inputs, rows, batch_size):
                    faults |= unreadable
                    if fine and (drops or not faults):  # after a fault the rest is only tried
                        batches.append(model.encode_all(block))
                        embedded += fine
                    bar.advance(len(fine) + len(unreadable))
                if embedded and (drops or not faults):
                    with database.refusals():
                        database.add(_frame(model, cells[embedded], RowVectors.joined(batches), widths))
        with database.refusals():
            is_empty = not database.last_line()
        if faults and (is_empty or not drops):
            raise TableError(missing_images_text(table, faults))
        note_left_out(table, faults)
        with database.refusals():
            database.finish()
    return export


def _columns(model: Embedder, table: Table, columns: Sequence[str] | None) -> list[str]:
    """Those of the table that are stored; its image paths are stored anyway."""
    known = table.frame.columns
    if unknown := [column for column in columns or () if column not in known]:
        raise TableError("\n".join(f"{table.name}: {table.no_column(column)}" for column in unknown))
    data = model.recipe.data
    return [
        c for c in (known if columns is None else dict.fromkeys(columns)) if (data.input, c) != ("image", data.image)
    ]


def _spaces(model: Embedder, spaces: Sequence[str]) -> dict[str, int]:
    """The spaces that are stored, in the order of the model, and how many numbers their vectors have."""
    widths = {space: sum(each) for space, each in spaces_of(model, None, all_spaces=True).items()}
    if unknown := [space for space in spaces if space not in widths]:
        listed = "\n".join(f"{model.name} has no space {space!r}.{nearest(space, widths)}" for space in unknown)
        raise RunError(f"{listed}\n  Spaces: {', '.join(map(repr, widths))}.")
    return {space: width for space, width in widths.items() if not spaces or space in spaces}


def _need_different_names(model: Embedder, inputs: TableInputs, columns: Sequence[str], spaces: Iterable[str]) -> None:
    of_mscon = [LINE, *([] if inputs.names is None else [_IMAGE]), *([_UNCERTAINTY] if model.rates() else []), *spaces]
    if repeated := [name for name, count in Counter([*of_mscon, *columns]).items() if count > 1]:
        raise RunError(
            f"columns of the table have names that the export needs: {', '.join(map(repr, repeated))}. Rename them, or "
            "name the columns to store with --columns, without these."
        )


def _typed(cells: pl.Series) -> pl.Series:
    """Whole numbers or numbers where all cells are some, so that a database can compare them; else text."""
    values = cells.drop_nulls()
    for pattern, kind in ((_WHOLE, pl.Int64), (_NUMBER, pl.Float64)):
        if len(values) and values.str.contains(pattern).all():
            return cells.cast(kind)
    return cells


def _source(table: Table, inputs: TableInputs) -> str:
    digest = hashlib.sha256(table.sha256.encode())
    for stamp in inputs.stamps(range(len(table))):
        digest.update(json.dumps(list(stamp)).encode())
    return digest.hexdigest()


def _frame(model: Embedder, cells: pl.DataFrame, batch: RowVectors | None, widths: dict[str, int]) -> pl.DataFrame:
    """Rows as they are stored; none for no batch, for their schema."""
    uncertainty = None if batch is None else batch.uncertainty
    rated = [pl.Series(_UNCERTAINTY, uncertainty, dtype=pl.Float64)] if model.rates() else []
    vectors = [
        pl.Series(space, [] if batch is None else batch.columns[space], dtype=pl.Array(pl.Float32, width))
        for space, width in widths.items()
    ]
    return pl.concat([cells, pl.DataFrame([*rated, *vectors])], how="horizontal")


def _begin(database: Database, export: Export, none: pl.DataFrame, overwrite: bool, reads: Sequence[Path]) -> int:
    """Make the table, or find one to go on with; the last line that is stored."""
    with database.refusals():
        record = database.record()
    if record is None:
        with database.refusals():
            database.create(none, export.to_json())
        return 0
    if (there := Export.from_json(record)) is None:
        raise RunError(f"{database} exists and was not written by `mscon export`: not replaced. Choose another --name.")
    with database.refusals():
        is_complete = database.is_complete(there.last_line)
        if there == export and not is_complete:
            return database.last_line()
        if overwrite:
            database.drop(reads)
            database.create(none, export.to_json())
            return 0
    if there.model != export.model:
        what = f"holds vectors of another model (its hash is {there.model[:12]}, that of this one {export.model[:12]})"
    elif there != export:
        names = {"source": "rows or inputs", "columns": "columns", "spaces": "spaces"}
        differs = [text for name, text in names.items() if getattr(there, name) != getattr(export, name)]
        what = f"holds an export of this model with other {' and '.join(differs)}"
    else:
        what = "exists and is complete"
    raise RunError(f"{database} {what}. Choose another --name, or pass --overwrite to replace it.")
