"""Groups of rows that stay in one split, such as the photographs of one product."""

from __future__ import annotations

import numpy as np
import polars as pl
from jaxtyping import Int


def row_groups(rows: pl.DataFrame, column: str) -> Int[np.ndarray, " rows"] | None:
    """For each row the number of its group, by which rows were split; a row without one is by itself.

    None if there is no such column among the rows of the run.
    """
    if not column or column not in rows.columns:
        return None
    numbers = rows.get_column(column).rank("dense").cast(pl.Int64)
    alone = pl.Series(range(numbers.len() + 1, 2 * numbers.len() + 1), dtype=pl.Int64)
    return numbers.zip_with(numbers.is_not_null(), alone).to_numpy()
