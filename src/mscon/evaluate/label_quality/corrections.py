"""Corrections: a copy of a run's table in which label issues are replaced by what is predicted."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mscon.data.table.table import Table, read_table, unit
from mscon.errors import RunError, counted, first_few, numbered
from mscon.run import atomic, outputs
from mscon.run.run import Run


def write_corrected(run: Run, out: Path, at_least: float, table: str | Path | None = None) -> dict[str, int]:
    """Write a CSV copy of the table, with label issues replaced whose prediction is confident enough.

    The table itself is never written. Numbers are not replaced, since a prediction is only near them, and neither are
    columns that are read together with others, nor those that the recipe derives.

    Args:
        run: whose labels have been judged, see `doubt`.
        out: the CSV file, a name that ends in .csv; it must not exist.
        at_least: the least confidence of a prediction that replaces a label, from 0 to 1.
        table: the table, if it is no longer where it was when the run was trained.

    Returns:
        For each column how many labels were replaced.

    Raises:
        RunError: if the table is not there, has other labels than the run, or lacks a column of them; if it has columns
            of lists or images, which CSV cannot hold; or `out` is in the way, or its name does not end in .csv. Nothing
            is written then.
        TableError: if the table cannot be read.
    """
    frame, replaced = _corrected(run, need_table(run, out, table), at_least)
    with outputs.writing(out, "Choose another --corrected."):
        atomic.write_with(out, frame.write_csv)
    return replaced


def need_table(run: Run, out: Path, table: str | Path | None = None, option: str = "--corrected") -> Table:
    """The table that a CSV copy can be made of; raises what `write_corrected` does, before the work begins."""
    facts = run.read_facts()["table"]
    path = Path(table) if table is not None else Path(facts["path"]) if facts.get("path") else None
    if path is None:
        raise RunError(f"run '{run.root}' was trained on a DataFrame. Pass --table FILE to write a copy of it.")
    outputs.need_free([out], reads=[*run.files, path], images=run.images, advice=f"Choose another {option}.")
    if out.suffix != ".csv":
        raise RunError(f"{option} '{out}': its name must end in .csv, since it is written as CSV.")
    original = read_table(path)
    if lost := [*original.vectors, *original.pictures, *original.unreadable]:
        raise RunError(
            f"{original.name}: {first_few([repr(name) for name in lost])} cannot be written as CSV. Pass --table with "
            "a table without such columns."
        )
    return original


def _corrected(run: Run, table: Table, at_least: float) -> tuple[pl.DataFrame, dict[str, int]]:
    labels, row_of = run.read_judged_labels(), {line: row for row, line in enumerate(table.lines)}
    numbers = {record["column"] for record in run.read_doubt()["columns"] if record["kind"] == "number"}
    recipe = run.read_recipe()
    joined = {part.column for part in recipe.similarities if len(part.reads) > 1}
    derived = {column.column for column in recipe.derived}
    frame, replaced, complaints = table.frame, dict[str, int](), list[str]()
    for (name,), judged in labels.group_by("column", maintain_order=True):
        column = str(name)
        if column in numbers | joined | derived:
            continue
        if column not in frame.columns:
            complaints.append(f"{table.name} has no column '{column}'. Pass --table with the table of the run.")
            continue
        cells = frame.get_column(column).to_list()
        label_at = dict(judged.select("line", "given_label").iter_rows())
        others = [line for line, cell in label_at.items() if line not in row_of or cells[row_of[line]] != cell]
        if others:
            complaints.append(
                f"{table.name}, column '{column}': {counted(len(others), 'label')} of {len(label_at):,} "
                f"{'is' if len(others) == 1 else 'are'} not what the run was trained on "
                f"({numbered(unit(table.name), sorted(others))}). Pass --table with the table of the run."
            )
            continue
        sure = judged.filter(pl.col("is_label_issue") & (pl.col("confidence") >= at_least))
        for line, predicted in sure.select("line", "predicted_label").iter_rows():
            cells[row_of[line]] = predicted
        replaced[column] = sure.height
        frame = frame.with_columns(pl.Series(column, cells, dtype=pl.String))
    if complaints:
        raise RunError("\n".join(complaints))
    return frame, replaced
