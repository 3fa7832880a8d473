"""Neighbour affinity: how well nearest rows in one space agree in a label column, of whatever kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mscon.data.table.label_columns import LabelColumn
from mscon.evaluate.metrics.nearest import unit_length
from mscon.method.similarities.base import Cell

NEIGHBOURS = 10
# Rows that neighbours are looked for of, and among; and queries at a time.
_MOST_QUERIES, _MOST_ROWS, _BLOCK = 1_000, 20_000, 256


def affinities(
    spaces: Sequence[Float[np.ndarray, "rows _"]],
    column: LabelColumn,
    queries: Int[np.ndarray, " queries"],
    compared: Int[np.ndarray, " compared"],
) -> list[float | None]:
    """Of each space, how far the nearest rows agree with a row in a column: 0 as rows by chance, 1 in every pair.

    (agreement - chance) / (1 - chance), where agreement is the mean of the weights that the similarity gives a row and
    its 10 nearest by cosine, and chance that of the same rows and 10 others drawn at random. Below 0 where nearest rows
    agree less than others. The form is that of Cohen's kappa (1960).

    Args:
        spaces: vectors of all rows.
        column: which; rows without a value are left out.
        queries: numbers of rows, at most 1,000 of which are taken.
        compared: numbers of the rows among which neighbours are looked for, at most 20,000 of which are taken.

    Returns:
        A number a space; None for all where nothing can be judged: fewer than 2 rows with a value on either side, rows
        that all agree, or a column of whose agreement nothing is known.
    """
    draw, cells = np.random.default_rng(0), column.read()
    known = np.array([cell is not None for cell in cells])
    queries, compared = (
        np.sort(draw.permutation(rows[known[rows]])[:most])
        for rows, most in ((queries, _MOST_QUERIES), (compared, _MOST_ROWS))
    )
    nothing: list[float | None] = [None] * len(spaces)
    if len(queries) < 2 or len(compared) < 2:
        return nothing
    count = min(NEIGHBOURS, len(compared) - 1)
    others = compared[draw.integers(len(compared), size=(len(queries), count))]
    chance = _agreement(column, cells, queries, others, others != queries[:, None])
    if not chance < 1 - 1e-9:  # also where it is NaN
        return nothing
    return [
        (_agreement(column, cells, queries, _nearest(space, queries, compared, count)) - chance) / (1 - chance)
        for space in spaces
    ]


def _nearest(
    space: Float[np.ndarray, "rows dim"],
    queries: Int[np.ndarray, " queries"],
    compared: Int[np.ndarray, " compared"],
    count: int,
) -> Int[np.ndarray, "queries count"]:
    """Numbers of the rows with the highest cosine to each query, never the query itself."""
    others = unit_length(space[compared]).astype(np.float32)
    near = []
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        cosines = unit_length(space[block]).astype(np.float32) @ others.T
        cosines[block[:, None] == compared[None, :]] = -np.inf
        near.append(compared[np.argpartition(-cosines, count - 1, axis=1)[:, :count]])
    return np.concatenate(near)


def _agreement(
    column: LabelColumn,
    cells: Sequence[Cell],
    queries: Int[np.ndarray, " queries"],
    others: Int[np.ndarray, "queries count"],
    counted: np.ndarray | None = None,
) -> float:
    """The mean over pairs; NaN where nothing is known of any."""
    ones = [cells[row] for row in np.repeat(queries, others.shape[1])]
    agreement = column.agreement(ones, [cells[row] for row in others.ravel()])
    is_known = np.isfinite(agreement) if counted is None else np.isfinite(agreement) & counted.ravel()
    return float(agreement[is_known].mean()) if is_known.any() else float("nan")
