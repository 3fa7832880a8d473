"""What a whole recipe makes of a table: the functions of `mscon.data` take the parts of it that they need."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mscon.data.table.rows import select_rows
from mscon.data.table.table import Table
from mscon.run.recipe import Recipe


def selected(table: Table, recipe: Recipe, root: Path | None = None) -> pl.DataFrame:
    return select_rows(table, recipe.data, recipe.similarities, root, probe=recipe.probe, derived=recipe.derived)
