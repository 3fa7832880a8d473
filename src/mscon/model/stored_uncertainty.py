"""Stored uncertainty: the row uncertainty of a run, as `mscon probe` writes it and embedding and search read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mscon.errors import RunError
from mscon.model.row_uncertainty import RowUncertainty
from mscon.run.run import Run


def write_uncertainty(
    run: Run, uncertainty: RowUncertainty, of_rows: Float[np.ndarray, " rows"], checkpoint: str
) -> None:
    """Keep what says how uncertain rows are, and that of the rows of the run, with the run."""
    arrays, columns = uncertainty.to_arrays()
    run.write_uncertainty({**arrays, "rows": of_rows.astype(np.float32)}, columns, checkpoint)


def read_uncertainty(run: Run, checkpoint: str) -> tuple[RowUncertainty, Float[np.ndarray, " rows"]] | None:
    """The same; None where the run has none of this checkpoint as it is now.

    Raises:
        RunError: if the file is damaged, or is not of the rows and similarities of the run.
    """
    stored = run.read_uncertainty(checkpoint)
    if stored is None:
        return None
    arrays, columns = stored
    rows, similarities = run.read_rows().height, [part["column"] for part in run.read_recipe_values()["similarity"]]
    try:
        uncertainty = of_arrays(arrays, columns, similarities)
        of_rows = arrays.get("rows")
        if of_rows is None or of_rows.shape != (rows,) or not ((of_rows >= 0) & (of_rows <= 1)).all():
            raise ValueError(f"its array 'rows' must hold a number from 0 to 1 for each of {rows:,} rows")
    except ValueError as error:
        raise RunError(
            f"{run.root / 'uncertainty.safetensors'} does not hold what mscon writes into it: {error}.\n"
            "  Restore it from a copy, or run `mscon probe` again."
        ) from None
    return uncertainty, of_rows


def of_arrays(
    arrays: Mapping[str, np.ndarray], columns: Sequence[Mapping[str, Any]], similarities: Sequence[str]
) -> RowUncertainty:
    """The row uncertainty that arrays of a file hold, if it is one of a model with these similarities.

    Raises:
        ValueError: if not.
    """
    for about in columns:
        if not (about["space"] < len(similarities) and similarities[about["space"]] == about["column"]):
            raise ValueError(f"it has a column '{about['column']}', which is no similarity of this run")
    return RowUncertainty.of_arrays(arrays, columns)
