"""Derived columns: labels computed from another column, for one run; the table is not changed.

A noisy copy of a column shows how a method copes with wrong labels; an exact or a correlated copy, how it copes with
redundant columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from mscon.data.table.table import Table
from mscon.errors import TableError
from mscon.run.recipe import Derived

Cell = str | None


def with_derived(table: Table, split: Sequence[str], derived: Sequence[Derived]) -> Table:
    """The table and, behind its own columns, those that a recipe derives from them.

    Args:
        table: as it was read; it is not changed.
        split: of each row.
        derived: in order; a later one may be made from an earlier one.

    Raises:
        TableError: once, for every column that is not there, or that is there already.
    """
    complaints = []
    for one in derived:
        columns = table.frame.columns
        if one.of not in columns:
            complaints.append(f"{table.name}: {table.no_column(one.of)}\n  It is named by [[derived]] of the recipe.")
        elif one.column in columns:
            complaints.append(
                f"{table.name}: [[derived]] column {one.column!r} is there already. Give the new one another name."
            )
        else:
            cells = redrawn(table.cells(one.of), split, one.redraw, one.rows == "all", one.seed)
            series = pl.Series(one.column, cells, dtype=pl.String)
            table = replace(table, frame=table.frame.with_columns(series))
    if complaints:
        raise TableError("\n".join(complaints))
    return table


def redrawn(cells: Sequence[Cell], split: Sequence[str], share: float, everywhere: bool, seed: int) -> list[Cell]:
    """Labels of which a share is drawn anew, each uniformly over the classes of the training rows.

    A redraw may give the label that was there, so with K classes a share (K - 1) / K of the redrawn ones change.
    Empty cells stay empty. For one seed the rows redrawn at a smaller share are among those at a larger, and
    get the same labels there.

    Args:
        cells: a label a row, None where missing.
        split: of each row.
        share: of the labelled rows that may be redrawn; rounded to whole rows.
        everywhere: redraw among all rows, not among training rows only.
        seed: of which rows, and of what they get.

    Source: MSCon, Mu et al. 2023, the noisy task of its Figure 3.
    """
    classes = sorted({cell for cell, name in zip(cells, split, strict=True) if name == "train" and cell is not None})
    may = [
        row
        for row, (cell, name) in enumerate(zip(cells, split, strict=True))
        if cell is not None and (everywhere or name == "train")
    ]
    noisy = list(cells)
    if not classes:
        return noisy
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(may))
    labels = generator.integers(len(classes), size=len(may))
    for at in order[: round(share * len(may))]:
        noisy[may[at]] = classes[labels[at]]
    return noisy
