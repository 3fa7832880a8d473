"""Probe: how well the frozen features of a run predict its columns, with intervals.

Each column has two probes: a linear model of its kind, fitted on the rows of split train, chosen on validation and
scored on test; and nearest neighbours among the rows of split unseen, whose groups the encoder never saw, or of test.
Scores go to the run's probe.json, predictions row by row to predictions.safetensors, so that runs can be compared in
pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from mscon.errors import MSConError
from mscon.evaluate.column_probes import Arrays, FrozenFeatures, Record
from mscon.evaluate.estimators import CannotProbe
from mscon.evaluate.features import extract, read_features
from mscon.evaluate.metrics.uniformity import tolerance, uniformity
from mscon.evaluate.row_uncertainty import fit_uncertainty, score_uncertainty
from mscon.evaluate.space_scores import SpaceScores, score_space, summary, with_differences
from mscon.evaluate.start import Start, start_of
from mscon.evaluate.targets import ProbeTarget, probe_columns
from mscon.model.collapse import collapse
from mscon.model.stored_uncertainty import write_uncertainty
from mscon.run import outputs
from mscon.run.recipe import Recipe
from mscon.run.run import Run


def probe(
    run: Run | str | Path,
    *,
    progress: bool = True,
    accept_changes: bool = False,
    start: bool = True,
    images: str | Path | None = None,
) -> None:
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
         "projections": [as "linear", of the projections of each similarity for its own column],
         "start": {"title", "digest", "width", "is_same", "linear", "neighbours", "summary"},
         "skipped": [{"column", "probe": "linear", "neighbours", "start" or "uncertainty", "reason"}]}

    "uncertainty" is what the uncertainty of rows is worth on test rows, see
    `mscon.evaluate.row_uncertainty.score_uncertainty`; uncertainty.safetensors has that of each row of the run.
    "collapse" is there where the features have collapsed: a sentence, see `mscon.model.collapse`.
    "uniformity" is of the features of test rows: {"rows", "score", "tolerance": [{"column", "cosine"}]}, the latter of
    columns of classes and the finest level of paths, see `mscon.evaluate.metrics.uniformity`. It needs two test rows.
    With "neighbours_among": "test" neighbours are test rows. "start" is there where the run began from published
    weights, another run's, vectors, columns or texts. Its "linear" and "neighbours" are the same probes of the features
    that it began from (see `mscon.evaluate.start`), and each
    record has "difference": {"value", "low", "high"}, by how much the run's score is above it, in the unit of the
    measure that leads for its kind, paired by row. "summary" has means of those over columns, see
    `mscon.evaluate.space_scores.summary`; "is_same" says that the run's features are those of its start. There are no
    "projections" where nothing was trained, and of heads that leave features as they are.

    `mscon.evaluate.metrics.catalog` describes the measures. And predictions.safetensors: for the i-th entry of
    "linear" the arrays "linear/i/row", ".../true" and ".../predicted": numbers of rows in rows.parquet; indices into
    "classes", or numbers, or for labels [rows, labels] of 0 and 1, with ".../probability" (float32) beside them. Unless
    it is of classes, one array for each of its measures, whose mean over rows is the score. For the i-th of
    "neighbours" "neighbours/i/row" and likewise one array a measure. Those of "projections" and "start" likewise begin
    with "projections/i/", "start/linear/i/" and "start/neighbours/i/".

    Intervals are over rows, or over the groups of [data] split_by, with 95 % of the draws inside. For neighbours the
    queries are drawn, and the rows that they are compared with stay the same.

    Args:
        run: a trained run, or its directory.
        progress: show progress, and the columns that are skipped, on standard error.
        accept_changes: extract features anew, also where images or vectors have changed since training.
        start: also probe the features that the run began from.
        images: the folder in which the images, or the file of vectors, are now, if they moved; the run remembers it.

    Raises:
        RunError: if the run has no checkpoint, a file of it is damaged, its recipe names a column that its rows do not
            have, images or vectors have changed, or features are not finite.
        TableError: if features must be extracted and an image cannot be read any more.
    """
    run = Run.of(run).moved(images)
    run.read_facts(), run.read_inputs()  # refused if damaged, also where features are current and none is needed
    recipe, rows = run.read_recipe(), run.read_rows()
    outputs.need_place(run.root / "probe.json", "Copy the run to a folder that you may write to.")
    columns = probe_columns(run, recipe, rows)
    extract(run, progress=progress, accept_changes=accept_changes)
    features = read_features(run)
    frozen = FrozenFeatures.of(features, rows, recipe)
    console = Console(stderr=True, quiet=not progress)

    def note(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    scores = score_space(frozen, columns, note)
    projections = _projections(run, recipe, columns["linear"], frozen)
    skipped = scores.skipped
    record: Record = {"checkpoint": recipe.train.checkpoint, "draws": frozen.draws, **scores.records}
    if frozen.neighbours_among != "unseen":
        record["neighbours_among"] = frozen.neighbours_among
    predictions = scores.arrays | {
        f"projections/{name.removeprefix('linear/')}": array for name, array in projections.arrays.items()
    }
    if sentence := collapse(features):
        record["collapse"] = sentence
    if len(frozen.split["test"]) > 1:
        record["uniformity"] = _uniformity(columns["linear"], frozen)
    if projections.records["linear"]:
        record["projections"] = projections.records["linear"]
    try:
        began = start_of(run, progress=progress) if start else None
    except MSConError as reason:  # weights or images that are gone do not keep a run from being probed
        skipped = [*skipped, {"column": "", "probe": "start", "reason": str(reason).rstrip(".")}]
        note(f"note: the features that the run began from are not probed: {reason}")
        began = None
    if began is not None:
        record["start"], of_start = _start_record(began, scores, frozen, columns)
        predictions |= {f"start/{name}": array for name, array in of_start.items()}
    try:
        uncertainty, of_rows = fit_uncertainty(frozen, run.read_projections(), recipe.columns, columns["linear"])
        write_uncertainty(run, uncertainty, of_rows, recipe.train.checkpoint)
        if scored := score_uncertainty(of_rows, scores, frozen, run.read_projections(), columns["linear"]):
            record["uncertainty"] = scored
    except CannotProbe as reason:
        skipped = [*skipped, {"column": "", "probe": "uncertainty", "reason": str(reason)}]
        note(f"the uncertainty of rows is not computed: {reason}")
    run.write_probe({**record, "skipped": skipped}, predictions)


def _uniformity(probed: Sequence[ProbeTarget], frozen: FrozenFeatures) -> Record:
    """ "uniformity" of probe.json."""
    tested = frozen.split["test"]
    features = frozen.features[tested]
    cosines = {c.column: tolerance(features, c.class_levels()[-1][0][tested]) for c in probed if c.kind == "class"}
    known = [{"column": column, "cosine": cosine} for column, cosine in cosines.items() if not np.isnan(cosine)]
    return {"rows": len(tested), "score": uniformity(features), "tolerance": known}


def _start_record(
    start: Start, scores: SpaceScores, frozen: FrozenFeatures, columns: Mapping[str, Sequence[ProbeTarget]]
) -> tuple[Record, Arrays]:
    """ "start" of probe.json, and its predictions. Where the features are the same, so are the scores."""
    is_same = np.array_equal(start.features, frozen.features)
    before = scores if is_same else score_space(replace(frozen, features=start.features), columns)
    return {
        "title": start.title,
        "digest": start.digest,
        "width": start.features.shape[1],
        "is_same": is_same,
        **with_differences(before, scores, frozen),
        "summary": summary(before, scores, frozen),
    }, before.arrays


def _projections(run: Run, recipe: Recipe, probed: Sequence[ProbeTarget], frozen: FrozenFeatures) -> SpaceScores:
    """Linear probes of the projections of each similarity for its own column."""
    scores = SpaceScores()
    spaces = run.read_projections()
    for part, numbers in recipe.grouped("heads"):
        for number in numbers if part.name != "identity" else ():
            for column in [c for c in probed if c.trained and c.column == recipe.columns[number]]:
                scores.add("linear", column, replace(frozen, features=spaces[number]))
    return scores
