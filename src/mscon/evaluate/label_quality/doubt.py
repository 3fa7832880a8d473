"""Doubt: which labels of a run are probably wrong. Reads a trained run, and writes doubt.parquet and doubt.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from rich.console import Console

from mscon.data.table.groups import row_groups
from mscon.errors import MSConError
from mscon.evaluate.features import extract
from mscon.evaluate.label_quality.issues import CannotJudge, Issues, Material, issues_of, shown_cell
from mscon.evaluate.label_quality.out_of_fold import folds_of, groups_of, neighbours_of, space_of
from mscon.evaluate.label_quality.witnesses import inputs_of, others
from mscon.evaluate.metrics.bootstrap import interval
from mscon.evaluate.start import start_of
from mscon.evaluate.targets import ProbeTarget, probe_columns
from mscon.method.similarities.base import BETWEEN_COLUMNS
from mscon.run import outputs
from mscon.run.contents import doubt_schema
from mscon.run.run import Run

FeatureSource = Literal["start", "run"]
OF_RUN = "features of the run"


def doubt(
    run: Run | str | Path, *, features: FeatureSource = "start", witnesses: bool = True, progress: bool = True
) -> pl.DataFrame:
    """Judge every label of the columns that a run was trained on, or is probed for.

    No label is judged by a model or a neighbour that learnt from it: logistic regression of five folds and the 25
    nearest rows of other groups are pooled (`mscon.evaluate.label_quality.noise`). Rows with equal inputs, or of one
    group of [data] split_by, are in one fold. Models learn from the features and from the other label columns.

    Args:
        run: a trained run, or its directory.
        features: "start" for what the run began from (pretrained features, or the inputs as they are), which never saw
            the labels; where there is none, and with "run", the features of the run. Training fits these to the labels
            of the training rows, so errors among them are found less often.
        witnesses: whether models also learn from the other label columns.
        progress: show progress and notes on standard error.

    Returns:
        One row for each label, with columns
            column: of the table; line: of the row in the table's file, or its number (Int64);
            given_label, predicted_label: as text;
            label_score: the probability that the given label is right, in [0, 1];
            confidence: the probability that the predicted label is right, in [0, 1];
            is_label_issue: whether the label is among as many as are estimated to be wrong, those of the lowest score
                first, and another one is predicted;
            neighbours: lines of up to five of the nearest rows that have the predicted label.
        Lowest scores first within each column. Missing cells, and labels that cannot be judged, have no row. Written to
        doubt.parquet in the run; doubt.json has the estimated share of wrong labels of each column:

            {"features": title, "columns": [{"column", "kind", "rows", "missing", "too_rare", "witnesses",
             "agreement", "issues", "share": {"value", "low", "high"}}], "skipped": [{"column", "reason"}]}

    Raises:
        RunError: if the run has no checkpoint, a file of it is damaged, its recipe names a column that its rows do not
            have, or inputs have changed since training.
        TableError: if features must be computed and an image cannot be read any more.
    """
    run = Run.of(run)
    recipe, rows = run.read_recipe(), run.read_rows()
    outputs.need_place(run.root / "doubt.json", "Copy the run to a folder that you may write to.")
    columns = probe_columns(run, recipe, rows)["linear"]
    console = Console(stderr=True, quiet=not progress)

    def note(text: str) -> None:
        console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    title, vectors = _vectors(run, features, progress, note)
    groups = groups_of(vectors, row_groups(rows, recipe.data.split_by))
    space = space_of(vectors)
    near, fold = neighbours_of(space, groups), folds_of(groups)
    lines = rows.get_column("line").to_numpy()
    frames, records, skipped = [pl.DataFrame(schema=doubt_schema())], list[dict[str, Any]](), list[dict[str, str]]()
    for column in columns:
        beside = others(column, columns) if witnesses else []
        try:
            issues = issues_of(column, Material(inputs_of(space, beside), near, fold))
        except CannotJudge as reason:
            skipped.append({"column": column.column, "reason": str(reason)})
            continue
        frames.append(_frame(column, issues, lines))
        sampling = {"draws": recipe.probe.draws, "groups": groups[issues.rows]}
        records.append({**_record(column, issues, sampling), "witnesses": [other.column for other in beside]})
    frame = pl.concat(frames)
    checkpoint = recipe.train.checkpoint
    run.write_doubt(frame, {"features": title, "columns": records, "skipped": skipped}, checkpoint=checkpoint)
    return frame


def _vectors(
    run: Run, source: FeatureSource, progress: bool, note: Callable[[str], None]
) -> tuple[str, Float[np.ndarray, "rows width"]]:
    """The vectors that labels are judged by, and what they are in words."""
    extract(run, progress=progress)  # of which inputs the run has features says which inputs the start is of
    if source == "start":
        try:
            if (start := start_of(run, progress=progress)) is not None:
                return start.title, start.features
        except MSConError as reason:
            note(f"the features that the run began from cannot be used: {reason}")
    if run.read_recipe().train.epochs:
        note(
            "labels are judged by the features of the run, which was trained on them. Errors in training rows may have "
            "been learnt, and are found less often than in other rows."
        )
    return OF_RUN, run.read_features()


def _frame(column: ProbeTarget, issues: Issues, lines: Int[np.ndarray, " rows"]) -> pl.DataFrame:
    cells = [shown_cell(column, column.cells[row] or "") for row in issues.rows]
    frame = pl.DataFrame(
        {
            "column": [column.column] * len(cells),
            "line": lines[issues.rows],
            "given_label": cells,
            "predicted_label": [shown_cell(column, cell) for cell in issues.predicted],
            "label_score": issues.right.clip(0, 1),
            "confidence": issues.confidence.clip(0, 1),
            "is_label_issue": issues.is_issue,
            "neighbours": [lines[list(rows)].tolist() for rows in issues.neighbours],
        },
        schema=doubt_schema(),
    )
    return frame.sort("label_score", "line")


def _record(column: ProbeTarget, issues: Issues, sampling: dict[str, Any]) -> dict[str, Any]:
    share = interval(issues.influence, **sampling)
    # Of several columns that are read as one path, an empty first one makes all of it unknown.
    present = sum(cell is not None and not cell.startswith(BETWEEN_COLUMNS) for cell in column.cells)
    return {
        "column": column.column,
        "kind": column.kind,
        "rows": len(issues.rows),
        "missing": len(column.cells) - present,
        "too_rare": present - len(issues.rows),
        "agreement": issues.agreement,
        "issues": int(issues.is_issue.sum()),
        "share": {
            "value": float(issues.influence.mean().clip(0, 1)),
            "low": min(max(share.low, 0.0), 1.0),
            "high": min(max(share.high, 0.0), 1.0),
        },
    }
