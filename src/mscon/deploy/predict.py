"""Predict: cells for the rows of a table, and for empty cells of the rows that a run was trained on.

Predictors are read from a run, which `mscon.evaluate.predictors` wrote. Rows become vectors as in `mscon embed`, in
shards on the disk, so that memory does not grow with their vectors and a job that was killed continues.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from mscon.data.table.table import Table
from mscon.deploy.encodes import Encodes
from mscon.deploy.shard_files import INDEX, remove_swept
from mscon.deploy.shards import ROWS, embed_table
from mscon.errors import RunError, counted, nearest
from mscon.model.predictors.stored import StoredPredictor
from mscon.run.recipe import data_of
from mscon.run.run import Run

Shown = Sequence[tuple[StoredPredictor, Sequence[str]]]
"""Predictors, each with the columns of it that are given out."""

_PLACES = ("line", "split", "image", "uncertainty")
_DIGITS = 6


def shown_of(
    predictors: Sequence[StoredPredictor], name: str, columns: Sequence[str] = (), least: float = 0.0
) -> Shown:
    """Which of some predictors are used, and the columns that each of them fills.

    Args:
        predictors: of a run or a packed model.
        name: of that, in messages.
        columns: that they were fitted for; empty for all.
        least: as of `mscon.model.predictors.base.Predictor.predict`.

    Raises:
        RunError: without a predictor, or of a column; if columns of the output would have the same name; or where
            `least` is above 0 and a column has no calibrated confidence. All are named.
        ValueError: if `least` is outside [0, 1].
    """
    if not 0 <= least <= 1:
        raise ValueError(f"abstain must be from 0 to 1, got {least}.")
    known = [one.column for one in predictors]
    if not known:
        raise RunError(
            f"{name} has no predictors. `mscon predict RUN` fits those of a run, and `mscon export RUN --include "
            "predictors` packs them with its model."
        )
    if unknown := [column for column in columns if column not in known]:
        raise RunError("\n".join(f"{name} has no predictor of column '{c}'.{nearest(c, known)}" for c in unknown))
    stored = [one for one in predictors if not columns or one.column in columns]
    fitted_for = {one.column for one in stored}
    shown: list[tuple[StoredPredictor, Sequence[str]]] = []
    filled: set[str] = set()
    for one in stored:
        # A coarser column of a hierarchy may have a predictor for itself, which then fills it.
        names = [n for n in one.predictor.columns if n == one.column or (n not in fitted_for and n not in filled)]
        filled.update(names)
        shown.append((one, names))
    _need_different_names(shown)
    if least > 0 and (
        faults := [
            f"column '{one.column}' has no calibrated confidence: {name} has "
            f"{counted(one.record['validation_rows'], 'validation row')} with a label of it, too few to calibrate."
            for one in stored
            if one.predictor.calibration is None and one.predictor.kind != "number"
        ]
    ):
        raise RunError("\n".join([*faults, "  Predict without an abstain threshold, or name other columns."]))
    return shown


def _need_different_names(shown: Shown) -> None:
    names = [name for _, columns in shown for name in columns]
    all_names = [*_PLACES, *names, *(f"{n}_{what}" for n in names for what in ("confidence", "low", "high"))]
    if repeated := sorted({name for name in all_names if all_names.count(name) > 1}):
        raise RunError(
            f"columns of the output would have the same name: {', '.join(map(repr, repeated))}. Name the columns to "
            "predict with --columns, without one of them."
        )


def predicted(shown: Shown, features: Float[np.ndarray, "rows width"], least: float = 0.0) -> pl.DataFrame:
    """The predictions for some rows: NAME, and NAME_confidence, or NAME_low and NAME_high where it is a number."""
    series: list[pl.Series] = []
    for one, names in shown:
        for column in one.predictor.predict(features, least):
            if column.name not in names:
                continue
            is_text = column.cells.dtype == object
            cells = pl.Series(column.name, column.cells.tolist(), dtype=pl.String if is_text else pl.Float64)
            series.append(cells if is_text else cells.round_sig_figs(_DIGITS))
            for what, numbers in column.beside.items():
                values = pl.Series(f"{column.name}_{what}", numbers, dtype=pl.Float64)
                series.append(values.round(4) if what == "confidence" else values.round_sig_figs(_DIGITS))
    return pl.DataFrame(series)


def predict_table(
    embedder: Encodes, shown: Shown, table: Table, folder: Path, *, least: float = 0.0, **settings: Any
) -> pl.DataFrame:
    """Predictions for every row of a table: its line, its image if it has one, and the columns of `predicted`.

    And before these `uncertainty`, where `mscon embed` writes it too.

    Args:
        embedder: of the run that the predictors are of.
        shown: see `shown_of`.
        table: must have the columns that the embedder's recipe reads its inputs from.
        folder: for the vectors of a job that is not finished.
        least: as of `mscon.model.predictors.base.Predictor.predict`.
        settings: images, vectors, batch_size, reads and progress, see `embed_table`.

    Raises:
        RunError, TableError: see `embed_table`.
    """
    need_width(embedder, shown)
    shards = embed_table(embedder, table, folder / "vectors.parquet", shard_rows=ROWS, **settings)
    assert shards is not None
    index: Mapping[str, Any] = json.loads((shards / INDEX).read_text("utf-8"))
    blocks = []
    for shard in index["shards"]:
        rows = pl.read_parquet(shards / shard["file"])
        features = rows.get_column("features").to_numpy()
        blocks.append(pl.concat([rows.drop("features"), predicted(shown, features, least)], how="horizontal"))
    remove_swept(shards)
    return pl.concat(blocks)


def need_width(embedder: Encodes, shown: Shown) -> None:
    """Raise RunError for predictors that are of other features than those of the embedder."""
    for one, _ in shown:
        if one.predictor.linear_map.width != embedder.width():
            raise RunError(
                f"{embedder.name}: its predictors take {one.predictor.linear_map.width:,} features, but its model "
                f"computes {embedder.width():,}. Delete its predictors.safetensors and predict again."
            )


def fill_missing(run: Run, shown: Shown, least: float = 0.0) -> pl.DataFrame:
    """The rows of a run with empty cells of the predicted columns filled from its stored features.

    Confidences and intervals stand beside filled cells only, and beside those that stay empty for a low confidence.

    Returns:
        Columns line, split, image (where rows are images), the label columns as text, and those of `predicted` that
        are no cells.
    """
    rows, features = run.read_rows(), run.read_features()
    names = [name for _, columns in shown for name in columns]
    empty = rows.select(pl.any_horizontal(pl.col(name).is_null() for name in names)).to_series().arg_true().to_numpy()
    blocks = [
        predicted(shown, np.asarray(features[empty[start : start + ROWS]]), least)
        for start in range(0, max(len(empty), 1), ROWS)
    ]
    place = pl.Series("row", empty, dtype=pl.Int64)
    values = pl.DataFrame({"row": pl.Series(range(rows.height), dtype=pl.Int64)}).join(
        pl.concat(blocks).with_columns(place), on="row", how="left", maintain_order="left"
    )
    filled = []
    for name in names:
        cells = rows.get_column(name).cast(pl.String)
        filled.append(cells.zip_with(cells.is_not_null(), _text(values.get_column(name))))
        for column in (f"{name}_confidence", f"{name}_low", f"{name}_high"):
            if column in values.columns:
                beside = values.get_column(column)
                filled.append(beside.zip_with(cells.is_null(), beside.clear(len(beside))))
    result = rows.with_columns(filled)
    return result if data_of(run.read_recipe_values()).input == "image" else result.drop("image")


def _text(cells: pl.Series) -> pl.Series:
    return cells if cells.dtype == pl.String else pl.Series(cells.name, [_number(value) for value in cells], pl.String)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.{_DIGITS}g}"


def summary(shown: Shown, frame: pl.DataFrame, least: float, empty: Mapping[str, int] | None = None) -> list[str]:
    """What was predicted in words, a line a column: rows, how many stayed empty, and what test rows say.

    Args:
        shown: see `shown_of`.
        frame: the predictions.
        least: the threshold that they were made with.
        empty: of filled tables, how many cells of each column were empty.
    """
    lines = []
    for one, names in shown:
        for name in names:
            total = frame.height if empty is None else empty[name]
            left = frame.get_column(name).null_count()
            abstained = f", {left:,} left empty (confidence below {least:g})" if least > 0 and total else ""
            cells = f"{total - left:,} of {counted(total, 'cell')} predicted{abstained}"
            lines.append(f"  {name:<16} {cells}; {_evidence(one, name, least)}")
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _evidence(one: StoredPredictor, name: str, least: float) -> str:
    right, rows = one.right_of(name, least), counted(one.record["test_rows"], "test row")
    if one.predictor.kind == "number":
        if one.predictor.calibration is None:
            return f"no interval: {counted(one.record['validation_rows'], 'validation row')} with a number, too few"
        half = one.predictor.calibration[0]
        return f"intervals of 90 %: +- {half:.{_DIGITS}g}, which hold {_percent(right.mean())} of {rows}"
    level = one.record["levels"][one.predictor.levels_of(name)[-1]]
    if one.predictor.calibration is None:
        return (
            f"{_percent(level['accuracy'])} right of {rows}; no confidence: "
            f"{counted(one.record['validation_rows'], 'validation row')} with a label, too few"
        )
    accuracy = f"{_percent(right.mean())} right of" if len(right) else "none right of"
    among = f" that reach it ({len(one.is_right):,} in all)" if least > 0 else ""
    return (
        f"{accuracy} {counted(len(right), 'test row')}{among}; calibration error {_percent(level['after'])} "
        f"({_percent(level['before'])} before calibration, {_percent(level['by_chance'])} by chance)"
    )
