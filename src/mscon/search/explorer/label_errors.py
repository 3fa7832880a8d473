"""Doubt: how probably each label is wrong, as `mscon doubt` judged it; where it has not, how little a label agrees with
those of the rows that a column's own space puts nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mscon.data.table.label_columns import LabelColumn

NEAREST = 10


@dataclass(frozen=True, eq=False, slots=True)
class Doubt:
    """Of each row, against the nearest rows that have a label.

    Attributes:
        share: 1 - the mean agreement with them, as the similarity of the column gives it. NaN where the row has no
            label, or none of them has.
        known: with how many of the nearest it agrees or does not.
        apart: mean distance to them in the column's unit, where it holds numbers on a line; else NaN.
        predicted: where `mscon doubt` has judged the labels, what it predicts for each, None for those that it could
            not judge; then `share` is the probability that the label is wrong. Empty where it has not.
    """

    share: Float[np.ndarray, " rows"]
    known: Int[np.ndarray, " rows"]
    apart: Float[np.ndarray, " rows"]
    predicted: tuple[str | None, ...] = ()


def doubt(
    column: LabelColumn, near: Int[np.ndarray, "rows count"], rows: Int[np.ndarray, " rows"] | None = None
) -> Doubt:
    """The doubt about every row of a column.

    Args:
        column: which has a similarity.
        near: of each row its neighbours, the nearest first, in the space of that column.
        rows: numbers of the rows that these are; None for all.
    """
    cells = column.read(None if rows is None else rows.tolist())
    others = [cells[other] for other in near.ravel()]
    repeated = [cell for cell in cells for _ in range(near.shape[1])]
    alike = column.agreement(repeated, others).reshape(near.shape)
    apart = np.full(near.shape, np.nan)
    similarity = column.similarity
    if similarity is not None and similarity.target_kind == "number" and similarity.geometry == "line":
        values = similarity.target(cells)
        apart = np.abs(values[:, None] - values[near])
    known = (~np.isnan(alike)).sum(axis=1)
    return Doubt(1 - _mean(alike), known, _mean(apart))


def judged_doubt(judged: pl.DataFrame, column: str, lines: Int[np.ndarray, " rows"]) -> Doubt | None:
    """The same from doubt.parquet; None where that has nothing of the column.

    Args:
        judged: see `mscon.evaluate.label_quality.doubt`.
        column: its name.
        lines: of the rows.
    """
    of_column = judged.filter(pl.col("column") == column)
    if not of_column.height:
        return None
    rows = pl.DataFrame({"line": lines}).join(of_column, on="line", how="left", maintain_order="left")
    share = 1 - rows["label_score"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    known = rows["label_score"].is_not_null().to_numpy().astype(np.int64)
    return Doubt(share, known, np.full(len(share), np.nan), tuple(rows["predicted_label"].to_list()))


def _mean(values: Float[np.ndarray, "rows count"]) -> Float[np.ndarray, " rows"]:
    """Of each row the mean of what is known, NaN where nothing is."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
