"""Probe: how well the frozen features of a run predict its columns, with intervals.

Each column has two probes: a linear model of its kind, fitted on the rows of split train, chosen on validation and
scored on test; and nearest neighbours among the rows of split unseen, whose groups the encoder never saw. Scores go
to the run's probe.json, predictions row by row to predictions.safetensors, so that runs can be compared in pairs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from mscon.errors import RunError, counted, nearest
from mscon.evaluate import column_probes
from mscon.evaluate.column_probes import Arrays, FrozenFeatures, Record
from mscon.evaluate.estimators import CannotProbe
from mscon.evaluate.features import extract
from mscon.evaluate.targets import neighbour_targets, probe_targets
from mscon.run.recipe import Recipe
from mscon.run.run import Run


def probe(run: Run | str | Path, *, progress: bool = True, accept_changes: bool = False) -> None:
    """Probe every column that the run was trained on, and those that its recipe names under [probe].

    Features are extracted first where they are missing or older than the checkpoint. Writes `probe.json`:

        {"checkpoint": "last", "draws": 1000,
         "linear": [{"column", "kind", "trained", "train_rows", "validation_rows", "test_rows", "dropped_rows",
                     "regularisation", "converged", and by kind:
             "class": "classes", "accuracy": {"value", "low", "high"}, "macro_f1": {...}, "majority",
                      "validation_accuracy", "confusion": [[true by predicted]]; of a hierarchy one record a level,
                      with its "level" from 1 and how many "levels" there are
             "number": "r2", "spearman", "baseline": {measure: value}, "validation_score"
             "rank": "classes" (the levels), "level_error", "within_one", "baseline", "validation_score"
             "labels": "classes" (the labels), "left_out" (labels), "mean_average_precision", "micro_f1", "macro_f1",
                       "baseline", "validation_score"}],
         "neighbours": [{"column", "kind", "trained", "rows", and by kind:
             "class", "labels": "classes", "left_out", "precision_at_1": {...}, "r_precision": {...},
                                "map_at_r": {...}, "chance", "map_at_r_chance"
             "number", "rank": "neighbour_difference": {...}, "neighbour_spearman": {...}, "baseline"}],
         "skipped": [{"column", "probe": "linear" or "neighbours", "reason"}]}

    `mscon.evaluate.metrics.catalog` describes the measures. And predictions.safetensors: for the i-th entry of
    "linear" the arrays "linear/i/row", ".../true" and ".../predicted": numbers of rows in rows.parquet; indices into
    "classes", or numbers, or for labels [rows, labels] of 0 and 1, with ".../probability" (float32) beside them. Unless
    it is of classes, one array for each of its measures, whose mean over rows is the score. For the i-th of
    "neighbours" "neighbours/i/row" and likewise one array a measure.

    Intervals are over rows, with 95 % of the draws inside. For neighbours the queries are drawn, and the rows that
    they are compared with stay the same.

    Args:
        run: a trained run, or its directory.
        progress: show progress, and the columns that are skipped, on standard error.
        accept_changes: extract features anew, also where images or vectors have changed since training.

    Raises:
        RunError: if the run has no checkpoint, its recipe names a column that its rows do not have, images or vectors
            have changed, or features are not finite.
        TableError: if features must be extracted and an image cannot be read any more.
    """
    run = Run.of(run)
    recipe, rows = run.read_recipe(), run.read_rows()
    _need_columns(run, recipe, rows)
    probed = probe_targets(run, recipe, rows)
    extract(run, progress=progress, accept_changes=accept_changes)
    features = run.read_features()
    if features.shape[0] != rows.height:
        raise RunError(
            f"run '{run.root}' has features of {counted(features.shape[0], 'row')}, but {counted(rows.height, 'row')}. "
            "Delete its folder 'features', then probe again."
        )
    split = rows.get_column("split").to_numpy()
    names = ("train", "validation", "test", "unseen")
    frozen = FrozenFeatures(features, {name: np.flatnonzero(split == name) for name in names}, recipe.probe.draws)

    records: dict[str, list[Record]] = {"linear": [], "neighbours": []}
    skipped: list[Record] = []
    predictions: Arrays = {}
    console = Console(stderr=True, quiet=not progress)
    for how, probe_column, columns in (
        ("linear", column_probes.linear, probed),
        ("neighbours", column_probes.neighbours, neighbour_targets(run, recipe, rows, probed)),
    ):
        for column in columns:
            try:
                if column.kind == "nothing":
                    raise CannotProbe("its similarity has no target_kind, so there is nothing to predict")
                results = probe_column(column, frozen)
            except CannotProbe as reason:
                skipped.append({"column": column.column, "probe": how, "reason": str(reason)})
                text = f"column '{column.column}' is not probed ({how}): {reason}"
                console.print(text, markup=False, highlight=False, soft_wrap=True)
                continue
            for record, arrays in results:
                # By number, not by name: a column may be called anything.
                number = len(records[how])
                records[how].append({"column": column.column, "kind": column.kind, "trained": column.trained, **record})
                predictions |= {f"{how}/{number}/{key}": array for key, array in arrays.items()}
    run.write_probe(
        {"checkpoint": recipe.train.checkpoint, "draws": frozen.draws, **records, "skipped": skipped}, predictions
    )


def _need_columns(run: Run, recipe: Recipe, rows: pl.DataFrame) -> None:
    labels = [name for name in rows.columns if name not in ("line", "split", "image")]
    trained = [part.column for part in recipe.similarities if part.reads]
    probed = list(dict.fromkeys([*trained, *recipe.probe.columns]))
    complaints = [
        f"run '{run.root}' has no label column '{name}', which its recipe names.{nearest(name, labels)}\n"
        f"  Its columns: {', '.join(labels)}."
        for name in dict.fromkeys([*probed, *recipe.probe.neighbours])
        if name not in labels
    ]
    complaints += [f"run '{run.root}': {complaint}" for complaint in recipe.probe_complaints()]
    if complaints:
        raise RunError("\n".join(complaints))
